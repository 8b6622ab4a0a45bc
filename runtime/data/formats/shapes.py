"""Generates a public data set: ten kinds of geometric figures at any image size.

It is an out-of-distribution set that holds nobody's data. Figures are supersampled by four and averaged, so that edges are soft
even at 8×8. Position, size, stroke, angle, contrast and (in colour) hue vary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compiler.language.datasets import Shape
from runtime.data.images import LabeledImages
from runtime.seeds import generator

SAMPLES = 2_000
KINDS = ("disc", "ring", "square", "frame", "bar", "two bars", "cross", "triangle", "wave", "checks")
_FINE = 4


def read(shape: Shape) -> tuple[LabeledImages, None]:
    """2,000 images of `shape` (channels × height × width, channels 1 or 3), uint8, of which row i has the label i % 10, and None
    for the test split; the same figures at every size."""
    channels, height, width = shape
    rng = generator(0, None, "shapes")  # a fixed seed: the set is the same for all studies
    labels = torch.arange(SAMPLES) % len(KINDS)
    place = 0.2 * (torch.rand(SAMPLES, 2, generator=rng) - 0.5)
    size = 0.5 + 0.35 * torch.rand(SAMPLES, generator=rng)  # of the half image
    stroke = 0.16 + 0.12 * torch.rand(SAMPLES, generator=rng)
    angle = math.pi * (torch.rand(SAMPLES, generator=rng) - 0.5) / 3
    ink = 0.65 + 0.35 * torch.rand(SAMPLES, 3, generator=rng)
    paper = 0.15 * torch.rand(SAMPLES, 3, generator=rng)
    if channels == 1:
        ink, paper = ink[:, :1], paper[:, :1]

    images = torch.empty(SAMPLES, channels, height, width, dtype=torch.uint8)
    for rows in torch.arange(SAMPLES).split(250):  # bounds the memory of a large size
        mask = torch.stack(
            [
                _drawn(KINDS[int(labels[row])], place[row], float(size[row]), float(stroke[row]), float(angle[row]), height, width)
                for row in rows
            ]
        )[:, None]
        shade = paper[rows, :, None, None] + (ink - paper)[rows, :, None, None] * mask
        images[rows] = shade.mul(255).round().to(torch.uint8)
    return LabeledImages(images, labels), None


def _drawn(kind: str, place: Tensor, size: float, stroke: float, angle: float, height: int, width: int) -> Tensor:
    """height × width: the share of each pixel, 0..1, that the figure covers. The image goes from -1 to 1 both down and right:
    `place` is the centre of the figure (down, right), `size` its scale, `stroke` the width of lines relative to that, `angle` in
    radians."""
    v = torch.linspace(-1, 1, height * _FINE)[:, None] - place[0]
    u = torch.linspace(-1, 1, width * _FINE)[None, :] - place[1]
    x = (math.cos(angle) * u + math.sin(angle) * v) / size
    y = (math.cos(angle) * v - math.sin(angle) * u) / size
    radius, side = (x * x + y * y).sqrt(), torch.maximum(x.abs(), y.abs())
    match kind:
        case "disc":
            inside = radius < 0.9
        case "ring":
            inside = (radius - 0.8).abs() < stroke
        case "square":
            inside = side < 0.8
        case "frame":
            inside = (side - 0.8).abs() < stroke
        case "bar":
            inside = (x.abs() < 1.5 * stroke) & (y.abs() < 1)
        case "two bars":
            inside = ((x.abs() - 0.5).abs() < stroke) & (y.abs() < 1)
        case "cross":
            inside = (torch.minimum(x.abs(), y.abs()) < stroke) & (side < 1)
        case "triangle":
            inside = (y < 0.8) & (y > 2 * x.abs() - 0.9)
        case "wave":
            inside = ((y - 0.5 * torch.sin(3.5 * x)).abs() < 1.3 * stroke) & (x.abs() < 1.1)
        case _:
            inside = ((x * 2.2).floor() + (y * 2.2).floor()).remainder(2).bool() & (side < 1)
    fine = inside.to(torch.float32).reshape(height, _FINE, width, _FINE)
    return fine.mean((1, 3))
