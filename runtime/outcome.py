"""What comes back from a task: metrics, tensors on their way to disk, and where and when it was made.

`Product` is what an operation returns in the worker; `Outcome` is what the worker returns to the driver, small and plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

PAIR_KINDS = ("nearest", "copied but not caught", "caught but not copied")
"""Of pairs of a canary and a released image that an audit keeps to be looked at, as numbered in their artifact."""


@dataclass(frozen=True)
class Metric:
    """One number with its uncertainty: the atom of the database.

    `low` and `high` bound a 95 % interval and are None where there is only one observation; `n` counts the
    independent units behind the value (shadows, canaries, images: see the metric's name in the README). `value` is
    None when it is not resolvable, and then `note` says why. `canaries`, `attack`, `variant` and `release` are the
    coordinates of attack metrics and stay empty elsewhere.
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
    """What an operation made: `files` maps a file stem to named tensors, `notes` is JSON that explains the numbers."""

    files: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where, when and from what a task was computed; never part of an id."""

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
    """Processor seconds of all threads of the task's process. None in outcomes that a version before this field wrote."""
    cpu: str = ""
    """Its model; of a GPU `device` is the model."""
    own_code: Mapping[str, str] = field(default_factory=dict)
    """Name of each method and attack of a user's package → digest of the package's source."""


Status = Literal["done", "failed", "blocked"]


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt at a task. `outcome.json`, written last and renamed into place, is a done task's commit."""

    task: str
    status: Status
    metrics: tuple[Metric, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None
    error: str = ""
    """One line; the traceback is in the attempt's log."""
    error_kind: str = ""
    """`exception`, `diverged`, `out_of_memory`, `crash`, `timeout`; `need failed` when blocked."""
    log: str = ""
    """Path of the log, relative to the store."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path relative to the task's folder → digest of the bytes."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping. Shares large fields with this object instead of copying them."""
        provenance = None if self.provenance is None else vars(self.provenance)
        return vars(self) | {"metrics": [vars(metric) for metric in self.metrics], "provenance": provenance}

    def attempt_json(self) -> dict[str, Any]:
        """The record of the attempt, `attempt.json`: how it ended, without its results."""
        return {name: value for name, value in self.to_json().items() if name not in ("metrics", "notes", "files")}


class Diverged(ArithmeticError):
    """A training whose loss stopped being a number: recorded as such, never tried again."""


class Stopped(KeyboardInterrupt):
    """The user stops the run at once. Any other exception that comes out of a task's code is that task's failure."""
