"""Known data sets as they were seen here: a record beside them gives counts and content digest without loading a pixel.

Where this project never saw a set (`Card.digest` is ""), its identity is the content digest of the files that are found:
`runtime.data.sources.see` reads them once and writes the record; the compiler believes it as long as each file has the size
and date that it had. A set that was not seen yet is planned from its card, under ids that are provisional and never computed.
Not here: where files may lie, their formats, what their publishers say of them (`runtime.data.catalogue`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from compiler.language.datasets import CARDS, Card

RECORD = "seen.json"


@dataclass(frozen=True)
class Seen:
    """What was found when a set's files were read."""

    digest: str
    """Content digest of the arrays."""
    samples: int
    test_samples: int
    published: bool | None
    """Whether the files are those that the publisher gives checksums of; None where there are no checksums for their form."""
    files: tuple[tuple[str, int, int], ...]
    """Path, size and date (ns) of each file, or of each folder of images."""


def data_root() -> Path:
    """Where data sets lie: `$SYNTHC_DATA`, else `~/.cache/synthc/data`."""
    return Path(os.environ.get("SYNTHC_DATA") or _cache())


def _cache() -> Path:
    return Path.home() / ".cache/synthc/data"


def record_files() -> tuple[Path, Path]:
    """Where the record of a data root may lie: in it, or in the user's cache where it cannot be written to."""
    root = data_root().absolute()
    return root / RECORD, _cache() / f"seen-{blake2b(str(root).encode(), digest_size=8).hexdigest()}.json"


def array_files(digest: str) -> tuple[Path, Path]:
    """Where the decoded arrays of a known set may lie, likewise."""
    return data_root() / "arrays" / f"{digest}.safetensors", _cache() / "arrays" / f"{digest}.safetensors"


def stamps(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """What a file shows when it changes."""
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def records() -> dict[str, Any]:
    """Everything that was written down of the data root; {} if nothing was, or if it cannot be read."""
    said: dict[str, Any] = {}
    for path in reversed(record_files()):
        try:
            said |= json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            continue
    return said


def seen(name: str) -> Seen | None:
    """The record of the set `name`; None if there is none, or if a file changed since."""
    try:
        said = records()[name]
        record = Seen(**(said | {"files": tuple(map(tuple, said["files"]))}))
        return record if stamps(Path(path) for path, _, _ in record.files) == record.files else None
    except (OSError, ValueError, KeyError, TypeError):   # none yet, or a file is gone, or somebody's hand: to be read again
        return None


def card_here(name: str) -> Card:
    """The card of a known set: with the pinned digest, or with counts and digest of the files that were seen here."""
    card = CARDS[name]
    record = None if card.digest else seen(name)
    if record is None:
        return card
    return replace(card, samples=record.samples, test_samples=record.test_samples, digest=record.digest)
