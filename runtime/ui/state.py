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
from runtime.store.runs import read_progress

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
BOARD = """
WITH current AS MATERIALIZED (
  SELECT task, status FROM task WHERE {origin} AND task IN (SELECT task FROM base.task WHERE {run})),
planned AS (
  SELECT trial, stage, task, rowid AS place FROM base.stage WHERE {run}   -- rows stand in the order of the plan
  UNION ALL SELECT trial, 'attack', answer, NULL FROM base.trial WHERE {run}
  UNION ALL SELECT NULL, NULL, task, NULL FROM current)
SELECT trial, stage, count(*) AS total, count(*) FILTER (status = 'done') AS done, count(*) FILTER (status = 'failed') AS failed,
  count(*) FILTER (status = 'blocked') AS blocked
FROM planned JOIN current USING (task) GROUP BY ALL ORDER BY min(place) NULLS LAST, trial
"""
"""Counts of tasks by status for each trial and stage, in the order of the plan, and (without trial and stage) for the whole run."""
FAILED = """
SELECT task.task, address, status, error, attempts, log FROM task
WHERE {origin} AND status IN ('failed', 'blocked') AND task IN (SELECT task FROM base.task WHERE {run})
ORDER BY status DESC, address
"""
COMPARISON = """
SELECT trial, label, replicate, paradigm, test_accuracy, test_accuracy_low, test_accuracy_high, leakage, leakage_low, leakage_high,
  auc, auc_low, auc_high, seconds, seconds_low, seconds_high, null_ok, flags, leakage_note
FROM comparison WHERE {study}
"""
RESULTS = """
SELECT bit_xor(hash(planned)), (SELECT bit_xor(hash(ended)) FROM base.outcome AS ended WHERE {origin} AND task IN (
  SELECT task FROM base.task WHERE {run} AND kind IN ('attack', 'compare'))),
  (SELECT bit_xor(hash(claims)) FROM base.run WHERE {run})
FROM base.trial AS planned WHERE {run}
"""
"""Query for one row of hashes, which changes where figures of trials or verdicts of claims come, go or change."""
SETS = """
SELECT stage.trial, stage.task, trial.answer FROM base.stage AS stage JOIN base.trial AS trial USING (origin, run, trial)
WHERE {run} AND stage.stage = 'synthesize' AND stage.shadow = 0
"""


@dataclass(frozen=True)
class Source:
    """The files that the page is made from. `with_private`: whether it shows images that may be private."""

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
    """Cache of comparison, claims and sets of the run that was requested last; `key` identifies the run and its results (see
    RESULTS)."""

    key: object = None
    results: dict[str, Any] = field(default_factory=dict)


def read_state(source: Source, run: str | None = None, kept: Kept | None = None) -> dict[str, Any]:
    """Progress, board, comparison, claims, `sets` (trials that make a synthetic set), failures, SQL of questions and descriptions
    of charts, by name, for the run `run`, or for the one that began last where `run` is None or not the latest of its study and
    profile; `runs` lists the latest run of each, newest first. `kept` is read and updated.

    In JSON's types alone. Without a database, or with one without runs, only `version` and an empty list `runs`. SynthcError for a
    database that cannot be read.
    """
    version = source.version()
    if not version:
        return {"version": "", "runs": []}
    with open_read_only(source.database) as query:
        runs = sorted(_rows(query, RUNS), key=lambda row: row["run"], reverse=True)
        chosen = next((row for row in runs if row["run"] == run), runs[0] if runs else None)
        if chosen is None:
            return {"version": version, "runs": []}
        where = _conditions(chosen)
        board = _rows(query, BOARD.format(**where))
        whole = next((row for row in board if row["trial"] is None), {"total": 0, "done": 0, "failed": 0, "blocked": 0})
        running = chosen["status"] == "running"
        kept = kept or Kept()
        _read_results(query, chosen, kept)
        return {
            "version": version,
            "runs": runs,
            "run": chosen,
            "progress": whole | {"elapsed": _elapsed(chosen)} | (read_progress(source.store, chosen["run"]) if running else {}),
            "failed": _rows(query, FAILED.format(**where)) if whole["failed"] or whole["blocked"] else [],
            **kept.results,
            "board": [row for row in board if row["trial"] is not None],
            "questions": {name: found.text for name, found in questions().items()},
            "charts": {name: kind.about for name, kind in charts.CHARTS.items()},
        }


def _read_results(query: Query, run: dict[str, Any], kept: Kept) -> None:
    """Read comparison, claims and sets (names of trials) of `run` into `kept`, unless it holds those of this run and none has
    changed since."""
    where = _conditions(run)
    key = run["origin"], run["run"], query(RESULTS.format(**where))[1]
    if key != kept.key:
        kept.results = {
            "comparison": _rows(query, COMPARISON.format(**where)),
            "claims": _rows(query, f"FROM claim WHERE {where['study']}"),
            "sets": [row["trial"] for row in _rows(query, SETS.format(**where))],
        }
        kept.key = key


def _conditions(run: dict[str, Any]) -> dict[str, str]:
    """Name → SQL condition: `origin` and `profile` on that column alone, `study` on the study under its profile and origin, `run`
    on the run and its origin."""
    same = {name: f"{name} = {literal(run[name])}" for name in ("origin", "study", "profile", "run")}
    names = {"study": ("origin", "study", "profile"), "run": ("origin", "run")}
    return same | {name: " AND ".join(map(same.__getitem__, those)) for name, those in names.items()}


def _elapsed(run: dict[str, Any]) -> float:
    """Seconds from the start of the run to its end, or to now; the times of `run` are ISO texts in UTC."""
    ended = datetime.fromisoformat(run["ended"]).replace(tzinfo=UTC) if run["ended"] else datetime.now(UTC)
    return (ended - datetime.fromisoformat(run["started"]).replace(tzinfo=UTC)).total_seconds()


def draw_chart(source: Source, name: str, run: str, trial: str | None = None) -> dict[str, Any]:
    """A chart of the study of `run`, with the figures of the study's latest run, as a Vega-Lite specification with CSS variables as
    colours. The charts in FOLLOW show `trial` alone, where one is given; the others show all trials. SynthcError where there is no
    such chart or run, or the database is missing or cannot be read."""
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
    """The result of an SQL query, or of a named question `@NAME`, in JSON's types: `columns`, the first MAX_ROWS `rows` as texts
    ("NULL" for NULL), whether there are `more`, and `seconds`. SynthcError for an unknown question, for a database that is missing
    or cannot be read, and where the query is empty, fails, or takes more than MAX_QUERY_SECONDS."""
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
    """The log of the last attempt at a task that left one, of which at most the last MAX_LOG_BYTES; SynthcError where the store has
    none, and for what is no task id."""
    try:
        logs = sorted(folder_of(source.store, task).glob("attempts/*/log.txt"), key=lambda path: int(path.parent.name))
        content = logs[-1].read_bytes()
    except (ValueError, OSError, IndexError):
        raise SynthcError(f"{source.store}: has no log of the task {task[:16]!r}") from None
    return content[-MAX_LOG_BYTES:].decode(errors="replace")


_sheets = threading.Lock()


def read_sheet(source: Source, run: str, trial: str) -> bytes | None:
    """A contact sheet of a trial's synthetic images (of shadow 0) as PNG; None where there are none, for an unknown run or trial,
    and where they may be private images and `source.with_private` is False. SynthcError for a database that cannot be read; further
    errors as of `make_sheet`."""
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
    """A value as a JSON type; None for numbers that are not finite, a text for dates and other types."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if isinstance(value, str | int | bool | None) else _text(value)


def _text(value: Any) -> str:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else str(value)
