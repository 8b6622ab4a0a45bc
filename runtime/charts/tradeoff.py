"""Accuracy against leakage: the question of a study in one picture. Up and to the left is better."""

from __future__ import annotations

from typing import Any

import altair as alt

from runtime.charts import look

QUERY = "SELECT * FROM comparison WHERE test_accuracy IS NOT NULL AND leakage IS NOT NULL"


def draw(rows: list[dict[str, Any]], theme: look.Theme) -> alt.TopLevelMixin:
    """Points with both intervals, and the line of the best accuracy that each leakage buys."""
    rows = [{**row, "name": look.short(row["label"]), "front": row["label"] in front(rows)} for row in look.named(rows)]
    fpr = rows[0]["fpr"]
    points = alt.Chart(alt.Data(values=rows))
    accuracy = [
        row[name] for row in rows for name in ("test_accuracy", "test_accuracy_low", "test_accuracy_high") if row[name] is not None
    ]
    floor = max(0.0, min(accuracy) - 0.02)
    x = alt.X(
        "leakage:Q", title=f"Leakage: TPR at {look.percent(fpr)} FPR", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")
    )
    y = alt.Y("test_accuracy:Q", title="Test accuracy", scale=alt.Scale(domain=[floor, 1.0]), axis=alt.Axis(format=".0%"))
    color = look.color(rows, legend=False)
    best = points.transform_filter("datum.front").mark_line(
        interpolate="step-after", color="#999", strokeDash=[4, 3], strokeWidth=1
    )
    across = points.mark_rule(strokeWidth=1, opacity=0.6).encode(alt.X("leakage_low:Q"), y, alt.X2("leakage_high:Q"), color=color)
    upright = points.mark_rule(strokeWidth=1, opacity=0.6).encode(
        x, alt.Y("test_accuracy_low:Q"), y2="test_accuracy_high:Q", color=color
    )
    tooltip = [
        alt.Tooltip("name:N", title="trial"),
        alt.Tooltip("test_accuracy:Q", format=".3f"),
        alt.Tooltip("leakage:Q", format=".3f"),
        alt.Tooltip("leakage_low:Q", format=".3f"),
        alt.Tooltip("leakage_high:Q", format=".3f"),
        alt.Tooltip("seconds:Q", format=".1f"),
    ]
    marks = points.mark_point(filled=True, size=70, opacity=1).encode(
        x, y, color=look.color(rows), shape=look.shape(rows), tooltip=tooltip
    )
    names = points.mark_text(align="left", dx=7, dy=-7, fontSize=8.5, color="#444").encode(x, y, text="name:N")
    chance = alt.Chart(alt.Data(values=[{"x": fpr}])).mark_rule(color="#bbb", strokeDash=[1, 3]).encode(x="x:Q")
    order = alt.Order("leakage:Q")
    layers = [chance, best.encode(x, y, order=order), across, upright, marks]
    if len(rows) <= 24:  # beyond that labels would cover each other; the tooltip still names every point
        layers.append(names)
    title = alt.TitleParams(
        "Accuracy against leakage", subtitle=[look.conditions(rows), "95 % intervals; dotted: guessing; dashed: best so far"]
    )
    return alt.layer(*layers).properties(width=look.WIDTH[theme] * 1.4, height=look.HEIGHT[theme] * 1.3, title=title)


def front(rows: list[dict[str, Any]]) -> set[str]:
    """Labels of the trials that no other beats in both accuracy and leakage."""

    def beaten(row: dict[str, Any]) -> bool:
        return any(
            other["test_accuracy"] >= row["test_accuracy"]
            and other["leakage"] <= row["leakage"]
            and (other["test_accuracy"], other["leakage"]) != (row["test_accuracy"], row["leakage"])
            for other in rows
        )

    return {row["label"] for row in rows if not beaten(row)}
