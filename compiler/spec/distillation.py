"""Paradigm `distillation`: learn a few images that stand for the private set (methods.md section 6)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compiler.spec.base import Method


class Distilled(Method):
    """What every distillation has in common."""

    paradigm: Literal["distillation"]
    images_per_class: int = Field(gt=0)
    """Released images of each class."""
    init: Literal["noise", "real", "class_mean", "public"] = "noise"
    """Where the learned images start: the key privacy variable. noise: normal, in normalised space. real: private images.
    class_mean: the private mean of the class and a little noise. public: images of the study's public set."""
    released: bool = False
    """Whether the adversary also sees the set (release level `synthetic_set`)."""


class DistributionMatching(Distilled):
    """Match the mean features of fresh random nets, class by class (Zhao and Bilen, WACV 2023)."""

    method: Literal["dm"]
    steps: int = Field(default=300, gt=0)
    lr: float = Field(default=1.0, gt=0)
    """Learning rate of the images (SGD, momentum 0.5)."""
    batch_real: int = Field(default=64, gt=0)
    """Private images of each class per step; a smaller class gives all that it has."""
    width: int = Field(default=32, gt=0)
    """Width of the random ConvNets."""
    depth: int | None = Field(default=None, gt=0)
    """Their blocks; null: as many as the image can be halved down to 2×2, at most 3."""
    augment: bool = True
    """Siamese augmentation (Zhao and Bilen, ICML 2021)."""


class GradientMatching(Distilled):
    """Match the loss gradients of nets along their training on the learned images.

    dc: as they are (Zhao et al. 2021). dsa: under siamese augmentation (Zhao and Bilen 2021).
    """

    method: Literal["dc", "dsa"]
    nets: int = Field(default=100, gt=0)
    """Fresh nets; the papers take 1000."""
    points: int = Field(default=10, gt=0)
    """Points of each net's training at which gradients are matched: one step of the images each."""
    net_steps: int = Field(default=50, ge=0)
    """Training steps of the net on the learned images between two such points."""
    net_lr: float = Field(default=0.01, gt=0)
    """Learning rate of those steps (SGD, momentum 0.5)."""
    lr: float = Field(default=0.1, gt=0)
    """Learning rate of the images (SGD, momentum 0.5)."""
    batch_real: int = Field(default=64, gt=0)
    """Private images of each class per step; a smaller class gives all that it has. The papers take 256."""
    width: int = Field(default=32, gt=0)
    """Width of the ConvNets."""
    depth: int | None = Field(default=None, gt=0)
    """Their blocks; null: as many as the image can be halved down to 2×2, at most 3."""


Distillation = Annotated[DistributionMatching | GradientMatching, Field(discriminator="method")]
