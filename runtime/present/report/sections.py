"""Content of the report's sections as plain values, which the templates beside this file turn into HTML.

Not here: what is read (`read`), parameters and provenance (`parameters`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from compiler.errors import and_more, plural
from runtime.present.answer import answer, count_verdicts, state_claim
from runtime.present.charts.gallery import Sheet
from runtime.present.numbers import format_interval, format_percent
from runtime.present.paradigms import Row, order_by_paradigm, verdict_of
from runtime.present.report.read import StudyResults

RELEASES = {
    "final_model": "the confidences of the final model",
    "labels_only": "only the labels that the final model gives",
    "synthetic_set": "the synthetic set",
    "index_list": "which images were selected",
    "generator": "the generator",
    "teacher": "the teacher",
}
VERDICTS = {"supported": "✓ supported", "refuted": "✗ refuted"}
"""Verdict → text in the report; other verdicts are open."""


def list_facts(results: StudyResults) -> dict[str, str]:
    """Name → text of the facts at the top of the report: data and shadows (of the first trial, "unknown" without), number of
    audited trials and of all, profile ("default" without one), start and status of the run."""
    run, first = results.run, next(iter(results.comparison), {})
    measured = sum(row["attack"] is not None for row in results.comparison)
    return {
        "Data": first.get("data") or "unknown",
        "Trials": f"{measured} of {len(results.comparison)} audited",
        "Shadow models": f"{first['shadows']} per trial" if first.get("shadows") else "unknown",
        "Profile": run["profile"] or "default",
        "Run": f"{format_minute(run['started'])}, {run['status']}",
    }


def list_warnings(results: StudyResults) -> list[str]:
    """Sentences to print before any figure: failed null controls, failed and blocked tasks, a run that has not ended, and the lints
    of results that the spec does not silence; empty without any."""
    invalid = [row["label"] for row in results.comparison if row["null_ok"] is False]
    warnings = []
    if invalid:
        warnings.append(f"The null control failed for {and_more(invalid, 5)}: figures of these trials are invalid.")
    if results.failed:
        warnings.append(f"Failed, or waiting for what did: {plural(len(results.failed), 'task')}. What depends on them is missing.")
    if results.run["status"] == "running":
        warnings.append("The run has not ended: figures are of what was done when the database was published.")
    return warnings + [
        f"{lint['code']}: {lint['message']}."
        for lint in results.run["lints"] or ()
        if isinstance(lint, dict) and lint.get("seen_in") == "results" and not lint.get("silenced")
    ]


def say_origin_of_headline(results: StudyResults) -> str:
    """A sentence, without a full stop, on who chose the headline: the study in advance, the command line of `synthc audit`, or
    `synthc judge`."""
    chosen = {"audit": "what the command line asked for", "judge": "what synthc judge measures"}
    command = (results.run["argv"] or [""])[0]
    return f"Leakage is {chosen.get(command, 'the headline that the study declared in advance')}"


def list_controls(results: StudyResults) -> list[str]:
    """Two texts on control arms: which they are, what they are for and do not show; and, only where the leakage of one that
    releases its generator could not be resolved, why. Empty for a study without a control."""
    controls = [row for row in results.comparison if row.get("control")]
    if not controls:
        return []
    names = and_more([str(row["label"]) for row in controls], 5)
    said = [
        f"Control: {names}. It is no way of training to choose: its generator is a public base that no shadow tunes, so no private "
        "image reaches what it draws. With membership redrawn, every set, classifier and answer of it is equal bit for bit. Its "
        "figures are what the attacks report where there is nothing to find, and should agree with guessing; the other arms are to "
        "be read beside them. It does not show what the base had seen: that is the same for all shadows, and in no figure here."
    ]
    if any(row["leakage"] is None and row["attack"] and row["release"] == "generator" for row in controls):
        said.append("All shadows of a control have one generator and get equal answers: no score is there to tell members by.")
    return said


def name_attack(results: StudyResults) -> str:
    """Attack and variant of the first trial that has an attack; where none has, the name of the headline's attack ("None" for a
    headline without one). The run must have a headline."""
    attacks = (f"{row['attack']} {row['variant']}" for row in results.comparison if row["attack"])
    return next(attacks, str(results.run["headline"].get("attack")))


def list_answer(results: StudyResults) -> list[str]:
    """The answer of the study (`answer.answer`), sentence by sentence."""
    return answer(results.comparison)


def describe_declaration(claim: Row) -> str:
    """Text on when a claim was first declared in these words: before the first result, or the date and the number of results before
    it, or that it is not known; then its verdicts in earlier runs."""
    before = claim.get("outcomes_before")
    if before is None:
        said = ["it is not known when this was declared"]
    elif before == 0:
        said = ["declared before the first result"]
    else:
        said = [f"added on {claim['declared']:%Y-%m-%d}, after {plural(before, 'result')}"]
    earlier = json.loads(claim.get("earlier") or "[]")
    said += [f"was {found['verdict']} in {found['run']}" for found in earlier]
    return "; ".join(said)


def describe_verdict(claim: Row, results: StudyResults) -> dict[str, str]:
    """Texts on a claim: `text`, the verdict over all claims; `kind`, its CSS class (`supported`, `refuted`, else `open`);
    `measured`, the effect as a sentence; `details`, the test with margin and n, and the verdict of the claim alone where it
    differs."""
    verdict = verdict_of(claim)
    labels = {str(row["trial"]): name_trial(row) for row in results.comparison}
    pairs = [pair for pair in results.pairs if pair["claim"] == claim["claim"]]
    tested = " of ".join(str(claim[name]).replace("_", " ") for name in ("test", "metric") if claim.get(name))
    details = [f"tested: {tested}"] if tested else []
    if claim.get("margin"):
        details.append(f"margin {claim['margin']:g}".replace("-", "−", 1))
    if claim.get("n"):
        details.append(f"n\u00a0=\u00a0{format_count(claim['n'])}")
    if claim["verdict"] not in (None, verdict):
        details.append(f"tested alone it is {claim['verdict']}; over all claims of the study p = {claim['study_p']:.2g}")
    kind = verdict if verdict in VERDICTS else "open"
    measured = f"{state_claim(claim, pairs, labels)}."
    return {"kind": kind, "text": VERDICTS.get(verdict, verdict), "measured": measured, "details": "; ".join(details)}


def describe_effect(row: Row) -> str:
    """The effect of a claim's pair with interval and n as text, with minus signs instead of hyphens; "not resolvable" without an
    effect."""
    if row["effect"] is None:
        return "not resolvable"
    interval = format_interval(row["effect"], row["low"], row["high"]).replace("-", "−")
    return f"{interval}, n\u00a0=\u00a0{format_count(row['n'])}"


def list_tables_by_attack(results: StudyResults) -> list[dict[str, Any]]:
    """Tables of the TPR at the headline's FPR for all attacks, one for each release level and group of canaries; empty where there
    are fewer than two combinations of attack, variant, group and level.

    Each has `caption`, `heads` and `rows` (trial, a row of `figures` or None for each column). Those of the declared level come
    first, and of a level those of the declared group: all in one would be wider than any page.
    """
    if len({(row["canaries"], row["attack"], row["variant"], row["release"]) for row in results.figures}) < 2:
        return []
    declared = results.run["headline"] or {}
    levels = {(str(row["release"]), str(row["canaries"])) for row in results.figures}
    ranked = sorted(levels, key=lambda at: (at[0] != declared.get("release"), at[1] != declared.get("canaries"), at))
    return [_table_of_level(results, release, canaries) for release, canaries in ranked]


def _table_of_level(results: StudyResults, release: str, canaries: str) -> dict[str, Any]:
    rows = [row for row in results.figures if (row["release"], row["canaries"]) == (release, canaries)]
    columns = sorted({(str(row["attack"]), str(row["variant"])) for row in rows})
    cells = {(row["trial"], row["attack"], row["variant"]): row for row in rows}
    shown = {row["trial"] for row in rows}
    return {
        "caption": f"{canaries} canaries; the adversary sees {RELEASES.get(release, release)}. "
        "TPR at the headline's false-positive rate; brackets: 95 % intervals.",
        "heads": ["trial", *map(" ".join, columns)],
        "rows": [
            (trial, [cells.get((trial["trial"], *column)) for column in columns])
            for trial in order_by_paradigm(results.comparison)
            if trial["trial"] in shown
        ],
    }


def list_withheld(sets: Sequence[tuple[Row, Sheet]]) -> list[str]:
    """Labels of the trials whose sheets are withheld since they may show private images, each with its number of images."""
    return [f"{row['label']} ({plural(sheet.images, 'image')})" for row, sheet in sets if sheet.png is None]


def group_lints(lints: Sequence[Any]) -> list[tuple[tuple[str, ...], list[dict[str, str]]]]:
    """Findings grouped by lint: pairs of (code, title, reason, source, why it is silenced) and a list of its findings, each with
    `place`, `message` and `hint`. A text that is missing is ""; a lint that is no mapping is a message without the rest."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for lint in lints:
        texts = {name: str(text or "") for name, text in (lint if isinstance(lint, dict) else {"message": lint}).items()}
        rule = tuple(texts.get(name, "") for name in ("code", "title", "because", "source", "silenced"))
        groups.setdefault(rule, []).append({name: texts.get(name, "") for name in ("place", "message", "hint")})
    return list(groups.items())


def describe_release(release: str) -> str:
    """A release level in words: what the adversary sees. An unknown level is returned as it is."""
    return RELEASES.get(release, release)


def name_trial(row: Row) -> str:
    """A trial's label, with `#REPLICATE` unless that is 0, and `(control)` for a control."""
    name = f"{row['label']} #{row['replicate']}" if row.get("replicate") else str(row["label"])
    return f"{name} (control)" if row.get("control") else name


def format_count(n: float | None) -> str:
    """A count with thousands separators; "unknown" for None."""
    return "unknown" if n is None else f"{n:,.0f}"


def format_minute(when: Any) -> str:
    """A time (date and time) as `2026-01-31 12:00`; "unknown" for None."""
    return "unknown" if when is None else when.isoformat(sep=" ", timespec="minutes")


FILTERS = {
    "count_verdicts": count_verdicts,
    "count": format_count,
    "describe_release": describe_release,
    "name_trial": name_trial,
    "order": order_by_paradigm,
    "percent": format_percent,
    "plural": plural,
}
