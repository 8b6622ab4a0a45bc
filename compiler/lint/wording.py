"""Lints on a study's texts and claims: comparisons without a claim, undecidable claims, wording of guarantees."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.errors import Location
from compiler.lint.study import Study, Weakness
from compiler.power.claim_power import prospect

GUARANTEE = re.compile(
    r"\bguarante\w*|\bprovabl\w*|\banonymi[sz]\w*|\banonymous\b|\bepsilon\s*(?:=|<|≤|is\b|of\b)|\b(?:no|zero|without) leak\w*"
    r"|\bleaks? nothing\b|\b(?:is|are|be|stays?|remains?|keeps? \w+) (?:fully |completely |perfectly )?(?:private|safe)\b",
    re.IGNORECASE,
)
"""Words of a guarantee. What an audit measures is a lower bound on what leaks."""


def untested_comparison(study: Study) -> Iterator[Weakness]:
    """L23, before the run: arms on synthetic data and no claim. Intervals of two trials do not show whether the trials differ."""
    if study.synthetic and not study.claims:
        hint = "write what is to be shown under `claims`: they are tested in pairs, on the same canaries and shadows"
        yield Weakness(study.key("arms"), f"{len(study.trials)} trials to compare, and no claim about them", hint)


def undecidable_claim(study: Study) -> Iterator[Weakness]:
    """L26: a claim that no data could decide, for want of pairs or of resamples."""
    for claim in study.claims:
        power = prospect(claim.work, study.select(claim.left), study.select(claim.right))
        if power.never:
            yield Weakness(study.key("claims", claim.name), f"{claim.name}: {power.never}", power.needed)


def guarantees(study: Study) -> Iterator[Weakness]:
    """L24: words of a guarantee in the study's `question`, unless it ends in `?`, and in the texts of claims without a DP-SGD
    trial; one finding for each text."""
    for location, text in _list_texts(study):
        if match := GUARANTEE.search(text):
            what = f"{match[0]!r} reads as a guarantee, and an audit gives no more than a lower bound on leakage"
            yield Weakness(location, what, "say what is measured")


def _list_texts(study: Study) -> Iterator[tuple[Location, str]]:
    """Location and text of the `question`, unless it ends in `?`, and of each claim without a DP-SGD trial."""
    if not study.header.question.rstrip().endswith("?"):
        yield study.tree.nearest("question"), study.header.question
    for claim in study.claims:
        if not any(trial.point.arm.paradigm == "dp_sgd" for trial in study.select((*claim.left, *claim.right))):
            yield study.tree.nearest("claims", claim.name, "text"), claim.claim.text
