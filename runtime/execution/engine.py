"""The interface of engines, which carry dispatches to workers, and the one that computes in its own process. `ray_engine` has the
other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.execution.worker import REHEARSAL_OPERATIONS, Dispatch, compute, prepare_worker
from runtime.outcome import Outcome


@dataclass(frozen=True)
class BatchResult:
    """A dispatch that ended, with an outcome for each task, in its order; or that was lost with its worker: `lost` is then the kind
    of error (`crash`, `timeout` or `out_of_memory`), `reason` its text, and there are no outcomes."""

    dispatch: Dispatch
    outcomes: tuple[Outcome, ...] = ()
    lost: str = ""
    reason: str = ""


class Engine(Protocol):
    """The interface by which the driver uses an engine."""

    @property
    def slots(self) -> int:
        """Number of dispatches that can be computed at the same time; it changes as nodes join and leave."""
        ...

    def submit(self, dispatch: Dispatch) -> None: ...

    def wait(self, seconds: float) -> list[BatchResult]: ...

    def kill(self, dispatch: Dispatch) -> None: ...

    def close(self) -> None: ...


class InlineEngine:
    """Computes in this process, one dispatch at a time, in `wait`, which has no time limit and needs a submitted dispatch. Sets
    torch to one thread (`prepare_worker`)."""

    slots = 1

    def __init__(self, store: Path, device: str = "cpu", operations: Mapping[str, str] = REHEARSAL_OPERATIONS) -> None:
        self.store, self.device, self.operations = store, device, operations
        self._submitted: list[Dispatch] = []
        prepare_worker()

    def submit(self, dispatch: Dispatch) -> None:
        self._submitted.append(dispatch)

    def wait(self, seconds: float) -> list[BatchResult]:
        dispatch = self._submitted.pop(0)
        return [BatchResult(dispatch, tuple(compute(dispatch, self.store, self.device, self.operations)))]

    def kill(self, dispatch: Dispatch) -> None:
        """Do nothing: a computation in this process cannot be stopped; time limits need `--engine ray`."""

    def close(self) -> None:
        self._submitted.clear()
