"""Numbers beside points, and the key that gives each number its trial's name: names themselves would cover each other.

Not here: what the names are (`look.identify`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import altair as alt

from compiler.language.charts import Theme
from runtime.present.charts import look
from runtime.present.paradigms import Row

MAX_NUMBERED_TRIALS = 48
"""Beyond, numbers would cover the points; the tooltip names each."""
NUMBER_DISTANCE = 10.0
"""Points from a mark to the middle of its number."""
CLEARANCE = 12.0
"""Points between the middles of two numbers that do not touch."""
KEY_LINE_HEIGHT = 11
"""Points."""
DIRECTIONS = tuple(eighth * math.pi / 4 for eighth in (1, 7, 3, 5, 0, 4, 2, 6))
"""In order of preference: oblique first, since intervals leave a mark upright and across."""


def place_numbers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """For each point (points of the plotting area, y downwards) the offset of its number's middle: of eight directions the one
    farthest from every other point and number, or the first that is far enough."""
    numbers: list[tuple[float, float]] = []
    for x, y in points:
        others = [point for point in points if point != (x, y)] + numbers
        middles = [(x + NUMBER_DISTANCE * math.cos(angle), y - NUMBER_DISTANCE * math.sin(angle)) for angle in DIRECTIONS]
        numbers.append(max(middles, key=partial(_clearance, others=others)))
    return [(at[0] - x, at[1] - y) for at, (x, y) in zip(numbers, points, strict=True)]


def _clearance(at: tuple[float, float], others: Sequence[tuple[float, float]]) -> float:
    return min([CLEARANCE, *(math.dist(at, other) for other in others)])


def number(rows: list[Row], points: Sequence[tuple[float, float]]) -> list[Row]:
    """The rows with `dx` and `dy`, the offset of their number; as they are where there are too many."""
    if len(rows) > MAX_NUMBERED_TRIALS:
        return rows
    return [row | {"dx": round(dx, 1), "dy": round(dy, 1)} for row, (dx, dy) in zip(rows, place_numbers(points), strict=True)]


def draw_numbers(points: alt.Chart, x: Any, y: Any, theme: Theme) -> list[Any]:
    """The numbers of rows that `number` gave offsets, over paper of their own, since intervals pass behind."""
    halo: dict[str, Any] = {"stroke": look.PAPER, "strokeWidth": 3, "strokeOpacity": 0.9, "strokeJoin": "round"}
    style: dict[str, Any] = {"fontSize": look.MARK_LETTERS[theme], "color": look.INK, "align": "center", "baseline": "middle"}
    style |= {"dx": alt.expr("datum.dx"), "dy": alt.expr("datum.dy")}
    numbered = points.transform_filter("isValid(datum.dx)")
    return [numbered.mark_text(**(style | under)).encode(x, y, text="number:Q") for under in (halo, {})]


def add_key(chart: Any, rows: Sequence[Row], width: float, theme: Theme, chosen: Any) -> Any:
    """The chart over the names of its numbered trials, in as many columns as fit in `width`; the chart alone for too many."""
    trials = sorted({row["number"]: row for row in rows}.values(), key=lambda row: row["number"])
    if len(trials) > MAX_NUMBERED_TRIALS:
        return chart
    texts = [f"{row['number']}\u2002{look.shorten(row['name'])}" for row in trials]
    column_width = 0.5 * look.MARK_LETTERS[theme] * (2 + max(map(len, texts)))  # a letter is 0.43 of its height wide on average
    columns = max(1, min(len(texts), int((width + look.AXIS_WIDTH) / column_width)))
    lines = math.ceil(len(texts) / columns)
    data = [
        {"column": at // lines, "line": at % lines, "text": text, "Paradigm": row["Paradigm"]}
        for at, (text, row) in enumerate(zip(texts, trials, strict=True))
    ]
    key = look.plot(data, chosen)
    names = key.mark_text(align="left", baseline="top", fontSize=look.MARK_LETTERS[theme], color=look.INK).encode(
        x=alt.X("column:Q", axis=None, scale=alt.Scale(domain=[0, columns], nice=False)),
        y=alt.Y("line:Q", axis=None, scale=alt.Scale(domain=[lines, 0], nice=False)),
        text="text:N",
    )
    return alt.vconcat(chart, names.properties(width=round(columns * column_width), height=lines * KEY_LINE_HEIGHT), spacing=8)
