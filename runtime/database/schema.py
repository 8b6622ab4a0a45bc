"""The schema and its public face: which views and macros there are, and what their columns mean."""

from __future__ import annotations

import contextlib
import hashlib
import re
from importlib.resources import files
from typing import Literal

import duckdb

from runtime.database.quoting import execute, identifier, literal

SCHEMA = (files("runtime.database") / "schema.sql").read_text(encoding="utf-8")
SCHEMA_DIGEST = hashlib.sha256(SCHEMA.encode()).hexdigest()[:16]
"""An index of another schema is rebuilt from the store."""
PUBLIC_VIEWS = frozenset(re.findall(r"^CREATE VIEW (\w+) AS", SCHEMA, flags=re.MULTILINE))
"""Views that every published database has; all others in it are the user's."""

COLUMN_COMMENTS = """
SELECT shown.table_name, shown.column_name, meaning FROM duckdb_columns() AS shown
JOIN base.meaning ON name = shown.column_name AND view IN ('', shown.table_name)
WHERE shown.schema_name = 'main' AND NOT shown.internal AND shown.comment IS NULL ORDER BY view
"""
"""The comment of each column of a view: first those of its name in all views, then those of this view."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create tables, views and macros with their comments in an empty database."""
    execute(connection, SCHEMA)
    for view, column, meaning in execute(connection, COLUMN_COMMENTS):
        execute(connection, f"COMMENT ON COLUMN {identifier(view)}.{identifier(column)} IS {literal(meaning)}")
    execute(connection, "INSERT INTO base.meta VALUES (?, 'synthc')", [SCHEMA_DIGEST])
    execute(connection, "CHECKPOINT")  # DDL in a log is what replay stumbles over


def list_public(kind: Literal["view", "macro"]) -> list[tuple[str, str]]:
    """Views or macros of the public interface with their comments, in the order of the schema."""
    queries = {
        "view": "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY view_oid",
        "macro": "SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', comment FROM duckdb_functions() "
        "WHERE schema_name = 'main' AND NOT internal ORDER BY function_oid",
    }
    with contextlib.closing(duckdb.connect()) as connection:
        execute(connection, SCHEMA)
        return execute(connection, queries[kind])
