"""Rows of one study for other tools: each view as Parquet, and a database that holds nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

from runtime.database.connect import connect, execute
from runtime.database.gather import drop_runs, merge
from runtime.database.quoting import identifier, literal
from runtime.database.revision import revision
from runtime.database.schema import list_public

SCORES = """
SELECT trial.study, trial.profile, trial.trial, canary.canaries, score.release, score.attack, score.variant, score.canary,
  score.shadow, score.member, score.score
FROM base.current_trial AS trial JOIN base.score AS score ON score.origin = trial.origin AND score.task = trial.answer
  JOIN base.canary AS canary ON canary.origin = score.origin AND canary.task = score.task AND canary.canary = score.canary
ORDER BY ALL
"""


def export_study(database: Path, target: Path, origin: str, study: str) -> None:
    """Write a database of its own, with the rows of one study of one origin and nothing else: what users added stays behind."""
    merge(target, [database])
    with revision(target) as connection:
        drop_runs(connection, f"origin <> {literal(origin)} OR study <> {literal(study)}")


def export_parquet(database: Path, folder: Path) -> list[Path]:
    """Write each view, and the scores, as one Parquet file into `folder`; their paths."""
    queries = {view: f"FROM {identifier(view)}" for view, _ in list_public("view")} | {"scores": SCORES}
    with contextlib.closing(connect(database, read_only=True)) as connection:
        for view, query in queries.items():
            execute(connection, f"COPY ({query}) TO {literal(folder / f'{view}.parquet')} (FORMAT parquet, COMPRESSION zstd)")
    return [folder / f"{view}.parquet" for view in queries]
