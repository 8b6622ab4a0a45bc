"""Turns a judgement into a task with an artifact like that of a trial, so that views, SQL, charts and tables treat both alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from compiler.work.operations import JudgeSet
from runtime.audit.external.product import headline_of
from runtime.judge.judging import Judgement
from runtime.judge.split import part_digest
from runtime.outcome import Product

RELEASE = "synthetic_set"


def work_of(found: Judgement) -> JudgeSet:
    """The task of a judgement, whose parameters are digests of the sets ("" for one that was not given) and of the policy."""
    sets = found.sets
    return JudgeSet(
        released=part_digest(sets.released),
        members=part_digest(sets.members),
        holdout=part_digest(sets.holdout),
        test=part_digest(sets.test) if sets.test else "",
        public=part_digest(sets.public) if sets.public else "",
        policy=found.policy_digest,
    )


def product_of(found: Judgement, judged: datetime) -> Product:
    """The artifact: tensors, metrics and notes of the audit of the nearness scores, its attack metrics at the release level
    RELEASE; the judgement's other figures as metrics, `use.accuracy` also as `test_accuracy`; and as the note `judgement` its JSON
    form with `judged`, the time. No image."""
    named = ("auc", "null_auc", "tpr@fpr=0.01", "tpr@fpr=0.1", "epsilon_lower")  # already among the audit's metrics
    own = tuple(metric for name, metric in found.figures.items() if name not in named)
    accuracy = [replace(found.figures["use.accuracy"], name="test_accuracy")] if "use.accuracy" in found.figures else []
    stamp = {"judged": judged.isoformat(timespec="seconds")}
    kept, notes = found.product, found.product.notes
    of_set = [replace(metric, release=RELEASE if metric.release else "") for metric in kept.metrics]
    told = {part: [one | {"release": RELEASE} for one in notes[part]] for part in ("columns", "readings")}
    return replace(kept, metrics=(*of_set, *own, *accuracy), notes={**notes, **told, "judgement": found.as_json() | stamp})


def headline(found: Judgement) -> dict[str, Any]:
    """The headline in the fields of a study's `audit.headline`: the nearness scores as an attack, at the release level RELEASE."""
    return headline_of(found.product, found.settings) | {"release": RELEASE}
