"""The queue of ready tasks: which tasks of a plan are ready, in which order, and which are dispatched together."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from compiler.inspect.cost.estimate import expect
from compiler.plan.dag import Task, upward_rank

MAX_BATCH_SECONDS = 0.5
"""Largest expected duration of a batch of several tasks of one operation: a dispatch itself costs a few milliseconds."""

UNKNOWN_SECONDS = 1.0
"""Expected duration of an operation that has not run yet: long enough to be dispatched alone."""

MAX_SAMPLES = 50
"""Largest weight of the mean so far against one new duration: a moving average, since the machine's load changes."""


class DurationEstimate:
    """Moving average of each operation's seconds, updated by outcomes; UNKNOWN_SECONDS for an operation that has not run.
    `seconds`: operation → mean of earlier runs, which counts as one duration."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._mean = {operation: (mean, 1) for operation, mean in seconds.items()}

    def update(self, operation: str, seconds: float) -> None:
        mean, n = self._mean.get(operation, (0.0, 0))
        n = min(n, MAX_SAMPLES)
        self._mean[operation] = ((mean * n + seconds) / (n + 1), n + 1)

    def seconds(self, task: Task) -> float:
        return self._mean.get(task.operation, (UNKNOWN_SECONDS, 0))[0]


URGENT = 0.5
"""Share of the expected time left, which is the guessed seconds of all open tasks over the number of slots: a task that with its
longest chain of dependents takes at least this share is scheduled first, since it is on the critical path."""


class ReadyQueue:
    """The ready tasks of a run in the order of their trials, those of least work first, so that trials end one after another. Tasks
    on the critical path (see `URGENT`) come before all others. `todo`: id → task, in topological order; needs outside of it count
    as done."""

    def __init__(self, todo: Mapping[str, Task], durations: DurationEstimate) -> None:
        self.todo = todo
        self.durations = durations
        self._left = {id: expected.seconds for id, expected in expect(todo, {}).items()}
        """Task → guessed seconds, of tasks that are not done; only ratios of guesses are used."""
        guessed = dict(self._left)
        self._rank = upward_rank(todo, lambda task: guessed[task.id])
        self._place = _places(todo, guessed)
        self._seconds_left = sum(self._left.values())
        self._waits_for = {id: {need for _, need in task.needs if need in todo} for id, task in todo.items()}
        self._users: dict[str, list[str]] = defaultdict(list)
        for id, needs in self._waits_for.items():
            for need in needs:
                self._users[need].append(id)
        self._ready: set[str] = set()
        self._by_rank: list[tuple[float, str]] = []
        self._by_trial: list[tuple[int, float, str]] = []
        for id, needs in self._waits_for.items():
            if not needs:
                self.put_back(id)

    def __len__(self) -> int:
        """Number of ready tasks."""
        return len(self._ready)

    def take(self, limit: int, unbatched: Collection[str] = (), slots: int = 1) -> list[Task]:
        """Remove and return the first ready task in order (see `ReadyQueue`) and the ready ones next in order, while they are of
        the same operation. `slots`, the number that the engine has, decides which tasks are urgent (URGENT).

        At most `limit` tasks and MAX_BATCH_SECONDS of expected work; a longer task, or one in `unbatched` (ids), is returned alone.
        At least one task must be ready.
        """
        longest = self._next(self._by_rank)
        heap: list[Any] = self._by_rank if self._rank[longest] >= URGENT * self._seconds_left / slots else self._by_trial
        first = self.todo[self._next(heap)]
        self._ready.discard(first.id)
        batch, seconds = [first], self.durations.seconds(first)
        while self._ready and len(batch) < limit and first.id not in unbatched:
            following = self.todo[self._next(heap)]
            seconds += self.durations.seconds(following)
            if following.operation != first.operation or following.id in unbatched or seconds > MAX_BATCH_SECONDS:
                break
            self._ready.discard(following.id)
            batch.append(following)
        return batch

    def _next(self, heap: list[Any]) -> str:
        """Id of the first ready task of a heap; entries of tasks that are not ready any more are removed on the way."""
        while heap[0][-1] not in self._ready:
            heapq.heappop(heap)
        return str(heap[0][-1])

    def put_back(self, id: str) -> None:
        """Make a task ready, or ready again; nothing changes for one that is ready."""
        if id not in self._ready:
            self._ready.add(id)
            heapq.heappush(self._by_rank, (-self._rank[id], id))
            heapq.heappush(self._by_trial, (self._place[id], -self._rank[id], id))

    def mark_done(self, id: str) -> None:
        """Mark a task as done; its dependents without other open needs become ready."""
        self.forget(id)
        for user in self._users[id]:
            self._waits_for[user].discard(id)
            if not self._waits_for[user]:
                self.put_back(user)

    def forget(self, id: str) -> None:
        """Take a task that has ended, or can never run, out of the expected time left; its dependents, and which tasks are ready,
        do not change."""
        self._seconds_left -= self._left.pop(id, 0.0)

    def dependents(self, id: str) -> list[str]:
        """Ids of all tasks that need this one, directly or not, breadth first."""
        found: dict[str, None] = {}
        waiting = list(self._users[id])
        for user in waiting:
            if user not in found:
                found[user] = None
                waiting += self._users[user]
        return list(found)


def _places(todo: Mapping[str, Task], seconds: Mapping[str, float]) -> dict[str, int]:
    """Task → rank from 0 of its trial (an attack, with the open tasks that it needs) when trials are sorted by the sum of
    `seconds`, least first; a task that several trials need has the lowest of their ranks, one that no trial needs comes last."""

    def behind(answer: str, known: Collection[str] = ()) -> list[str]:
        found, waiting = {answer}, [answer]
        while waiting:
            new = {need for _, need in todo[waiting.pop()].needs if need in todo and need not in found and need not in known}
            found |= new
            waiting += new
        return list(found)

    answers = [id for id, task in todo.items() if task.kind == "attack"]
    work = {id: math.fsum(seconds[task] for task in behind(id)) for id in answers}
    places: dict[str, int] = {}
    for place, answer in enumerate(sorted(answers, key=lambda id: work[id])):
        places |= dict.fromkeys(behind(answer, places), place)
    return {id: places.get(id, len(answers)) for id in todo}
