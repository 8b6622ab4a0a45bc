"""What a paradigm costs: seconds of one shadow's pipeline against accuracy and against leakage."""

from __future__ import annotations

from typing import Any

import altair as alt

from runtime.charts import look

QUERY = "SELECT * FROM comparison WHERE test_accuracy IS NOT NULL AND seconds > 0"


def draw(rows: list[dict[str, Any]], theme: look.Theme) -> alt.TopLevelMixin:
    """Two panels over one logarithmic axis of seconds."""
    rows = [{**row, "name": look.short(row["label"])} for row in look.named(rows)]
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X("seconds:Q", title="Seconds per shadow", scale=alt.Scale(type="log", nice=False, padding=20))

    def panel(value: str, title: str, zero: bool) -> Any:
        y = alt.Y(f"{value}:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(zero=zero))
        bars = base.mark_rule(opacity=0.6).encode(
            x, alt.Y(f"{value}_low:Q"), alt.Y2(f"{value}_high:Q"), color=look.color(rows, legend=False)
        )
        tooltip = [
            alt.Tooltip("name:N", title="trial"),
            alt.Tooltip("seconds:Q", format=".1f"),
            alt.Tooltip(f"{value}:Q", format=".3f"),
        ]
        marks = base.mark_point(filled=True, size=60, opacity=1).encode(
            x, y, color=look.color(rows), shape=look.shape(rows), tooltip=tooltip
        )
        return alt.layer(bars, marks).properties(width=look.WIDTH[theme] * 0.8, height=look.HEIGHT[theme])

    title = alt.TitleParams("What it costs", subtitle=[look.conditions(rows)])
    return alt.hconcat(panel("test_accuracy", "Test accuracy", False), panel("leakage", "Leakage", True)).properties(title=title)
