"""Durations and sizes of earlier tasks: seconds from the published database, sizes and parameters from the store.

DuckDB is imported only when there is something to estimate.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean, median

from compiler.errors import SynthcError
from compiler.inspect.cost import guess
from compiler.inspect.cost.estimate import Past, words_of
from runtime.store.artifacts import folder_of

MAX_TASKS = 24
"""Tasks of each operation that are read, the latest."""


def history(database: Path, store: Path) -> dict[str, Past]:
    """Operation → what its tasks took; empty without a database, or where it cannot be read now."""
    if not database.exists():
        return {}
    from runtime.database.read import query

    text = (
        "SELECT operation, outcome.task, seconds, peak_memory_mb FROM base.outcome AS outcome "
        "JOIN (SELECT DISTINCT task, operation FROM base.task) USING (task) WHERE seconds IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY operation ORDER BY started DESC) <= {MAX_TASKS}"
    )
    try:
        _, rows = query(database, text)
    except SynthcError:   # being written, or not ours: no reason to fail
        return {}
    ratios: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for operation, task, seconds, memory in rows:
        folder = folder_of(store, task)
        try:
            words = words_of(json.loads((folder / "task.json").read_text(encoding="utf-8"))["text"])
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
            expected = guess.seconds(operation, words), guess.disk_mb(operation, words)
        except (OSError, ValueError, KeyError, IndexError, TypeError):   # gone, or of another version
            continue
        ratios[operation].append((seconds / expected[0], size / expected[1], memory or 0.0))
    return {
        operation: Past(len(found), median(one[0] for one in found), fmean(one[1] for one in found), max(one[2] for one in found))
        for operation, found in ratios.items()
    }
