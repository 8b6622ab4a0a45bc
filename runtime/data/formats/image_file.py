"""One PNG or JPEG: its pixels, decoded by Pillow, or a sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from compiler.data.files import MAX_PIXELS
from compiler.errors import SynthcError

if TYPE_CHECKING:
    import numpy as np

MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
"""Pillow's modes of images of 8 bits without transparency → as which they are read."""


def decode_file(path: Path) -> np.ndarray:
    """`decode` of a file."""
    try:
        with path.open("rb") as handle:
            return decode(handle, str(path))
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error


def decode(handle: IO[bytes], name: str) -> np.ndarray:
    """height × width, or height × width × 3 where it is in colour, uint8; SynthcError for a broken or too large image."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(handle, formats=("PNG", "JPEG")) as opened:  # reads the header alone
            width, height = opened.size
            deep = str(opened.tile[0][3]).endswith("16B") if opened.tile else False  # colours of 16 bits, which it would cut off
            if opened.mode not in MODES or deep:
                raise UnidentifiedImageError
            if not 0 < width * height <= MAX_PIXELS:
                raise SynthcError(f"{name}: {height}×{width} pixels; at most {MAX_PIXELS:,} can be read: make it smaller")
            return np.asarray(opened.convert(MODES[opened.mode]))
    except UnidentifiedImageError:
        what = "not a PNG or JPEG of 8 bits, grey or in colour, without transparency; convert it"
        raise SynthcError(f"{name}: {what}") from None
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise SynthcError(f"{name}: cannot be decoded: {error}; replace or remove it") from error
