"""Forest plot of the claims: each effect with its interval, and the verdict in words. Colours of paradigms are not used here."""

from __future__ import annotations

import textwrap

import altair as alt

from runtime.charts import look

QUERY = "SELECT * FROM claim"
WIDEST = 44
"""Letters of a claim in one line of the axis."""


def draw(rows: list[look.Row], theme: look.Theme) -> alt.TopLevelMixin:
    """One row per claim in the order of the spec. A claim without an effect keeps its row, and its verdict says why."""
    studies = {(row.get("study"), row.get("profile")) for row in rows}
    data = [_row(row, several=len(studies) > 1) for row in rows]
    ends = [value for row in data for value in (row["effect"], row["low"], row["high"]) if value is not None] or [-1.0, 1.0]
    span = max(*ends, 0.0) - min(*ends, 0.0) or 1.0
    domain = [min(*ends, 0.0) - 0.05 * span, max(*ends, 0.0) + 0.05 * span]
    order = [row["label"] for row in data]
    base = alt.Chart(alt.Data(values=data))
    y = alt.Y(
        "label:N",
        title=None,
        sort=order,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelExpr="split(datum.label, '\\n')", labelLimit=300, labelPadding=8, ticks=False),
    )
    x = alt.X("effect:Q", title="Effect, with its interval", scale=alt.Scale(domain=domain, nice=False))
    verdicts = list(dict.fromkeys(row["verdict"] for row in data))
    # Which verdict stands for good news depends on the claim, so a shape tells them apart and no colour judges.
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=verdicts, range=_shapes(len(verdicts))), legend=None)
    tooltip = [
        alt.Tooltip("statement:N", title="claim"),
        alt.Tooltip("effect:Q", format=".3f"),
        alt.Tooltip("interval:N"),
        alt.Tooltip("p:Q", title="adjusted p", format=".2g"),
        alt.Tooltip("n:Q", format=","),
        alt.Tooltip("verdict:N"),
    ]
    bars = base.mark_rule(strokeWidth=1.6, color=look.INK).encode(alt.X("low:Q"), y, alt.X2("high:Q"))
    marks = (
        base.transform_filter("isValid(datum.effect)")
        .mark_point(filled=True, size=70, opacity=1, color=look.INK)
        .encode(x, y, shape=shape, tooltip=tooltip)
    )
    zero = alt.Chart(alt.Data(values=[{"effect": 0}])).mark_rule(color=look.LINE, strokeDash=[3, 3]).encode(x)
    width = look.theme_size(theme, 0.8)[0]
    words = base.mark_text(align="left", fontSize=10, color=look.SOFT).encode(x=alt.value(width + 10), y=y, text="shown:N")
    n = sorted({row["n"] for row in data if row["n"] is not None})
    title = look.titled(
        "What was claimed",
        f"{len(data)} claim{'s' if len(data) != 1 else ''}, written down before the data existed"
        + (f"; n = {n[0]:,}" if len(n) == 1 else f"; n = {n[0]:,} to {n[-1]:,}" if n else ""),
        "dashed: no effect; effects of different tests have different units",
        width=width * 2,
    )
    return alt.layer(zero, bars, marks, words).properties(width=width, height=alt.Step(38), title=title)


def _row(row: look.Row, several: bool) -> look.Row:
    statement = " ".join(str(row.get("statement") or row.get("claim") or "").split())
    study = ":".join(str(part) for part in (row.get("study"), row.get("profile")) if part)
    label = "\n".join(textwrap.wrap(look.short(f"{study}: {statement}" if several else statement, 2 * WIDEST), WIDEST)) or "claim"
    verdict = str(row.get("verdict") or "no verdict")
    p = row.get("adjusted_p", row.get("p_adjusted", row.get("p")))
    return {
        "label": label,
        "statement": statement,
        "claim": row.get("claim"),
        "effect": row.get("effect"),
        "low": row.get("low"),
        "high": row.get("high"),
        "n": row.get("n"),
        "p": p,
        "verdict": verdict,
        "shown": look.short(verdict, 40),
        "interval": look.interval({"of_low": row.get("low"), "of_high": row.get("high")}, "of"),
    }


def _shapes(count: int) -> list[str]:
    known = ["circle", "diamond", "square", "triangle-up", "cross", "triangle-down"]
    return [known[place % len(known)] for place in range(count)]
