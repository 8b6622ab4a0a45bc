"""Lists what changed in a study since its first run with results: trials, settings, claims, and earlier verdicts.

A change after results were seen may depend on them. Compares the records of two runs; not here: reading them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from compiler.errors import and_more
from compiler.inspect.explain import differences

MOST_NAMED = 6


def changes_since(first: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yields a phrase for each change from the record `first` to the record `now`, and for each earlier verdict: trials that are
    new or gone, fields that changed (trials with the same changes share a phrase; one says so where no recorded field differs),
    claims. At most MOST_NAMED names or fields are listed in one.

    Records hold `trials` (with `trial`, `answer` and, unless they are old, `point`) and `claims` (with `claim`, `words`, `earlier`,
    in `first` also `found`).
    """
    before, after = ({trial["trial"]: trial for trial in record["trials"]} for record in (first, now))
    yield from _added_and_removed("trial", list(before), list(after))
    trials: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for address in before.keys() & after.keys():
        if before[address]["answer"] != after[address]["answer"]:
            points = [record[address].get("point") for record in (before, after)]
            changed = tuple(differences(*points)) if None not in points else ()
            trials[changed or ("a revision, or what was not recorded",)].append(address)
    for changed, addresses in sorted(trials.items()):
        yield f"settings of {and_more(sorted(addresses), MOST_NAMED)}: {and_more(changed, MOST_NAMED)}"
    yield from _changed_claims(first, now)


def _changed_claims(first: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Phrases on claims that are new, gone or reworded, on the earlier verdicts that the present ones state, and on the verdicts of
    those that are gone."""
    before, after = ({claim["claim"]: claim for claim in record["claims"]} for record in (first, now))
    yield from _added_and_removed("claim", list(before), list(after))
    for name, claim in after.items():
        if name in before and before[name].get("words") != claim["words"]:
            yield f"the words of {name}"
        for earlier in claim["earlier"]:
            yield f"{name} was {_describe(earlier)} in {earlier['run']}"
    for name in sorted(before.keys() - after.keys()):
        if found := before[name].get("found"):
            yield f"{name} was {_describe(found)} when it was there"


def _added_and_removed(what: str, before: list[str], after: list[str]) -> Iterator[str]:
    for change, names in (
        ("new", [name for name in after if name not in before]),
        ("gone", [name for name in before if name not in after]),
    ):
        if names:
            yield f"{what}{'s' * (len(names) > 1)} {change}: {and_more(names, MOST_NAMED)}"


def _describe(found: Mapping[str, Any]) -> str:
    """A verdict with its effect and interval, where it has them: `supported (0.12 [0.08, 0.16])`."""
    if found.get("effect") is None:
        return str(found["verdict"])
    around = f" [{found['low']:.3g}, {found['high']:.3g}]" if found.get("low") is not None else ""
    return f"{found['verdict']} ({found['effect']:.3g}{around})"
