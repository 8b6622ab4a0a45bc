"""Accuracy against leakage: the question of a study in one picture. Up and to the left is better."""

from __future__ import annotations

from typing import Any

import altair as alt

from compiler.language.charts import Theme
from runtime.present.charts import look, numbering
from runtime.present.paradigms import Row

QUERY = "SELECT * FROM comparison"
FIGURES = ("leakage", "leakage_low", "leakage_high", "leakage_n", "test_accuracy", "test_accuracy_low", "test_accuracy_high")


def draw(rows: list[Row], theme: Theme) -> alt.TopLevelMixin:
    """Points with both intervals, the line of the best accuracy that each leakage buys, and DP-SGD's curve as the reference."""
    everyone = look.identify(rows)
    rows = [row for row in everyone if row["leakage"] is not None and row["test_accuracy"] is not None]
    if not rows:
        return look.draw_nothing("no trial has both an accuracy and a resolvable leakage", theme)
    width, height = look.panel_size(theme, 1.4, 1.3)
    right = min(1.0, max(0.05, 1.08 * max(look.figures_of(rows, "leakage"))))
    bottom, top = look.pad_domain(look.figures_of(rows, "test_accuracy"))
    at = [(width * row["leakage"] / right, height * (top - row["test_accuracy"]) / (top - bottom)) for row in rows]
    data = numbering.number(_points(rows), at)
    x = look.share_axis(alt.X, "leakage", f"Leakage: {look.describe_leakage(rows)}", (0, right))
    y = look.share_axis(alt.Y, "test_accuracy", "Test accuracy", (bottom, top))
    chosen = look.choose_paradigm()
    marks = _marks(rows, look.plot(data, chosen), x, y, theme)
    marks[0] = marks[0].add_params(chosen)
    chart = alt.layer(*_references(rows, data, x, y, theme), *marks).properties(width=width, height=height)
    invalid = sum(not row["valid"] for row in data)
    title = look.make_title(
        "Accuracy against leakage",
        look.describe_conditions(rows),
        "bars: 95\u00a0% intervals; dotted: guessing; dashed: best accuracy for its leakage"
        + ("; solid: the best of DP-SGD" if sum(row["reference"] for row in data) > 1 else ""),
        f"hollow: {invalid} whose null control failed, figures invalid" if invalid else "",
        look.name_unresolved(everyone, "leakage", "test_accuracy"),
        width=width,
    )
    return numbering.add_key(chart, rows, width, theme, chosen).properties(title=title)


def _points(rows: list[Row]) -> list[Row]:
    best, curve = find_front(rows), find_front([row for row in rows if row["paradigm"] == "dp_sgd"])
    return [
        {name: row[name] for name in ("name", "number", "Paradigm", *FIGURES, "seconds")}
        | {
            "front": row["key"] in best,
            "reference": row["key"] in curve,
            "valid": row["null_ok"] is not False,
            "control": {True: "passed", False: "failed", None: "not run"}[row["null_ok"]],
            "leakage_interval": look.interval_of(row, "leakage"),
            "accuracy_interval": look.interval_of(row, "test_accuracy"),
        }
        for row in rows
    ]


def _marks(rows: list[Row], points: alt.Chart, x: Any, y: Any, theme: Theme) -> list[Any]:
    color = look.color(rows, theme)
    tooltip = look.tooltip(
        ("test_accuracy:Q", "test accuracy", ".3f"),
        ("accuracy_interval:N", "its interval"),
        ("leakage:Q", "leakage", ".3f"),
        ("leakage_interval:N", "its interval "),
        ("leakage_n:Q", "non-member scores", ","),
        ("seconds:Q", "seconds per shadow", ".1f"),
        ("control:N", "null control"),
    )
    encodings = {"x": x, "y": y, "color": color, "shape": look.shape(rows, theme), "tooltip": tooltip}
    return [
        *look.draw_intervals(points, x, y, color, across="leakage", upright="test_accuracy"),
        *look.draw_points(points, "!datum.valid", 70, **encodings),
        *numbering.draw_numbers(points, x, y, theme),
    ]


def _references(rows: list[Row], data: list[Row], x: Any, y: Any, theme: Theme) -> list[Any]:
    """What the points are seen against: guessing, the best of DP-SGD, the best of all."""
    layers, everything, order = [], look.plot(data), alt.Order("leakage:Q")
    if rows[0]["fpr"] is not None:
        chance = look.plot([{"leakage": rows[0]["fpr"]}])
        layers.append(chance.mark_rule(color=look.LINE, strokeDash=[1, 3]).encode(x))
    if sum(row["reference"] for row in data) > 1:
        reference = everything.transform_filter("datum.reference").mark_line(strokeWidth=1.2, opacity=0.45)
        layers.append(reference.encode(x, y, color=look.color(rows, theme), order=order))
    best = everything.transform_filter("datum.front")
    steps = best.mark_line(interpolate="step-after", color=look.LINE, strokeDash=[4, 3], strokeWidth=1)
    return [*layers, steps.encode(x, y, order=order)]


def find_front(rows: list[Row]) -> set[str]:
    """Keys of the trials that no other beats in both accuracy and leakage; a failed null control puts one out of the contest."""
    valid = [row for row in rows if row["null_ok"] is not False]

    def beaten(row: Row) -> bool:
        return any(
            other["test_accuracy"] >= row["test_accuracy"]
            and other["leakage"] <= row["leakage"]
            and (other["test_accuracy"], other["leakage"]) != (row["test_accuracy"], row["leakage"])
            for other in valid
        )

    return {row["key"] for row in valid if not beaten(row)}
