"""Creates and upgrades the schema, and lists its public views and macros."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import warnings
from importlib.resources import files
from typing import Literal

import duckdb

from compiler.errors import SynthcError, SynthcWarning
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
WHERE shown.database_name = current_database() AND shown.schema_name = 'main' AND NOT shown.internal AND shown.comment IS NULL
ORDER BY view
"""
"""Comments of the views' columns: those for a column's name in all views first, then those for a single view."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create tables, views and macros with their comments in the database in use, mark it as made by synthc, and write it to disk
    (a checkpoint). duckdb.Error if it has some of them already."""
    execute(connection, SCHEMA.replace("CREATE SCHEMA base;", "CREATE SCHEMA IF NOT EXISTS base;"))
    for view, column, meaning in execute(connection, COLUMN_COMMENTS):
        execute(connection, f"COMMENT ON COLUMN {identifier(view)}.{identifier(column)} IS {literal(meaning)}")
    execute(connection, "INSERT INTO base.meta VALUES (?, 'synthc')", [SCHEMA_DIGEST])
    execute(connection, "CHECKPOINT")  # replaying DDL from a log may fail


def upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Upgrade the schema of the database in use to this version; all rows are kept, and what users made in any schema, except for
    macros with names of ours, and views with such names that have a comment and read `base` (see `_own_views`).

    Columns are matched by name. Rows of version 1, which had no origins, get one that is derived from the names of their runs. A
    user's other table or view that has the name of a new view of ours is renamed, with a SynthcWarning. SynthcError for a newer
    version, and for one before 1 or without a version.
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
    for view in PUBLIC_VIEWS & _own_views(connection):
        execute(connection, f"DROP VIEW main.{identifier(view)}")
    for macro, kind in re.findall(r"^CREATE MACRO (\w+)\([^)]*\) AS (TABLE)?", SCHEMA, flags=re.MULTILINE):
        execute(connection, f"DROP MACRO {kind} IF EXISTS main.{macro}")
    for view in re.findall(r"^CREATE VIEW base\.(\w+)", SCHEMA, flags=re.MULTILINE):
        execute(connection, f"DROP VIEW IF EXISTS base.{view}")
    _give_way(connection)
    before = _unused(connection, "before", "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()")
    execute(connection, f"CREATE SCHEMA {before}")
    known = set(re.findall(r"^CREATE TABLE base\.(\w+)", SCHEMA, flags=re.MULTILINE))
    tables = known & {name for (name,) in execute(connection, f"SELECT table_name FROM duckdb_tables() WHERE {OF_BASE}")}
    for table in tables:
        execute(connection, f"CREATE TABLE {before}.{table} AS FROM base.{table}")
        execute(connection, f"DROP TABLE base.{table}")
    execute(connection, "COMMIT")
    create(connection)
    execute(connection, "BEGIN TRANSACTION")
    names = "".join(name for (name,) in execute(connection, f"SELECT run FROM {before}.run ORDER BY run"))
    earlier = "" if version > 1 else f"SELECT 'earlier-{hashlib.sha256(names.encode()).hexdigest()[:8]}' AS origin, * "
    for table in tables - {"meta", "meaning"}:
        execute(connection, f"INSERT INTO base.{table} BY NAME {earlier}FROM {before}.{table}")
    execute(connection, f"DROP SCHEMA {before} CASCADE")
    execute(connection, "COMMIT")


def _own_views(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the views in `main` that are taken for ours, by their text: with a comment and `base.` in their SQL, or with a
    comment that begins as that of the dictionary of metrics, which reads nothing. A user's view of which this holds is among
    them."""
    asked = "SELECT view_name FROM duckdb_views() WHERE database_name = current_database() AND schema_name = 'main'"
    ours = " AND comment IS NOT NULL AND (sql LIKE '%base.%' OR comment LIKE 'The dictionary of metrics%')"
    return {name for (name,) in execute(connection, asked + ours)}


def _give_way(connection: duckdb.DuckDBPyConnection) -> None:
    """Rename each table or view in `main` that has the name of a public view to `<name>_before` (numbered if that is taken), with a
    SynthcWarning for each; indexes on it stay. Views of ours must have been dropped before."""
    there = "database_name = current_database() AND schema_name = 'main'"
    taken = f"SELECT table_name FROM duckdb_tables() WHERE {there} UNION SELECT view_name FROM duckdb_views() WHERE {there}"
    for kind in ("table", "view"):
        for (name,) in execute(connection, f"SELECT {kind}_name FROM duckdb_{kind}s() WHERE {there} ORDER BY ALL"):
            if name not in PUBLIC_VIEWS:
                continue
            other = _unused(connection, f"{name}_before", taken)
            asked = f"SELECT index_name, sql FROM duckdb_indexes() WHERE {there} AND table_name = '{name}'"
            indexes = execute(connection, asked)
            for index, _ in indexes:  # a table with an index cannot be renamed
                execute(connection, f"DROP INDEX main.{identifier(index)}")
            execute(connection, f"ALTER {kind} main.{name} RENAME TO {other}")
            for _, statement in indexes:
                execute(connection, statement.replace(f" ON {name}(", f" ON main.{other}(", 1))
            told = (
                f"your {kind} {name} is called {other} now: {name} is a view of synthc's; what reads it by its name reads that view"
            )
            warnings.warn(told, SynthcWarning, stacklevel=2)


def _unused(connection: duckdb.DuckDBPyConnection, name: str, taken: str) -> str:
    """`name`; where the query `taken` lists it already, the first of `name_2`, `name_3` … that it does not list."""
    names = {one for (one,) in execute(connection, taken)}
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in names)


def list_public(kind: Literal["view", "macro"]) -> list[tuple[str, str]]:
    """(name, comment) of each public view, or macro, of this version's schema, in its order; a macro's name is followed by its
    parameters in parentheses."""
    queries = {
        "view": "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY view_oid",
        "macro": "SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', comment FROM duckdb_functions() "
        "WHERE schema_name = 'main' AND NOT internal ORDER BY function_oid",
    }
    with contextlib.closing(connect()) as connection:
        execute(connection, SCHEMA)
        return execute(connection, queries[kind])
