"""Dataset distillation by matching trajectories: a student trained on the learned images should arrive where an expert did.

MTT (Cazenavette et al. 2022) and DATM (Guo et al. 2024). Experts are trained on the private set of each
shadow (`train_generator`) and kept as flat vectors of weights, one per epoch.

The unroll through N student steps is differentiated one step at a time, so memory does not grow with N. TESLA (Cui et al. 2023)
does that too, but takes later steps' gradients for constants, which is not the loss's derivative; here nothing is dropped
unless `cross_terms: dropped` asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from compiler.errors import SynthcError
from compiler.language.datasets import Card
from compiler.language.methods.distillation import DifficultyAligned, Experts, TrajectoryMatching
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged, Metric, Product
from runtime.store import checkpoint
from runtime.store.artifacts import Artifact
from runtime.synthesize.distillation.initial import Start, finished, started
from runtime.synthesize.distillation.matching import matching_net
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training import nets, siamese
from runtime.training.scoring import accuracy

# Experts

def train_generator(how: Experts, private: LabeledImages, around: Surroundings) -> Product:
    """File `generator`: `weights` = expert × epoch (0 is before training) × weight, float32."""
    recipe, fresh = matching_net(how.width, how.depth, around.card), around.seeds("experts/init")
    kept, found = [], []
    for expert in range(how.count):
        net = nets.build(recipe, around.card, fresh).to(around.device)
        kept.append(torch.stack(_trained(net, how, private, around, expert)))
        found.append(accuracy(net, private.images, private.labels, around.card, around.device))
    weights = torch.stack(kept)
    if not weights.isfinite().all():
        raise Diverged(f"experts: the weights are no numbers; lower experts.lr ({how.lr:g})")
    steps = how.count * how.epochs * math.ceil(len(private) / how.batch_size)
    metrics = (
        Metric("train_accuracy", sum(found) / len(found), n=len(found)),
        Metric("images_seen", float(how.count * how.epochs * len(private)), n=1),
    )
    return Product({"generator": {"weights": weights}}, metrics, {"experts": how.count, "steps": steps})


def _trained(
    net: nets.Classifier, how: Experts, private: LabeledImages, around: Surroundings, expert: int
) -> list[Tensor]:
    """The weights before training and after each epoch of plain SGD."""
    order, moves = (around.seeds(f"experts/{expert}/{use}") for use in ("order", "augment"))
    x, y = nets.normalise(private.images.to(around.device), around.card), private.labels.to(around.device)
    black = siamese.black_level(around.card).to(around.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=how.lr)
    path = [flat(net)]
    for _ in checkpoint.loop(f"expert {expert}", how.epochs, net=net, optimizer=optimizer, order=order, moves=moves, path=path):
        for rows in torch.randperm(len(private), generator=order).split(how.batch_size):
            shown = x[rows.to(around.device)]
            if how.augment:
                maps = siamese.sample(len(rows), around.card, moves).to(around.device)
                shown = siamese.transform(shown, maps, black)
            optimizer.zero_grad()
            F.cross_entropy(net(shown), y[rows.to(around.device)]).backward()
            optimizer.step()
        path.append(flat(net))
    return path


def flat(net: nets.Classifier) -> Tensor:
    """A copy of all weights in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()]).cpu()


# One comparison with an expert

@dataclass(frozen=True)
class Compared:
    """How far from an expert's end a student ended, and what that says of everything learned."""

    loss: Tensor
    """|| end − target ||² / || start − target ||²."""
    learned: tuple[Tensor, ...]
    """Its derivative in each tensor that is learned."""
    net_lr: Tensor
    """Its derivative in the student's learning rate."""


def compared(
    loss_at: Callable[[Tensor, int], Tensor], learned: Sequence[Tensor], net_lr: Tensor, start: Tensor, target: Tensor, steps: int,
    *, cross_terms: bool = True,
) -> Compared:
    """Train a student for `steps` steps and differentiate how far from `target` it ends.

    `loss_at(weights, step)` is the student's loss, which depends on `learned`. The weights along the way are kept, the graphs are
    not: going back, each step is computed again, with the derivative of the end in the weights after it (`adjoint`) in hand.
    """
    path, gradients = [start], []
    for step in range(steps):
        weights = path[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_at(weights, step), [weights])
        gradients.append(gradient)
        path.append(path[-1] - net_lr * gradient)

    scale = (start - target).square().sum()
    loss = (path[-1] - target).square().sum() / scale
    adjoint = 2 * (path[-1] - target) / scale
    totals = [torch.zeros_like(tensor) for tensor in learned]
    of_lr = torch.zeros_like(net_lr)
    for step in reversed(range(steps)):
        of_lr = of_lr - adjoint @ gradients[step]
        weights = path[step].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_at(weights, step), [weights], create_graph=True)
        *parts, of_weights = torch.autograd.grad(
            gradient, [*learned, weights], grad_outputs=-net_lr * adjoint, allow_unused=True, materialize_grads=True
        )
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
        if cross_terms:
            adjoint = adjoint + of_weights
    return Compared(loss, tuple(totals), of_lr)


# MTT and DATM

def synthesize(
    how: TrajectoryMatching | DifficultyAligned, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting
) -> Release:
    """Learn images (DATM: and soft labels) so that students trained on them follow the experts of the need `generator`."""
    card, device, seeds = setting.card, setting.device, setting.seeds
    experts = needs["generator"].tensors("generator")["weights"].to(device)
    net = nets.build(matching_net(how.experts.width, how.experts.depth, card), card, seeds(f"{how.method}/student"))
    student = Student(net.to(device).requires_grad_(False))
    start, logits = _beginning(how, private, student, experts[0, -1], setting)

    pixels = start.pixels.to(device).requires_grad_()
    targets = logits.to(device).requires_grad_(isinstance(how, DifficultyAligned))
    log_lr = torch.tensor(math.log(how.net_lr), device=device)
    image_optimizer = torch.optim.SGD([pixels], lr=how.lr, momentum=0.5)
    label_optimizer = torch.optim.SGD([targets], lr=getattr(how, "lr_labels", 0.0), momentum=0.9)
    average = pixels.detach().clone()
    draws, moves, order = (seeds(f"{how.method}/{use}") for use in ("experts", "augment", "order"))
    black = siamese.black_level(card).to(device)
    losses: list[Tensor] = []
    parts: dict[str, checkpoint.Part] = {"pixels": pixels, "targets": targets, "log_lr": log_lr, "average": average}
    parts |= {"image_optimizer": image_optimizer, "label_optimizer": label_optimizer}
    for step in checkpoint.loop(how.method, how.steps, **parts, draws=draws, moves=moves, order=order, losses=losses):
        expert = int(torch.randint(len(experts), (), generator=draws))
        first, last = window(how, step)
        epoch = int(torch.randint(first, last + 1, (), generator=draws))
        shown = list(_batches(how, len(start.labels), card, order, moves))

        def loss_at(weights: Tensor, at: int, shown: list[tuple[Tensor, siamese.AugmentParams | None]] = shown) -> Tensor:
            rows, maps = shown[at]
            x = pixels[rows.to(device)]
            if maps is not None:
                x = siamese.transform(x, maps.to(device), black)
            return F.cross_entropy(student(weights, x), targets[rows.to(device)].softmax(1))

        learned = [pixels, targets] if targets.requires_grad else [pixels]
        result = compared(
            loss_at, learned, log_lr.exp(), experts[expert, epoch], experts[expert, epoch + how.expert_epochs], how.net_steps,
            cross_terms=how.cross_terms == "kept",
        )
        pixels.grad = clipped(result.learned[0], how.clip)
        image_optimizer.step()
        if targets.requires_grad:
            targets.grad = result.learned[1]
            label_optimizer.step()
        log_lr -= (how.lr_net_lr * log_lr.exp() * result.net_lr).clamp(-LR_STEP, LR_STEP)
        decay = min(getattr(how, "ema", 0.0), (1 + step) / (10 + step))
        average.lerp_(pixels.detach(), 1 - decay)
        losses.append(result.loss)

    first_loss, last_loss = (torch.stack(part).mean().item() for part in (losses[:20], losses[-20:]))
    if not math.isfinite(last_loss):
        raise Diverged(f"{how.method}: the loss is {last_loss} after {how.steps} steps; lower lr ({how.lr:g}), clip ({how.clip:g})")
    notes = {"loss_first": first_loss, "loss_last": last_loss, "net_lr": log_lr.exp().item()}
    labels = targets.detach().softmax(1).cpu() if targets.requires_grad else None
    return finished(start, average, card, labels, notes)


LR_STEP = 0.1
"""Most that one step changes the logarithm of the student's learning rate."""


class Student:
    """A net as a function of a flat vector of weights."""

    def __init__(self, net: nets.Classifier) -> None:
        self.net = net
        self.names = [name for name, _ in net.named_parameters()]
        self.shapes = [parameter.shape for parameter in net.parameters()]

    def __call__(self, weights: Tensor, x: Tensor) -> Tensor:
        """n × classes: logits."""
        parts = weights.split([shape.numel() for shape in self.shapes])
        named = {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}
        return functional_call(self.net, named, (x,))


def window(how: TrajectoryMatching | DifficultyAligned, step: int) -> tuple[int, int]:
    """Earliest and latest epoch that students start from at this step: DATM's grows until the middle of the steps."""
    if isinstance(how, TrajectoryMatching):
        return 0, how.last_start
    done = min(1.0, step / max(1, how.steps // 2))
    return how.first_start, how.window + int(done * (how.last_start - how.window))


def clipped(gradient: Tensor, most: float) -> Tensor:
    """The gradient, no longer than `most`."""
    return gradient * (most / gradient.norm().clamp(min=1e-12)).clamp(max=1.0)


def _batches(
    how: TrajectoryMatching | DifficultyAligned, images: int, card: Card, order: torch.Generator, moves: torch.Generator
) -> Iterator[tuple[Tensor, siamese.AugmentParams | None]]:
    """For each step of the student: which learned images, and under which maps, one for each."""
    size = min(how.batch or images, images)
    waiting = torch.empty(0, dtype=torch.int64)
    for _ in range(how.net_steps):
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(images, generator=order)])
        rows, waiting = waiting[:size], waiting[size:]
        yield rows, siamese.sample(size, card, moves) if how.augment else None


HARD = 20.0
"""Logit of the own class of a hard label, as targets are kept as logits: softmax gives 1 − 2e-8 with ten classes."""


def _beginning(
    how: TrajectoryMatching | DifficultyAligned, private: LabeledImages, student: Student, expert: Tensor, setting: Setting
) -> tuple[Start, Tensor]:
    """The images at their beginning, and the logits of their labels.

    DATM starts from what an expert at its end says of private images that it classifies right: of the very image where that is the
    beginning, else the mean over its class.
    """
    if isinstance(how, TrajectoryMatching):
        start = started(how, private, setting)
        return start, HARD * F.one_hot(start.labels, setting.card.classes).float()

    with torch.no_grad():
        x = nets.normalise(private.images.to(setting.device), setting.card)
        logits = torch.cat([student(expert, chunk) for chunk in x.split(256)]).cpu()
    right = (logits.argmax(1) == private.labels).nonzero()[:, 0]
    missing = sorted(set(private.labels.tolist()) - set(private.labels[right].tolist()))
    if missing:
        raise SynthcError(f"datm: the experts classify no private image of class {missing[0]} right; train them longer")
    start = started(how, private[right], setting)
    if start.origins is not None:
        rows = right[start.origins]
        return Start(start.pixels, start.labels, rows, start.classes, start.per_class), logits[rows]
    means = torch.stack([logits[right][private.labels[right] == label].mean(0) for label in start.classes])
    return start, means.repeat_interleave(start.per_class, dim=0)
