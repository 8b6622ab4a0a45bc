"""Looking after a store: what no kept study needs, and whether what is there is whole.

Not here: mending (a run computes again what it finds damaged), the database (`store`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from runtime.store.artifacts import Artifact, Corrupt

LEFTOVERS = ("*.part", "*.corrupt", "*.damaged", ".*.next", "checkpoint-*")
"""Names of what killed writers and damaged files left behind."""


@dataclass(frozen=True)
class Litter:
    """What could go: folders of tasks, and single files that nothing reads."""

    tasks: tuple[Path, ...]
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        within = [path for folder in self.tasks for path in folder.rglob("*") if path.is_file()]
        return sum(path.lstat().st_size for path in (*within, *self.files))


def litter(store: Path, drop: Collection[str] = ()) -> Litter:
    """What no study needs, as its latest run under each profile says; the studies in `drop` are not kept at all."""
    kept = {task for record in latest_runs(store) if record["study"] not in drop for task in (row["id"] for row in record["tasks"])}
    tasks = tuple(sorted(folder for folder in store.glob("??/*") if folder.is_dir() and folder.name not in kept))
    going = set(tasks)
    files = [path for pattern in LEFTOVERS for path in store.rglob(pattern) if path.is_file() and going.isdisjoint(path.parents)]
    return Litter(tasks, tuple(sorted(files)))


def latest_runs(store: Path) -> Iterator[dict]:
    """The record of the latest run of each study under each profile; damaged records are passed over."""
    latest: dict[tuple[str, str], dict] = {}
    for path in sorted(store.glob("runs/*/run.json")):   # names begin with the time
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            latest[record["study"], record["profile"] or ""] = record
        except (ValueError, KeyError):
            continue
    yield from latest.values()


def remove(what: Litter) -> None:
    """Delete it: the commit first, so that a task that is half gone is no task."""
    for folder in what.tasks:
        (folder / "outcome.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    for path in what.files:
        path.unlink(missing_ok=True)


def damaged(store: Path) -> Iterator[str]:
    """A sentence for each committed task whose files are not what was written. Reads everything."""
    for outcome in sorted(store.glob("??/*/outcome.json")):
        artifact = Artifact(outcome.parent)
        try:
            for name, digest in artifact.outcome["files"].items():
                path = outcome.parent / name
                if not path.exists():
                    yield f"{path}: gone"
                elif blake2b(path.read_bytes(), digest_size=8).hexdigest() != digest:
                    yield f"{path}: not what the task wrote"
        except (Corrupt, KeyError, AttributeError) as error:
            yield str(error)
