"""Chart: loss curves of all trainings of a trial (classifier, generator, distilled images), to find out why one learned nothing."""

from __future__ import annotations

from typing import Any

import altair as alt

from runtime.present.charts import look
from runtime.present.charts.look import Layout
from runtime.present.paradigms import Row, doubts_of

QUERY = """
SELECT comparison.*, part, stage, shadow, losses FROM (
  SELECT origin, study, profile, trial, shadow, part, task, stage, list(loss ORDER BY step) AS losses,
    row_number() OVER (PARTITION BY origin, study, profile, trial, shadow, part, task ORDER BY stage DESC) AS place
  FROM training GROUP BY origin, study, profile, trial, shadow, part, task, stage)
JOIN comparison USING (origin, study, profile, trial) WHERE place = 1
"""
"""A student that is trained by its synthesis is one task with two stages, and has one curve."""


def draw(rows: list[Row], layout: Layout) -> Any:
    """A panel for each training of a trial that logged a loss: a thin line for each shadow, over the share of the training that is
    done, and a mark at the mean of their last losses. A message where none logged a loss."""
    rows = sorted(look.identify(rows), key=lambda row: (row["number"], *_place(row), row["shadow"]))
    parts = {row["number"]: set[tuple[str, str]]() for row in rows}
    for row in rows:
        parts[row["number"]].add((row["stage"], row["part"]))
    panels: dict[tuple[int, str, str], list[Row]] = {}
    for row in rows:
        if any(loss is not None for loss in row["losses"]):
            panels.setdefault((row["number"], row["stage"], row["part"]), []).append(row)
    if not panels:
        return look.draw_nothing("no training logged a loss", layout)
    chosen = look.choose_paradigm()
    across = min(len(panels), 2 * layout.across if layout.across == 1 else 4)
    width = (layout.width - (across - 1) * look.AXIS_WIDTH) / across
    drawn: list[Any] = []
    for shown in panels.values():
        layers = _marks(shown, rows, layout, chosen)
        if not drawn:
            layers[0] = layers[0].add_params(chosen)
        # As marks, since Vega moves a title up if a label is above the panel, and headings would not be aligned.
        for text, above in ((shown[0]["name"], 20), (_name(shown[0], parts[shown[0]["number"]]), 9)):
            head = look.plot([{"text": look.shorten(text, layout.letters(width + 20))}])
            head = head.mark_text(align="left", fontSize=layout.small, color=look.INK if above > 9 else look.SOFT)
            layers.append(head.encode(x=alt.XValue(0), y=alt.YValue(-above), text=alt.Text("text:N")))
        drawn.append(alt.layer(*layers).properties(width=width, height=0.6 * width))
    title = look.make_title(
        "How it was learned",
        look.describe_conditions(rows, scores=False),
        "what each training lowered, from start to end; a line for each shadow; scales differ; marks: mean at the end",
        *look.name_doubtful(rows),
        layout=layout,
    )
    return look.arrange(drawn, across, spacing=look.AXIS_WIDTH, bounds="flush") | {"title": title}


def _marks(rows: list[Row], everyone: list[Row], layout: Layout, chosen: Any) -> list[Any]:
    """Marks of one panel: the lines, which come first since they carry the selection, and the mean of the last losses that are
    there."""
    of_trial = {"name": rows[0]["name"], "Paradigm": rows[0]["Paradigm"], "doubt": doubts_of(rows[0])}
    lines = look.plot([{**of_trial, "shadow": row["shadow"], "losses": row["losses"]} for row in rows], chosen)
    lines = lines.transform_calculate(at="sequence(1, length(datum.losses) + 1)", count="length(datum.losses)")
    lines = lines.transform_flatten(["losses", "at"], as_=["loss", "at"]).transform_calculate(done="datum.at / datum.count")
    x = alt.X(
        "done:Q",
        title=None,
        axis=alt.Axis(labelExpr=look.PERCENT, values=[0, 0.5, 1]),
        scale=alt.Scale(domain=[0, 1.04], nice=False),
    )
    y = alt.Y("loss:Q", title=None, axis=alt.Axis(tickCount=4, format=".4~g"), scale=alt.Scale(zero=False))
    color = look.color(everyone, layout)
    ends = [row["losses"][-1] for row in rows if row["losses"][-1] is not None]
    mean = [{**of_trial, "done": 1, "loss": sum(ends) / len(ends)}] if ends else []
    tooltip = look.tooltip(("loss:Q", "mean of the last losses", ".4g"))
    return [
        lines.mark_line(strokeWidth=0.7, opacity=0.55).encode(x, y, color=color, detail=alt.Detail("shadow:N")),
        *look.draw_points(look.plot(mean, chosen), 40, x=x, y=y, color=color, shape=look.shape(everyone, layout), tooltip=tooltip),
    ]


def _place(row: Row) -> tuple[int, str, str]:
    return {"model": 2, "synthesize": 1}.get(row["stage"], 0), row["stage"], row["part"]


def _name(row: Row, of_trial: set[tuple[str, str]]) -> str:
    """Name of a training: its `part` in the stages `synthesize` and `model`, else its stage without `train `; where the stage has
    several trainings, their parts are put behind. `of_trial`: (stage, part) of each training of the trial."""
    stage = str(row["part"] if row["stage"] in ("synthesize", "model") else row["stage"]).removeprefix("train ")
    several = len([part for name, part in of_trial if name == row["stage"]]) > 1
    return f"{stage}: {row['part']}" if several and stage != row["part"] else stage
