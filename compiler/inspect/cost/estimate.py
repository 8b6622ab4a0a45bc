"""Estimates time, disk and memory of the tasks of a plan that are to run, from earlier tasks or else from declared guesses.

An operation that was run before is expected to take its guess times the typical ratio of measured to guessed costs; another one
its guess times the pace of the machine.
Not here: reading the history (`runtime.database.history`), the guesses (`guess`).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.inspect.cost import guess
from compiler.plan.dag import Task, upward_rank


@dataclass(frozen=True)
class Past:
    """Costs of earlier tasks of one operation: seconds, disk and GPU memory as ratios to their guesses."""

    tasks: int
    seconds: float
    """Median of seconds / guessed seconds; not the mean, since a worker's first task also loads what later ones find loaded."""
    disk: float
    """Mean of bytes / guessed bytes."""
    memory_mb: float
    """Largest resident memory of a worker that ran one."""
    gpu: float | None = None
    """Largest GPU memory / guessed; None where no GPU computed one."""
    guessed: float = 0.0
    """Mean of guessed seconds."""


@dataclass(frozen=True)
class Expected:
    """Expected cost of one task."""

    seconds: float
    disk_mb: float
    known: bool
    """Whether its operation has a history."""
    vram_mb: float = 0.0
    """GPU memory in MB, if a GPU computes it; 0 for tasks that run on the CPU only."""


@dataclass(frozen=True)
class Estimate:
    """Expected cost of the tasks of a plan that are to run."""

    costs: Mapping[str, Expected]
    """Task id → its expected cost, for each task to run."""
    workers: int
    seconds: float
    """Makespan on `workers` workers, as `span` computes it."""
    critical: tuple[Task, ...]
    """The longest chain of dependent tasks, whose time bounds the makespan from below for any number of workers."""
    memory_mb: float
    """Of all workers together, at their peaks."""

    @property
    def core_seconds(self) -> float:
        """Sum of the seconds of all tasks to run."""
        return sum(cost.seconds for cost in self.costs.values())

    @property
    def critical_seconds(self) -> float:
        """Sum of the seconds along `critical`."""
        return sum(self.costs[task.id].seconds for task in self.critical)

    @property
    def disk_mb(self) -> float:
        """Sum of the sizes of all artifacts to come, in MB."""
        return sum(cost.disk_mb for cost in self.costs.values())

    @property
    def known(self) -> int:
        """Number of tasks to run whose operation has a history."""
        return sum(cost.known for cost in self.costs.values())

    @property
    def basis(self) -> str:
        """Source of the costs: `history` if the operation of every task has one (also where no task is to run), `guess` if of none,
        else `both`."""
        if self.known == len(self.costs):
            return "history"
        return "both" if self.known else "guess"

    def seconds_of(self, tasks: Iterable[str]) -> float:
        """Core seconds of those of `tasks` that are to run."""
        return sum(self.costs[task].seconds for task in tasks if task in self.costs)

    def vram_of(self, tasks: Iterable[str]) -> float:
        """Largest GPU memory, in MB, of those of `tasks` that are to run; 0 if there are none."""
        return max((self.costs[task].vram_mb for task in tasks if task in self.costs), default=0.0)


def pace_of(past: Mapping[str, Past]) -> float | None:
    """Measured seconds per guessed second: the mean of `Past.seconds` over all operations that were run before, weighted by
    `Past.guessed`, whatever the number of their tasks; None where the weights add up to 0, as without any operation."""
    weight = sum(before.guessed for before in past.values())
    return sum(before.guessed * before.seconds for before in past.values()) / weight if weight else None


def estimate(to_run: Mapping[str, Task], past: Mapping[str, Past], workers: int, pace: float = 1.0) -> Estimate:
    """Estimate the cost of `to_run` (id → task), which is in topological order, on `workers` workers, at least 1. `past` maps names
    of operations to measured costs, `pace` is seconds per guessed second of other operations. Memory is the largest that
    `past` has for an operation to run (WORKER_MB if it has none of them), times the number of workers with a task."""
    costs = expect(to_run, past, pace)
    seconds = {id: cost.seconds for id, cost in costs.items()}
    rank = upward_rank(to_run, lambda task: seconds[task.id])
    memory = max([past[task.operation].memory_mb for task in to_run.values() if task.operation in past] or [guess.WORKER_MB])
    busy = min(workers, len(to_run))
    return Estimate(costs, workers, span(to_run, seconds, workers), _critical(to_run, rank), memory * busy)


def expect(to_run: Mapping[str, Task], past: Mapping[str, Past], pace: float = 1.0) -> dict[str, Expected]:
    """Task id → expected cost: the guess, times the ratios of the operation's measured costs in `past` (by name of operation) if it
    is there, else seconds times `pace`. GPU memory without a measured ratio is as guessed."""
    costs: dict[str, Expected] = {}
    alike: dict[Any, Expected] = {}
    for id, task in to_run.items():
        # Shadows of a population differ in membership, on which the cost does not depend.
        private = getattr(task.work, "private", None)
        fields = tuple(getattr(task.work, name) for name in _cost_fields(type(task.work)))
        key = task.operation, private and private.population, fields
        if key not in alike:
            guessed, before = guess.cost(task.work), past.get(task.operation)
            seconds, disk, gpu = (before.seconds, before.disk, before.gpu or 1.0) if before else (pace, 1.0, 1.0)
            left = disk * guess.disk_mb(task.work)
            alike[key] = Expected(seconds * guessed.seconds, left, before is not None, gpu * guessed.gpu_mb)
        costs[id] = alike[key]
    return costs


def _cost_fields(kind: type) -> tuple[str, ...]:
    """Names of a dataclass's fields other than `private`, which differs by shadow: tasks of an operation on one population that
    agree in them have the same cost."""
    return tuple(name for name in kind.__dataclass_fields__ if name != "private")  # type: ignore[attr-defined]


def span(to_run: Mapping[str, Task], seconds: Mapping[str, float], workers: int) -> float:
    """Makespan in seconds of list scheduling on `workers` workers, at least 1: each free one takes the ready task with the longest
    remaining path. `seconds`: task id → its time; needs that are not in `to_run` count as done."""
    rank = upward_rank(to_run, lambda task: seconds[task.id])
    waits = {id: sum(need in to_run for _, need in task.needs) for id, task in to_run.items()}
    users = _users(to_run)
    ready = [(-rank[id], id) for id in to_run if not waits[id]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, id = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[id], id))
        now, ended = heapq.heappop(running)
        for user in users[ended]:
            waits[user] -= 1
            if not waits[user]:
                heapq.heappush(ready, (-rank[user], user))
    return now


def _users(to_run: Mapping[str, Task]) -> dict[str, list[str]]:
    """Id of a task → ids of the tasks to run that need its result; [] for others, as a defaultdict."""
    users: dict[str, list[str]] = defaultdict(list)
    for id, task in to_run.items():
        for _, need in task.needs:
            users[need].append(id)
    return users


def _critical(to_run: Mapping[str, Task], rank: Mapping[str, float]) -> tuple[Task, ...]:
    """The critical path: from the task of highest rank (`upward_rank`), on to its dependent of highest rank, to the end; () without
    tasks."""
    users = _users(to_run)
    chain: list[Task] = []
    here = max(to_run, key=lambda id: rank[id], default=None)
    while here is not None:
        chain.append(to_run[here])
        here = max(users[here], key=lambda id: rank[id], default=None)
    return tuple(chain)
