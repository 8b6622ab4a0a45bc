"""The results of a task: metrics, tensors, provenance.

An operation returns a `Product` to the worker; the worker returns an `Outcome`, without tensors, to the driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

PAIR_KINDS = ("nearest", "copied but not caught", "caught but not copied")
"""Kinds of pairs of a canary and a released image that an audit keeps for galleries; artifacts hold the index of the kind."""


@dataclass(frozen=True)
class Metric:
    """One number with its uncertainty; a row of the database.

    `low` and `high` are the ends of an interval (95 % unless an audit has another confidence), None where there is none, as with
    one observation; `n` counts the independent units behind the value (shadows, canaries, images: see the metric's name in the
    README). `value` is None when it is not resolvable, and then `note` says why. `canaries` names a group of canaries;
    `attack`, `variant` and `release` are further coordinates of attack metrics. Each is "" where it does not apply.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""
    canaries: str = ""
    attack: str = ""
    variant: str = ""
    release: str = ""


@dataclass(frozen=True)
class Product:
    """The result of an operation: `files` maps a file stem to named tensors, `notes` is JSON (no NaN, no infinity) that explains
    the numbers."""

    files: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where, when and by which software a task was computed; no part of its id."""

    host: str
    pid: int
    device: str
    threads: int
    started: str
    """UTC, ISO 8601."""
    seconds: float
    peak_memory_mb: float
    versions: Mapping[str, str]
    commit: str
    source_digest: str
    cpu_seconds: float | None = None
    """Processor seconds of all threads of the task's process. None in outcomes of versions without this field."""
    cpu: str = ""
    """Model of the processor. (That of a GPU is in `device`.)"""
    own_code: Mapping[str, str] = field(default_factory=dict)
    """Name of each plug-in method and attack → digest of its package's source."""


Status = Literal["done", "failed", "blocked"]


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt at a task, without tensors. Of a done task it is stored as `outcome.json`, the last file written,
    whose presence makes the task count as done."""

    task: str
    status: Status
    metrics: tuple[Metric, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None
    error: str = ""
    """One line, "" of a done task; the traceback is in the attempt's log."""
    error_kind: str = ""
    """"" of a done task; of a failed one `exception`, `diverged`, `out_of_memory`, `crash`, `timeout`, `corrupt` (a needed artifact
    is damaged) or `storage` (the store cannot be written); `need failed` of a blocked one."""
    log: str = ""
    """Path of the log, relative to the store; "" where the attempt left none."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path relative to the task's folder → digest of the bytes."""

    def to_json(self) -> dict[str, Any]:
        """A new dict of the fields for JSON, with metrics and provenance (None without one) as dicts. Values are not copied: do not
        change them in it."""
        provenance = None if self.provenance is None else vars(self.provenance)
        return vars(self) | {"metrics": [vars(metric) for metric in self.metrics], "provenance": provenance}

    def attempt_json(self) -> dict[str, Any]:
        """The content of `attempt.json`: that of `to_json` without `metrics`, `notes` and `files`."""
        return {name: value for name, value in self.to_json().items() if name not in ("metrics", "notes", "files")}


class Diverged(ArithmeticError):
    """Raised where a training diverged: its loss, its weights or what they give (features, scores, images) are not finite, or
    learned images exceed the accepted grey levels. The task fails, with the error kind `diverged`, and is not retried."""


class Stopped(KeyboardInterrupt):
    """Raised by the signal handler when the user stops a run at once. Other exceptions in a task's code make that task fail."""
