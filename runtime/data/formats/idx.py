"""Reads IDX files (mnist, fashion_mnist), gzipped or not.

The header's size is checked before memory is allocated, and no more bytes are read, so that forged headers and decompression bombs
give an error.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from compiler.errors import SynthcError
from runtime.data.images import LabeledImages

MAX_ARRAY_BYTES = 1 << 30
"""Largest accepted array; MNIST's largest has 47 million bytes."""

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def read(folder: Path) -> tuple[LabeledImages, LabeledImages]:
    """Training and test split of the four FILES in `folder`, of which each may be there as `NAME.gz` instead. SynthcError where one
    is missing or malformed, or images and labels differ in number; the range of labels is not checked."""
    paths = (folder / name if (folder / name).exists() else folder / f"{name}.gz" for name in FILES)
    pool_images, pool_labels, test_images, test_labels = map(read_array, paths)
    return _joined(folder, pool_images, pool_labels), _joined(folder, test_images, test_labels)


def read_array(path: Path) -> np.ndarray:
    """The read-only uint8 array, of one to four dimensions, of one IDX file, gzipped if its name ends in `.gz`. SynthcError if it
    cannot be read, is empty, larger than MAX_ARRAY_BYTES or not uint8, or is shorter or longer than its header states."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            head = handle.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise SynthcError(f"{path}: not an IDX file of unsigned bytes (it starts with {head.hex() or 'nothing'})")
            extents = tuple(int(extent) for extent in np.frombuffer(handle.read(4 * head[3]), ">u4"))
            size = math.prod(extents)
            if len(extents) < head[3] or not 0 < size <= MAX_ARRAY_BYTES:
                raise SynthcError(f"{path}: its header states {extents}, at most {MAX_ARRAY_BYTES:,} bytes can be read")
            content = handle.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SynthcError(f"{path}: cannot be read: {error}") from error
    if len(content) != size:
        missing = "longer" if len(content) > size else f"truncated ({len(content):,} bytes)"
        raise SynthcError(f"{path}: {missing} where the header states {size:,} bytes; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(extents)


def _joined(folder: Path, images: np.ndarray, labels: np.ndarray) -> LabeledImages:
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise SynthcError(f"{folder}: images of shape {images.shape} and labels of shape {labels.shape} do not belong together")
    return LabeledImages(torch.from_numpy(images.copy())[:, None], torch.from_numpy(labels.astype(np.int64)))
