"""The command `synthc`: parser, error messages, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO, cast

from compiler.errors import SynthcError, SynthcWarning, did_you_mean, first_line, sentence_of
from compiler.text.escape import Visible

COMMAND_MODULES = (
    "run",
    "tune",
    "check",
    "plan",
    "results",
    "records",
    "upkeep",
    "audit",
    "split",
    "judge",
    "data",
    "bundle",
    "ui",
)
"""Modules of this package that register commands; they import slow libraries inside their handlers."""

NO_THREAD = "can't start new thread"
"""Python's message (there is no exception type) where the limit of threads of a user or container is reached."""

NO_UTF8 = "names of files are {} here, which lacks some of these letters; set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
"""What is said of such a name where the locale is not UTF-8."""

EXIT_CODES = """\
exit codes:
  0    done
  1    run, status: a task failed, or is missing; db rebuild, doctor, data
       verify, data fetch: something is damaged, or not what it should be
  2    there is something to mend, and a sentence says what
  3    judge, run: a policy is closed
  4    judge: cannot be told from what there is
  130  interrupted (Ctrl-C, SIGTERM, SIGHUP); running again goes on"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (EXIT_CODES). `argv`: the words after `synthc`, by default this process's. Errors of
    commands are printed as sentences to standard error, without tracebacks, and not raised. SystemExit for words that cannot be
    parsed, `--help` and `--version`."""
    out, err = (cast(TextIO, Visible(_PipeSafe(stream))) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _warnings_as_sentences():
        code = _run(parser().parse_args(argv), sys.argv[1:] if argv is None else argv)
        out.flush()
        err.flush()
        return code


@contextlib.contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", SynthcWarning)
        show = warnings.showwarning

        def show_sentence(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
            if issubclass(category, SynthcWarning):
                print(f"synthc: warning: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **others)

        warnings.showwarning = show_sentence
        yield


def _run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    from runtime import machine

    try:
        _check_arguments(argv)
        machine.check_room_for_threads(2 * machine.cores() + 24, "a command")  # OpenBLAS, DuckDB, the writers of commits
        code: int = args.handler(args)
        return code
    except SynthcError as error:
        return _print_error(str(error))
    except KeyboardInterrupt:
        return _print_error("interrupted", 130)
    except OSError as error:
        return _print_error(sentence_of(error) + _keep_details())
    except UnicodeEncodeError as error:  # a name of a file: texts for streams are escaped
        return _print_error(f"{error.object!a}: {NO_UTF8.format(error.encoding)}")
    except MemoryError:
        return _print_error(f"the memory does not suffice{_keep_details()}")
    except SystemExit as error:  # of a package that a spec names: our own parser is done
        return _print_error(f"the code of a package ended the program ({error.code}){_keep_details()}")
    except Exception as error:
        if str(error) == NO_THREAD:
            return _print_error(f"{error}: raise `ulimit -u`, or the limit of the container{_keep_details()}")
        return _print_error(f"a mistake of synthc's: {type(error).__name__}: {first_line(error)}{_keep_details()}")


def _print_error(sentence: str, code: int = 2) -> int:
    print(f"synthc: {sentence}", file=sys.stderr)
    return code


def _keep_details() -> str:
    """Write the traceback of the exception that is being handled to a new file in the folder for temporary files, which only its
    owner can read; returns a phrase with its path, "" if it cannot be written."""
    import tempfile
    import traceback

    try:
        handle, path = tempfile.mkstemp(prefix="synthc-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exc(file=file)
    except OSError:
        return ""
    return f" (details: {path})"


class _PipeSafe:
    """Standard output or error that ignores writes once its reader has closed the pipe.

    What an encoding lacks is written as an escape. None as the stream: all writes are ignored.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or open(os.devnull, "w")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._ignore_closed(self._stream.write, text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        self._ignore_closed(self._stream.flush)

    def _ignore_closed(self, act: Callable[..., object], *text: str) -> None:
        try:
            act(*text)
        except (BrokenPipeError, ValueError):  # no reader, or closed: what Python writes when it ends should not fail either
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def _check_arguments(argv: Sequence[str]) -> None:
    """SynthcError where arguments are not valid Unicode, so that records could not hold them, or the working directory is
    deleted."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise SynthcError("the working directory was deleted; change to another one") from None
    for name in (*argv, here):
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
            encoding = sys.getfilesystemencoding()
            why = "the name is not UTF-8; rename it, or give it in UTF-8" if encoding == "utf-8" else NO_UTF8.format(encoding)
            raise SynthcError(f"{name}: {why}")


class Help(argparse.RawDescriptionHelpFormatter):
    """A help formatter that keeps line breaks of description and epilog; lines too long for the terminal are wrapped with an
    indent."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line if len(line) <= width else self._wrap(line, width) for line in text.splitlines())

    @staticmethod
    def _wrap(line: str, width: int) -> str:
        start = len(line) - len(line.lstrip())
        comment = line.rfind("  ", start) + 2
        indent = comment if start + 1 < comment < width // 2 else start + 4 if start else 0
        return "\n".join(textwrap.wrap(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False))


class Parser(argparse.ArgumentParser):
    """An argument parser that formats help with `Help` and suggests known words for unknown ones."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"formatter_class": Help})

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"none is called {value!r}; {did_you_mean(value, map(str, action.choices))}")

    def parse_known_args(self, *args: Any, **options: Any) -> Any:
        parsed, unknown = super().parse_known_args(*args, **options)
        if unknown:
            word, known = unknown[0].partition("=")[0], self._option_string_actions
            hint = did_you_mean(word, known) if word.startswith("-") else "nothing more is wanted here"
            self.error(f"not understood: {' '.join(unknown)}; {hint}")
        return parsed, unknown


class _PrintVersion(argparse.Action):
    """Prints the installed version when asked to. argparse's `version` action takes the text when the parser is made, so every
    command would import `importlib.metadata`, which takes 20 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import version

        print(f"synthc {version('synthc')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="synthc",
        description="Compile and run privacy studies: does training on synthetic data protect\nthe private data it was made from?",
        epilog="examples:\n"
        "  synthc init my_study              write a commented starter spec\n"
        "  synthc plan my_study.yaml         what would run, and why\n"
        "  synthc run specs/full_study.yaml  run it, or what is missing of it\n"
        '  synthc sql "FROM comparison"      ask the results\n'
        "  synthc chart tradeoff -o tradeoff.svg\n\n" + EXIT_CODES,
    )
    top.add_argument("--version", action=_PrintVersion, nargs=0, help="show the version and exit")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMAND_MODULES:
        importlib.import_module(f"runtime.cli.{module}").register(commands)
    return top
