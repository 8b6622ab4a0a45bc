"""What commands share besides the study: their registration, `--db` and `--store`, and files that they write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError


def add_command(
    commands: Any, name: str, handler: Callable[[argparse.Namespace], int], *, results: bool = True, **options: Any
) -> argparse.ArgumentParser:
    """The parser of a new command; `handler` runs it and returns the exit code. `results`: with `--db` and `--store`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, **options)
    parser.set_defaults(handler=handler)
    if results:
        default = Path("results.duckdb")
        parser.add_argument("--db", type=Path, default=default, metavar="FILE", help="the database (default: results.duckdb here)")
        parser.add_argument("--store", type=Path, metavar="DIR", help="the store (default: .synthc beside the database)")
    return parser


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
