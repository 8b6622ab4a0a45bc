"""Checks a study's `policy:` against the figures of its trials when a run ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from compiler.check.claim_sides import select_compared
from compiler.plan.dag import Plan
from runtime.database.quoting import literal
from runtime.database.read import query
from runtime.judge.policy import ConditionResult, evaluate, policy_digest
from runtime.outcome import Metric
from runtime.store.records import write_record

FIGURES = ("leakage", "auc", "test_accuracy", "epsilon", "seconds")


def check_conditions(plan: Plan, database: Path, origin: str, folder: Path) -> list[ConditionResult]:
    """Check every condition of the plan's policy on every trial that it is about (controls only if it names them or selects nothing
    else); write `policy.json`, with digest and time, to the run's `folder` if that exists. Results are in the order of conditions,
    then trials.

    Figures are read from the rows of `comparison` of this origin, study and profile. A condition fails for a trial without the
    figure, for one that failed its null control, and, at the end of the results, if it is about no trial. SynthcError where the
    database cannot be read, OSError where `policy.json` cannot be written.
    """
    conditions = plan.header.policy
    where = {"origin": origin, "study": plan.header.study, "profile": plan.profile or ""}
    text = " AND ".join(f"{name} = {literal(value)}" for name, value in where.items())
    names, rows = query(database, f"SELECT * FROM comparison WHERE {text}")
    found = {row["trial"]: _figures(row) for row in (dict(zip(names, values, strict=True)) for values in rows)}
    trials = [planned.trial for planned in plan.trials]
    settled = [
        one
        for condition in conditions
        for index in select_compared(condition.trials, trials)
        for one in evaluate([condition], found.get(trials[index].address, {}), trials[index].address)
    ]
    for condition in conditions:
        if not select_compared(condition.trials, trials):
            settled.append(ConditionResult(condition, False, None, None, "no trial is what it names"))
    content = {
        "policy_digest": policy_digest(conditions), "held": datetime.now(UTC).isoformat(timespec="seconds"),
        "open": all(one.holds for one in settled), "conditions": [one.as_json() | {"trial": one.trial} for one in settled],
    }  # fmt: skip
    if folder.is_dir():
        write_record(folder / "policy.json", content)
    return settled


def _figures(row: dict[str, object]) -> dict[str, Metric]:
    """Name → figure of a trial, from its row of the view `comparison`: those of FIGURES that are not NULL; all, without values,
    where the trial failed its null control."""
    if row["null_ok"] is False:
        return {name: Metric(name, None, note="the trial failed its null control") for name in FIGURES}
    ends = {name: [row.get(f"{name}_{end}") for end in ("low", "high")] for name in FIGURES}
    return {name: Metric(name, row[name], *ends[name]) for name in FIGURES if row[name] is not None}  # type: ignore[arg-type]
