"""ROC curves of the headline attack on log-log axes, where a worst-case audit is read: a panel per group of canaries."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from compiler.language.charts import Theme
from runtime.present.charts import look, numbering
from runtime.present.numbers import format_ends
from runtime.present.paradigms import Row

QUERY = """
SELECT roc.*, comparison.replicate, comparison.data, comparison.shadows, comparison.leakage, comparison.leakage_low,
  comparison.leakage_high, comparison.leakage_n, comparison.fpr AS at, comparison.canaries AS headline_canaries
FROM roc JOIN comparison USING (origin, study, profile, trial, attack, variant, release)
"""

MAX_BANDED_TRIALS = 6
"""Trials whose bands can be told apart; the headline's intervals stand for the bands of more."""
MAX_HEADLINE_TRIALS = 16
"""Trials whose headline intervals can be told apart; beyond that the tooltip names each curve."""
MAX_GROUPS = 4
"""Groups of canaries that have a panel."""


def draw(rows: list[Row], theme: Theme) -> alt.TopLevelMixin:
    """One line per trial, colour by paradigm, the headline with its interval on it. What lies at zero is drawn at half of the
    smallest step, and the subtitle says so."""
    rows = look.identify(rows)
    floor = min(1 / max(row["leakage_n"] or 1 for row in rows), 0.1) / 2
    groups = sorted({row["canaries"] for row in rows}, key=lambda group: (group != rows[0]["headline_canaries"], group))
    chosen = look.choose_paradigm()
    panels: list[Any] = []
    for group in groups[:MAX_GROUPS]:
        layers = _marks([row for row in rows if row["canaries"] == group], rows, floor, theme, chosen)
        if not panels:
            layers[0] = layers[0].add_params(chosen)
        panels.append(alt.layer(*layers).properties(width=_side(theme), height=_side(theme)))
    floored = any(row["fpr"] < floor or row["tpr"] < floor for row in rows)
    title = look.make_title(
        "Who was in the training set?",
        look.describe_conditions([{**row, "canaries": " and ".join(groups)} for row in rows]),
        f"{rows[0]['attack']} {rows[0]['variant']}, {rows[0]['release']}; dotted: guessing; {_describe_intervals(rows)}",
        f"zeros are drawn at {look.format_percent(float(f'{floor:.2g}'))}, half of one non-member score" if floored else "",
        f"{len(groups) - MAX_GROUPS} more groups of canaries are in the database" if len(groups) > MAX_GROUPS else "",
        width=look.PANEL_WIDTH[theme] * min(len(panels), 2),
    )
    whole = look.arrange(panels, columns=2, spacing=24)
    if look.count_trials(rows) <= MAX_HEADLINE_TRIALS:
        whole = numbering.add_key(whole, rows, look.PANEL_WIDTH[theme] * min(len(panels), 2), theme, chosen)
    return whole.properties(title=title)


def _side(theme: Theme) -> int:
    """Points of a panel's side."""
    return round(look.PANEL_WIDTH[theme] * 0.85)


def _describe_intervals(rows: list[Row]) -> str:
    """What shows how sure the curves are."""
    if look.count_trials(rows) <= MAX_BANDED_TRIALS:
        return "dots: the headline; bands: pointwise 95\u00a0% intervals"
    if look.count_trials(rows) <= MAX_HEADLINE_TRIALS:
        return f"upright bars: the headline's 95\u00a0% intervals, side by side; {MAX_BANDED_TRIALS} trials or fewer have bands"
    return f"{MAX_HEADLINE_TRIALS} trials or fewer have intervals"


def _marks(rows: list[Row], everyone: list[Row], floor: float, theme: Theme, chosen: Any) -> list[Any]:
    """Of one panel; the curves, which bear the selection, come first."""
    ticks = [10.0**power for power in range(-5, 1) if 10.0**power >= floor]
    shared: dict[str, Any] = {
        "scale": alt.Scale(type="log", domain=[floor, 1], nice=False),
        "axis": alt.Axis(labelExpr=look.PERCENT, values=ticks),
    }
    x = alt.X("x:Q", title="False-positive rate", **shared)
    y = alt.Y("y:Q", title="True-positive rate", **shared)
    color = look.color(everyone, theme, lines=True)
    curves = look.plot(_points(rows, floor), chosen)
    curves = curves.mark_line(clip=True, strokeWidth=1.6, interpolate="step-after").encode(
        x,
        y,
        color=color,
        strokeDash=look.dash(everyone, theme),
        detail="key:N",
        order=alt.Order("fpr:Q"),
        tooltip=look.tooltip(("fpr:Q", "FPR", ".4f"), ("tpr:Q", "TPR", ".4f"), ("band:N", "its 95 % interval")),
    )
    guess = look.plot([{"x": floor, "y": floor}, {"x": 1, "y": 1}])
    dotted = guess.mark_line(color=look.LINE, strokeDash=[2, 3], strokeWidth=1, clip=True).encode(x, y)
    banded = look.count_trials(rows) <= MAX_BANDED_TRIALS
    layers = [curves, dotted]
    if bands := _bands(rows, floor) if banded else []:
        area = look.plot(bands, chosen)
        band = area.mark_area(opacity=0.15, clip=True, interpolate="step-after")
        layers.append(band.encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color, detail="key:N"))
    if look.count_trials(rows) <= MAX_HEADLINE_TRIALS:
        layers += _headline_marks(_headlines(rows, floor, _side(theme)), x, y, color, theme, chosen, bars=not banded)
    # As a mark, since a title of Vega's moves up with a number that stands above the panel, and headings would not be level.
    heading = look.plot([{"canaries": f"{rows[0]['canaries']} canaries"}])
    at_top = heading.mark_text(align="left", baseline="bottom", fontSize=11, color=look.INK)
    return [*layers, at_top.encode(x=alt.value(0), y=alt.value(-16), text="canaries:N")]


def _headline_marks(headlines: list[Row], x: Any, y: Any, color: Any, theme: Theme, chosen: Any, bars: bool) -> list[Any]:
    if not headlines:
        return []
    points = look.plot(headlines, chosen)
    tooltip = look.tooltip(("leakage:Q", "headline TPR", ".3f"), ("interval:N", "interval"), ("n:Q", "non-member scores", ","))
    rules = points.mark_rule(strokeWidth=1.4, opacity=0.6, clip=True)
    return [
        *([rules.encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color, tooltip=tooltip)] if bars else []),
        points.mark_point(filled=True, size=26, opacity=1, clip=True).encode(x, y, color=color, tooltip=tooltip),
        *numbering.draw_numbers(points, x, y, theme),
    ]


def _points(rows: list[Row], floor: float) -> list[Row]:
    return [
        {name: row[name] for name in ("fpr", "tpr", "name", "Paradigm", "key")}
        | {"x": max(row["fpr"], floor), "y": max(row["tpr"], floor), "band": format_ends(row["low"], row["high"], ".4f")}
        for row in rows
    ]


def _bands(rows: list[Row], floor: float) -> list[Row]:
    """The pointwise intervals, where the audit gave them."""
    return [
        {"x": max(row["fpr"], floor), "low": max(row["low"], floor), "high": max(row["high"], floor)}
        | {"key": row["key"], "Paradigm": row["Paradigm"]}
        for row in sorted(rows, key=lambda row: (row["key"], row["fpr"]))
        if row["low"] is not None and row["high"] is not None
    ]


def _headlines(rows: list[Row], floor: float, side: float) -> list[Row]:
    """The declared figure of each trial, with its number, in the panel of the declared canaries."""
    trials = {row["key"]: row for row in rows if row["canaries"] == row["headline_canaries"]}
    # Bars of different trials would hide each other.
    spread = 1.0 if len(trials) <= MAX_BANDED_TRIALS else min(1.08, 2.0 ** (1 / len(trials)))
    headlines = [
        {
            "x": max(row["at"], floor) * spread ** (place - (len(trials) - 1) / 2),
            "y": max(row["leakage"], floor),
            "low": max(row["leakage_low"], floor),
            "high": max(row["leakage_high"], floor),
            "leakage": row["leakage"],
            "n": row["leakage_n"],
            "interval": look.interval_of(row, "leakage"),
            **{name: row[name] for name in ("name", "number", "Paradigm")},
        }
        for place, row in enumerate(trials.values())
        if None not in (row["at"], row["leakage"], row["leakage_low"], row["leakage_high"])
    ]
    decades = -math.log(floor)
    at = [(side * (1 + math.log(row["x"]) / decades), side * -math.log(row["y"]) / decades) for row in headlines]
    return numbering.number(headlines, at)
