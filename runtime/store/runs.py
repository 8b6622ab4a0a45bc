"""Records and plans of runs: each run writes its own; they are read to explain changes since.

    <store>/runs/<run>/run.json      trials, stages, claims, spec texts, versions, code
                       plan.jsonl.gz   one line per task: id, address, the text whose hash is the id; studies only
                       progress.json   tasks that were running and time left when the run last published before its end

By both, a figure can be traced to the exact computation even after its artifacts are deleted.
"""

from __future__ import annotations

import gzip
import json
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, SynthcWarning
from compiler.inspect.explain import Before, Trace
from compiler.plan.dag import Plan
from runtime import machine
from runtime.store.artifacts import folder_of
from runtime.store.files import atomic_write
from runtime.store.records import Corrupt, read_record, read_runs

DETERMINISTIC_ERRORS = ("exception", "diverged")
"""Kinds of error that would recur with the same code."""
PLAN_FILE = "plan.jsonl.gz"
PROGRESS_FILE = "progress.json"


def save_plan(folder: Path, plan: Plan) -> None:
    """Write id, address and text of each task of a plan to PLAN_FILE in the folder of a run."""
    with atomic_write(folder / PLAN_FILE, synced=False) as temp, gzip.open(temp, "wt", compresslevel=4, encoding="utf-8") as lines:
        for task in plan.tasks.values():
            lines.write(json.dumps({"id": task.id, "address": task.address, "text": task.text}, ensure_ascii=False) + "\n")


def read_progress(store: Path, run: str) -> dict[str, Any]:
    """`running` (ids of tasks), `left` (seconds) and `guessed` (whether no duration was measured yet), as the run recorded them
    when it last published; {} where the store has no such record, or one that cannot be read."""
    try:
        return read_record(store / "runs" / run / PROGRESS_FILE)
    except (Corrupt, OSError, KeyError):
        return {}


def run_name(store: Path, started: datetime, study: str) -> str:
    """A name for a run, such as `20250131T120000.000000-study`, from `started`, the time of its start in UTC. Names sort in the
    order of runs: where the latest run in the store does not have an earlier time (the clock was set back), the name has that time
    plus a microsecond. SynthcError if there is no later time. Nothing is made."""

    def stamp(time: datetime) -> str:
        return f"{time:%Y%m%dT%H%M%S.%f}"

    stamps = [folder.name.split("-")[0] for folder in store.glob("runs/*-*")]
    last = max((text for text in stamps if re.fullmatch(r"\d{8}T\d{6}\.\d{6}", text)), default="")
    if stamp(started) > last:
        return f"{stamp(started)}-{study}"
    try:
        return f"{stamp(datetime.strptime(last, '%Y%m%dT%H%M%S.%f') + timedelta(microseconds=1))}-{study}"
    except (OverflowError, ValueError) as error:
        raise SynthcError(f"{store / 'runs'}: no run can come after that of {last}: move its folder away") from error


@dataclass(frozen=True)
class RecordedRun:
    """A run's record and plan in the store."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def texts(self) -> dict[str, str]:
        """Task id → the text whose hash it is; {} where the plan file is lost or damaged. Read once."""
        try:
            return {row["id"]: row["text"] for row in self._read_rows()}
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
            return {}

    def _read_rows(self) -> Iterator[dict[str, str]]:
        with gzip.open(self.folder / PLAN_FILE, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    @property
    def stages(self) -> dict[tuple[str, int | None, str], str]:
        """(trial, shadow, stage) → task; for a trial's attack the key is (trial, None, `attack`), for a claim (its name, None,
        `claim`)."""
        found: dict[tuple[str, int | None, str], str] = {}
        for trial in self.record["trials"]:
            found |= {(trial["trial"], shadow, stage): task for task, shadow, stage in trial["stages"]}
            found[trial["trial"], None, "attack"] = trial["answer"]
        return found | {(claim["claim"], None, "claim"): claim["task"] for claim in self.record.get("claims", ())}


def mend_run(folder: Path) -> str:
    """Text that advises what to do about a run, in `folder`, whose record cannot be read; nothing is changed."""
    return f"bring {folder} back from a backup, or delete it: what only that run needs can go then"


def _warn_unread(folder: Path, corrupt: Corrupt) -> None:
    warnings.warn(f"{corrupt}; it is left out: {mend_run(folder)}", SynthcWarning, stacklevel=3)


def load_last_run(store: Path, study: str, profile: str | None) -> RecordedRun | None:
    """The latest run of a study under `profile` (None: without one) whose record can be read; None if there is none. SynthcWarning
    for each later run, of whichever study, whose record cannot be read."""
    for folder, record in read_runs(store, newest_first=True):
        if isinstance(record, Corrupt):
            _warn_unread(folder, record)
        elif (record["study"], record["profile"]) == (study, profile):
            return RecordedRun(folder, record)
    return None


def load_first_results(store: Path, last: RecordedRun | None) -> RecordedRun | None:
    """The first run with results that the record of `last`, the last run of a study under a profile, names; `last` itself if it
    names none and has results. None if neither, if `last` is None, or if the named run is deleted; None and a SynthcWarning if the
    record of the named run cannot be read."""
    if last is None:
        return None
    name = last.record.get("first_results")
    if name is None:
        return last if last.record.get("answered", last.record["status"] == "done") else None
    for folder, record in read_runs(store):
        if folder.name != name:
            continue
        if not isinstance(record, Corrupt):
            return RecordedRun(folder, record)
        _warn_unread(folder, record)
    return None


def load_previous(store: Path, study: str, profile: str | None) -> Before | None:
    """The run of `load_last_run`, in the form that `compiler.inspect.explain` compares plans with, and with a sentence if the
    source code is another one now; None if there is none. Warnings: those of `load_last_run`."""
    run = load_last_run(store, study, profile)
    if run is None:
        return None
    record, drift = run.record, ""
    if record.get("source_digest") != machine.source_digest():
        was, now = record.get("commit") or "unknown", machine.commit() or "unknown"
        commits = f"commit {was}, now {now}" if was != now else f"both with changes on top of commit {now.rstrip('+')}"
        drift = f"code differs from that run's ({commits}): recorded with every result, no reason to compute again"
    return Before(record["run"], run.stages, {trial["trial"]: trial for trial in record["trials"]}, run.texts, drift)


def read_trace(store: Path, task: str) -> Trace:
    """A task's state in the store: whether it is done, whether its commit was set aside as damaged and it is not done since, how
    many attempts have ended, and how the last of them ended: its status, error, log, and whether it failed in a way that would
    recur (DETERMINISTIC_ERRORS) and the source code is still the same.

    How it ended is left out where no attempt has ended, or its record is damaged. ValueError as of `folder_of`.
    """
    folder = folder_of(store, task)
    if not folder.is_dir():
        return Trace()
    done = (folder / "outcome.json").exists()
    damaged = not done and (folder / "outcome.json.corrupt").exists()
    attempts = sorted(folder.glob("attempts/*/attempt.json"), key=lambda path: int(path.parent.name))
    try:
        last = read_record(attempts[-1])
        deterministic = last["status"] == "failed" and last["error_kind"] in DETERMINISTIC_ERRORS
        given_up = deterministic and last["provenance"]["source_digest"] == machine.source_digest()
        return Trace(done, damaged, len(attempts), last["status"], last["error"], last["log"], given_up)
    except (Corrupt, LookupError, TypeError):
        return Trace(done, damaged, len(attempts))
