"""Chart: leakage and accuracy along each axis of a grid, the effect of one parameter."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import altair as alt

from runtime.present.charts import look
from runtime.present.charts.look import Layout
from runtime.present.paradigms import Row, doubts_of

QUERY = "SELECT * FROM comparison WHERE axes <> '{}'"
MAX_NAMED_LINES = 4
"""Most lines of a panel that have labels at their ends."""
PANEL_HEIGHT = 0.6
"""Height of a panel over that of the layout."""
FIGURES = {"leakage": "Leakage", "test_accuracy": "Test accuracy"}


def draw(rows: list[Row], layout: Layout) -> Any:
    """One panel per arm and axis with several settings: leakage (circles, solid) and accuracy (squares, dashed) with intervals, a
    line per setting of the other axes and replicate. A message where no axis has several settings."""
    rows = look.identify(rows)
    by_panel: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for axis in json.loads(row["axes"] or "{}"):
            by_panel.setdefault((row["arm"], axis), []).append(row)
    turned = {panel: trials for panel, trials in by_panel.items() if len({_setting(row, panel[1]) for row in trials}) > 1}
    if not turned:
        return look.draw_nothing("no arm has a grid with more than one setting", layout)
    chosen = look.choose_paradigm()
    panels: list[Any] = []
    for (arm, axis), trials in turned.items():
        layers = _marks(axis, trials, rows, layout, chosen)
        if not panels:
            layers[0] = layers[0].add_params(chosen)
        width, height = layout.panel(2, PANEL_HEIGHT)
        heading = alt.TitleParams(look.shorten(arm, 30), fontSize=layout.type, fontWeight="normal", offset=4)
        panels.append(alt.layer(*layers).properties(width=width, height=height, title=heading))
    title = look.make_title(
        "What turning one knob does",
        look.describe_conditions(rows),
        f"circles: leakage ({look.describe_leakage(rows)}); squares, dashed: test accuracy; bars: 95\u00a0% intervals",
        look.name_unresolved(rows, "leakage"),
        *look.name_doubtful(rows),
        layout=layout,
    )
    # Panels of all rows are aligned, whatever the widths of their left axes.
    return look.arrange(panels, layout.across, spacing=look.AXIS_WIDTH + 12, bounds="flush") | {"title": title}


def _marks(axis: str, rows: list[Row], everyone: list[Row], layout: Layout, chosen: Any) -> list[Any]:
    data = [point for row in rows for point in _points(row, axis)]
    points, order = look.plot(data, chosen), _order(data)
    labels = alt.Axis(labelAngle=0, labelLimit=70, labelOverlap="greedy")
    x = alt.X("at:N", title=look.shorten(axis, 28), sort=order, axis=labels)
    y = look.share_axis(alt.Y, "value", None, (0, 1), ticks=5)
    color = look.color(everyone, layout)
    dash = alt.Scale(domain=list(FIGURES.values()), range=[[1, 0], [4, 3]])
    shape = alt.Shape("figure:N", scale=alt.Scale(domain=list(FIGURES.values()), range=["circle", "square"]), legend=None)
    lines = points.mark_line(strokeWidth=1.2, opacity=0.7).encode(
        x, y, color=color, detail="rest:N", strokeDash=alt.StrokeDash("figure:N", scale=dash, legend=None)
    )
    tooltip = look.tooltip(("figure:N", "figure"), ("value:Q", "value", ".3f"), ("interval:N", "interval"), ("n:Q", "n", ","))
    layers = [
        points.mark_rule(strokeWidth=1.2, opacity=0.65).encode(x, look.end(y, "value_low"), alt.Y2("value_high:Q"), color=color),
        lines,
        *look.draw_points(points, 40, x=x, y=y, color=color, shape=shape, tooltip=tooltip),
    ]
    if 1 < len({point["rest"] for point in data}) <= MAX_NAMED_LINES:
        ends = [point for point in data if point["at"] == order[-1] and point["figure"] == "Leakage"]
        names = look.plot(_place_names(ends, 1.2 * layout.small / layout.panel(2, PANEL_HEIGHT)[1]), chosen).mark_text(
            align="right", dy=-7, fontSize=layout.small, color=look.INK
        )
        layers.append(names.encode(x, look.end(y, "name_at"), text="rest:N"))
    return layers


def _place_names(points: list[Row], line: float) -> list[Row]:
    """Copies of the points in ascending order of `value`, each with the height `name_at` of its name: its value, moved up where
    names would overlap, and down where it and the names above would not fit below 1. `line`: height of a line of text on the axis,
    which goes from 0 to 1."""
    ordered = sorted(points, key=lambda point: point["value"])
    heights = list(accumulate((point["value"] for point in ordered), lambda below, value: max(value, below + line)))
    tops = [1 - line * above for above in reversed(range(len(heights)))]  # below these the names above still fit
    return [{**point, "name_at": min(height, top)} for point, height, top in zip(ordered, heights, tops, strict=True)]


def _points(row: Row, axis: str) -> list[Row]:
    settings = json.loads(row["axes"])
    others = [f"{name}={_print(setting)}" for name, setting in settings.items() if name != axis]
    rest = look.shorten(", ".join(others), 24) + (f" #{row['replicate']}" if row.get("replicate") else "")
    shared = {"at": look.shorten(_print(settings[axis]), 18), "rest": rest, "name": row["name"], "Paradigm": row["Paradigm"]}
    shared |= {"doubt": doubts_of(row)}
    return [
        {
            **shared,
            "figure": title,
            **{f"value{end}": row[name + end] for end in ("", "_low", "_high")},
            "interval": look.interval_of(row, name),
            "n": row["leakage_n" if name == "leakage" else "shadows"],
        }
        for name, title in FIGURES.items()
        if row[name] is not None
    ]


def _print(setting: Any) -> str:
    """A grid's value as text; a float with six significant digits, so not as 0.30000000000000004."""
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def _setting(row: Row, axis: str) -> str:
    return str(json.loads(row["axes"]).get(axis))


def _order(points: list[Row]) -> list[str]:
    """The distinct texts of settings on the axis, in ascending order if all are numbers, else in the order of the points."""
    settings = list(dict.fromkeys(point["at"] for point in points))
    try:
        return sorted(settings, key=float)
    except ValueError:
        return settings
