"""The audited lower bound beside the accountant's epsilon: a bound above the guarantee would mean a broken implementation."""

from __future__ import annotations

from typing import Any

import altair as alt

from runtime.charts import look

QUERY = """
SELECT comparison.*, bound.value AS bound, bound.metric AS bound_by, bound.note AS bound_note
FROM comparison JOIN result AS bound
  ON bound.study = comparison.study AND bound.trial = comparison.trial AND bound.canaries = comparison.canaries
  AND bound.attack = comparison.attack AND bound.variant = comparison.variant AND bound.release = comparison.release
WHERE bound.metric LIKE 'epsilon_lower_%' AND comparison.profile IS NOT DISTINCT FROM bound.profile
"""
BOUNDS = {"epsilon_lower_steinke": "Steinke et al.", "epsilon_lower_f_dp": "f-DP (Gaussian)"}


def draw(rows: list[dict[str, Any]], theme: look.Theme) -> alt.TopLevelMixin:
    """A dot per trial and bound; a tick where an accountant gives an epsilon that fits on the axis."""
    rows = [
        {**row, "name": look.short(row["label"]), "by": BOUNDS.get(row["bound_by"], row["bound_by"])} for row in look.named(rows)
    ]
    top = 1.3 * max(row["bound"] for row in rows) + 0.5
    guaranteed = [{**row, "epsilon": min(row["epsilon"], top)} for row in rows if row["epsilon"] is not None]
    y = alt.Y("name:N", title=None, sort=alt.EncodingSortField("bound", order="descending"))
    x = alt.X("bound:Q", title="Epsilon", scale=alt.Scale(domain=[0, top]))
    dots = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=60)
        .encode(
            x,
            y,
            color=look.color(rows),
            shape=alt.Shape("by:N", legend=alt.Legend(title="Ruled out below", orient="bottom")),
            tooltip=[alt.Tooltip("name:N"), alt.Tooltip("bound:Q", format=".2f"), alt.Tooltip("bound_note:N", title="how")],
        )
    )
    ticks = (
        alt.Chart(alt.Data(values=guaranteed))
        .mark_tick(thickness=2, size=14, color="#0072B2")
        .encode(alt.X("epsilon:Q"), y, tooltip=[alt.Tooltip("epsilon:Q", title="accountant", format=".3g")])
    )
    title = alt.TitleParams(
        "What the audit rules out",
        subtitle=[
            look.conditions(rows),
            "one run, shadow 0, 95 % confidence; tick: the accountant's epsilon (at the edge: beyond it)",
        ],
    )
    return alt.layer(dots, ticks).properties(width=look.WIDTH[theme], title=title)
