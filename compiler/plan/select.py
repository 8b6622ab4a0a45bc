"""`--only arm=coreset`: the part of a plan that a selector chooses, by the words that claims use.

The plan stays whole, and so does the record of the run: what is not asked for is simply not computed yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compiler.check.claim_sides import READ, misfits, selected
from compiler.errors import Diagnostic, Place, SpecError
from compiler.plan.dag import Plan
from compiler.text.nodes import parse_value, plain


@dataclass(frozen=True)
class Part:
    """What is asked for of a plan: the answers to compute, and the claims that have to wait for other trials."""

    answers: tuple[str, ...]
    waiting: tuple[str, ...] = ()


def part(plan: Plan, only: Sequence[str]) -> Part:
    """The answers of the trials that every word of `only` chooses, and of the claims about none but these.

    `only` are texts such as `arm=coreset` or `method=[random, forgetting],replicate=0`. A word that is said twice may have either
    value. SpecError for what is no such text, for words that no trial has, and where nothing is chosen.
    """
    if not only:
        return Part(plan.answers)
    selector = _selector(only)
    trials = [planned.trial for planned in plan.trials]
    found = [Diagnostic("only", _place(only, word), what, hint) for word, what, hint in misfits(selector, trials, also=())]
    if found:
        raise SpecError(found)
    chosen = [plan.trials[place] for place in selected(selector, trials)]
    addresses = {planned.trial.address for planned in chosen}
    whole = [claim for claim in plan.claims if addresses.issuperset((*claim.left, *claim.right))]
    answers = dict.fromkeys([*(planned.answer for planned in chosen), *(claim.task for claim in whole)])
    return Part(tuple(answers), tuple(claim.name for claim in plan.claims if claim not in whole))


def _selector(only: Sequence[str]) -> dict[str, Any]:
    """Word → its values. Every value is typed by YAML."""
    selector: dict[str, list[Any]] = {}
    for text in only:
        for assignment in re.split(r",(?![^\[]*\])", text):   # not the commas inside of a list
            word, equals, value = (side.strip() for side in assignment.partition("="))
            place = Place(f"--only {text}")
            if not equals or not word:
                raise SpecError([Diagnostic("only", place, "not a word and a value", "such as --only arm=coreset")])
            if word in READ:
                what = f"{word} says what is read of a trial, not which trial it is"
                raise SpecError([Diagnostic("only", place, what, "such as --only arm=coreset")])
            given = plain(parse_value(value, f"--only {text}"))
            values = given if isinstance(given, list) else [given]
            if any(isinstance(item, dict | list) for item in values):
                hint = f"such as {word}=value or {word}=[one, other]"
                raise SpecError([Diagnostic("only", place, f"{word} has a mapping", hint)])
            selector.setdefault(word, []).extend(values)
    return {word: tuple(values) for word, values in selector.items()}


def _place(only: Sequence[str], word: str | None) -> Place:
    """The text that said a word; all of them where it is their combination that chooses nothing."""
    for text in only:
        if word is not None and re.search(rf"(^|,)\s*{re.escape(word)}\s*=", text):
            return Place(f"--only {text}")
    return Place("--only " + " --only ".join(only))
