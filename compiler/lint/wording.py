"""Lints of what a study says of itself: comparisons that nobody tests, guarantees that nobody gives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.errors import Place
from compiler.lint.study import Found, Study
from compiler.power.claim_power import prospect

GUARANTEE = re.compile(
    r"\bguarante\w*|\bprovabl\w*|\banonymi[sz]\w*|\banonymous\b|\bepsilon\s*(?:=|<|≤|is\b|of\b)|\b(?:no|zero|without) leak\w*"
    r"|\bleaks? nothing\b|\b(?:is|are|be|stays?|remains?|keeps? \w+) (?:fully |completely |perfectly )?(?:private|safe)\b",
    re.IGNORECASE,
)
"""Words of a guarantee. What an audit measures is a lower bound on what leaks."""

def untested_comparison(study: Study) -> Iterator[Found]:
    """L23, before the run: intervals of two rows do not say whether the rows differ."""
    if study.synthetic and not study.claims:
        hint = "write what is to be shown under `claims`: they are tested in pairs, on the same canaries and shadows, with Holm"
        yield Found(study.key("arms"), f"{len(study.trials)} trials to compare, and no claim about them", hint)


def undecidable_claim(study: Study) -> Iterator[Found]:
    """L26."""
    for claim in study.claims:
        found = prospect(claim.work, *([study.trials[place] for place in side] for side in (claim.left, claim.right)))
        if found.never:
            yield Found(study.key("claims", claim.name), f"{claim.name}: {found.never}", found.needed)


def guarantees(study: Study) -> Iterator[Found]:
    """L24: in what the study says it knows, and in claims that are not about DP-SGD."""
    for place, text in _texts(study):
        if said := GUARANTEE.search(text):
            what = f"{said[0]!r} reads as a guarantee, and an audit gives no more than a lower bound on leakage"
            yield Found(place, what, "say what is measured")


def _texts(study: Study) -> Iterator[tuple[Place, str]]:
    if not study.header.question.rstrip().endswith("?"):
        yield study.tree.nearest("question"), study.header.question
    for claim in study.claims:
        if not any(study.trials[place].point.arm.paradigm == "dp_sgd" for place in (*claim.left, *claim.right)):
            yield study.tree.nearest("claims", claim.name, "text"), claim.claim.text
