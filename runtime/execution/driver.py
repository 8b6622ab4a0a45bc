"""Submits ready tasks of a plan to an engine: queue, retries, time limits, interrupts.

An engine only carries dispatches to workers: `ray_engine` to resident ones on Ray; `InlineEngine` computes in this process, for
tests, debuggers and machines without Ray. The caller records each outcome before the driver waits for the next: killing the driver
loses at most the tasks in flight.
Not here: what a task computes, where its tensors are stored, more than one study at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from compiler.errors import SynthcError
from compiler.plan.dag import Task
from runtime.execution.engine import BatchResult, Engine
from runtime.execution.ready_queue import DurationEstimate, ReadyQueue
from runtime.execution.worker import Dispatch, TaskRequest
from runtime.outcome import Outcome

MAX_RETRIES = {"crash": 2, "out_of_memory": 1}
"""Kind of error → further attempts; a task with an error of another kind fails at once."""

TICK_SECONDS = 0.5
"""Longest wait for a result, so that Ctrl-C, publishing and the progress display get their turn."""


@dataclass
class Interrupt:
    """Requests to stop the run: the first lets running tasks finish, the second stops at once."""

    count: int = 0
    by_user: bool = False
    """Whether the user requested it, and not `fail_fast`."""
    can_stop: bool = False
    """Whether a second request may raise an exception now."""

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Set `can_stop` in this block, and clear it at its end. A KeyboardInterrupt, such as a second request raises, ends the
        block without an error: what follows the block goes on."""
        self.can_stop = True
        try:
            with contextlib.suppress(KeyboardInterrupt):  # Ray makes one of `Stopped`
                yield
        finally:
            self.can_stop = False


@dataclass(frozen=True)
class Policy:
    """How a run handles failures and time limits. `fail_fast`: the first task that fails counts as a first interrupt."""

    fail_fast: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)
    """Kind of task → time limit in seconds for each task; a dispatch of several has the sum of theirs."""
    grace_period: float = 30.0
    """Seconds that running tasks get after the first interrupt."""


@dataclass(frozen=True)
class EarlierRuns:
    """Records of earlier runs: operation → mean `seconds`; id of a task → number of its last attempt (0 without one)."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    last_attempt: Callable[[str], int] = lambda task: 0


class Driver:
    """Computes the tasks `todo` (id → task, in topological order; needs outside of it must be done) on an engine.

    `on_outcome(task, outcome, attempt)` is called as each attempt ends, with its number (from 1, above those of earlier attempts at
    the task), unless the store could not be written, and for each blocked task (attempt 0); an outcome that will be retried has
    the note `tried_again`. `on_submit(task)` is called before a task's first attempt in this run, `on_tick(in_flight)` after each
    wait for the engine (TICK_SECONDS at most on Ray, a whole dispatch in this process), with the dispatches in flight and when each
    was submitted (`time.monotonic`).
    """

    def __init__(
        self,
        todo: Mapping[str, Task],
        engine: Engine,
        on_outcome: Callable[[Task, Outcome, int], None],
        *,
        on_submit: Callable[[Task], None] = lambda task: None,
        on_tick: Callable[[Mapping[Dispatch, float]], None] = lambda in_flight: None,
        earlier: EarlierRuns | None = None,
        policy: Policy | None = None,
        interrupt: Interrupt | None = None,
    ) -> None:
        self.todo, self.engine = todo, engine
        self.on_submit, self.on_outcome, self.on_tick = on_submit, on_outcome, on_tick
        self.earlier, self.policy, self.interrupt = earlier or EarlierRuns(), policy or Policy(), interrupt or Interrupt()
        self.queue = ReadyQueue(todo, DurationEstimate(self.earlier.seconds))
        self.in_flight: dict[Dispatch, float] = {}
        """Dispatch → when it was submitted."""
        self.attempts: Counter[str] = Counter()
        """Id of a task → number of its attempts that this driver has submitted."""
        self.attempts_before: dict[str, int] = {}
        self.exclusive: set[str] = set()
        """Ids of tasks that ran out of memory: nothing else runs beside them."""
        self.unbatched: set[str] = set()
        """Ids of tasks that were lost with a worker: each is dispatched alone, so that only the one at fault is lost again."""
        self.blocked: set[str] = set()
        self.stopping_since: float | None = None

    def run(self) -> None:
        """Run until every task is done, failed or blocked, or the run is stopped: after the first interrupt when nothing is in
        flight or the grace period has passed, after the second before the next wait. Tasks that fail raise nothing. SynthcError if
        the store cannot be written, or the engine has had no workers, or no connection to the cluster, for too long. `Stopped`, or
        on Ray KeyboardInterrupt, at a second interrupt within `Interrupt.stoppable`."""
        while len(self.queue) or self.in_flight:
            self._submit_ready()
            if self._must_stop():
                return
            self._kill_overdue()
            for result in self.engine.wait(TICK_SECONDS):
                del self.in_flight[result.dispatch]
                attempts = {request.task: request.attempt for request in result.dispatch}
                for outcome in result.outcomes or _lost_outcomes(result):
                    self._handle(self.todo[outcome.task], outcome, attempts[outcome.task])
            self.on_tick(self.in_flight)

    def _submit_ready(self) -> None:
        if self.interrupt.count and self.stopping_since is None:
            self.stopping_since = time.monotonic()
        while len(self.queue) and self.stopping_since is None and len(self.in_flight) < self.engine.slots:
            if any(request.task in self.exclusive for dispatch in self.in_flight for request in dispatch):
                return
            slots = self.engine.slots
            batch = self.queue.take(max(1, len(self.queue) // slots), self.exclusive | self.unbatched, slots)
            if batch[0].id in self.exclusive and self.in_flight:
                self.queue.put_back(batch[0].id)
                return
            dispatch = tuple(map(self._request, batch))
            self.in_flight[dispatch] = time.monotonic()
            self.engine.submit(dispatch)

    def _request(self, task: Task) -> TaskRequest:
        if not self.attempts[task.id]:
            self.on_submit(task)
            self.attempts_before[task.id] = self.earlier.last_attempt(task.id)
        self.attempts[task.id] += 1
        attempt = self.attempts_before[task.id] + self.attempts[task.id]
        return TaskRequest(task.id, task.work, task.needs, task.address, task.text, attempt)

    def _handle(self, task: Task, outcome: Outcome, attempt: int) -> None:
        if outcome.status == "done":
            if outcome.provenance:
                self.queue.durations.update(task.operation, outcome.provenance.seconds)
            self.on_outcome(task, outcome, attempt)
            self.queue.mark_done(task.id)
        elif outcome.error_kind == "storage":
            raise SynthcError(f"the store cannot be written: {outcome.error}")
        elif self.attempts[task.id] <= MAX_RETRIES.get(outcome.error_kind, 0):
            self.on_outcome(task, dataclasses.replace(outcome, notes={**outcome.notes, "tried_again": True}), attempt)
            (self.exclusive if outcome.error_kind == "out_of_memory" else self.unbatched).add(task.id)
            self.queue.put_back(task.id)
        else:
            self.on_outcome(task, outcome, attempt)
            self.queue.forget(task.id)
            self._block_dependents(task, outcome)

    def _block_dependents(self, task: Task, outcome: Outcome) -> None:
        reason = f"{task.address}: {outcome.error}"
        for user in self.queue.dependents(task.id):
            if user not in self.blocked:
                self.blocked.add(user)
                self.queue.forget(user)
                blocked = Outcome(user, "blocked", error=reason, error_kind="need failed", notes={"need": task.id})
                self.on_outcome(self.todo[user], blocked, 0)
        if self.policy.fail_fast:
            self.interrupt.count = max(self.interrupt.count, 1)

    def _must_stop(self) -> bool:
        if self.stopping_since is None:
            return self.interrupt.count > 1
        overdue = time.monotonic() - self.stopping_since > self.policy.grace_period
        return self.interrupt.count > 1 or overdue or not self.in_flight

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for dispatch, since in self.in_flight.items():
            limit = self.policy.timeouts.get(self.todo[dispatch[0].task].kind)
            if limit is not None and now - since > limit * len(dispatch):
                self.engine.kill(dispatch)


def _lost_outcomes(result: BatchResult) -> list[Outcome]:
    return [Outcome(request.task, "failed", error=result.reason, error_kind=result.lost) for request in result.dispatch]
