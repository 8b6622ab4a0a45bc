"""How charts look: one fixed colour per paradigm, type, sizes, themes; and what every chart does with its rows.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart (the yellow darkened for white pages); their lightness
differs enough to survive grey print, and each paradigm has a shape of its own besides.

Not here: numbers beside points (`numbering`).
"""

from __future__ import annotations

import math
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import altair as alt

from compiler.errors import and_more
from compiler.language.charts import Theme
from compiler.text.escape import visible
from runtime.present.numbers import format_ends
from runtime.present.paradigms import PARADIGMS, Row, order_by_paradigm, paradigms_of, printed_name

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7A00")
SHAPES = ("cross", "square", "circle", "triangle-up", "diamond", "triangle-down", "stroke", "triangle-right")
DASHES = ([1, 0], [8, 3], [3, 2], [10, 2, 2, 2], [5, 5], [14, 3], [1, 3], [6, 2, 1, 2])
"""Of lines, which have no shape to tell them apart in grey."""
LOOKS = dict(zip(PARADIGMS, zip(COLORS, SHAPES, DASHES, strict=True), strict=True))
FURTHER_LOOKS = (
    ("#767676", "stroke", [1, 1]),
    ("#882255", "triangle-left", [4, 1]),
    ("#332288", "wedge", [12, 4]),
    ("#44AA99", "arrow", [2, 6]),
)
"""Colour, shape and dashes of paradigms beyond the fixed ones: each keeps its own, by its name."""
MAX_DASHED_TRIALS = 6
"""Trials whose dashes can be told apart."""

AXIS_WIDTH = 45
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

PANEL_WIDTH = {"paper": 235, "screen": 560}
"""Points. For paper such that a chart of one panel fills a column (240 points) at three quarters of its size, and one of two
panels a page (490) at nine tenths: labels of 10 points are printed at 7 to 9."""
PANEL_HEIGHT = {"paper": 185, "screen": 360}
MARK_LETTERS = {"paper": 8.5, "screen": 9.5}
"""Points of the letters beside marks."""
LETTER_WIDTH = 4.7
"""Points of a letter at 10 points, on average."""
PERCENT = "format(100 * datum.value, '~g') + ' %'"
"""Label of an axis whose values are shares; also right on a log axis, where `%` would round 0.1 % to 0."""


def identify(rows: Iterable[Row]) -> list[Row]:
    """Rows with the paradigm's printed name in `Paradigm`, in `name` one that tells these trials apart, in `key` a unique one, and
    a `number` from 1 for each trial, paradigm by paradigm."""
    rows = list(rows)
    origins = {row.get("origin") for row in rows}
    several = len({(row.get("study"), row.get("profile")) for row in rows}) > 1
    parts = [*(["origin"] if len(origins) > 1 else []), *(["study", "profile"] if several else [])]
    repeated = any(row.get("replicate") for row in rows)
    numbers: dict[str, int] = {}
    for row in order_by_paradigm(rows):
        numbers.setdefault(_key(row), len(numbers) + 1)
    identified = []
    for row in rows:
        study = [":".join(str(row[part]) for part in parts if row.get(part))] if parts else []
        replicate = [f"#{row['replicate']}"] if repeated and row.get("replicate") is not None else []
        name = " ".join([*study, *str(row["label"]).split(), *replicate])
        known = {"Paradigm": printed_name(row["paradigm"]), "name": name, "key": _key(row), "number": numbers[_key(row)]}
        identified.append(row | known)
    return identified


def _key(row: Row) -> str:
    return " ".join(str(row[part]) for part in ("origin", "study", "profile", "trial") if part in row)


def drawable(row: Row) -> Row:
    """The row with None for what is no finite number (NaN is no JSON), and texts without letters that are none of XML."""

    def shown(value: Any) -> Any:
        if isinstance(value, str):
            return visible(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: shown(value) for key, value in row.items()}


def _looks_of(paradigm: str) -> tuple[str, str, list[int]]:
    return LOOKS.get(paradigm) or FURTHER_LOOKS[zlib.crc32(paradigm.encode()) % len(FURTHER_LOOKS)]


def color_of(paradigm: str) -> str:
    """Its one colour."""
    return _looks_of(paradigm)[0]


def _scale(rows: Sequence[Row], look: int) -> alt.Scale:
    """From paradigms that occur to their colour (0), shape (1) or dashes (2)."""
    names = paradigms_of(rows)
    return alt.Scale(domain=[printed_name(name) for name in names], range=[_looks_of(name)[look] for name in names])


def color(rows: Sequence[Row], theme: Theme = "paper", lines: bool = False) -> alt.Color:
    """The paradigm's colour; the legend lists those that occur, as strokes where the chart draws `lines`."""
    return alt.Color("Paradigm:N", scale=_scale(rows, 0), legend=_legend(theme, lines))


def shape(rows: Sequence[Row], theme: Theme = "paper") -> alt.Shape:
    """The paradigm's shape, in one legend with its colour."""
    return alt.Shape("Paradigm:N", scale=_scale(rows, 1), legend=_legend(theme))


def dash(rows: Sequence[Row], theme: Theme = "paper") -> Any:
    """The paradigm's dashes, in one legend with its colour; none where so many lines would make them a tangle."""
    if count_trials(rows) > MAX_DASHED_TRIALS:
        return alt.value(DASHES[0])
    return alt.StrokeDash("Paradigm:N", scale=_scale(rows, 2), legend=_legend(theme, lines=True))


def _legend(theme: Theme, lines: bool = False) -> alt.Legend:
    legend = alt.Legend(title=None, orient="top", columns=3 if theme == "paper" else 7, symbolOpacity=1, offset=10)
    if lines:
        legend.symbolType, legend.symbolStrokeWidth, legend.symbolSize = "stroke", 2, 200
    return legend


def count_trials(rows: Iterable[Row]) -> int:
    return len({row["key"] for row in rows})


def choose_paradigm() -> alt.Parameter:
    """Clicking a paradigm in the legend keeps only its marks. Every chart has it by this name, so that a page can link them."""
    return alt.selection_point(name="chosen", fields=["Paradigm"], bind="legend")


def arrange(
    panels: Sequence[Any], columns: int, spacing: float, between: float = 24, bounds: Literal["full", "flush"] = "full"
) -> Any:
    """Panels in rows, `spacing` beside and `between` below each other. A layer coloured by paradigm must bear the selection.

    `spacing` is between what panels draw (`full`) or between the panels alone (`flush`), which keeps columns even.

    Rows of rows instead of `concat`, through which Vega-Lite 6.4 does not carry a selection down to its layer.
    """
    rows = [alt.hconcat(*panels[at : at + columns], spacing=spacing, bounds=bounds) for at in range(0, len(panels), columns)]
    return rows[0] if len(rows) == 1 else alt.vconcat(*rows, spacing=between)


def plot(rows: Sequence[Row], chosen: alt.Parameter | None = None) -> alt.Chart:
    """A chart of these rows, of the `chosen` paradigms alone where it is given."""
    chart = alt.Chart(alt.Data(values=rows))
    return chart if chosen is None else chart.transform_filter(chosen)


def share_axis(channel: Any, field: str, title: str | None, domain: Sequence[float], ticks: int = 6) -> Any:
    """A linear axis in percent."""
    axis = alt.Axis(labelExpr=PERCENT, tickCount=ticks)
    return channel(f"{field}:Q", title=title, axis=axis, scale=alt.Scale(domain=list(domain), nice=False))


def end(channel: Any, field: str) -> Any:
    """The same axis and scale for the end of an interval: a scale that only some layers name would be merged with a default."""
    other = channel.copy()
    other.shorthand = f"{field}:Q"
    return other


def draw_intervals(points: alt.Chart, x: Any, y: Any, color: Any, across: str = "", upright: str = "") -> list[Any]:
    """Bars between `FIELD_low` and `FIELD_high` of the figures that run `across` and `upright`."""
    bars = points.mark_rule(strokeWidth=1.2, opacity=0.65)
    layers = [bars.encode(end(x, f"{across}_low"), y, alt.X2(f"{across}_high:Q"), color=color)] if across else []
    return [*layers, bars.encode(x, end(y, f"{upright}_low"), alt.Y2(f"{upright}_high:Q"), color=color)] if upright else layers


def draw_points(points: alt.Chart, hollow: str, size: int, **encodings: Any) -> list[Any]:
    """Marks, hollow where the expression `hollow` holds."""
    return [
        points.transform_filter(which).mark_point(size=size, opacity=1, filled=filled).encode(**encodings)
        for which, filled in ((f"!({hollow})", True), (hollow, False))
    ]


def tooltip(*fields: tuple[str, ...], first: tuple[str, str] = ("name:N", "trial")) -> list[alt.Tooltip]:
    """(field, title, format) each, the format where it has one."""
    return [alt.Tooltip(field, title=title, format=spec[0] if spec else alt.Undefined) for field, title, *spec in (first, *fields)]


def shorten(text: str, letters: int = 34) -> str:
    """Text for a place with little room; the tooltip has the whole."""
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"


def format_percent(value: float) -> str:
    return f"{100 * value:g}\u00a0%"


def pad_domain(shares: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that need not begin at zero: a little beyond the least and the largest share."""
    margin = max(0.005, 0.06 * (max(shares) - min(shares)))
    return max(0.0, min(shares) - margin), min(1.0, max(shares) + margin)


def figures_of(rows: Iterable[Row], name: str) -> list[float]:
    """The figure and the ends of its interval in all rows, where they are known."""
    return [value for row in rows for end in ("", "_low", "_high") if (value := row[name + end]) is not None]


def describe_leakage(rows: Sequence[Row]) -> str:
    """What leakage is, in the field's words: the true-positive rate at the one declared false-positive rate, if it is one."""
    rate, *others = {row.get("fpr") for row in rows}
    return f"TPR at {'the declared' if others or rate is None else format_percent(rate)} FPR"


def log_floor(values: Iterable[float | None]) -> float:
    """Where a log axis draws its zeros: half of the least value above zero (1 if there is none)."""
    return min((value for value in values if value is not None and value > 0), default=2.0) / 2


def interval_of(row: Row, name: str, spec: str = ".3f") -> str:
    """The figure's interval as a tooltip shows it."""
    return format_ends(row.get(f"{name}_low"), row.get(f"{name}_high"), spec)


def panel_size(theme: Theme, wide: float = 1.0, high: float = 1.0) -> tuple[float, float]:
    """Width and height of the plotting area."""
    return round(PANEL_WIDTH[theme] * wide), round(PANEL_HEIGHT[theme] * high)


def configure(chart: Any, theme: Theme) -> Any:
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


def draw_nothing(message: str, theme: Theme) -> alt.Chart:
    """A chart that says why it shows nothing."""
    lines = textwrap.wrap(message, int(PANEL_WIDTH[theme] / 6))  # points of a letter at 12 points
    text = plot([{"message": "\n".join(lines)}]).mark_text(fontSize=12, color=SOFT, lineBreak="\n")
    return text.encode(text="message:N").properties(width=PANEL_WIDTH[theme], height=40 + 20 * len(lines), description=message)


def describe_conditions(rows: Sequence[Row], scores: bool = True) -> str:
    """What a figure was measured on: data, shadows, canaries, and n where it is read from `scores` of non-members."""

    def describe(name: str) -> str:
        values = list(dict.fromkeys(value for row in rows if (value := row.get(name)) is not None))
        if values and all(isinstance(value, int) for value in values):
            return format_range(values, "–")
        return "several" if values[1:] else str(values[0]) if values else "no"

    n = f", {describe('leakage_n')} non-member scores" if scores else ""
    return f"{describe('data')}, {describe('shadows')} shadows, {describe('canaries')} canaries{n}"


def format_range(counts: Iterable[int], to: str = " to ") -> str:
    """The least and the largest of the counts, or the one that they are."""
    counts = sorted(counts)
    return to.join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))


def name_unresolved(rows: Iterable[Row], *fields: str) -> str:
    """A sentence on the trials that a chart cannot show since one of `fields` has no value; "" when there are none."""
    names = dict.fromkeys(shorten(row["name"], 24) for row in rows if any(row.get(field) is None for field in fields))
    return f"not shown, no resolvable value: {and_more(list(names), 3)}" if names else ""


def make_title(title: str, *lines: str, width: float = 330) -> alt.TitleParams:
    """A title over lines of conditions; empty lines are left out, long ones wrapped to the `width` of panels beside their axis."""
    letters = int((width + AXIS_WIDTH) / LETTER_WIDTH)
    wrapped = [part for line in lines for part in textwrap.wrap(line, letters, break_long_words=False, break_on_hyphens=False)]
    return alt.TitleParams(title, subtitle=wrapped)
