"""Shared code of commands: registration, `--db` and `--store`, selection of results, output."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError

if TYPE_CHECKING:
    from runtime.database.read import Query, Scope


def add_command(
    commands: Any,
    name: str,
    handler: Callable[[argparse.Namespace], int],
    *,
    results: bool = True,
    scope: bool = False,
    **options: Any,
) -> argparse.ArgumentParser:
    """Register a command with the subparsers `commands` and return its parser; `handler` runs it and returns the exit code.

    `results`: with `--db` and `--store`. `scope`: with `--origin`, `--study` and `--profile`, of what it shows. `options`: for
    argparse's `add_parser`.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, **options)
    parser.set_defaults(handler=handler)
    if results:
        default = Path("results.duckdb")
        parser.add_argument("--db", type=Path, default=default, metavar="FILE", help="the database (default: results.duckdb here)")
        parser.add_argument("--store", type=Path, metavar="DIR", help="the store (default: .synthc beside the database)")
    if scope:
        origin = "rows that this store published (default: this store's; of what it has not, those of the only one that has)"
        parser.add_argument("--origin", metavar="NAME", help=origin)
        parser.add_argument("--study", metavar="NAME", help="this study alone")
        parser.add_argument("--profile", metavar="NAME", help="this profile of it alone; '' for none")
    return parser


def scope_of(args: argparse.Namespace) -> Scope:
    """The origin, study and profile that the arguments select, None for each that they do not name, and the store's own origin
    (None where the store has none). Whether the database has them is not looked at."""
    from runtime.database.read import Scope
    from runtime.store.artifacts import read_origin

    return Scope(args.origin, args.study, args.profile, own=read_origin(store_of(args)))


def scope_of_one(args: argparse.Namespace, what: str) -> Scope:
    """The scope of the one study whose results are asked for: of several the one that ran last; then a sentence on standard error
    says that `what` is of it. Of a database without studies that of `scope_of`. SynthcError where the database cannot be read, the
    arguments name what is not there, or several other origins have a study that this store does not have."""
    from runtime.database.read import choose_one, name_study, open_read_only

    with open_read_only(args.db) as query:
        scope, others = choose_one(query, scope_of(args))
    if others:
        named = name_study(str(scope.study), scope.profile)
        print(f"synthc: {what} of {named}, which ran last; --study and --profile name {', '.join(others)}", file=sys.stderr)
    return scope


@contextlib.contextmanager
def open_results(args: argparse.Namespace, scope: Scope | None = None) -> Iterator[Query]:
    """Yield a function from SQL to columns and rows, on only the results that `scope`, or without it the arguments, select; the
    database is closed afterwards. SynthcError where the database cannot be read, a selected name is not in it, or several other
    origins have a study that this store does not have; from the function, where a query fails or gives too many rows."""
    from runtime.database.read import narrow, open_read_only

    with open_read_only(args.db) as query:
        narrow(query, scope or scope_of(args))
        yield query


def store_of(args: argparse.Namespace) -> Path:
    """The store's absolute path: `--store`, else `.synthc` beside the database."""
    return (args.store or args.db.absolute().parent / ".synthc").absolute()


def whole_number(least: int = 1, most: int = 10**9) -> Callable[[str], int]:
    """A function that parses an option's integer from `least` to `most`, both included; it raises ArgumentTypeError for other texts
    than decimal digits in that range."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:12]) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return parse


def positive_number(text: str) -> float:
    """Parse an option's finite number above zero; ArgumentTypeError for other texts."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def write(text: str, target: Path | None) -> None:
    """Print `text` as it is, without a further newline; or with `target` write it to that file, replacing an older one, and print
    its path. SynthcError where it cannot be written."""
    if target is None:
        sys.stdout.write(text)
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SynthcError(f"{target}: cannot be written: {error.strerror}; choose another file") from error
    print(f"wrote {target}")
