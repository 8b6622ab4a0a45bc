"""Notices on a plan's data sets."""

from __future__ import annotations

from compiler.data.records import card_here, record_of
from compiler.language.datasets import CARDS
from compiler.plan.dag import Plan


def unseen(plan: Plan) -> list[str]:
    """Names of a plan's known data sets, public ones included, that have neither a pinned digest nor a record on this machine: ids
    are provisional until their files are read."""
    return [name for name in _known_sets(plan) if not card_here(name).digest]


def notices(plan: Plan) -> list[str]:
    """A sentence for each known data set of the plan that was not read yet, or whose files are not the published ones."""
    absent = unseen(plan)
    lines = [
        f"{name}: not read on this machine yet, so ids are provisional; `synthc data fetch {name}` gets it, a run reads it"
        for name in absent
    ]
    for name in _known_sets(plan):
        record = None if CARDS[name].digest or name in absent else record_of(name)
        if record is not None and record.published is False:
            lines.append(f"{name}: {record.samples:,} images of files that are not the published ones, identified by their content")
    return lines


def _known_sets(plan: Plan) -> list[str]:
    points = {(point.data, point.public) for point in (trial.trial.point for trial in plan.trials)}
    return sorted({data.name for pair in points for data in pair if data is not None and data.name in CARDS})
