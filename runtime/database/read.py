"""Queries on the published database: read-only, and without files or network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError, first_line
from runtime.database.connect import connect, execute

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
def open_read_only(database: Path) -> Iterator[Callable[[str], tuple[list[str], list[tuple[Any, ...]]]]]:
    """Yield a function like `query` for several queries on one state: what is published meanwhile is not seen."""
    check_exists(database)
    try:
        connection = connect(database, read_only=True, enable_external_access="false")
    except duckdb.Error as error:
        raise SynthcError(f"{database}: cannot be opened: {first_line(error)}") from error

    def run(text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        try:
            cursor = connection.execute(text)
            if cursor is None:
                raise SynthcError("the query is empty")
            rows = cursor.fetchmany(MAX_ROWS + 1)
        except duckdb.Error as error:
            raise SynthcError(f"the query failed: {str(error).strip()}") from error
        if len(rows) > MAX_ROWS:
            hint = "add a LIMIT, or let DuckDB itself write them to a file"
            raise SynthcError(f"the query gives over {MAX_ROWS:,} rows, more than are held in memory; {hint}")
        return [column[0] for column in cursor.description or ()], rows

    with contextlib.closing(connection):
        execute(connection, "SET lock_configuration = true")
        yield run
