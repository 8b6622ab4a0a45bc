"""What was found when data files were read: one record for each known data set, and for each file or folder of the user's own.

The runtime reads files and writes records (`runtime.data.cards`); the compiler decodes nothing. It believes a record as long as
each file has the size and date that it had and the reader is the same. So counts, shapes and content digests are known, and ids
with them, before anything is computed. A known set without a record is planned from its card, under ids that are provisional.
Not here: what the arrays of a record mean for a study (`compiler.data.files`, `compiler.check.imported_files`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from compiler.language.datasets import CARDS, Card

READER_REVISION = 2
"""Raised by hand when a reader finds something else in the same files: older records no longer count."""


@dataclass(frozen=True)
class Array:
    """What the header of an array says; of labels also which there are."""

    dtype: str
    """As NumPy writes it, such as `|u1`."""
    shape: tuple[int, ...]
    least: int | None = None
    most: int | None = None
    distinct: int = 0
    """Number of different labels."""
    fewest: int = 0
    """How often the rarest of them is there."""
    finite: bool = True
    """Of logits: whether all numbers are finite."""


@dataclass(frozen=True)
class Record:
    """What was found when the files of a data set were read."""

    files: tuple[str, ...]
    levels: int
    """How many levels below a folder the stamp covers."""
    stamp: str
    """`stamp_of` the files before they were read."""
    digest: str = ""
    """Content digest: of the arrays of a known set, of the bytes of the user's own files."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    published: bool | None = None
    """Whether the files are those that the publisher gives checksums of; None where there are no checksums for their form."""
    fault: str = ""
    """Why the files cannot be used."""
    revision: int = READER_REVISION

    @property
    def samples(self) -> int:
        return self.arrays["images"].shape[0]

    @property
    def test_samples(self) -> int:
        return self.arrays["test_images"].shape[0] if "test_images" in self.arrays else 0


unwritten: dict[str, Record] = {}
"""Records that could be written nowhere: they count in the process that read the files."""


def data_root() -> Path:
    """Where data sets lie: `$SYNTHC_DATA`, else `~/.cache/synthc/data`."""
    return Path(os.environ.get("SYNTHC_DATA") or _cache())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synthc/data"


def record_files(key: str) -> tuple[Path, ...]:
    """Where the record of `key` may lie, best first: of a known set (its name) in the data root, or in the user's cache where the
    root cannot be written to; of the user's own file or folder (its absolute path) in the cache alone, since others may share a
    root."""
    if key not in CARDS:
        return (_cached(key),)
    root = data_root().absolute()
    return root / "records" / f"{key}.json", _cached(f"{root}/{key}")


def _cached(key: str) -> Path:
    return _cache() / "records" / f"{blake2b(os.fsencode(key), digest_size=8).hexdigest()}.json"


def array_files(digest: str) -> tuple[Path, Path]:
    """Where the decoded arrays of a known set may lie, likewise."""
    return data_root() / "arrays" / f"{digest}.safetensors", _cache() / "arrays" / f"{digest}.safetensors"


def stamp_of(files: Iterable[str], levels: int) -> str:
    """Changes when a file does, or what lies up to `levels` levels below a folder: a digest of paths, sizes and dates. OSError."""
    return folder_stamp(tuple((file, status.st_size, status.st_mtime_ns) for file in files for status in [os.stat(file)]), levels)


@lru_cache(maxsize=8192)  # a folder of many images is walked once per process, as long as the folder itself shows no change
def folder_stamp(files: tuple[tuple[str, int, int], ...], levels: int) -> str:
    """The same, of paths with their sizes and dates (ns)."""
    digest = blake2b(repr(files).encode(), digest_size=8)
    for path, _, _ in files if levels else ():
        for entry in _below(path, levels):
            status = entry.stat()
            digest.update(os.fsencode(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\0"))
    return digest.hexdigest()


def _below(folder: str, levels: int) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            yield entry
            if levels > 1 and entry.is_dir():
                yield from _below(entry.path, levels - 1)


def record_of(key: str) -> Record | None:
    """The record of a known set, or of the absolute path of the user's own files; None if there is none that still holds."""
    for record in (unwritten.get(key), *map(_parsed, record_files(key))):
        # What is gone, was changed by hand or is of another reader is to be read again.
        with contextlib.suppress(OSError):
            if record and record.revision == READER_REVISION and record.stamp == stamp_of(record.files, record.levels):
                return record
    return None


def _parsed(path: Path) -> Record | None:
    try:
        return _parsed_once(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8192)
def _parsed_once(path: Path, mtime_ns: int) -> Record:
    record: Record = record_type().validate_json(path.read_bytes())
    return record


@cache
def record_type() -> Any:
    """Reads and writes records as JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def card_here(name: str) -> Card:
    """The card of a known set: with the pinned digest, or with counts and digest of the files that were read here."""
    card = CARDS[name]
    record = None if card.digest else record_of(name)
    if record is None:
        return card
    return replace(card, samples=record.samples, test_samples=record.test_samples, digest=record.digest)
