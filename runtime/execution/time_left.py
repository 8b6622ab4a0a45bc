"""Estimates the time that a run still takes, from its remaining tasks and the measured durations of its finished ones.

A task's expected duration is its guessed cost times the rate of its operation, which is all measured seconds over all guessed ones;
for an operation that has not run yet, times the weighted geometric mean of the others' rates. Operations of the same sort have more
weight, operations with few measured seconds less: short tasks that were fast say little about long ones. The simulated schedule of
the remaining tasks on as many workers as were seen is scaled by the ratio of real to scheduled time so far.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping

from compiler.inspect.cost.estimate import expect, span
from compiler.plan.dag import Task

MIN_SECONDS_MEASURED = 5.0
"""Duration of a run before its schedule is scaled."""
STRETCH = (0.7, 2.0)
"""Limits of the factor by which the schedule is scaled; a ratio beyond a limit is replaced by it."""
SHARE_OF_TIME = 0.02
"""Share of the driver's time that may be spent on this estimate."""
OF_NETS = ("train", "synthesize")
"""Kinds of tasks that count as one sort, since nets take most of their time."""
OTHER_WEIGHT = 0.3
"""Weight of the rate of an operation of another sort, relative to one of the same sort."""


ENOUGH_SECONDS = 10.0
"""Guessed seconds of an operation's finished tasks at which its rate has half of its largest weight."""


class _Sums:
    """Sums of measured and of guessed seconds of tasks."""

    def __init__(self) -> None:
        self.took = self.guessed = 0.0

    @property
    def rate(self) -> float:
        return max(self.took, 1e-6) / max(self.guessed, 1e-6)

    @property
    def weight(self) -> float:
        """Weight of this rate for other operations, from 0 to 1; it grows with the guessed seconds behind it."""
        return self.guessed / (self.guessed + ENOUGH_SECONDS)

    def add(self, took: float, guessed: float) -> None:
        self.took += took
        self.guessed += guessed


class TimeLeft:
    """The estimate of a run's remaining seconds, updated as tasks end."""

    def __init__(self, todo: Mapping[str, Task]) -> None:
        self._todo: dict[str, Task] = {}
        self._guessed: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        """Task → measured seconds, of tasks that are done."""
        self._ended: set[str] = set()
        self._measured: dict[str, _Sums] = defaultdict(_Sums)
        self._measured_first: dict[str, _Sums] = defaultdict(_Sums)
        self._workers_seen: set[object] = set()
        self._workers = 1
        self._began: float | None = None
        self._estimate, self._estimated_at, self._next_at = 0.0, 0.0, 0.0
        self.add(todo)

    @property
    def measured(self) -> bool:
        """Whether any task's duration was measured; before that the estimate is by guessed costs alone."""
        return bool(self._seconds)

    def add(self, todo: Mapping[str, Task]) -> None:
        """Add tasks to compute; ones that have ended count as open again, since they are computed again. The next estimate is a new
        one."""
        self._todo |= todo
        self._guessed |= {id: cost.seconds for id, cost in expect(todo, {}).items()}
        self._ended -= todo.keys()
        self._next_at = 0.0

    def end(self, task: str, seconds: float | None, worker: object = None) -> None:
        """Record that a task of this run ended after `seconds` (None: it failed or never started), on `worker`, which is hashable,
        if that is known.

        The first task of a worker also loads libraries and data: its duration enters the rate of its operation only until a
        duration of that operation is recorded that is no worker's first.
        """
        self._ended.add(task)
        if seconds is None:
            return
        self._seconds[task] = seconds
        warm = worker is None or worker in self._workers_seen
        self._workers_seen.add(worker)
        (self._measured if warm else self._measured_first)[self._todo[task].operation].add(seconds, self._guessed[task])

    def estimate(self, in_flight: Mapping[tuple[str, ...], float], now: float | None = None) -> float:
        """Seconds left, at `now` (by default the present), with as many workers as were in flight at most in this and earlier
        estimates, at least one. `in_flight`: ids of the tasks that one worker computes in turn → when it started; both times by
        `time.monotonic`. For a second or more after an estimate its value less the time since, at least 0, is returned, whatever is
        in flight, unless tasks were added."""
        started = time.monotonic()
        now = started if now is None else now
        if now < self._next_at:
            return max(0.0, self._estimate - (now - self._estimated_at))
        self._began = min([*in_flight.values(), now if self._began is None else self._began])
        self._workers = max(self._workers, len(in_flight))
        expected = self._expect()
        left = {id: task for id, task in self._todo.items() if id not in self._ended}
        seconds = expected | self._remaining(in_flight, expected, now)
        schedule = span(left, seconds, self._workers)
        whole = span(self._todo, expected, self._workers)
        took, should = now - self._began, whole - schedule
        stretch = min(max(took / should, STRETCH[0]), STRETCH[1]) if min(took, should) > MIN_SECONDS_MEASURED else 1.0
        self._estimate, self._estimated_at = schedule * stretch, now
        self._next_at = now + max(1.0, (time.monotonic() - started) / SHARE_OF_TIME)
        return self._estimate

    def _expect(self) -> dict[str, float]:
        """Task → seconds: measured, or its guessed cost times the rate of its operation."""
        rates = self._rates()
        return {id: self._seconds.get(id, self._guessed[id] * rates[task.operation]) for id, task in self._todo.items()}

    def _rates(self) -> dict[str, float]:
        """Operation → rate, which is measured seconds divided by guessed ones. An operation without a measurement has the weighted
        geometric mean of the others' rates; all have 1 where none was measured."""
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
    def _remaining(in_flight: Mapping[tuple[str, ...], float], expected: Mapping[str, float], now: float) -> dict[str, float]:
        """Task in flight → expected seconds left, 0 where it takes longer than expected; a worker computes its tasks in order."""
        remaining = {}
        for group, began in in_flight.items():
            worked = now - began
            for id in group:
                remaining[id] = max(expected[id] - worked, 0.0)
                worked = max(worked - expected[id], 0.0)
        return remaining
