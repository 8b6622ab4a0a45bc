"""ROC curves of the headline attack on log-log axes, where a worst-case audit is read: a panel per group of canaries."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from runtime.charts import look

QUERY = """
SELECT roc.*, comparison.replicate, comparison.data, comparison.shadows, comparison.leakage, comparison.leakage_low,
  comparison.leakage_high, comparison.leakage_n, comparison.fpr AS at, comparison.canaries AS headline_canaries
FROM roc JOIN comparison USING (study, profile, trial, attack, variant, release)
"""


MOST = 16
"""Trials whose names and headline intervals can be told apart; beyond that the tooltip names each curve."""
LINE_HEIGHT = 10.0
"""Points between two names on the left."""


def draw(rows: list[look.Row], theme: look.Theme) -> alt.TopLevelMixin:
    """One line per trial, colour by paradigm, the headline with its interval on it. What lies at zero is drawn at half of the
    smallest step, and the subtitle says so."""
    rows = look.named(rows)
    step = 1 / max(row["leakage_n"] or 1 for row in rows)
    floor = min(step, 0.1) / 2
    groups = sorted({row["canaries"] for row in rows}, key=lambda group: (group != rows[0]["headline_canaries"], group))
    chosen = look.choice()
    panels = [
        _panel([row for row in rows if row["canaries"] == group], rows, floor, theme, chosen, place == 0)
        for place, group in enumerate(groups[:4])
    ]
    attack = f"{rows[0]['attack']} {rows[0]['variant']}, {rows[0]['release']}"
    floored = any(row["fpr"] < floor or row["tpr"] < floor for row in rows)
    title = look.titled(
        "Who was in the training set?",
        look.conditions([{**row, "canaries": " and ".join(groups)} for row in rows]),
        f"{attack}; dotted: guessing" + ("; upright bars: the headline's 95\u00a0% intervals, side by side" if few(rows) else ""),
        f"zeros are drawn at {look.percent(float(f'{floor:.2g}'))}, half of one non-member score" if floored else "",
        f"{len(groups) - 4} more groups of canaries are in the database" if len(groups) > 4 else "",
        width=look.WIDTH[theme] * min(len(panels), 2),
    )
    return look.grid(panels, columns=2, spacing=24).properties(title=title)


def _panel(rows: list[look.Row], everyone: list[look.Row], floor: float, theme: look.Theme, chosen: Any, first: bool) -> Any:
    side = round(look.WIDTH[theme] * 0.85)
    points = [
        {
            "x": max(row["fpr"], floor),
            "y": max(row["tpr"], floor),
            "fpr": row["fpr"],
            "tpr": row["tpr"],
            "name": row["name"],
            "Paradigm": row["Paradigm"],
            "key": row["key"],
        }
        for row in rows
    ]
    ticks = [10.0**power for power in range(-5, 1) if 10.0**power >= floor]
    scale = alt.Scale(type="log", domain=[floor, 1], nice=False)
    axis = alt.Axis(labelExpr=look.PERCENT, values=ticks)
    x = alt.X("x:Q", title="False-positive rate", scale=scale, axis=axis)
    y = alt.Y("y:Q", title="True-positive rate", scale=scale, axis=axis)
    color = look.color(everyone, theme=theme)
    tooltip = [
        alt.Tooltip("name:N", title="trial"),
        alt.Tooltip("fpr:Q", title="FPR", format=".4f"),
        alt.Tooltip("tpr:Q", title="TPR", format=".4f"),
    ]
    curves = (
        alt.Chart(alt.Data(values=points))
        .transform_filter(chosen)
        .mark_line(clip=True, strokeWidth=1.6, interpolate="step-after")
        .encode(x, y, color=color, detail="key:N", order=alt.Order("fpr:Q"), tooltip=tooltip)
    )
    guess = (
        alt.Chart(alt.Data(values=[{"x": floor, "y": floor}, {"x": 1, "y": 1}]))
        .mark_line(color=look.LINE, strokeDash=[2, 3], strokeWidth=1, clip=True)
        .encode(x, y)
    )
    layers = [guess, curves.add_params(chosen) if first else curves]
    headlines = _headlines(rows, floor) if few(rows) else []
    if headlines:
        marks = alt.Chart(alt.Data(values=headlines)).transform_filter(chosen)
        shown = [
            alt.Tooltip("name:N", title="trial"),
            alt.Tooltip("leakage:Q", title="headline TPR", format=".3f"),
            alt.Tooltip("interval:N"),
            alt.Tooltip("n:Q", title="non-member scores", format=","),
        ]
        bars = marks.mark_rule(strokeWidth=1.4, opacity=0.8, clip=True)
        layers.append(bars.encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color, tooltip=shown))
        layers.append(marks.mark_point(filled=True, size=26, opacity=1, clip=True).encode(x, y, color=color, tooltip=shown))
        starts = alt.Chart(alt.Data(values=_starts(points, floor, side))).transform_filter(chosen)
        layers += [draw(starts, theme).encode(x, y, text="name:N") for draw in (look.beneath, look.beside)]
    return alt.layer(*layers).properties(
        width=side,
        height=side,
        title=alt.TitleParams(f"{rows[0]['canaries']} canaries", fontSize=11, fontWeight="normal", offset=16),
    )


def few(rows: list[look.Row]) -> bool:
    """Whether names and intervals are drawn."""
    return len({row["key"] for row in rows}) <= MOST


def _starts(points: list[look.Row], floor: float, side: float) -> list[look.Row]:
    """Where each curve enters on the left, and a place above it for its name."""
    first: dict[str, look.Row] = {}
    for point in points:
        if point["x"] <= floor and (point["key"] not in first or point["y"] >= first[point["key"]]["y"]):
            first[point["key"]] = point
    found = sorted(first.values(), key=lambda point: -point["y"])
    above, names = -math.inf, []
    for point in found:
        line = side * math.log10(point["y"]) / math.log10(floor)  # points below the top
        middle = line - 6 if line < 6 else line
        if middle - above >= LINE_HEIGHT:
            above = middle
            names.append({**point, "name": look.short(point["name"], 26), "dx": 4, "dy": middle - line, "align": "left"})
    return names


def _headlines(rows: list[look.Row], floor: float) -> list[look.Row]:
    """The declared figure of each trial, in the panel of the declared canaries."""
    found = {row["key"]: row for row in rows if row["canaries"] == row["headline_canaries"]}
    spread = min(1.08, 2.0 ** (1 / max(len(found), 1)))  # bars of different trials would hide each other
    return [
        {
            "x": max(row["at"], floor) * spread ** (place - (len(found) - 1) / 2),
            "y": max(row["leakage"], floor),
            "low": max(row["leakage_low"], floor),
            "high": max(row["leakage_high"], floor),
            "leakage": row["leakage"],
            "n": row["leakage_n"],
            "name": row["name"],
            "interval": look.interval(row, "leakage"),
            "Paradigm": row["Paradigm"],
        }
        for place, row in enumerate(found.values())
        if None not in (row["at"], row["leakage"], row["leakage_low"], row["leakage_high"])
    ]
