"""Paradigm `distillation`: a few images are learned that replace the private set in training."""

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from compiler.language.base import BelowOne, Generator, Method
from compiler.language.cost import Cost, Sizes, convolutions
from compiler.language.methods.inversion import Losses

TWICE = 5
"""Time of a gradient through a gradient, relative to that of the gradient."""
OF_CLASSES = 2
"""Time of one gradient per class, relative to that of one gradient of their mean."""


class Distilled(Method):
    """Fields of every distillation."""

    paradigm: Literal["distillation"]
    images_per_class: PositiveInt
    """Released images of each class."""
    init: Literal["noise", "real", "class_mean", "public"] = "noise"
    """Where the learned images start: the key privacy variable. noise: normal, in normalised space. real: private images.
    class_mean: the private mean of the class and a little noise. public: images of the study's public set."""

    @property
    def from_private_images(self) -> bool:
        return self.init == "real"

    def learned(self, sizes: Sizes) -> int:
        """Number of images that are learned."""
        return self.images_per_class * sizes.classes


class DistributionMatching(Distilled):
    """Match the mean features of fresh random nets, class by class (Zhao and Bilen, WACV 2023)."""

    compute = "matching"
    blind_to_augment = True

    method: Literal["dm"]
    steps: PositiveInt = 300
    """Steps of the images, each with a fresh random net; the paper takes 20,000."""
    lr: PositiveFloat = 1.0
    """Learning rate of the images (SGD, momentum 0.5)."""
    batch_real: PositiveInt = 64
    """Private images of each class per step; a smaller class gives all that it has."""
    width: PositiveInt = 32
    """Width of the random ConvNets."""
    depth: PositiveInt | None = None
    """Their blocks; null: as many as the image can be halved down to 2×2, at most 3."""
    augment: bool = True
    """Siamese augmentation (Zhao and Bilen, ICML 2021)."""

    def cost(self, sizes: Sizes) -> Cost:
        net = convolutions("convnet", self.width, sizes.shape)
        begun = Cost(self.steps * net.step)  # each step has a net of its own
        return begun + net.training(self.steps, self.learned(sizes)) + net.answers(self.steps * self.batch_real * sizes.classes)


class GradientMatching(Distilled):
    """Match the loss gradients of private and learned images, class by class, at points of nets' training on the learned images.

    dc: without augmentation (Zhao et al. 2021). dsa: under siamese augmentation (Zhao and Bilen 2021).
    """

    revision = 2
    compute = "matching"
    blind_to_augment = True

    method: Literal["dc", "dsa"]
    nets: PositiveInt = 20
    """Fresh nets; the papers take 1000."""
    points: PositiveInt = 10
    """Points of each net's training at which gradients are matched: one step of the images each."""
    net_steps: NonNegativeInt = 10
    """Training steps of the net on the learned images between two such points; the papers take 50."""
    net_lr: PositiveFloat = 0.01
    """Learning rate of those steps (SGD, momentum 0.5)."""
    lr: PositiveFloat = 0.1
    """Learning rate of the images (SGD, momentum 0.5)."""
    batch_real: PositiveInt = 64
    """Private images of each class per step; a smaller class gives all that it has. The papers take 256."""
    width: PositiveInt = 32
    """Width of the ConvNets."""
    depth: PositiveInt | None = None
    """Their blocks; null: as many as the image can be halved down to 2×2, at most 3."""

    def cost(self, sizes: Sizes) -> Cost:
        net, learned = convolutions("convnet", self.width, sizes.shape), self.learned(sizes)
        matched = net.training(TWICE, learned) + net.training(OF_CLASSES, self.batch_real * sizes.classes)
        return (matched * self.points + net.training((self.points - 1) * self.net_steps, learned)) * self.nets


class Experts(Generator):
    """Trainings on the private set whose weights are kept after every epoch: the expert trajectories of trajectory matching."""

    paradigm = "distillation"
    compute = "trajectory"

    count: PositiveInt = 10
    """Trainings; the papers take 100."""
    epochs: PositiveInt = 20
    """Of each; the papers: 50 (MTT), 100 (DATM)."""
    batch_size: PositiveInt = 64
    """Private images in each step."""
    lr: PositiveFloat = 0.01
    """Of plain SGD, constant."""
    augment: bool = True
    """A map of siamese augmentation for each image."""
    width: PositiveInt = 32
    """Width of the ConvNets, experts and students alike."""
    depth: PositiveInt | None = None
    """Their blocks; null: as many as the image can be halved down to 2×2, at most 3."""

    def cost(self, sizes: Sizes) -> Cost:
        net = convolutions("convnet", self.width, sizes.shape)
        return net.training(self.count * self.epochs * math.ceil(sizes.images / self.batch_size), self.batch_size)


class _Trajectories(Distilled):
    revision = 2
    compute = "trajectory"
    blind_to_augment = True

    @property
    def needs(self) -> tuple[str, ...]:
        return ("generator",)

    experts: Experts = Field(default_factory=Experts)
    """The trainings to follow. Arms with the same words share them."""
    steps: PositiveInt = 500
    """Steps of the images; the papers take 5,000 to 10,000."""
    net_steps: PositiveInt = 20
    """Steps of the student on the learned images in each: N."""
    expert_epochs: PositiveInt = 2
    """Epochs of an expert that they should amount to: E."""
    last_start: NonNegativeInt = 10
    """Students start where an expert was after 0 to this many epochs."""
    batch: PositiveInt | None = None
    """Learned images in each step of the student; null: all."""
    lr: PositiveFloat = 100.0
    """Learning rate of the images (SGD, momentum 0.5)."""
    clip: PositiveFloat = 1.0
    """Largest length of their gradient; without it, single steps throw the images far off."""
    net_lr: PositiveFloat = 0.01
    """The student's learning rate at first; it is learned, and stays positive."""
    lr_net_lr: NonNegativeFloat = 0.01
    """Learning rate of its logarithm."""
    augment: bool = True
    """A map of siamese augmentation for each image in each step of the student."""
    cross_terms: Literal["kept", "dropped"] = "kept"
    """Whether a step's images are also learned from through all later steps. `dropped` is the derivative that TESLA takes
    (Cui et al. 2023), which is not that of the loss."""

    @property
    def generator(self) -> Experts:
        return self.experts

    def faults(self) -> Iterator[str]:
        if self.last_start + self.expert_epochs > self.experts.epochs:
            start = f"a start at epoch {self.last_start} and {self.expert_epochs} more need longer experts"
            yield f"{start} than {self.experts.epochs} epochs; lower `last_start` or raise `experts.epochs`"

    def cost(self, sizes: Sizes) -> Cost:
        net = convolutions("convnet", self.experts.width, sizes.shape)
        followed = net.training(self.steps * self.net_steps * (1 + TWICE), self.batch or self.learned(sizes))
        experts = 4 * self.experts.count * (self.experts.epochs + 1) * net.weights / 1e6
        return followed + Cost(0.0, followed.gpu_mb + experts)


class TrajectoryMatching(_Trajectories):
    """MTT: images are learned so that a student trained on them reaches the weights of an expert (Cazenavette et al. 2022)."""

    method: Literal["mtt"]


class DifficultyAligned(_Trajectories):
    """DATM: MTT with a window of starts that grows later, soft labels that are learned, and averaged images (Guo et al. 2024).

    Its experts are trained as they are for MTT: not in the flat regions that the paper's come from (Du et al. 2023).
    """

    method: Literal["datm"]
    first_start: NonNegativeInt = 0
    """Earliest epoch that students start from."""
    window: NonNegativeInt = 5
    """Latest start at the beginning."""
    last_start: NonNegativeInt = 15
    """Latest start from the middle of the steps on."""
    lr_labels: NonNegativeFloat = 2.0
    """Learning rate of the labels' logits (SGD, momentum 0.9)."""
    ema: BelowOne = 0.99
    """Decay of the average of the images that is released; the paper: 0.9995 at 10,000 steps."""

    def faults(self) -> Iterator[str]:
        if not self.first_start <= self.window <= self.last_start:
            yield "`first_start`, `window`, `last_start` should not fall"
        yield from super().faults()


class Recovery(Distilled):
    """SRe2L: images recovered from a classifier trained on the private set, and labelled by it (Yin, Xing and Shen 2023)."""

    revision = 2
    compute = "recovery"

    method: Literal["sre2l"]
    losses: Losses = Field(default_factory=lambda: Losses(statistics=1.0, one_hot=1.0))
    """What the images are improved by."""
    steps: PositiveInt = 100
    """Steps of the images; the paper takes 1,000 to 4,000."""
    lr: PositiveFloat = 0.1
    """Learning rate of the images (Adam), in normalised grey levels."""
    labels: Literal["hard", "soft"] = "soft"
    """Of the released images: the wanted class, or the classifier's probabilities."""
    temperature: PositiveFloat = 1.0
    """Of soft labels."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("teacher",)

    def cost(self, sizes: Sizes) -> Cost:
        batches = math.ceil(self.learned(sizes) / 250)
        return sizes.net.training(1.5 * self.steps * batches, self.learned(sizes) / batches)  # with statistics of every layer

    @property
    def needs_batch_norm(self) -> bool:
        return self.losses.statistics > 0

    def faults(self) -> Iterator[str]:
        if self.losses.adversarial:
            yield "there is no student to play against; leave `losses.adversarial` out"
