"""Chart: cost in seconds of one shadow's pipeline, against accuracy and against leakage."""

from __future__ import annotations

from typing import Any

from runtime.present.charts import look, scatter
from runtime.present.charts.look import Layout
from runtime.present.paradigms import Row

QUERY = "SELECT * FROM comparison"


def draw(rows: list[Row], layout: Layout) -> Any:
    """Two panels, accuracy and leakage (log odds) against seconds (logarithmic), each with intervals and its Pareto front. Trials
    without an accuracy or a cost are left out, and named; a message where none is left."""
    everyone = scatter.describe(look.identify(rows))
    rows = [row for row in everyone if row["seconds"] is not None and row["test_accuracy"] is not None]
    if not rows:
        return look.draw_nothing("no trial has both an accuracy and a cost", layout)
    x = scatter.log_axis("seconds", "Seconds per shadow", rows, better=-1)
    leaks = f"Leakage: {look.describe_leakage(rows)}, log odds"
    upright = scatter.share_axis("test_accuracy", "Test accuracy", rows, 1), scatter.odds_axis("leakage", leaks, rows, -1)
    chosen = look.choose_paradigm()
    panels = []
    for y in upright:
        shown = [row for row in rows if row[y.figure] is not None or y.unresolved is not None]
        panels.append(scatter.draw_panel(shown, x, y, layout.panel(2, 0.85), layout, chosen, ()))
    panels[0].layer[0] = panels[0].layer[0].add_params(chosen)
    title = look.make_title(
        "What it costs",
        look.describe_conditions(rows),
        "mean wall-clock seconds over shadows, comparable on one device only; bars: 95\u00a0% intervals; dashed: best for its time",
        "n.\u2009r.: not resolvable" if upright[1].unresolved is not None else "",
        *look.name_doubtful(rows),
        scatter.name_lower(rows, upright[0]),
        look.name_unresolved(everyone, "seconds", "test_accuracy"),
        layout=layout,
    )
    return scatter.add_key(look.arrange(panels, layout.across), rows, layout, chosen) | {"title": title}
