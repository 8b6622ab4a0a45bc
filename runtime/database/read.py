"""Queries on the published database: read-only, and without files or network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError, first_line
from runtime.database.connect import connect, execute, second_name

Query = Callable[[str], tuple[list[str], list[tuple[Any, ...]]]]
"""From a query to its columns and rows."""
MAX_ROWS = 1_000_000
"""Of one query: about a gigabyte as Python holds them."""


def check_exists(database: Path) -> None:
    """SynthcError unless there is a published database."""
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")


def query(database: Path, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of a query on the published database: read-only, and without files or network."""
    with open_read_only(database) as run:
        return run(text)


@contextlib.contextmanager
def open_read_only(database: Path) -> Iterator[Query]:
    """Yield a function like `query` for several queries on one state: what is published meanwhile is not seen."""
    with contextlib.closing(connect_to_state(database)) as connection:

        def run(text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            try:
                cursor = connection.execute(text)
                if cursor is None:
                    raise SynthcError("the query is empty")
                rows = cursor.fetchmany(MAX_ROWS + 1)
            except duckdb.Error as error:
                raise _failed(error) from error
            if len(rows) > MAX_ROWS:
                hint = "add a LIMIT, or let DuckDB itself write them to a file"
                raise SynthcError(f"the query gives over {MAX_ROWS:,} rows, more than are held in memory; {hint}")
            return [column[0] for column in cursor.description or ()], rows

        yield run


def connect_to_state(database: Path) -> duckdb.DuckDBPyConnection:
    """A connection to what is published now: read-only, without files or network. SynthcError if it cannot be opened."""
    check_exists(database)
    try:
        # DuckDB takes a path that this process has open for the file that it was then: each state needs a name of its own.
        with second_name(database) as name:
            connection = connect(name, read_only=True, enable_external_access="false")
    except (duckdb.Error, OSError) as error:
        raise SynthcError(f"{database}: cannot be opened: {first_line(error)}") from error
    execute(connection, "SET lock_configuration = true")
    return connection


def query_briefly(database: Path, text: str, rows: int, seconds: float) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and the first `rows` rows of a query; SynthcError where it fails, or takes more than `seconds`."""
    with contextlib.closing(connect_to_state(database)) as connection:
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            cursor = connection.execute(text)
            if not cursor or not cursor.description:
                raise SynthcError("the query is empty, or gives no rows")
            return [column[0] for column in cursor.description], cursor.fetchmany(rows)
        except duckdb.InterruptException:
            raise SynthcError(f"the query took more than {seconds:g} seconds; `synthc sql` has no such limit") from None
        except duckdb.Error as error:
            raise _failed(error) from error
        finally:
            timer.cancel()


def relation(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.DuckDBPyRelation:
    """A query as a relation; SynthcError where it cannot be run, or is none that gives rows."""
    try:
        found = connection.sql(text)
    except duckdb.Error as error:
        raise _failed(error) from error
    if found is None:
        raise SynthcError("the query gives no rows; results are read-only")
    return found


def _failed(error: duckdb.Error) -> SynthcError:
    return SynthcError(f"the query failed: {str(error).strip()}")
