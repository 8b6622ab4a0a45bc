"""Connections to DuckDB: none of ours loads or fetches an extension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

NO_EXTENSIONS: dict[str, Any] = {"autoload_known_extensions": "false", "autoinstall_known_extensions": "false"}
"""A file of another kind (SQLite's, say) would otherwise make DuckDB look for the extension that reads it."""


def connect(path: Path | None = None, *, read_only: bool = False, **config: str) -> duckdb.DuckDBPyConnection:
    """A connection to a database file, or to one in memory; duckdb.Error if it cannot be opened."""
    return duckdb.connect(":memory:" if path is None else str(path), read_only=read_only, config=NO_EXTENSIONS | config)


def execute(connection: duckdb.DuckDBPyConnection, text: str, values: object = None) -> list[tuple[Any, ...]]:
    """Rows of a statement. All are fetched: DuckDB may leave a statement unfinished, and its transaction open, until they are."""
    return connection.execute(text, values).fetchall()
