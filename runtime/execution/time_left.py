"""How long a run still takes: what remains of its plan, by the rates at which it has computed so far.

A task is expected to take its declared guess times the rate of its operation, all measured seconds by all guessed ones; where this
run has computed none of it, times the mean rate of the others. Operations of the same sort count most there, and those that were
measured on next to nothing do not count: many short tasks that were quick for their guess say little of the long ones to come. The
schedule of what remains, on so many workers, is stretched as what was done has been.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping

from compiler.inspect.cost.estimate import expect, span
from compiler.plan.dag import Task

MIN_SECONDS_MEASURED = 5.0
"""Of a run, before it says how much slower than its schedule it is."""
STRETCH = (0.7, 2.0)
"""Between what a schedule is stretched: beyond, it is the past that was unusual."""
SHARE_OF_TIME = 0.02
"""Of the driver's time that is spent on telling how much is left."""
OF_NETS = ("train", "synthesize")
"""Kinds of tasks that are of one sort: what they take, nets take."""
OTHER_WEIGHT = 0.3
"""What the rate of an operation of another sort says, beside one of the same sort."""


ENOUGH_SECONDS = 10.0
"""Guessed seconds of an operation's finished tasks at which its rate says half as much of other operations as it ever will."""


class _Sums:
    """Seconds that tasks took, and that were guessed of them."""

    def __init__(self) -> None:
        self.took = self.guessed = 0.0

    @property
    def rate(self) -> float:
        return max(self.took, 1e-6) / max(self.guessed, 1e-6)

    @property
    def weight(self) -> float:
        """What this rate says of other operations: nothing where it was measured on next to nothing."""
        return self.guessed / (self.guessed + ENOUGH_SECONDS)

    def add(self, took: float, guessed: float) -> None:
        self.took += took
        self.guessed += guessed


class TimeLeft:
    """Seconds left of a run, kept up to date by what ends."""

    def __init__(self, todo: Mapping[str, Task]) -> None:
        self._todo: dict[str, Task] = {}
        self._guessed: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        """Of what is done."""
        self._ended: set[str] = set()
        self._measured: dict[str, _Sums] = defaultdict(_Sums)
        self._measured_first: dict[str, _Sums] = defaultdict(_Sums)
        self._workers_seen: set[object] = set()
        self._workers = 1
        self._began: float | None = None
        self._told, self._told_at, self._next_at = 0.0, 0.0, 0.0
        self.add(todo)

    @property
    def measured(self) -> bool:
        """Whether anything was: before, all is guessed."""
        return bool(self._seconds)

    def add(self, todo: Mapping[str, Task]) -> None:
        """Count these as to be computed, again if they were before."""
        self._todo |= todo
        self._guessed |= {id: cost.seconds for id, cost in expect(todo, {}).items()}
        self._ended -= todo.keys()
        self._next_at = 0.0

    def end(self, task: str, seconds: float | None, worker: object = None) -> None:
        """Count a task as ended, after so many seconds; None for one that failed or never began.

        The first task of a `worker` also loads what later ones find loaded: its rate counts only until there is another.
        """
        self._ended.add(task)
        if seconds is None:
            return
        self._seconds[task] = seconds
        warm = worker is None or worker in self._workers_seen
        self._workers_seen.add(worker)
        (self._measured if warm else self._measured_first)[self._todo[task].operation].add(seconds, self._guessed[task])

    def tell(self, in_flight: Mapping[tuple[str, ...], float], now: float | None = None) -> float:
        """Seconds left. `in_flight`: groups of tasks that one worker computes one after the other → when it began."""
        started = time.monotonic()
        now = started if now is None else now
        if now < self._next_at:
            return max(0.0, self._told - (now - self._told_at))
        self._began = min([*in_flight.values(), now if self._began is None else self._began])
        self._workers = max(self._workers, len(in_flight))
        expected = self._expect()
        left = {id: task for id, task in self._todo.items() if id not in self._ended}
        seconds = expected | self._rests(in_flight, expected, now)
        schedule = span(left, seconds, self._workers)
        whole = span(self._todo, expected, self._workers)
        took, should = now - self._began, whole - schedule
        stretch = min(max(took / should, STRETCH[0]), STRETCH[1]) if min(took, should) > MIN_SECONDS_MEASURED else 1.0
        self._told, self._told_at = schedule * stretch, now
        self._next_at = now + max(1.0, (time.monotonic() - started) / SHARE_OF_TIME)
        return self._told

    def _expect(self) -> dict[str, float]:
        """Seconds of every task: measured, or its guess by the rate of its kind."""
        rates = self._rates()
        return {id: self._seconds.get(id, self._guessed[id] * rates[task.operation]) for id, task in self._todo.items()}

    def _rates(self) -> dict[str, float]:
        """Operation → seconds that a task takes for each that was guessed."""
        rates = {operation: (sums.rate, sums.weight) for operation, sums in (self._measured_first | self._measured).items()}
        sorts = {task.operation: "nets" if task.kind in OF_NETS else task.kind for task in self._todo.values()}

        def usual(sort: str) -> float:
            near = [
                (rate, weight * (1.0 if sorts[operation] == sort else OTHER_WEIGHT)) for operation, (rate, weight) in rates.items()
            ]
            logs = sum(weight * math.log(rate) for rate, weight in near)
            return math.exp(logs / sum(weight for _, weight in near)) if near else 1.0

        return {operation: rates[operation][0] if operation in rates else usual(sort) for operation, sort in sorts.items()}

    @staticmethod
    def _rests(in_flight: Mapping[tuple[str, ...], float], expected: Mapping[str, float], now: float) -> dict[str, float]:
        """What is left of tasks in flight: a worker computes those of its group in their order."""
        rests = {}
        for group, began in in_flight.items():
            worked = now - began
            for id in group:
                rests[id] = max(expected[id] - worked, 0.0)
                worked = max(worked - expected[id], 0.0)
        return rests
