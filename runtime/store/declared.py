"""When each claim was first declared, in which words, after how many outcomes, and what it was found to be before.

Each run's record carries this on from the last one's, so that it stays when artifacts are gone.
Not here: what is tested (`audit.compare`).
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
    """The claims of a run with `declared`, which is the last run's where the words are the same, and `earlier` verdicts.

    `before` is the record of the last run of the study under the profile, `declared` what a claim gets whose words are new.
    """
    known = {claim["claim"]: claim for claim in before["claims"]} if before else {}
    return [_carry_on_one(claim, known.get(claim["claim"]), declared, before, store) for claim in claims]


def _carry_on_one(claim: Record, old: Record | None, declared: Record, before: Mapping[str, Any] | None, store: Path) -> Record:
    if old is None or before is None:
        return claim | {"declared": declared}
    same = old.get("words") == claim["words"]
    earlier = [one for one in old.get("earlier", ()) if one not in claim["earlier"]]
    # The same task would find the same again, so only another one is another verdict.
    if old["task"] != claim["task"] and (found := find_verdict(store, old["task"]) or old.get("found")):
        earlier.append({"run": before["run"], "words": old.get("words"), **found})
    return claim | {"declared": old.get("declared", declared) if same else declared, "earlier": [*claim["earlier"], *earlier]}


def find_verdict(store: Path, task: str) -> Record | None:
    """Verdict, effect and interval of a claim's task; None where it has no outcome."""
    try:
        outcome = Artifact(folder_of(store, task)).outcome
        (metric,) = (metric for metric in outcome["metrics"] if metric["name"] == "claim")
        return {"verdict": outcome["notes"]["verdict"], "effect": metric["value"], "low": metric["low"], "high": metric["high"]}
    except (Corrupt, ValueError, LookupError, TypeError):
        return None
