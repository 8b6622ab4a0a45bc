"""Forest plot of the claims: each effect with its interval, and the verdict in words. Colours of paradigms are not used here."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

import altair as alt

from compiler.errors import plural
from compiler.language.charts import Theme
from runtime.present.charts import look
from runtime.present.numbers import format_ends, format_interval
from runtime.present.paradigms import Row

QUERY = "SELECT * FROM claim"
LETTERS_PER_LINE, MAX_LINES, STATEMENT_WIDTH = 46, 3, 260
"""Letters of a claim in one line of the axis, its lines at most, and the points that they take."""
SHAPES = {"supported": "circle", "refuted": "cross", "undecided": "diamond"}
"""Whether a verdict is good news depends on the claim, so shapes tell verdicts apart and no colour judges."""


def draw(rows: list[Row], theme: Theme) -> alt.TopLevelMixin:
    """One row per claim, a panel per unit. A claim without an effect keeps its row and its verdict."""
    several = len({(row.get("study"), row.get("profile")) for row in rows}) > 1
    data = [_row(row, several) for row in rows]
    repeated = {label for label, count in Counter(row["label"] for row in data).items() if count > 1}
    for place, row in enumerate(data):
        if row["label"] in repeated:  # a row of the chart is a label
            row["label"] = f"{place + 1}. {row['label']}"
    panels = [
        _panel(unit, [row for row in data if row["unit"] == unit], theme) for unit in dict.fromkeys(row["unit"] for row in data)
    ]
    n = [row["n"] for row in data if row["n"] is not None]
    title = look.make_title(
        "What was claimed",
        f"{plural(len(data), 'claim')}, written down before the data existed" + (f"; n = {look.format_range(n)}" if n else ""),
        "bars: intervals of the pair of trials that decides; dashed: no effect; ticks: the margin to exceed",
        width=STATEMENT_WIDTH + look.panel_size(theme, 0.75)[0],
    )
    return alt.vconcat(*panels, spacing=18).properties(title=title)


def _panel(unit: str, data: list[Row], theme: Theme) -> Any:
    nothing = 1.0 if unit.startswith("Ratio") else 0.0
    ends = [value for row in data for value in (row["effect"], row["low"], row["high"], *row["margins"]) if value is not None]
    low, high = min([*ends, nothing]), max([*ends, nothing])
    span = high - low or 1.0
    x = alt.X(
        "effect:Q",
        title=unit,
        axis=alt.Axis(tickCount=6),
        scale=alt.Scale(domain=[low - 0.05 * span, high + 0.05 * span], nice=False),
    )
    order = [row["label"] for row in data]
    y = alt.Y("label:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=None)
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=[*SHAPES, "other"], range=[*SHAPES.values(), "square"]), legend=None)
    tooltip = look.tooltip(
        ("effect:Q", "effect", ".3f"),
        ("interval:N", "interval"),
        ("n:Q", "n", ","),
        ("test:N", "test"),
        ("words:N", "verdict"),
        first=("statement:N", "claim"),
    )
    base = look.plot(data)
    zero = look.plot([{"effect": nothing}]).mark_rule(color=look.LINE, strokeDash=[3, 3]).encode(x)
    bars = base.mark_rule(strokeWidth=1.6, color=look.INK).encode(look.end(x, "low"), y, alt.X2("high:Q"))
    marks = base.transform_filter("isValid(datum.effect)").mark_point(filled=True, size=80, opacity=1, color=look.INK)
    margins = look.plot([{"label": row["label"], "at": at} for row in data for at in row["margins"]])
    ticks = margins.mark_tick(color=look.LINE, thickness=2, size=18).encode(look.end(x, "at"), y)
    width = look.panel_size(theme, 0.75)[0]
    # Names as marks: an axis would put the first of several lines, and not their middle, beside the point.
    names = base.mark_text(
        align="right",
        baseline="middle",
        fontSize=10,
        lineHeight=12,
        lineBreak="\n",
        dy=alt.expr("-6 * datum.further"),
        limit=STATEMENT_WIDTH,
        color=look.INK,
    ).encode(x=alt.value(-10), y=y, text="label:N")
    words = [
        base.mark_text(align="left", baseline="middle", fontSize=size, color=color, dy=dy).encode(
            x=alt.value(width + 10), y=y, text=f"{field}:N"
        )
        for field, size, color, dy in (("words", 10, look.INK, -6), ("shown", 9, look.SOFT, 6))
    ]
    lines = 1 + max(row["further"] for row in data)
    return alt.layer(zero, ticks, bars, marks.encode(x, y, shape=shape, tooltip=tooltip), names, *words).properties(
        width=width, height=alt.Step(max(34, 12 * lines + 10))
    )


def _row(row: Row, several: bool) -> Row:
    statement = " ".join(str(row.get("statement") or row.get("claim") or "claim").split())
    study = ":".join(str(part) for part in (row.get("study"), row.get("profile")) if part)
    lines = textwrap.wrap(f"{study}: {statement}" if several else statement, LETTERS_PER_LINE, break_on_hyphens=False)
    label = "\n".join(lines[:MAX_LINES]) + ("…" if len(lines) > MAX_LINES else "")
    verdict = str(row.get("verdict") or "not tested")
    margin, test = row.get("margin"), str(row.get("test") or "")
    margins = [] if margin is None or test == "dominance" else [-margin, margin] if test == "equivalence" else [margin]
    effect = row.get("effect"), row.get("low"), row.get("high")
    return {
        "label": label,
        "further": label.count("\n"),
        "statement": statement,
        "unit": _unit(test, str(row.get("metric") or "")),
        "test": " ".join(filter(None, (test, row.get("metric")))),
        **{name: row.get(name) for name in ("effect", "low", "high", "n")},
        "margins": [float(value) for value in margins],
        "verdict": verdict if verdict in SHAPES else "other",
        "words": verdict,
        "shown": format_interval(*effect).replace("-", "−") or "no effect resolvable",
        "interval": format_ends(*effect[1:]),
    }


def _unit(test: str, metric: str) -> str:
    match test:
        case "ratio":
            return "Ratio, left over right"
        case "correlation":
            return "Rank correlation"
    return "Difference in seconds" if metric == "seconds" else "Difference, left minus right"
