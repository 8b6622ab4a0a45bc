"""A data set's name → its images, checked against the digest that identifies it; each loaded once per process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from compiler.datasets import CARDS
from compiler.errors import SynthcError, did_you_mean
from compiler.work import Dataset
from runtime.data import LabeledImages, content_digest, digits, idx, shapes
from runtime.seeds import generator

DEBIAN = Path("/usr/share/datasets")
"""Where Debian's packages `dataset-*` put their files."""


@dataclass(frozen=True)
class Loaded:
    """A data set as a study uses it: at the asked size, its class-balanced part, its official test split if it has one."""

    pool: LabeledImages
    test: LabeledImages | None
    classes: int
    digest: str
    """Content digest of the whole set, before any subset or resizing."""


@lru_cache(maxsize=4)
def load(dataset: Dataset) -> Loaded:
    """The images of `dataset`; SynthcError if they are not there, broken, or other than the study was made for."""
    pool, test = _read(dataset)
    digest = content_digest(pool, test)
    if dataset.digest and digest != dataset.digest and dataset.name != "shapes":
        raise SynthcError(
            f"{dataset.name}: these images have the digest {digest}, the study was made for {dataset.digest}; "
            "look for a damaged or altered copy with `synthc data verify`"
        )
    if dataset.subset is not None and dataset.subset < len(pool):
        pool = pool[balanced_part(pool.labels, dataset.subset)]
    return Loaded(_resized(pool, dataset.shape), test and _resized(test, dataset.shape), CARDS[dataset.name].classes, digest)


def _read(dataset: Dataset) -> tuple[LabeledImages, LabeledImages | None]:
    match dataset.name:
        case "digits":
            return digits.read()
        case "shapes":
            return shapes.read(dataset.shape)
        case "mnist":
            return _first("mnist", idx.read, "MNIST/raw", "mnist")
        case "fashion_mnist":
            return _first("fashion_mnist", idx.read, "FashionMNIST/raw", "fashion_mnist", "fashion-mnist")
    raise SynthcError(f"no data set is called {dataset.name!r}; {did_you_mean(dataset.name, CARDS)}")


def data_root() -> Path:
    """`$SYNTHC_DATA`, else `~/.cache/synthc/data`."""
    return Path(os.environ.get("SYNTHC_DATA") or Path.home() / ".cache/synthc/data")


def _first(
    name: str, read: Callable[[Path], tuple[LabeledImages, LabeledImages]], *layouts: str
) -> tuple[LabeledImages, LabeledImages]:
    """What `read` makes of the first folder that exists, in `$SYNTHC_DATA` or Debian's place."""
    folders = [root / layout for root in (data_root(), DEBIAN) for layout in layouts]
    for folder in folders:
        if folder.is_dir():
            return read(folder)
    raise SynthcError(f"{name}: not found; put its files into {folders[0]} (looked at {', '.join(map(str, folders))})")


def balanced_part(labels: Tensor, n: int) -> Tensor:
    """Rows of a class-balanced part of n samples, in their old order; a smaller part lies within a larger one."""
    order = torch.randperm(len(labels), generator=generator(0, None, "subset"))
    rank = torch.empty_like(order)   # how many of the same class come before, in that order
    for label in labels.unique():
        rows = order[labels[order] == label]
        rank[rows] = torch.arange(len(rows))
    by_rank = order[rank[order].argsort(stable=True)]
    return by_rank[:n].sort().values


def _resized(data: LabeledImages, shape: tuple[int, int, int]) -> LabeledImages:
    """The same images at another size: antialiased bilinear, grey repeated or colours averaged (ITU-R BT.601 weights)."""
    if tuple(data.images.shape[1:]) == shape:
        return data
    images = data.images.to(torch.float32)
    if images.shape[1] != shape[0]:
        weights = images.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
        images = images.expand(-1, 3, -1, -1) if shape[0] == 3 else (images * weights).sum(1, keepdim=True)
    if tuple(images.shape[2:]) != shape[1:]:
        images = torch.nn.functional.interpolate(images, size=shape[1:], mode="bilinear", antialias=True, align_corners=False)
    return LabeledImages(images.round().clamp(0, 255).to(torch.uint8), data.labels)
