"""Names and texts between Python and SQL."""

from __future__ import annotations

from pathlib import Path


def identifier(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Path | str | None) -> str:
    """A text as SQL takes it; None is NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
