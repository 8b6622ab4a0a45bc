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
from runtime.database.quoting import execute, identifier, literal
from runtime.database.schema import PUBLIC_VIEWS


class TargetBusy(SynthcError):
    """Another process has the published database open for writing: nothing is lost, publishing waits."""


def publish(connection: duckdb.DuckDBPyConnection, index: Path, target: Path) -> None:
    """Replace `target` by a copy of the file `index`, on which `connection` is open; open readers keep the old one.

    TargetBusy when a writer has it open; SynthcError when it is not ours, or cannot be written; duckdb.Error of the index itself.
    """
    check_target(target)
    temp = target.with_name(f".{target.name}.next")
    execute(connection, "CHECKPOINT")
    try:
        temp.unlink(missing_ok=True)
        # An instance of its own: a disk that is full where the target lies would make the index's one unusable.
        with contextlib.closing(duckdb.connect()) as aside, _lock_out_writers(aside, target) as exists:
            _copy(index, temp)
            if exists:
                with _attach(aside, temp, "published") as cursor:
                    _carry_over(cursor)
            os.replace(temp, target)  # the old file stays locked until it is replaced
    except (OSError, duckdb.Error) as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise SynthcError(f"{target}: cannot be published: {why}; make room there, or name another --db") from error
    finally:
        temp.unlink(missing_ok=True)


def _copy(index: Path, temp: Path) -> None:
    """Copy the index's file: a twentieth of the time that copying its rows takes, and whole after a checkpoint, since no other
    process writes. Closing it here releases DuckDB's lock on it; the store's own (`artifacts.lock_store`) is what counts."""
    shutil.copyfile(index, temp)
    with temp.open("rb+") as copy:
        os.fsync(copy.fileno())


@contextlib.contextmanager
def _lock_out_writers(connection: duckdb.DuckDBPyConnection, target: Path) -> Iterator[bool]:
    """Lock `target` against writers while it is replaced; yields whether it exists.

    Opened for writing if no process has it open, which also applies the log of a writer that was killed; else for reading, which
    readers allow and which keeps writers out. Neither works while there is a writer.
    """
    if not target.exists():
        yield False
        return
    cursor = connection.cursor()
    try:
        try:
            execute(cursor, f"ATTACH {literal(target)} AS old")
            execute(cursor, "CHECKPOINT old")
        except duckdb.IOException:
            try:
                execute(cursor, f"ATTACH {literal(target)} AS old (READ_ONLY)")
            except duckdb.IOException as error:
                raise _busy_error(target, error) from error
    except duckdb.Error as error:
        raise SynthcError(f"{target}: cannot be opened: {first_line(error)}; move it away, or name another --db") from error
    try:
        yield True
    finally:
        with contextlib.suppress(duckdb.Error):
            execute(cursor, "DETACH old")


@contextlib.contextmanager
def _attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> Iterator[duckdb.DuckDBPyConnection]:
    cursor = connection.cursor()
    execute(cursor, f"ATTACH {literal(path)} AS {name}")
    try:
        yield cursor
    finally:
        with contextlib.suppress(duckdb.Error):
            execute(cursor, f"DETACH {name}")


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
            found = execute(connection, "SELECT made_by FROM base.meta")
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            return  # another process writes to it; publishing will say which
        if target.with_name(f"{target.name}.wal").exists():
            return  # a log to take in first, which needs a writer: publishing does
        raise SynthcError(f"{target}: not a database ({first_line(error)}); move it away, or name another --db") from error
    except duckdb.Error as error:
        raise SynthcError(f"{target}: a database, but not one of synthc's; move it away, or name another --db") from error
    if found != [("synthc",)]:
        raise SynthcError(f"{target}: a database, but not one of synthc's; move it away, or name another --db")


def _carry_over(cursor: duckdb.DuckDBPyConnection) -> None:
    """Copy what the user keeps in the old file into the new one: schemas, tables, views."""
    theirs = "database_name = 'old' AND NOT internal AND schema_name <> 'base'"
    schemas = execute(cursor, f"SELECT DISTINCT schema_name FROM duckdb_schemas() WHERE {theirs} AND schema_name <> 'main'")
    for (schema,) in schemas:
        execute(cursor, f"CREATE SCHEMA IF NOT EXISTS published.{identifier(schema)}")
    tables = execute(cursor, f"SELECT schema_name, table_name FROM duckdb_tables() WHERE {theirs}")
    for schema, table in tables:
        name = f"{identifier(schema)}.{identifier(table)}"
        execute(cursor, f"CREATE TABLE published.{name} AS FROM old.{name}")
    views = execute(cursor, f"SELECT schema_name, view_name, sql FROM duckdb_views() WHERE {theirs}")
    for schema, view, text in views:
        if schema == "main" and view in PUBLIC_VIEWS:
            continue
        body = re.split(r"\bAS\b", text, maxsplit=1, flags=re.IGNORECASE)[1]
        with contextlib.closing(cursor.cursor()) as other:  # a cursor of its own: what it uses by default cannot be detached
            execute(other, "USE published")
            execute(other, f"CREATE VIEW {identifier(schema)}.{identifier(view)} AS {body}")


def _busy_error(target: Path, error: duckdb.Error) -> SynthcError:
    holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
    if holder is None:
        return SynthcError(f"{target}: cannot be opened: {first_line(error)}; move it away, or name another --db")
    return TargetBusy(f"{target} is open for writing in {holder[1]} (pid {holder[2]}), so publishing waits; its changes are safe")
