"""Whose rows a command shows: those of one origin, study and profile, or of several; chosen once for all views.

Not here: what a command does with several studies (`cli`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compiler.errors import SynthcError, did_you_mean
from runtime.database.quoting import identifier, literal
from runtime.database.read import Query

Key = tuple[str, str, str]
"""Origin, study, profile: what a latest run is of."""


@dataclass(frozen=True)
class Scope:
    """What is asked for; None: all studies, all profiles; of origins `own`, or the only other one."""

    origin: str | None = None
    study: str | None = None
    profile: str | None = None
    own: str | None = None
    """The origin of this store."""


def narrow(query: Query, scope: Scope) -> list[Key]:
    """Have all views and macros of a connection show only what `scope` asks for; the keys of what that is.

    SynthcError for names that the database does not know, and for a study that only several other origins have.
    """
    try:
        known = query(KEYS)[1]
    except SynthcError:
        raise SynthcError("the database is not of this version of synthc; `synthc db rebuild` makes it anew") from None
    keys = choose([(origin, study, profile) for origin, study, profile in known], scope)
    for catalog, view, columns in query(VIEWS)[1]:
        # A temporary view stands before one of the database, also inside of macros.
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


def choose(known: Sequence[Key], scope: Scope) -> list[Key]:
    """The keys that `scope` asks for, of those that are known."""
    keys = list(known)
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
    for (study, profile), there in origins.items():
        origin = scope.own if scope.own in there else there[0]
        if scope.own not in there and there[1:]:
            name = name_study(study, profile)
            raise SynthcError(f"{name}: this store has none, and several others do: {', '.join(there)}; name one by --origin")
        chosen.append((origin, study, profile))
    return chosen


def check_one(keys: Iterable[Key], what: str) -> None:
    """SynthcError where rows are of several studies, which `what` (a chart, a table, a report) must not mix."""
    studies = sorted({name_study(study, profile) for _, study, profile in keys})
    if studies[1:]:
        hint = "name one by --study, or --profile ('' for none)"
        raise SynthcError(f"{what} is of one study, and here are {', '.join(studies)}; {hint}")


def name_study(study: str, profile: str | None) -> str:
    """A study with its profile, as it is printed."""
    return f"{study} ({profile})" if profile else study
