"""Reads SVHN's cropped digits: two MATLAB 5 files with `X` (32 × 32 × 3 × n, uint8) and `y` (n × 1, 1 to 10, where 10 is digit 0).

SciPy reads only files with the published checksum: `scipy.io.loadmat` inflates without a bound (a forged file of 261 kB took 268 MB
before it was refused) and builds objects.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from runtime.data.formats.published import content_of
from runtime.data.images import LabeledImages

FILES = ("train_32x32.mat", "test_32x32.mat")


def read(folder: Path, checksums: Mapping[str, str]) -> tuple[LabeledImages, LabeledImages]:
    """Training and test split, with labels 0 to 9. SynthcError for files that are missing or whose md5 is not that of `checksums`
    (file name → hexadecimal digits)."""
    from scipy.io import loadmat

    def split(name: str) -> LabeledImages:
        arrays = loadmat(io.BytesIO(content_of(folder / name, checksums[name])), variable_names=("X", "y"))
        images = np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1))
        return LabeledImages(torch.from_numpy(images), torch.from_numpy(arrays["y"][:, 0].astype(np.int64) % 10))

    pool, test = map(split, FILES)
    return pool, test
