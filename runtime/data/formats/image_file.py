"""Decodes PNG and JPEG by Pillow; of many images, all that cannot be used are told at once."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from compiler.data.files import MAX_NAMED, MAX_PIXELS
from compiler.errors import SynthcError, and_more, plural

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
    b"\xef\xbb\xbf<": "a page or drawing of the web, perhaps an error that came instead of a download",
    b"{": "JSON, perhaps an error that came instead of a download",
    b"version https://git-lfs": "a pointer of Git LFS, whose image was not fetched (`git lfs pull`)",
    b"\0\0\0": "a HEIC or AVIF, or zeros",
}
"""First bytes of files that are not accepted → what they are."""


MAX_FAULTS = 10
"""Most kinds of faults that one message names."""


def decode_all(images: Iterable[tuple[str, Path | bytes | SynthcError]]) -> Iterator[np.ndarray]:
    """Yield the pixels (see `decode`) of each image, a pair of its name and its file, its bytes, or the error why there are none.

    Images that cannot be used, or differ in height or width from the first that can, are not yielded. If there are any, a
    SynthcError follows after the last image: it counts those that cannot be used and names up to MAX_FAULTS kinds of fault with up
    to MAX_NAMED images each, and up to MAX_NAMED sizes with an image each. Grey images and images in colour may be mixed.
    """
    faults: dict[str, list[str]] = {}  # what is wrong → names
    sizes: dict[tuple[int, int], list[str]] = {}  # height × width → names
    for name, content in images:
        try:
            if isinstance(content, SynthcError):
                raise content
            pixels = decode(io.BytesIO(content), "") if isinstance(content, bytes) else decode_file(content, "")
        except SynthcError as error:
            faults.setdefault(str(error), []).append(name)
            continue
        height, width = pixels.shape[:2]
        sizes.setdefault((height, width), []).append(name)
        if (height, width) == next(iter(sizes)):
            yield pixels
    told = [f"{and_more(names, MAX_NAMED)}: {fault}" for fault, names in faults.items()]
    if told:
        count = sum(map(len, faults.values()))
        told = [(f"{count:,} images cannot be used: " if count > 1 else "") + "; ".join(told[:MAX_FAULTS])]
        told[0] += "; …" * (len(faults) > MAX_FAULTS)
    if len(sizes) > 1:
        common = sorted(sizes.items(), key=lambda item: -len(item[1]))
        each = [f"{height}×{width} ({plural(len(names), 'image')}, as {names[0]})" for (height, width), names in common]
        told.append(f"images of a set must have one size, height × width; here are {and_more(each, MAX_NAMED)}")
    if told:
        raise SynthcError(". ".join(told))


def decode_file(path: Path, name: str | None = None) -> np.ndarray:
    """Decode the file at `path`: see `decode`. SynthcError as there, and where the file cannot be read; it begins with `name`, by
    default the path."""
    called = str(path) if name is None else name
    try:
        with path.open("rb") as handle:
            return decode(handle, called)
    except OSError as error:
        raise SynthcError(f"{called}: cannot be read: {error.strerror}".removeprefix(": ")) from error


def decode(handle: IO[bytes], name: str) -> np.ndarray:
    """uint8 pixels, height × width, or height × width × 3 for colour and for palettes, turned by the EXIF orientation, read-only.

    SynthcError, which begins with `name` unless that is "", for a broken image, one of more than MAX_PIXELS pixels, one with
    transparency, of 16 bits or of colours that are neither RGB nor grey, an animated PNG, and other formats than PNG and JPEG."""
    try:
        return _pixels(handle)
    except SynthcError as error:
        raise SynthcError(f"{name}: {error}" if name else str(error)) from error.__cause__


def _pixels(handle: IO[bytes]) -> np.ndarray:
    """The pixels as of `decode`, whose errors name no image."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(handle, formats=("PNG", "JPEG")) as opened:  # reads only the header
            width, height = opened.size
            deep = str(opened.tile[0][3]).endswith("16B") if opened.tile else False  # colours of 16 bits, which it would cut off
            if "A" in opened.mode or "transparency" in opened.info:
                raise SynthcError("it has transparency (alpha); put it on a background, as RGB or grey")
            if opened.format == "PNG" and getattr(opened, "n_frames", 1) > 1:
                raise SynthcError("it is animated; save one of its frames")
            if deep or opened.mode.startswith(("I", "F")):
                raise SynthcError("it has 16 bits or more; convert it to 8")
            if opened.mode not in MODES:
                raise SynthcError(f"its colours are {opened.mode}; convert it to RGB or grey")
            if not 0 < width * height <= MAX_PIXELS:
                raise SynthcError(f"{height}×{width} pixels; at most {MAX_PIXELS:,} can be read: make it smaller")
            # Rotated by the EXIF orientation, as viewers do.
            return np.asarray(ImageOps.exif_transpose(opened).convert(MODES[opened.mode]))
    except UnidentifiedImageError:
        handle.seek(0)
        begin = handle.read(30)
        what = next((what for magic, what in OTHERS.items() if begin.startswith(magic)), "another file") if begin else "empty"
        raise SynthcError(f"{what}, no PNG or JPEG; convert, replace or remove it") from None
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise SynthcError(f"cannot be decoded: {error}; replace or remove it") from error
