"""Engines carry dispatches to workers; this one computes in its own process. `ray_engine` uses resident Ray workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.execution.worker import REHEARSALS, Dispatch, compute, prepare
from runtime.outcome import Outcome


@dataclass(frozen=True)
class Landing:
    """A dispatch that came back: with its outcomes, or lost, and then `lost` is an error kind and `reason` says more."""

    dispatch: Dispatch
    outcomes: tuple[Outcome, ...] = ()
    lost: str = ""
    reason: str = ""


class Engine(Protocol):
    """What the driver asks of whoever computes."""

    @property
    def slots(self) -> int:
        """How many dispatches can be computed at the same time, now: nodes come and go."""
        ...

    def submit(self, dispatch: Dispatch) -> None: ...

    def wait(self, seconds: float) -> list[Landing]: ...

    def kill(self, dispatch: Dispatch) -> None: ...

    def close(self) -> None: ...


class InlineEngine:
    """Computes in this process, one dispatch at a time, when waited for."""

    slots = 1

    def __init__(self, store: Path, device: str = "cpu", operations: Mapping[str, str] = REHEARSALS) -> None:
        self.store, self.device, self.operations = store, device, operations
        self._waiting: list[Dispatch] = []
        prepare()

    def submit(self, dispatch: Dispatch) -> None:
        self._waiting.append(dispatch)

    def wait(self, seconds: float) -> list[Landing]:
        dispatch = self._waiting.pop(0)
        return [Landing(dispatch, tuple(compute(dispatch, self.store, self.device, self.operations)))]

    def kill(self, dispatch: Dispatch) -> None:
        """A computation in this very process cannot be given up: time limits need `--engine ray`."""

    def close(self) -> None:
        self._waiting.clear()
