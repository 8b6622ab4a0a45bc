"""Selects a part of a plan for `--only arm=coreset`, by the fields that claims use.

Plan and record of the run stay complete: other trials are not computed yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compiler.check.claim_sides import READING_FIELDS, explain_empty_selection, select_trials
from compiler.errors import Diagnostic, Location, SpecError
from compiler.plan.dag import Plan
from compiler.text.nodes import parse_word, plain


@dataclass(frozen=True)
class Selected:
    """The selected part of a plan: ids of answers to compute, and names of the claims about a trial outside of it."""

    answers: tuple[str, ...]
    waiting: tuple[str, ...] = ()


def select(plan: Plan, only: Sequence[str]) -> Selected:
    """Select the trials that agree with every field of `only`, and the claims about these trials alone.

    `only` are texts such as `arm=coreset` or `method=[random, forgetting],replicate=0`. A field that is given twice may have either
    value. An empty `only` selects the whole plan. The plan is not changed. SpecError for a text of another form, for a value that
    `parse_word` refuses or that is a mapping or a nested list, for fields that no trial has or that name what is read of a trial
    (READING_FIELDS), and where no trial is selected.
    """
    if not only:
        return Selected(plan.answers)
    selector = _parse_selector(only)
    trials = [planned.trial for planned in plan.trials]
    problems = explain_empty_selection(selector, trials, also=())
    if diagnostics := [Diagnostic("only", _locate(only, field), what, hint) for field, what, hint in problems]:
        raise SpecError(*diagnostics)
    chosen = [plan.trials[index] for index in select_trials(selector, trials)]
    addresses = {planned.trial.address for planned in chosen}
    whole = [claim for claim in plan.claims if addresses.issuperset((*claim.left, *claim.right))]
    answers = dict.fromkeys([*(planned.answer for planned in chosen), *(claim.task for claim in whole)])
    return Selected(tuple(answers), tuple(claim.name for claim in plan.claims if claim not in whole))


def _parse_selector(only: Sequence[str]) -> dict[str, Any]:
    """Field → its values, each as `parse_word` reads it, those of several texts together. SpecError as for `parse_word`, for texts
    that are no assignments, for READING_FIELDS, and for values that are mappings or nested lists."""
    selector: dict[str, list[Any]] = {}
    for text in only:
        for assignment in re.split(r",(?![^\[]*\])", text):  # not the commas inside of a list
            field, equals, value = (side.strip() for side in assignment.partition("="))
            location = Location(f"--only {text}")
            if not equals or not field:
                raise SpecError(Diagnostic("only", location, "not a word and a value", "such as --only arm=coreset"))
            if field in READING_FIELDS:
                what = f"{field} says what is read of a trial, not which trial it is"
                raise SpecError(Diagnostic("only", location, what, "such as --only arm=coreset"))
            given = plain(parse_word(value, f"--only {text}"))
            values = given if isinstance(given, list) else [given]
            if any(isinstance(item, dict | list) for item in values):
                hint = f"such as {field}=value or {field}=[one, other]"
                raise SpecError(Diagnostic("only", location, f"{field} has a mapping", hint))
            selector.setdefault(field, []).extend(values)
    return {field: tuple(values) for field, values in selector.items()}


def _locate(only: Sequence[str], field: str | None) -> Location:
    """Location of the first text that assigns a field; of all texts together where none does, or for None (their combination is at
    fault)."""
    for text in only:
        if field is not None and re.search(rf"(^|,)\s*{re.escape(field)}\s*=", text):
            return Location(f"--only {text}")
    return Location("--only " + " --only ".join(only))
