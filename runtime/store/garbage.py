"""Looking after a store: finds what no kept study needs, and what is damaged.

Not here: repair (a run computes again what it finds damaged), the database (`runtime.database`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.store.artifacts import Artifact, Corrupt, digest_of

LEFTOVER_PATTERNS = ("*.part", "*.corrupt", "*.damaged", ".*.next", "checkpoint-*")
"""Names of files that killed writers left, and of damaged ones that were set aside."""


@dataclass(frozen=True)
class Garbage:
    """What can be deleted: folders of tasks, and single files that nothing reads."""

    tasks: tuple[Path, ...]
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        within = [path for folder in self.tasks for path in folder.rglob("*") if path.is_file()]
        return sum(path.lstat().st_size for path in (*within, *self.files))


def find_garbage(store: Path, drop: Collection[str] = ()) -> Garbage:
    """What the latest run of no study under any profile needs; the studies in `drop` are not kept at all."""
    kept = {task for record in latest_runs(store) if record["study"] not in drop for task in (row["id"] for row in record["tasks"])}
    tasks = tuple(sorted(folder for folder in store.glob("??/*") if folder.is_dir() and folder.name not in kept))
    deleted = set(tasks)
    leftovers = [path for pattern in LEFTOVER_PATTERNS for path in store.rglob(pattern) if path.is_file()]
    return Garbage(tasks, tuple(sorted(path for path in leftovers if deleted.isdisjoint(path.parents))))


def latest_runs(store: Path) -> Iterator[dict]:
    """The record of the latest run of each study under each profile; damaged records are skipped."""
    latest: dict[tuple[str, str], dict] = {}
    for path in sorted(store.glob("runs/*/run.json")):  # names begin with the time
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            latest[record["study"], record["profile"] or ""] = record
        except (ValueError, KeyError):
            continue
    yield from latest.values()


def delete(garbage: Garbage) -> None:
    """Delete it, of each task the commit first, so that a task that is deleted in part is no task."""
    for folder in garbage.tasks:
        (folder / "outcome.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    for path in garbage.files:
        path.unlink(missing_ok=True)


def find_damaged(store: Path) -> Iterator[str]:
    """A sentence for each committed task whose files are not what was written. Reads everything."""
    for outcome in sorted(store.glob("??/*/outcome.json")):
        artifact = Artifact(outcome.parent)
        try:
            for name, digest in artifact.outcome["files"].items():
                path = outcome.parent / name
                if not path.exists():
                    yield f"{path}: gone"
                elif digest_of(path.read_bytes()) != digest:
                    yield f"{path}: not what the task wrote"
        except (Corrupt, KeyError, AttributeError) as error:
            yield str(error)
