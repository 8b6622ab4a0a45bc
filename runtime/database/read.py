"""Runs queries on the published database, read-only and without access to files or network; on all rows or those of a scope."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError, did_you_mean, first_line
from runtime.database.connect import PATIENCE_SECONDS, connect, execute, second_name
from runtime.database.quoting import identifier, literal
from runtime.database.schema import SCHEMA_DIGEST

Query = Callable[[str], tuple[list[str], list[tuple[Any, ...]]]]
"""A function from an SQL query to its columns and rows."""
MAX_ROWS = 1_000_000
"""Most rows of a query's result: about a gigabyte in Python."""


def check_exists(database: Path) -> None:
    """SynthcError unless there is something at the path `database`; it is not opened."""
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")


def query(database: Path, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one query on the published database, as of `open_read_only`. SynthcError where the database is
    missing or cannot be opened, or the query is empty, fails, or gives over `MAX_ROWS` rows."""
    with open_read_only(database) as run:
        return run(text)


@contextlib.contextmanager
def open_read_only(database: Path) -> Iterator[Query]:
    """Yield a function that runs queries on one snapshot of the database (see `connect_to_state`) and returns column names and
    rows; rows published meanwhile are not visible. It works until the block ends.

    SynthcError where the database is missing or cannot be opened; from the function, where a query is empty, fails, or gives over
    `MAX_ROWS` rows.
    """
    with contextlib.closing(connect_to_state(database)) as connection:

        def run(text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            try:
                cursor = connection.execute(text)
                if cursor is None:
                    raise SynthcError("the query is empty")
                rows = cursor.fetchmany(MAX_ROWS + 1)
            except duckdb.Error as error:
                raise _failed(error, connection, database) from error
            if len(rows) > MAX_ROWS:
                hint = "add a LIMIT, or let DuckDB itself write them to a file"
                raise SynthcError(f"the query gives over {MAX_ROWS:,} rows, more than are held in memory; {hint}")
            return [column[0] for column in cursor.description or ()], rows

        yield run


def connect_to_state(database: Path) -> duckdb.DuckDBPyConnection:
    """Connect to a snapshot of the published database, read-only but for temporary tables and views, without access to files or
    network; its settings cannot be changed. SynthcError if the database is missing or cannot be opened.

    Waits up to `PATIENCE_SECONDS` while another process writes to it.
    """
    check_exists(database)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            # DuckDB treats a path that this process has open as the file that it was then: each snapshot needs a path of its own.
            with second_name(database) as name:
                connection = connect(name, read_only=True, enable_external_access="false")
            break
        except (duckdb.Error, OSError) as error:
            passing = any(word in str(error) for word in ("Conflicting lock", "does not exist"))  # a publisher tidies up links
            if not passing or time.monotonic() > deadline:
                raise SynthcError(f"{database}: cannot be opened: {first_line(error)}") from error
        time.sleep(0.05)
    execute(connection, "SET lock_configuration = true")
    return connection


def query_briefly(database: Path, text: str, rows: int, seconds: float) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and the first `rows` rows of a query on the published database, as of `connect_to_state`. SynthcError where the
    database is missing or cannot be opened, or the query is empty, fails, or takes more than `seconds`."""
    with contextlib.closing(connect_to_state(database)) as connection:
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            cursor = connection.execute(text)
            if cursor is None:
                raise SynthcError("the query is empty")
            return [column[0] for column in cursor.description or ()], cursor.fetchmany(rows)
        except duckdb.InterruptException:
            raise SynthcError(f"the query took more than {seconds:g} seconds; `synthc sql` has no such limit") from None
        except duckdb.Error as error:
            raise _failed(error, connection, database) from error
        finally:
            timer.cancel()


def relation(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.DuckDBPyRelation:
    """A query as a DuckDB relation, which is computed when it is read (errors are then duckdb.Error). SynthcError where the query
    is empty, or cannot be parsed and bound; also where it is no SELECT and fails, since such a statement runs at once."""
    try:
        found = connection.sql(text)
    except duckdb.Error as error:
        raise _failed(error, connection) from error
    if found is None:
        raise SynthcError("the query is empty")
    return found


def _failed(error: duckdb.Error, connection: duckdb.DuckDBPyConnection, database: Path | str = "the database") -> SynthcError:
    """The error to raise for a failed query, with advice where the database (named `database` there) may be damaged, or lacks the
    schema of this version."""
    said = f"the query failed: {str(error).strip()}"
    broken = duckdb.IOException | duckdb.FatalException | duckdb.InternalException | duckdb.SerializationException
    if isinstance(error, broken) or str(error).startswith("Corrupt database file"):  # which has no class of its own
        said = (
            f"{database}: cannot be read: {first_line(error)}; it may be damaged: `synthc db rebuild` makes it anew from its store"
        )
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
        try:
            current = execute(connection, "SELECT schema FROM base.meta") == [(SCHEMA_DIGEST,)]
        except duckdb.Error:
            current = False
        if not current:
            what = first_line(error).partition(": ")[2].rstrip("!.")
            said = (
                f"the database is of another version of synthc, and lacks what is asked for ({what}); `synthc db rebuild` makes it "
                "anew from its store, or `synthc db merge FILE --db NEW`, where the store is gone"
            )
    return SynthcError(said)


# Which rows are shown

Key = tuple[str, str, str]
"""(origin, study, profile), for each of which there is one latest run; the profile is "" where there is none."""


@dataclass(frozen=True)
class Scope:
    """The rows that a user requests. None as study or profile: all of them (the profile "" is no profile). None as origin: for each
    study under each profile the origin `own` if it has that study, else the only origin that has it.

    Where all three are None and `own` has rows, the request is for rows of `own` alone.
    """

    origin: str | None = None
    study: str | None = None
    profile: str | None = None
    own: str | None = None
    """The origin of this store; None where it is not known."""


def narrow(query: Query, scope: Scope) -> list[Key]:
    """Restrict all views of the connection behind `query` that have a column `origin`, and macros on them, to the rows of `scope`,
    by temporary views of the same names; a view is restricted by those of origin, study and profile that it has. Returns the keys
    of these rows, at most one for each study and profile; [] where the database has no runs and `scope` names nothing.

    SynthcError for a study, profile or origin that is not there (together with the others named), and, without a named origin, for
    a study that several origins have and `scope.own` does not.
    """
    keys = choose([(origin, study, profile) for origin, study, profile in query(KEYS)[1]], scope)
    for catalog, view, columns in query(VIEWS)[1]:
        # A temporary view shadows the database's view of the same name, also inside macros.
        whole = ".".join(map(identifier, (catalog, "main", view)))
        query(f"CREATE TEMP VIEW {identifier(view)} AS FROM {whole} WHERE {_is_one_of(keys, columns)}")
    return keys


KEYS = "SELECT origin, study, profile FROM base.latest ORDER BY ALL"
VIEWS = """
SELECT database_name, table_name, list(column_name) FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = 'main' AND table_name IN (
  SELECT view_name FROM duckdb_views() WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal)
GROUP BY ALL HAVING list_contains(list(column_name), 'origin') ORDER BY ALL
"""


def _is_one_of(keys: Iterable[Key], columns: Sequence[str]) -> str:
    names = [name for name in ("origin", "study", "profile") if name in columns]
    tests = (" AND ".join(f"{name} = {literal(part)}" for name, part in zip(names, key, strict=False)) for key in keys)
    return " OR ".join(dict.fromkeys(f"({test})" for test in tests)) or "false"


def choose_one(query: Query, scope: Scope) -> tuple[Scope, list[str]]:
    """A scope of one study that `scope` requests, of several the one with the latest run (`scope` itself where the database has no
    study); and the names of the other requested ones with their profiles, that of the latest run first. Errors as of `narrow`."""
    rows = query("SELECT origin, study, profile FROM base.latest ORDER BY run DESC, origin, study, profile")[1]
    keys = choose([(origin, study, profile) for origin, study, profile in rows], scope)
    return Scope(*keys[0], own=scope.own) if keys else scope, [name_study(study, profile) for _, study, profile in keys[1:]]


def choose(known: Sequence[Key], scope: Scope) -> list[Key]:
    """The keys among `known` that `scope` requests, at most one for each study and profile, in the order in which these first
    appear; errors as of `narrow`."""
    keys = list(known)
    if (scope.origin, scope.study, scope.profile) == (None, None, None):
        keys = [key for key in keys if key[0] == scope.own] or keys
    for at, kind in ((1, "study"), (2, "profile"), (0, "origin")):
        wanted = getattr(scope, kind)
        if wanted is not None:
            there = {key[at] or "''" for key in keys}
            keys = [key for key in keys if key[at] == wanted]
            if not keys:
                raise SynthcError(f"no {kind} is called {wanted!r}; {did_you_mean(wanted, there)}")
    origins: dict[tuple[str, str], list[str]] = {}
    for origin, study, profile in keys:
        origins.setdefault((study, profile), []).append(origin)
    chosen = []
    for (study, profile), held in origins.items():
        origin = scope.own if scope.own in held else held[0]
        if scope.own not in held and held[1:]:
            name = name_study(study, profile)
            raise SynthcError(f"{name}: this store has none, and several others do: {', '.join(held)}; name one by --origin")
        chosen.append((origin, study, profile))
    return chosen


def check_one(keys: Iterable[Key], what: str) -> None:
    """SynthcError if the keys are of several studies, or of several profiles of one; `what` ("a chart", "a table", "a report")
    shows one only, and is named in the error."""
    studies = sorted({name_study(study, profile) for _, study, profile in keys})
    if studies[1:]:
        hint = "name one by --study, or --profile ('' for none)"
        raise SynthcError(f"{what} is of one study, and here are {', '.join(studies)}; {hint}")


def name_study(study: str, profile: str | None) -> str:
    """A study with its profile in parentheses, if it has one, as printed for users."""
    return f"{study} ({profile})" if profile else study
