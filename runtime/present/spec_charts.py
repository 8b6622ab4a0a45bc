"""Writes the files of the charts that a spec declares, when a run ends.

Not here: what a chart looks like (`charts`), charts that somebody asks for by hand (`synthc chart`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compiler.check.claim_sides import select_trials
from compiler.errors import SynthcError
from compiler.language.charts import Chart
from compiler.plan.dag import Plan

LAYOUT_OF_THEME = {"paper": "column", "screen": "screen"}


def missing(plan: Plan, database: Path) -> bool:
    """Whether a file of the declared charts, other than galleries, is missing."""
    return any(
        not (folder(plan, database) / f"{chart.stem}.{ending}").exists()
        for chart in plan.header.charts
        if chart.chart != "gallery"
        for ending in chart.format
    )


def draw(plan: Plan, database: Path, store: Path) -> Iterator[str]:
    """Write the files of the declared charts into `folder`, which is made, over older ones; yields a sentence on each file, and on
    letters that no font has. A gallery shows no private images. The work is done as sentences are asked for, none before the first.

    SynthcError where the folder cannot be made, a chart cannot be drawn or written, or the database cannot be read or lacks the
    study; OSError where an image of a gallery cannot be written.
    """
    from runtime.database.read import Scope, narrow, open_read_only
    from runtime.present import charts
    from runtime.present.charts.gallery import write
    from runtime.present.report.read import read_sets
    from runtime.store.artifacts import read_origin

    into = folder(plan, database)
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynthcError(f"{into}: cannot be made a folder: {error.strerror}") from error
    scope = Scope(study=plan.header.study, profile=plan.profile or "", own=read_origin(store))
    for chart in plan.header.charts:
        if chart.chart == "gallery":
            trials = _trials(plan, chart)
            sheets = (sheet for sheet in read_sets(database, store, scope) if sheet[0]["trial"] in trials)
            yield from (f"drew {path}" for path in write(into, sheets))
            continue
        with open_read_only(database) as query:
            narrow(query, scope)
            rows = query(_query(plan, chart))
        drawn = charts.draw(chart.chart, *rows, layout=LAYOUT_OF_THEME[chart.theme])
        for ending in chart.format:
            if notice := charts.save(drawn, path := into / f"{chart.stem}.{ending}"):
                yield notice
            yield f"drew {path}"


def folder(plan: Plan, database: Path) -> Path:
    """The folder of the charts of a study: `figures/STUDY-PROFILE` beside the database, without a profile `figures/STUDY`. Not
    made."""
    return database.parent / "figures" / "-".join(filter(None, (plan.header.study, plan.profile)))


def _query(plan: Plan, chart: Chart) -> str:
    from runtime.database.quoting import literal
    from runtime.present.charts import kind_of

    condition = f" WHERE trial IN ({', '.join(map(literal, _trials(plan, chart)))})" if chart.of else ""
    return f"SELECT * FROM ({kind_of(chart.chart).query}) AS chart{condition}"


def _trials(plan: Plan, chart: Chart) -> list[str]:
    """Addresses of the trials that a chart shows, as its `of` selects them; all, controls too, without `of`."""
    trials = [planned.trial for planned in plan.trials]
    return [trials[place].address for place in select_trials(chart.of, trials)]
