"""Converts files of a store to rows of the index's tables; does not access the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.store.artifacts import Artifact
from runtime.store.records import read_record

Rows = Iterable[tuple[str, list[tuple[Any, ...]]]]
"""Pairs of a table's name and its rows, which lack the first column, the origin."""


def run_rows(record: Mapping[str, Any]) -> Rows:
    """Rows of a run, its trials, stages and tasks; `record` is the content of `run.json`. KeyError, ValueError, TypeError or
    AttributeError while the rows are read, if it does not hold what a run's record holds."""
    run, blocked = record["run"], record.get("blocked", {})
    profile = record["profile"] or ""  # never NULL: users join by it
    times = _time(record["started"]), _time(record["ended"])
    software = _pick(record, "status headline versions commit source_digest claims lints")
    yield "run", [(*_pick(record, "run study question"), profile, *_pick(record, "spec spec_text argv"), *times, *software)]
    trials = record["trials"]
    columns = "trial arm paradigm method label axes replicate data answer"
    yield (
        "trial",
        [
            (run, *_pick(trial, columns), trial.get("control", False), _json(trial["point"]) if "point" in trial else None)
            for trial in trials
        ],
    )
    yield "stage", [(run, trial["trial"], task, shadow, stage) for trial in trials for task, shadow, stage in trial["stages"]]
    tasks = record["tasks"]
    yield "task", [(run, *_pick(task, "id kind operation address needs"), blocked.get(task["id"])) for task in tasks]


def outcome_rows(artifact: Artifact) -> Rows:
    """Rows of a committed task and its metrics; for an attack also of its canaries, scores, risks and ROC points.

    While the rows are read: Corrupt if a file is gone or was changed; KeyError, ValueError, TypeError, AttributeError or IndexError
    if the outcome does not hold what it should.
    """
    outcome = artifact.outcome
    task, provenance, notes = outcome["task"], outcome["provenance"], outcome["notes"]
    given = {"cpu_seconds": None, "cpu": None} | provenance
    where = _pick(given, "seconds cpu_seconds host device threads peak_memory_mb cpu commit source_digest")
    flags = "; ".join(notes.get("flags", []))
    yield "outcome", [(task, _time(provenance["started"]), *where, notes.get("null_ok"), flags, _json(notes))]
    columns = "name value low high n note canaries attack variant release"
    yield "metric", [(task, *_pick(metric, columns)) for metric in outcome["metrics"]]
    if "columns" in notes:
        for table, rows in _attack_rows(artifact, notes):
            yield table, [(task, *row) for row in rows]


def attempt_rows(folder: Path) -> Rows:
    """One row, of the table `attempt`, from `folder`, that of an attempt that has ended; its name is the attempt's number.

    While the row is read: Corrupt if `attempt.json` is missing or was changed; KeyError, ValueError, TypeError or AttributeError if
    it does not hold what it should.
    """
    content = read_record(folder / "attempt.json")
    provenance = content["provenance"] or {}
    where = _time(provenance.get("started")), *map(provenance.get, ("seconds", "host", "device"))
    yield "attempt", [(content["task"], int(folder.name), *_pick(content, "status error_kind error log"), *where)]


def _pick(content: Mapping[str, Any], names: str) -> list[Any]:
    """Values of the fields in `names` (separated by spaces), in their order; lists, tuples and dicts as JSON. KeyError if a field
    is missing."""
    values = map(content.__getitem__, names.split())
    return [_json(value) if isinstance(value, list | tuple | dict) else value for value in values]


def _attack_rows(artifact: Artifact, notes: Mapping[str, Any]) -> Rows:
    """Rows of canaries, ROC points, risks and scores, without their first column, the task. Risks whose TPR is NaN and scores that
    are NaN get no row; nor do the scores of an attack that stored none. Errors as of `outcome_rows`."""
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
    """Rows of a matrix, as lists, with None for NaN, since in SQL an average over NaN is NaN."""
    return [[value if value == value else None for value in row] for row in rows.tolist()]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
