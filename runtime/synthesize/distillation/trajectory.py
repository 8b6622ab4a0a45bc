"""Dataset distillation by matching trajectories: a student trained on the learned images should reach an expert's later weights.

MTT (Cazenavette et al. 2022) and DATM (Guo et al. 2024). Experts are trained on the private set of each
shadow (`train_generator`) and kept as flat vectors of weights, one per epoch.

The unrolled N student steps are differentiated one step at a time, so memory for graphs does not grow with N. TESLA (Cui et al.
2023) does so too, but treats later steps' gradients as constants, which is not the loss's derivative; here the derivative is exact
unless `cross_terms: dropped` is set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from compiler.language.methods.distillation import DifficultyAligned, Experts, TrajectoryMatching
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged, Metric, Product
from runtime.store import checkpoint
from runtime.store.artifacts import Inputs
from runtime.synthesize.distillation.initial import Learner, Start, finish, initialise, summarise
from runtime.synthesize.distillation.matching import matching_net
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training import nets, siamese
from runtime.training.scoring import accuracy

# Experts


def train_generator(how: Experts, private: LabeledImages, around: Surroundings) -> Product:
    """Train the experts. File `generator`: `weights` = expert × epoch (0 is before training) × weight, float32, on the CPU.
    Metrics: `train_accuracy`, the mean over experts, and `images_seen`, by all of them. SynthcError as of `nets.build`; Diverged if
    a weight is not finite."""
    recipe, fresh = matching_net(how.width, how.depth, around.card), around.seeds("experts/init")
    kept, found = [], []
    for expert in range(how.count):
        net = nets.build(recipe, around.card, fresh).to(around.device)
        kept.append(torch.stack(_train_expert(net, how, private, around, expert)))
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


def _train_expert(net: nets.Classifier, how: Experts, private: LabeledImages, around: Surroundings, expert: int) -> list[Tensor]:
    """Vectors of all weights, on the CPU: before training and after each epoch of plain SGD. `net` is trained in place. `expert`:
    its index, by which its random streams are named."""
    order, moves = (around.seeds(f"experts/{expert}/{use}") for use in ("order", "augment"))
    x, y = nets.normalise(private.images.to(around.device), around.card), private.labels.to(around.device)
    black = siamese.black_level(around.card).to(around.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=how.lr)
    path = [_weights(net)]
    parts: dict[str, checkpoint.Part] = {"net": net, "optimizer": optimizer, "order": order, "moves": moves, "path": path}
    for _ in (epochs := checkpoint.loop(f"expert {expert}", how.epochs, **parts)):
        for rows in torch.randperm(len(private), generator=order).split(how.batch_size):
            shown = x[rows.to(around.device)]
            if how.augment:
                shown = siamese.augment(shown, around.card, moves, black)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(shown), y[rows.to(around.device)])
            loss.backward()
            optimizer.step()
            epochs.log(loss)
        path.append(_weights(net))
    return path


def _weights(net: nets.Classifier) -> Tensor:
    """A copy of all weights in one vector, on the CPU."""
    return parameters_to_vector(net.parameters()).detach().cpu()


# The comparison with one expert


@dataclass(frozen=True)
class Comparison:
    """The squared distance of a student's last weights (end) from an expert's (`target`), divided by that of its first weights
    (`start`) from the same target, and the derivatives of this ratio."""

    loss: Tensor
    """|| end − target ||² / || start − target ||²."""
    learned: tuple[Tensor, ...]
    """The loss's derivative in each learned tensor."""
    net_lr: Tensor
    """The loss's derivative in the student's learning rate."""


def compare_with_expert(
    loss_at: Callable[[Tensor, int], Tensor],
    learned: Sequence[Tensor],
    net_lr: Tensor,
    start: Tensor,
    target: Tensor,
    steps: int,
    *,
    cross_terms: bool = True,
) -> Comparison:
    """Train a student for `steps` plain gradient steps of size `net_lr` from `start`, and differentiate the relative distance of
    its last weights from `target` (see `Comparison`) in `learned` and `net_lr`. The ratio is not finite where `start` equals
    `target`. These two are flat vectors of weights; `learned` must require gradients, `net_lr` (a scalar) should not.

    `loss_at(weights, step)` is the student's loss, which depends on `learned`; it is called twice for each step (from 0) and must
    give the same value. The weights of all steps are stored and the graphs are not: in the backward pass each step is computed
    again, given the derivative in the weights after it (`adjoint`). Without `cross_terms` the gradients of later steps are
    constants, as in TESLA.
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
    return Comparison(loss, tuple(totals), of_lr)


# MTT and DATM


def synthesize(how: TrajectoryMatching | DifficultyAligned, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """Learn images, the students' learning rate and (DATM) soft labels, such that a student trained on them ends near an expert's
    later weights; the experts' weights are those of the need `generator`. The release is that of `LearnedSet.release`, and so is
    Diverged; SynthcError as of `initialise` and `nets.build`, other errors as of `Artifact.tensors`."""
    experts = needs["generator"].tensors("generator")["weights"].to(setting.device)
    recipe = matching_net(how.experts.width, how.experts.depth, setting.card)
    net = nets.build(recipe, setting.card, setting.seeds(f"{how.method}/student")).to(setting.device).requires_grad_(False)
    start, logits = _begin(how, private, net, experts[0, -1], setting)
    learned = LearnedSet(how, start, logits, setting)
    draws = setting.seeds(f"{how.method}/experts")
    for step in (steps := checkpoint.loop(how.method, how.steps, **learned.parts, draws=draws)):
        expert = int(torch.randint(len(experts), (), generator=draws))
        first, last = window(how, step)
        epoch = int(torch.randint(first, last + 1, (), generator=draws))
        result = compare_with_expert(
            learned.student_loss(net),
            learned.tensors,
            learned.log_lr.exp(),
            experts[expert, epoch],
            experts[expert, epoch + how.expert_epochs],
            how.net_steps,
            cross_terms=how.cross_terms == "kept",
        )
        learned.step(result, step)
        steps.log(result.loss)
    return learned.release(steps.losses)


MAX_LOG_LR_STEP = 0.1
"""Largest change of the log of the student's learning rate in one step."""


MOST_GROWTH = 2.0
"""If the student's learning rate has grown by more than this factor, it is named as the cause of a divergence, else the images."""


class LearnedSet(Learner):
    """Learned images, soft labels (learned in DATM alone) and learning rate of the student, with their optimisers."""

    def __init__(self, how: TrajectoryMatching | DifficultyAligned, start: Start, logits: Tensor, setting: Setting) -> None:
        super().__init__(how, start, setting)
        self.how = how
        self.targets = logits.to(self.device).requires_grad_(isinstance(how, DifficultyAligned))
        self.log_lr = torch.tensor(math.log(how.net_lr), device=self.device)
        self.sound_log_lr = self.log_lr.clone()
        self.label_optimizer = torch.optim.SGD([self.targets], lr=getattr(how, "lr_labels", 0.0), momentum=0.9)
        self.average = self.pixels.detach().clone()
        self.order = setting.seeds(f"{how.method}/order")

    @property
    def parts(self) -> checkpoint.Parts:
        """Name → state to save in a checkpoint: images, labels' logits, log learning rate, moving average, optimisers, and random
        streams."""
        optimizers = {"image_optimizer": self.optimizer, "label_optimizer": self.label_optimizer}
        tensors = {"pixels": self.pixels, "targets": self.targets, "average": self.average}
        rates = {"log_lr": self.log_lr, "sound_log_lr": self.sound_log_lr}
        return {**tensors, **rates, **optimizers, "moves": self.moves, "order": self.order}

    @property
    def tensors(self) -> list[Tensor]:
        """The learned tensors in which the comparison is differentiated."""
        return [self.pixels, self.targets] if self.targets.requires_grad else [self.pixels]

    def student_loss(self, net: nets.Classifier) -> Callable[[Tensor, int], Tensor]:
        """The function (flat vector of weights, step from 0) → loss for one training of a student. Its batches and augmentations
        are drawn in this call, so equal arguments of the function give equal losses."""
        batches = list(self._batches())

        def loss_at(weights: Tensor, step: int) -> Tensor:
            rows, maps = batches[step]
            x = self.pixels[rows.to(self.device)]
            if maps is not None:
                x = siamese.transform(x, maps.to(self.device), self.black)
            logits = functional_call(net, nets.split_by_parameter(net, weights), (x,))
            return F.cross_entropy(logits, self.targets[rows.to(self.device)].softmax(1))

        return loss_at

    def _batches(self) -> Iterator[tuple[Tensor, siamese.AugmentParams | None]]:
        """For each step of the student: `batch` rows of learned images (all where it is None or larger), from successive random
        orders, so that a row may occur twice; and an augmentation for each row, or None without `augment`."""
        images = len(self.start.labels)
        size = min(self.how.batch or images, images)
        waiting = torch.empty(0, dtype=torch.int64)
        for _ in range(self.how.net_steps):
            while len(waiting) < size:
                waiting = torch.cat([waiting, torch.randperm(images, generator=self.order)])
            rows, waiting = waiting[:size], waiting[size:]
            yield rows, siamese.sample(size, self.card, self.moves) if self.how.augment else None

    def step(self, result: Comparison, step: int) -> None:
        """Update images (by a derivative of norm at most `clip`), labels (DATM alone) and the log of the student's learning rate
        (by at most MAX_LOG_LR_STEP), then the moving average of the images. `step`, from 0, limits the average's decay."""
        how = self.how
        self.pixels.grad = clip_norm(result.learned[0], how.clip)
        self.optimizer.step()
        if self.targets.requires_grad:
            self.targets.grad = result.learned[1]
            self.label_optimizer.step()
        self.log_lr -= (how.lr_net_lr * self.log_lr.exp() * result.net_lr).clamp(-MAX_LOG_LR_STEP, MAX_LOG_LR_STEP)
        self.sound_log_lr.copy_(torch.where(self.log_lr.isfinite(), self.log_lr, self.sound_log_lr))
        decay = min(getattr(how, "ema", 0.0), (1 + step) / (10 + step))
        self.average.lerp_(self.pixels.detach(), 1 - decay)

    def release(self, losses: list[Tensor]) -> Release:
        """The release: the moving average of the images (MTT: the last images), in grey levels, with soft labels (n × class) in
        DATM, else the labels of the start. Its notes are those of `summarise` and `finish`, and `net_lr`, the last learning rate of
        the student. Diverged as of `summarise` and `finish`."""
        notes = summarise(losses, self.how.method, self._advice(losses))
        labels = self.targets.detach().softmax(1).cpu() if self.targets.requires_grad else None
        return finish(self.start, self.average, self.card, labels, notes | {"net_lr": self.log_lr.exp().item()})

    def _advice(self, losses: list[Tensor]) -> str:
        """Text: the parameter to lower after a divergence. `net_lr` if the first loss is not finite; else `lr_net_lr` if the last
        finite learning rate of the student is above MOST_GROWTH times `net_lr`; else `lr` or `clip`."""
        how, reached = self.how, self.sound_log_lr.exp().item()
        if not losses[0].isfinite():
            return f"lower net_lr ({how.net_lr:g}), by which the first student learns, or raise experts.lr if experts stand still"
        if reached > MOST_GROWTH * how.net_lr:
            return f"lower lr_net_lr ({how.lr_net_lr:g}), which raised net_lr from {how.net_lr:g} to {reached:.3g}"
        return f"lower lr ({how.lr:g}) or clip ({how.clip:g}), by which the images move; net_lr was {reached:.3g}"


def window(how: TrajectoryMatching | DifficultyAligned, step: int) -> tuple[int, int]:
    """Earliest and latest epoch (both included) of experts from which students start at this step (from 0). MTT: 0 and
    `last_start`. DATM: `first_start`, and a latest epoch that grows linearly from `window` to `last_start` over the first half of
    the steps."""
    if isinstance(how, TrajectoryMatching):
        return 0, how.last_start
    done = min(1.0, step / max(1, how.steps // 2))
    return how.first_start, how.window + int(done * (how.last_start - how.window))


def clip_norm(gradient: Tensor, most: float) -> Tensor:
    """The gradient, scaled to a norm of at most `most`."""
    return gradient * (most / gradient.norm().clamp(min=1e-12)).clamp(max=1.0)


HARD_LABEL_LOGIT = 20.0
"""Logit of the true class of a hard label, since targets are stored as logits: softmax gives 1 − 2e-8 with ten classes."""


def _begin(
    how: TrajectoryMatching | DifficultyAligned, private: LabeledImages, net: nets.Classifier, expert: Tensor, setting: Setting
) -> tuple[Start, Tensor]:
    """The initial images, and the logits of their labels (n × class, on the CPU). SynthcError as of `initialise`.

    In MTT the logits are HARD_LABEL_LOGIT for the label, else 0. In DATM `initialise` is given only the private images that the net
    with the weights `expert` (flat) classifies correctly, and labels start as its logits: of the image itself where images start
    from private ones, else the mean over the class. Where fewer images of a class are correct than are needed (`images_per_class`,
    or one for the mean), the least wrong are added.
    """
    if isinstance(how, TrajectoryMatching):
        start = initialise(how, private, setting)
        return start, HARD_LABEL_LOGIT * F.one_hot(start.labels, setting.card.classes).float()

    with torch.no_grad():
        x = nets.normalise(private.images.to(setting.device), setting.card)
        weights = nets.split_by_parameter(net, expert)
        logits = torch.cat([functional_call(net, weights, (chunk,)) for chunk in x.split(256)]).cpu()
    lead = logits.gather(1, private.labels[:, None])[:, 0] - logits.amax(1)  # 0 where the own class is the largest
    needed, least = how.images_per_class if how.init == "real" else 1, torch.zeros(setting.card.classes)
    for label in private.labels.unique():
        of_class = lead[private.labels == label]
        least[label] = of_class.topk(min(needed, len(of_class))).values[-1]
    right = (lead >= least[private.labels]).nonzero()[:, 0]
    start = initialise(how, private[right], setting)
    if start.origins is not None:
        rows = right[start.origins]
        return Start(start.pixels, start.labels, rows, start.classes, start.per_class), logits[rows]
    means = torch.stack([logits[right][private.labels[right] == label].mean(0) for label in start.classes])
    return start, means.repeat_interleave(start.per_class, dim=0)
