"""Publishing: `results.duckdb` is replaced by a copy of the index, whole and at once, and what is the user's comes along."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb

from compiler.errors import SynthcError, first_line
from runtime.database.quoting import identifier, literal
from runtime.database.schema import OURS


class TargetBusy(SynthcError):
    """Somebody has the published database open for writing: nothing is lost, publishing waits."""


def publish(connection: duckdb.DuckDBPyConnection, index: Path, target: Path) -> None:
    """Replace `target` by a copy of the file `index`, on which `connection` is open; open readers keep the old one.

    TargetBusy when a writer has it open; SynthcError when it is not ours, or cannot be written; duckdb.Error of the index itself.
    """
    check_target(target)
    beside = target.with_name(f".{target.name}.next")
    connection.execute("CHECKPOINT").fetchall()
    try:
        beside.unlink(missing_ok=True)
        # An instance of its own: a disk that is full where the target lies would make the index's one unusable.
        with contextlib.closing(duckdb.connect()) as aside, _holding(aside, target) as kept:
            _copy(index, beside)
            if kept:
                with _attached(aside, beside, "published") as cursor:
                    _carry_over(cursor)
            os.replace(beside, target)  # the old file stays held until it is replaced
    except (OSError, duckdb.Error) as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise SynthcError(f"{target}: cannot be published: {why}; make room there, or name another --db") from error
    finally:
        beside.unlink(missing_ok=True)


def _copy(index: Path, beside: Path) -> None:
    """The index's file as it is: a twentieth of the time that copying its rows takes, and whole after a checkpoint, since
    nobody else writes. Closing it here lets go of DuckDB's lock on it; the store's own (`artifacts.held`) is what counts."""
    shutil.copyfile(index, beside)
    with beside.open("rb+") as copy:
        os.fsync(copy.fileno())


@contextlib.contextmanager
def _holding(connection: duckdb.DuckDBPyConnection, target: Path) -> Iterator[bool]:
    """Keep writers away from `target` while it is replaced; whether there is one.

    Opened for writing if nobody has it open, which also takes in the log of a writer that was killed; else for
    reading, which readers do not mind and which keeps writers out. Neither works while a writer is there.
    """
    if not target.exists():
        yield False
        return
    cursor = connection.cursor()
    try:
        try:
            cursor.execute(f"ATTACH {literal(target)} AS old").fetchall()
            cursor.execute("CHECKPOINT old").fetchall()
        except duckdb.IOException:
            try:
                cursor.execute(f"ATTACH {literal(target)} AS old (READ_ONLY)").fetchall()
            except duckdb.IOException as error:
                raise _busy(target, error) from error
    except duckdb.Error as error:
        raise SynthcError(f"{target}: cannot be opened: {first_line(error)}; move it away, or name another --db") from error
    try:
        yield True
    finally:
        with contextlib.suppress(duckdb.Error):
            cursor.execute("DETACH old").fetchall()


@contextlib.contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> Iterator[duckdb.DuckDBPyConnection]:
    cursor = connection.cursor()
    cursor.execute(f"ATTACH {literal(path)} AS {name}").fetchall()
    try:
        yield cursor
    finally:
        with contextlib.suppress(duckdb.Error):
            cursor.execute(f"DETACH {name}").fetchall()


def check_target(target: Path) -> None:
    """SynthcError unless `target` is free or a database that we published before."""
    if not target.parent.is_dir():
        raise SynthcError(f"{target}: there is no folder {target.parent}; make it, or name another --db")
    if not os.access(target.parent, os.W_OK):
        raise SynthcError(f"{target}: the folder cannot be written; name another --db")
    if not target.exists():
        return
    try:
        with contextlib.closing(duckdb.connect(str(target), read_only=True)) as connection:
            found = connection.execute("SELECT made_by FROM base.meta").fetchall()
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            return  # somebody writes to it; publishing will say who
        if target.with_name(f"{target.name}.wal").exists():
            return  # a log to take in first, which needs a writer: publishing does
        raise SynthcError(f"{target}: not a database ({first_line(error)}); move it away, or name another --db") from error
    except duckdb.Error as error:
        raise SynthcError(f"{target}: a database, but not one of synthc's; move it away, or name another --db") from error
    if found != [("synthc",)]:
        raise SynthcError(f"{target}: a database, but not one of synthc's; move it away, or name another --db")


def _carry_over(cursor: duckdb.DuckDBPyConnection) -> None:
    """Copy what the user keeps in the old file into the new one: schemas, tables, views."""
    schemas = cursor.execute(
        "SELECT DISTINCT schema_name FROM duckdb_schemas() "
        "WHERE database_name = 'old' AND NOT internal AND schema_name NOT IN ('base', 'main')"
    ).fetchall()
    for (schema,) in schemas:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS published.{identifier(schema)}").fetchall()
    tables = cursor.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'old' AND schema_name <> 'base' AND NOT internal"
    ).fetchall()
    for schema, table in tables:
        where = f"{identifier(schema)}.{identifier(table)}"
        cursor.execute(f"CREATE TABLE published.{where} AS FROM old.{where}").fetchall()
    views = cursor.execute(
        "SELECT schema_name, view_name, sql FROM duckdb_views() "
        "WHERE database_name = 'old' AND schema_name <> 'base' AND NOT internal"
    ).fetchall()
    for schema, view, text in views:
        if schema == "main" and view in OURS:
            continue
        body = re.split(r"\bAS\b", text, maxsplit=1, flags=re.IGNORECASE)[1]
        with contextlib.closing(cursor.cursor()) as inside:  # a cursor of its own: what it uses by default cannot be detached
            inside.execute("USE published").fetchall()
            inside.execute(f"CREATE VIEW {identifier(schema)}.{identifier(view)} AS {body}").fetchall()


def _busy(target: Path, error: duckdb.Error) -> SynthcError:
    holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
    if holder is None:
        return SynthcError(f"{target}: cannot be opened: {first_line(error)}; move it away, or name another --db")
    return TargetBusy(f"{target} is open for writing in {holder[1]} (pid {holder[2]}), so publishing waits; its changes are safe")
