"""Creates and upgrades the schema, and lists its public views and macros."""

from __future__ import annotations

import contextlib
import hashlib
import re
from importlib.resources import files
from typing import Literal

import duckdb

from compiler.errors import SynthcError
from runtime.database.connect import connect, execute
from runtime.database.quoting import identifier, literal

SCHEMA = (files("runtime.database") / "schema.sql").read_text(encoding="utf-8")
SCHEMA_DIGEST = hashlib.sha256(SCHEMA.encode()).hexdigest()[:16]
"""Digest of the schema; an index with another digest is rebuilt from the store."""
SCHEMA_VERSION = int(re.findall(r"CREATE MACRO schema_version\(\) AS (\d+);", SCHEMA)[0])
OF_BASE = "database_name = current_database() AND schema_name = 'base'"
PUBLIC_VIEWS = frozenset(re.findall(r"^CREATE VIEW (\w+) AS", SCHEMA, flags=re.MULTILINE))
"""Views that every published database has; other views are the user's."""

COLUMN_COMMENTS = """
SELECT shown.table_name, shown.column_name, meaning FROM duckdb_columns() AS shown
JOIN base.meaning ON name = shown.column_name AND view IN ('', shown.table_name)
WHERE shown.schema_name = 'main' AND NOT shown.internal AND shown.comment IS NULL ORDER BY view
"""
"""Comments of the views' columns: those for a column's name in all views first, then those for a single view."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create tables, views and macros with their comments in an empty database."""
    execute(connection, SCHEMA)
    for view, column, meaning in execute(connection, COLUMN_COMMENTS):
        execute(connection, f"COMMENT ON COLUMN {identifier(view)}.{identifier(column)} IS {literal(meaning)}")
    execute(connection, "INSERT INTO base.meta VALUES (?, 'synthc')", [SCHEMA_DIGEST])
    execute(connection, "CHECKPOINT")  # replaying DDL from a log may fail


def upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Upgrade the schema of the database in use to this version; all rows, and the user's tables and views, are kept.

    Columns are matched by name. Rows of version 1, which had no origins, get one that is derived from the names of their runs.
    SynthcError for a newer version, and for one before 1.
    """
    try:
        ((version,),) = execute(connection, "SELECT schema_version()")
    except duckdb.Error:
        version = 0
    if version > SCHEMA_VERSION:
        newer = f"schema {version}, this one has {SCHEMA_VERSION}"
        raise SynthcError(f"the database was made by a newer synthc ({newer}); upgrade synthc")
    if version < 1:
        raise SynthcError("the database was made by a version that is too old to be carried on; move it away, then run again")
    execute(connection, "BEGIN TRANSACTION")
    tables = [name for (name,) in execute(connection, f"SELECT table_name FROM duckdb_tables() WHERE {OF_BASE}")]
    for (view,) in execute(connection, f"SELECT view_name FROM duckdb_views() WHERE {OF_BASE} AND NOT internal"):
        execute(connection, f"DROP VIEW base.{identifier(view)}")
    for view in PUBLIC_VIEWS:
        execute(connection, f"DROP VIEW IF EXISTS main.{identifier(view)}")
    for macro, kind in re.findall(r"^CREATE MACRO (\w+)\([^)]*\) AS (TABLE)?", SCHEMA, flags=re.MULTILINE):
        execute(connection, f"DROP MACRO {kind} IF EXISTS main.{macro}")
    execute(connection, "CREATE SCHEMA before")
    for table in tables:
        execute(connection, f"CREATE TABLE before.{identifier(table)} AS FROM base.{identifier(table)}")
    execute(connection, "DROP SCHEMA base CASCADE")
    execute(connection, "COMMIT")
    create(connection)
    execute(connection, "BEGIN TRANSACTION")
    names = "".join(name for (name,) in execute(connection, "SELECT run FROM before.run ORDER BY run"))
    earlier = "" if version > 1 else f"SELECT 'earlier-{hashlib.sha256(names.encode()).hexdigest()[:8]}' AS origin, * "
    ours = {name for (name,) in execute(connection, f"SELECT table_name FROM duckdb_tables() WHERE {OF_BASE}")}
    for table in set(tables) - {"meta", "meaning"}:
        into = f"INSERT INTO base.{table} BY NAME {earlier}" if table in ours else f"CREATE TABLE base.{identifier(table)} AS "
        execute(connection, f"{into}FROM before.{identifier(table)}")
    execute(connection, "DROP SCHEMA before CASCADE")
    execute(connection, "COMMIT")


def list_public(kind: Literal["view", "macro"]) -> list[tuple[str, str]]:
    """Public views or macros with their comments, in the order of the schema."""
    queries = {
        "view": "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY view_oid",
        "macro": "SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', comment FROM duckdb_functions() "
        "WHERE schema_name = 'main' AND NOT internal ORDER BY function_oid",
    }
    with contextlib.closing(connect()) as connection:
        execute(connection, SCHEMA)
        return execute(connection, queries[kind])
