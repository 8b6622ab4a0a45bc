"""Many shadows on one machine: `python benchmarks/shadows.py [--net small|mlp] [--shadows 8] [--processes]`.

Ways to take one training step of each of several small nets: a loop over nets, `torch.func` over stacked weights (`vmap`), the same
with one backward pass for all, grouped convolutions or batched products written by hand. And one-threaded processes, one a core,
beside one process with all threads. Images per second of all nets together; random images, as only the time matters.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from runtime.machine import cores
from runtime.seeds import Seeds
from runtime.training import nets

Step = Callable[[], object]


def loop(many: list[nets.Classifier], x: Tensor, y: Tensor, half: bool = False, last: bool = True) -> Step:
    """Trains one net after another, with images stored channels last."""
    layout = torch.channels_last if last else torch.contiguous_format
    for net in many:
        net.to(memory_format=layout)  # type: ignore[call-overload]
    shown = [images.contiguous(memory_format=layout) for images in x]

    def step() -> None:
        for net, images, labels in zip(many, shown, y, strict=True):
            net.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = net(images)
            F.cross_entropy(out.float(), labels).backward()

    return step


def mapped(many: list[nets.Classifier], x: Tensor, y: Tensor) -> Step:
    """`vmap` of the gradient over stacked weights."""
    weights, buffers = stack_module_state(many)  # type: ignore[arg-type]

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(many[0], (weights, buffers), (images,)), labels)

    gradient = vmap(grad(loss))
    return lambda: gradient(weights, buffers, x, y)


def mapped_forward(many: list[nets.Classifier], x: Tensor, y: Tensor) -> Step:
    """`vmap` of the forward pass, one backward pass for all."""
    weights, buffers = stack_module_state(many)  # type: ignore[arg-type]

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(many[0], (weights, buffers), (images,)), labels)

    together = vmap(loss)
    return lambda: torch.autograd.grad(together(weights, buffers, x, y).sum(), list(weights.values()))


def grouped(many: list[nets.Classifier], x: Tensor, y: Tensor) -> Step:
    """All nets as one with grouped convolutions: `small` with GroupNorm, whose groups never cross from one net to another."""
    count, layers = len(many), []
    for modules in zip(*(net.trunk for net in many), strict=True):  # type: ignore[call-overload]
        first = modules[0]
        if isinstance(first, nn.Conv2d):
            wide = nn.Conv2d(count * first.in_channels, count * first.out_channels, 3, padding=1, groups=count, bias=False)
            wide.weight.data = torch.cat([module.weight.data for module in modules])
            layers.append(wide)
        elif isinstance(first, nn.GroupNorm):
            layers.append(nn.GroupNorm(count * first.num_groups, count * first.num_channels))
        elif not isinstance(first, nn.Flatten):
            layers.append(first)
    trunk = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = nn.Parameter(torch.stack([net.head.weight.data for net in many]))
    weights = [*trunk.parameters(), head]
    beside = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)  # batch × (nets · channels) × …

    def step() -> object:
        features = trunk(beside).unflatten(1, (count, -1)).flatten(2).transpose(0, 1)  # net × batch × feature
        out = torch.bmm(features, head.transpose(1, 2))
        return torch.autograd.grad(F.cross_entropy(out.flatten(0, 1), y.flatten()), weights)

    return step


def batched(many: list[nets.Classifier], x: Tensor, y: Tensor) -> Step:
    """All nets as one with batched products: `mlp`."""
    linear = [[module for module in net.modules() if isinstance(module, nn.Linear)] for net in many]
    weights = [torch.stack([module.weight.data.t() for module in of]).requires_grad_() for of in zip(*linear, strict=True)]
    biases = [torch.stack([module.bias.data[None] for module in of]).requires_grad_() for of in zip(*linear, strict=True)]

    def step() -> object:
        features = x.flatten(2)
        for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            features = torch.baddbmm(bias, features.relu() if place else features, weight)
        return torch.autograd.grad(F.cross_entropy(features.flatten(0, 1), y.flatten()), weights + biases)

    return step


def ways(net: str) -> dict[str, Callable[..., Step]]:
    def chw(*given: object) -> Step:
        return loop(*given, last=False)  # type: ignore[arg-type]

    def half(*given: object) -> Step:
        return loop(*given, half=True)  # type: ignore[arg-type]

    shared = {"loop": chw, "vmap": mapped, "vmap, one backward": mapped_forward}
    if net == "mlp":
        return {**shared, "bmm": batched}
    return {"loop": chw, "loop, channels last": loop, "loop, bfloat16": half, **shared, "grouped": grouped}


def seconds_of(step: Step, repeats: int = 5) -> float:
    step()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return float(np.median(found))


def many(net: str, width: int, count: int) -> list[nets.Classifier]:
    recipe = Recipe(net=net, width=width, norm="none" if net == "mlp" else "group")  # type: ignore[arg-type]
    return [nets.build(recipe, CARDS["fashion_mnist"], Seeds(0, 0, shadow)("classifier/init")).train() for shadow in range(count)]


def table(net: str, widths: list[int], count: int, batch: int) -> None:
    print(f"{count} nets `{net}` with group norm, batches of {batch}, {torch.get_num_threads()} thread(s): images per second")
    print(f"{'width':<8}", *(f"{way:>20}" for way in ways(net)))
    for width in widths:
        rates = []
        for way in ways(net).values():
            x = torch.randn(count, batch, *CARDS["fashion_mnist"].shape, generator=torch.Generator().manual_seed(0))
            rates.append(count * batch / seconds_of(way(many(net, width, count), x, torch.zeros(count, batch, dtype=torch.int64))))
        print(f"{width:<8}", *(f"{rate:>20,.0f}" for rate in rates), flush=True)


def processes(width: int, batch: int) -> None:
    """A process a core with one thread each, beside one process with as many threads, each for the same time."""
    print(f"`small` of width {width}, batches of {batch}: images per second")
    for half in (False, True):
        alone = sum(_rates(1, cores(), width, batch, half))
        apart = sum(_rates(cores(), 1, width, batch, half))
        precision = "bfloat16" if half else "float32"
        print(f"{precision}: one process, {cores()} threads {alone:,.0f}; {cores()} processes, one thread each {apart:,.0f}")


def _rates(count: int, threads: int, width: int, batch: int, half: bool) -> list[float]:
    words = [sys.executable, __file__, "--alone", f"{width},{batch},{int(half)},{threads}"]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return [float(process.communicate()[0]) for process in started]


def _alone(width: int, batch: int, half: bool, threads: int) -> None:
    """Prints images per second of this process over five seconds. The clock's next but one multiple of 5 s is the start, so that
    all processes measure the same five seconds."""
    torch.set_num_threads(threads)
    x = torch.randn(1, batch, *CARDS["fashion_mnist"].shape)
    step = loop(many("small", width, 1), x, torch.zeros(1, batch, dtype=torch.int64), half)
    begin = time.time() // 5 * 5 + 10
    while time.time() < begin:
        step()
    steps = 0
    while time.time() < begin + 5:
        step()
        steps += 1
    print(steps * batch / (time.time() - begin))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("small", "mlp"), default="small")
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--processes", action="store_true", help="instead: processes beside threads")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    if args.alone:
        width, batch, half, threads = map(int, args.alone.split(","))
        _alone(width, batch, bool(half), threads)
    elif args.processes:
        processes(args.widths[-1], args.batch)
    else:
        torch.set_num_threads(args.threads)
        table(args.net, args.widths, args.shadows, args.batch)


if __name__ == "__main__":
    main()
