"""Between Python and SQL: quoted names and texts, and statements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb


def identifier(name: str) -> str:
    """A name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Path | str | None) -> str:
    """A text, quoted; None is NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


def execute(connection: duckdb.DuckDBPyConnection, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run a statement to its end, and return its rows.

    DuckDB 2.0 streams results: one that is not fetched, of DDL too, owns the connection, and the next statement may raise
    ResourceInUseException.
    """
    return connection.execute(statement, values or None).fetchall()
