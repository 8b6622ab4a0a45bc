"""`synthc`: its parser, and the messages and exit codes of errors."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from compiler.errors import SynthcError

COMMAND_MODULES = ("run", "check", "plan", "results", "records", "upkeep", "audit", "split", "data", "bundle", "ui")
"""Modules of this package; each registers its commands and imports what is heavy inside its handlers."""


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors of a disk, which any command may meet."""


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
        if error.errno not in DISK_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"synthc: {where}{error.strerror}; free some space, then run again: what is committed stays", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


class Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a help text; one too long for the terminal is continued below its text, or below its comment."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line if len(line) <= width else self._wrap(line, width) for line in text.splitlines())

    @staticmethod
    def _wrap(line: str, width: int) -> str:
        start = len(line) - len(line.lstrip())
        comment = line.rfind("  ", start) + 2
        indent = comment if start + 1 < comment < width // 2 else start + 4 if start else 0
        return "\n".join(textwrap.wrap(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


class Parser(argparse.ArgumentParser):
    """A parser whose commands all format their help with `Help`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"formatter_class": Help})


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="synthc",
        description="Compile and run privacy studies: does training on synthetic data protect\nthe private data it was made from?",
        epilog="examples:\n"
        "  synthc init my_study              write a commented starter spec\n"
        "  synthc plan my_study.yaml         what would run, and why\n"
        "  synthc run specs/full_study.yaml  run it, or what is missing of it\n"
        '  synthc sql "FROM comparison"      ask the results\n'
        "  synthc chart tradeoff -o tradeoff.svg",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMAND_MODULES:
        importlib.import_module(f"runtime.cli.{module}").register(commands)
    return top
