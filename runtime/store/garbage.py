"""Finds garbage in a store (files that no kept study needs) and damage.

Not here: repair (a run recomputes damaged results that it needs), the database (`runtime.database`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, sentence_of
from compiler.work.operations import AuditFile, JudgeSet
from runtime import machine
from runtime.store.artifacts import CHECKPOINT_PATTERN, FIGURES_FILE, Artifact, is_done
from runtime.store.records import Corrupt, parse_record, read_runs
from runtime.store.runs import PLAN_FILE, RecordedRun, mend_run

LEFTOVER_PATTERNS = ("*.part", "*.corrupt", "*.damaged", ".*.next")
"""Name patterns of files left by killed writers, and of quarantined ones."""


@dataclass(frozen=True)
class Garbage:
    """Files that can be deleted: folders of tasks, and single files that nothing reads."""

    tasks: tuple[Path, ...]
    files: tuple[Path, ...]
    resumable: int
    """Number of kept tasks that another run resumes from their checkpoints."""

    @property
    def size(self) -> int:
        """Size in bytes of all files, those in the folders of tasks included, as they are now; OSError if one is gone."""
        within = [path for folder in self.tasks for path in folder.rglob("*") if path.is_file()]
        return sum(path.lstat().st_size for path in (*within, *self.files))


def find_garbage(store: Path, drop: Collection[str] = ()) -> Garbage:
    """Folders of tasks that no study's latest run under any profile needs, and leftover files; studies in `drop` do not count.
    Nothing is deleted. The store must be locked: files that a run is writing look like leftovers.

    Checkpoints of a needed task stay until it is done, unless other source code wrote them: no attempt reads those.

    SynthcError if the record of any run is missing or damaged, or there are tasks and no run: what is needed is then unknown.
    OSError if this user may not read one.
    """
    kept = {task["id"] for record in latest_runs(store) if record["study"] not in drop for task in record["tasks"]}
    tasks = tuple(sorted(folder for folder in store.glob("??/*") if folder.is_dir() and folder.name not in kept))
    deleted = set(tasks)
    leftovers = [path for pattern in LEFTOVER_PATTERNS for path in store.rglob(pattern) if path.is_file()]
    checkpoints = {path for path in store.glob(f"??/*/{CHECKPOINT_PATTERN}") if path.is_file() and path.suffix != ".part"}
    of_open = {path for path in checkpoints if path.parent not in deleted and not is_done(store, path.parent.name)}
    read = {path for path in of_open if path.name.endswith(machine.source_digest())}
    unread = {path for path in (*leftovers, *(checkpoints - read)) if deleted.isdisjoint(path.parents)}
    return Garbage(tasks, tuple(sorted(unread)), len({path.parent for path in read}))


def latest_runs(store: Path) -> list[dict[str, Any]]:
    """Records of the latest run of each study under each profile; SynthcError if the record of any run, an older one included, is
    missing or damaged, or if there are tasks and no record; OSError if this user may not read one."""
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for folder, record in read_runs(store):
        if isinstance(record, Corrupt):
            raise SynthcError(f"{record}; what that run needs cannot be told: {mend_run(folder)}")
        latest[record["study"], record["profile"] or ""] = record
    if not latest and any(store.glob("??/*/task.json")):
        raise SynthcError(f"{store / 'runs'}: no run is recorded, so what is needed cannot be told; delete the store if nothing is")
    return list(latest.values())


def delete(garbage: Garbage) -> None:
    """Delete garbage; of each task the commit first, so that a task that is deleted in part counts as not done. OSError if a task's
    folder is gone or something cannot be deleted; single files that are gone are skipped."""
    for folder in garbage.tasks:
        (folder / "outcome.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    for path in garbage.files:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Damage:
    """The result of checking a whole store: a sentence on each damage and its remedy, and the number of undamaged records."""

    sentences: tuple[str, ...]
    records: int
    without_digest: int
    """Number of those `records` that have no digest, since earlier versions wrote none: only their fields were checked."""


def find_damage(store: Path) -> Damage:
    """Compare with their digests `store.json`, the records of runs and attempts, figures of other stores, and the records and
    tensors of done tasks; read the plans of studies' runs, which have no digest. What is damaged or missing, also such a plan,
    becomes a sentence, and so does a file where the folder of a task should be; nothing is changed.

    Logs, checkpoints and `task.json` of tasks that are not done are not read.
    """
    found: list[str] = []
    counts: Counter[bool] = Counter()

    def read(path: Path, mend: str) -> None:
        try:
            counts[parse_record(path)[1]] += 1
        except (Corrupt, OSError) as error:
            found.append(f"{sentence_of(error) if isinstance(error, OSError) else error}; {mend}")

    read(store / "store.json", "`synthc run` says what to write into it")
    for folder, run in read_runs(store):
        read(folder / "run.json", mend_run(folder))
        if _has_plan(run) and not RecordedRun(folder, {}).texts:
            found.append(f"{folder / PLAN_FILE}: cannot be read; only `synthc explain` needs it")
    found += _find_what_is_no_folder(store)
    for folder in sorted(store.glob("??/*")):
        again = f"`synthc run SPEC --force {folder.name}` computes it again"
        for record in sorted(folder.glob("attempts/*/attempt.json")):
            read(record, "delete it: no figure needs it")
        if os.path.lexists(folder / "outcome.json"):
            read(folder / "task.json", again)
            read(folder / "outcome.json", again)
            found += [f"{problem}; {again}" for problem in _find_changed_tensors(folder)]
        if os.path.lexists(folder / FIGURES_FILE):
            read(folder / FIGURES_FILE, "delete it, and merge the bundle again that it came with")
    return Damage(tuple(found), counts.total(), counts[False])


def _has_plan(record: dict[str, Any] | Corrupt) -> bool:
    """Whether a run with this record has a plan: that of a study, unlike that of a stored audit or judgement, does; True for a
    damaged record."""
    of_files = {AuditFile.__name__, JudgeSet.__name__}
    return isinstance(record, Corrupt) or all(task["operation"] not in of_files for task in record["tasks"])


def _find_what_is_no_folder(store: Path) -> Iterator[str]:
    """Yield a sentence on each file, or link to nowhere, that lies where the folder of a task, or of several, should be."""
    for path in sorted((*store.glob("??"), *store.glob("??/*"))):
        if re.fullmatch(r"[0-9a-f]{2}|[0-9a-f]{16}", path.name) and not path.is_dir():
            what = "a task" if len(path.name) > 2 else "tasks"
            yield f"{path}: is no folder of {what}; move it away: `synthc run` computes again what it needs"


def _find_changed_tensors(folder: Path) -> Iterator[str]:
    artifact = Artifact(folder)
    with contextlib.suppress(Corrupt, OSError):  # an outcome that cannot be read is named already
        for stem in artifact.stems:
            try:
                artifact.content(stem)
            except Corrupt as corrupt:
                yield str(corrupt)
            except OSError as error:
                yield sentence_of(error)
