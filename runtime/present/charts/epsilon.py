"""Chart: audited lower bounds on epsilon beside the accountant's epsilon. A bound above the guarantee means a broken implementation
or audit."""

from __future__ import annotations

from typing import Any

import altair as alt

from compiler.power.epsilon_bounds import count_guesses, f_dp, steinke_ceiling
from runtime.present.charts import look
from runtime.present.charts.look import Layout
from runtime.present.paradigms import Row, doubts_of

QUERY = """
SELECT comparison.*, bound.value AS bound, bound.metric AS bound_by, bound.n AS bound_n, bound.note AS bound_note
FROM comparison JOIN result AS bound USING (origin, study, profile, trial, canaries, attack, variant, release)
WHERE bound.metric IN ('epsilon_lower_steinke', 'epsilon_lower_f_dp_if_gaussian')
"""
STEINKE = "epsilon_lower_steinke"
"""The bound that holds for every mechanism; rows are sorted by it."""
BOUNDS = {STEINKE: "any mechanism (Steinke)", "epsilon_lower_f_dp_if_gaussian": "f-DP, if it is Gaussian"}
MAX_EPSILON_ON_AXIS = 20
"""Epsilons of accountants below this extend the axis; one beyond its end is drawn as an arrow."""
DELTA, ERROR = 1e-5, 0.05
"""Delta of the largest possible bounds, which hardly depend on it."""


def draw(rows: list[Row], layout: Layout) -> alt.TopLevelMixin:
    """A mark per trial and bound, a line at the largest value that the audit can reach for each kind of bound (with the largest n
    of the rows), a tick at the accountant's epsilon (an arrow at the axis' end where it lies beyond). Bounds that are not
    resolvable are left out, and their trials named; a message where none is left."""
    everyone = [{**row, "by": BOUNDS.get(row["bound_by"], row["bound_by"])} for row in look.identify(rows)]
    rows = [row for row in everyone if row["bound"] is not None]
    if not rows:
        return look.draw_nothing("no trial has a bound that could be resolved", layout)
    n = [row["bound_n"] for row in rows if row["bound_n"] is not None]
    ceilings = ceilings_of(max(n, default=0))
    guaranteed = [row["epsilon"] for row in rows if row["epsilon"] is not None]
    fitting = [epsilon for epsilon in guaranteed if epsilon < MAX_EPSILON_ON_AXIS]
    top = 1.1 * max(0.0, *fitting, *ceilings.values(), *(row["bound"] for row in rows)) + 0.2
    title = look.make_title(
        "What the audit rules out",
        look.describe_conditions(rows, scores=False),
        f"bounds: shadow 0 alone, 95\u00a0% confidence, n = {look.format_range(n) if n else 'unknown'}; epsilon is at least this, "
        "and may be far more",
        "long lines: the most that this audit could have shown, had every guess been right" if ceilings else "",
        "ticks: the accountant's epsilon; arrow: beyond the axis" if guaranteed else "",
        *look.name_doubtful(rows),
        look.name_unresolved(everyone, "bound"),
        layout=layout,
    )
    chart = alt.layer(*_marks(rows, ceilings, top, layout)).add_params(look.choose_paradigm())
    return chart.properties(width=layout.width * 0.6, height=alt.Step(1.5 * layout.type), title=title)


def ceilings_of(n: int) -> dict[str, float]:
    """Kind of bound (a text of BOUNDS) → its value in epsilon, at 95 % confidence, if all guesses about `n` canaries are right; {}
    where `n` is too small for a guess."""
    guesses = count_guesses(n)
    if not guesses:
        return {}
    by = steinke_ceiling(guesses, ERROR), f_dp(guesses, guesses, n, DELTA, ERROR)
    return dict(zip(BOUNDS.values(), by, strict=True))


def _marks(rows: list[Row], ceilings: dict[str, float], top: float, layout: Layout) -> list[Any]:
    best = {row["name"]: 0.0 for row in rows} | {row["name"]: row["bound"] for row in rows if row["by"] == BOUNDS[STEINKE]}
    y = look.names_axis(sorted(best, key=lambda name: (-best[name], name)), 24 if layout.width < 400 else 34)
    x = alt.X(
        "bound:Q", title="Epsilon", axis=alt.Axis(tickCount=6, format="~g"), scale=alt.Scale(domain=[-0.03 * top, top], nice=False)
    )
    color = look.color(rows, layout, legend=True)
    data = [
        {name: row[name] for name in ("name", "Paradigm", "bound", "by", "bound_n", "bound_note", "epsilon")}
        | {
            "doubt": doubts_of(row),
            "at": None if row["epsilon"] is None else min(row["epsilon"], top),
            "beyond": row["epsilon"] is not None and row["epsilon"] > top,
        }
        for row in rows
    ]
    points = look.plot(data, look.choose_paradigm())
    names = list(BOUNDS.values())
    legend = alt.Legend(
        title=None, symbolFillColor=look.INK, symbolStrokeColor=look.INK, orient="bottom", columns=1, labelLimit=300
    )
    shape = alt.Shape("by:N", scale=alt.Scale(domain=names, range=["circle", "diamond"]), legend=legend)
    tooltip = look.tooltip(("bound:Q", "epsilon is at least", ".2f"), ("by:N", "by"), ("bound_n:Q", "n"), ("bound_note:N", "how"))
    accountant = look.tooltip(("epsilon:Q", "accountant's epsilon", ",.4g"))
    guarantee: dict[str, Any] = {"x": alt.X("at:Q"), "y": y, "color": color, "tooltip": accountant}
    ends = look.plot([{"bound": at, "dash": place} for place, at in enumerate(ceilings.values())])
    dash = alt.StrokeDash("dash:O", scale=alt.Scale(domain=[0, 1], range=[[1, 0], [4, 2]]), legend=None)
    return [
        *look.draw_points(points, 50, x=x, y=y, color=color, shape=shape, tooltip=tooltip),
        ends.mark_rule(color=look.LINE).encode(x, strokeDash=dash),
        points.transform_filter("isValid(datum.at) && !datum.beyond").mark_tick(thickness=2.5, size=12).encode(**guarantee),
        points.transform_filter("datum.beyond").mark_text(text="▶", fontSize=layout.type, align="right").encode(**guarantee),
    ]
