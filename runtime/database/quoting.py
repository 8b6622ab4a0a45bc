"""Names and texts as SQL quotes them."""

from __future__ import annotations

from pathlib import Path


def identifier(name: str) -> str:
    """A name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Path | str | None) -> str:
    """A text, quoted; None is NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
