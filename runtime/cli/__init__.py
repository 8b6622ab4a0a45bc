"""The command line: the only place where the parts are wired together. One file per family of commands.

Exit codes: 0 done · 1 some tasks failed · 2 the user can mend it · 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError

FAMILIES = ("run", "study", "plan", "results", "report", "records", "upkeep", "audit", "data")
"""Modules of this package; each registers its commands and imports what is heavy inside its handlers."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What a disk may say anywhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        args = parser().parse_args(argv)
        return args.handler(args)
    except SynthcError as error:
        print(f"synthc: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `synthc sql … | head`
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"synthc: {where}{error.strerror}; free some space, then run again: what is committed stays", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


class Help(argparse.RawDescriptionHelpFormatter):
    """Help whose lines stay as they were written; one too long for the terminal goes on below itself, or below its comment."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line if len(line) <= width else self._below(line, width) for line in text.splitlines())

    @staticmethod
    def _below(line: str, width: int) -> str:
        begun = len(line) - len(line.lstrip())
        comment = line.rfind("  ", begun) + 2
        below = comment if begun + 1 < comment < width // 2 else begun + 4 if begun else 0
        return "\n".join(textwrap.wrap(line, width, subsequent_indent=" " * below, break_long_words=False, break_on_hyphens=False))


class Parser(argparse.ArgumentParser):
    """A parser whose commands all write their help in this manner."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"formatter_class": Help})


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="synthc",
        description="Compile and run privacy studies: does training on synthetic data protect\n"
        "the private data it was made from?",
        epilog="examples:\n"
        "  synthc init my_study              write a commented starter spec\n"
        "  synthc plan my_study.yaml         what would run, and why\n"
        "  synthc run specs/full_study.yaml  run it, or what is missing of it\n"
        '  synthc sql "FROM comparison"      ask the results\n'
        "  synthc chart tradeoff -o tradeoff.svg",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for family in FAMILIES:
        importlib.import_module(f"runtime.cli.{family}").register(commands)
    return top


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
