"""Each trainer beside the loop that a user would write: `python benchmarks/train.py undefended --threads 2`.

Ours and those of `plain.py` take turns in one process, from the same initial weights, with the same net, batch, schedule and number
of steps, so that equal accuracy is reached after equal steps and the ratio of seconds is that of the time to it; both accuracies
are printed to show that it is. The plain loop runs twice: as users write it (float32, the layout that torch gives), and at the
precision and layout of ours; what each is at stands beside it. CPU seconds of the process stand beside those of the clock, for a
machine that is not alone; what loader processes of the plain loop take is not in them. Then where they go: loading (order,
gathering, normalising), augmentation, steps, evaluation of the test set. Also the share of the machine's own matmul rate, at the
precision of the training. `--images 60000 --rounds 1 --alone` trains ours on the whole set, to see what it reaches. Fashion-MNIST,
the presets `fast` and `real_epsilon` at epsilon 3. Prints tables; records nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import plain  # beside this file
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from compiler.check.presets import fields_of
from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS, Card
from compiler.language.methods.baselines import Privacy
from compiler.work.operations import Dataset
from runtime.data.images import LabeledImages
from runtime.data.sources import load
from runtime.seeds import Seeds
from runtime.training import nets
from runtime.training.batches import Examples, Training, presentations
from runtime.training.dp_sgd import fit_privately, new_mechanism
from runtime.training.scoring import accuracy
from runtime.training.sgd import fit

EPSILON, DELTA = 3.0, 1e-5
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Bench:
    """What both sides are given."""

    train: LabeledImages
    test: LabeledImages
    card: Card
    recipe: Recipe
    device: torch.device

    @property
    def iterations(self) -> int:
        return math.ceil(self.recipe.epochs * len(self.train) / self.recipe.batch_size)

    def training(self, round: int) -> Training:
        return Training(
            images=self.train.images,
            labels=self.train.labels,
            recipe=self.recipe,
            iterations=self.iterations,
            card=self.card,
            seeds=Seeds(0, 0, round),
            device=self.device,
            purpose="classifier",
        )

    def net(self, round: int) -> nets.Classifier:
        return nets.build(self.recipe, self.card, Seeds(0, 0, round)("classifier/init"))


@dataclass(frozen=True)
class Run:
    """One training of one side."""

    seconds: float
    cpu: float
    """Seconds of this process."""
    accuracy: float
    evaluation: float
    """Seconds of this process that the accuracy took, which are not among those of the training."""


@dataclass(frozen=True)
class Side:
    """A trainer that is compared."""

    train: Callable[[int], Run]
    precision: str
    layout: str
    feed: Callable[[Bench], object]
    """Loads and augments as many batches as a training has, and does nothing with them."""


def feed_ours(bench: Bench) -> None:
    training = bench.training(0)
    examples = Examples(training)
    for batch in presentations(training):
        examples.present(batch)


def feed_plain(bench: Bench) -> None:
    batches = plain.loader(bench.train, bench.recipe, bench.card, 0)
    for _ in islice(plain.endless(batches), bench.iterations):
        pass


def undefended(bench: Bench, workers: int) -> dict[str, Side]:
    def ours(round: int) -> Run:
        net, begun = bench.net(round), time.process_time()
        fitted = fit(net, bench.training(round))
        return _judged(bench, net, fitted.seconds, begun)

    def theirs(precision: str, layout: str, round: int) -> Run:
        net, begun = bench.net(round), time.process_time()
        recipe = bench.recipe.model_copy(update={"precision": precision})
        batches = plain.loader(bench.train, recipe, bench.card, workers)
        last = layout == "channels last"
        return _judged(bench, net, plain.train(net, batches, recipe, bench.iterations, bench.device, channels_last=last), begun)

    at = {"ours": (bench.recipe.precision, "channels last"), "plain": ("float32", "as torch gives")}
    alike = {"plain alike": at["ours"]}
    sides = {side: Side(partial(theirs, *how), *how, feed_plain) for side, how in (at | alike).items() if side != "ours"}
    return {"ours": Side(ours, *at["ours"], feed_ours)} | sides


def dp_sgd(bench: Bench, workers: int) -> dict[str, Side]:
    privacy = Privacy(epsilon=EPSILON, delta=DELTA)
    mechanism = new_mechanism(privacy, bench.recipe.batch_size, len(bench.train), bench.iterations)
    sigma = mechanism.noise_multiplier
    at = f"{bench.iterations} steps at rate {mechanism.sampling_rate:.4f}"
    print(f"epsilon {EPSILON:g} at delta {DELTA:g}: noise multiplier {sigma:.3f} for {at}")

    def ours(round: int) -> Run:
        net, begun = bench.net(round), time.process_time()
        fitted = fit_privately(net, bench.training(round), mechanism)
        return _judged(bench, net, fitted.seconds, begun)

    def theirs(round: int) -> Run:
        net, begun = bench.net(round), time.process_time()
        batches = plain.loader(bench.train, bench.recipe, bench.card, workers)
        seconds = plain.train_privately(net, batches, bench.recipe, bench.iterations, sigma, 1.0, bench.device)
        return _judged(bench, net, seconds, begun)

    # Gradients of single images are taken without channels last by both, and at float32 by Opacus.
    layout = "as torch gives"
    return {"ours": Side(ours, bench.recipe.precision, layout, feed_ours), "plain": Side(theirs, "float32", layout, feed_plain)}


TRAINERS = {"undefended": ("fast", undefended), "dp_sgd": ("real_epsilon", dp_sgd)}


def _judged(bench: Bench, net: nets.Classifier, seconds: float, begun: float) -> Run:
    trained = time.process_time()
    right = accuracy(net, bench.test.images, bench.test.labels, bench.card, bench.device)
    return Run(seconds, trained - begun, right, time.process_time() - trained)


def best_workers(bench: Bench) -> int:
    """The number of the plain loop's loader processes with which a few steps take least; starting them is not counted."""
    seconds = {}
    for workers in (0, 1, 2):
        batches = plain.loader(bench.train, bench.recipe, bench.card, workers)
        steps = min(20, len(batches))
        plain.train(bench.net(0), batches, bench.recipe, 2, bench.device)  # starts them
        seconds[workers] = plain.train(bench.net(0), batches, bench.recipe, steps, bench.device)
    print("plain loop, seconds by loader processes:", ", ".join(f"{n}: {took:.2f}" for n, took in seconds.items()))
    return min(seconds, key=lambda n: seconds[n])


def matmul_rate(dtype: torch.dtype, device: torch.device, side: int = 2048) -> float:
    """Operations per second of a square matrix product, the best of several."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = math.inf
    for _ in range(8):
        started = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def operations(bench: Bench) -> float:
    """Of a whole training without DP-SGD: what PyTorch counts in convolutions and products of one step, times the steps."""
    net = bench.net(0).train()
    x = torch.zeros(bench.recipe.batch_size, *bench.card.shape)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(x), torch.zeros(len(x), dtype=torch.int64)).backward()
    return float(counter.get_total_flops()) * bench.iterations


def compare(bench: Bench, sides: dict[str, Side], rounds: int) -> None:
    found: dict[str, list[Run]] = {side: [] for side in sides}
    for round in range(rounds):
        for side in list(sides) if round % 2 else reversed(sides):  # who goes first takes turns
            found[side].append(sides[side].train(round))
        told = (f"{side} {runs[-1].seconds:.1f} s, {runs[-1].cpu:.1f} CPU s" for side, runs in found.items())
        print(f"round {round}: {'; '.join(told)}", flush=True)
    seen = bench.iterations * bench.recipe.batch_size
    rates = {name: matmul_rate(dtype, bench.device) for name, dtype in DTYPES.items()}
    print("matmul rate, 10⁹ operations per second:", ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items()))
    print(f"{'':<12}{'at':<26}{'seconds':>16}{'CPU seconds':>16}{'images/s':>10}{'test accuracy':>18}{'of matmul':>11}")
    for side, runs in found.items():
        seconds, cpu, right = ([getattr(run, word) for run in runs] for word in ("seconds", "cpu", "accuracy"))
        share = operations(bench) / np.mean(seconds) / rates[sides[side].precision]
        spread = (
            f"{np.mean(of):.{digits}f} ± {np.std(of, ddof=1) if rounds > 1 else 0:.{digits}f}"
            for of, digits in ((seconds, 1), (cpu, 1), (right, 4))
        )
        took, busy, accurate = spread
        at = f"{sides[side].precision}, {sides[side].layout}"
        print(f"{side:<12}{at:<26}{took:>16}{busy:>16}{seen / np.mean(seconds):>10,.0f}{accurate:>18}{share:>11.1%}")
    for side in (side for side in sides if side != "ours"):
        for word, clock in (("seconds", "seconds"), ("cpu", "CPU seconds")):
            pairs = zip(found[side], found["ours"], strict=True)
            ratios = [getattr(theirs, word) / getattr(mine, word) for theirs, mine in pairs]
            print(f"{side} / ours in {clock}: {np.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds)")
    print_shares(bench, sides, found)


def print_shares(bench: Bench, sides: dict[str, Side], found: dict[str, list[Run]]) -> None:
    """Where the CPU seconds of a training and its evaluation go. What batches take is measured without steps, at first with no
    augmentation; loaders have no processes of their own here."""
    print(f"{'CPU seconds':<12}{'loading':>14}{'augmentation':>14}{'steps':>14}{'evaluation':>14}")
    bare = replace(bench, recipe=bench.recipe.model_copy(update={"augment": Augment()}))
    for side, runs in found.items():
        loading, fed = (_cpu(partial(sides[side].feed, of)) for of in (bare, bench))
        training, evaluation = (float(np.mean([getattr(run, word) for run in runs])) for word in ("cpu", "evaluation"))
        parts = (loading, max(0.0, fed - loading), max(0.0, training - fed), evaluation)
        print(f"{side:<12}" + "".join(f"{part:>8.2f} {part / sum(parts):>5.0%}" for part in parts))


def _cpu(do: Callable[[], object]) -> float:
    begun = time.process_time()
    do()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer", choices=TRAINERS)
    parser.add_argument("--images", type=int, default=20_480, help="class-balanced part of the training set (default 20,480)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="another value of the recipe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="ours without the plain loop")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    card, device = CARDS["fashion_mnist"], torch.device(args.device)
    data = load(Dataset(card.name, card.digest, args.images, None, card.shape))
    assert data.test is not None
    preset, trainer = TRAINERS[args.trainer]
    fields = fields_of(preset, card) | {name: json.loads(value) for name, _, value in (word.partition("=") for word in args.set)}
    bench = Bench(data.pool, data.test, card, Recipe.model_validate_json(json.dumps(fields)), device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {args.threads} thread(s)"
    print(f"{args.trainer} on {name}: {len(bench.train):,} images, {bench.iterations} steps of {bench.recipe.batch_size}, {fields}")
    sides = trainer(bench, 0 if args.alone else best_workers(bench))
    compare(bench, {"ours": sides["ours"]} if args.alone else sides, args.rounds)


if __name__ == "__main__":
    main()
