"""Chart: forest plot of the claims, each effect with interval and verdict. Colours of paradigms are not used."""

from __future__ import annotations

import textwrap
from typing import Any

import altair as alt

from compiler.errors import plural
from runtime.present.charts import look
from runtime.present.charts.look import Layout
from runtime.present.numbers import format_ends, format_interval
from runtime.present.paradigms import Row, verdict_of

QUERY = "SELECT * FROM claim"
MAX_LINES = 3
"""Most lines of a claim's statement."""
SHAPES = {"supported": "circle", "refuted": "cross", "undecided": "diamond"}
"""Verdict → shape. Colours are not used, since whether a verdict is good depends on the claim."""


def draw(rows: list[Row], layout: Layout) -> Any:
    """The forest plot of the claims: each claim's statement, verdict and effect as text above its effect with interval, a panel per
    unit. A claim without an effect has no such mark. `rows`: of QUERY, at least one."""
    width = layout.width + look.AXIS_WIDTH - 10
    data = [_row(row, layout.letters(width)) for row in rows]
    units = dict.fromkeys(row["unit"] for row in data)
    panels = [_panel(unit, [row for row in data if row["unit"] == unit], width, layout) for unit in units]
    n = [row["n"] for row in data if row["n"] is not None]
    title = look.make_title(
        "What was claimed",
        f"{rows[0].get('study', '')}: {plural(len(data), 'claim')}" + (f"; n = {look.format_range(n)}" if n else ""),
        "bars: intervals of the pair of trials that decides; dashed: no effect; ticks: the margin to exceed",
        layout=layout,
    )
    return look.concat("vconcat", panels, spacing=14) | {"title": title}


def _panel(unit: str, data: list[Row], width: float, layout: Layout) -> Any:
    nothing = 1.0 if unit.startswith("Ratio") else 0.0
    ends = [value for row in data for value in (row["effect"], row["low"], row["high"], *row["margins"]) if value is not None]
    low, high = min([*ends, nothing]), max([*ends, nothing])
    margin = 0.05 * (high - low or 1.0)
    x = alt.X("effect:Q", title=unit, axis=alt.Axis(tickCount=6), scale=alt.Scale(domain=[low - margin, high + margin], nice=False))
    line = layout.type + 2
    step = line * (max(row["lines"] for row in data) + 3)
    y = alt.Y("place:O", title=None, axis=None)
    for place, row in enumerate(data):
        row["place"] = place
    base = look.plot(data)
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=[*SHAPES, "other"], range=[*SHAPES.values(), "square"]), legend=None)
    tooltip = look.tooltip(
        ("effect:Q", "effect", ".3f"),
        ("interval:N", "interval"),
        ("n:Q", "n", ","),
        ("test:N", "test"),
        ("words:N", "verdict"),
        first=("statement:N", "claim"),
    )
    zero = look.plot([{"effect": nothing}]).mark_rule(color=look.LINE, strokeDash=[3, 3]).encode(x)
    margins = look.plot([{"place": row["place"], "at": at} for row in data for at in row["margins"]])
    there = base.transform_filter("isValid(datum.effect)")
    below = step / 2 - line
    text: dict[str, Any] = {"fontSize": layout.type, "lineHeight": line, "lineBreak": "\n", "baseline": "top", "color": look.INK}
    label = base.mark_text(align="left", dy=4 - step / 2, **text).encode(x=alt.XValue(0), y=y, text=alt.Text("label:N"))
    # Statements are above their marks, in the upper part of a row: beside them a narrow column would have no room for figures.
    return alt.layer(
        zero,
        margins.mark_tick(color=look.LINE, thickness=2, size=14, yOffset=below).encode(look.end(x, "at"), y),
        base.mark_rule(strokeWidth=1.4, color=look.INK, yOffset=below).encode(look.end(x, "low"), y, alt.X2("high:Q")),
        there.mark_point(filled=True, size=60, opacity=1, color=look.INK, yOffset=below).encode(x, y, shape=shape, tooltip=tooltip),
        label,
    ).properties(width=width, height=alt.Step(step))


def _row(row: Row, letters: int) -> Row:
    statement = " ".join(str(row.get("statement") or row.get("claim") or "claim").split())
    verdict = verdict_of(row)
    decided_by = str(row.get("decided_by") or row.get("metric") or "")
    margin, test = row.get("margin"), str(row.get("test") or "")
    several = test in ("dominance", "matched")  # figures, of which one decides
    other = test == "dominance" or (several and decided_by != row.get("metric"))  # a figure with another margin
    margins = [] if margin is None or other else [-margin, margin] if test == "equivalence" else [margin]
    effect = row.get("effect"), row.get("low"), row.get("high")
    shown = format_interval(*effect).replace("-", "−") or "no effect resolvable"
    by = f" by {decided_by.replace('_', ' ')}" if several and decided_by and verdict in SHAPES else ""
    lines = textwrap.wrap(statement, letters, break_on_hyphens=False, max_lines=MAX_LINES, placeholder="…")
    return {
        "label": "\n".join([*lines, f"{verdict}{by}: {shown}"]),
        "lines": len(lines),
        "statement": statement,
        "unit": _unit(test, decided_by),
        "test": " ".join(filter(None, (test, row.get("metric")))),
        **{name: row.get(name) for name in ("effect", "low", "high", "n")},
        "margins": [float(value) for value in margins],
        "verdict": verdict if verdict in SHAPES else "other",
        "words": f"{verdict}{by}",
        "interval": format_ends(*effect[1:]),
    }


def _unit(test: str, decided_by: str) -> str:
    """Title of the axis on which a claim's effect is drawn: a rank correlation, a ratio (tests of ratios, and where `decided_by` is
    `cost`), else a difference, in seconds where `decided_by` is `seconds`."""
    if test == "correlation":
        return "Rank correlation"
    if test == "ratio" or decided_by == "cost":
        return "Ratio, left over right"
    return "Difference in seconds" if decided_by == "seconds" else "Difference, left minus right"
