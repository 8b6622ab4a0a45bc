"""What the compiler says when a study cannot become a plan, and the wording that messages share.

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
    """Where a value was written: a file (or "--set", "--only"), a line and a column, both counted from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return self.file if self.file.startswith(("--set ", "--only ")) else f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One complaint: `code` is stable and greppable, `hint` says what would do."""

    code: str
    location: Location
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" + (f"; {self.hint}" if self.hint else "") + f" [{self.code}]"


@dataclass(frozen=True, order=True)
class Finding:
    """What a lint found in a study that could be run: a weakness, not a mistake."""

    code: str
    severity: Literal["error", "warning"]
    """error: the study is refused unless it silences the lint. warning: it is printed."""
    location: Location | None
    """None for what only the results show."""
    message: str
    hint: str = ""
    silenced: str | None = None
    """The reason that the spec gives for going on."""

    def __str__(self) -> str:
        where = f"{self.severity}: {self.location}" if self.location else "results"
        return f"{where}: {self.message}" + (f"; {self.hint}" if self.hint else "") + f" [{self.code}]"


Made = TypeVar("Made")
Checking = Generator[Diagnostic, None, Made]
"""A pass that yields what is wrong, and returns what it could make nevertheless."""


def collect(checking: Checking[Made]) -> tuple[Made, list[Diagnostic]]:
    """What a pass returns, and what it yields."""
    problems = []
    while True:
        try:
            problems.append(next(checking))
        except StopIteration as end:
            return end.value, problems


MAX_COMPLAINTS_SHOWN = 100


class SynthcError(Exception):
    """Anything that a user can mend. The command line prints it without a traceback and exits with 2."""


class SpecError(SynthcError):
    """A study that does not say something the compiler can accept; holds every complaint."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        # What is wrong in a part that several trials share is found in each of them and reported once.
        once = {(problem.location, problem.message): problem for problem in diagnostics}
        self.diagnostics = tuple(once[key] for key in sorted(once))
        more = [f"and {rest:,} more complaints"] if (rest := len(once) - MAX_COMPLAINTS_SHOWN) > 0 else []
        super().__init__("\n".join([*map(str, self.diagnostics[:MAX_COMPLAINTS_SHOWN]), *more]))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Hint text: the nearest known word, and all of them."""
    import difflib  # 4 ms that a study without mistakes need not wait for

    choices = sorted(known)
    near = [] if word in choices else difflib.get_close_matches(str(word), choices, n=1, cutoff=0.6)
    listed = ", ".join(choices) or "none"
    return f"did you mean {near[0]!r}? There are: {listed}" if near else f"there are: {listed}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank; the name of its type where there is none."""
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
"""Errors of the operating system → what would do."""


def sentence_of(error: OSError, place: object = "") -> str:
    """An error of the operating system: where (`place`, if it does not say so itself), what, and what would do."""
    where = error.filename or place
    hint = WOULD_DO.get(error.errno or 0, "")
    return (f"{where}: " if where else "") + (error.strerror or first_line(error)) + (f"; {hint}" if hint else "")


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 trial", "3 trials"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def and_more(items: Sequence[str], shown: int) -> str:
    """The first `shown` items in one line, and how many more there are: `a, b and 3 more`."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")
