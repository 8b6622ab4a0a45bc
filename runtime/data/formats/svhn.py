"""SVHN's cropped digits: two MATLAB 5 files with `X` (32 × 32 × 3 × n, uint8) and `y` (n × 1, 1 to 10, where 10 is the digit 0).

Read here in eighty lines and not by `scipy.io.loadmat`, which inflates without a bound (261 kB of a forged file became 268 MB
before it was refused) and builds objects, which nobody needs. Here a stream is inflated up to twice the size of the largest
split, and only arrays of numbers are known.
The format: MathWorks, MAT-File Format (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import torch

from compiler.errors import SynthcError
from runtime.data.images import LabeledImages

FILES = ("train_32x32.mat", "test_32x32.mat")
LARGEST = 1 << 29
"""Bytes of a file, and of an array in it; the training split has 225 million."""
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element → NumPy's."""
COMPRESSED, MATRIX = 15, 14


def read(folder: Path) -> tuple[LabeledImages, LabeledImages]:
    """Training and test split; SynthcError for anything malformed."""
    pool, test = (_split(folder / name) for name in FILES)
    return pool, test


def _split(path: Path) -> LabeledImages:
    arrays = read_arrays(path, ("X", "y"))
    if not {"X", "y"} <= arrays.keys():
        raise SynthcError(f"{path}: holds {', '.join(arrays) or 'nothing'}; SVHN's files hold X and y")
    images, labels = arrays["X"], arrays["y"]
    if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or images.dtype != np.uint8 or labels.shape != (images.shape[3], 1):
        what = f"X of shape {images.shape} and type {images.dtype}, y of shape {labels.shape}"
        raise SynthcError(f"{path}: {what}; it should be 32 × 32 × 3 × n of uint8 and n × 1")
    if not len(labels) or not ((labels >= 1) & (labels <= 10)).all():
        raise SynthcError(f"{path}: y must hold 1 to 10, for at least one image")
    digits = labels[:, 0].astype(np.int64) % 10
    return LabeledImages(torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1))), torch.from_numpy(digits))


def read_arrays(path: Path, names: Container[str]) -> dict[str, np.ndarray]:
    """Name → array of numbers, as MATLAB counts its axes; SynthcError if the file is broken, or larger than `LARGEST`."""
    try:
        with path.open("rb") as handle:
            content = handle.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"over {LARGEST:,} bytes")
        if content[126:128] != b"IM" or content[124:126] != b"\0\1":
            raise ValueError("not a MATLAB 5 file of a little-endian machine")
        arrays = (_array(element) for kind, element in _elements(memoryview(content)[128:]) if kind == MATRIX)
        return {name: array for name, array in arrays if name in names}
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise SynthcError(f"{path}: cannot be read: {error}; fetch it again") from error


def _elements(content: memoryview, inflated: bool = False) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element, compressed ones inflated; once only, since a stream can hold itself."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        if kind >> 16:   # the small form: size and type in one word, up to four bytes of content in the next
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
        else:
            begin = at + 8
            at = begin + (size if kind == COMPRESSED else math.ceil(size / 8) * 8)
        element = content[begin : begin + size]
        if len(element) != size:
            raise ValueError("truncated")
        if kind == COMPRESSED and inflated:
            raise ValueError("a compressed array within a compressed one")
        if kind == COMPRESSED:
            yield from _elements(_inflated(element), inflated=True)
        else:
            yield kind, element


def _inflated(content: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    inflated = stream.decompress(content, LARGEST)
    if not stream.eof:
        raise ValueError("a compressed array is truncated" if len(inflated) < LARGEST else f"an array of over {LARGEST:,} bytes")
    return memoryview(inflated)


def _array(content: memoryview) -> tuple[str, np.ndarray]:
    """Flags, extents, name and numbers, in this order."""
    parts = list(_elements(content, inflated=True))
    if len(parts) < 4 or parts[3][0] not in NUMBERS:
        raise ValueError("something that is no array of real numbers")
    (_, flags), (_, extents), (_, name), (kind, numbers) = parts[:4]
    shape = tuple(struct.unpack(f"<{len(extents) // 4}i", extents))
    if len(flags) != 8 or flags[1] & 8:
        raise ValueError("an array of complex numbers")
    values = np.frombuffer(numbers, f"<{NUMBERS[kind]}")
    if min(shape, default=-1) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"an array of shape {shape} with {len(values):,} numbers")
    return bytes(name).decode("latin-1"), values.reshape(shape, order="F")
