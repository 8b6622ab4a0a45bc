"""Rows to files and from files: results for other tools, and Parquet that somebody else wrote."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError
from runtime.database.quoting import first_line, identifier, literal
from runtime.database.revision import check_target

ENDINGS = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".csv": "FORMAT csv, HEADER", ".json": "FORMAT json, ARRAY true"}
"""How a file's ending says what to write into it."""


def export(database: Path, text: str, target: Path) -> None:
    """Write a query's rows to `target`, beside and then renamed; its ending says the format."""
    if target.suffix not in ENDINGS:
        raise SynthcError(f"{target}: the ending should be one of {', '.join(ENDINGS)}")
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")
    beside = target.with_name(f".{target.name}.next")
    try:
        with contextlib.closing(duckdb.connect(str(database), read_only=True)) as connection:
            connection.execute(f"SET allowed_paths = [{literal(beside)}]").fetchall()   # and nothing else, whatever the query says
            connection.execute("SET enable_external_access = false").fetchall()
            connection.execute(f"COPY ({text}) TO {literal(beside)} ({ENDINGS[target.suffix]})").fetchall()
        os.replace(beside, target)
    except (duckdb.Error, OSError) as error:
        raise SynthcError(f"{target}: cannot be written: {first_line(error)}") from error
    finally:
        beside.unlink(missing_ok=True)


COMPATIBLE = "v1.2.0"
"""The storage version that `export_compatible` writes: read by DuckDB 1.2 and everything since."""


def export_compatible(database: Path, target: Path) -> None:
    """Write the whole published database in a format that older DuckDB reads: tables, views, macros, comments."""
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")
    check_target(target)
    beside = target.with_name(f".{target.name}.next")
    try:
        with contextlib.closing(duckdb.connect()) as connection:
            connection.execute(f"ATTACH {literal(database)} AS published (READ_ONLY)").fetchall()
            connection.execute(f"ATTACH {literal(beside)} AS compatible (STORAGE_VERSION '{COMPATIBLE}')").fetchall()
            connection.execute("COPY FROM DATABASE published TO compatible").fetchall()
        os.replace(beside, target)
    except (duckdb.Error, OSError) as error:
        raise SynthcError(f"{target}: cannot be written: {first_line(error)}") from error
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def parquet(path: Path) -> Iterator[tuple[list[str], Callable[[list[str]], Iterator[tuple[Any, ...]]]]]:
    """Column names of a Parquet file, and a function from wanted columns to rows; SynthcError if it is none, or broken."""
    with duckdb.connect(config={"autoload_known_extensions": "false", "autoinstall_known_extensions": "false"}) as connection:

        def rows(columns: list[str]) -> Iterator[tuple[Any, ...]]:
            found = connection.execute(f"SELECT {', '.join(map(identifier, columns))} FROM read_parquet({literal(path)})")
            while some := found.fetchmany(1000):
                yield from some

        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(path)})").fetchall()
            yield [str(column) for column, *_ in described], rows
        except duckdb.Error as error:
            raise SynthcError(f"{path}: cannot be read as Parquet: {first_line(error)}") from error
