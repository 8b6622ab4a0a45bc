"""Decodes a PNG or JPEG by Pillow."""

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
"""Pillow's mode of an image of 8 bits without transparency → the mode to which it is converted."""
OTHERS = {
    b"<": "a page or drawing of the web, perhaps an error that came instead of a download",
    b"GIF8": "a GIF",
    b"RIFF": "a WebP",
    b"BM": "a bitmap of Windows",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"%PDF": "a PDF",
    b"\xff\xd8": "a JPEG that breaks off at its beginning",
    b"\x89PNG": "a PNG that breaks off at its beginning",
}
"""First bytes of files that are not accepted → what they are."""


def decode_file(path: Path) -> np.ndarray:
    """Decode the file at `path`: see `decode`; SynthcError also where it cannot be read."""
    try:
        with path.open("rb") as handle:
            return decode(handle, str(path))
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error


def decode(handle: IO[bytes], name: str) -> np.ndarray:
    """uint8 pixels, height × width, or height × width × 3 for colour and for palettes, turned by the EXIF orientation.
    SynthcError for a broken or too large image, for one with transparency or 16 bits, and for other formats than PNG and JPEG."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(handle, formats=("PNG", "JPEG")) as opened:  # reads only the header
            width, height = opened.size
            deep = str(opened.tile[0][3]).endswith("16B") if opened.tile else False  # colours of 16 bits, which it would cut off
            if "A" in opened.mode or "transparency" in opened.info:
                raise SynthcError(f"{name}: it has transparency (alpha); put it on a background, as RGB or grey")
            if deep or opened.mode.startswith(("I", "F")):
                raise SynthcError(f"{name}: it has 16 bits or more; convert it to 8")
            if opened.mode not in MODES:
                raise SynthcError(f"{name}: its colours are {opened.mode}; convert it to RGB or grey")
            if not 0 < width * height <= MAX_PIXELS:
                raise SynthcError(f"{name}: {height}×{width} pixels; at most {MAX_PIXELS:,} can be read: make it smaller")
            # Rotated by the EXIF orientation, as viewers do.
            return np.asarray(ImageOps.exif_transpose(opened).convert(MODES[opened.mode]))
    except UnidentifiedImageError:
        handle.seek(0)
        begin = handle.read(4)
        what = next((what for magic, what in OTHERS.items() if begin.startswith(magic)), "another file") if begin else "empty"
        raise SynthcError(f"{name}: {what}, no PNG or JPEG; convert, replace or remove it") from None
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise SynthcError(f"{name}: cannot be decoded: {error}; replace or remove it") from error
