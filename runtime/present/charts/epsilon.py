"""The audited lower bound beside the accountant's epsilon: a bound above the guarantee would mean a broken implementation."""

from __future__ import annotations

import altair as alt

from runtime.present.charts import look

QUERY = """
SELECT comparison.*, bound.value AS bound, bound.metric AS bound_by, bound.n AS bound_n, bound.note AS bound_note
FROM comparison JOIN result AS bound USING (study, profile, trial, canaries, attack, variant, release)
WHERE bound.metric IN ('epsilon_lower_steinke', 'epsilon_lower_f_dp')
"""
BOUNDS = {"epsilon_lower_steinke": "Steinke et al.", "epsilon_lower_f_dp": "f-DP (Gaussian)"}


def draw(rows: list[look.Row], theme: look.Theme) -> alt.TopLevelMixin:
    """A mark per trial and bound; a tick where an accountant gives an epsilon that fits on the axis, an arrow where none fits."""
    everyone = [{**row, "by": BOUNDS.get(row["bound_by"], row["bound_by"])} for row in look.named(rows)]
    rows = [row for row in everyone if row["bound"] is not None]
    if not rows:
        return look.empty("no trial has a bound that could be resolved", theme)
    top = 1.15 * max(max(row["bound"], row["epsilon"] if (row["epsilon"] or 1e9) < 20 else 0.0) for row in rows) + 0.2
    kept = ("name", "Paradigm", "bound", "by", "bound_n", "bound_note", "epsilon")
    data = [{name: row[name] for name in kept} for row in rows]
    for row in data:
        row["at"] = None if row["epsilon"] is None else min(row["epsilon"], top)
        row["beyond"] = row["epsilon"] is not None and row["epsilon"] > top
    best = {row["name"]: max(other["bound"] for other in rows if other["name"] == row["name"]) for row in rows}
    order = sorted(best, key=lambda name: (-best[name], name))
    y = alt.Y(
        "name:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(labelLimit=180, grid=True, gridDash=[1, 3])
    )
    x = alt.X("bound:Q", title="Epsilon", axis=alt.Axis(tickCount=8, format="~g"), scale=alt.Scale(domain=[0, top], nice=False))
    chosen = look.choice()
    base = alt.Chart(alt.Data(values=data)).transform_filter(chosen)
    by = sorted({row["by"] for row in rows}, key=lambda name: [*BOUNDS.values(), name].index(name))
    shapes = alt.Scale(domain=by, range=["circle", "diamond", "square", "triangle-up"][: len(by)])
    tooltip = [
        alt.Tooltip("name:N", title="trial"),
        alt.Tooltip("bound:Q", title="epsilon is at least", format=".2f"),
        alt.Tooltip("by:N", title="by"),
        alt.Tooltip("bound_n:Q", title="n"),
        alt.Tooltip("bound_note:N", title="how"),
    ]
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        x,
        y,
        color=look.color(rows, theme=theme),
        shape=alt.Shape(
            "by:N",
            scale=shapes,
            legend=alt.Legend(
                title="lower bound", symbolFillColor=look.INK, symbolStrokeColor=look.INK, orient="bottom", titleOrient="left"
            ),
        ),
        tooltip=tooltip,
    )
    accountant = [alt.Tooltip("name:N", title="trial"), alt.Tooltip("epsilon:Q", title="accountant's epsilon", format=",.4g")]
    at = alt.X("at:Q")
    ticks = (
        base.transform_filter("isValid(datum.at) && !datum.beyond")
        .mark_tick(thickness=2.5, size=14)
        .encode(at, y, color=look.color(rows, theme=theme), tooltip=accountant)
    )
    arrows = (
        base.transform_filter("datum.beyond")
        .mark_text(text="▶", fontSize=10, align="right")
        .encode(at, y, color=look.color(rows, theme=theme), tooltip=accountant)
    )
    n = sorted({row["bound_n"] for row in rows if row["bound_n"] is not None})
    counted = " to ".join(map(str, dict.fromkeys((n[0], n[-1])))) if n else "unknown"
    guarantee = "tick: the accountant's epsilon; arrow: beyond the axis" if any(row["epsilon"] is not None for row in rows) else ""
    title = look.titled(
        "What the audit rules out",
        look.conditions(rows, scores=False),
        f"bounds: shadow 0 alone, 95\u00a0% confidence, n = {counted}",
        guarantee,
        look.unresolved(everyone, "bound"),
        width=look.WIDTH[theme] + 60,  # names are longer than shares
    )
    width = look.WIDTH[theme]
    return (
        alt.layer(dots, ticks, arrows)
        .add_params(chosen)
        .properties(width=width, height=alt.Step(20 if theme == "screen" else 16), title=title)
    )
