"""The JSON records of a store, each with a digest of its content, by which changes are detected.

    {"digest": "0123456789abcdef", "task": …      the digest is that of all bytes after it

Earlier versions wrote no digest: their records are accepted if their fields are valid, and `synthc doctor --deep` counts them.
Digests detect damage and accidental edits, not forgery: whoever can write to a store can compute a digest.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, first_line
from runtime.outcome import Outcome
from runtime.store.files import atomic_write, digest_of

OPENING, MIDDLE = b'{"digest": "', b'", '
BODY = len(OPENING) + 16 + len(MIDDLE)
"""Offset at which the digested content begins."""


class Corrupt(SynthcError):
    """A file in the store is missing, or was changed since it was written, by a damaged disk or an edit. `folder`: the folder that
    it lies in, such as that of a task."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"{folder}: {what}")
        self.folder = folder


@dataclasses.dataclass(frozen=True)
class TaskForm:
    """Fields of `task.json`."""

    id: str
    address: str
    text: str
    needs: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class TrialForm:
    """Fields of a trial in `run.json`."""

    trial: str
    arm: str
    paradigm: str
    method: str
    label: str
    axes: Mapping[str, Any]
    replicate: int
    answer: str
    data: str
    stages: Sequence[tuple[str, int | None, str]]
    point: Mapping[str, Any] | None = None
    control: bool = False


@dataclasses.dataclass(frozen=True)
class PlannedForm:
    """Fields of a task in `run.json`."""

    id: str
    kind: str
    operation: str
    address: str
    needs: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class VerdictForm:
    """Fields of a claim's verdict."""

    verdict: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class EarlierForm(VerdictForm):
    """Fields of a claim's verdict in an earlier run."""

    run: str = dataclasses.field(kw_only=True)


@dataclasses.dataclass(frozen=True)
class DeclaredForm:
    """Fields of a claim's first declaration."""

    run: str
    at: str
    outcomes: int

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.at)


@dataclasses.dataclass(frozen=True)
class ClaimForm:
    """Fields of a claim in `run.json`."""

    claim: str
    task: str
    statement: str
    test: str
    metric: str
    margin: float
    pairs: str
    left: Sequence[str]
    right: Sequence[str]
    left_selector: Mapping[str, Any]
    right_selector: Mapping[str, Any]
    evidence: str | None = None
    words: str | None = None
    declared: DeclaredForm | None = None
    earlier: Sequence[EarlierForm] = ()
    found: VerdictForm | None = None


@dataclasses.dataclass(frozen=True)
class HeadlineForm:
    """Fields of the headline in `run.json` that the database calculates with."""

    fpr: float | None = None


@dataclasses.dataclass(frozen=True)
class LintForm:
    """Fields of a lint finding in `run.json`."""

    code: str
    severity: str
    message: str


@dataclasses.dataclass(frozen=True)
class RunForm:
    """Fields of `run.json`."""

    run: str
    study: str
    question: str
    profile: str | None
    spec: str
    spec_text: str
    argv: Sequence[str]
    started: str
    ended: str | None
    status: str
    headline: HeadlineForm
    versions: Mapping[str, str]
    commit: str
    source_digest: str
    trials: Sequence[TrialForm]
    tasks: Sequence[PlannedForm]
    claims: Sequence[ClaimForm]
    lints: Sequence[LintForm] = ()
    blocked: Mapping[str, str] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    composed: Any = None
    answered: int = 0
    first_results: str | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        for time in filter(None, (self.started, self.ended)):
            datetime.fromisoformat(time)


@dataclasses.dataclass(frozen=True)
class StoreForm:
    """Fields of `store.json`."""

    version: int
    origin: str = ""


FORMS: dict[str, type] = {
    "outcome.json": Outcome,
    "figures.json": Outcome,
    "attempt.json": Outcome,
    "task.json": TaskForm,
    "run.json": RunForm,
    "store.json": StoreForm,
}


def encode_record(content: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8, without a newline, that begins with the digest of the rest; `content`, which is not empty, has no
    field `digest` of its own. (Indenting would need Python's encoder, ten times slower.)

    ValueError for NaN and infinity, which are no JSON: a metric that is not a number is None with a note.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    body = text[1:].encode("utf-8", "backslashreplace")  # a lone surrogate, of a file name that is not UTF-8
    return OPENING + digest_of(body).encode() + MIDDLE + body


def write_record(path: Path, content: Mapping[str, Any], synced: bool = False) -> None:
    """Write a record atomically, in place of an earlier one; `synced`: it is synced to disk before that, for records on which other
    files depend. OSError if the disk fails, ValueError as of `encode_record`."""
    with atomic_write(path, synced) as temp:
        temp.write_bytes(encode_record(content))


def read_record(path: Path) -> dict[str, Any]:
    """The content of a record, without its digest. Corrupt if it is missing, is no file, or was changed, or if it has no digest and
    not the fields of its form; OSError if this user may not read it. KeyError if it has no digest and FORMS not its name."""
    return parse_record(path)[0]


def parse_record(path: Path) -> tuple[dict[str, Any], bool]:
    """The content of a record, without its digest, and whether it has one; errors as of `read_record`."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise Corrupt(path.parent, f"{path.name} is gone") from None
    except (IsADirectoryError, NotADirectoryError):
        raise Corrupt(path.parent, f"{path.name} is no file") from None
    sealed = raw.startswith(OPENING) and raw[BODY - len(MIDDLE) : BODY] == MIDDLE
    if sealed and digest_of(raw[BODY:]).encode() != raw[len(OPENING) : BODY - len(MIDDLE)]:
        raise Corrupt(path.parent, f"{path.name} is not what was written: it does not have its digest")
    try:
        content = json.loads(b"{" + raw[BODY:] if sealed else raw)
        if not sealed:
            _check_form(FORMS[path.name], raw, content)
    except (ValueError, RecursionError) as error:
        raise Corrupt(path.parent, f"{path.name} cannot be read: {first_line(error)}") from None
    return content, sealed


def _check_form(form: type, raw: bytes, content: Any) -> None:
    """ValueError unless a record without a digest has the required fields of `form`, each field of its type, and at the top level
    no others; in nested objects unknown fields are ignored."""
    from pydantic import ValidationError

    try:
        _adapter(form).validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
    known = {field.name for field in dataclasses.fields(form)}
    if unknown := ", ".join(sorted(content.keys() - known)):
        raise ValueError(f"no such record has a field {unknown}")


@functools.cache
def _adapter(form: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(form)


def read_runs(store: Path, *, newest_first: bool = False) -> Iterator[tuple[Path, dict[str, Any] | Corrupt]]:
    """Yield folder and record of each run in order of time (`newest_first`: the last run first); instead of a record that is
    missing or was changed, a Corrupt, which is not raised. Empty folders are skipped; a file in place of a folder gives a Corrupt
    too. OSError, raised, if this user may not read a record."""
    runs = store / "runs"
    if os.path.lexists(runs) and not runs.is_dir():
        yield runs, Corrupt(store, "runs is no folder")
        return
    for folder in sorted(runs.iterdir() if runs.exists() else (), reverse=newest_first):  # names begin with the time
        try:
            if not folder.is_dir():
                raise Corrupt(folder, "is no folder of a run")
            if any(folder.iterdir()):
                yield folder, read_record(folder / "run.json")
        except Corrupt as corrupt:
            yield folder, corrupt
