"""Which tasks of a plan are ready, waiting or blocked, and which go together: bookkeeping without a clock or an engine."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping

from compiler.plan.dag import Task, upward_rank

GROUP_SECONDS = 0.5
"""Tasks of one operation travel together up to this much expected work: a dispatch itself costs a few milliseconds."""


class Pace:
    """What an operation takes, in seconds: learned as outcomes come in, starting from what earlier runs took."""

    GUESS = 1.0
    """Of an operation never seen: long enough to travel alone."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self._mean = {operation: (mean, 1) for operation, mean in (seconds or {}).items()}

    def learn(self, operation: str, seconds: float) -> None:
        mean, n = self._mean.get(operation, (0.0, 0))
        n = min(n, 50)   # a moving mean: the machine's load changes
        self._mean[operation] = ((mean * n + seconds) / (n + 1), n + 1)

    def expected(self, task: Task) -> float:
        return self._mean.get(task.operation, (self.GUESS, 0))[0]


class Frontier:
    """The queue of a run: most urgent first, where urgency is the expected time from a task's start to the plan's end."""

    def __init__(self, todo: Mapping[str, Task], pace: Pace) -> None:
        self.todo = todo
        self.pace = pace
        self._rank = upward_rank(todo, pace.expected)
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

    def take(self, share: int, alone: Collection[str] = ()) -> list[Task]:
        """The most urgent task, and with it the next ones of the same operation: at most `share`, at most GROUP_SECONDS
        of expected work, none of `alone`."""
        first = self.todo[heapq.heappop(self._ready)[1]]
        taken, seconds = [first], self.pace.expected(first)
        while self._ready and len(taken) < share and first.id not in alone:
            following = self.todo[self._ready[0][1]]
            seconds += self.pace.expected(following)
            if following.operation != first.operation or following.id in alone or seconds > GROUP_SECONDS:
                break
            heapq.heappop(self._ready)
            taken.append(following)
        return taken

    def put_back(self, id: str) -> None:
        """This task is ready (again)."""
        heapq.heappush(self._ready, (-self._rank[id], id))

    def done(self, id: str) -> None:
        """What waited for this task alone is ready now."""
        for user in self._users[id]:
            self._waits_for[user].discard(id)
            if not self._waits_for[user]:
                self.put_back(user)

    def behind(self, id: str) -> list[str]:
        """All tasks that cannot run without this one, nearest first."""
        found: dict[str, None] = {}
        waiting = list(self._users[id])
        for user in waiting:
            if user not in found:
                found[user] = None
                waiting += self._users[user]
        return list(found)
