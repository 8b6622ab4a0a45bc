"""The schema and its public face: which views and macros there are, and what their columns mean."""

from __future__ import annotations

import contextlib
import hashlib
import re
from importlib.resources import files
from typing import Literal

import duckdb

from runtime.database.quoting import identifier, literal

SCHEMA = (files("runtime.database") / "schema.sql").read_text(encoding="utf-8")
SCHEMA_DIGEST = hashlib.sha256(SCHEMA.encode()).hexdigest()[:16]
"""An index of another schema is made anew from the store."""
OURS = frozenset(re.findall(r"^CREATE VIEW (\w+) AS", SCHEMA, flags=re.MULTILINE))
"""Views that every published database has; whatever else stands in it is the user's."""

MEANINGS = """
SELECT shown.table_name, shown.column_name, meaning FROM duckdb_columns() AS shown
JOIN base.meaning ON name = shown.column_name AND view IN ('', shown.table_name)
WHERE shown.schema_name = 'main' AND NOT shown.internal AND shown.comment IS NULL ORDER BY view
"""
"""What to say of each column of a view: what its name means everywhere, then the view's own word on it."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables, views and macros with their comments, in an empty database."""
    connection.execute(SCHEMA).fetchall()
    for view, column, meaning in connection.execute(MEANINGS).fetchall():
        connection.execute(f"COMMENT ON COLUMN {identifier(view)}.{identifier(column)} IS {literal(meaning)}").fetchall()
    connection.execute("INSERT INTO base.meta VALUES (?, 'synthc')", [SCHEMA_DIGEST]).fetchall()
    connection.execute("CHECKPOINT").fetchall()  # DDL in a log is what replay stumbles over


def public(kind: Literal["view", "macro"]) -> list[tuple[str, str]]:
    """Views or macros of the public interface with their comments, in the order of the schema."""
    listed = {
        "view": "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY view_oid",
        "macro": "SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', comment FROM duckdb_functions() "
        "WHERE schema_name = 'main' AND NOT internal ORDER BY function_oid",
    }
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(SCHEMA).fetchall()
        return connection.execute(listed[kind]).fetchall()
