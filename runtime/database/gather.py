"""Merges the rows of several stores in one published database, removes them, and exports parts of it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from compiler.errors import SynthcError, SynthcWarning, first_line
from runtime.database.connect import connect, execute
from runtime.database.publish import OF_OUTCOME, OF_RUN, bring_rows, forget_origin
from runtime.database.quoting import identifier, literal
from runtime.database.revision import check_source, log_of, revision
from runtime.database.schema import SCHEMA_DIGEST, list_public, upgrade

SCORES = """
SELECT trial.origin, trial.study, trial.profile, trial.arm, trial.paradigm, trial.method, trial.label, trial.trial, score.release,
  score.attack, score.variant, canary.canaries, score.canary, score.shadow, score.member, score.score
FROM base.current_trial AS trial JOIN base.score AS score ON score.origin = trial.origin AND score.task = trial.answer
  JOIN base.canary AS canary ON canary.origin = score.origin AND canary.task = score.task AND canary.canary = score.canary
ORDER BY ALL
"""
"""The raw scores of the last run of each study under each profile, of every origin; NaN scores have no row."""


def merge(target: Path, others: Sequence[Path]) -> list[str]:
    """Copy the rows of the published databases `others` into `target`, which is made if missing: those of all origins that have a
    run. Returns these origins, database by database, sorted within each, so that one that several have is repeated. Merging again
    changes no rows.

    Of a run or a task that both have, the later record is kept (see `bring_rows`). SynthcError where one of `others` is missing
    or cannot be read, where it or `target` is no database of synthc or that of a newer or too old one, or where `target` cannot be
    written; TargetBusy while another process writes to `target`. `target` then stays as it was.
    """
    for other in others:
        check_source(other)
    brought: list[str] = []
    with revision(target) as connection:
        for other in others:
            with _as_source(connection, other):
                origins = [name for (name,) in execute(connection, "SELECT DISTINCT origin FROM source.base.run ORDER BY origin")]
                for origin in origins:
                    bring_rows(connection, origin, "add")
                brought += origins
    return brought


@contextlib.contextmanager
def _as_source(connection: duckdb.DuckDBPyConnection, other: Path) -> Iterator[None]:
    """Attach a copy of another published database as `source`, read-only and upgraded to the schema of this version, until the
    block ends. SynthcError where DuckDB cannot read it, or a newer or too old synthc made it; OSError where it cannot be copied."""
    with tempfile.TemporaryDirectory(prefix="synthc-merge-") as folder:
        copy = Path(folder) / "other.duckdb"
        try:
            with contextlib.closing(connect(other, read_only=True)):  # refused while a process writes to it
                pass
            shutil.copyfile(other, copy)
            if log_of(other).exists():  # of a killed writer: replayed in the copy
                shutil.copyfile(log_of(other), log_of(copy))
            with contextlib.closing(connect(copy)) as alone:
                if execute(alone, "SELECT schema FROM base.meta") != [(SCHEMA_DIGEST,)]:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", SynthcWarning)  # what is renamed in the copy stays as it is in the file
                        upgrade(alone)
        except duckdb.Error as error:
            raise SynthcError(f"{other}: cannot be read: {first_line(error)}") from error
        execute(connection, f"ATTACH {literal(copy)} AS source (READ_ONLY)")
        try:
            yield
        finally:
            execute(connection, "DETACH source")


def forget(target: Path, name: str) -> str:
    """Delete all rows of the origin `name` from `target`, or, if no origin is called so, all runs of the study `name`, of any
    origin and profile (see `drop_runs`); returns a phrase on what was deleted. SynthcError if there is neither, and as of
    `revision`."""
    with revision(target) as connection:
        origins = {origin for (origin,) in execute(connection, "SELECT DISTINCT origin FROM base.run")}
        studies = {study for (study,) in execute(connection, "SELECT DISTINCT study FROM base.run")}
        if name in origins:
            forget_origin(connection, name)
            return f"all rows of the origin {name}"
        if name not in studies:
            known = ", ".join(sorted(origins | studies)) or "nothing"
            raise SynthcError(f"{target}: no origin and no study is called {name!r}; it has: {known}")
        drop_runs(connection, f"study = {literal(name)}")
        return f"all runs of the study {name}"


def drop_runs(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Delete the runs that satisfy an SQL condition on the columns of `base.run`, with their trials, stages and tasks, from the
    database in use; then the results and attempts of all tasks that no remaining run of their origin has."""
    execute(connection, f"CREATE TEMP TABLE gone AS SELECT origin, run FROM base.run WHERE {condition}")
    asked = "(SELECT origin, task FROM base.task)"
    for table in ("trial", "stage", "task", "run"):
        execute(connection, f"DELETE FROM base.{table} WHERE (origin, run) IN (FROM gone)")
    for table in ("outcome", "metric", "roc", "canary", "risk", "score", "attempt"):
        execute(connection, f"DELETE FROM base.{table} WHERE (origin, task) NOT IN {asked}")
    execute(connection, "DROP TABLE gone")


SMALL_BLOCKS = 32_768
"""Block size in bytes of exported files: each column takes at least one block. A study on digits has 4.8 MB, with DuckDB's default
block size 7.4 MB."""


def export_runs(database: Path, target: Path, runs: str, attacks: str = "true") -> None:
    """Write the new database `target`, a file that must not exist, with the runs of `database` that satisfy the SQL condition
    `runs` on `source.base.run`, and the results and attempts of their tasks; what users added to `database` is left out.

    Of their scores, ROC curves and risks of canaries it has those that satisfy the SQL condition `attacks` on the columns that
    these tables share (such as release, attack, variant). Rows are only inserted and then copied as a whole, so no block of the
    file is free or holds deleted rows of others. SynthcError where `database` is missing or cannot be read, a newer or too old
    synthc made it, or a condition is not valid; duckdb.Error where `target` cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="synthc-export-") as folder:
        loose = Path(folder) / "loose.duckdb"
        _export_runs(database, loose, runs, attacks)
        with contextlib.closing(connect()) as connection:
            execute(connection, f"ATTACH {literal(loose)} AS loose (READ_ONLY)")
            execute(connection, f"ATTACH {literal(target)} AS fresh (BLOCK_SIZE {SMALL_BLOCKS})")
            execute(connection, "COPY FROM DATABASE loose TO fresh")


def _export_runs(database: Path, target: Path, runs: str, attacks: str) -> None:
    with revision(target) as connection, _as_source(connection, database):
        execute(connection, f"CREATE TEMP TABLE kept AS SELECT origin, run FROM source.base.run WHERE {runs}")
        execute(
            connection,
            "CREATE TEMP TABLE asked AS SELECT DISTINCT origin, task FROM source.base.task SEMI JOIN kept USING (origin, run)",
        )
        for tables, key in ((OF_RUN, "kept USING (origin, run)"), ((*OF_OUTCOME, "attempt"), "asked USING (origin, task)")):
            for table in tables:
                condition = f" WHERE {attacks}" if table in ("score", "roc", "risk") else ""
                execute(connection, f"INSERT INTO base.{table} BY NAME FROM source.base.{table} SEMI JOIN {key}{condition}")
        execute(connection, "DROP TABLE kept; DROP TABLE asked")


LAST_RUNS = "(origin, run) IN (SELECT (origin, max(run)) FROM source.base.run GROUP BY origin, study, profile)"
"""The last run of each study under each profile, of every origin, as a condition `runs` of `export_runs`."""
OF_HEADLINE = """(origin, task, release, attack, variant) IN (
  SELECT (origin, task, release, attack, variant) FROM source.base.metric WHERE metric = 'headline')"""
"""What is of the headline attack, as a condition of `export_runs`."""


def export_parquet(database: Path, folder: Path) -> list[Path]:
    """Write each public view of `database` to `<view>.parquet` in the existing `folder`, and its scores (SCORES) to
    `scores.parquet`; existing files are overwritten. Returns the paths: views in the order of the schema, then scores. duckdb.Error
    where the database cannot be read or a file not be written."""
    queries = {view: f"FROM {identifier(view)}" for view, _ in list_public("view")} | {"scores": SCORES}
    with contextlib.closing(connect(database, read_only=True)) as connection:
        for view, query in queries.items():
            execute(connection, f"COPY ({query}) TO {literal(folder / f'{view}.parquet')} (FORMAT parquet, COMPRESSION zstd)")
    return [folder / f"{view}.parquet" for view in queries]
