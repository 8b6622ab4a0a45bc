"""How charts look: one fixed colour per paradigm, type, sizes, themes.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart; their lightness differs enough to survive grey
print, and each paradigm has a shape of its own besides.
"""

from __future__ import annotations

from typing import Any, Literal

import altair as alt

Theme = Literal["paper", "screen"]

PARADIGMS = ("undefended", "dp_sgd", "coreset", "distillation", "data_free_kd", "diffusion", "imported")
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("cross", "square", "circle", "triangle-up", "diamond", "triangle-down", "stroke")
NAMES = {
    "undefended": "Undefended",
    "dp_sgd": "DP-SGD",
    "coreset": "Coreset",
    "distillation": "Distillation",
    "data_free_kd": "Data-free KD",
    "diffusion": "Diffusion",
    "imported": "Imported",
}
FONT = "Inter, 'Helvetica Neue', Arial, sans-serif"

WIDTH = {"paper": 330, "screen": 560}
"""Points: a column of a paper, a comfortable screen."""
HEIGHT = {"paper": 240, "screen": 380}


def named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the paradigm's printed name in `Paradigm`."""
    return [{**row, "Paradigm": NAMES.get(row["paradigm"], row["paradigm"])} for row in rows]


def color(rows: list[dict[str, Any]], legend: bool = True) -> alt.Color:
    """The paradigm's colour; the legend lists those that occur."""
    there = present(rows)
    scale = alt.Scale(domain=[NAMES[name] for name in there], range=[COLORS[PARADIGMS.index(name)] for name in there])
    return alt.Color("Paradigm:N", scale=scale, legend=alt.Legend(title=None, orient="top") if legend else None)


def shape(rows: list[dict[str, Any]]) -> alt.Shape:
    there = present(rows)
    scale = alt.Scale(domain=[NAMES[name] for name in there], range=[SHAPES[PARADIGMS.index(name)] for name in there])
    return alt.Shape("Paradigm:N", scale=scale, legend=alt.Legend(title=None, orient="top"))


def present(rows: list[dict[str, Any]]) -> list[str]:
    found = {row["paradigm"] for row in rows}
    return [name for name in PARADIGMS if name in found]


def short(label: str) -> str:
    """A label for a point: the arm's name and coordinates, without underscores."""
    return label.replace("_", " ")


def percent(value: float) -> str:
    return f"{100 * value:g} %"


def dressed(chart: Any, theme: Theme) -> Any:
    """The chart with type, grid and background of the theme."""
    ink, faint = "#1b1b1b", "#e4e4e4"
    return (
        chart.configure(font=FONT, background="white", padding=8)
        .configure_axis(
            gridColor=faint,
            domainColor="#888",
            tickColor="#888",
            labelColor=ink,
            titleColor=ink,
            titleFontWeight="normal",
            labelFontSize=10,
            titleFontSize=11,
            gridOpacity=0.7,
        )
        .configure_title(fontSize=12, anchor="start", color=ink, subtitleColor="#666", subtitleFontSize=10, offset=8)
        .configure_legend(labelFontSize=10, labelColor=ink, symbolSize=60)
        .configure_view(stroke=None)
    )


def empty(message: str, theme: Theme) -> Any:
    """A chart that says why it shows nothing."""
    text = alt.Chart(alt.Data(values=[{"message": message}])).mark_text(fontSize=13, color="#666").encode(text="message:N")
    return dressed(text.properties(width=WIDTH[theme], height=HEIGHT[theme] / 2), theme)


def conditions(rows: list[dict[str, Any]]) -> str:
    """What a figure was measured on: data, shadows, canaries, n."""

    def one(name: str) -> str:
        values = sorted({str(row[name]) for row in rows if row.get(name) is not None})
        return values[0] if len(values) == 1 else "several"

    return f"{one('data')}, {one('shadows')} shadows, {one('canaries')} canaries, {one('leakage_n')} non-member scores"
