"""Which tasks of a plan are ready, which wait, and which are dispatched together: bookkeeping without a clock or an engine."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from compiler.inspect.cost.estimate import expect
from compiler.plan.dag import Task, upward_rank

MAX_BATCH_SECONDS = 0.5
"""Expected work up to which tasks of one operation are dispatched together: a dispatch itself costs a few milliseconds."""

UNKNOWN_SECONDS = 1.0
"""Expected duration of an operation that never ran: long enough to be dispatched alone."""

MAX_SAMPLES = 50
"""Weight of the mean so far against a new duration: a moving mean, since the machine's load changes."""


class DurationEstimate:
    """Mean seconds of each operation, updated as outcomes come in; `seconds` are the means of earlier runs."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._mean = {operation: (mean, 1) for operation, mean in seconds.items()}

    def update(self, operation: str, seconds: float) -> None:
        mean, n = self._mean.get(operation, (0.0, 0))
        n = min(n, MAX_SAMPLES)
        self._mean[operation] = ((mean * n + seconds) / (n + 1), n + 1)

    def seconds(self, task: Task) -> float:
        return self._mean.get(task.operation, (UNKNOWN_SECONDS, 0))[0]


URGENT = 0.5
"""Share of the time that is left: a chain of tasks that takes longer begins before all else, lest the whole wait for it."""


class ReadyQueue:
    """The ready tasks of a run: trial by trial, the shortest first, so that answers come while the rest runs; but first of all what
    a chain of tasks hangs on that takes nearly all of the time that is left, since the plan could not end sooner."""

    def __init__(self, todo: Mapping[str, Task], durations: DurationEstimate) -> None:
        self.todo = todo
        self.durations = durations
        self._left = {id: expected.seconds for id, expected in expect(todo, {}).items()}
        """Guessed seconds of what is not done: they tell tasks of one operation apart, and only their ratios count here."""
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
        """How many tasks are ready."""
        return len(self._ready)

    def take(self, limit: int, unbatched: Collection[str] = (), slots: int = 1) -> list[Task]:
        """Remove and return the task that comes first and the next ones of the same operation, on an engine of so many `slots`.

        At most `limit` tasks and MAX_BATCH_SECONDS of expected work; a task in `unbatched` comes alone.
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
        """The first ready task of a heap; what was taken from the other one is dropped on the way."""
        while heap[0][-1] not in self._ready:
            heapq.heappop(heap)
        return str(heap[0][-1])

    def put_back(self, id: str) -> None:
        """Make a task ready (again)."""
        if id not in self._ready:
            self._ready.add(id)
            heapq.heappush(self._by_rank, (-self._rank[id], id))
            heapq.heappush(self._by_trial, (self._place[id], -self._rank[id], id))

    def mark_done(self, id: str) -> None:
        """Make those tasks ready that waited for this one alone."""
        self.forget(id)
        for user in self._users[id]:
            self._waits_for[user].discard(id)
            if not self._waits_for[user]:
                self.put_back(user)

    def forget(self, id: str) -> None:
        """Count a task no more that is over, or can never run."""
        self._seconds_left -= self._left.pop(id, 0.0)

    def dependents(self, id: str) -> list[str]:
        """All tasks that cannot run without this one, nearest first."""
        found: dict[str, None] = {}
        waiting = list(self._users[id])
        for user in waiting:
            if user not in found:
                found[user] = None
                waiting += self._users[user]
        return list(found)


def _places(todo: Mapping[str, Task], seconds: Mapping[str, float]) -> dict[str, int]:
    """For each task the place of its trial, those of least work first; of a task that several need that of the first of them."""

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
