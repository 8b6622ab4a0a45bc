"""Compares two runs of a study: figures whose intervals do not overlap, trials that one run alone has, library versions that
differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, did_you_mean
from runtime.database.quoting import literal
from runtime.database.read import open_read_only

JOINED = """
WITH here AS (SELECT * FROM base.any_result WHERE run = {left}), there AS (SELECT * FROM base.any_result WHERE run = {right})
SELECT trial, metric, canaries, attack, variant, release, here.value, here.low, here.high, there.value, there.low, there.high
FROM here JOIN there USING (trial, canaries, attack, variant, release, metric)
WHERE metric NOT LIKE '%seconds%'
"""
MOVED = """(
  (here.value IS NULL) <> (there.value IS NULL)
  OR here.high < there.low OR there.high < here.low)
"""
TRIALS = """
SELECT DISTINCT trial FROM base.trial
WHERE run = {here} AND trial NOT IN (SELECT trial FROM base.trial WHERE run = {there}) ORDER BY trial
"""


@dataclass(frozen=True)
class RunDifference:
    """The differences between two runs, `left` and `right`."""

    runs: tuple[str, str]
    moved: list[tuple[Any, ...]]
    """Rows (trial, metric, canaries, attack, variant, release, left value, low, high, right value, low, high), sorted, of the
    compared figures whose intervals do not overlap (intervals that touch do), or whose value is NULL in one run only. Figures
    without intervals are not among them while both have a value."""
    compared: int
    """Number of figures that both runs have, NULL values included; metrics with `seconds` in their name are left out, here and in
    `moved`."""
    only_left: list[str]
    """Addresses, sorted, of the trials that only the left run planned."""
    only_right: list[str]
    versions: dict[str, tuple[str | None, str | None]]
    """Library, or `commit` → its versions in the left and the right run, where they differ; None where a run recorded none."""


def run_difference(database: Path, left: str, right: str) -> RunDifference:
    """Compare two runs in the published `database`, each given by its name or a unique prefix of it. SynthcError where a name or
    prefix fits no run, or several; also where the database is missing or cannot be opened."""
    with open_read_only(database) as query:
        names = [name for (name,) in query("SELECT run FROM base.run ORDER BY run")[1]]
        runs = (_find(database, left, names), _find(database, right, names))
        here, there = map(literal, runs)
        said = [query(f'SELECT versions, "commit" FROM base.run WHERE run = {run}')[1][0] for run in (here, there)]
        before, after = ({"commit": commit} | json.loads(versions or "{}") for versions, commit in said)
        joined = JOINED.format(left=here, right=there)
        return RunDifference(
            runs=runs,
            moved=query(f"{joined} AND {MOVED} ORDER BY ALL")[1],
            compared=query(f"SELECT count(*) FROM ({joined}) AS joined")[1][0][0],
            only_left=[trial for (trial,) in query(TRIALS.format(here=here, there=there))[1]],
            only_right=[trial for (trial,) in query(TRIALS.format(here=there, there=here))[1]],
            versions={
                name: (before.get(name), after.get(name))
                for name in dict.fromkeys([*before, *after])
                if before.get(name) != after.get(name)
            },
        )


def _find(database: Path, name: str, names: list[str]) -> str:
    found = [known for known in names if known == name] or [known for known in names if known.startswith(name)]
    if len(found) == 1:
        return found[0]
    many = f"is the beginning of {len(found)} runs: {', '.join(found[-3:])}"
    what = many if found else f"no run is called so; {did_you_mean(name, names)}"
    raise SynthcError(f"{database}: {name!r}: {what}; `synthc runs` lists them")
