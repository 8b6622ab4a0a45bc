"""A metric along the axes of a grid: what turning one knob does."""

from __future__ import annotations

import json
from typing import Any

import altair as alt

from runtime.present.charts import look
from runtime.present.charts.labels import length

QUERY = "SELECT * FROM comparison WHERE axes <> '{}'"
FIGURES = {"leakage": "Leakage", "test_accuracy": "Test accuracy"}


def draw(rows: list[look.Row], theme: look.Theme) -> alt.TopLevelMixin:
    """One panel per axis of an arm: leakage (filled, solid) and accuracy (hollow, dashed) with intervals, a line per setting
    of the other axes and replicate."""
    rows = look.named(rows)
    by_panel: dict[tuple[str, str], list[look.Row]] = {}
    for row in rows:
        for axis in json.loads(row["axes"] or "{}"):
            by_panel.setdefault((row["arm"], axis), []).append(row)
    turned = {panel: found for panel, found in by_panel.items() if len({_setting(row, panel[1]) for row in found}) > 1}
    if not turned:
        return look.empty("no arm has a grid with more than one setting", theme)
    chosen = look.choice()
    panels = [
        _panel(arm, axis, found, rows, theme, chosen, place == 0) for place, ((arm, axis), found) in enumerate(turned.items())
    ]
    title = look.titled(
        "What turning one knob does",
        look.conditions(rows),
        f"filled: leakage ({look.rate(rows)}); hollow, dashed: test accuracy; bars: 95\u00a0% intervals",
        look.unresolved(rows, "leakage"),
        width=look.WIDTH[theme] * 1.2,
    )
    names = [point["rest"] for (_, axis), found in turned.items() for row in found for point in _points(row, axis)]
    # Panels of all rows stand below each other, whatever their names on the right and their axes on the left take.
    spacing = look.AXIS + max(24.0, 16 + max(map(length, names), default=0.0))
    return look.grid(panels, columns=2 if theme == "paper" else 3, spacing=spacing, bounds="flush").properties(title=title)


def _panel(arm: str, axis: str, rows: list[look.Row], everyone: list[look.Row], theme: look.Theme, chosen: Any, first: bool) -> Any:
    points = [point for row in rows for point in _points(row, axis)]
    base = alt.Chart(alt.Data(values=points)).transform_filter(chosen)
    x = alt.X(
        "at:N", title=look.short(axis, 28), sort=_order(points), axis=alt.Axis(labelAngle=0, labelLimit=70, labelOverlap="greedy")
    )
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(labelExpr=look.PERCENT, tickCount=5))
    color = look.color(everyone, theme=theme)
    figure = list(FIGURES.values())
    dash = alt.StrokeDash("figure:N", scale=alt.Scale(domain=figure, range=[[1, 0], [4, 3]]), legend=None)
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.65).encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color)
    lines = base.mark_line(strokeWidth=1.2, opacity=0.7).encode(x, y, color=color, detail="rest:N", strokeDash=dash)
    tooltip = [
        alt.Tooltip("name:N", title="trial"),
        alt.Tooltip("figure:N"),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("interval:N"),
        alt.Tooltip("n:Q", title="n", format=","),
    ]
    marks = [
        base.transform_filter(f"datum.figure {test} 'Leakage'")
        .mark_point(size=45, opacity=1, filled=filled)
        .encode(x, y, color=color, tooltip=tooltip)
        for test, filled in (("==", True), ("!=", False))
    ]
    layers = [bars.add_params(chosen) if first else bars, lines, *marks]
    if 1 < len({point["rest"] for point in points}) <= 4:
        last = max(_order(points).index(point["at"]) for point in points)
        ends = [point for point in points if point["at"] == _order(points)[last] and point["figure"] == "Leakage"]
        names = (
            alt.Chart(alt.Data(values=ends)).transform_filter(chosen).mark_text(align="left", dx=8, fontSize=8.5, color=look.INK)
        )
        layers.append(names.encode(x, y, text="rest:N"))
    width, height = look.theme_size(theme, 0.45, 0.7)
    heading = alt.TitleParams(look.short(arm, 30), fontSize=11, fontWeight="normal", offset=6)
    return alt.layer(*layers).properties(width=width, height=height, title=heading)


def _points(row: look.Row, axis: str) -> list[look.Row]:
    settings = json.loads(row["axes"])
    others = [f"{name}={_said(setting)}" for name, setting in settings.items() if name != axis]
    rest = look.short(", ".join(others), 24) + (f" #{row['replicate']}" if row.get("replicate") else "")
    shared = {"at": look.short(_said(settings[axis]), 18), "rest": rest, "name": row["name"], "Paradigm": row["Paradigm"]}
    return [
        {
            **shared,
            "figure": printed,
            "value": row[name],
            "low": row[f"{name}_low"],
            "high": row[f"{name}_high"],
            "interval": look.interval(row, name),
            "n": row["leakage_n" if name == "leakage" else "shadows"],
        }
        for name, printed in FIGURES.items()
        if row[name] is not None
    ]


def _said(setting: Any) -> str:
    """A grid's value; 0.30000000000000004 is nobody's setting."""
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def _setting(row: look.Row, axis: str) -> str:
    return str(json.loads(row["axes"]).get(axis))


def _order(points: list[look.Row]) -> list[str]:
    """Settings by size where all are numbers, else in the order of the spec."""
    found = list(dict.fromkeys(point["at"] for point in points))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found
