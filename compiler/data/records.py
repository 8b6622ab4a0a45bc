"""Records of data files that were read: one for each known data set, and for each file or folder of users.

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

READER_REVISION = 3
"""Raised by hand when a reader's result for the same files changes: older records are then invalid."""


@dataclass(frozen=True)
class Array:
    """Type and shape of an array; for labels also range and counts."""

    dtype: str
    """NumPy's type string, such as `|u1`."""
    shape: tuple[int, ...]
    least: int | None = None
    most: int | None = None
    distinct: int = 0
    """Number of distinct labels."""
    fewest: int = 0
    """Size of the smallest class."""
    finite: bool = True
    """False for numbers of which some are not finite; True where nothing was looked for."""
    lowest: float | None = None
    highest: float | None = None
    """Range of the finite numbers in an array of an .npz; of images in a folder only `highest`. None where nothing was looked for,
    as in large arrays, or none is finite."""
    probabilities: bool = True
    """False for labels, n × classes, of which a row is not from 0 on with the sum 1; True where nothing was looked for."""


@dataclass(frozen=True)
class Record:
    """The result of reading the files of a data set."""

    files: tuple[str, ...]
    levels: int
    """Number of levels below a folder that the stamp covers."""
    stamp: str
    """`stamp_of` of the files before they were read."""
    digest: str = ""
    """Digest of the content: for known sets of the arrays, for users' files of the bytes."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    published: bool | None = None
    """Whether the files have the published checksums; None where there are none for their format."""
    fault: str = ""
    """Why the files cannot be used; "" if they can."""
    revision: int = READER_REVISION

    @property
    def samples(self) -> int:
        """Number of images; KeyError where the record has none."""
        return self.arrays["images"].shape[0]

    @property
    def test_samples(self) -> int:
        """Number of images of the official test split; 0 without one."""
        return self.arrays["test_images"].shape[0] if "test_images" in self.arrays else 0


unwritten: dict[str, Record] = {}
"""Records that could not be written to a file, for use in this process."""


def data_root() -> Path:
    """Folder of data sets: `$SYNTHC_DATA`, else `synthc/data` in `$XDG_CACHE_HOME`, else `~/.cache/synthc/data`. It need not
    exist or be absolute."""
    return Path(os.environ.get("SYNTHC_DATA") or _cache())


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synthc/data"


def record_files(key: str) -> tuple[Path, ...]:
    """Possible paths of the record of `key`, the preferred one first: of a known set (its name) one in the data root, and one in
    the user's cache for a root that cannot be written to; of the user's own file or folder (its absolute path) one in the cache
    alone, since others may share a root."""
    if key not in CARDS:
        return (_cached(key),)
    root = data_root().absolute()
    return root / "records" / f"{key}.json", _cached(f"{root}/{key}")


def _cached(key: str) -> Path:
    return _cache() / "records" / f"{blake2b(os.fsencode(key), digest_size=8).hexdigest()}.json"


def array_files(digest: str) -> tuple[Path, Path]:
    """Possible paths of the decoded arrays of a known set: data root, user's cache."""
    return data_root() / "arrays" / f"{digest}.safetensors", _cache() / "arrays" / f"{digest}.safetensors"


def stamp_of(files: Iterable[str], levels: int) -> str:
    """Digest of paths, sizes and times of files, and, with `levels` above 0, of all entries up to so many levels below `files`,
    which then are folders; of what cannot be read below, the path alone counts. The result is cached in the process as long as size
    and time of `files` themselves stay, also if entries below a folder change. OSError where one of `files` is missing."""
    return folder_stamp(tuple((file, status.st_size, status.st_mtime_ns) for file in files for status in [os.stat(file)]), levels)


@lru_cache(maxsize=8192)  # a folder of many images is walked once per process, while the folder's own time does not change
def folder_stamp(files: tuple[tuple[str, int, int], ...], levels: int) -> str:
    """`stamp_of` for triples of path, size and time of change (ns), cached by these triples. A missing path is no error: as a
    folder it counts as empty."""
    digest = blake2b(repr(files).encode(), digest_size=8)
    for path, _, _ in files if levels else ():
        for entry in _below(path, levels):
            digest.update(os.fsencode(f"{entry.path}\0"))
            with contextlib.suppress(OSError):  # a link that leads nowhere: the reader says so, if it matters
                status = entry.stat()
                digest.update(f"{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _below(folder: str, levels: int) -> Iterable[os.DirEntry[str]]:
    """Entries of a folder, sorted by name, each subfolder followed by its own, for `levels` levels: 1 gives those of the folder
    alone. Links to folders are followed; a folder that cannot be read counts as empty."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        yield entry
        if levels > 1 and os.path.isdir(entry):  # not its own `is_dir`, which raises for links in a circle
            yield from _below(entry.path, levels - 1)


def record_of(key: str) -> Record | None:
    """The record of a known set, or of an absolute path of a user's files, which may be one of a fault; None if there is none of
    this READER_REVISION, or one of its files is missing, or they have another `stamp_of` now."""
    for record in (unwritten.get(key), *map(_parsed, record_files(key))):
        # Missing or edited records, and those of another reader revision, are invalid.
        with contextlib.suppress(OSError):
            if record and record.revision == READER_REVISION and record.stamp == stamp_of(record.files, record.levels):
                return record
    return None


def _parsed(path: Path) -> Record | None:
    """The record in a file; None where it is missing or not valid."""
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
    """Pydantic's adapter that reads and writes records as JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def card_here(name: str) -> Card:
    """The card of a known set; one without a pinned digest gets counts and digest from the record on this machine, and stays as it
    is, with the digest "", if there is no valid record. KeyError for an unknown name."""
    card = CARDS[name]
    record = None if card.digest else record_of(name)
    if record is None:
        return card
    return replace(card, samples=record.samples, test_samples=record.test_samples, digest=record.digest)
