"""What commands share besides the study: their registration, `--db` and `--store`, and files that they write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError


def add_command(commands: Any, name: str, handler: Callable[[argparse.Namespace], int], **options: Any) -> argparse.ArgumentParser:
    """The parser of a new command; `handler` runs it and returns the exit code."""
    parser: argparse.ArgumentParser = commands.add_parser(name, **options)
    parser.set_defaults(handler=handler)
    return parser


def results_options() -> argparse.ArgumentParser:
    """`--db` and `--store`, for every command that reads or writes results (a parent parser)."""
    shared = argparse.ArgumentParser(add_help=False)
    default = Path("results.duckdb")
    shared.add_argument("--db", type=Path, default=default, metavar="FILE", help="the database (default: results.duckdb here)")
    shared.add_argument("--store", type=Path, metavar="DIR", help="the store (default: .synthc beside the database)")
    return shared


def store_of(args: argparse.Namespace) -> Path:
    """The store's absolute path: `--store`, else `.synthc` beside the database."""
    return (args.store or args.db.absolute().parent / ".synthc").absolute()


def write(text: str, target: Path | None) -> None:
    """Print `text`, or write it to the file `target`; SynthcError where that cannot be."""
    if target is None:
        sys.stdout.write(text)
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SynthcError(f"{target}: cannot be written: {error.strerror}; choose another file") from error
    print(f"wrote {target}")
