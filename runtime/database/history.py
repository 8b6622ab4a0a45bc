"""Durations and sizes of earlier tasks: seconds from the published database, sizes and parameters from the store.

DuckDB is imported only when there is something to estimate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from compiler.errors import SynthcError
from compiler.fingerprint import parse_canonical, restore
from compiler.inspect.cost import guess
from compiler.inspect.cost.estimate import Past
from compiler.plan.dag import Task
from compiler.work.operations import Dataset, structures
from runtime.store.artifacts import Artifact, folder_of
from runtime.store.records import Corrupt

MAX_TASKS = 24
"""Most earlier tasks of an operation that are read, the latest ones."""


def history(database: Path, store: Path, tasks: Collection[Task]) -> dict[str, Past]:
    """Operation → costs of its earlier tasks: time, disk and GPU memory relative to their guesses, and resident memory in MB.

    Read are the MAX_TASKS tasks of an operation that started last according to `database`, without those whose folder in `store` is
    missing or cannot be read, and those on images of the user's own that none of `tasks`, the planned ones, uses. An operation of
    which none is left is absent. {} without a database, or where it cannot be read now.
    """
    if not database.exists():
        return {}
    from runtime.database.read import query

    text = (
        "SELECT operation, outcome.task, seconds, peak_memory_mb, gpu.value FROM base.outcome AS outcome "
        "JOIN (SELECT DISTINCT task, operation FROM base.task) USING (task) "
        "LEFT JOIN (SELECT task, value FROM base.metric WHERE metric = 'gpu_memory_mb') AS gpu USING (task) "
        "WHERE seconds IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY operation ORDER BY started DESC) <= {MAX_TASKS}"
    )
    try:
        _, rows = query(database, text)
    except SynthcError:  # being written, or another program's: the estimate does without
        return {}
    datasets = [task.work.private.population.dataset for task in tasks if hasattr(task.work, "private")]
    sources = {dataset.digest: dataset.source for dataset in datasets}

    def dataset(digest: str, **fields: Any) -> Dataset:
        """A data set. Its `source` (of a user's own images or a plug-in's) is that of the planned task with the same digest, since
        a task's text has only the digest; without one it is None."""
        return Dataset(digest=digest, source=sources.get(digest), **fields)

    types: dict[str, Callable[..., Any]] = structures() | {"Dataset": dataset}
    ratios: dict[str, list[tuple[float, float, float, float, float]]] = defaultdict(list)
    for operation, task, seconds, memory, gpu in rows:
        folder = folder_of(store, task)
        try:
            work = restore(parse_canonical(Artifact(folder).text).params, types)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
            guessed, disk = guess.cost(work), guess.disk_mb(work)
        except (Corrupt, OSError, ValueError, KeyError, TypeError):  # deleted, of another version, of images unknown here
            continue
        held = (gpu + guess.DEVICE_MB) / guessed.gpu_mb if gpu else 0.0
        ratios[operation].append((seconds / guessed.seconds, size / disk, memory or 0.0, held, guessed.seconds))
    return {operation: _past(*zip(*found, strict=True)) for operation, found in ratios.items()}


def _past(
    seconds: Sequence[float], disk: Sequence[float], memory: Sequence[float], gpu: Sequence[float], guessed: Sequence[float]
) -> Past:
    return Past(len(seconds), median(seconds), fmean(disk), max(memory), max(gpu) or None, fmean(guessed))
