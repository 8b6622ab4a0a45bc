"""SVHN's cropped digits: two MATLAB 5 files with `X` (32 × 32 × 3 × n, uint8) and `y` (n × 1, 1 to 10, where 10 is the digit 0).

SciPy reads them, and only the very bytes that their publisher gives the checksum of: `scipy.io.loadmat` inflates without a bound
(261 kB of a forged file became 268 MB before it was refused) and builds objects, so no other file may reach it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path

import numpy as np
import torch

from compiler.errors import SynthcError
from runtime.data.images import LabeledImages

FILES = ("train_32x32.mat", "test_32x32.mat")
MAX_FILE_BYTES = 1 << 28
"""The training split has 182 million."""


def read(folder: Path, checksums: Mapping[str, str]) -> tuple[LabeledImages, LabeledImages]:
    """Training and test split; SynthcError for files whose md5 is not that of `checksums` (file name → hexadecimal digits)."""
    pool, test = (_split(folder / name, checksums[name]) for name in FILES)
    return pool, test


def _split(path: Path, checksum: str) -> LabeledImages:
    from scipy.io import loadmat

    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error
    if (found := md5(content, usedforsecurity=False).hexdigest()) != checksum:
        what = f"not the published file (its md5 is {found}, not {checksum})"
        raise SynthcError(f"{path}: {what}, and no other is opened; fetch it again")
    arrays = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    digits = arrays["y"][:, 0].astype(np.int64) % 10
    return LabeledImages(torch.from_numpy(np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1))), torch.from_numpy(digits))
