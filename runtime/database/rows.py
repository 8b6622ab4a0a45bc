"""Rows of the index's tables from the files of a store: pure reading, no database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.store.artifacts import Artifact
from runtime.store.records import read_record

Rows = Iterable[tuple[str, list[tuple[Any, ...]]]]
"""Tables, each with rows for it."""

METRIC_COLUMNS = ("name", "value", "low", "high", "n", "note", "canaries", "attack", "variant", "release")


def run_rows(record: Mapping[str, Any]) -> Rows:
    """A run, its trials and its tasks; `record` is the content of `run.json`."""
    run, blocked = record["run"], record.get("blocked", {})
    yield "run", [(
        run, record["study"], record["question"],
        record["profile"] or "",   # never NULL: users join by it
        record["spec"], record["spec_text"], _json(record["argv"]), _time(record["started"]), _time(record["ended"]),
        record["status"], _json(record["headline"]), _json(record["versions"]), record["commit"], record["source_digest"],
        _json(record["claims"]), _json(record["lints"]),
    )]  # fmt: skip
    yield "trial", [
        (
            run, trial["trial"], trial["arm"], trial["paradigm"], trial["method"], trial["label"], _json(trial["axes"]),
            trial["replicate"], trial["data"], trial["answer"],
        )
        for trial in record["trials"]
    ]  # fmt: skip
    yield (
        "stage",
        [(run, trial["trial"], task, shadow, stage) for trial in record["trials"] for task, shadow, stage in trial["stages"]],
    )
    yield "task", [
        (
            run, task["id"], task["kind"], task["operation"], task["address"], _json(task["needs"]), blocked.get(task["id"]),
        )
        for task in record["tasks"]
    ]  # fmt: skip


def outcome_rows(artifact: Artifact) -> Rows:
    """A committed task, its metrics, and an attack's scores, risks and ROC points."""
    outcome = artifact.outcome
    task, provenance, notes = outcome["task"], outcome["provenance"], outcome["notes"]
    machine = (provenance[name] for name in ("seconds", "host", "device", "threads", "peak_memory_mb", "commit", "source_digest"))
    yield "outcome", [(
        task, _time(provenance["started"]), *machine, notes.get("null_ok"), "; ".join(notes.get("flags", [])), _json(notes),
    )]  # fmt: skip
    yield "metric", [(task, *(metric[name] for name in METRIC_COLUMNS)) for metric in outcome["metrics"]]
    if "columns" in notes:
        for table, rows in _attack_rows(artifact, notes):
            yield table, [(task, *row) for row in rows]


def attempt_rows(folder: Path) -> Rows:
    """One attempt at a task, from the folder of the attempt."""
    content = read_record(folder / "attempt.json")
    provenance = content["provenance"] or {}
    yield "attempt", [(
        content["task"], int(folder.name), content["status"], content["error_kind"], content["error"], content["log"],
        _time(provenance.get("started")), *map(provenance.get, ("seconds", "host", "device")),
    )]  # fmt: skip


def _attack_rows(artifact: Artifact, notes: Mapping[str, Any]) -> Rows:
    """Rows without their first value, the task."""
    scores, roc, risk, canaries = (artifact.arrays(stem) for stem in ("scores", "roc", "risk", "canaries"))
    groups = notes["groups"]
    columns = [canaries[name].tolist() for name in ("group", "labels", "true_labels", "samples")]
    memorized = [value for (value,) in _numbers(canaries["memorization"][:, None])]
    yield (
        "canary",
        [
            (canary, groups[group]["name"], groups[group]["kind"], *values)
            for canary, (group, *values) in enumerate(zip(*columns, memorized, strict=True))
        ],
    )
    member = scores["member"].astype(bool).tolist()
    for key, column in enumerate(notes["columns"]):
        attack = (column["release"], column["attack"], column["variant"])
        for group in groups:
            curve = roc.get(f"{key}/{group['name']}")
            if curve is not None:
                yield "roc", [(*attack, group["name"], *point) for point in _numbers(curve)]
        risks = enumerate(_numbers(risk[str(key)]))
        yield "risk", [(*attack, canary, *values) for canary, values in risks if values[0] is not None]
        if f"score/{key}" in scores:  # absent for a file so large that only its metrics are stored
            yield (
                "score",
                [
                    (*attack, canary, shadow, member[canary][shadow], score)
                    for canary, row in enumerate(scores[f"score/{key}"].tolist())
                    for shadow, score in enumerate(row)
                    if score == score
                ],
            )


def _numbers(rows: Any) -> list[list[float | None]]:
    """Rows of an array with None for NaN: in SQL an average over NaN is NaN."""
    return [[value if value == value else None for value in row] for row in rows.tolist()]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
