"""Writes the answer of a study in a few sentences, and each claim as one sentence, from its figures.

A trial leaks more than the reference where its whole 95 % interval lies above the reference's, which asks for more than a
significant difference does; what intervals leave open is called undecided, and never a finding.
The reference is the most accurate DP-SGD on the same data, of those with a meaningful epsilon if there are any
(`choose_reference`); without any DP-SGD it is guessing.
Not here: verdicts of claims (`audit.compare`), which the sentences repeat and do not make.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from compiler.errors import and_more, plural
from runtime.present.numbers import format_epsilon, format_percent, format_span
from runtime.present.paradigms import Row, doubts_of, verdict_of

BASELINES = ("undefended", "dp_sgd")
MAX_EPSILON = 10.0
"""Largest epsilon at which DP-SGD serves as the reference; a larger guarantee has little meaning."""
SHOWN = 5
"""Most trials that a sentence names, those of the largest leakage."""


def answer(trials: Iterable[Row]) -> list[str]:
    """The answer of a study from its rows of the view `comparison`, one to three sentences for each data set: which ways of
    training (labels of trials) leak more than the reference, which do not, which are undecided, doubtful or not measured. The
    reference of a trial is that of its replicate (`choose_reference`), or guessing. Of several data sets each one's first sentence
    begins with `On DATA:`. One sentence that nothing was measured where there is no trial.

    Controls are left out, and count as no trial. Of each data set one kind of trials is judged: all but the undefended and the
    DP-SGD ones; without these the undefended ones; without both the DP-SGD ones. A label whose replicates are judged differently is
    undecided; the printed figures are those of its first row.
    """
    rows = [row for row in trials if not row.get("control")]
    on_data: dict[Any, list[Row]] = {}
    for row in rows:
        on_data.setdefault(row["data"], []).append(row)
    said = []
    for data, found in on_data.items():
        sentences = list(_answer_on(found))
        said += [
            f"On {data}: {sentences[0][0].lower()}{sentences[0][1:]}" if on_data.keys() - {data} else sentences[0],
            *sentences[1:],
        ]
    return said or ["No trial was measured yet, so nothing can be said."]


def _answer_on(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the sentences of `answer` on the trials of one data set: at least one trial, no controls."""
    references = {replicate: choose_reference(rows, replicate) for replicate in {row["replicate"] for row in rows}}
    kinds: dict[str, set[str]] = {}
    first: dict[str, Row] = {}
    ways = (
        [row for row in rows if row["paradigm"] not in BASELINES]
        or [row for row in rows if row["paradigm"] == "undefended"]
        or rows
    )
    for row in ways:
        kinds.setdefault(row["label"], set()).add(judge(row, references[row["replicate"]]))
        first.setdefault(row["label"], row)
    found: dict[str, list[Row]] = {kind: [] for kind in ("more", "no more", "undecided", "doubtful", "missing")}
    for label, of_replicates in kinds.items():
        found[of_replicates.pop() if len(of_replicates) == 1 else "undecided"].append(first[label])
    reference = next(filter(None, references.values()), None)
    beside = _name_reference(reference, rows)
    where = _name_place(rows)
    measured, more, least = len(first) - len(found["missing"]), found["more"], found["no more"]
    count = plural(measured, "way") + " of training"
    limit = "" if reference is None else f" (at most {format_percent(reference['leakage_high'], '.1f')})"
    within = f"within what DP-SGD may leak{limit}: {_list(least)}" if least else ""
    if more:
        share = f"{more[0]['label']} leaks" if measured == 1 else f"{len(more)} of {count} {_is_or_are(more, 'leaks', 'leak')}"
        yield f"{share} more than {beside}{where}: {_list(more)}."
        if within:
            yield f"W{within[1:]}."
    elif least:
        yield f"None of {count} is shown to leak more than {beside}{where}; {within}."
    elif not measured:
        yield f"Nothing can be said yet: no leakage was measured{where}."
    else:
        yield f"Whether any of {count} leaks more than {beside} is undecided{where}."
    yield from _say_rest(found)


def _say_rest(found: Mapping[str, list[Row]]) -> Iterator[str]:
    """Yield one sentence on the trials that are undecided, doubtful or missing; none without such trials. `found`: kind (as of
    `judge`) → trials."""
    parts = []
    if found["undecided"]:
        parts.append(f"undecided, since the intervals leave it open: {_list(found['undecided'])}")
    if found["doubtful"]:
        doubts = [f"{row['label']} ({doubts_of(row).partition(':')[0]})" for row in found["doubtful"]]
        parts.append(f"not to be counted: {and_more(doubts, SHOWN)}")
    if found["missing"]:
        parts.append(f"not measured: {and_more([row['label'] for row in found['missing']], SHOWN)}")
    if parts:
        yield f"{parts[0][0].upper()}{'; '.join(parts)[1:]}."


def choose_reference(rows: Iterable[Row], replicate: int) -> Row | None:
    """The DP-SGD trial of this replicate with the highest test accuracy, among those with an epsilon of at most MAX_EPSILON, else
    among all. Doubtful trials, and ones without a test accuracy or a leakage with interval, do not count. None if no trial is
    left."""
    private = [
        row
        for row in rows
        if row["paradigm"] == "dp_sgd" and row["replicate"] == replicate and not doubts_of(row) and None not in _figures(row)
    ]
    promising = [row for row in private if row["epsilon"] is not None and row["epsilon"] <= MAX_EPSILON]
    return max(promising or private, key=lambda row: row["test_accuracy"], default=None)


def _figures(row: Row) -> tuple[float | None, ...]:
    return row["test_accuracy"], row["leakage"], row["leakage_low"], row["leakage_high"]


def judge(row: Row, reference: Row | None) -> str:
    """How a trial's leakage compares with the reference's: "missing" if the trial has no attack; else "doubtful" if it has doubts
    (`doubts_of`); else by its interval and the upper end of the reference's interval "more" if it lies above that end, "no more" if
    it does not reach beyond it, "undecided" otherwise and where a figure is missing.

    Without a reference the FPR, the leakage of guessing, stands for that end, and no trial is "no more".
    """
    if row["attack"] is None:
        return "missing"
    if doubts_of(row):
        return "doubtful"
    low, high = row["leakage_low"], row["leakage_high"]
    bar = row["fpr"] if reference is None else reference["leakage_high"]
    if row["leakage"] is None or low is None or high is None or bar is None:
        return "undecided"
    if low > bar:
        return "more"
    return "no more" if reference is not None and high <= bar else "undecided"


def _name_reference(reference: Row | None, rows: Sequence[Row]) -> str:
    if reference is None:
        missing = " (no figures of DP-SGD to compare with)" if any(row["paradigm"] == "dp_sgd" for row in rows) else ""
        return f"guessing would{missing}"
    epsilon = "" if reference["epsilon"] is None else f"ε = {format_epsilon(reference['epsilon'])}, "
    leaked = f"{format_percent(reference['leakage'], '.1f')} leaked"
    return f"DP-SGD ({epsilon}{leaked}, {_describe([reference])})"


def _name_place(rows: Sequence[Row]) -> str:
    """The phrase ` at RATE FPR on GROUP canaries`, with the headline's false-positive rate (in percent) and canary group. Each is
    that of the first row that has it, and its words are left out where no row has it."""
    fpr = next((row["fpr"] for row in rows if row["fpr"] is not None), None)
    canaries = next((row["canaries"] for row in rows if row["canaries"]), None)
    at = "" if fpr is None else f" at {format_percent(fpr)} FPR"
    return at + (f" on {canaries} canaries" if canaries else "")


def _list(rows: Sequence[Row]) -> str:
    """Text: labels of trials with their leakage, largest first, at most SHOWN and how many more; then the ranges of the accuracies
    and costs of all."""
    ordered = sorted(rows, key=lambda row: -(row["leakage"] or 0.0))
    leaked = ["not resolvable" if row["leakage"] is None else format_percent(row["leakage"], ".1f") for row in ordered]
    names = [f"{row['label']} ({what})" for row, what in zip(ordered, leaked, strict=True)]
    return ", ".join(filter(None, [and_more(names, SHOWN), _describe(rows)]))


def _describe(rows: Sequence[Row]) -> str:
    """Ranges of test accuracies (%) and costs (seconds per model) of trials in words; a figure that no row has is left out."""
    accuracy, seconds = (sorted(row[name] for row in rows if row[name] is not None) for name in ("test_accuracy", "seconds"))
    parts = [
        f"{_range(accuracy, '.1f', 100)}\u00a0% accurate" if accuracy else "",
        f"{_range(seconds, '.1f')}\u00a0s a model" if seconds else "",
    ]
    return " at ".join(filter(None, parts))


def _range(ordered: Sequence[float], spec: str, scale: float = 1) -> str:
    return " to ".join(dict.fromkeys(f"{scale * value:{spec}}" for value in (ordered[0], ordered[-1])))


def _is_or_are(rows: Sequence[Row], one: str, several: str) -> str:
    return one if len(rows) == 1 else several


# Claims


def count_verdicts(claims: Sequence[Row]) -> str:
    """Counts of verdicts, corrected for testing all claims of the study, those that occur: `4 claims: 1 supported, 3 undecided`.
    Where the counts of the verdicts of each claim tested alone are others, also these."""
    together = _count([verdict_of(claim) for claim in claims])
    alone = _count([claim.get("verdict") or verdict_of(claim) for claim in claims])
    differ = "" if together == alone else f" (Holm's correction over all of them; each alone: {alone})"
    return f"{plural(len(claims), 'claim')}: {together}{differ}"


def _count(verdicts: Sequence[str]) -> str:
    order = ("supported", "refuted", "undecided", "not tested")
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts, key=[*order, *counts].index))


def state_claim(claim: Row, pairs: Iterable[Row], labels: Mapping[str, str]) -> str:
    """The measured effect of a claim as a sentence without a full stop: sides, effect with unit and interval, and, if several pairs
    of trials were compared, their number and of how many of them the claim speaks. Without an effect "not resolvable" if pairs were
    compared, else "not tested yet".

    `claim`: a row of the view `claim`. `pairs`: the claim's rows of `claim_pair`; the one that decides (else the first) names the
    sides, which without any are "the left side" and "the right side". `labels`: address of a trial → its name.
    """
    if claim["effect"] is None:
        return "not resolvable" if claim.get("compared") else "not tested yet"
    pairs = list(pairs)
    deciding = [pair for pair in pairs if (pair["left"], pair["right"]) == (claim.get("left"), claim.get("right"))] or pairs[:1]
    left, right = _name_sides(deciding[0], labels) if len(deciding) == 1 else ("the left side", "the right side")
    sentence = _compare(claim, left, right)
    if claim.get("compared", 0) > 1:
        of_all = {"all": "of each of", "any": "of at least one of", "none": "of none of"}[str(claim["pairs"])]
        sentence += f" (claimed {of_all} {plural(claim['compared'], 'pair')} of trials; this one decides)"
    return sentence


def _name_sides(pair: Row, labels: Mapping[str, str]) -> tuple[str, str]:
    """Names of a pair's two sides: those of the trials; where these are the same, each with what its selector says of canaries,
    stratum and release level, as far as the selectors differ. The right side is "" where the pair has none."""
    left, right = (labels.get(str(pair[side]), str(pair[side] or "")) for side in ("left", "right"))
    if left == right:
        words = [json.loads(pair.get(f"{side}_selector") or "{}") for side in ("left", "right")]
        told = [name for name in ("canaries", "stratum", "release") if words[0].get(name) != words[1].get(name)]
        read = [", ".join(f"{name}: {side.get(name, 'as declared')}" for name in told) for side in words]
        left, right = (f"{left} ({what})" if what else left for what in read)
    return left or "the left side", right


def _compare(claim: Row, left: str, right: str) -> str:
    effect, low, high = claim["effect"], claim["low"], claim["high"]
    figure = str(claim.get("decided_by") or claim["metric"])
    if claim["test"] == "correlation":
        figures = f"{effect:.2f} {format_span(low, high, '.2f')}".replace("-", "−")
        return f"{left}: rank correlation {figures}"
    if claim["test"] == "ratio" or figure == "cost":  # of a dominance
        what = "the counted work" if figure in ("cost", "flops") else figure.replace("_", " ")
        return f"{left} has {effect:.2f} times {format_span(low, high, '.2f')} {what} of {right}"
    sign = -1.0 if effect < 0 else 1.0
    ends = sorted(sign * end for end in (low, high)) if None not in (low, high) else (None, None)
    more = "less" if effect < 0 else "more"
    than = f" than {right}" if right else ""
    share = figure in ("leakage", "test_accuracy", "headline") or figure.startswith("tpr@")
    scale, spec = (100.0, ".1f") if share else (1.0, ".3g")
    size = f"{scale * abs(effect):{spec}}"
    span = format_span(ends[0], ends[1], spec, scale).replace("-", "−")
    if figure in ("leakage", "headline") or figure.startswith("tpr@"):
        return f"{left} leaks {size} points {more} {span}{than}" if right else f"{left} leaks {size}\u00a0% {span}"
    if figure == "test_accuracy":
        return f"{left} is {size} points {more} accurate {span}{than}"
    unit = "\u00a0s" if figure == "seconds" else ""
    return f"{left}: {figure.replace('_', ' ')} {'lower' if effect < 0 else 'higher'} by {size}{unit} {span}{than}"
