"""Arrays from an `.npz` file that somebody else wrote: nothing is unpickled, nothing is believed before it is checked.

An archive can claim anything. So the header of every array is parsed here, as a literal and for plain numbers only, its size
is held against a limit and against the archive's own directory, and only then is memory asked for. numpy's reader would
allocate first, and knows dtypes that run code.
Not here: what the arrays mean (`evidence`).
"""

from __future__ import annotations

import ast
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from compiler.errors import SynthcError

LIMIT = 4 * 2**30
"""Bytes that the arrays of one file may take together unless the caller says otherwise."""

LONGEST_HEADER = 10_000
"""Characters; a plain array's header has about a hundred."""

PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Booleans, whole numbers and reals; everything else (objects, records, text, dates) is no score."""

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, struct.error)
"""What `zipfile` raises on bytes that are no archive, a damaged or an encrypted one."""


@dataclass(frozen=True)
class Header:
    """What an array claims to be."""

    dtype: np.dtype
    columns_first: bool
    """Fortran order."""
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_arrays(path: Path, names: Collection[str], limit: int = LIMIT) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds, in native byte order; SynthcError for whatever cannot be read.

    `limit`: bytes of all these arrays together, checked against their headers before any of them is read.
    """
    if not path.exists():
        raise SynthcError(f"{path}: there is no such file")
    if not path.is_file():
        raise SynthcError(f"{path}: not a file; numpy.savez makes what is wanted here")
    try:
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged extra fields, which we do not read
            if not zipfile.is_zipfile(handle):
                raise SynthcError(f"{path}: not an .npz archive; numpy.savez(file, scores=…, member=…) writes one")
            with zipfile.ZipFile(handle) as archive:
                return _arrays(path, archive, names, limit)
    except BROKEN as error:
        raise SynthcError(f"{path}: a damaged archive ({_said(error)}); write it anew with numpy.savez") from error


def _arrays(path: Path, archive: zipfile.ZipFile, names: Collection[str], limit: int) -> dict[str, np.ndarray]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name in entries and name in names:
            raise SynthcError(f"{path}: holds {name!r} twice; which one is meant cannot be told")
        entries[name] = entry
    wanted = [name for name in names if name in entries]
    if not wanted:
        held = ", ".join(repr(name) for name in sorted(entries)[:10]) or "nothing"
        raise SynthcError(f"{path}: holds {held}; wanted are {', '.join(names)}")
    headers = {name: _header(path, archive, name, entries[name]) for name in wanted}
    total = sum(header.bytes for header in headers.values())
    if total > limit:
        sizes = ", ".join(f"{name} {header.bytes / 2**30:.3g} GiB" for name, header in headers.items())
        raise SynthcError(f"{path}: declares {sizes}, more than the limit of {limit / 2**30:g} GiB; raise it with --limit")
    return {name: _content(path, archive, name, entries[name], header) for name, header in headers.items()}


def _header(path: Path, archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo) -> Header:
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SynthcError(f"{path}: {name!r} is encrypted or compressed in an unusual way; write it with numpy.savez_compressed")
    with archive.open(entry) as stream:
        text = _header_text(path, name, stream)
    return _parsed(path, name, text)


def _header_text(path: Path, name: str, stream: IO[bytes]) -> str:
    """The literal at the head of an array (numpy's format 1, 2 or 3); leaves the stream at the first number."""
    magic = stream.read(8)
    wide = magic[6:7] in (b"\x02", b"\x03")
    size = stream.read(4 if wide else 2)
    if magic[:6] != b"\x93NUMPY" or magic[6:7] not in (b"\x01", b"\x02", b"\x03") or len(size) < (4 if wide else 2):
        raise SynthcError(f"{path}: {name!r} is no numpy array")
    length = int.from_bytes(size, "little")
    if length > LONGEST_HEADER:
        raise SynthcError(f"{path}: the header of {name!r} has {length} characters; a plain array's has about a hundred")
    return stream.read(length).decode("utf-8", errors="replace")


def _parsed(path: Path, name: str, text: str) -> Header:
    try:
        said = ast.literal_eval(text.strip("\0 \n"))
        kind, columns_first, shape = said["descr"], said["fortran_order"], said["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise SynthcError(f"{path}: the header of {name!r} cannot be read; the file is damaged") from error
    if isinstance(kind, str) and kind.strip("<>|=").startswith("O"):
        raise SynthcError(f"{path}: {name!r} holds pickled objects, which are never opened; save it as an array of numbers")
    if not isinstance(kind, str) or not PLAIN.fullmatch(kind):
        raise SynthcError(f"{path}: {name!r} is of type {str(kind)[:40]!r}; wanted are numbers or booleans")
    whole = isinstance(shape, tuple) and all(type(length) is int and length >= 0 for length in shape)
    if not whole or not isinstance(columns_first, bool) or len(shape) > 8:
        raise SynthcError(f"{path}: the header of {name!r} declares no shape that an array can have; the file is damaged")
    return Header(np.dtype(kind), columns_first, shape)


def _content(path: Path, archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, header: Header) -> np.ndarray:
    with archive.open(entry) as stream:
        _header_text(path, name, stream)
        held = entry.file_size - stream.tell()
        if held != header.bytes:
            declared = f"shape {header.shape} of {header.dtype.name}, {header.bytes} bytes"
            raise SynthcError(f"{path}: {name!r} declares {declared}, but holds {held}; the file is damaged")
        try:
            flat = np.empty(math.prod(header.shape), header.dtype)
        except MemoryError as error:
            raise SynthcError(f"{path}: {name!r} needs {header.bytes / 2**30:.3g} GiB, more than is free here") from error
        rest = flat.view(np.uint8).data
        while len(rest):
            chunk = stream.read(min(len(rest), 1 << 20))
            if not chunk:
                raise SynthcError(f"{path}: {name!r} ends {len(rest)} bytes early; the file is damaged")
            rest[: len(chunk)] = chunk
            rest = rest[len(chunk) :]
        stream.read(1)  # the end of the stream is where the checksum is compared
    if header.dtype.kind == "b" and flat.size and int(flat.view(np.uint8).max()) > 1:
        raise SynthcError(f"{path}: {name!r} holds bytes that are neither true nor false; the file is damaged")
    shaped = flat.reshape(header.shape, order="F" if header.columns_first else "C")
    return shaped.astype(header.dtype.newbyteorder("="), copy=False)


def _said(error: BaseException) -> str:
    """What the error says, on one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
