"""Reads CIFAR-10 and CIFAR-100: the original Python version, which are pickles, and the binary version.

A pickle can run code, so only files with the published checksum are unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from compiler.errors import SynthcError
from runtime.data.formats.published import content_of
from runtime.data.images import LabeledImages

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


def read_pickles(
    folder: Path, pool: Sequence[str], test: Sequence[str], key: str, checksums: Mapping[str, str]
) -> tuple[LabeledImages, LabeledImages]:
    """Pool and test split of the Python version, from the files of these names in `folder`; `key` is the field of labels: `labels`,
    or `fine_labels` for CIFAR-100.

    SynthcError for files that are missing or whose md5 is not that of `checksums` (file name → hexadecimal digits).
    """

    def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
        fields = pickle.loads(content_of(folder / name, checksums[name]), encoding="latin-1")
        return fields["data"], np.array(fields[key])

    return _joined(map(batch, pool)), _joined(map(batch, test))


def read_binary(folder: Path, pool: Sequence[str], test: Sequence[str], labels: int) -> tuple[LabeledImages, LabeledImages]:
    """Pool and test split of the binary version, from the files of these names in `folder`: records of `labels` bytes, the last of
    which is the class, and 3,072 bytes of pixels. SynthcError for a file that is missing, empty, too large or cannot be read, or
    whose size is no whole number of records; checksums are not compared."""

    def records(name: str) -> tuple[np.ndarray, np.ndarray]:
        content = content_of(folder / name)
        if not content or len(content) % (labels + PIXELS):
            what = f"{len(content):,} bytes are no whole number of records of {labels + PIXELS:,}"
            raise SynthcError(f"{folder / name}: {what}; fetch it again")
        rows = np.frombuffer(content, np.uint8).reshape(-1, labels + PIXELS)
        return rows[:, labels:], rows[:, labels - 1]

    return _joined(map(records, pool)), _joined(map(records, test))


def _joined(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> LabeledImages:
    images, labels = (np.concatenate(of) for of in zip(*parts, strict=True))
    return LabeledImages(torch.from_numpy(images.reshape(-1, *SHAPE)), torch.from_numpy(labels.astype(np.int64)))
