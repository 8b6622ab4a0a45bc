"""Reads a file of a known data set; for formats that can run code or inflate without bound, only if its checksum is the published
one."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

from compiler.errors import SynthcError

MAX_FILE_BYTES = 1 << 28
"""Largest accepted file; the largest of CIFAR and SVHN has 186 million bytes."""


def content_of(path: Path, checksum: str | None = None) -> bytes:
    """The file's bytes; SynthcError where it is larger than MAX_FILE_BYTES, is missing or cannot be read, or has another md5 than
    `checksum` (hexadecimal digits; None for none to compare with)."""
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise SynthcError(f"{path}: over {MAX_FILE_BYTES:,} bytes; it is none of the set's files")
    if checksum is not None and (found := md5(content, usedforsecurity=False).hexdigest()) != checksum:
        what = f"not the published file (its md5 is {found}, not {checksum})"
        raise SynthcError(f"{path}: {what}, and no other is opened; fetch it again")
    return content
