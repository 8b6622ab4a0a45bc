"""What a paradigm costs: seconds of one shadow's pipeline against accuracy and against leakage."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from runtime.present.charts import labels, look

QUERY = "SELECT * FROM comparison"


def draw(rows: list[look.Row], theme: look.Theme) -> alt.TopLevelMixin:
    """Two panels over one logarithmic axis of seconds. Zero seconds are drawn at half of the least time, and said so."""
    everyone = look.named(rows)
    rows = [row for row in everyone if row["seconds"] is not None and row["test_accuracy"] is not None]
    if not rows:
        return look.empty("no trial has both an accuracy and a cost", theme)
    floor = look.floor_of(row["seconds"] for row in rows)
    ends = [max(row["seconds"], floor) for row in rows]
    extent = (min(ends) / 1.6, max(ends) * 1.6)
    chosen = look.choice()
    panels = [
        _panel("test_accuracy", "Test accuracy", rows, floor, extent, theme, chosen, first=True),
        _panel("leakage", f"Leakage: {look.rate(rows)}", rows, floor, extent, theme, chosen, first=False),
    ]
    zeros = sum(row["seconds"] <= 0 for row in rows)
    title = look.titled(
        "What it costs",
        look.conditions(rows),
        "mean wall-clock seconds over shadows, comparable on one device only; bars: 95\u00a0% intervals",
        f"hollow: {zeros} of zero seconds, drawn at {floor:.2g}" if zeros else "",
        look.unresolved(everyone, "seconds", "test_accuracy", "leakage"),
        width=look.WIDTH[theme] * 1.6,
    )
    return look.grid(panels, columns=2, spacing=24).properties(title=title)


def _panel(
    figure: str,
    title: str,
    rows: list[look.Row],
    floor: float,
    extent: tuple[float, float],
    theme: look.Theme,
    chosen: Any,
    first: bool,
) -> Any:
    width, height = look.theme_size(theme, 0.8)
    shown = [row for row in rows if row[figure] is not None]
    ends = [
        value for row in shown for value in (row[figure], row[f"{figure}_low"], row[f"{figure}_high"]) if value is not None
    ] or [0.0]
    bottom, top = look.around(ends) if figure == "test_accuracy" else (0.0, max(min(1.0, max(ends) * 1.05), 0.02))

    def at(seconds: float, share: float) -> labels.Point:
        within = min(max(seconds, floor, extent[0]), extent[1])
        return width * math.log(within / extent[0]) / math.log(extent[1] / extent[0]), height * (top - share) / (top - bottom)

    places = labels.placed(
        [at(row["seconds"], row[figure]) for row in shown],
        [look.short(row["name"], 26) for row in shown],
        width,
        height,
        most=20,
        bars=labels.bars(shown, "seconds", figure, at),
        font=look.SMALL[theme],
        lead=True,
    )
    data = [
        {
            **{name: row[name] for name in ("name", "Paradigm", "seconds", "shadows")},
            "drawn": max(row["seconds"], floor),
            "zero": row["seconds"] <= 0,
            "value": row[figure],
            "low": row[f"{figure}_low"],
            "high": row[f"{figure}_high"],
            "interval": look.interval(row, figure),
            "time": look.interval(row, "seconds", 1),
            "from": None if row["seconds_low"] is None else min(max(row["seconds_low"], extent[0]), extent[1]),
            "to": None if row["seconds_high"] is None else min(max(row["seconds_high"], extent[0]), extent[1]),
            **(look.place(label, look.short(row["name"], 26), theme) if label else {}),
        }
        for row, label in zip(shown, places, strict=True)
    ]
    base = alt.Chart(alt.Data(values=data)).transform_filter(chosen)
    x = alt.X(
        "drawn:Q",
        title="Seconds per shadow",
        scale=alt.Scale(type="log", domain=extent, nice=False),
        axis=alt.Axis(values=ticks(*extent), format="~g"),
    )
    y = alt.Y(
        "value:Q",
        title=title,
        axis=alt.Axis(labelExpr=look.PERCENT, tickCount=6),
        scale=alt.Scale(domain=[bottom, top], nice=False),
    )
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.65).encode(
        x, look.end(y, "low"), alt.Y2("high:Q"), color=look.color(rows, theme=theme)
    )
    color = look.color(rows, theme=theme)
    across = base.mark_rule(strokeWidth=1.2, opacity=0.65).encode(look.end(x, "from"), y, alt.X2("to:Q"), color=color)
    tooltip = [
        alt.Tooltip("name:N", title="trial"),
        alt.Tooltip("seconds:Q", title="seconds per shadow", format=".1f"),
        alt.Tooltip("time:N", title="its interval"),
        alt.Tooltip("value:Q", title=title.lower(), format=".3f"),
        alt.Tooltip("interval:N", title="its interval "),
        alt.Tooltip("shadows:Q"),
    ]
    marks = [
        base.transform_filter(which)
        .mark_point(filled=filled, size=60, opacity=1)
        .encode(x, y, color=look.color(rows, theme=theme), shape=look.shape(rows, theme), tooltip=tooltip)
        for which, filled in (("!datum.zero", True), ("datum.zero", False))
    ]
    names = [draw(base, theme).encode(x, y, text="shown:N") for draw in (look.beneath, look.beside)]
    layers = [bars.add_params(chosen) if first else bars, across, *marks, look.leaders(base).encode(x, y), *names]
    return alt.layer(*layers).properties(width=width, height=height)


def ticks(low: float, high: float) -> list[float]:
    """Round seconds within the axis: 1, 2, 5 of each decade while they fit, decades alone beyond three."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    return [value for decade in decades for step in steps if low <= (value := step * 10.0**decade) <= high]
