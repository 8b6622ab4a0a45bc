"""Estimates the time that a run still takes, from its remaining tasks and the measured durations of its finished ones.

A task's expected duration is its guessed cost times the median ratio of measured to guessed seconds of its operation; for an
operation that has not run, the median over operations. The simulated schedule of the remaining tasks on as many workers as were
seen is scaled by the ratio of real to scheduled time so far.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from compiler.inspect.cost.estimate import expect, span
from compiler.plan.dag import Task

MIN_SECONDS_MEASURED = 5.0
"""Duration of a run before its schedule is scaled."""
STRETCH = (0.7, 2.0)
"""Limits of the factor by which the schedule is scaled; a ratio beyond is taken for an exception."""
SHARE_OF_TIME = 0.02
"""Share of the driver's time that may be spent on this estimate."""


class TimeLeft:
    """The estimate of a run's remaining seconds, updated as tasks end."""

    def __init__(self, todo: Mapping[str, Task]) -> None:
        self._todo: dict[str, Task] = {}
        self._guessed: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        """Task → measured seconds, of tasks that are done."""
        self._ended: set[str] = set()
        self._ratios: dict[str, list[float]] = defaultdict(list)
        self._first_ratios: dict[str, list[float]] = defaultdict(list)
        self._workers_seen: set[object] = set()
        self._workers = 1
        self._began: float | None = None
        self._told, self._told_at, self._next_at = 0.0, 0.0, 0.0
        self.add(todo)

    @property
    def measured(self) -> bool:
        """Whether any task's duration was measured; before that the estimate is by guessed costs alone."""
        return bool(self._seconds)

    def add(self, todo: Mapping[str, Task]) -> None:
        """Add tasks to compute, also ones that have ended and are computed again."""
        self._todo |= todo
        self._guessed |= {id: cost.seconds for id, cost in expect(todo, {}).items()}
        self._ended -= todo.keys()
        self._next_at = 0.0

    def end(self, task: str, seconds: float | None, worker: object = None) -> None:
        """Record that a task ended after `seconds`; None for one that failed or never started.

        The first task of a `worker` also loads libraries and data: its ratio counts only until another task of the operation ends.
        """
        self._ended.add(task)
        if seconds is None:
            return
        self._seconds[task] = seconds
        operation, ratio = self._todo[task].operation, seconds / self._guessed[task]
        if worker is None or worker in self._workers_seen:
            self._ratios[operation].append(ratio)
        else:
            self._workers_seen.add(worker)
            self._first_ratios[operation].append(ratio)

    def tell(self, in_flight: Mapping[tuple[str, ...], float], now: float | None = None) -> float:
        """Seconds left. `in_flight`: group of tasks that one worker computes in turn → when it started."""
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
        """Task → seconds: measured, or its guessed cost times its operation's median ratio."""
        rates = {operation: median(ratios) for operation, ratios in (self._first_ratios | self._ratios).items()}
        usual = median(rates.values()) if rates else 1.0
        return {id: self._seconds.get(id, self._guessed[id] * rates.get(task.operation, usual)) for id, task in self._todo.items()}

    @staticmethod
    def _rests(in_flight: Mapping[tuple[str, ...], float], expected: Mapping[str, float], now: float) -> dict[str, float]:
        """Task in flight → expected seconds left; a worker computes the tasks of its group in order."""
        rests = {}
        for group, began in in_flight.items():
            worked = now - began
            for id in group:
                rests[id] = max(expected[id] - worked, 0.0)
                worked = max(worked - expected[id], 0.0)
        return rests
