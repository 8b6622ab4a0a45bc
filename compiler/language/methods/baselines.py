"""Paradigms without synthetic data: `undefended` and `dp_sgd`."""

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from compiler.language.base import Arm, Frozen, Proportion


class Undefended(Arm):
    """Train on the private data itself."""

    paradigm: Literal["undefended"]


class Privacy(Frozen):
    """What DP-SGD adds to a recipe: clipping, noise, Poisson sampling (Abadi et al. 2016; De et al. 2022)."""

    revision: ClassVar[int] = 1  # the noise for an epsilon is dp-accounting's, rounded up to thousandths

    noise_multiplier: NonNegativeFloat | None = None
    """Standard deviation of the noise in units of `clip`; give this or `epsilon`."""
    epsilon: float | None = Field(default=None, gt=0, le=100)
    """Target epsilon at `delta`, add/remove neighbours; the noise follows from it."""
    delta: Proportion = 1e-5
    """Probability with which the guarantee may fail; well below one in the private images (lint L18)."""
    clip: PositiveFloat = 1.0
    """Largest norm of one sample's gradient."""
    multiplicity: PositiveInt = 1
    """Augmented copies of a sample whose gradients are averaged before clipping."""


class DpSgd(Arm):
    """DP-SGD on the private data: the baseline for every claim of empirical privacy."""

    paradigm: Literal["dp_sgd"]
    privacy: Privacy
    """Noise and clipping."""
