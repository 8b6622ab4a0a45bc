"""The audited lower bound beside the accountant's epsilon: a bound above the guarantee would mean a broken implementation."""

from __future__ import annotations

from typing import Any

import altair as alt

from compiler.language.charts import Theme
from runtime.present.charts import look
from runtime.present.paradigms import Row

QUERY = """
SELECT comparison.*, bound.value AS bound, bound.metric AS bound_by, bound.n AS bound_n, bound.note AS bound_note
FROM comparison JOIN result AS bound USING (origin, study, profile, trial, canaries, attack, variant, release)
WHERE bound.metric IN ('epsilon_lower_steinke', 'epsilon_lower_f_dp_if_gaussian')
"""
STEINKE = "epsilon_lower_steinke"
"""Whatever the mechanism: rows stand in its order."""
BOUNDS = {STEINKE: "Steinke et al.", "epsilon_lower_f_dp_if_gaussian": "f-DP, if the trade-off is Gaussian"}
MAX_EPSILON_ON_AXIS = 20
"""A larger one of an accountant does not stretch the axis: an arrow stands for it."""


def draw(rows: list[Row], theme: Theme) -> alt.TopLevelMixin:
    """A mark per trial and bound; a tick where an accountant gives an epsilon that fits on the axis, an arrow where none fits."""
    everyone = [{**row, "by": BOUNDS.get(row["bound_by"], row["bound_by"])} for row in look.identify(rows)]
    rows = [row for row in everyone if row["bound"] is not None]
    if not rows:
        return look.draw_nothing("no trial has a bound that could be resolved", theme)
    guaranteed = [row["epsilon"] for row in rows if row["epsilon"] is not None]
    fitting = [epsilon for epsilon in guaranteed if epsilon < MAX_EPSILON_ON_AXIS]
    top = 1.15 * max(0.0, *fitting, *(row["bound"] for row in rows)) + 0.2
    n = [row["bound_n"] for row in rows if row["bound_n"] is not None]
    title = look.make_title(
        "What the audit rules out",
        look.describe_conditions(rows, scores=False),
        f"bounds: shadow 0 alone, 95\u00a0% confidence, n = {look.format_range(n) if n else 'unknown'}",
        "tick: the accountant's epsilon; arrow: beyond the axis" if guaranteed else "",
        look.name_unresolved(everyone, "bound"),
        width=look.PANEL_WIDTH[theme] + 60,  # names are longer than shares
    )
    height = alt.Step(20 if theme == "screen" else 16)
    chart = alt.layer(*_marks(rows, top, theme)).add_params(look.choose_paradigm())
    return chart.properties(width=look.PANEL_WIDTH[theme], height=height, title=title)


def _points(rows: list[Row], top: float) -> list[Row]:
    return [
        {name: row[name] for name in ("name", "Paradigm", "bound", "by", "bound_n", "bound_note", "epsilon")}
        | {
            "at": None if row["epsilon"] is None else min(row["epsilon"], top),
            "beyond": row["epsilon"] is not None and row["epsilon"] > top,
        }
        for row in rows
    ]


def _marks(rows: list[Row], top: float, theme: Theme) -> list[Any]:
    best = {row["name"]: 0.0 for row in rows} | {row["name"]: row["bound"] for row in rows if row["by"] == BOUNDS[STEINKE]}
    order = sorted(best, key=lambda name: (-best[name], name))
    grid = alt.Axis(labelLimit=180, grid=True, gridDash=[1, 3])
    y = alt.Y("name:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=grid)
    x = alt.X("bound:Q", title="Epsilon", axis=alt.Axis(tickCount=8, format="~g"), scale=alt.Scale(domain=[0, top], nice=False))
    color = look.color(rows, theme)
    points = look.plot(_points(rows, top), look.choose_paradigm())
    names = sorted({row["by"] for row in rows}, key=lambda name: [*BOUNDS.values(), name].index(name))
    legend = alt.Legend(
        title="lower bound", symbolFillColor=look.INK, symbolStrokeColor=look.INK, orient="bottom", titleOrient="left"
    )
    shapes = alt.Scale(domain=names, range=["circle", "diamond", "square", "triangle-up"][: len(names)])
    tooltip = look.tooltip(("bound:Q", "epsilon is at least", ".2f"), ("by:N", "by"), ("bound_n:Q", "n"), ("bound_note:N", "how"))
    accountant = look.tooltip(("epsilon:Q", "accountant's epsilon", ",.4g"))
    guarantee: dict[str, Any] = {"x": alt.X("at:Q"), "y": y, "color": color, "tooltip": accountant}
    ticks = points.transform_filter("isValid(datum.at) && !datum.beyond").mark_tick(thickness=2.5, size=14)
    arrows = points.transform_filter("datum.beyond").mark_text(text="▶", fontSize=10, align="right")
    return [
        points.mark_point(filled=True, size=60, opacity=1).encode(
            x, y, color=color, shape=alt.Shape("by:N", scale=shapes, legend=legend), tooltip=tooltip
        ),
        ticks.encode(**guarantee),
        arrows.encode(**guarantee),
    ]
