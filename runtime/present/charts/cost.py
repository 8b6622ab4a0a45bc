"""What a paradigm costs: seconds of one shadow's pipeline against accuracy and against leakage."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from compiler.language.charts import Theme
from runtime.present.charts import look, numbering
from runtime.present.paradigms import Row

QUERY = "SELECT * FROM comparison"


def draw(rows: list[Row], theme: Theme) -> alt.TopLevelMixin:
    """Two panels over one logarithmic axis of seconds. Zero seconds are drawn at half of the least time, and said so."""
    everyone = look.identify(rows)
    rows = [row for row in everyone if row["seconds"] is not None and row["test_accuracy"] is not None]
    if not rows:
        return look.draw_nothing("no trial has both an accuracy and a cost", theme)
    floor = look.log_floor(row["seconds"] for row in rows)
    seconds = [max(row["seconds"], floor) for row in rows]
    extent = (min(seconds) / 1.6, max(seconds) * 1.6)
    chosen = look.choose_paradigm()
    panels: list[Any] = []
    for figure, named in (("test_accuracy", "Test accuracy"), ("leakage", f"Leakage: {look.describe_leakage(rows)}")):
        shown = [row for row in rows if row[figure] is not None]
        domain = _domain(figure, look.figures_of(shown, figure) or [0.0])
        size = look.panel_size(theme, 0.8)
        data = numbering.number(_points(shown, figure, floor, extent), _places(shown, figure, floor, extent, domain, size))
        layers = _marks(rows, look.plot(data, chosen), named, extent, domain, theme)
        if not panels:
            layers[0] = layers[0].add_params(chosen)
        panels.append(alt.layer(*layers).properties(width=size[0], height=size[1]))
    zeros = sum(row["seconds"] <= 0 for row in rows)
    title = look.make_title(
        "What it costs",
        look.describe_conditions(rows),
        "mean wall-clock seconds over shadows, comparable on one device only; bars: 95\u00a0% intervals",
        f"hollow: {zeros} of zero seconds, drawn at {floor:.2g}" if zeros else "",
        look.name_unresolved(everyone, "seconds", "test_accuracy", "leakage"),
        width=look.PANEL_WIDTH[theme] * 1.6,
    )
    both = look.arrange(panels, columns=2, spacing=24)
    return numbering.add_key(both, rows, look.PANEL_WIDTH[theme] * 1.8, theme, chosen).properties(title=title)


def _domain(figure: str, values: list[float]) -> tuple[float, float]:
    return look.pad_domain(values) if figure == "test_accuracy" else (0.0, max(min(1.0, max(values) * 1.05), 0.02))


def _places(
    rows: list[Row], figure: str, floor: float, extent: tuple[float, float], domain: tuple[float, float], size: tuple[float, float]
) -> list[tuple[float, float]]:
    """Where the points lie in the panel, y downwards."""
    decades = math.log(extent[1] / extent[0])
    return [
        (
            size[0] * math.log(max(row["seconds"], floor) / extent[0]) / decades,
            size[1] * (domain[1] - row[figure]) / (domain[1] - domain[0]),
        )
        for row in rows
    ]


def _points(rows: list[Row], figure: str, floor: float, extent: tuple[float, float]) -> list[Row]:
    def clip(seconds: float | None) -> float | None:
        return None if seconds is None else min(max(seconds, extent[0]), extent[1])

    return [
        {
            **{name: row[name] for name in ("name", "number", "Paradigm", "seconds", "shadows")},
            "drawn": max(row["seconds"], floor),
            "drawn_low": clip(row["seconds_low"]),
            "drawn_high": clip(row["seconds_high"]),
            "zero": row["seconds"] <= 0,
            **{f"value{end}": row[figure + end] for end in ("", "_low", "_high")},
            "interval": look.interval_of(row, figure),
            "time": look.interval_of(row, "seconds", ".1f"),
        }
        for row in rows
    ]


def _marks(
    rows: list[Row], points: alt.Chart, title: str, extent: tuple[float, float], domain: tuple[float, float], theme: Theme
) -> list[Any]:
    x = alt.X(
        "drawn:Q",
        title="Seconds per shadow",
        scale=alt.Scale(type="log", domain=extent, nice=False),
        axis=alt.Axis(values=choose_ticks(*extent), format="~g"),
    )
    y = look.share_axis(alt.Y, "value", title, domain)
    color = look.color(rows, theme)
    tooltip = look.tooltip(
        ("seconds:Q", "seconds per shadow", ".1f"),
        ("time:N", "its interval"),
        ("value:Q", title.lower(), ".3f"),
        ("interval:N", "its interval "),
        ("shadows:Q", "shadows"),
    )
    encodings = {"x": x, "y": y, "color": color, "shape": look.shape(rows, theme), "tooltip": tooltip}
    return [
        *look.draw_intervals(points, x, y, color, across="drawn", upright="value"),
        *look.draw_points(points, "datum.zero", 60, **encodings),
        *numbering.draw_numbers(points, x, y, theme),
    ]


def choose_ticks(low: float, high: float) -> list[float]:
    """Round seconds within the axis: 1, 2, 5 of each decade while they fit, decades alone beyond three."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    return [value for decade in decades for step in steps if low <= (value := step * 10.0**decade) <= high]
