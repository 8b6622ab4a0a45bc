"""Diagnostics, findings and exceptions of the compiler, and shared wording of messages.

    SynthcError           anything a user can mend; printed as one line, exit code 2
    └── SpecError         one or more diagnostics, each with its location in the text

A diagnostic gives the location, the value and what would do. Passes yield diagnostics; they are raised once, all together.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar


@dataclass(frozen=True, order=True)
class Location:
    """Where a value was written: a file (or an option with its text, such as `--set audit.shadows=32`), a line and a column, both
    counted from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return self.file if self.file.startswith(("--set ", "--only ")) else f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One error in a spec: `code` is a stable identifier, `hint` states what is accepted or how to correct it ("" if nothing
    does)."""

    code: str
    location: Location
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" + (f"; {self.hint}" if self.hint else "") + f" [{self.code}]"


@dataclass(frozen=True, order=True)
class Finding:
    """A finding of a lint, in a valid spec or in results: a methodological weakness of the study."""

    code: str
    severity: Literal["error", "warning"]
    """error: the study is refused unless it silences the lint. warning: it is printed."""
    location: Location | None
    """None for findings in results."""
    message: str
    hint: str = ""
    silenced: str | None = None
    """The reason for which the spec silences the lint; None if it does not."""

    def __str__(self) -> str:
        where = f"{self.severity}: {self.location}" if self.location else "results"
        return f"{where}: {self.message}" + (f"; {self.hint}" if self.hint else "") + f" [{self.code}]"


Made = TypeVar("Made")
Checking = Generator[Diagnostic, None, Made]
"""A generator that yields diagnostics and returns a result (as far as it could be made)."""


def collect(checking: Checking[Made]) -> tuple[Made, list[Diagnostic]]:
    """Run a pass: its result and the diagnostics that it yielded."""
    problems = []
    while True:
        try:
            problems.append(next(checking))
        except StopIteration as end:
            return end.value, problems


MAX_COMPLAINTS_SHOWN = 100


class SynthcError(Exception):
    """An error that the user can correct. The command line prints it without a traceback and exits with 2."""


class SynthcWarning(UserWarning):
    """Something that was done otherwise than a user may expect; the command line prints it as one sentence."""


class SpecError(SynthcError):
    """A spec, or a selection from it, that is not valid. `diagnostics` holds one for each location and message, sorted by these;
    the error's text has a line for each of the first MAX_COMPLAINTS_SHOWN, and the number of the rest."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        # An error in a part that several trials share is found in each of them and reported once.
        once = {(problem.location, problem.message): problem for problem in diagnostics}
        self.diagnostics = tuple(once[key] for key in sorted(once))
        more = [f"and {rest:,} more complaints"] if (rest := len(once) - MAX_COMPLAINTS_SHOWN) > 0 else []
        super().__init__("\n".join([*map(str, self.diagnostics[:MAX_COMPLAINTS_SHOWN]), *more]))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Text for a hint: all known words, sorted (`none` without any), after the one most similar to `word` if any is similar enough
    and `word` is not known itself."""
    import difflib  # takes 4 ms, needed only for errors

    choices = sorted(known)
    near = [] if word in choices else difflib.get_close_matches(str(word), choices, n=1, cutoff=0.6)
    listed = ", ".join(choices) or "none"
    return f"did you mean {near[0]!r}? There are: {listed}" if near else f"there are: {listed}"


def first_line(error: BaseException) -> str:
    """The first non-blank line of an exception's message, stripped; the name of its type if there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


WOULD_DO = {
    errno.ENOSPC: "free some space, then run again: what is committed stays",
    errno.EDQUOT: "your quota is used up: free some space, then run again: what is committed stays",
    errno.EROFS: "it is mounted read-only: name a place that can be written (--store, --db, -o)",
    errno.EACCES: "ask its owner for the right, or name another place (--store, --db, -o)",
    errno.EPERM: "ask its owner for the right, or name another place (--store, --db, -o)",
    errno.EIO: "the disk fails: copy what is on it before anything else",
    errno.EISDIR: "a folder lies where a file should be: move it away",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
    errno.EEXIST: "something else lies where a folder should be: move it away",
    errno.ENOTEMPTY: "a folder lies where a file should be: move it away",
    errno.ELOOP: "links lead in a circle: remove them",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENOENT: "look whether it was moved or deleted meanwhile",
    errno.EAGAIN: "too many processes or threads: raise `ulimit -u`",
}
"""Error number of the operating system → advice."""


def sentence_of(error: OSError, place: object = "") -> str:
    """A sentence on an OSError: path (`place`, if the error has none), message, and advice where WOULD_DO has some."""
    where = error.filename or place
    hint = WOULD_DO.get(error.errno or 0, "")
    return (f"{where}: " if where else "") + (error.strerror or first_line(error)) + (f"; {hint}" if hint else "")


def plural(count: int, noun: str) -> str:
    """A count with its noun, with an s unless it is 1: "1 trial", "3,000 trials"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def and_more(items: Sequence[str], shown: int) -> str:
    """The first `shown` items in one line, and how many more there are: `a, b and 3 more`."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")
