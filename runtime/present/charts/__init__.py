"""Charts of the results: one file each, drawn by Altair from rows that SQL gave. Nothing is fetched from a network.

Not here: queries by hand (`synthc sql`), the figures themselves (`runtime.audit.trial.trial`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt

from compiler.errors import SynthcError, did_you_mean
from compiler.language.charts import Theme
from runtime.present.charts import ablation, cost, epsilon, look, page, roc, tradeoff, vulnerability
from runtime.present.charts import forest as claims
from runtime.present.paradigms import Row


@dataclass(frozen=True)
class ChartKind:
    """A named chart: the query behind it, and what draws its rows."""

    query: str
    draw: Callable[[list[Row], Theme], alt.TopLevelMixin]
    about: str
    missing: str = "no study was run, or no row is left"
    """What would give it rows."""


CHARTS: dict[str, ChartKind] = {
    "tradeoff": ChartKind(tradeoff.QUERY, tradeoff.draw, "accuracy against leakage, both with intervals"),
    "roc": ChartKind(roc.QUERY, roc.draw, "ROC curves of the headline attack, log-log"),
    "vulnerability": ChartKind(vulnerability.QUERY, vulnerability.draw, "how the risk spreads over canaries"),
    "ablation": ChartKind(ablation.QUERY, ablation.draw, "leakage and accuracy along the grids of an arm", "no arm has a grid"),
    "cost": ChartKind(cost.QUERY, cost.draw, "seconds per shadow against accuracy and leakage"),
    "epsilon": ChartKind(
        epsilon.QUERY, epsilon.draw, "the audited lower bound beside the accountant's epsilon", "no bound was computed"
    ),
    "claims": ChartKind(
        claims.QUERY, claims.draw, "effects of the claims with intervals and verdicts", "the study makes no claims"
    ),
}
FORMATS = ("svg", "png", "pdf", "html", "json")


def kind_of(name: str) -> ChartKind:
    """The chart of this name; SynthcError if there is none."""
    if name not in CHARTS:
        raise SynthcError(f"no chart is called {name!r}; {did_you_mean(name, CHARTS)}")
    return CHARTS[name]


def draw(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], theme: Theme = "paper") -> alt.TopLevelMixin:
    """The chart `name` of rows that its query gave; a chart that says so when there are none."""
    kind = kind_of(name)
    finite = [look.drawable(dict(zip(columns, row, strict=True))) for row in rows]
    nothing = f"nothing to draw for {name!r} yet: {kind.missing}"
    chart: Any = kind.draw(finite, theme) if finite else look.draw_nothing(nothing, theme)
    if chart.description is alt.Undefined:
        chart = chart.properties(description=f"Chart: {kind.about}.")
    return look.configure(chart, theme)


def save(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write the chart in the format of the file's ending; SynthcError for an ending that is none of FORMATS."""
    ending = path.suffix.lstrip(".").lower()
    if ending not in FORMATS:
        raise SynthcError(f"{path}: cannot draw {path.suffix or 'a file without ending'}; endings are: {', '.join(FORMATS)}")
    try:
        if ending == "json":
            path.write_text(json.dumps(chart.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        elif ending == "html":
            path.write_text(page.chart_page(chart.to_dict()), encoding="utf-8")
        else:
            chart.save(str(path), scale_factor=3 if ending == "png" else 1)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be written: {error.strerror}") from error
