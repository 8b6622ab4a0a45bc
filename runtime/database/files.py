"""Writes query results to files for other tools, and reads Parquet files that other tools wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError, first_line
from compiler.text import escape
from runtime.database.connect import connect, execute
from runtime.database.quoting import identifier, literal
from runtime.database.read import check_exists, relation
from runtime.database.revision import check_target
from runtime.store.files import atomic_write

COPY_OPTIONS = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".csv": "FORMAT csv, HEADER", ".json": "FORMAT json, ARRAY true"}
"""Suffix of a file → DuckDB's options for COPY."""


def export(database: Path, text: str, target: Path) -> None:
    """Write the rows of the SQL query `text`, without a semicolon at its end, to `target`, which is replaced; its suffix (.parquet,
    .csv with a header, .json with one array) gives the format. The query can access no other file.

    In a .csv, texts and names of columns that spreadsheets would run as formulas get an apostrophe before them. SynthcError for
    other suffixes, failing queries, a database that is missing or cannot be opened, and where `target` cannot be written.
    """
    if target.suffix not in COPY_OPTIONS:
        raise SynthcError(f"{target}: the ending should be one of {', '.join(COPY_OPTIONS)}")
    check_exists(database)
    with _replace(target) as temp, contextlib.closing(connect(database, read_only=True)) as connection:
        execute(connection, f"SET allowed_paths = [{literal(temp)}]")  # and nothing else, whatever the query says
        execute(connection, "SET enable_external_access = false")
        relation(connection, text)  # which says what is wrong with the query, not with `target`
        asked = _defused(connection, text) if target.suffix == ".csv" else text
        execute(connection, f"COPY ({asked}) TO {literal(temp)} ({COPY_OPTIONS[target.suffix]})")


def _defused(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """A query for the rows of the query `text`, with an apostrophe before texts and names of columns that spreadsheets would run as
    formulas. duckdb.Error if `text` is not a valid query."""
    computed, figure = map(literal, (escape.FORMULA.pattern, escape.FIGURE.pattern))
    columns = []
    for name, kind, *_ in execute(connection, f"DESCRIBE ({text})"):
        shown = identifier(str(name))
        if str(kind).startswith(("VARCHAR", "ENUM", "BLOB", "UNION")):
            shown += "::VARCHAR"
            runs = f"regexp_matches({shown}, {computed}) AND NOT regexp_full_match({shown}, {figure})"
            shown = f"CASE WHEN {runs} THEN '''' || {shown} ELSE {shown} END"
        columns.append(f"{shown} AS {identifier(escape.csv(str(name)))}")
    return f"SELECT {', '.join(columns)} FROM ({text})"


COMPATIBLE_STORAGE = "v1.2.0"
"""Storage version that `export_compatible` writes: DuckDB 1.2 and later read it."""


def export_compatible(database: Path, target: Path) -> None:
    """Copy the published database, with tables, views, macros and comments, to `target` in the storage version COMPATIBLE_STORAGE,
    which older DuckDB reads. A `target` that is a database of synthc is replaced. SynthcError where it is another file or cannot be
    written, and where `database` is missing or cannot be read."""
    check_exists(database)
    check_target(target)
    with _replace(target) as temp, contextlib.closing(connect()) as connection:
        execute(connection, f"ATTACH {literal(database)} AS published (READ_ONLY)")
        execute(connection, f"ATTACH {literal(temp)} AS compatible (STORAGE_VERSION '{COMPATIBLE_STORAGE}')")
        execute(connection, "COPY FROM DATABASE published TO compatible")


@contextlib.contextmanager
def _replace(target: Path) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces `target` if the block ends without an exception and is deleted otherwise. Any
    duckdb.Error or OSError in the block, or on replacing, becomes a SynthcError: `target` cannot be written."""
    try:
        with atomic_write(target, synced=False) as temp:
            yield temp
    except (duckdb.Error, OSError) as error:
        raise SynthcError(f"{target}: cannot be written: {first_line(error)}") from error


@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[tuple[list[str], Callable[[list[str]], Iterator[tuple[Any, ...]]]]]:
    """Yield the column names of a Parquet file, and a function that yields its rows as tuples of the given columns, while the block
    lasts (finish one call before the next). SynthcError if the file cannot be read, and instead of any duckdb.Error in the
    block (such as for an unknown column)."""
    with connect() as connection:

        def rows(columns: list[str]) -> Iterator[tuple[Any, ...]]:
            result = connection.execute(f"SELECT {', '.join(map(identifier, columns))} FROM read_parquet({literal(path)})")
            while chunk := result.fetchmany(1000):
                yield from chunk

        try:
            described = execute(connection, f"DESCRIBE SELECT * FROM read_parquet({literal(path)})")
            yield [str(column) for column, *_ in described], rows
        except duckdb.Error as error:
            raise SynthcError(f"{path}: cannot be read as Parquet: {first_line(error)}") from error
