"""A judgement as a task of its own, whose artifact is like that of a trial: views, SQL, charts and tables know no difference."""

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
    """The work whose id a judgement has."""
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
    """What is kept: the rows of an audit of the nearness scores, every figure, and the verdict. No image is kept."""
    named = ("auc", "null_auc", "tpr@fpr=0.01", "tpr@fpr=0.1", "epsilon_lower")  # there under the attack that gave them
    own = tuple(metric for name, metric in found.figures.items() if name not in named)
    accuracy = [replace(found.figures["use.accuracy"], name="test_accuracy")] if "use.accuracy" in found.figures else []
    stamp = {"judged": judged.isoformat(timespec="seconds")}
    kept, notes = found.product, found.product.notes
    of_set = [replace(metric, release=RELEASE if metric.release else "") for metric in kept.metrics]
    told = {part: [one | {"release": RELEASE} for one in notes[part]] for part in ("columns", "readings")}
    return replace(kept, metrics=(*of_set, *own, *accuracy), notes={**notes, **told, "judgement": found.as_json() | stamp})


def headline(found: Judgement) -> dict[str, Any]:
    """As a study would declare it: how well nearness tells members from the holdout."""
    return headline_of(found.product, found.settings) | {"release": RELEASE}
