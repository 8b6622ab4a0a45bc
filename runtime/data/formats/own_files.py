"""Reads users' own images: an .npz, or a folder of PNG and JPEG by class.

Decoded images are kept in memory only: private images are not copied to other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compiler.data.files import MAX_BYTES_OF_IMAGES, file_digest, splits
from compiler.errors import SynthcError
from compiler.language.datasets import Card, Shape
from compiler.work.operations import UserFiles
from runtime.data.formats.image_file import decode_all
from runtime.data.formats.npz import read_arrays
from runtime.data.images import LabeledImages


def read(files: UserFiles) -> tuple[LabeledImages, LabeledImages | None]:
    """Pool and test split (None without one); SynthcError if the files are missing or broken, or were changed since the study was
    compiled."""
    path = Path(files.path)
    if not path.exists():
        raise SynthcError(f"{path}: there is no such file or folder on this machine")
    if file_digest(path) != files.card.digest:
        raise SynthcError(f"{path}: its content has changed since the study was planned; run `synthc run` again")
    if path.is_dir():
        pool, test = splits(path)
        shape = files.card.shape
        return decoded(pool, path, shape), decoded(test, path, shape) if test else None
    names = [f"{split}{what}" for split in ("", "test_") for what in ("images", "labels")]
    arrays = read_arrays(path, names, 2 * MAX_BYTES_OF_IMAGES)  # with the labels, which may be of eight bytes
    return _labeled(arrays, "", files.card), _labeled(arrays, "test_", files.card) if files.card.test_samples else None


def _labeled(arrays: dict[str, np.ndarray], split: str, card: Card) -> LabeledImages:
    images = channels_first(arrays[f"{split}images"], card.shape)
    return LabeledImages(torch.from_numpy(images), torch.from_numpy(arrays[f"{split}labels"].astype(np.int64)))


def channels_first(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """n × channels × height × width, contiguous, from images in that layout, with channels last, or (grey) without channels;
    `shape`: channels × height × width. The size is not checked. `images` itself, not a copy, where the layout is right."""
    if images.shape[1:] != shape:
        images = images[..., None] if images.ndim == 3 else images  # grey without a channel
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)


def decoded(labelled: Sequence[tuple[Path, int]], root: Path, shape: Shape | None = None) -> LabeledImages:
    """Decode the files of (path, label) pairs, at least one, in their order. All images get the number of channels of `shape`, or
    three without it, for which grey is repeated; an image in colour does not fit one channel (RuntimeError). SynthcError as of
    `decode_all`, with paths below `root`, for files that cannot be used or differ in size, and for another size than `shape`."""
    images: Tensor | None = None
    for row, pixels in enumerate(decode_all((path.relative_to(root).as_posix(), path) for path, _ in labelled)):
        height, width = pixels.shape[:2]
        if images is None:
            images = torch.empty(len(labelled), shape[0] if shape else 3, height, width, dtype=torch.uint8)
        images[row] = torch.from_numpy(pixels.reshape(height, width, -1).copy()).permute(2, 0, 1)  # one channel fills three
    assert images is not None
    if shape is not None and (size := tuple(images.shape[2:])) != shape[1:]:
        raise SynthcError(f"images of {size[0]}×{size[1]} pixels; the set has {shape[1]}×{shape[2]}")
    return LabeledImages(images, torch.tensor([label for _, label in labelled]))
