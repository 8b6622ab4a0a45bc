"""Reads the data of a report from the published database and the store. Not here: its form (`sections`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError
from runtime.database.quoting import literal
from runtime.database.read import Key, Query, Scope, check_one, narrow, open_read_only
from runtime.present.charts import CHARTS
from runtime.present.charts.gallery import Sheet, make_sheet, read_work
from runtime.present.charts.look import drawable
from runtime.present.paradigms import Row, order_by_paradigm


@dataclass(frozen=True)
class StudyResults:
    """Results of one study under one profile, by its latest run."""

    run: Row
    """The row of the table `base.run`, with `argv`, `headline`, `versions`, `claims` and `lints` decoded from JSON (None where
    empty); `computed`: (number, seconds) of its tasks, whichever run computed them."""
    comparison: list[Row]
    """Rows of the view `comparison`, with `answer` (id of the attack's task), `auc_n` (n of the AUC) and, where the view has no
    number of `shadows`, the number that has scores."""
    figures: list[Row]
    """Rows of the view `result` of the TPR at the headline's FPR: one for each trial, attack, variant, release level and canary
    group."""
    claims: list[Row]
    """Rows of the view `claim`, in the order of the spec."""
    pairs: list[Row]
    """Rows of the view `claim_pair`: pairs of trials that claims compare; [] where the database has no such view."""
    cost: list[Row]
    failed: list[Row]
    """Tasks that failed or are blocked by one that did."""
    charts: dict[str, tuple[list[str], list[tuple[Any, ...]]]]
    """Chart → columns and rows of its query."""
    arms: list[ReportArm]
    sets: list[tuple[Row, Sheet]]
    """Trials (rows with `study`, `profile`, `trial`, `label`, `arm`, `paradigm`) with contact sheets of the set of shadow 0; trials
    without such a set in the store are left out."""
    audit: Any
    """Parameters of an attack: of the first trial whose attack's task can be read from the store; None without such a trial."""
    store_found: bool


@dataclass(frozen=True)
class ReportArm:
    """An arm with the resolved parameters of each of its trials."""

    name: str
    paradigm: str
    method: str
    trials: list[Row]
    models: list[dict[str, Any]]
    """For each trial, from the tasks of its shadow 0: resolved parameters by name, as of `_read_models`."""


def read(database: Path, store: Path, scope: Scope, with_private: bool = False) -> StudyResults:
    """The results of the one study under one profile that `scope` selects, by its latest run. Only with `with_private` are sheets
    of private images made. Where there is no store, `store_found` is False, `sets` is empty, `audit` None, and `models` of each arm
    are empty mappings.

    SynthcError where the database cannot be read, or `scope` selects no study or several (or several profiles of one); further
    errors as of `make_sheet`.
    """
    with open_read_only(database) as query:
        run = _latest_run(query, database, narrow(query, scope))
        this = (
            f"WHERE origin = {literal(run['origin'])} AND study = {literal(run['study'])} AND profile = {literal(run['profile'])}"
        )
        trials = _fetch(query, COMPARISON.format(this=this))
        stages = _fetch(query, STAGES.format(this=this))
        declared = {claim["claim"]: place for place, claim in enumerate(run["claims"] or [])}
        store_found = (store / "store.json").exists()
        return StudyResults(
            run=run | {"computed": query(COMPUTED.format(run=literal(run["run"])))[1][0]},
            comparison=trials,
            figures=_fetch(query, FIGURES.format(this=this)),
            claims=sorted(_fetch(query, f"FROM claim {this}"), key=lambda row: declared.get(row["claim"], len(declared))),
            pairs=_fetch(query, f"FROM claim_pair {this}") if query(PAIRS)[1] else [],
            cost=_fetch(query, f"FROM cost {this}"),
            failed=_fetch(query, FAILED.format(run=literal(run["run"]))),
            charts={name: query(f"SELECT * FROM ({kind.query}) AS chart {this}") for name, kind in CHARTS.items()},
            arms=_gather_arms(store, trials, stages),
            sets=_make_sheets(store, stages, with_private) if store_found else [],
            audit=next(filter(None, (read_work(store, row["answer"]) for row in trials)), None),
            store_found=store_found,
        )


COMPARISON = """
SELECT trial.* EXCLUDE (shadows), coalesce(trial.shadows, scored.shadows) AS shadows, current.answer, area.n AS auc_n
FROM (FROM comparison {this}) AS trial
JOIN (FROM base.current_trial {this}) AS current USING (trial)
LEFT JOIN (SELECT origin, task AS answer, count(DISTINCT shadow) AS shadows FROM base.score GROUP BY ALL) AS scored
  ON scored.origin = current.origin AND scored.answer = current.answer
LEFT JOIN (FROM result {this} AND metric = 'auc') AS area
  ON area.trial = trial.trial AND area.canaries = trial.canaries AND area.attack = trial.attack
  AND area.variant = trial.variant AND area.release = trial.release
"""
FIGURES = """
SELECT figure.*
FROM (FROM result {this}) AS figure JOIN (FROM comparison {this}) AS trial USING (trial)
WHERE figure.metric = format('tpr@fpr={{:g}}', trial.fpr)
"""
STAGES = """
SELECT trial.study, trial.profile, trial.trial, trial.label, trial.arm, trial.paradigm, trial.answer, stage.stage, stage.task
FROM (FROM base.current_trial {this}) AS trial JOIN base.stage AS stage USING (origin, run, trial) WHERE stage.shadow = 0
"""
COMPUTED = "SELECT count(*), sum(task.seconds) FROM task JOIN base.task AS planned USING (origin, task) WHERE planned.run = {run}"
PAIRS = "FROM duckdb_views() WHERE view_name = 'claim_pair'"
FAILED = """
SELECT task.address, task.status, task.error, task.attempts, task.log
FROM task JOIN base.task AS planned USING (origin, task)
WHERE planned.run = {run} AND task.status IN ('failed', 'blocked') ORDER BY task.address
"""


def _latest_run(query: Query, database: Path, keys: list[Key]) -> Row:
    if not keys:
        raise SynthcError(f"{database}: holds no run yet; `synthc run SPEC` makes one")
    check_one(keys, "a report")
    origin, study, profile = map(literal, keys[0])
    latest = f"origin = {origin} AND study = {study} AND profile = {profile} ORDER BY run DESC LIMIT 1"
    (row,) = _fetch(query, f"FROM base.run WHERE {latest}")
    decoded = {name: json.loads(row[name]) if row[name] else None for name in ("argv", "headline", "versions", "claims", "lints")}
    return {**row, **decoded}


def _gather_arms(store: Path, trials: list[Row], stages: list[Row]) -> list[ReportArm]:
    by_trial: dict[str, list[str]] = {}
    for row in stages:
        by_trial.setdefault(row["trial"], []).append(row["task"])
    by_arm: dict[str, list[Row]] = {}
    for trial in order_by_paradigm(trials):
        by_arm.setdefault(trial["arm"], []).append(trial)
    models = {row["trial"]: _read_models(store, by_trial.get(row["trial"], ())) for row in trials}
    return [
        ReportArm(name, rows[0]["paradigm"], rows[0]["method"], rows, [models[row["trial"]] for row in rows])
        for name, rows in by_arm.items()
    ]


def _read_models(store: Path, tasks: Iterable[str]) -> dict[str, Any]:
    """Resolved parameters by name: `method`, `generator`, `recipe` and `privacy`, each from the last of these tasks (ids) that has
    it, and absent where none has it. Tasks that the store lacks or that cannot be read are left out, and so are classifiers that
    log their dynamics (proxies)."""
    models: dict[str, Any] = {}
    for task in tasks:
        work = read_work(store, task)
        match type(work).__name__:
            case "Synthesize":
                models |= {"method": work.how, "recipe": work.recipe}
            case "TrainGenerator":
                models["generator"] = work.how
            case "TrainClassifier" if not work.dynamics:
                models |= {"recipe": work.recipe} | ({"privacy": work.privacy} if work.privacy else {})
    return models


def read_sets(database: Path, store: Path, scope: Scope, with_private: bool = False) -> list[tuple[Row, Sheet]]:
    """Trials of the one study that `scope` selects, with contact sheets of the set of shadow 0, as in `StudyResults.sets`; [] where
    the database has no run. `with_private` as for `make_sheet`.

    SynthcError where the database cannot be read, and where `scope` selects several studies or names one that is not there; further
    errors as of `make_sheet`.
    """
    with open_read_only(database) as query:
        check_one(narrow(query, scope), "a gallery")
        return _make_sheets(store, _fetch(query, STAGES.format(this="SEMI JOIN run USING (origin, study, profile)")), with_private)


def _make_sheets(store: Path, stages: list[Row], with_private: bool) -> list[tuple[Row, Sheet]]:
    made = {(row["study"], row["profile"], row["trial"]): row for row in stages if row["stage"] == "synthesize"}
    sheets = ((row, make_sheet(store, row["task"], with_private, row["answer"])) for row in made.values())
    return [(row, sheet) for row, sheet in sheets if sheet is not None]


def _fetch(query: Query, text: str) -> list[Row]:
    columns, rows = query(text)
    return [drawable(dict(zip(columns, row, strict=True))) for row in rows]
