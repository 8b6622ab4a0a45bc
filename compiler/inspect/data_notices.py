"""Notices on a plan's data sets and imported images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from compiler.data.records import card_here, record_of
from compiler.language.datasets import CARDS
from compiler.language.methods.imported import ImportedSets
from compiler.language.study import Trial
from compiler.plan.dag import Plan


def unseen(trials: Iterable[Trial]) -> list[str]:
    """Sorted names of the known data sets of trials, public ones included, that have neither a pinned digest nor a valid record on
    this machine: ids are provisional until their files are read."""
    return [name for name in _known_sets(trials) if not card_here(name).digest]


def notices(plan: Plan) -> list[str]:
    """A sentence for each known data set of the plan that was not read yet, or whose files are not the published ones, and for each
    imported arm with float images outside 0 to 1. Sets with a pinned digest are passed over."""
    trials = [planned.trial for planned in plan.trials]
    absent = unseen(trials)
    lines = [
        f"{name}: not read on this machine yet, so ids are provisional; `synthc data fetch {name}` gets it, a run reads it"
        for name in absent
    ]
    for name in _known_sets(trials):
        record = None if CARDS[name].digest or name in absent else record_of(name)
        if record is not None and record.published is False:
            lines.append(f"{name}: {record.samples:,} images of files that are not the published ones, identified by their content")
    return [*lines, *_scales(plan)]


def _scales(plan: Plan) -> Iterator[str]:
    """A sentence for each imported arm with float images outside 0 to 1, with their range over all files that have a valid
    record."""
    folders: dict[str, set[str]] = {}  # several where `path` is a grid
    for trial in plan.trials:
        if isinstance(arm := trial.trial.point.arm, ImportedSets):
            folders.setdefault(trial.trial.arm_name, set()).add(arm.path)
    for name, paths in folders.items():
        files = sorted(str(file) for path in paths for file in Path(path).glob("*.npz"))
        found = [record.arrays["images"] for record in filter(None, map(record_of, files)) if "images" in record.arrays]
        levels = [level for of in found if of.dtype != "|u1" for level in (of.lowest, of.highest) if level is not None]
        if levels and (min(levels) < 0 or max(levels) > 1):
            what = f"{name}: its images go from {min(levels):.3g} to {max(levels):.3g}, where black is 0 and white is 1"
            yield f"{what}; learned images may, but of a generator that ends in tanh save (images + 1) / 2"


def _known_sets(trials: Iterable[Trial]) -> list[str]:
    points = {(trial.point.data, trial.point.public) for trial in trials}
    return sorted({data.name for pair in points for data in pair if data is not None and data.name in CARDS})
