"""Paradigm `distillation`: learn a few images that stand for the private set (methods.md section 6)."""

from __future__ import annotations

from typing import Literal

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


Distillation = DistributionMatching   # becomes a union, discriminated by `method`, with the second method
