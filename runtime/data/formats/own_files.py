"""Images in files that are not one of the known formats: an .npz of the user's own, and folders of PNG and JPEG by class.

Everything that a header says was judged by `compiler.data.files` before a study was planned; here it is decoded, and must be what
the header said. What is decoded is held in memory and written nowhere: private images are not copied behind their owner's back.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from compiler.data.files import file_digest, npz, shape_said, splits
from compiler.errors import SynthcError
from compiler.work.operations import UserFiles
from runtime.data.images import LabeledImages


def read(files: UserFiles) -> tuple[LabeledImages, LabeledImages | None]:
    """Pool and test split; SynthcError if the files are broken, or others than the study was made for."""
    path = Path(files.path)
    if not path.exists():
        raise SynthcError(f"{path}: there is no such file or folder on this machine")
    found = file_digest(path)
    if found != files.card.digest:
        raise SynthcError(f"{path}: its content has changed since the study was planned; run `synthc run` again")
    if path.is_dir():
        pool, test = splits(path)
        return decoded(pool, files.card.shape), decoded(test, files.card.shape) if test else None
    return _npz(path, files.card.test_samples > 0)


def _npz(path: Path, split: bool) -> tuple[LabeledImages, LabeledImages | None]:
    said = npz(path)
    try:
        with np.load(path) as arrays:
            parts = [(arrays[f"{of}images"], arrays[f"{of}labels"]) for of in (("", "test_") if split else ("",))]
    except (OSError, ValueError, EOFError, zlib.error, struct.error, KeyError) as error:
        raise SynthcError(f"{path}: cannot be read: {error}; write it again with numpy.savez_compressed") from error
    pool, *test = (_labeled(images, labels, said.channels_last) for images, labels in parts)
    return pool, test[0] if test else None


def _labeled(images: np.ndarray, labels: np.ndarray, channels_last: bool) -> LabeledImages:
    if images.ndim == 3:
        images = images[:, None]
    elif channels_last:
        images = images.transpose(0, 3, 1, 2)
    return LabeledImages(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


def decoded(labelled: Sequence[tuple[Path, int]], shape: tuple[int, int, int]) -> LabeledImages:
    """Decoded images at exactly `shape`, grey ones repeated to colours where it has three channels."""
    images = torch.empty(len(labelled), *shape, dtype=torch.uint8)
    for row, (path, _) in enumerate(labelled):
        images[row] = _image(path, shape)
    return LabeledImages(images, torch.tensor([label for _, label in labelled]))


def _image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    try:
        with path.open("rb") as handle:
            return image(handle, shape, str(path))
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error


def image(handle: IO[bytes], shape: tuple[int, int, int], name: str) -> Tensor:
    """channels × height × width, uint8: an open PNG or JPEG, decoded; SynthcError if it is broken, or of another size."""
    from PIL import Image

    channels, height, width = shape
    said = shape_said(handle, name)
    if said[1:] != (height, width):
        raise SynthcError(f"{name}: {said[1]}×{said[2]} pixels; the set has {height}×{width}")
    handle.seek(0)
    try:
        # Only the two decoders whose headers were judged; and what the decoder itself makes of the size is known before it decodes.
        with Image.open(handle, formats=("PNG", "JPEG")) as opened:
            if opened.size != (width, height):
                raise SynthcError(f"{name}: the decoder finds {opened.size[1]}×{opened.size[0]} pixels; convert it")
            pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise SynthcError(f"{name}: cannot be decoded: {error}; replace or remove it") from error
    return torch.from_numpy(pixels.copy()).reshape(height, width, channels).permute(2, 0, 1)
