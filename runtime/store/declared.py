"""The history of each claim: when it was first declared, in which words, after how many outcomes, and its earlier verdicts.

Each run's record copies it from the record of the run before, so that it does not depend on artifacts, which may be deleted.
Not here: the tests of claims (`audit.compare`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runtime.store.artifacts import Artifact, folder_of
from runtime.store.records import Corrupt

Record = dict[str, Any]
FOUND = ("verdict", "effect", "low", "high")


def carry_on(claims: Iterable[Record], before: Mapping[str, Any] | None, declared: Record, store: Path) -> list[Record]:
    """Copies of the records `claims` of a run, with the history that the claim of the same name has in `before`, the record of the
    last run of the study under the profile.

    Their field `declared` is that of this last claim if its words are the same, else the argument `declared`. To their field
    `earlier` are added the last claim's earlier verdicts that it lacks and, if its task was another one with a verdict in `store`,
    or else in its record, this verdict with its run and words. Without a last claim, or with `before` None, `earlier` stays.
    """
    known = {claim["claim"]: claim for claim in before["claims"]} if before else {}
    return [_carry_on_one(claim, known.get(claim["claim"]), declared, before, store) for claim in claims]


def _carry_on_one(claim: Record, old: Record | None, declared: Record, before: Mapping[str, Any] | None, store: Path) -> Record:
    if old is None or before is None:
        return claim | {"declared": declared}
    same = old.get("words") == claim["words"]
    earlier = [one for one in old.get("earlier", ()) if one not in claim["earlier"]]
    # The same task has the same verdict, so only another task adds one.
    if old["task"] != claim["task"] and (found := find_verdict(store, old["task"]) or old.get("found")):
        earlier.append({"run": before["run"], "words": old.get("words"), **found})
    return claim | {"declared": old.get("declared", declared) if same else declared, "earlier": [*claim["earlier"], *earlier]}


def find_verdict(store: Path, task: str) -> Record | None:
    """`verdict`, `effect`, `low` and `high` (of the effect's interval) of a claim's task; None where it has no outcome, or one that
    is damaged or no claim's."""
    try:
        outcome = Artifact(folder_of(store, task)).outcome
        (metric,) = (metric for metric in outcome["metrics"] if metric["name"] == "claim")
        return {"verdict": outcome["notes"]["verdict"], "effect": metric["value"], "low": metric["low"], "high": metric["high"]}
    except (Corrupt, ValueError, LookupError, TypeError):
        return None
