"""Publishes rows: updates the rows of one origin in a published database to those of another database."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import duckdb

from runtime.database.connect import PATIENCE_SECONDS, execute, second_name
from runtime.database.quoting import literal
from runtime.database.revision import revision

OF_RUN = ("run", "trial", "stage", "task")
"""Tables whose rows belong to a run."""
OF_OUTCOME = ("outcome", "metric", "roc", "canary", "risk", "score")
"""Tables whose rows belong to a committed task."""


def publish(index: Path, target: Path, origin: str, patience: float = PATIENCE_SECONDS) -> None:
    """Replace the rows of `origin` in `target`, which is made if missing, by those of the checkpointed database `index`; all other
    rows stay, but those that `adopt_earlier_runs` deletes.

    TargetBusy when another process writes to `target` for longer than `patience` seconds, or publishes to it for longer than
    `revision.LOCK_SECONDS`; SynthcError when synthc did not make it, a newer or too old version did, or it cannot be written.
    """
    with revision(target, of=index, patience=patience) as connection, second_name(index) as source:
        execute(connection, f"ATTACH {literal(source)} AS source (READ_ONLY)")
        bring_rows(connection, origin, "replace")
        adopt_earlier_runs(connection, origin)
        execute(connection, "DETACH source")


def bring_rows(connection: duckdb.DuckDBPyConnection, origin: str, how: Literal["replace", "add"]) -> None:
    """Update the rows of `origin` in the attached database `published` to those in the attached `source`, in one transaction.
    replace: rows that `source` lacks are deleted. add: they stay; of a run in both the one that ended later is kept (one without an
    end is earlier; of equal ends that of `source`), of a task the one that started later (of equal starts that of `published`).
    Written are only runs that differ or are running, tasks whose outcomes differ in start, duration or host, and attempts that
    `published` lacks."""
    execute(connection, "BEGIN TRANSACTION")
    own = f"origin = {literal(origin)}"
    execute(
        connection,
        f"""
      CREATE TEMP TABLE new_run AS
        SELECT run FROM (SELECT * FROM source.base.run WHERE {own} EXCEPT SELECT * FROM published.base.run WHERE {own})
        UNION SELECT run FROM source.base.run WHERE {own} AND status = 'running'""",
    )
    execute(
        connection,
        f"""
      CREATE TEMP TABLE new_task AS
        SELECT task FROM (SELECT task, started, seconds, host FROM source.base.outcome WHERE {own}
                          EXCEPT SELECT task, started, seconds, host FROM published.base.outcome WHERE {own})""",
    )
    if how == "add":
        execute(
            connection,
            f"""
          DELETE FROM new_run WHERE run IN (
            SELECT run FROM published.base.run AS here JOIN source.base.run AS there USING (origin, run)
            WHERE {own} AND (here.ended IS NOT NULL AND there.ended IS NULL OR here.ended > there.ended))""",
        )
        execute(
            connection,
            f"""
          DELETE FROM new_task WHERE task IN (
            SELECT task FROM published.base.outcome AS here JOIN source.base.outcome AS there USING (origin, task)
            WHERE {own} AND here.started >= there.started)""",
        )
    for tables, key in ((OF_RUN, "run"), (OF_OUTCOME, "task")):
        main = tables[0]
        old = f"SELECT {key} FROM new_{key}"
        if how == "replace":
            kept = f"SELECT {key} FROM source.base.{main} WHERE {own}"
            old += f" UNION SELECT {key} FROM published.base.{main} WHERE {own} AND {key} NOT IN ({kept})"
        ((stale,),) = execute(connection, f"SELECT count(*) FROM published.base.{main} WHERE {own} AND {key} IN ({old})")
        execute(connection, f"CREATE TEMP TABLE old_{key} AS {old}")
        ((new,),) = execute(connection, f"SELECT count(*) FROM new_{key}")
        for table in tables:
            if stale:
                execute(connection, f"DELETE FROM published.base.{table} WHERE {own} AND {key} IN (FROM old_{key})")
            if new:
                rows = f"FROM source.base.{table} WHERE {own} AND {key} IN (FROM new_{key})"
                execute(connection, f"INSERT INTO published.base.{table} BY NAME {rows}")
        execute(connection, f"DROP TABLE old_{key}; DROP TABLE new_{key}")
    _bring_attempts(connection, own, how)
    execute(connection, "COMMIT")


def _bring_attempts(connection: duckdb.DuckDBPyConnection, own: str, how: Literal["replace", "add"]) -> None:
    attempts = "(origin, task, attempt)"
    if how == "replace":
        kept = f"SELECT {attempts} FROM source.base.attempt"
        execute(connection, f"DELETE FROM published.base.attempt WHERE {own} AND {attempts} NOT IN ({kept})")
    there = f"SELECT {attempts} FROM published.base.attempt"
    new = f"FROM source.base.attempt WHERE {own} AND {attempts} NOT IN ({there})"
    execute(connection, f"INSERT INTO published.base.attempt BY NAME {new}")


def adopt_earlier_runs(connection: duckdb.DuckDBPyConnection, origin: str) -> None:
    """Delete from the attached database `published` all rows of each `earlier-…` origin (from a version without origins) whose runs
    are all there under `origin` too, by name."""
    earlier = execute(connection, "SELECT DISTINCT origin FROM published.base.run WHERE origin LIKE 'earlier-%'")
    for (name,) in earlier:
        ((left,),) = execute(
            connection,
            f"""
          SELECT count(*) FROM published.base.run WHERE origin = {literal(name)}
            AND run NOT IN (SELECT run FROM published.base.run WHERE origin = {literal(origin)})""",
        )
        if not left:
            forget_origin(connection, name)


def forget_origin(connection: duckdb.DuckDBPyConnection, origin: str) -> None:
    """Delete all rows of `origin` from the attached database `published`."""
    for table in (*OF_RUN, *OF_OUTCOME, "attempt"):
        execute(connection, f"DELETE FROM published.base.{table} WHERE origin = {literal(origin)}")
