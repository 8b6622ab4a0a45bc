"""Stripes at several angles, with a phase and noise of their own, at 8×8."""

from __future__ import annotations

import math

import torch

from synthc.plugin import LabeledImages, generator
from synthc_examples.words import Stripes


def read(how: Stripes) -> tuple[LabeledImages, None]:
    """All images, labels in turn; the same for every study that says the same words. There is no test split."""
    rng = generator(0, None, "stripes")
    _, height, width = how.card.shape
    labels = torch.arange(how.samples) % how.angles
    angle = math.pi * labels / how.angles
    across = torch.arange(width) * angle.cos()[:, None, None] + torch.arange(height)[:, None] * angle.sin()[:, None, None]
    phase = 2 * math.pi * torch.rand(how.samples, 1, 1, generator=rng)
    grey = 0.5 + 0.4 * torch.sin(across + phase) + how.noise * torch.randn(how.samples, height, width, generator=rng)
    return LabeledImages((grey * 255).round().clamp(0, 255).to(torch.uint8)[:, None], labels), None
