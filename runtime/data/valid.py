"""Checks of images, labels and index lists from users' code and files; each returns sentences on what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.check.imported_files import MAX_GREY_LEVEL, MAX_SUM_ERROR
from compiler.language.datasets import Card


def images_wrong(images: Tensor, card: Card) -> list[str]:
    """The first fault of a set's images, as a list of at most one sentence. They must be of the card's shape, at least one, and
    uint8, or float32 of absolute grey level up to MAX_GREY_LEVEL, where black is 0 and white 1; NaN is a fault."""
    if images.ndim != 4 or tuple(images.shape[1:]) != card.shape or not len(images):
        return [f"images have the shape {tuple(images.shape)}; it should be n × {' × '.join(map(str, card.shape))}, n at least 1"]
    if images.dtype not in (torch.uint8, torch.float32):
        return [f"images are {images.dtype}; they should be uint8, or float32 from 0 to 1"]
    if images.dtype == torch.float32 and not bool((images.abs() <= MAX_GREY_LEVEL).all()):
        worst = images[images.isfinite()].abs().max() if bool(images.isfinite().all()) else "not a number, or infinite"
        return [f"images hold a grey level that is {worst}; black is 0 and white is 1"]
    return []


def labels_wrong(labels: Tensor, images: int, card: Card) -> list[str]:
    """The first fault of labels, as a list of at most one sentence. They must be int64 from 0 to classes - 1, as many as
    `images` says, or float32, images × classes, in which no number is negative and the sum of each row differs from 1 by less than
    MAX_SUM_ERROR."""
    if labels.ndim == 2 and labels.dtype == torch.float32 and tuple(labels.shape) == (images, card.classes):
        uneven = ~((labels >= 0).all(1) & ((labels.sum(1) - 1).abs() < MAX_SUM_ERROR))
        place = int(uneven.nonzero()[0, 0]) if bool(uneven.any()) else None
        return [] if place is None else [f"labels[{place}] are no probabilities: each from 0 on, together 1"]
    return whole_wrong("labels", labels, images, 0, card.classes - 1)


def whole_wrong(name: str, values: Tensor, count: int, least: int, most: int) -> list[str]:
    """The first fault of a vector that must hold `count` int64 from `least` to `most`, both included, as a list of at most one
    sentence."""
    if values.dtype != torch.int64 or tuple(values.shape) != (count,):
        return [f"{name} are {values.dtype} of shape {tuple(values.shape)}; they should be {count} int64 from {least} to {most}"]
    wrong = (values < least) | (values > most)
    place = int(wrong.nonzero()[0, 0]) if bool(wrong.any()) else None
    return [] if place is None else [f"{name}[{place}] is {int(values[place])}; from {least} to {most} is wanted"]
