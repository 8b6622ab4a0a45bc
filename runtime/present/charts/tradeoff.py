"""Chart: accuracy against leakage. Up and to the left is better."""

from __future__ import annotations

from typing import Any

import altair as alt

from runtime.present.charts import look, scatter
from runtime.present.charts.look import Layout
from runtime.present.paradigms import Row

QUERY = "SELECT * FROM comparison"


def draw(rows: list[Row], layout: Layout) -> Any:
    """Accuracy against leakage (log odds): points with both intervals, the Pareto front with its band, and as references guessing
    and DP-SGD's front. Trials without an accuracy or an attack are left out, and named; a message where none is left."""
    everyone = scatter.describe(look.identify(rows))
    rows = [row for row in everyone if row["test_accuracy"] is not None and row["attack"] is not None]
    if not rows:
        return look.draw_nothing("no trial has both an accuracy and an attack that was run", layout)
    x = scatter.odds_axis("leakage", f"Leakage: {look.describe_leakage(rows)}, log odds", rows, better=-1)
    y = scatter.share_axis("test_accuracy", "Test accuracy", rows, better=1)
    chosen = look.choose_paradigm()
    panel = scatter.draw_panel(rows, x, y, layout.panel(high=1.2), layout, chosen, _references(rows, x, y, layout))
    title = look.make_title(
        "Accuracy against leakage",
        look.describe_conditions(rows),
        "bars: 95\u00a0% intervals; dotted: guessing; dashed: best accuracy for its leakage, grey: what intervals leave open of it",
        "0 and 100\u00a0% of the scores stand where half a score would" if {"0", "100\u00a0%"} & {*x.ticks.values()} else "",
        "n.\u2009r.: not resolvable with so few scores, wherever it lies" if x.unresolved is not None else "",
        *look.name_doubtful(rows),
        scatter.name_lower(rows, y),
        look.name_unresolved(everyone, "test_accuracy", "attack"),
        layout=layout,
    )
    panel.layer[0] = panel.layer[0].add_params(chosen)
    return scatter.add_key(panel, rows, layout, chosen) | {"title": title}


def _references(rows: list[Row], x: scatter.Axis, y: scatter.Axis, layout: Layout) -> list[Any]:
    """Layers of reference lines: guessing at the FPR of the first row, if it has one, and DP-SGD's front if it has several
    trials."""
    layers: list[Any] = []
    if rows[0]["fpr"] is not None:
        chance = look.plot([{"x": x.place(rows[0]["fpr"])}])
        layers.append(chance.mark_rule(color=look.LINE, strokeDash=[1, 3]).encode(x.channel(alt.X, "x")))
    best = scatter.find_front([row for row in rows if row["paradigm"] == "dp_sgd"], x, y)
    if len(best) > 1:
        line = look.plot([{"x": x.of(row), "y": y.of(row), "Paradigm": row["Paradigm"]} for row in best])
        encoded = line.mark_line(strokeWidth=1.2, opacity=0.45).encode(x.channel(alt.X, "x"), y.channel(alt.Y, "y"))
        layers.append(encoded.encode(color=look.color(rows, layout), order=alt.Order("x:Q")))
    return layers
