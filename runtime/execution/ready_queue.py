"""Which tasks of a plan are ready, which wait, and which are dispatched together: bookkeeping without a clock or an engine."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping

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


class ReadyQueue:
    """The ready tasks of a run, most urgent first; a task's urgency is the expected time from its start to the plan's end."""

    def __init__(self, todo: Mapping[str, Task], durations: DurationEstimate) -> None:
        self.todo = todo
        self.durations = durations
        self._rank = upward_rank(todo, durations.seconds)
        self._waits_for = {id: {need for _, need in task.needs if need in todo} for id, task in todo.items()}
        self._users: dict[str, list[str]] = defaultdict(list)
        for id, needs in self._waits_for.items():
            for need in needs:
                self._users[need].append(id)
        self._ready = [(-self._rank[id], id) for id, needs in self._waits_for.items() if not needs]
        heapq.heapify(self._ready)

    def __len__(self) -> int:
        """How many tasks are ready."""
        return len(self._ready)

    def take(self, limit: int, unbatched: Collection[str] = ()) -> list[Task]:
        """Remove and return the most urgent task and the next ones of the same operation.

        At most `limit` tasks and MAX_BATCH_SECONDS of expected work; a task in `unbatched` comes alone.
        """
        first = self.todo[heapq.heappop(self._ready)[1]]
        batch, seconds = [first], self.durations.seconds(first)
        while self._ready and len(batch) < limit and first.id not in unbatched:
            following = self.todo[self._ready[0][1]]
            seconds += self.durations.seconds(following)
            if following.operation != first.operation or following.id in unbatched or seconds > MAX_BATCH_SECONDS:
                break
            heapq.heappop(self._ready)
            batch.append(following)
        return batch

    def put_back(self, id: str) -> None:
        """Make a task ready (again)."""
        heapq.heappush(self._ready, (-self._rank[id], id))

    def mark_done(self, id: str) -> None:
        """Make those tasks ready that waited for this one alone."""
        for user in self._users[id]:
            self._waits_for[user].discard(id)
            if not self._waits_for[user]:
                self.put_back(user)

    def dependents(self, id: str) -> list[str]:
        """All tasks that cannot run without this one, nearest first."""
        found: dict[str, None] = {}
        waiting = list(self._users[id])
        for user in waiting:
            if user not in found:
                found[user] = None
                waiting += self._users[user]
        return list(found)
