"""A metric along the axes of a grid: what turning one knob does."""

from __future__ import annotations

import json
from typing import Any

import altair as alt

from runtime.charts import look

QUERY = "SELECT * FROM comparison WHERE axes <> '{}' AND leakage IS NOT NULL"


def draw(rows: list[dict[str, Any]], theme: look.Theme) -> alt.TopLevelMixin:
    """One panel per axis of an arm: leakage (filled) and accuracy (hollow) with intervals, a line per setting of the other axes."""
    long = [point for row in look.named(rows) for point in _points(row)]
    facets = alt.Facet("panel:N", title=None, columns=3)
    base = alt.Chart()
    x = alt.X("at:N", title=None, sort=None)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    color = alt.Color(
        "figure:N",
        scale=alt.Scale(domain=["Leakage", "Test accuracy"], range=["#D55E00", "#0072B2"]),
        legend=alt.Legend(title=None, orient="top"),
    )
    bars = base.mark_rule(opacity=0.6).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), color=color)
    lines = base.mark_line(strokeWidth=1.2, opacity=0.7).encode(x, y, color=color, detail="rest:N")
    marks = base.mark_point(filled=True, size=45).encode(
        x, y, color=color, tooltip=[alt.Tooltip("name:N", title="trial"), "figure:N", alt.Tooltip("value:Q", format=".3f")]
    )
    layered = alt.layer(bars, lines, marks).properties(width=look.WIDTH[theme] / 2, height=look.HEIGHT[theme] / 1.6)
    title = alt.TitleParams("What turning one knob does", subtitle=[look.conditions(rows)])
    return layered.facet(facets, data=alt.Data(values=long)).resolve_scale(x="independent").properties(title=title)


def _points(row: dict[str, Any]) -> list[dict[str, Any]]:
    axes = json.loads(row["axes"])
    points = []
    for name, value in axes.items():
        rest = ", ".join(f"{other}={setting}" for other, setting in axes.items() if other != name)
        shared = {"panel": f"{look.short(row['arm'])}: {name}", "at": str(value), "rest": rest, "name": look.short(row["label"])}
        points.append(
            {**shared, "figure": "Leakage", "value": row["leakage"], "low": row["leakage_low"], "high": row["leakage_high"]}
        )
        points.append(
            {
                **shared,
                "figure": "Test accuracy",
                "value": row["test_accuracy"],
                "low": row["test_accuracy_low"],
                "high": row["test_accuracy_high"],
            }
        )
    return points
