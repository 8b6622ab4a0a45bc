"""ROC curves of the headline attack on log-log axes, where a worst-case audit is read."""

from __future__ import annotations

from typing import Any

import altair as alt

from runtime.charts import look

QUERY = """
SELECT roc.*, comparison.data, comparison.shadows, comparison.leakage_n
FROM roc JOIN comparison
  ON roc.study = comparison.study AND roc.trial = comparison.trial AND roc.canaries = comparison.canaries
  AND roc.attack = comparison.attack AND roc.variant = comparison.variant AND roc.release = comparison.release
WHERE comparison.profile IS NOT DISTINCT FROM roc.profile
"""


def draw(rows: list[dict[str, Any]], theme: look.Theme) -> alt.TopLevelMixin:
    """One line per trial, colour by paradigm. What lies at zero is drawn at half of the smallest step, and the subtitle says so."""
    step = 1 / max(row["leakage_n"] or 1 for row in rows)
    floored = [
        {**row, "x": max(row["fpr"], step / 2), "y": max(row["tpr"], step / 2), "name": look.short(row["label"])}
        for row in look.named(rows)
    ]
    ticks = [10.0**power for power in range(-5, 1) if 10.0**power >= step / 2]
    scale = alt.Scale(type="log", domain=[step / 2, 1])
    x = alt.X("x:Q", title="False-positive rate", scale=scale, axis=alt.Axis(format=".0e", values=ticks))
    y = alt.Y("y:Q", title="True-positive rate", scale=scale, axis=alt.Axis(format=".0e", values=ticks))
    base = alt.Chart(alt.Data(values=floored))
    curves = base.mark_line(clip=True, strokeWidth=1.6, interpolate="step-after").encode(
        x,
        y,
        color=look.color(rows),
        detail="trial:N",
        order=alt.Order("fpr:Q"),
        tooltip=[alt.Tooltip("name:N", title="trial"), alt.Tooltip("fpr:Q", format=".4f"), alt.Tooltip("tpr:Q", format=".4f")],
    )
    guess = (
        alt.Chart(alt.Data(values=[{"x": step / 2, "y": step / 2}, {"x": 1, "y": 1}]))
        .mark_line(color="#999", strokeDash=[2, 3], strokeWidth=1, clip=True)
        .encode(x, y)
    )
    subtitle = [
        look.conditions(rows),
        f"{rows[0]['attack']} {rows[0]['variant']}; zeros are drawn at {step / 2:.1g}; dotted: guessing",
    ]
    title = alt.TitleParams("Who was in the training set?", subtitle=subtitle)
    return alt.layer(guess, curves).properties(width=look.WIDTH[theme], height=look.WIDTH[theme], title=title)
