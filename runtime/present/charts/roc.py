"""Chart: ROC curves of the headline attack on log-log axes, one panel per paradigm, with the other paradigms in the background."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from runtime.present.charts import look, scatter
from runtime.present.charts.look import Layout
from runtime.present.numbers import format_ends
from runtime.present.paradigms import Row, doubts_of

QUERY = """
SELECT roc.*,
  comparison.* EXCLUDE (origin, study, profile, arm, paradigm, method, label, trial, attack, variant, release, fpr, canaries),
  comparison.fpr AS at, comparison.canaries AS headline_canaries
FROM roc JOIN comparison USING (origin, study, profile, trial, attack, variant, release)
"""
MAX_BANDED_TRIALS = 2
"""Most trials of a panel whose confidence bands are drawn; with more, only the headline's interval is."""


def draw(rows: list[Row], layout: Layout) -> Any:
    """One line per trial, on one canary group (the headline's if it has curves, else the first by name), in the panel of its
    paradigm, with the headline's point and interval. Rates below 0.5 / n, where n is the largest number of non-member scores, or
    below 5 % if that is less, are drawn at this limit, as the subtitle then states. `rows`: of QUERY, at least one."""
    groups = sorted({row["canaries"] for row in rows}, key=lambda group: (group != rows[0]["headline_canaries"], group))
    rows = [row for row in look.identify(rows) if row["canaries"] == groups[0]]
    floor = min(1 / max(row["leakage_n"] or 1 for row in rows), 0.1) / 2
    chosen = look.choose_paradigm()
    by_paradigm: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["number"]):
        by_paradigm.setdefault(row["Paradigm"], []).append(row)
    across = min(len(by_paradigm), 2 if layout.across == 1 else 3)
    side = (layout.width - (across - 1) * look.AXIS_WIDTH) / across if across > 1 else layout.height
    panels: list[Any] = []
    for place, (name, shown) in enumerate(by_paradigm.items()):
        layers = _marks(shown, rows, floor, side, layout, chosen, place % across == 0)
        if not panels:
            layers[0] = layers[0].add_params(chosen)
        # As a mark, since Vega moves a title up if a number is above the panel, and headings would not be aligned.
        heading = look.plot([{"name": name}]).mark_text(align="left", fontSize=layout.type, fontWeight="bold", color=look.INK)
        layers.append(heading.encode(x=alt.XValue(0), y=alt.YValue(-16), text=alt.Text("name:N")))
        panels.append(alt.layer(*layers).properties(width=side, height=side))
    whole = look.arrange(panels, across, spacing=16, bounds="flush")
    floored = any(row["fpr"] < floor or row["tpr"] < floor for row in rows)
    title = look.make_title(
        "Who was in the training set?",
        look.describe_conditions(rows),
        f"{rows[0]['attack']} {rows[0]['variant']}, {rows[0]['release']}; dotted: guessing; grey: the other paradigms",
        f"points: the declared rate, with 95\u00a0% intervals; bands: pointwise, in panels of {MAX_BANDED_TRIALS} lines or fewer",
        f"zeros are drawn at {look.format_percent(float(f'{floor:.2g}'))}, half of one non-member score" if floored else "",
        f"other canaries: --where \"canaries = '{groups[1]}'\"" if groups[1:] else "",
        *look.name_doubtful(rows),
        layout=layout,
    )
    return scatter.add_key(whole, rows, layout, chosen) | {"title": title}


def _marks(rows: list[Row], everyone: list[Row], floor: float, side: float, layout: Layout, chosen: Any, first: bool) -> list[Any]:
    """Marks of one panel; curves come first, since they carry the selection `chosen`. `rows`: of the panel's trials; `everyone`: of
    all, for the grey lines and colours; `floor`: beginning of both axes, at which smaller rates are drawn; `side`: width and height
    of the panel; `first`: whether the panel begins its row, and so has the labels of the vertical axis."""
    ticks = [10.0**power for power in range(-5, 1) if 10.0**power >= floor]
    shared: dict[str, Any] = {"scale": alt.Scale(type="log", domain=[floor, 1], nice=False)}
    axis: dict[str, Any] = {"labelExpr": look.PERCENT, "values": ticks, "labelOverlap": "greedy"}
    x = alt.X("x:Q", title="False-positive rate", axis=alt.Axis(**axis), **shared)
    y = alt.Y("y:Q", title="True-positive rate" if first else None, axis=alt.Axis(**axis, labels=first), **shared)
    color = look.color(everyone, layout)
    numbers = sorted({row["number"] for row in rows})
    dashes = alt.StrokeDash("line:O", scale=alt.Scale(domain=list(range(len(look.DASHES))), range=look.DASHES), legend=None)
    curves = look.plot(_points(rows, floor), chosen).mark_line(clip=True, strokeWidth=1.5, interpolate="step-after")
    order = alt.Order("fpr:Q")
    tooltip = look.tooltip(("fpr:Q", "FPR", ".4f"), ("tpr:Q", "TPR", ".4f"), ("band:N", "its 95 % interval"))
    others = look.plot(
        [
            {name: row[name] for name in ("x", "y", "fpr", "key")}
            for row in _points([row for row in everyone if row["number"] not in numbers], floor)
        ]
    )
    guess = look.plot([{"x": floor, "y": floor}, {"x": 1, "y": 1}])
    layers = [
        curves.encode(x, y, color=color, detail="key:N", strokeDash=dashes, order=order, tooltip=tooltip),
        others.mark_line(clip=True, strokeWidth=0.7, interpolate="step-after", color=look.LINE, opacity=0.35).encode(
            x, y, detail="key:N", order=order
        ),
        guess.mark_line(color=look.LINE, strokeDash=[2, 3], strokeWidth=1, clip=True).encode(x, y),
    ]
    if len(numbers) <= MAX_BANDED_TRIALS and (bands := _bands(rows, floor)):
        area = look.plot(bands, chosen).mark_area(opacity=0.15, clip=True, interpolate="step-after")
        layers.append(area.encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color, detail="key:N"))
    headlines = look.plot(_headlines(rows, floor, side), chosen)
    of_headline = look.tooltip(
        ("leakage:Q", "headline TPR", ".3f"), ("interval:N", "interval"), ("leakage_n:Q", "non-member scores", ",")
    )
    return [
        *layers,
        headlines.mark_rule(strokeWidth=1.2, opacity=0.6, clip=True).encode(x, look.end(y, "low"), alt.Y2("high:Q"), color=color),
        *look.draw_points(headlines, 26, x=x, y=y, color=color, tooltip=of_headline),
        *scatter.draw_numbers(headlines, x, y, layout),
    ]


def _points(rows: list[Row], floor: float) -> list[Row]:
    lines = {number: place % len(look.DASHES) for place, number in enumerate(sorted({row["number"] for row in rows}))}
    return [
        {name: row[name] for name in ("fpr", "tpr", "name", "number", "Paradigm", "key")}
        | {"line": lines[row["number"]]}
        | {"x": max(row["fpr"], floor), "y": max(row["tpr"], floor), "band": format_ends(row["low"], row["high"], ".4f")}
        for row in rows
    ]


def _bands(rows: list[Row], floor: float) -> list[Row]:
    """Points (`x`, `low`, `high`) of the pointwise confidence bands, sorted by trial and FPR; rates below `floor` are raised to it,
    points without an interval left out."""
    return [
        {"x": max(row["fpr"], floor), "low": max(row["low"], floor), "high": max(row["high"], floor)}
        | {"key": row["key"], "Paradigm": row["Paradigm"]}
        for row in sorted(rows, key=lambda row: (row["key"], row["fpr"]))
        if row["low"] is not None and row["high"] is not None
    ]


def _headlines(rows: list[Row], floor: float, side: float) -> list[Row]:
    """The headline's point of each trial with its number and the number's offset; points of several trials, all at the declared
    FPR, are spread sideways, and rates below `floor` raised to it. Trials without a TPR with interval, and ones whose rows are not
    of the headline's canaries, have none. `side`: width and height of the panel."""
    trials = {row["key"]: row for row in rows if row["canaries"] == row["headline_canaries"]}
    spread = min(1.25, 3.0 ** (1 / max(1, len(trials))))
    headlines = [
        {
            "x": max(row["at"], floor) * spread ** (place - (len(trials) - 1) / 2),
            "y": max(row["leakage"], floor),
            "low": max(row["leakage_low"], floor),
            "high": max(row["leakage_high"], floor),
            "interval": look.interval_of(row, "leakage"),
            "doubt": doubts_of(row),
            **{name: row[name] for name in ("name", "number", "Paradigm", "leakage", "leakage_n")},
        }
        for place, row in enumerate(trials.values())
        if None not in (row["at"], row["leakage"], row["leakage_low"], row["leakage_high"])
    ]
    decades = -math.log(floor)
    at = [(side * (1 + math.log(row["x"]) / decades), side * -math.log(row["y"]) / decades) for row in headlines]
    return scatter.number(headlines, at)
