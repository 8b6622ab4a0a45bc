"""Style of charts: a fixed colour and shape per paradigm, fonts, sizes, layouts; and shared parts of charts.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart (the yellow darkened for white pages); their lightness
differs enough to survive grey print, and each paradigm has a shape of its own besides.

Not here: points with intervals and their numbers (`scatter`).
"""

from __future__ import annotations

import json
import math
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from compiler.errors import and_more
from compiler.text.escape import visible
from runtime.present.numbers import format_ends
from runtime.present.paradigms import PARADIGMS, Row, doubts_of, order_by_paradigm, paradigms_of, printed_name

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7A00", "#6b6b6b")
CROSSED = "M-1,-0.6L-0.6,-1L0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4L-0.6,1L-1,0.6L-0.4,0Z"
"""Shape of controls: the cross of undefended training, rotated by 45 degrees."""
SHAPES = ("cross", "square", "circle", "triangle-up", "diamond", "triangle-down", "stroke", "triangle-right", CROSSED)
LOOKS = dict(zip(PARADIGMS, zip(COLORS, SHAPES, strict=True), strict=True))
FURTHER_LOOKS = (("#767676", "stroke"), ("#882255", "triangle-left"), ("#332288", "wedge"), ("#44AA99", "arrow"))
"""Colours and shapes of plug-ins' paradigms, chosen by the name."""
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2])
"""Dashes of the lines of a panel, to distinguish them without colours."""

AXIS_WIDTH = 45
"""Width in points of a vertical axis of shares."""
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
    "#6b6b6b": "#b0b0b0",
    "#882255": "#d06a9c",
    "#332288": "#9b8cf0",
    "#44AA99": "#6fd0c0",
}
"""Colour → colour on dark pages; the report switches between both without drawing again."""
FONT = "Inter, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Layout:
    """Sizes, in points, for one use of charts."""

    width: int
    """Width of the plotting area of a single panel; panels side by side share it with the axes between them."""
    height: int
    type: float
    """Font size of labels; texts beside marks are half a point smaller, titles one or two larger."""
    across: int
    """Most panels side by side."""

    def panel(self, beside: int = 1, high: float = 1.0) -> tuple[float, float]:
        """Width and height, in points, of the plotting area of each of `beside` panels, at most `across` of which are in a row.

        The panels of a row and the axes between them are together as wide as the layout; the height is `high` times the layout's.
        """
        row = min(beside, self.across)
        return round((self.width - (row - 1) * (AXIS_WIDTH + 12)) / row), round(self.height * high)

    @property
    def small(self) -> float:
        """Font size, in points, of texts beside marks."""
        return self.type - 0.5

    def letters(self, points: float) -> int:
        """Number of letters of a label that fit into a width in points."""
        return int(points / (0.5 * self.type))


LAYOUTS = {
    "column": Layout(width=215, height=185, type=9, across=1),
    "page": Layout(width=480, height=230, type=9.5, across=2),
    "screen": Layout(width=640, height=380, type=11.5, across=2),
}
"""A column of a paper is 3.3 inches (238 points) wide, a page 6.8 (490); charts are drawn wider, and printed at about 85 %."""
PERCENT = "format(100 * datum.value, '~g') + ' %'"
"""Label of an axis whose values are shares; also right on a log axis, where `%` would round 0.1 % to 0."""


def identify(rows: Iterable[Row]) -> list[Row]:
    """Copies of the rows, in the same order, with four more fields. Controls get the paradigm `control`, the last one built in.

    `Paradigm`: the paradigm's printed name. `name`: the trial's label, with its origin, study and profile only where the rows have
    several, its replicate only where one is not 0, and `(control)` for a control. `key`: a name that no other trial has. `number`:
    the trial's number, from 1 in the order of paradigms; the rows of a trial have one `key` and `number`.
    """
    rows = [row | {"paradigm": "control"} if row.get("control") else row for row in rows]
    several = [part for part in ("origin", "study", "profile") if len({row.get(part) for row in rows}) > 1]
    repeated = any(row.get("replicate") for row in rows)
    numbers: dict[str, int] = {}
    for row in order_by_paradigm(rows):
        numbers.setdefault(_key(row), len(numbers) + 1)
    identified = []
    for row in rows:
        study = ":".join(str(row[part]) for part in several if row.get(part))
        replicate = f"#{row['replicate']}" if repeated and row.get("replicate") is not None else ""
        control = "(control)" if row.get("control") else ""
        name = " ".join([*study.split(), *str(row["label"]).split(), *replicate.split(), *control.split()])
        known = {"Paradigm": printed_name(row["paradigm"]), "name": name, "key": _key(row), "number": numbers[_key(row)]}
        identified.append(row | known)
    return identified


def _key(row: Row) -> str:
    return " ".join(str(row[part]) for part in ("origin", "study", "profile", "trial") if part in row)


def drawable(row: Row) -> Row:
    """A copy of the row with None for numbers that are not finite (JSON has none), and in texts escape codes for control characters
    other than tabs and newlines; values within lists are unchanged."""

    def shown(value: Any) -> Any:
        if isinstance(value, str):
            return visible(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: shown(value) for key, value in row.items()}


def name_doubtful(rows: Iterable[Row]) -> list[str]:
    """For each kind of doubt, a line that names the trials (three, and how many more), whose marks are hollow."""
    named: dict[str, dict[str, None]] = {}
    for row in rows:
        if doubt := doubts_of(row):
            named.setdefault(doubt, {})[shorten(row["name"], 24)] = None
    return [f"hollow: {and_more(list(names), 3)} ({doubt})" for doubt, names in named.items()]


def _looks_of(paradigm: str) -> tuple[str, str]:
    return LOOKS.get(paradigm) or FURTHER_LOOKS[zlib.crc32(paradigm.encode()) % len(FURTHER_LOOKS)]


def color_of(paradigm: str) -> str:
    """The colour of a paradigm as `#rrggbb`; one that is not built in has one of FURTHER_LOOKS, by a hash of its name."""
    return _looks_of(paradigm)[0]


def _scale(rows: Sequence[Row], look: int) -> alt.Scale:
    """The scale from paradigms of the rows to colours (`look` 0) or shapes (1)."""
    names = paradigms_of(rows)
    return alt.Scale(domain=[printed_name(name) for name in names], range=[_looks_of(name)[look] for name in names])


def color(rows: Sequence[Row], layout: Layout, legend: bool = True) -> alt.Color:
    """The encoding of paradigms as colours, with a legend of those that occur if `legend`."""
    return alt.Color("Paradigm:N", scale=_scale(rows, 0), legend=_legend(layout) if legend else None)


def shape(rows: Sequence[Row], layout: Layout) -> alt.Shape:
    """The encoding of paradigms as shapes, in the same legend as colours."""
    return alt.Shape("Paradigm:N", scale=_scale(rows, 1), legend=_legend(layout))


def _legend(layout: Layout) -> alt.Legend:
    return alt.Legend(title=None, orient="top", columns=3 if layout.across == 1 else 6, columnPadding=6, offset=8)


def choose_paradigm() -> alt.Parameter:
    """The selection of a paradigm by a click in the legend. It has the same name in all charts, so that a page can link them."""
    return alt.selection_point(name="chosen", fields=["Paradigm"], bind="legend")


def concat(how: Literal["hconcat", "vconcat"], parts: Sequence[Any], spacing: float = 12, bounds: str = "full") -> dict[str, Any]:
    """Concatenate charts (of Altair, or mappings) as a Vega-Lite mapping without `$schema` and `config`; their data and selections
    (one of each name) move to the whole. `spacing`, in points, is between whole charts (`bounds` `full`) or their panels (`flush`).

    Composed here and not by Altair, which copies every part for every whole, and rows of rows instead of `concat`, through which
    Vega-Lite 6.4 does not carry a selection down to its layer.
    """
    whole: dict[str, Any] = {how: [], "spacing": spacing, "bounds": bounds, "datasets": {}, "params": []}
    for part in parts:
        spec = part if isinstance(part, dict) else part.to_dict(validate=False)
        whole["datasets"] |= spec.get("datasets", {})
        for param in spec.get("params", []):  # the same selection of several parts becomes one, for the views of all
            one = next((known for known in whole["params"] if known["name"] == param["name"]), None)
            if one is None:
                whole["params"].append(dict(param))
            else:
                one["views"] = [*one["views"], *param["views"]]
        whole[how].append({name: item for name, item in spec.items() if name not in ("$schema", "config", "datasets", "params")})
    return whole


def arrange(panels: Sequence[Any], across: int, spacing: float = 12, bounds: str = "full") -> dict[str, Any]:
    """Panels (at least one) in rows of `across`, as a Vega-Lite mapping; `spacing` and `bounds`, as of `concat`, are those of a
    row."""
    rows = [concat("hconcat", panels[at : at + across], spacing, bounds) for at in range(0, len(panels), across)]
    return rows[0] if len(rows) == 1 else concat("vconcat", rows, 14)


def plot(rows: Sequence[Row], chosen: alt.Parameter | None = None) -> alt.Chart:
    """A chart of the rows (values of JSON types) without a mark, filtered by the selection `chosen`, if given.

    The rows are JSON text until the chart is whole (`charts.draw`): Altair copies them for every layer, of lists each value.
    """
    chart = alt.Chart(alt.InlineData(values=json.dumps(rows)))
    return chart if chosen is None else chart.transform_filter(chosen)


def share_axis(channel: Any, field: str, title: str | None, domain: Sequence[float], ticks: int = 5) -> Any:
    """The encoding of `field`, a share from 0 to 1, on a linear axis with labels in percent; `channel`: alt.X or alt.Y; `domain` in
    shares; about `ticks` ticks."""
    axis = alt.Axis(labelExpr=PERCENT, tickCount=ticks)
    return channel(f"{field}:Q", title=title, axis=axis, scale=alt.Scale(domain=list(domain), nice=False))


def names_axis(order: Sequence[str], letters: int) -> alt.Y:
    """The vertical encoding of the field `name` on an axis of the names `order`, from the top, as labels of at most `letters`
    letters."""
    axis = alt.Axis(labelLimit=7 * letters, labelExpr=f"truncate(datum.label, {letters})", grid=True, gridDash=[1, 3], ticks=False)
    return alt.Y("name:N", title=None, sort=list(order), scale=alt.Scale(domain=list(order)), axis=axis)


def end(channel: Any, field: str) -> Any:
    """A copy of the channel, with its axis and scale, for `field`, the end of an interval: Vega-Lite merges scales of layers with
    defaults."""
    other = channel.copy()
    other.shorthand = f"{field}:Q"
    return other


def draw_points(points: alt.Chart, area: int, **encodings: Any) -> list[Any]:
    """Two layers of point marks: filled, and hollow for rows with a `doubt`; `area` is their size unless `size` is encoded."""
    return [
        points.transform_filter(which).mark_point(size=area, opacity=1, filled=filled, strokeWidth=1.4).encode(**encodings)
        for which, filled in (("!datum.doubt", True), ("datum.doubt", False))
    ]


def tooltip(*fields: tuple[str, ...], first: tuple[str, str] = ("name:N", "trial")) -> list[alt.Tooltip]:
    """Tooltips for `first` and then `fields`, each (field, title) or (field, title, format)."""
    return [alt.Tooltip(field, title=title, format=spec[0] if spec else alt.Undefined) for field, title, *spec in (first, *fields)]


def shorten(text: str, letters: int = 34) -> str:
    """The text, cut to at most `letters` letters, of which the last is then an ellipsis."""
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"


def format_percent(value: float) -> str:
    return f"{100 * value:g}\u00a0%"


def figures_of(rows: Iterable[Row], name: str) -> list[float]:
    """Values and interval ends of a figure over all rows, without missing ones."""
    return [value for row in rows for end in ("", "_low", "_high") if (value := row[name + end]) is not None]


def describe_leakage(rows: Sequence[Row]) -> str:
    """Definition of leakage in words: TPR at the FPR of the rows, or at "the declared" FPR if they differ in it or have none. At
    least one row."""
    rate, *others = {row.get("fpr") for row in rows}
    return f"TPR at {'the declared' if others or rate is None else format_percent(rate)} FPR"


def interval_of(row: Row, name: str, spec: str = ".3f") -> str:
    """A figure's interval as text for tooltips; "no interval" without one."""
    return format_ends(row.get(f"{name}_low"), row.get(f"{name}_high"), spec)


def config(layout: Layout) -> dict[str, Any]:
    """Vega-Lite's configuration of fonts, grid and background for a layout."""
    type = layout.type
    return {
        "font": FONT,
        "background": PAPER,
        "padding": 5,
        "view": {"stroke": None},
        "axis": {
            "gridColor": GRID,
            "gridOpacity": 0.7,
            "domainColor": LINE,
            "tickColor": LINE,
            "labelColor": INK,
            "titleColor": INK,
            "titleFontWeight": "normal",
            "labelFontSize": type,
            "titleFontSize": type + 0.5,
        },
        "title": {
            "fontSize": type + 2,
            "anchor": "start",
            "color": INK,
            "subtitleColor": SOFT,
            "subtitleFontSize": type,
            "offset": 8,
            "frame": "bounds",
        },
        "legend": {
            "labelFontSize": type,
            "titleFontSize": type,
            "labelColor": INK,
            "titleColor": INK,
            "titleFontWeight": "normal",
            "symbolOpacity": 1,
            "symbolSize": 50,
            "labelLimit": 220,
        },
    }


def draw_nothing(message: str, layout: Layout) -> alt.Chart:
    """A chart of a message only, for queries without rows."""
    lines = textwrap.wrap(message, layout.letters(layout.width))
    text = plot([{"message": "\n".join(lines)}]).mark_text(fontSize=layout.type + 1, color=SOFT, lineBreak="\n")
    return text.encode(text="message:N").properties(width=layout.width, height=40 + 20 * len(lines), description=message)


def describe_conditions(rows: Sequence[Row], scores: bool = True) -> str:
    """Conditions of figures in words: study (if only one), data, numbers of shadows, groups of canaries, and with `scores` the
    number of non-member scores. Whole numbers that differ are a range, other values "several"; "no" stands for what no row has."""

    def describe(name: str) -> str:
        values = list(dict.fromkeys(value for row in rows if (value := row.get(name)) is not None))
        if values and all(isinstance(value, int) for value in values):
            return format_range(values, "–")
        return "several" if values[1:] else str(values[0]) if values else "no"

    n = f", {describe('leakage_n')} non-member scores" if scores else ""
    study = f"{describe('study')}: " if len({row.get("study") for row in rows}) == 1 else ""
    return f"{study}{describe('data')}, {describe('shadows')} shadows, {describe('canaries')} canaries{n}"


def format_range(counts: Iterable[int], to: str = " to ") -> str:
    """The smallest and largest of the counts as text, or the count if all are equal. At least one count."""
    counts = sorted(counts)
    return to.join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))


def name_unresolved(rows: Iterable[Row], *fields: str) -> str:
    """A line on trials that a chart cannot show since one of `fields` is missing, because they were not run or have no resolvable
    value; "" without any."""
    named: dict[str, dict[str, None]] = {}
    for row in rows:
        if any(row.get(field) is None for field in fields):
            why = "not run yet" if "attack" in row and row["attack"] is None else "not shown, no resolvable value"
            named.setdefault(why, {})[shorten(row["name"], 24)] = None
    return "; ".join(f"{why}: {and_more(list(names), 3)}" for why, names in named.items())


def make_title(title: str, *lines: str, layout: Layout) -> dict[str, Any]:
    """A Vega-Lite title with lines of conditions below it; empty lines are left out, long ones wrapped to the layout's width."""
    letters = layout.letters(layout.width + AXIS_WIDTH)
    wrapped = [part for line in lines for part in textwrap.wrap(line, letters, break_long_words=False, break_on_hyphens=False)]
    return {"text": title, "subtitle": wrapped}
