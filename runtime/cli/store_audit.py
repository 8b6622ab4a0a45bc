"""Stores and publishes an audit of a user's file, or a judgement, as a study of one trial.

Its folder is committed by the worker's own protocol, and its run leaves a record, without a plan.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError
from compiler.fingerprint import canonical_text, digest_of
from compiler.text.compose import MAX_NAME_BYTES
from compiler.text.escape import shortened
from compiler.work.operations import AuditSettings, Work
from runtime import machine
from runtime.audit.external.audit_file import Report
from runtime.audit.external.evidence import Evidence
from runtime.audit.external.product import audit_with_product, headline_of, work_of
from runtime.database.index import Index
from runtime.database.revision import check_target
from runtime.execution.worker import TaskRequest, commit_product
from runtime.outcome import Product
from runtime.store.artifacts import folder_of, lock_store
from runtime.store.records import read_runs, write_record
from runtime.store.runs import run_name


@dataclass(frozen=True)
class StoredResult:
    """The result of an audit or judgement, to be stored as a study."""

    study: str
    method: str
    question: str
    spec: str
    """The user's name for the audited file or set, as of `spec_of`."""
    command: str
    work: Work
    product: Product
    headline: Mapping[str, Any]
    started: datetime
    seconds: float


def audit_and_store(
    evidence: Evidence, settings: AuditSettings, *, file: Path, study: str | None, argv: list[str], store: Path, target: Path
) -> Report:
    """Audit `evidence`, store the result in `store` as a study and publish it to `target`; returns the report. `study` None: the
    name is made from that of `file`. `argv`: the command, to be recorded.

    SynthcError where the study's name is not valid, `target` is another file than a database of synthc, the audit refuses the file,
    the store is in use, or `target` cannot be written; OSError where a file of the store cannot be written.
    """
    name = study_name(study, file, store)
    check_target(target)
    started, clock = datetime.now(UTC), time.perf_counter()
    report, product = audit_with_product(evidence, settings)
    seconds = time.perf_counter() - clock
    found = StoredResult(
        study=name, method=evidence.kind, question="What do these models, trained elsewhere, leak?", spec=spec_of(file),
        command="audit", work=work_of(evidence, settings), product=product, headline=headline_of(product, settings),
        started=started, seconds=seconds,
    )  # fmt: skip
    store_result(found, argv=argv, store=store, target=target)
    return report


def spec_of(file: Path) -> str:
    """The user's name for what is audited: the absolute path of a file or folder, or `file` as it is where it does not exist."""
    return str(file.absolute() if file.exists() else file)


def study_name(study: str | None, file: Path, store: Path) -> str:
    """The study's name: `study`, taken or not; SynthcError if it has over MAX_NAME_BYTES, or other characters than letters, digits,
    `_`, `-` and `.`. If it is None, the file's name without suffix, with `_` in place of others. Where the store has a study of
    that name from another file, the folder's name is put before it; if that is taken too, a digest of the path is put after the
    file's name alone. These names are shortened to MAX_NAME_BYTES."""
    if study is not None:
        if not re.fullmatch(r"[\w.-]+", study):
            raise SynthcError(f"--study {study}: wanted are letters, digits, '_', '-' and '.'")
        if len(study.encode()) > MAX_NAME_BYTES:
            raise SynthcError(
                f"--study {study}: {len(study.encode())} bytes, and files are named after it; at most {MAX_NAME_BYTES}"
            )
        return study
    taken = {record["study"]: record["spec"] for _, record in read_runs(store) if isinstance(record, dict)}
    whole, stem = spec_of(file), re.sub(r"[^\w.-]+", "_", file.stem) or "audit"
    folder = re.sub(r"[^\w.-]+", "_", file.absolute().parent.name)
    for name in (shortened(stem, MAX_NAME_BYTES), shortened(f"{folder}_{stem}", MAX_NAME_BYTES)):
        if taken.get(name, whole) == whole:
            return name
    return f"{shortened(stem, MAX_NAME_BYTES - 9)}_{blake2b(whole.encode(), digest_size=4).hexdigest()}"


def store_result(found: StoredResult, *, argv: list[str], store: Path, target: Path) -> None:
    """Commit the result to the store, which is made if missing, as a task, unless it has the same task already; record a run of a
    study of one trial, and publish the store to `target`. `argv`: the command, to be recorded. SynthcError where the store is in
    use, damaged or of a newer version, or its index or `target` cannot be written; OSError where a file of the store cannot be
    written."""
    work, name = found.work, found.study
    text = canonical_text("task", type(work).__name__, work.kind, (work.revision,), work, ())
    request = TaskRequest(digest_of(text), work, (), f"{name}#0", text, 1)
    with lock_store(store), contextlib.closing(Index.open(store)) as index:
        commit_product(request, found.product, found.started, found.seconds, store)
        if index.missing([request.task]):
            folder = folder_of(store, request.task)
            index.record_outcome(folder)
            index.record_attempts(folder)
        record = _record(found, request.task) | {
            "run": run_name(store, found.started, name), "origin": index.origin, "argv": argv,
            "started": found.started.isoformat(timespec="seconds"), "headline": dict(found.headline),
        }  # fmt: skip
        folder = store / "runs" / record["run"]
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder / "run.json", record, synced=True)
        index.record_run(record)
        index.publish(target)


def _record(found: StoredResult, task: str) -> dict[str, Any]:
    """The content of `run.json` for a study of one trial whose attack is `task` (id), without the run's name, origin, command,
    start and headline."""
    name = found.study
    trial = {
        "trial": f"{name}#0", "arm": name, "paradigm": "imported", "method": found.method, "label": name, "axes": {},
        "replicate": 0, "answer": task, "data": Path(found.spec).name, "stages": [],
    }  # fmt: skip
    operation = type(found.work).__name__
    return {
        "study": name, "profile": None, "question": found.question, "spec": found.spec,
        "spec_text": f"# synthc {found.command} {found.spec}\n{json.dumps(asdict(found.work), indent=1)}",
        "ended": datetime.now(UTC).isoformat(timespec="seconds"), "status": "done", "blocked": {},
        "trials": [trial], "claims": [], "lints": [], "versions": machine.versions(), "commit": machine.commit(),
        "tasks": [{"id": task, "kind": "attack", "operation": operation, "address": f"{name}#0", "needs": []}],
        "source_digest": machine.source_digest(),
    }  # fmt: skip
