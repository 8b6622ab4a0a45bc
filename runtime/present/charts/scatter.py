"""Scatter plots of two figures with both intervals; points are numbered, and a key has the trials' names.

Figures are placed here, not by a scale of Vega's: so an axis can show both ends of shares (log odds), a zero that no logarithm has,
and what could not be resolved, each at a place of its own that a label names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt

from compiler.errors import and_more
from runtime.present.charts import look
from runtime.present.charts.look import Layout
from runtime.present.paradigms import Row, doubts_of, is_comparable

NUMBER_DISTANCE = 9.0
"""Distance from a mark to the middle of its number, in points."""
FURTHEST = 1.7 * NUMBER_DISTANCE
"""The same, where it is crowded."""
CLEARANCE = 11.0
"""Least distance between the middles of two numbers, in points."""
KEY_LINE_HEIGHT = 11
"""Points."""
DIRECTIONS = tuple(eighth * math.pi / 4 for eighth in (1, 7, 3, 5, 0, 4, 2, 6))
"""Directions of a number from its mark, in order of preference: oblique first, since intervals are vertical and horizontal."""
ODDS_TICKS = (0.01, 0.1, 0.5, 0.9, 0.99, 0.001, 0.999, 0.03, 0.3, 0.7, 0.97, 0.003, 0.997, 0.0001, 0.9999)
"""Ticks of an axis of log odds, in order of priority."""


@dataclass(frozen=True)
class Axis:
    """The position of a figure and of its interval's ends on an axis, and the axis' labels."""

    figure: str
    title: str
    place: Callable[[float], float]
    domain: tuple[float, float]
    ticks: dict[float, str]
    """Position → label."""
    better: int
    """1 where more is better, -1 where less is."""
    unresolved: float | None = None
    """Position of missing values; None where rows without a value are not drawn."""
    least: float | None = None
    """Figures below this are drawn together at the axis' beginning, so that they do not stretch it; None without such figures."""

    def of(self, row: Row, end: str = "") -> Any:
        """Position of a row's figure, or of an `end` (`_low`, `_high`) of its interval, clipped to the axis. A missing figure is at
        `unresolved`, a missing end None; a figure below `least`, and its ends, are at the label `lower`."""
        value = row[self.figure + end]
        if value is None:
            return None if end else self.unresolved
        if self.least is not None and row[self.figure] < self.least:
            return min(self.ticks)
        return min(max(self.place(value), self.domain[0]), self.domain[1])

    def channel(self, channel: Any, field: str) -> Any:
        """The encoding (`channel`: alt.X or alt.Y) of `field`, which holds positions on this axis."""
        labels = json.dumps({str(round(1000 * at)): label for at, label in self.ticks.items()})
        axis = alt.Axis(values=sorted(self.ticks), labelExpr=f"{labels}[round(1000 * datum.value)]", labelOverlap="greedy")
        return channel(f"{field}:Q", title=self.title, axis=axis, scale=alt.Scale(domain=list(self.domain), nice=False))


def share_axis(figure: str, title: str, rows: Sequence[Row], better: int) -> Axis:
    """A linear axis of shares, over figures and interval ends of the trials that are comparable (of all if none of these has the
    figure). Figures of other trials that lie lower are drawn together at its beginning, higher ones at its end. ValueError where no
    row has the figure."""
    shares = look.figures_of([row for row in rows if is_comparable(row)], figure) or look.figures_of(rows, figure)
    margin = max(0.005, 0.06 * (max(shares) - min(shares)))
    low, high = max(0.0, min(shares) - margin), min(1.0, max(shares) + margin)
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / step <= 7 or step == 0.2)
    places = [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    ticks = {at: look.format_percent(round(at, 4)) for at in places}
    if all(row[figure] is None or row[figure] >= low for row in rows):
        return Axis(figure, title, lambda share: share, (low, high), ticks, better)
    below = low - 0.06 * (high - low)
    begin = below - 0.06 * (high - low)
    return Axis(figure, title, lambda share: share, (begin, high), ticks | {below: "lower"}, better, least=low)


def name_lower(rows: Iterable[Row], axis: Axis) -> str:
    """A sentence on the trials that are drawn together at an axis' beginning, with their figures; "" without any."""
    lower = [row for row in rows if axis.least is not None and row[axis.figure] is not None and row[axis.figure] < axis.least]
    named = [f"{look.shorten(row['name'], 24)} {100 * row[axis.figure]:.0f}\u00a0%" for row in lower]
    return f"lower: {and_more(named, 3)}" if named else ""


def odds_axis(figure: str, title: str, rows: Sequence[Row], better: int) -> Axis:
    """An axis of log odds, on which 0.1 % and 1 % are as far apart as 99 % and 99.9 %. Shares are clipped to 0.5 / n and
    1 − 0.5 / n, where n is the largest number of scores of a row (50 for a row without), so that zero and one have positions;
    missing values have one of their own, beyond the largest. At least one row."""
    floor = 0.5 / max(row[f"{figure}_n"] or 50 for row in rows)

    def place(share: float) -> float:
        share = min(max(share, floor), 1 - floor)
        return math.log(share / (1 - share))

    shares = [*look.figures_of(rows, figure), *(row["fpr"] for row in rows if row["fpr"])]
    low, high = place(min(shares, default=0.0)) - 0.3, place(max(shares, default=1.0)) + 0.3
    ticks: dict[float, str] = {}
    for share in (0.0, 1.0, *ODDS_TICKS):  # the ends first; ticks too near to earlier ones are left out
        at = place(share)
        shown = at in map(place, shares) if share in (0.0, 1.0) else floor < share < 1 - floor and low <= at <= high
        if shown and all(abs(at - other) > (high - low) / 9 for other in ticks):
            ticks[at] = look.format_percent(share) if share else "0"
    unresolved = None
    if any(row[figure] is None for row in rows):
        unresolved = high + 0.09 * (high - low)
        ticks[unresolved] = "n.\u2009r."
        high = unresolved + 0.3
    return Axis(figure, title, place, (low, high), ticks, better, unresolved)


def log_axis(figure: str, title: str, rows: Sequence[Row], better: int) -> Axis:
    """A logarithmic axis; zeros are drawn at half of the least positive figure. Every row, at least one, must have the figure."""
    figures = [row[figure] for row in rows]
    floor = min((value for value in figures if value > 0), default=2.0) / 2

    def place(value: float) -> float:
        return math.log10(max(value, floor))

    low, high = place(min(figures)) - 0.2, place(max(figures)) + 0.2
    steps = (1, 2, 5) if high - low < 3 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = {at: f"{10**at:g}" for decade in decades for step in steps if low <= (at := place(step * 10.0**decade)) <= high}
    if min(figures) <= 0:
        ticks = {place(0.0): "0"} | {at: label for at, label in ticks.items() if at > place(0.0) + 0.1}
    return Axis(figure, title, place, (low, high), ticks, better)


def draw_panel(
    rows: Sequence[Row], x: Axis, y: Axis, size: tuple[float, float], layout: Layout, chosen: Any, under: Sequence[Any]
) -> Any:
    """One panel of the layers, from below: filled points, which bear the selection and so come first; `under`; the Pareto front
    with its band; hollow points, intervals, numbers. `size`: width and height.

    Rows of the view `comparison` with the fields of `look.identify` and `describe`; a row with a `doubt` is hollow.
    """
    data = [row | _places(row, "x", x) | _places(row, "y", y) for row in rows]
    span = [axis.domain[1] - axis.domain[0] for axis in (x, y)]
    at = [(size[0] * (row["x"] - x.domain[0]) / span[0], size[1] * (y.domain[1] - row["y"]) / span[1]) for row in data]
    points = look.plot(number(data, at), chosen)
    across, upright = x.channel(alt.X, "x"), y.channel(alt.Y, "y")
    color = look.color(rows, layout)
    tooltip = look.tooltip(
        ("test_accuracy:Q", "test accuracy", ".3f"),
        ("accuracy_interval:N", "its interval"),
        ("leakage:Q", "leakage", ".3f"),
        ("leakage_interval:N", "its interval "),
        ("leakage_n:Q", "non-member scores", ","),
        ("seconds:Q", "seconds per shadow", ".1f"),
        ("doubt:N", "doubtful"),
    )
    bars = points.mark_rule(strokeWidth=1.1, opacity=0.6)
    marks = [
        *look.draw_points(points, 55, x=across, y=upright, color=color, shape=look.shape(rows, layout), tooltip=tooltip),
        bars.encode(look.end(across, "x_low"), upright, alt.X2("x_high:Q"), color=color),
        bars.encode(across, look.end(upright, "y_low"), alt.Y2("y_high:Q"), color=color),
        *draw_numbers(points, across, upright, layout),
    ]
    front = _front(rows, x, y)
    band = look.plot(front_band(rows, x, y)).mark_area(interpolate="step-after", color=look.LINE, opacity=0.16)
    steps = look.plot(front).mark_line(interpolate="step-after", color=look.LINE, strokeDash=[4, 3], strokeWidth=1)
    layers = [
        marks[0],
        *under,
        band.encode(across, look.end(upright, "y_low"), alt.Y2("y_high:Q")),
        steps.encode(across, upright, order=alt.Order("x:Q")),
        *marks[1:],
    ]
    return alt.layer(*layers).properties(width=size[0], height=size[1])


def describe(rows: Iterable[Row]) -> list[Row]:
    """Copies of the rows with `doubt` and, for tooltips, `leakage_interval` and `accuracy_interval` as texts."""
    return [
        row
        | {
            "doubt": doubts_of(row),
            "leakage_interval": look.interval_of(row, "leakage"),
            "accuracy_interval": look.interval_of(row, "test_accuracy"),
        }
        for row in rows
    ]


def _places(row: Row, name: str, axis: Axis) -> Row:
    return {f"{name}{end}": axis.of(row, end) for end in ("", "_low", "_high")}


def find_front(rows: Sequence[Row], x: Axis, y: Axis) -> list[Row]:
    """Rows on the Pareto front of both figures, in the order of `rows`; doubtful trials, controls, and trials that lack a figure
    are left out."""
    able = [row for row in rows if is_comparable(row) and None not in (row[x.figure], row[y.figure])]

    def beats(one: Row, other: Row) -> bool:
        gains = [axis.better * (one[axis.figure] - other[axis.figure]) for axis in (x, y)]
        return min(gains) >= 0 and max(gains) > 0

    return [row for row in able if not any(beats(other, row) for other in able)]


def _front(rows: Sequence[Row], x: Axis, y: Axis) -> list[Row]:
    return [{"x": x.of(row), "y": y.of(row)} for row in sorted(find_front(rows, x, y), key=lambda row: float(row[x.figure]))]


def front_band(rows: Sequence[Row], x: Axis, y: Axis) -> list[Row]:
    """The band between the fronts at the worse (`y_low`) and at the better ends (`y_high`) of all intervals, as corners in
    positions on the axes, from left to right (less `x` is better), over comparable trials that have both intervals; empty without
    any. Left of the first trial a front is at the worst end of the axis of y."""
    ends = [f"{axis.figure}{end}" for axis in (x, y) for end in ("_low", "_high")]
    able = [row for row in rows if is_comparable(row) and None not in [row[end] for end in ends]]
    good, bad = ("_high", "_low") if y.better > 0 else ("_low", "_high")
    worst = y.domain[0] if y.better > 0 else y.domain[1]
    best = max if y.better > 0 else min

    def reached(at: float, across: str, upright: str) -> float:
        return best((y.of(row, upright) for row in able if x.of(row, across) <= at), default=worst)

    corners = sorted({x.of(row, end) for row in able for end in ("_low", "_high")})
    return (
        [{"x": at, "y_low": reached(at, "_high", bad), "y_high": reached(at, "_low", good)} for at in [*corners, x.domain[1]]]
        if able
        else []
    )


def number(rows: list[Row], points: Sequence[tuple[float, float]]) -> list[Row]:
    """Copies of the rows with `dx` and `dy`, the offset of each trial's number from its point; `points`, a row's (x, y) each, and
    offsets are in points of the plotting area, y downwards."""
    return [row | {"dx": round(dx, 1), "dy": round(dy, 1)} for row, (dx, dy) in zip(rows, place_numbers(points), strict=True)]


def place_numbers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """For each point (in points of the plotting area, y downwards) the offset of its number's middle: the first of sixteen places
    (eight directions at `NUMBER_DISTANCE`, then at `FURTHEST`) with enough distance to other points and numbers, else the one with
    most."""
    numbers: list[tuple[float, float]] = []
    for x, y in points:
        reach = FURTHEST + CLEARANCE  # what is further away narrows no place
        others = [point for point in points if point != (x, y)] + numbers
        others = [other for other in others if math.dist(other, (x, y)) < reach]
        middles = [
            (x + far * math.cos(angle), y - far * math.sin(angle)) for far in (NUMBER_DISTANCE, FURTHEST) for angle in DIRECTIONS
        ]
        numbers.append(max(middles, key=partial(_clearance, others=others)))
    return [(at[0] - x, at[1] - y) for at, (x, y) in zip(numbers, points, strict=True)]


def _clearance(at: tuple[float, float], others: Sequence[tuple[float, float]]) -> float:
    return min([CLEARANCE, *(math.dist(at, other) for other in others)])


def draw_numbers(points: alt.Chart, x: Any, y: Any, layout: Layout) -> list[Any]:
    """Text layers of the numbers: first an outline in the colour of the paper, since intervals pass behind them, then the text."""
    halo: dict[str, Any] = {"stroke": look.PAPER, "strokeWidth": 3, "strokeOpacity": 0.9, "strokeJoin": "round"}
    style: dict[str, Any] = {"fontSize": layout.small, "color": look.INK, "align": "center", "baseline": "middle"}
    style |= {"dx": alt.expr("datum.dx"), "dy": alt.expr("datum.dy")}
    return [points.mark_text(**(style | under)).encode(x, y, text="number:Q") for under in (halo, {})]


def add_key(chart: Any, rows: Iterable[Row], layout: Layout, chosen: Any) -> dict[str, Any]:
    """The chart above a key of its numbered trials, one entry for each `number`, in as many columns as fit."""
    trials = sorted({row["number"]: row for row in rows}.values(), key=lambda row: row["number"])
    texts = [f"{row['number']}\u2002{look.shorten(row['name'])}" for row in trials]
    wanted = 0.52 * layout.small * (2 + max(map(len, texts)))
    columns = max(1, min(len(texts), int((layout.width + 10) / wanted)))
    lines = math.ceil(len(texts) / columns)
    data = [
        {"column": at // lines, "line": at % lines, "text": text, "Paradigm": row["Paradigm"]}
        for at, (text, row) in enumerate(zip(texts, trials, strict=True))
    ]
    names = look.plot(data, chosen).mark_text(align="left", baseline="top", fontSize=layout.small, color=look.INK)
    key = names.encode(
        x=alt.X("column:Q", axis=None, scale=alt.Scale(domain=[0, columns], nice=False)),
        y=alt.Y("line:Q", axis=None, scale=alt.Scale(domain=[lines, 0], nice=False)),
        text="text:N",
    )
    return look.concat("vconcat", [chart, key.properties(width=layout.width, height=lines * KEY_LINE_HEIGHT)], spacing=8)
