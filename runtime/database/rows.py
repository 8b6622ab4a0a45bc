"""What the files of a store say, as rows of the index's tables: pure reading, no database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.store.artifacts import Artifact

Rows = Iterator[tuple[str, list[tuple[Any, ...]]]]
"""Table and rows for it."""

METRIC = ("name", "value", "low", "high", "n", "note", "canaries", "attack", "variant", "release")


def of_run(record: Mapping[str, Any]) -> Rows:
    """A run, its trials and its tasks; `record` is the content of `run.json`."""
    run, blocked = record["run"], record.get("blocked", {})
    yield "run", [(
        run, record["study"], record["question"],
        record["profile"] or "",   # never NULL: users join by it
        record["spec"], record["spec_text"], _json(record["argv"]), _time(record["started"]), _time(record["ended"]),
        record["status"], _json(record["headline"]), _json(record["versions"]), record["commit"], record["source_digest"],
        _json(record["claims"]), _json(record["lints"]),
    )]   # fmt: skip
    yield "trial", [
        (
            run, trial["trial"], trial["arm"], trial["paradigm"], trial["method"], trial["label"], _json(trial["axes"]),
            trial["replicate"], trial["data"], trial["answer"],
        )
        for trial in record["trials"]
    ]   # fmt: skip
    yield "stage", [
        (run, trial["trial"], task, shadow, stage) for trial in record["trials"] for task, shadow, stage in trial["stages"]
    ]
    yield "task", [
        (
            run, task["id"], task["kind"], task["operation"], task["address"], _json(task["needs"]), blocked.get(task["id"]),
        )
        for task in record["tasks"]
    ]   # fmt: skip


def of_outcome(artifact: Artifact) -> Rows:
    """A committed task, its metrics, and what an attack says of canaries."""
    outcome = artifact.outcome
    task, where, notes = outcome["task"], outcome["provenance"], outcome["notes"]
    yield "outcome", [(
        task, _time(where["started"]), where["seconds"], where["host"], where["device"], where["threads"], where["peak_memory_mb"],
        where["commit"], where["source_digest"], notes.get("null_ok"), "; ".join(notes.get("flags", [])), _json(notes),
    )]   # fmt: skip
    yield "metric", [(task, *(metric[word] for word in METRIC)) for metric in outcome["metrics"]]
    if "columns" in notes:
        for table, rows in _of_attack(artifact, notes):
            yield table, [(task, *row) for row in rows]


def of_attempt(folder: Path) -> Rows:
    """One attempt at a task, from the folder of the attempt."""
    content = json.loads((folder / "attempt.json").read_text(encoding="utf-8"))
    where = content["provenance"] or {}
    yield "attempt", [(
        content["task"], int(folder.name), content["status"], content["error_kind"], content["error"], content["log"],
        _time(where.get("started")), where.get("seconds"), where.get("host"), where.get("device"),
    )]   # fmt: skip


def _of_attack(artifact: Artifact, notes: Mapping[str, Any]) -> Rows:
    """Without the task, which is every row's first value."""
    scores, roc, risk, canaries = (artifact.arrays(stem) for stem in ("scores", "roc", "risk", "canaries"))
    groups = notes["groups"]
    told = [canaries[name].tolist() for name in ("group", "labels", "true_labels", "samples")]
    known = zip(*told, (memorized for memorized, in _numbers(canaries["memorization"][:, None])), strict=True)
    yield "canary", [
        (place, groups[group]["name"], groups[group]["kind"], label, true, sample, memorized)
        for place, (group, label, true, sample, memorized) in enumerate(known)
    ]
    member = scores["member"].astype(bool).tolist()
    for key, column in enumerate(notes["columns"]):
        named = (column["release"], column["attack"], column["variant"])
        for group in groups:
            curve = roc.get(f"{key}/{group['name']}")
            if curve is not None:
                yield "roc", [(*named, group["name"], *point) for point in _numbers(curve)]
        exposed = enumerate(_numbers(risk[str(key)]))
        yield "risk", [(*named, place, *figures) for place, figures in exposed if figures[0] is not None]
        if f"score/{key}" in scores:   # not of a file so large that only its figures are kept
            yield "score", [
                (*named, canary, shadow, member[canary][shadow], score)
                for canary, row in enumerate(scores[f"score/{key}"].tolist())
                for shadow, score in enumerate(row)
                if score == score
            ]


def _numbers(rows: Any) -> list[list[float | None]]:
    """Rows of an array with None for NaN: in SQL an average over NaN is NaN."""
    return [[value if value == value else None for value in row] for row in rows.tolist()]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
