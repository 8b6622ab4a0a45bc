"""Checks of images, labels and index lists from users' code and files; each returns sentences on what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.language.datasets import Card

MAX_GREY_LEVEL = 10.0
"""Largest absolute grey level that is accepted: learned images may leave 0..1, but larger values mean another scale."""


def images_wrong(images: Tensor, card: Card) -> list[str]:
    """Faults of a set's images, which must be uint8, or float32 in grey levels of about 0 to 1; empty if valid."""
    if images.ndim != 4 or tuple(images.shape[1:]) != card.shape or not len(images):
        return [f"images have the shape {tuple(images.shape)}; it should be n × {' × '.join(map(str, card.shape))}, n at least 1"]
    if images.dtype not in (torch.uint8, torch.float32):
        return [f"images are {images.dtype}; they should be uint8, or float32 from 0 to 1"]
    if images.dtype == torch.float32 and not bool((images.abs() <= MAX_GREY_LEVEL).all()):
        worst = images[images.isfinite()].abs().max() if bool(images.isfinite().all()) else "not a number, or infinite"
        return [f"images hold a grey level that is {worst}; black is 0 and white is 1"]
    return []


def labels_wrong(labels: Tensor, images: int, card: Card) -> list[str]:
    """Faults of labels, which must be classes, or a row of probabilities for each image; empty if valid."""
    if labels.ndim == 2 and labels.dtype == torch.float32 and tuple(labels.shape) == (images, card.classes):
        uneven = ~((labels >= 0).all(1) & ((labels.sum(1) - 1).abs() < 1e-3))
        place = int(uneven.nonzero()[0, 0]) if bool(uneven.any()) else None
        return [] if place is None else [f"labels[{place}] are no probabilities: each from 0 on, together 1"]
    return whole_wrong("labels", labels, images, 0, card.classes - 1)


def whole_wrong(name: str, values: Tensor, count: int, least: int, most: int) -> list[str]:
    """Faults of a tensor that must hold `count` int64 from `least` to `most`; empty if valid."""
    if values.dtype != torch.int64 or tuple(values.shape) != (count,):
        return [f"{name} are {values.dtype} of shape {tuple(values.shape)}; they should be {count} int64 from {least} to {most}"]
    wrong = (values < least) | (values > most)
    place = int(wrong.nonzero()[0, 0]) if bool(wrong.any()) else None
    return [] if place is None else [f"{name}[{place}] is {int(values[place])}; from {least} to {most} is wanted"]
