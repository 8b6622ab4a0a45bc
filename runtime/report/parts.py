"""Sections of the report as HTML. Every text that comes from a spec, a task or a database passes `escape`.

Not here: what is shown (`read`), the page around it (`runtime.report`).
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from pydantic import BaseModel

from compiler.spec.audit import variant_name
from runtime.charts import CHARTS, look
from runtime.charts.gallery import Sheet
from runtime.report.read import Arm, Results, Row

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
        "Run": f"{_moment(run['started'])}, {run['status']}",
    }
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    invalid = [row["label"] for row in results.comparison if row["null_ok"] is False]
    warnings = []
    if invalid:
        warnings.append(f"The null control failed for {_listed(invalid)}: figures of these trials are invalid.")
    if results.failed:
        warnings.append(f"{len(results.failed)} tasks failed or wait for one that did; what depends on them is missing.")
    if run["status"] == "running":
        warnings.append("The run has not ended: figures are of what was done when the database was published.")
    told = "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)
    return f'<dl class="facts">{listed}</dl>{told}'


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
        f"<p>Leakage is the headline that the study declared in advance: the share of members that the attack <code>{escape(str(attack))}"
        f"</code> recognises among <code>{escape(str(wanted.get('canaries')))}</code> canaries while it wrongly accuses {escape(rate)} of the "
        f"non-members. The adversary sees {escape(seen)}. Guessing gives {escape(rate)}.</p>"
    )


def answer(results: Results) -> str:
    """The verdicts, or a sentence where there are none."""
    if not results.claims:
        return "<p>This study declares no claims, so there are no verdicts. The comparison below shows what was measured.</p>"
    counts = {verdict: sum(row["verdict"] == verdict for row in results.claims) for verdict in VERDICTS}
    rest = len(results.claims) - sum(counts.values())
    total = ", ".join([*(f"{count} {verdict}" for verdict, count in counts.items()), f"{rest} undecided"])
    items = "".join(_claim(row, [pair for pair in results.pairs if pair["claim"] == row["claim"]]) for row in results.claims)
    return f'<p>{len(results.claims)} claims, written down before the data existed: {total}.</p><ol class="claims">{items}</ol>'


def _claim(row: Row, pairs: Sequence[Row]) -> str:
    verdict = str(row["verdict"] or "no verdict")
    kind = verdict if verdict in VERDICTS else "open"
    figure = f"effect {_effect(row)}" if row["effect"] is not None else "effect not resolvable"
    tested = " ".join(str(row[name]) for name in ("test", "metric") if row.get(name))
    words = [figure, f"test: {tested}" if tested else "", f"margin {row['margin']:g}" if row.get("margin") is not None else ""]
    if row.get("compared"):
        words.append(f"{row['compared']} pair{'s' if row['compared'] != 1 else ''} of trials, claimed of {row['pairs']}")
    note = f"<p class=soft>{escape(str(row['note']))}</p>" if row.get("note") else ""
    return (
        f"<li><h3>{escape(str(row['statement'] or row['claim']))}</h3>"
        f'<p><span class="verdict {kind}">{escape(VERDICTS.get(verdict, verdict))}</span> {escape("; ".join(filter(None, words)))}</p>'
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
            f"<td>{_significance(pair['p'])}</td>",
            f"<td>{escape(str(pair['verdict']))}</td>",
            f"<td>{escape(str(pair['note'] or ''))}</td>",
        ]
        for pair in pairs
    ]
    name = f"Pairs of {claim['claim']}"
    inner = table(name, ("left", "right", "effect, interval, n", "adjusted p", "verdict", "note"), rows)
    return f"<details><summary>The {len(pairs)} pair{'s' if len(pairs) != 1 else ''} of trials</summary>{inner}</details>"


def _effect(row: Row) -> str:
    interval = f"[{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None and row["high"] is not None else "no interval"
    return f"{row['effect']:.3f} {interval}, n = {_count(row['n'])}"


def comparison(results: Results) -> str:
    """All trials with figures, intervals and n; a trial whose null control failed says so."""
    trials = ordered(results.comparison)
    rows = [
        [
            f'<th scope="row">{escape(_name(row))}</th>',
            f"<td>{swatch(row['paradigm'])}</td>",
            measured(row, "test_accuracy", row["shadows"], share=True),
            measured(row, "leakage", row["leakage_n"], share=True),
            measured(row, "auc", row.get("auc_n")),
            f'<td class="figure">{_epsilon(row["epsilon"])}</td>',
            measured(row, "seconds", row["shadows"], digits=1),
            f"<td>{_control(row['null_ok'])}</td>",
        ]
        for row in trials
    ]
    attributes = [
        f' data-paradigm="{escape(_printed(row["paradigm"]))}"' + (' class="invalid"' if row["null_ok"] is False else "")
        for row in trials
    ]
    heads = ("trial", "paradigm", "test accuracy", "leakage", "AUC", "ε guaranteed", "seconds", "null control")
    notes = {row["leakage_note"] for row in results.comparison if row["leakage_note"]}
    told = "".join(f"<p class=soft>Leakage: {escape(note)}</p>" for note in sorted(notes))
    about = (
        "Brackets: 95 % intervals. n counts shadow models for accuracy and seconds, non-member scores for leakage, all scores for AUC. "
        "ε is the accountant's, not a measurement. Seconds are of one shadow's whole pipeline."
    )
    return table(about, heads, rows, attributes) + told + _by_attack(results)


def _by_attack(results: Results) -> str:
    """The same rate by every other attack and group: the headline is one choice among them, and here are the others."""
    columns = sorted({(row["canaries"], row["attack"], row["variant"], row["release"]) for row in results.figures})
    if len(columns) < 2:
        return ""
    by_trial = {(row["trial"], row["canaries"], row["attack"], row["variant"], row["release"]): row for row in results.figures}
    rows = []
    for trial in ordered(results.comparison):
        cells = [by_trial.get((trial["trial"], *column)) for column in columns]
        rows.append(
            [f'<th scope="row">{escape(_name(trial))}</th>']
            + ["<td>–</td>" if cell is None else measured(cell, "", cell["n"], share=True) for cell in cells]
        )
    heads = ["trial", *(f"{canaries}: {attack} {variant}, {release}" for canaries, attack, variant, release in columns)]
    attributes = [f' data-paradigm="{escape(_printed(row["paradigm"]))}"' for row in ordered(results.comparison)]
    inner = table("TPR at the headline's false-positive rate; brackets: 95 % intervals.", heads, rows, attributes)
    return f"<details><summary>All attacks and groups of canaries</summary>{inner}</details>"


def charts(titles: Mapping[str, Title], results: Results, narrow: Iterable[str] = ("vulnerability", "epsilon")) -> str:
    """Places for the charts, and the buttons that choose a paradigm in all of them."""
    there = look.present(row for row in results.comparison if row["paradigm"])
    buttons = "".join(
        f'<button type="button" aria-pressed="false" data-paradigm="{escape(_printed(name))}">{swatch(name)}</button>'
        for name in there
    )
    chooser = (
        '<div class="chooser" role="group" aria-label="Show one paradigm in all charts">'
        f'<button type="button" aria-pressed="true">All</button>{buttons}</div>'
        '<p id="chosen-status" class="soft" role="status">Charts show all paradigms.</p>'
        '<noscript><p class="warning">The charts need JavaScript; their figures stand in the tables.</p></noscript>'
    )
    return chooser + "".join(figure(name, title, name in narrow) for name, title in titles.items())


def figure(name: str, title: Title, narrow: bool = False) -> str:
    """The place of a chart under its title and conditions."""
    heading, conditions = title
    lines = "<br>".join(map(escape, conditions))
    return (
        f'<figure class="{"narrow" if narrow else "wide"}" aria-labelledby="{name}-heading"><h3 id="{name}-heading">{escape(heading)}</h3>'
        f'<p class="conditions">{lines}</p><div class="chart" id="chart-{name}" role="img" tabindex="0" aria-busy="true" '
        f'aria-label="{escape(_spoken(name))}"></div></figure>'
    )


def _spoken(name: str) -> str:
    return f"Chart: {CHARTS[name].about}. Its figures stand in the comparison table."


def gallery(results: Results, with_private: bool) -> str:
    """A contact sheet per trial that makes a set."""
    if not results.store_found:
        return "<p>The store is not at hand, so there are no images to show; name it with <code>--store</code>.</p>"
    if not results.sets:
        return "<p>No trial of this study makes a synthetic set.</p>"
    hidden = any(sheet.private for _, sheet in results.sets) and not with_private
    about = "Sets of shadow 0, the first images of each class, a row per class. "
    about += (
        "Sets made of private images (coresets, learned images that began as private ones, image-to-image twins) count as private and are "
        "left out; <code>--with-private-images</code> shows them."
        if hidden
        else "This report was made with private images: do not pass it on."
        if with_private
        else ""
    )
    return f'<p>{about}</p><div class="gallery">' + "".join(_sheet(row, sheet) for row, sheet in results.sets) + "</div>"


def _sheet(row: Row, sheet: Sheet) -> str:
    label = escape(str(row["label"]))
    if sheet.png is None:
        body = f'<p class="withheld">Withheld: these {sheet.images:,} images are, or began as, private ones.</p>'
    else:
        rows = f"rows are the classes {', '.join(map(str, sheet.classes))}"
        body = _image(sheet.png, f"{sheet.shown} of {sheet.images} images of {row['label']}; {rows}")
        if sheet.nearest is not None:
            body += "<p>The nearest private image of each:</p>" + _image(sheet.nearest, f"Nearest private images of {row['label']}")
    private = " (private images)" if sheet.private and sheet.png is not None else ""
    count = f"{sheet.shown} of {sheet.images:,} images shown" if sheet.png is not None else f"{sheet.images:,} images"
    return (
        f'<figure class="sheet" data-paradigm="{escape(_printed(row["paradigm"]))}">'
        f"<figcaption>{swatch(row['paradigm'], label)}{private}<br>{count}</figcaption>{body}</figure>"
    )


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def warnings(results: Results) -> str:
    """What the compiler and the audit had to say, and what went wrong."""
    parts = []
    lints = results.run["lints"] or []
    if lints:
        parts.append("<h3>Of the compiler</h3><ul>" + "".join(f"<li>{_lint(lint)}</li>" for lint in lints) + "</ul>")
    flags = [(_name(row), row["flags"]) for row in results.comparison if row["flags"]]
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


def _lint(lint: Any) -> str:
    """A lint as the run recorded it: a mapping with code, message, …, or a text."""
    if not isinstance(lint, dict):
        return escape(str(lint))
    known = {name: lint.get(name) for name in ("code", "message", "hint", "place", "silenced")}
    why = known["silenced"]
    told = f" <em>Silenced: {escape(str(why))}</em>" if why else ""
    hint = f"; {escape(str(known['hint']))}" if known["hint"] else ""
    where = f"<br><code>{escape(str(known['place']))}</code>" if known["place"] else ""
    return f"<strong>{escape(str(known['code'] or 'lint'))}</strong>: {escape(str(known['message'] or lint))}{hint}{told}{where}"


def methods(results: Results) -> str:
    """The audit's words, then each arm's: every parameter as the compiler resolved it, defaults included."""
    if not any(words for arm in results.arms for words in arm.words):
        return "<p>The store is not at hand: resolved parameters are left out. The spec below has what was asked.</p>"
    audit = ""
    if results.audit is not None:
        told = {name: getattr(results.audit, name) for name in AUDIT if hasattr(results.audit, name)}
        attacks = ", ".join(f"{attack.attack} {variant_name(attack)}" for attack in told.pop("attacks", ()))
        told = {name: value for name, value in told.items()} | ({"attacks": attacks} if attacks else {})
        population = getattr(results.audit, "population", None)
        for name, group in getattr(population, "groups", ()):
            told[f"canaries {name}"] = ", ".join(f"{key} {value}" for key, value in _flat(group).items())
        rows = [[f'<th scope="row">{escape(name)}</th>', f"<td>{escape(_shown(value))}</td>"] for name, value in told.items()]
        audit = "<h3>The audit</h3>" + table("The same for every trial.", ("parameter", "value"), rows)
    return audit + "<h3>The arms</h3>" + "".join(_arm(arm) for arm in results.arms)


AUDIT = ("design", "shadows", "queries", "attacks", "fpr", "resamples", "null_permutations", "confidence", "delta")


def _arm(arm: Arm) -> str:
    about = next((type(words["method"]).__doc__ for words in arm.words if "method" in words), None) or ""
    rows = []
    for part in ("method", "generator", "privacy", "recipe"):
        flat = [_flat(words[part]) if isinstance(words.get(part), BaseModel) else {} for words in arm.words]
        meanings = next((_meanings(type(words[part])) for words in arm.words if isinstance(words.get(part), BaseModel)), {})
        for name in dict.fromkeys(key for found in flat for key in found):
            values = list(dict.fromkeys(_shown(found[name]) for found in flat if name in found))
            value = escape(values[0]) if len(values) == 1 else f"<strong>{escape(' | '.join(values))}</strong>"
            title = f"{'classifier' if part == 'recipe' else part}: {name}"
            rows.append(
                [f'<th scope="row">{escape(title)}</th>', f"<td>{value}</td>", f"<td>{escape(meanings.get(name, ''))}</td>"]
            )
    count = f"{len(arm.trials)} trial{'s' if len(arm.trials) != 1 else ''}"
    how = ", ".join(dict.fromkeys(str(row["method"]) for row in arm.trials if row["method"] not in (arm.name, arm.paradigm)))
    head = swatch(arm.paradigm, ", ".join(filter(None, [escape(arm.name), escape(how), count])))
    inner = (
        table("Values that a grid turns are bold.", ("parameter", "value", "meaning"), rows) if rows else "<p>Not in the store.</p>"
    )
    return f"<details><summary>{head}</summary><p>{escape(' '.join(about.split()))}</p>{inner}</details>"


def _flat(model: Any, before: str = "") -> dict[str, Any]:
    """Fields of a model by dotted names."""
    if not isinstance(model, BaseModel):
        return {before: model}
    flat: dict[str, Any] = {}
    for name in type(model).model_fields:
        flat |= _flat(getattr(model, name), f"{before}.{name}" if before else name)
    return flat


def _meanings(model: type[BaseModel], before: str = "") -> dict[str, str]:
    """What the language says of each field."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        at = f"{before}.{name}" if before else name
        found[at] = " ".join((field.description or "").split())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _meanings(field.annotation, at)
    return found


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{name} {_shown(item)}" for name, item in _flat(value).items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return "none" if value is None else str(value)


def provenance(results: Results) -> str:
    """Which run, from which code and libraries, how long, where."""
    run = results.run
    took = f"{(run['ended'] - run['started']).total_seconds():,.0f} seconds" if run["ended"] and run["started"] else "not ended"
    facts = {
        "run": run["run"],
        "started": f"{_moment(run['started'])} UTC",
        "took": took,
        "status": run["status"],
        "commit": run["commit"] or "unknown",
        "source digest": run["source_digest"] or "unknown",
        "devices": ", ".join(sorted({row["device"] for row in results.cost if row["device"]})) or "unknown",
        "libraries": ", ".join(f"{name} {version}" for name, version in (run["versions"] or {}).items()),
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    stages = [
        [
            f'<th scope="row">{escape(row["trial"])}</th>',
            f"<td>{escape(row['stage'])}</td>",
            f'<td class="figure">{row["seconds"]:.2f} <span class="interval">{row["seconds_low"]:.2f} to {row["seconds_high"]:.2f}</span>'
            f'<span class="n">n = {row["tasks"]}</span></td>'
            if row["seconds"] is not None
            else "<td>not recorded</td>",
            f"<td>{_count(row['peak_memory_mb'])}</td>",
            f"<td>{escape(str(row['device'] or ''))}</td>",
        ]
        for row in results.cost
    ]
    about = "Seconds of a task: mean, least to most. Peak memory in MB, of the whole worker."
    costs = table(about, ("trial", "stage", "seconds", "peak memory", "device"), stages) if stages else ""
    return (
        f'<dl class="pairs">{listed}</dl><details><summary>Time by stage</summary>{costs or "<p>None recorded.</p>"}</details>'
        f'<details><summary>The spec, as it was run</summary><pre tabindex="0">{escape(run["spec_text"] or "")}</pre></details>'
    )


def reproduce(results: Results, database_name: str) -> str:
    """Commands that give these figures again."""
    run = results.run
    commit = run["commit"] or "unknown"
    dirty = (
        " The tree had changes beside this commit: the source digest tells whether yours is the same."
        if commit.endswith("+")
        else ""
    )
    asked = f"synthc report -o report.html --db {shlex.quote(database_name)} --study {shlex.quote(run['study'])}"
    asked += f" --profile {shlex.quote(run['profile'])}" if run["profile"] else ""
    lines = [shlex.join(["synthc", *map(str, run["argv"] or ["run", run["spec"]])]), asked]
    lines.append(f'synthc sql "FROM comparison WHERE study = {_sql(run["study"])}" --db {shlex.quote(database_name)}')
    return (
        f"<p>At commit <code>{escape(commit)}</code>, with the libraries above.{escape(dirty)} Seeds are in the spec; ids of tasks are hashes of what "
        "is computed, so a second run in the same store computes nothing.</p>"
        f'<pre tabindex="0">{escape(chr(10).join(lines))}</pre>'
    )


def ordered(trials: Iterable[Row]) -> list[Row]:
    """Baselines first, then paradigm by paradigm; within one as the database has them."""
    trials = list(trials)
    order = look.present(trials)
    return sorted(trials, key=lambda row: order.index(row["paradigm"]))


def table(about: str, heads: Iterable[str], rows: Iterable[Sequence[str]], attributes: Sequence[str] = ()) -> str:
    """A table in a box of its own that scrolls; cells are HTML, heads and caption are text."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr{attributes[place] if attributes else ''}>{''.join(cells)}</tr>" for place, cells in enumerate(rows))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(about[:80])}"><table><caption>{escape(about)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def measured(row: Row, name: str, n: Any, share: bool = False, digits: int = 3) -> str:
    """A cell with a figure, its interval and its n; in words where there is none. `name` "" reads value, low, high."""
    value, low, high = (row["value"], row["low"], row["high"]) if not name else (row[name], row[f"{name}_low"], row[f"{name}_high"])
    if value is None:
        missing = (
            "not resolvable" if name in ("", "leakage", "auc") and (row.get("null_ok") is not None or not name) else "not measured"
        )
        return f"<td>{missing}</td>"
    if share:
        figure, ends = f"{100 * value:.1f} %", None if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"
    else:
        figure, ends = f"{value:.{digits}f}", None if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
    return (
        f'<td class="figure"><span class="value">{figure}</span> <span class="interval">{ends or "no interval"}</span> '
        f'<span class="n">n = {_count(n)}</span></td>'
    )


def swatch(paradigm: str, text: str | None = None) -> str:
    """The paradigm's colour beside its name, or beside `text` (HTML)."""
    color = look.paradigms([{"paradigm": paradigm}]).range[0]
    patch = f'<span class="swatch" style="--swatch: {variable(color)}" aria-hidden="true"></span>'
    return f'<span class="name">{patch}{text or escape(_printed(paradigm))}</span>'


def variable(color: str) -> str:
    """A colour that the page's dark mode and its print can change."""
    return f"var(--c{color.lstrip('#').lower()}, {color})"


def _printed(paradigm: str) -> str:
    return look.NAMES.get(paradigm, paradigm)


def _name(row: Row) -> str:
    return f"{row['label']} #{row['replicate']}" if row.get("replicate") else str(row["label"])


def _control(null_ok: bool | None) -> str:
    words = {True: '<span class="good">passed</span>', False: '<span class="bad">failed: figures invalid</span>', None: "not run"}
    return words[null_ok]


def _epsilon(epsilon: float | None) -> str:
    if epsilon is None:
        return "none"
    return "vacuous: above 10⁶" if epsilon > 1e6 else f"{epsilon:,.3g}" if epsilon < 1000 else f"{epsilon:,.0f}, vacuous"


def _significance(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}"


def _count(n: Any) -> str:
    return "unknown" if n is None else f"{n:,.0f}"


def _moment(when: datetime | None) -> str:
    return "unknown" if when is None else when.isoformat(sep=" ", timespec="minutes")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def as_json(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can close the element."""
    return (
        json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
