"""How charts look: one fixed colour per paradigm, type, sizes, themes; and what every chart does with its rows.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart (the yellow darkened for white pages); their lightness
differs enough to survive grey print, and each paradigm has a shape of its own besides. Not here: where labels go (`labels`).
"""

from __future__ import annotations

import math
import textwrap
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import altair as alt

from runtime.present.charts.labels import Label, led
from runtime.present.paradigms import PARADIGMS, present, printed

Theme = Literal["paper", "screen"]
Row = dict[str, Any]

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7A00")
SHAPES = ("cross", "square", "circle", "triangle-up", "diamond", "triangle-down", "stroke", "triangle-right")
DASHES = ([1, 0], [8, 3], [3, 2], [10, 2, 2, 2], [5, 5], [14, 3], [1, 3], [6, 2, 1, 2])
"""Of lines, which have no shape to tell them apart in grey."""
DASHED = 6
"""Trials whose dashes can be told apart."""
FURTHER = (("#767676", "stroke", [1, 1]), ("#882255", "triangle-left", [4, 1]), ("#332288", "wedge", [12, 4]),
           ("#44AA99", "arrow", [2, 6]))
"""Colour, shape and dashes of paradigms beyond the fixed ones: each keeps its own, by its name."""

AXIS = 45
"""Points left of a panel that its axis of shares takes."""
INK, SOFT, LINE, GRID, PAPER = "#1b1b1b", "#5c5c5c", "#8a8a8a", "#e4e4e4", "#ffffff"
DARK = {
    INK: "#ececec",
    SOFT: "#b4b4b4",
    LINE: "#8f8f8f",
    GRID: "#3a3d42",
    PAPER: "#17191c",
    "#000000": "#ffffff",
    "#0072B2": "#4ba6e8",
    "#D55E00": "#ff8a3d",
    "#009E73": "#2cc79a",
    "#CC79A7": "#e5a0c6",
    "#E69F00": "#ffc24d",
    "#56B4E9": "#8fd0f7",
    "#8C7A00": "#e3d25a",
    "#767676": "#a3a3a3",
    "#882255": "#d06a9c",
    "#332288": "#9b8cf0",
    "#44AA99": "#6fd0c0",
}
"""What each colour becomes on a dark page; the report switches between the two without drawing again."""
FONT = "Inter, 'Helvetica Neue', Arial, sans-serif"

WIDTH = {"paper": 235, "screen": 560}
"""Points. For paper such that a chart of one panel fills a column (240 points) at three quarters of its size, and one of two
panels a page (490) at nine tenths: labels of 10 points are printed at 7 to 9."""
HEIGHT = {"paper": 185, "screen": 360}
SMALL = {"paper": 8.5, "screen": 9.5}
"""Points of the letters beside marks."""


def named(rows: Iterable[Row]) -> list[Row]:
    """Rows with the paradigm's printed name in `Paradigm`, in `name` one that tells these trials apart, in `key` a unique one."""
    rows = list(rows)
    studies = {(row.get("study"), row.get("profile")) for row in rows}
    repeated = any(row.get("replicate") for row in rows)
    named = []
    for row in rows:
        study = ":".join(str(part) for part in (row.get("study"), row.get("profile")) if part) if len(studies) > 1 else ""
        replicate = f"#{row['replicate']}" if repeated and row.get("replicate") is not None else ""
        name = " ".join(part for part in (study, *str(row["label"]).split(), replicate) if part)
        key = " ".join(str(row.get(part)) for part in ("study", "profile", "trial"))
        named.append({**row, "Paradigm": printed(row["paradigm"]), "name": name, "key": key})
    return named


def finite(row: Row) -> Row:
    """The row with None for what is no finite number: NaN would be written as a bare token, which is not JSON."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def paradigms(rows: Sequence[Row]) -> alt.Scale:
    """From paradigms that occur to their colours."""
    domain = {printed(name): _looks(name)[0] for name in present(rows)}
    return alt.Scale(domain=list(domain), range=list(domain.values()))


def color(rows: Sequence[Row], theme: Theme = "paper", lines: bool = False) -> alt.Color:
    """The paradigm's colour; the legend lists those that occur, as strokes where the chart draws `lines`."""
    return alt.Color("Paradigm:N", scale=paradigms(rows), legend=_legend(theme, lines))


def shape(rows: Sequence[Row], theme: Theme = "paper") -> alt.Shape:
    """The paradigm's shape, in one legend with its colour."""
    domain = {printed(name): _looks(name)[1] for name in present(rows)}
    scale = alt.Scale(domain=list(domain), range=list(domain.values()))
    return alt.Shape("Paradigm:N", scale=scale, legend=_legend(theme))


def few(rows: Iterable[Row], most: int) -> bool:
    """Whether there are so few trials that each can be told apart."""
    return len({row["key"] for row in rows}) <= most


def dash(rows: Sequence[Row], theme: Theme = "paper") -> Any:
    """The paradigm's dashes, in one legend with its colour; none where more lines than `DASHED` would make them a tangle."""
    if not few(rows, DASHED):
        return alt.value(DASHES[0])
    domain = {printed(name): _looks(name)[2] for name in present(rows)}
    scale = alt.Scale(domain=list(domain), range=list(domain.values()))
    return alt.StrokeDash("Paradigm:N", scale=scale, legend=_legend(theme, lines=True))


def _legend(theme: Theme, lines: bool = False) -> alt.Legend:
    legend = alt.Legend(title=None, orient="top", columns=3 if theme == "paper" else 7, symbolOpacity=1, offset=10)
    if lines:
        legend.symbolType, legend.symbolStrokeWidth, legend.symbolSize = "stroke", 2, 200
    return legend


def color_of(paradigm: str) -> str:
    """Its one colour."""
    return _looks(paradigm)[0]


def _looks(paradigm: str) -> tuple[str, str, list[int]]:
    if paradigm not in PARADIGMS:
        return FURTHER[zlib.crc32(paradigm.encode()) % len(FURTHER)]
    place = PARADIGMS.index(paradigm)
    return COLORS[place], SHAPES[place], DASHES[place]


def choice() -> alt.Parameter:
    """Clicking a paradigm in the legend keeps only its marks. Every chart has it by this name, so that a page can link them."""
    return alt.selection_point(name="chosen", fields=["Paradigm"], bind="legend")


def grid(
    panels: Sequence[Any], columns: int, spacing: float, between: float = 24, bounds: Literal["full", "flush"] = "full"
) -> Any:
    """Panels in rows, `spacing` beside and `between` below each other. A layer coloured by paradigm must bear the `choice`.

    `spacing` is between what panels draw (`full`) or between the panels alone (`flush`), which keeps columns even.

    Rows of rows instead of `concat`, through which Vega-Lite 6.4 does not carry a selection down to its layer.
    """
    rows = [alt.hconcat(*panels[at : at + columns], spacing=spacing, bounds=bounds) for at in range(0, len(panels), columns)]
    return rows[0] if len(rows) == 1 else alt.vconcat(*rows, spacing=between)


def short(text: str, widest: int = 34) -> str:
    """Text for a place with little room; the tooltip has the whole."""
    return text if len(text) <= widest else f"{text[: widest - 1].rstrip()}…"


def percent(value: float) -> str:
    return f"{100 * value:g}\u00a0%"


def around(shares: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that need not begin at zero: a little beyond the least and the largest share."""
    margin = max(0.005, 0.06 * (max(shares) - min(shares)))
    return max(0.0, min(shares) - margin), min(1.0, max(shares) + margin)


def rate(rows: Sequence[Row]) -> str:
    """What leakage is, in the field's words: the true-positive rate at the one declared false-positive rate, if it is one."""
    rate, *others = {row.get("fpr") for row in rows}
    return f"TPR at {'the declared' if others or rate is None else percent(rate)} FPR"


PERCENT = "format(100 * datum.value, '~g') + ' %'"
"""Label of an axis whose values are shares; also right on a log axis, where `%` would round 0.1 % to 0."""


def floor_of(values: Iterable[float | None]) -> float:
    """Where a log axis draws its zeros: half of the least value above zero (1 if there is none)."""
    return min((value for value in values if value is not None and value > 0), default=2.0) / 2


def interval(row: Row, name: str, digits: int = 3) -> str:
    """The figure's interval as a tooltip shows it."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return "none" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def beside(points: alt.Chart, theme: Theme, **halo: Any) -> alt.Chart:
    """Names at the places that `labels.placed` found for them: fields `dx`, `dy`, `align`."""
    return points.transform_filter("isValid(datum.align)").mark_text(
        fontSize=SMALL[theme],
        color=INK,
        dx=alt.expr("datum.dx"),
        dy=alt.expr("datum.dy"),
        align=alt.expr("datum.align"),
        baseline="middle",
        **halo,
    )


def place(label: Label, name: str, theme: Theme) -> Row:
    """The fields by which `beside` and `leaders` draw a name."""
    line = led(label, name, SMALL[theme])
    return {"shown": name, "dx": label.dx, "dy": label.dy, "align": label.align} | ({"lead": line} if line else {})


def beneath(points: alt.Chart, theme: Theme) -> alt.Chart:
    """The paper under names that stand on lines."""
    return beside(points, theme, stroke=PAPER, strokeWidth=3, strokeOpacity=0.9, strokeJoin="round")


def leaders(points: alt.Chart) -> alt.Chart:
    """Lines to the names that stand apart from their points: field `lead`, a path that `labels.led` made."""
    lines = points.transform_filter("isValid(datum.lead)")
    # A symbol of size 4 is drawn at the scale of its path. No encoding: it would share the paradigms' shapes and legend.
    return lines.mark_point(shape=alt.expr("datum.lead"), size=4, filled=False, color=LINE, strokeWidth=0.7, opacity=1)


def end(channel: Any, field: str) -> Any:
    """The same axis and scale for the end of an interval: a scale that only some layers name would be merged with a default."""
    other = channel.copy()
    other.shorthand = f"{field}:Q"
    return other


def theme_size(theme: Theme, wide: float = 1.0, high: float = 1.0) -> tuple[float, float]:
    """Width and height of the plotting area."""
    return round(WIDTH[theme] * wide), round(HEIGHT[theme] * high)


def dressed(chart: Any, theme: Theme) -> Any:
    """The chart with type, grid and background of the theme."""
    larger = 0 if theme == "paper" else 1
    return (
        chart.configure(font=FONT, background=PAPER, padding=8)
        .configure_axis(
            gridColor=GRID,
            domainColor=LINE,
            tickColor=LINE,
            labelColor=INK,
            titleColor=INK,
            titleFontWeight="normal",
            labelFontSize=10 + larger,
            titleFontSize=11 + larger,
            gridOpacity=0.7,
        )
        .configure_title(
            fontSize=12 + 2 * larger,
            anchor="start",
            color=INK,
            subtitleColor=SOFT,
            subtitleFontSize=10 + larger,
            offset=10,
            frame="bounds",
        )
        .configure_legend(
            labelFontSize=10 + larger, labelColor=INK, titleColor=INK, symbolSize=60, titleFontWeight="normal", labelLimit=220
        )
        .configure_header(labelColor=INK, labelFontSize=11)
        .configure_view(stroke=None)
    )


def empty(message: str, theme: Theme) -> alt.Chart:
    """A chart that says why it shows nothing."""
    lines = textwrap.wrap(message, int(WIDTH[theme] / 6))  # points of a letter at 12 points
    text = alt.Chart(alt.Data(values=[{"message": "\n".join(lines)}])).mark_text(fontSize=12, color=SOFT, lineBreak="\n")
    return text.encode(text="message:N").properties(width=WIDTH[theme], height=40 + 20 * len(lines), description=message)


def conditions(rows: Sequence[Row], scores: bool = True) -> str:
    """What a figure was measured on: data, shadows, canaries, and n where it is read from `scores` of non-members."""

    def one(name: str) -> str:
        values = [value for value in dict.fromkeys(row.get(name) for row in rows) if value is not None]
        if len(values) > 1 and all(isinstance(value, int) for value in values):
            return f"{min(values):,}–{max(values):,}"
        return (
            (f"{values[0]:,}" if isinstance(values[0], int) else str(values[0]))
            if len(values) == 1
            else "several"
            if values
            else "no"
        )

    n = f", {one('leakage_n')} non-member scores" if scores else ""
    return f"{one('data')}, {one('shadows')} shadows, {one('canaries')} canaries{n}"


def unresolved(rows: Iterable[Row], *fields: str) -> str:
    """A sentence on the trials that a chart cannot show since one of `fields` has no value; "" when there are none."""
    gone = Counter(row["name"] for row in rows if any(row.get(field) is None for field in fields))
    if not gone:
        return ""
    names = ", ".join(short(name, 24) for name in list(gone)[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
    return f"not shown, no resolvable value: {names}"


def titled(title: str, *lines: str, width: float = 330) -> alt.TitleParams:
    """A title over lines of conditions; empty lines are left out, long ones wrapped to the `width` of panels beside their axis."""
    widest = int((width + AXIS) / 4.7)  # points of a letter at 10 points, on average
    wrapped: list[str] = []
    for line in filter(None, lines):
        words, current = line.split(" "), ""
        for word in words:
            if current and len(current) + 1 + len(word) > widest:
                wrapped.append(current)
                current = word
            else:
                current = f"{current} {word}".strip()
        wrapped.append(current)
    return alt.TitleParams(title, subtitle=wrapped)
