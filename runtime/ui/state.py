"""Reads the page's data from the published database and the store; each response is from one snapshot of the database."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError
from runtime.database.questions import question, questions
from runtime.database.quoting import literal
from runtime.database.read import Query, open_read_only, query_briefly
from runtime.present import charts
from runtime.present.charts.gallery import make_sheet
from runtime.present.report import recolor
from runtime.store.artifacts import folder_of

MAX_ROWS = 500
"""Most rows of an SQL query's result on the page."""
MAX_QUERY_SECONDS = 10.0
MAX_LOG_BYTES = 200_000
"""Most bytes of a log that are shown, from its end."""
FOLLOW = ("roc", "vulnerability", "ablation", "epsilon")
"""Charts that are restricted to the trial that the user selects; the others show all trials."""

RUNS = (
    "SELECT origin, study, profile, run, status, started, ended, question FROM base.run SEMI JOIN base.latest USING (origin, run)"
)
TASKS = "SELECT task, operation, status, seconds FROM task WHERE {origin} AND task IN (SELECT task FROM base.task WHERE {run})"
FAILED = """
SELECT task.task, address, status, error, attempts, log FROM task
WHERE {origin} AND status IN ('failed', 'blocked') AND task IN (SELECT task FROM base.task WHERE {run})
ORDER BY status DESC, address
"""
STAGES = """
SELECT trial, stage, task FROM (
  SELECT trial, stage, task, rowid AS place FROM base.stage WHERE {run}   -- rows stand in the order of the plan
  UNION ALL SELECT trial, 'attack', answer, NULL FROM base.trial WHERE {run})
ORDER BY place NULLS LAST, trial
"""
RESULTS = """
SELECT bit_xor(hash(planned)), (SELECT bit_xor(hash(ended)) FROM base.outcome AS ended WHERE {origin} AND task IN (
  SELECT task FROM base.task WHERE {run} AND kind IN ('attack', 'compare'))),
  (SELECT bit_xor(hash(claims)) FROM base.run WHERE {run})
FROM base.trial AS planned WHERE {run}
"""
"""Another row where figures of trials or verdicts of claims came, went or changed."""
SETS = """
SELECT stage.trial, stage.task, trial.answer FROM base.stage AS stage JOIN base.trial AS trial USING (origin, run, trial)
WHERE stage.{run} AND stage.stage = 'synthesize' AND stage.shadow = 0
"""


@dataclass(frozen=True)
class Source:
    """The files that the page is made from."""

    database: Path
    store: Path
    with_private: bool = False

    def version(self) -> str:
        """A text that changes whenever the database is published; "" while there is no database."""
        try:
            found = self.database.stat()
        except OSError:
            return ""
        return f"{found.st_ino}-{found.st_mtime_ns}"


@dataclass
class Kept:
    """Comparison, claims, sets and stages of the run that was asked for last: read again where results came, not as tasks end."""

    key: object = None
    stages: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


def read_state(source: Source, run: str | None = None, kept: Kept | None = None) -> dict[str, Any]:
    """Board, comparison, claims and failures of the run `run`, by default the one that began last; JSON's types alone."""
    version = source.version()
    if not version:
        return {"version": "", "runs": []}
    with open_read_only(source.database) as query:
        runs = sorted(_rows(query, RUNS), key=lambda row: row["run"], reverse=True)
        chosen = next((row for row in runs if row["run"] == run), runs[0] if runs else None)
        if chosen is None:
            return {"version": version, "runs": []}
        where = _conditions(chosen)
        tasks = _rows(query, TASKS.format(**where))
        kept = kept or Kept()
        _read_results(query, chosen, kept)
        return {
            "version": version,
            "runs": runs,
            "run": chosen,
            "progress": _measure_progress(chosen, tasks),
            "running": _find_running(source.store, tasks) if chosen["status"] == "running" else [],
            "failed": _rows(query, FAILED.format(**where)) if {row["status"] for row in tasks} & {"failed", "blocked"} else [],
            **kept.results,
            "board": _board(tasks, kept.stages),
            "questions": {name: found.text for name, found in questions().items()},
            "charts": {name: kind.about for name, kind in charts.CHARTS.items()},
        }


def _read_results(query: Query, run: dict[str, Any], kept: Kept) -> None:
    """Bring what is kept up to date."""
    where = _conditions(run)
    same = " AND ".join(f"{name} = {literal(run[name])}" for name in ("origin", "study", "profile"))
    key = run["origin"], run["run"], query(RESULTS.format(**where))[1]
    if key != kept.key:
        kept.results = {
            "comparison": _rows(query, f"FROM comparison WHERE {same}"),
            "claims": _rows(query, f"FROM claim WHERE {same}"),
            "sets": [row["trial"] for row in _rows(query, SETS.format(**where))],
        }
        kept.stages = _rows(query, STAGES.format(**where))
        kept.key = key


def _board(tasks: list[dict[str, Any]], planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts by status for each trial and stage, in the order of the plan."""
    status = {row["task"]: row["status"] for row in tasks}
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in planned:
        empty = {"trial": row["trial"], "stage": row["stage"], "done": 0, "failed": 0, "blocked": 0, "total": 0}
        cell = cells.setdefault((row["trial"], row["stage"]), empty)
        if (now := status.get(row["task"])) is not None:
            cell["total"] += 1
            cell[now] = cell.get(now, 0) + 1
    return [cell for cell in cells.values() if cell["total"]]


def _conditions(run: dict[str, Any]) -> dict[str, str]:
    return {"origin": f"origin = {literal(run['origin'])}", "run": f"run = {literal(run['run'])}"}


def _measure_progress(run: dict[str, Any], tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of tasks by status, seconds since the run's start, and seconds left: missing tasks at their operation's mean seconds,
    scaled by elapsed over computed time so far; None where no task has a duration."""
    counts = {status: sum(row["status"] == status for row in tasks) for status in ("done", "failed", "blocked", "missing")}
    began = datetime.fromisoformat(run["started"]).replace(tzinfo=UTC)
    elapsed = (
        (datetime.fromisoformat(run["ended"]).replace(tzinfo=UTC) if run["ended"] else datetime.now(UTC)) - began
    ).total_seconds()
    known: dict[str, list[float]] = {}
    for row in tasks:
        if row["seconds"] is not None:
            known.setdefault(row["operation"], []).append(row["seconds"])
    spent = sum(map(sum, known.values()))
    left = None
    if run["status"] == "running" and spent and elapsed > 0:
        mean = spent / sum(map(len, known.values()))
        means = {operation: sum(seconds) / len(seconds) for operation, seconds in known.items()}
        left = sum(means.get(row["operation"], mean) for row in tasks if row["status"] == "missing") * elapsed / spent
    return counts | {"elapsed": elapsed, "left": left}


def _find_running(store: Path, tasks: list[dict[str, Any]]) -> list[str]:
    """Ids of tasks whose last attempt has started and not ended."""
    found = []
    for row in tasks:
        if row["status"] == "missing":
            attempts = folder_of(store, row["task"]) / "attempts"
            last = max(
                (path for path in attempts.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name), default=None
            )
            if last is not None and not (last / "attempt.json").exists():
                found.append(row["task"])
    return found


def draw_chart(source: Source, name: str, run: str, trial: str | None = None) -> dict[str, Any]:
    """A chart of the study of `run` as a Vega-Lite specification. The charts in FOLLOW show `trial` alone, where one is given."""
    kind = charts.kind_of(name)
    with open_read_only(source.database) as query:
        found = _rows(query, f"SELECT origin, study, profile FROM base.run WHERE run = {literal(run)}")
        if not found:
            raise SynthcError(f"no run is called {run!r}")
        conditions = [f"{column} = {literal(value)}" for column, value in found[0].items()]
        if trial is not None and name in FOLLOW:
            conditions.append(f"trial = {literal(trial)}")
        columns, rows = query(f"SELECT * FROM ({kind.query}) AS chart WHERE {' AND '.join(conditions)}")
    spec = charts.draw(name, columns, rows, layout="screen")
    spec["config"] |= {"background": None, "aria": False}
    recolored: dict[str, Any] = recolor(spec)
    return recolored


def answer(source: Source, text: str) -> dict[str, Any]:
    """As JSON: rows of an SQL query or of a named question `@NAME` as texts, at most MAX_ROWS; SynthcError where the query fails or
    takes too long."""
    text = question(text[1:].strip()).text if text.startswith("@") else text
    began = time.monotonic()
    columns, rows = query_briefly(source.database, text, MAX_ROWS + 1, MAX_QUERY_SECONDS)
    return {
        "columns": columns,
        "rows": [["NULL" if value is None else _text(value) for value in row] for row in rows[:MAX_ROWS]],
        "more": len(rows) > MAX_ROWS,
        "seconds": time.monotonic() - began,
    }


def read_log(source: Source, task: str) -> str:
    """The end of the log of a task's last attempt; SynthcError where the store has none."""
    try:
        logs = sorted(folder_of(source.store, task).glob("attempts/*/log"), key=lambda path: int(path.parent.name))
        content = logs[-1].read_bytes()
    except (ValueError, OSError, IndexError):
        raise SynthcError(f"{source.store}: has no log of the task {task[:16]!r}") from None
    return content[-MAX_LOG_BYTES:].decode(errors="replace")


_sheets = threading.Lock()


def read_sheet(source: Source, run: str, trial: str) -> bytes | None:
    """A contact sheet of a trial's synthetic images as PNG; None where these are private images, or there are none."""
    with open_read_only(source.database) as query:
        sets = _rows(query, SETS.format(run=f"run = {literal(run)}"))
    found = next((row for row in sets if row["trial"] == trial), None)
    with _sheets:
        sheet = make_sheet(source.store, found["task"], source.with_private, found["answer"]) if found else None
    return sheet.png if sheet is not None else None


def _rows(query: Query, text: str) -> list[dict[str, Any]]:
    columns, rows = query(text)
    return [{name: _plain(value) for name, value in zip(columns, row, strict=True)} for row in rows]


def _plain(value: Any) -> Any:
    """A value as a JSON type; None for numbers that are not finite."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if isinstance(value, str | int | bool | None) else _text(value)


def _text(value: Any) -> str:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else str(value)
