"""Connections to DuckDB: none of ours loads or fetches an extension."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError

NO_EXTENSIONS: dict[str, Any] = {"autoload_known_extensions": "false", "autoinstall_known_extensions": "false"}
"""A file of another kind (SQLite's, say) would otherwise make DuckDB look for the extension that reads it."""

PATIENCE_SECONDS = 3.0
"""How long is waited for somebody who writes to the database: a script is done by then, a notebook may keep it open for hours."""


def connect(path: Path | None = None, *, read_only: bool = False, **config: str) -> duckdb.DuckDBPyConnection:
    """A connection to a database file, or to one in memory; duckdb.Error if it cannot be opened, SynthcError where none can be."""
    if path is not None:
        check_path(path)
    name = ":memory:" if path is None else str(path.absolute())  # `md:x` alone would be no file
    return duckdb.connect(name, read_only=read_only, config=NO_EXTENSIONS | config)


def check_path(path: Path) -> None:
    """SynthcError for a path with a question mark: DuckDB takes what follows for options, and its log would lie elsewhere."""
    if "?" in str(path.absolute()):
        raise SynthcError(f"{path.absolute()}: DuckDB keeps no database below a name with `?`; rename it, or name another place")


@contextlib.contextmanager
def second_name(path: Path) -> Iterator[Path]:
    """Another name for a database file, while the block lasts: a link beside it, or a copy where none can be made.

    DuckDB attaches no file twice under one name, and takes a name that this process has open for the file that it was then.
    """
    other = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.next")
    try:
        os.link(path, other)
    except OSError:  # no hard links on this disk, or a folder of somebody else's
        with tempfile.TemporaryDirectory(prefix="synthc-") as folder:
            yield Path(shutil.copy(path, folder))
        return
    try:
        yield other
    finally:
        other.unlink(missing_ok=True)


def execute(connection: duckdb.DuckDBPyConnection, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run a statement to its end, and return its rows.

    DuckDB 2.0 streams results: one that is not fetched, of DDL too, owns the connection, and the next statement may raise
    ResourceInUseException.
    """
    return connection.execute(statement, values or None).fetchall()
