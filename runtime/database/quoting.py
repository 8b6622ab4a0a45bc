"""Quotes names and texts for SQL."""

from __future__ import annotations

from pathlib import Path


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Path | str | None) -> str:
    """A text as a quoted SQL literal; NULL for None."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
