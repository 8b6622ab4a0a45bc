"""Reads arrays from untrusted `.npz` files: nothing is unpickled, and headers are checked first.

The size in every array's header is checked against a limit and against the archive's directory before NumPy reads the array, since
NumPy allocates what the header declares.
Not here: what the arrays mean (`runtime.audit.external.evidence`, `compiler.data.files`).
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import SynthcError, did_you_mean, first_line

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 4 * 2**30
"""Default limit of the size of all read arrays of a file together."""
MAX_HEADER_BYTES = 10_000
"""Longest accepted header; that of a plain array has about a hundred bytes."""
MAX_ARRAYS = 1_000
PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Accepted types: booleans, integers and floats; not objects, records, text and dates."""
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, struct.error)
"""Exceptions of `zipfile` and NumPy for files that are no archive, damaged or encrypted."""


OTHERS = {
    b"\x93NUMPY": "one array (.npy); numpy.savez(file, name=numpy.load(…)) gives it a name",
    b"<": "a page of the web, perhaps an error that came instead of a download; get it again",
    b"\x1f\x8b": "a file that gzip packed; gunzip unpacks it",
    b"PAR1": "a Parquet file; `synthc data import` makes an .npz of it",
    b"\x89HDF": "an HDF5 file; read it with h5py, then numpy.savez",
    b"MATLAB": "a MATLAB file; scipy.io.loadmat reads it, then numpy.savez",
    b"\x80": "a pickle, which is never opened; load it where you trust it, then numpy.savez",
}
"""First bytes of a file that is no .npz archive → what kind of file it is, and how an .npz is made of it."""
ODD = {
    "f": "; .astype('float64') makes it one",
    "c": "; .real or abs(…) makes it one",
    "U": "; numpy.unique(…, return_inverse=True)[1] numbers names",
    "S": "; numpy.unique(…, return_inverse=True)[1] numbers names",
    "V": "; save each field as an array of its own",
}
"""`dtype.kind` of an array whose type is not accepted → what converts it, to be appended to the error."""


@dataclass(frozen=True)
class Header:
    """Type and shape that an array's header declares."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    """Number of bytes of the entry before the numbers."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(path: Path) -> dict[str, Header]:
    """Name → header of each array, in the order of the file; SynthcError for a file that is missing or broken, has a name twice, or
    over MAX_ARRAYS arrays. Types are not checked: `read_arrays` does so."""
    with _opened(path) as archive:
        return {name: _header(archive, name, entry) for name, entry in _entries(archive).items()}


def read_arrays(path: Path, names: Collection[str], limit: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Name → array, in native byte order, of those in `names` that the file has; SynthcError if it has none of them, if they exceed
    `limit`, and for whatever is missing, cannot be read or is of a type that is not accepted (PLAIN).

    `limit`: bytes of all these arrays together, checked by their headers before any of them is read.
    """
    with _opened(path) as archive:
        entries = _entries(archive)
        wanted = {name: entries[name] for name in names if name in entries}
        if not wanted:
            held = ", ".join(map(repr, sorted(entries)[:10])) or "nothing"
            raise SynthcError(f"holds {held}; wanted are {', '.join(names)}")
        headers = {name: _header(archive, name, entry) for name, entry in wanted.items()}
        for name, header in headers.items():
            if header.dtype.hasobject:
                raise SynthcError(
                    f"{name!r} holds pickled objects, which are never opened; numpy.array(list(…)) makes numbers of it"
                )
            _refuse_odd(name, header.dtype)
        if sum(header.nbytes for header in headers.values()) > limit:
            sizes = ", ".join(f"{name} {header.nbytes / 2**30:.3g} GiB" for name, header in headers.items())
            raise SynthcError(f"declares {sizes}, more than the limit of {limit / 2**30:g} GiB; raise it with --limit")
        return {name: _content(archive, name, wanted[name], header) for name, header in headers.items()}


def checked_arrays(arrays: Mapping[str, object], names: Collection[str]) -> dict[str, np.ndarray]:
    """Name → array, from arrays, tensors or lists; arrays, and tensors on the CPU, are not copied. SynthcError for names that are
    not in `names` (not all of which must be there), for what cannot be made an array, and for types that are not accepted
    (PLAIN)."""
    import numpy as np

    if unknown := sorted(set(map(str, arrays)) - set(names)):
        raise SynthcError(f"nothing is called {unknown[0]!r}; {did_you_mean(unknown[0], names)}")
    made = {}
    for name, values in arrays.items():
        detach = getattr(values, "detach", None)
        try:
            made[name] = np.asarray(values if detach is None else detach().cpu().numpy())
        except (TypeError, ValueError) as error:
            raise SynthcError(f"{name!r} cannot be made an array: {first_line(error)}") from error
        _refuse_odd(name, made[name].dtype)
    return made


def _refuse_odd(name: str, dtype: np.dtype) -> None:
    if not PLAIN.fullmatch(dtype.str):
        hint = ODD.get(dtype.kind, "")
        raise SynthcError(f"{name!r} is of type {dtype.str[:40]!r}; wanted are numbers or booleans{hint}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Yield the open archive; SynthcError where the file is missing or no archive. A SynthcError raised in the block gets the path
    before its text; exceptions of BROKEN become a SynthcError that says that the archive is damaged."""
    try:
        if not path.exists():
            raise SynthcError("there is no such file")
        if not path.is_file():
            raise SynthcError("not a file; numpy.savez makes what is wanted here")
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged extra fields, which are not read, and headers of Python 2
            if not zipfile.is_zipfile(handle):
                handle.seek(0)
                begin = handle.read(6)
                if begin.startswith(b"PK"):
                    raise SynthcError("truncated: it begins as an archive and has no end; copy or write it again")
                for magic, what in OTHERS.items():
                    if begin.startswith(magic):
                        raise SynthcError(f"not an .npz archive but {what}")
                if not begin:
                    raise SynthcError("empty; copy or write it again with numpy.savez")
                raise SynthcError("not an .npz archive; numpy.savez(file, name=array, …) writes one")
            with zipfile.ZipFile(handle) as archive:
                yield archive
    except SynthcError as error:
        raise SynthcError(f"{path}: {error}") from None
    except BROKEN as error:
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise SynthcError(f"{path}: a damaged archive ({said}); write it anew with numpy.savez") from error


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if len(entries) < len(archive.infolist()):
        names = [entry.filename.removesuffix(".npy") for entry in archive.infolist()]
        twice = next(name for name in entries if names.count(name) > 1)
        raise SynthcError(f"holds {twice!r} twice; which one is meant cannot be told")
    if len(entries) > MAX_ARRAYS:
        raise SynthcError(f"holds {len(entries):,} arrays, at most {MAX_ARRAYS:,} are looked at")
    return entries


def _header(archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo) -> Header:
    from numpy.lib import format as npy

    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SynthcError(f"{name!r} is encrypted or compressed in an unusual way; write it with numpy.savez_compressed")
    with archive.open(entry) as stream:
        head = io.BytesIO(stream.read(MAX_HEADER_BYTES + 12))  # bounded, since an entry may inflate to any size
    try:
        # Version 3 is for records with field names beyond Latin-1, which are not accepted.
        parse = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(head)]
        shape, _, dtype = parse(head, max_header_size=MAX_HEADER_BYTES)
    except Exception as error:  # NumPy raises various exceptions for bytes that are no header
        raise SynthcError(f"{name!r} is no numpy array, or its header cannot be read; write it anew with numpy.savez") from error
    if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 8:
        raise SynthcError(f"the header of {name!r} declares no shape that an array can have; the file is damaged")
    return Header(dtype, shape, head.tell())


def _content(archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, header: Header) -> np.ndarray:
    from numpy.lib import format as npy

    if (held := entry.file_size - header.begin) != header.nbytes:
        declared = f"shape {header.shape} of {header.dtype.name}, {header.nbytes} bytes"
        raise SynthcError(f"{name!r} declares {declared}, but holds {held}; the file is damaged")
    try:
        with archive.open(entry) as stream:
            array: np.ndarray = npy.read_array(stream, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)
            stream.read(1)  # zipfile compares the checksum at the end of the stream
    except MemoryError as error:
        raise SynthcError(f"{name!r} needs {header.nbytes / 2**30:.3g} GiB, more than is free here") from error
    if header.dtype.kind == "b" and array.size and int(array.view("u1").max()) > 1:
        raise SynthcError(f"{name!r} holds bytes that are neither true nor false; the file is damaged")
    return array.astype(header.dtype.newbyteorder("="), copy=False)
