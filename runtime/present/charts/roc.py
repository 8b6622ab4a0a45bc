"""ROC curves of the headline attack on log-log axes, where a worst-case audit is read: a panel per group of canaries."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from runtime.present.charts import look

QUERY = """
SELECT roc.*, comparison.replicate, comparison.data, comparison.shadows, comparison.leakage, comparison.leakage_low,
  comparison.leakage_high, comparison.leakage_n, comparison.fpr AS at, comparison.canaries AS headline_canaries
FROM roc JOIN comparison USING (study, profile, trial, attack, variant, release)
"""


BANDED = 6
"""Trials whose bands can be told apart; the headline's intervals stand for the bands of more."""
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
        f"{attack}; dotted: guessing; {_drawn(rows)}",
        f"zeros are drawn at {look.percent(float(f'{floor:.2g}'))}, half of one non-member score" if floored else "",
        f"{len(groups) - 4} more groups of canaries are in the database" if len(groups) > 4 else "",
        width=look.WIDTH[theme] * min(len(panels), 2),
    )
    return look.grid(panels, columns=2, spacing=24).properties(title=title)


def _drawn(rows: list[look.Row]) -> str:
    """What shows how sure the curves are."""
    if look.few(rows, BANDED):
        return "dots: the headline; bands: pointwise 95\u00a0% intervals"
    if look.few(rows, MOST):
        return f"upright bars: the headline's 95\u00a0% intervals, side by side; {BANDED} trials or fewer have bands"
    return f"{MOST} trials or fewer have intervals"


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
            "band": "none" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}",
        }
        for row in rows
    ]
    ticks = [10.0**power for power in range(-5, 1) if 10.0**power >= floor]
    scale = alt.Scale(type="log", domain=[floor, 1], nice=False)
    axis = alt.Axis(labelExpr=look.PERCENT, values=ticks)
    x = alt.X("x:Q", title="False-positive rate", scale=scale, axis=axis)
    y = alt.Y("y:Q", title="True-positive rate", scale=scale, axis=axis)
    color = look.color(everyone, theme, lines=True)
    tooltip = [
        alt.Tooltip("name:N", title="trial"),
        alt.Tooltip("fpr:Q", title="FPR", format=".4f"),
        alt.Tooltip("tpr:Q", title="TPR", format=".4f"),
        alt.Tooltip("band:N", title="its 95 % interval"),
    ]
    curves = (
        alt.Chart(alt.Data(values=points))
        .transform_filter(chosen)
        .mark_line(clip=True, strokeWidth=1.6, interpolate="step-after")
        .encode(
            x, y, color=color, strokeDash=look.dash(everyone, theme), detail="key:N", order=alt.Order("fpr:Q"), tooltip=tooltip
        )
    )
    guess = (
        alt.Chart(alt.Data(values=[{"x": floor, "y": floor}, {"x": 1, "y": 1}]))
        .mark_line(color=look.LINE, strokeDash=[2, 3], strokeWidth=1, clip=True)
        .encode(x, y)
    )
    layers = [guess, curves.add_params(chosen) if first else curves]
    if bands := _bands(rows, floor) if look.few(rows, BANDED) else []:
        area = alt.Chart(alt.Data(values=bands)).transform_filter(chosen)
        band = area.mark_area(opacity=0.15, clip=True, interpolate="step-after")
        layers.append(band.encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color, detail="key:N"))
    headlines = _headlines(rows, floor) if look.few(rows, MOST) else []
    if headlines:
        marks = alt.Chart(alt.Data(values=headlines)).transform_filter(chosen)
        shown = [
            alt.Tooltip("name:N", title="trial"),
            alt.Tooltip("leakage:Q", title="headline TPR", format=".3f"),
            alt.Tooltip("interval:N"),
            alt.Tooltip("n:Q", title="non-member scores", format=","),
        ]
        if not look.few(rows, BANDED):
            bars = marks.mark_rule(strokeWidth=1.4, opacity=0.6, clip=True)
            layers.append(bars.encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color, tooltip=shown))
        layers.append(marks.mark_point(filled=True, size=26, opacity=1, clip=True).encode(x, y, color=color, tooltip=shown))
        starts = alt.Chart(alt.Data(values=_starts(points, floor, side))).transform_filter(chosen)
        layers += [draw(starts, theme).encode(x, y, text="name:N") for draw in (look.beneath, look.beside)]
    # As a mark, since a title of Vega's moves up with a name that stands above the panel, and headings would not be level.
    heading = alt.Chart(alt.Data(values=[{"canaries": f"{rows[0]['canaries']} canaries"}]))
    at_top = heading.mark_text(align="left", baseline="bottom", fontSize=11, color=look.INK)
    layers.append(at_top.encode(x=alt.value(0), y=alt.value(-16), text="canaries:N"))
    return alt.layer(*layers).properties(width=side, height=side)


def _bands(rows: list[look.Row], floor: float) -> list[look.Row]:
    """The pointwise intervals, where the audit gave them."""
    return [
        {"x": max(row["fpr"], floor), "low": max(row["low"], floor), "high": max(row["high"], floor), "key": row["key"]}
        | {"Paradigm": row["Paradigm"]}
        for row in sorted(rows, key=lambda row: (row["key"], row["fpr"]))
        if row["low"] is not None and row["high"] is not None
    ]


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
    # Bars of different trials would hide each other.
    spread = 1.0 if look.few(rows, BANDED) else min(1.08, 2.0 ** (1 / max(len(found), 1)))
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
