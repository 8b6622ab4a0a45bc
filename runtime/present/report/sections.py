"""Sections of the report as HTML. Every text that comes from a spec, a task or a database passes `escape`.

Not here: what is shown (`read`), the page around it (`runtime.present.report`).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from runtime.present.charts import CHARTS, look
from runtime.present.charts.gallery import Sheet
from runtime.present.paradigms import ordered, present, printed
from runtime.present.report.html import control, count_of, epsilon, listed, measured, moment, named, significance, swatch, table
from runtime.present.report.read import Results, Row

RELEASES = {
    "final_model": "the confidences of the final model",
    "labels_only": "only the labels that the final model gives",
    "synthetic_set": "the synthetic set",
    "index_list": "which images were selected",
    "generator": "the generator",
    "teacher": "the teacher",
}
Title = tuple[str, list[str]]
"""Of a chart: its heading, and the conditions of its figures."""
VERDICTS = {"supported": "✓ supported", "refuted": "✗ refuted"}
"""Anything else is open."""


def summary(results: Results) -> str:
    """What the study looked at, before any figure."""
    run, first = results.run, next(iter(results.comparison), {})
    measured = [row for row in results.comparison if row["test_accuracy"] is not None]
    facts = {
        "Data": first.get("data") or "unknown",
        "Trials": f"{len(measured)} of {len(results.comparison)} measured",
        "Shadow models": f"{first['shadows']} per trial" if first.get("shadows") else "unknown",
        "Profile": run["profile"] or "default",
        "Run": f"{moment(run['started'])}, {run['status']}",
    }
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    invalid = [row["label"] for row in results.comparison if row["null_ok"] is False]
    warnings = []
    if invalid:
        warnings.append(f"The null control failed for {listed(invalid)}: figures of these trials are invalid.")
    if results.failed:
        warnings.append(f"{len(results.failed)} tasks failed or wait for one that did; what depends on them is missing.")
    if run["status"] == "running":
        warnings.append("The run has not ended: figures are of what was done when the database was published.")
    for lint in results.run["lints"] or ():
        if isinstance(lint, dict) and lint.get("seen_in") == "results" and not lint.get("silenced"):
            warnings.append(f"{lint['code']}: {lint['message']}.")
    told = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
    return f'<dl class="facts">{shown}</dl>{told}'


def headline(results: Results) -> str:
    """The one figure that was declared in advance, in a sentence."""
    wanted = results.run["headline"] or {}
    if not wanted:
        return ""
    seen = RELEASES.get(wanted.get("release", ""), str(wanted.get("release")))
    attack = next((f"{row['attack']} {row['variant']}" for row in results.comparison if row["attack"]), wanted.get("attack"))
    fpr = wanted.get("fpr")
    rate = look.percent(fpr) if isinstance(fpr, int | float) else "the declared rate of"
    return (
        "<p>Leakage is the headline that the study declared in advance: the share of members that the attack "
        f"<code>{escape(str(attack))}</code> recognises among <code>{escape(str(wanted.get('canaries')))}</code> canaries "
        f"while it wrongly accuses {escape(rate)} of the non-members. The adversary sees {escape(seen)}. "
        f"Guessing gives {escape(rate)}.</p>"
    )


def answer(results: Results) -> str:
    """The verdicts, or a sentence where there are none."""
    if not results.claims:
        return "<p>This study declares no claims, so there are no verdicts. The comparison below shows what was measured.</p>"
    counts = Counter(str(row["verdict"]) for row in results.claims)
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts, key=[*VERDICTS, *counts].index))
    items = "".join(_claim(row, [pair for pair in results.pairs if pair["claim"] == row["claim"]]) for row in results.claims)
    count = f"{len(results.claims)} claim{'s' if len(results.claims) != 1 else ''}"
    return f'<p>{count}, written down before the data existed: {escape(total)}.</p><ol class="claims">{items}</ol>'


def _claim(row: Row, pairs: Sequence[Row]) -> str:
    verdict = str(row["verdict"] or "no verdict")
    kind = verdict if verdict in VERDICTS else "open"
    figure = f"effect {_effect(row)}" if row["effect"] is not None else "effect not resolvable"
    tested = " of ".join(str(row[name]) for name in ("test", "metric") if row.get(name))
    margin = f"margin {_signed(row['margin'], 'g')}" if row.get("margin") is not None else ""
    words = [figure, f"test: {tested}" if tested else "", margin]
    if row.get("compared"):
        words.append(f"claimed of {row['pairs']} of {row['compared']} pair{'s' if row['compared'] != 1 else ''} of trials")
    note = f"<p class=soft>{escape(str(row['note']))}</p>" if row.get("note") else ""
    return (
        f"<li><h3>{escape(str(row['statement'] or row['claim']))}</h3>"
        f'<p><span class="verdict {kind}">{escape(VERDICTS.get(verdict, verdict))}</span> '
        f"{escape('; '.join(filter(None, words)))}</p>"
        f"{note}{_pairs(row, pairs)}</li>"
    )


def _pairs(claim: Row, pairs: Sequence[Row]) -> str:
    if not pairs:
        return ""
    rows = [
        [
            f"<td>{escape(str(pair['left'] or ''))}</td>",
            f"<td>{escape(str(pair['right'] or ''))}</td>",
            f'<td class="figure">{escape(_effect(pair) if pair["effect"] is not None else "not resolvable")}</td>',
            f"<td>{significance(pair['p'])}</td>",
            f"<td>{escape(str(pair['verdict']))}</td>",
            f"<td>{escape(str(pair['note'] or ''))}</td>",
        ]
        for pair in pairs
    ]
    name = f"Pairs of {claim['claim']}"
    inner = table(name, ("left", "right", "effect, interval, n", "adjusted p", "verdict", "note"), rows)
    each = f"Each of the {len(pairs)} pairs" if len(pairs) > 1 else "The pair"
    return f"<details><summary>{each} of trials</summary>{inner}</details>"


def _effect(row: Row) -> str:
    ends = (row["low"], row["high"])
    interval = "no interval" if None in ends else f"[{_signed(ends[0])}, {_signed(ends[1])}]"
    return f"{_signed(row['effect'])} {interval}, n\u00a0=\u00a0{count_of(row['n'])}"


def _signed(value: float, how: str = ".3f") -> str:
    """With a minus sign in place of a hyphen, at which no line breaks."""
    return format(value, how).replace("-", "−", 1)


def comparison(results: Results) -> str:
    """All trials with figures, intervals and n; a trial whose null control failed says so."""
    trials = ordered(results.comparison)
    rows = [
        [
            f'<th scope="row">{escape(named(row))}</th>',
            f"<td>{swatch(row['paradigm'])}</td>",
            measured(row, "test_accuracy", row["shadows"], share=True),
            measured(row, "leakage", row["leakage_n"], share=True),
            measured(row, "auc", row.get("auc_n")),
            f'<td class="figure">{epsilon(row["epsilon"])}</td>',
            measured(row, "seconds", row["shadows"], digits=1),
            f"<td>{control(row['null_ok'])}</td>",
        ]
        for row in trials
    ]
    attributes = [
        f' data-paradigm="{escape(printed(row["paradigm"]))}"' + (' class="invalid"' if row["null_ok"] is False else "")
        for row in trials
    ]
    heads = ("trial", "paradigm", "test accuracy", "leakage", "AUC", "ε guaranteed", "seconds", "null control")
    notes = {row["leakage_note"] for row in results.comparison if row["leakage_note"]}
    told = "".join(f"<p class=soft>Leakage: {escape(note)}</p>" for note in sorted(notes))
    about = (
        "Brackets: 95 % intervals. n counts shadow models for accuracy and seconds, non-member scores for leakage, "
        "all scores for AUC. "
        "ε is the accountant's, not a measurement. Seconds are of one shadow's whole pipeline."
    )
    return table(about, heads, rows, attributes) + told + _by_attack(results)


def _by_attack(results: Results) -> str:
    """The same rate by every other attack and group: the headline is one choice among them, and here are the others.

    A table for each group of canaries and release level, the declared ones first: all in one would be wider than any page.
    """
    if len({(row["canaries"], row["attack"], row["variant"], row["release"]) for row in results.figures}) < 2:
        return ""
    declared = results.run["headline"] or {}
    first = (declared.get("release"), declared.get("canaries"))
    levels = {(str(row["release"]), str(row["canaries"])) for row in results.figures}
    chosen = sorted(levels, key=lambda level: (level[0] != first[0], level[1] != first[1], level))
    inner = "".join(_at_level(results, release, canaries) for release, canaries in chosen)
    return f"<details><summary>All attacks and groups of canaries</summary>{inner}</details>"


def _at_level(results: Results, release: str, canaries: str) -> str:
    found = [row for row in results.figures if (row["release"], row["canaries"]) == (release, canaries)]
    columns = sorted({(str(row["attack"]), str(row["variant"])) for row in found})
    by_trial = {(row["trial"], row["attack"], row["variant"]): row for row in found}
    trials = [trial for trial in ordered(results.comparison) if any(row["trial"] == trial["trial"] for row in found)]
    rows = []
    for trial in trials:
        cells = [by_trial.get((trial["trial"], *column)) for column in columns]
        rows.append(
            [f'<th scope="row">{escape(named(trial))}</th>']
            + ["<td>–</td>" if cell is None else measured(cell, "", cell["n"], share=True) for cell in cells]
        )
    about = f"{canaries} canaries; the adversary sees {RELEASES.get(release, release)}. TPR at the headline's false-positive rate; "
    heads = ["trial", *(f"{attack} {variant}" for attack, variant in columns)]
    attributes = [f' data-paradigm="{escape(printed(row["paradigm"]))}"' for row in trials]
    return table(f"{about}brackets: 95 % intervals.", heads, rows, attributes)


def charts(titles: Mapping[str, Title], results: Results, narrow: Iterable[str] = ("vulnerability", "epsilon")) -> str:
    """Places for the charts, and the buttons that choose a paradigm in all of them."""
    there = present(row for row in results.comparison if row["paradigm"])
    buttons = "".join(
        f'<button type="button" aria-pressed="false" data-paradigm="{escape(printed(name))}">{swatch(name)}</button>'
        for name in there
    )
    chooser = (
        '<div class="chooser" role="group" aria-label="Show one paradigm in all charts">'
        f'<button type="button" aria-pressed="true">All</button>{buttons}</div>'
        '<p id="chosen-status" class="soft" role="status">Charts show all paradigms.</p>'
        '<noscript><p class="warning">The charts need JavaScript; their figures stand in the tables.</p></noscript>'
    )
    figures = "".join(figure(name, title, name in narrow) for name, title in titles.items())
    return f'{chooser}<div class="figures">{figures}</div>'


def figure(name: str, title: Title, narrow: bool = False) -> str:
    """The place of a chart under its title and conditions."""
    heading, conditions = title
    lines = "<br>".join(map(escape, conditions))
    return (
        f'<figure class="{"narrow" if narrow else "wide"}" aria-labelledby="{name}-heading">'
        f'<h3 id="{name}-heading">{escape(heading)}</h3><p class="conditions">{lines}</p>'
        f'<div class="chart" id="chart-{name}" role="img" tabindex="0" aria-busy="true" aria-label="{escape(_spoken(name))}"></div>'
        "</figure>"
    )


def _spoken(name: str) -> str:
    return f"Chart: {CHARTS[name].about}. Its figures stand in the comparison table."


def gallery(results: Results, with_private: bool) -> str:
    """A contact sheet per trial that makes a set."""
    if not results.store_found:
        return "<p>The store is not at hand, so there are no images to show; name it with <code>--store</code>.</p>"
    if not results.sets:
        return "<p>No trial of this study makes a synthetic set.</p>"
    about = "Sets of shadow 0, the first images of each class, a row per class. "
    if with_private:
        about += "<strong>This report was made with private images: do not pass it on.</strong>"
    shown = [(row, sheet) for row, sheet in results.sets if sheet.png is not None]
    withheld = [f"{row['label']} ({sheet.images:,} images)" for row, sheet in results.sets if sheet.png is None]
    kept = (
        "<p>Sets made of private images (coresets, learned images that began as private ones, image-to-image twins) count as "
        f"private and are withheld; <code>--with-private-images</code> shows them: {escape(', '.join(withheld))}.</p>"
        if withheld
        else ""
    )
    return f'<p>{about}</p>{kept}<div class="gallery">' + "".join(_sheet(row, sheet) for row, sheet in shown) + "</div>"


def _sheet(row: Row, sheet: Sheet) -> str:
    assert sheet.png is not None
    rows = f"rows are the classes {', '.join(map(str, sheet.classes))}"
    body = _image(sheet.png, f"{sheet.shown} of {sheet.images} images of {row['label']}; {rows}")
    if sheet.nearest is not None:
        body += "<p>The nearest private image of each:</p>" + _image(sheet.nearest, f"Nearest private images of {row['label']}")
    if sheet.pairs is not None:
        rows = "; ".join(sheet.kept)
        body += f"<p>Canaries, and below each the image of its shadow's set that is nearest. Pairs of rows: {escape(rows)}.</p>"
        body += _image(sheet.pairs, f"Canaries of {row['label']} above their nearest synthetic images: {rows}")
    private = " (private images)" if sheet.private else ""
    return (
        f'<figure class="sheet" data-paradigm="{escape(printed(row["paradigm"]))}">'
        f"<figcaption>{swatch(row['paradigm'], escape(str(row['label'])))}{private}<br>{sheet.shown} of {sheet.images:,} images"
        f"</figcaption>{body}</figure>"
    )


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def warnings(results: Results) -> str:
    """What the compiler and the audit had to say, and what went wrong."""
    parts = []
    if results.run["lints"]:
        parts.append("<h3>Of the lints</h3>" + _lints(results.run["lints"]))
    flags = [(named(row), row["flags"]) for row in results.comparison if row["flags"]]
    if flags:
        items = "".join(f"<li><strong>{escape(name)}</strong>: {escape(text)}</li>" for name, text in flags)
        parts.append(f"<h3>Of the audit</h3><ul>{items}</ul>")
    if results.failed:
        rows = [
            [
                f'<th scope="row">{escape(row["address"])}</th>',
                f"<td>{escape(row['status'])}</td>",
                f"<td>{row['attempts']}</td>",
                f"<td>{escape(str(row['error'] or ''))}</td>",
            ]
            for row in results.failed
        ]
        parts.append(
            "<h3>Tasks without a result</h3>"
            + table("Failed, or waiting for one that did.", ("task", "status", "attempts", "error"), rows)
        )
    return "".join(parts) or "<p>No lint, no flag of the audit, no failed task.</p>"


def _lints(lints: Sequence[Any]) -> str:
    """By code: why it matters, where it was seen, and for which reason the study goes on."""
    by_code: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for lint in lints:
        known = lint if isinstance(lint, dict) else {"message": lint}
        told = tuple(str(known.get(name) or "") for name in ("code", "title", "because", "source", "silenced"))
        by_code.setdefault(told, []).append(known)
    items = []
    for (code, title, because, source, silenced), found in by_code.items():
        reason = f"<p><em>Silenced: {escape(silenced)}</em></p>" if silenced else ""
        why = f"<p>{escape(because)}. Source: {escape(source)}.</p>" if because else ""
        heading = ": ".join(escape(word) for word in (code, title) if word)
        seen = "".join(f"<li>{_seen(lint)}</li>" for lint in found)
        items.append(f"<li><strong>{heading}</strong>{why}<ul>{seen}</ul>{reason}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _seen(lint: Mapping[str, Any]) -> str:
    hint = f"; {escape(str(lint['hint']))}" if lint.get("hint") else ""
    where = f"<code>{escape(str(lint['place']))}</code>: " if lint.get("place") else "In the results: "
    return f"{where}{escape(str(lint.get('message')))}{hint}"
