"""Losses of images by a frozen teacher, for data-free distillation and other inversions of a classifier.

Not here: generating images (`generators`), training on them (`rounds`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.language.datasets import Card
from compiler.language.methods.inversion import Losses
from runtime.training.nets import Classifier, normalise

EARLIER_BATCHES_WEIGHT = 0.9
"""Weight of earlier batches in the moving average of batch statistics (Aerni et al. 2024, code)."""


class Statistics:
    """Mean and variance of the inputs of each BatchNorm layer of a teacher: those of a batch, beside the layer's running ones.
    Registers forward hooks on these layers, which stay."""

    def __init__(self, teacher: nn.Module) -> None:
        self.layers = [layer for layer in teacher.modules() if isinstance(layer, nn.BatchNorm2d)]
        self.last: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        """Layer → mean and variance of the last batch."""
        self.earlier: list[Tensor] = []
        """Mean and variance of each layer in turn, averaged over earlier batches; empty before the first `blend`."""
        for layer in self.layers:
            layer.register_forward_pre_hook(self._record)

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Forward hook: store mean and variance of the layer's inputs, with their graph. Batches under `no_grad` are ignored: they
        are labelled, not optimised."""
        if torch.is_grad_enabled():
            variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
            self.last[layer] = mean, variance

    def current(self) -> list[Tensor]:
        """Mean and variance of each layer in turn, one value per channel, differentiable: EARLIER_BATCHES_WEIGHT times the moving
        average over earlier batches plus the rest times the last batch's; before the first `blend` the last batch's alone. KeyError
        before the first batch."""
        new, old = [part for layer in self.layers for part in self.last[layer]], EARLIER_BATCHES_WEIGHT
        if not self.earlier:
            return new
        return [old * before.to(now.device) + (1 - old) * now for before, now in zip(self.earlier, new, strict=True)]

    def distance(self) -> Tensor:
        """Sum over layers of ||mean − running mean|| + ||variance − running variance||, of the means and variances in `current`;
        differentiable. RuntimeError for a teacher without BatchNorm, KeyError before the first batch."""
        private = [layer.get_buffer(name) for layer in self.layers for name in ("running_mean", "running_var")]
        each = torch.stack([(part - goal).norm() for part, goal in zip(self.current(), private, strict=True)])
        return each.unflatten(0, (-1, 2)).sum(1).sum()

    def blend(self) -> None:
        """Take the last batch's means and variances into their moving averages (`earlier`), without gradients; the first call
        starts these. KeyError before the first batch."""
        self.earlier[:] = [part.detach() for part in self.current()]


class Critic:
    """The weighted loss of images by a frozen teacher, which is put into eval mode, without gradients in its weights."""

    def __init__(self, teacher: Classifier, losses: Losses, card: Card, shift: int, moves: torch.Generator) -> None:
        """`shift`: largest random shift, in pixels, of images before they are given to the teacher, drawn from `moves`."""
        self.teacher, self.losses, self.card = teacher.eval().requires_grad_(False), losses, card
        self.shift, self.moves = shift, moves
        self.statistics = Statistics(teacher)

    def prepare(self, images: Tensor) -> Tensor:
        """The images (grey levels 0..1) as input of the nets: all shifted and mirrored alike at random (see `move`), and
        normalised."""
        return normalise(move(images, self.shift, self.card, self.moves), self.card)

    def __call__(self, images: Tensor, wanted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, a scalar, of images (n × channels × height × width, grey levels 0..1); the teacher's input; its logits.
        `wanted`: the classes of the images; None: those that the teacher predicts. Without the adversarial loss, which needs a
        student."""
        weight, x = self.losses, self.prepare(images)
        features = self.teacher.features(x)
        answer = self.teacher.head(features)
        loss = answer.new_zeros(())
        if weight.statistics:
            loss = loss + weight.statistics * self.statistics.distance()
        if weight.one_hot:
            loss = loss + weight.one_hot * F.cross_entropy(answer, answer.argmax(1) if wanted is None else wanted)
        if weight.balance:
            loss = loss + weight.balance * negative_entropy(answer)
        if weight.activation:
            loss = loss - weight.activation * features.abs().mean()
        if weight.total_variation:
            loss = loss + weight.total_variation * total_variation(images)
        return loss, x, answer


def divergence(answer: Tensor, reply: Tensor, temperature: float) -> Tensor:
    """n: temperature² KL(teacher || student) of each image at a softmax temperature (Hinton et al. 2015). `answer`: logits of the
    teacher; `reply`: of the student."""
    teacher, student = (answer / temperature).log_softmax(1), (reply / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)


def difference(answer: Tensor, reply: Tensor) -> Tensor:
    """n: mean over classes of the absolute difference of teacher's and student's logits (n × classes). Its gradient, unlike KL's,
    does not vanish for confident nets (Fang et al. 2019)."""
    return (answer - reply).abs().mean(1)


def negative_entropy(answer: Tensor) -> Tensor:
    """Negative entropy, in nats, of the mean prediction over a batch of logits (n × classes), a scalar: least, −log classes, for
    balanced classes (DAFL, Chen et al. 2019)."""
    mean = answer.softmax(1).mean(0)
    return torch.special.xlogy(mean, mean).sum()


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of vertically adjacent pixels, plus that of horizontally adjacent ones: a scalar for all images
    (n × c × h × w)."""
    return images.diff(dim=2).square().mean() + images.diff(dim=3).square().mean()


def move(images: Tensor, limit: int, card: Card, draws: torch.Generator) -> Tensor:
    """The batch under one random shift of up to `limit` pixels each way, 0 (black) moving in, and, where `card.flips`, mirrored as
    a whole with probability 1/2; differentiable."""
    down, right = (int(torch.randint(-limit, limit + 1, (), generator=draws)) for _ in range(2))
    height, width = images.shape[2:]
    padded = F.pad(images, (limit,) * 4)
    shifted = padded[..., limit - down : limit - down + height, limit - right : limit - right + width]
    mirrored = card.flips and bool(torch.randint(2, (), generator=draws))
    return shifted.flip(3) if mirrored else shifted


def default_shift(card: Card) -> int:
    """The default largest shift in pixels: an eighth of the shorter side, rounded up."""
    return math.ceil(min(card.shape[1:]) / 8)
