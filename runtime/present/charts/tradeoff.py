"""Accuracy against leakage: the question of a study in one picture. Up and to the left is better."""

from __future__ import annotations

import altair as alt

from runtime.present.charts import labels, look

QUERY = "SELECT * FROM comparison"


def draw(rows: list[look.Row], theme: look.Theme) -> alt.TopLevelMixin:
    """Points with both intervals, the line of the best accuracy that each leakage buys, and DP-SGD's curve as the reference."""
    everyone = look.named(rows)
    rows = [row for row in everyone if row["leakage"] is not None and row["test_accuracy"] is not None]
    if not rows:
        return look.empty("no trial has both an accuracy and a resolvable leakage", theme)
    width, height = look.theme_size(theme, 1.4, 1.3)
    right, (bottom, top) = _extent(rows)
    best = front(rows)

    def at(leakage: float, accuracy: float) -> labels.Point:
        return width * leakage / right, height * (top - accuracy) / (top - bottom)

    places = labels.placed(
        [at(row["leakage"], row["test_accuracy"]) for row in rows],
        [look.short(row["name"]) for row in rows],
        width,
        height,
        bars=labels.bars(rows, "leakage", "test_accuracy", at),
        font=look.SMALL[theme],
        lead=True,
    )
    curve = front([row for row in rows if row["paradigm"] == "dp_sgd"])
    data = [
        _point(row, label, theme) | {"front": row["key"] in best, "reference": row["key"] in curve}
        for row, label in zip(rows, places, strict=True)
    ]

    chosen = look.choice()
    points = alt.Chart(alt.Data(values=data)).transform_filter(chosen)
    fpr = rows[0]["fpr"]
    axis = alt.Axis(labelExpr=look.PERCENT, tickCount=6)
    x = alt.X("leakage:Q", title=f"Leakage: {look.rate(rows)}", scale=alt.Scale(domain=[0, right], nice=False), axis=axis)
    y = alt.Y("test_accuracy:Q", title="Test accuracy", scale=alt.Scale(domain=[bottom, top], nice=False), axis=axis)
    color = look.color(rows, theme=theme)
    bars = points.mark_rule(strokeWidth=1.2, opacity=0.65)
    across = bars.encode(look.end(x, "leakage_low"), y, alt.X2("leakage_high:Q"), color=color)
    upright = bars.encode(x, look.end(y, "test_accuracy_low"), alt.Y2("test_accuracy_high:Q"), color=color)
    marks = [
        points.transform_filter(which)
        .mark_point(size=70, opacity=1, filled=filled, strokeWidth=1.5)
        .encode(x, y, color=look.color(rows, theme=theme), shape=look.shape(rows, theme), tooltip=TOOLTIP)
        for which, filled in (("datum.valid", True), ("!datum.valid", False))
    ]
    names = [draw(points, theme).encode(x, y, text="shown:N") for draw in (look.beneath, look.beside)]
    everything = alt.Chart(alt.Data(values=data))
    order = alt.Order("leakage:Q")
    steps = (
        everything.transform_filter("datum.front")
        .mark_line(interpolate="step-after", color=look.LINE, strokeDash=[4, 3], strokeWidth=1)
        .encode(x, y, order=order)
    )
    layers = [steps, across.add_params(chosen), upright, *marks, look.leaders(points).encode(x, y), *names]
    if sum(row["reference"] for row in data) > 1:
        reference = everything.transform_filter("datum.reference").mark_line(strokeWidth=1.2, opacity=0.45)
        layers.insert(0, reference.encode(x, y, color=color, order=order))
    if fpr is not None:
        chance = alt.Chart(alt.Data(values=[{"leakage": fpr}])).mark_rule(color=look.LINE, strokeDash=[1, 3])
        layers.insert(0, chance.encode(x))
    invalid = sum(row["null_ok"] is False for row in rows)
    title = look.titled(
        "Accuracy against leakage",
        look.conditions(rows),
        "bars: 95\u00a0% intervals; dotted: guessing; dashed: best accuracy for its leakage"
        + ("; solid: the best of DP-SGD" if sum(row["reference"] for row in data) > 1 else ""),
        f"hollow: {invalid} whose null control failed, figures invalid" if invalid else "",
        look.unresolved(everyone, "leakage", "test_accuracy"),
        width=width,
    )
    return alt.layer(*layers).properties(width=width, height=height, title=title)


TOOLTIP = [
    alt.Tooltip("name:N", title="trial"),
    alt.Tooltip("test_accuracy:Q", title="test accuracy", format=".3f"),
    alt.Tooltip("accuracy_interval:N", title="its interval"),
    alt.Tooltip("leakage:Q", format=".3f"),
    alt.Tooltip("leakage_interval:N", title="its interval "),
    alt.Tooltip("leakage_n:Q", title="non-member scores", format=","),
    alt.Tooltip("seconds:Q", title="seconds per shadow", format=".1f"),
    alt.Tooltip("control:N", title="null control"),
]


def _point(row: look.Row, label: labels.Label | None, theme: look.Theme) -> look.Row:
    kept = (
        "name",
        "Paradigm",
        "leakage",
        "leakage_low",
        "leakage_high",
        "leakage_n",
        "test_accuracy",
        "test_accuracy_low",
        "test_accuracy_high",
        "seconds",
    )
    return {
        **{name: row[name] for name in kept},
        **(look.place(label, look.short(row["name"]), theme) if label else {}),
        "valid": row["null_ok"] is not False,
        "control": {True: "passed", False: "failed", None: "not run"}[row["null_ok"]],
        "leakage_interval": look.interval(row, "leakage"),
        "accuracy_interval": look.interval(row, "test_accuracy"),
    }


def _extent(rows: list[look.Row]) -> tuple[float, tuple[float, float]]:
    """Right end of the leakage axis; ends of the accuracy axis."""

    def all_of(name: str) -> list[float]:
        return [value for row in rows for value in (row[name], row[f"{name}_low"], row[f"{name}_high"]) if value is not None]

    accuracy = all_of("test_accuracy")
    return min(1.0, max(0.05, 1.08 * max(all_of("leakage")))), look.around(accuracy)


def front(rows: list[look.Row]) -> set[str]:
    """Keys of the trials that no other beats in both accuracy and leakage; a failed null control puts one out of the contest."""
    valid = [row for row in rows if row["null_ok"] is not False]

    def beaten(row: look.Row) -> bool:
        return any(
            other["test_accuracy"] >= row["test_accuracy"]
            and other["leakage"] <= row["leakage"]
            and (other["test_accuracy"], other["leakage"]) != (row["test_accuracy"], row["leakage"])
            for other in valid
        )

    return {row["key"] for row in valid if not beaten(row)}
