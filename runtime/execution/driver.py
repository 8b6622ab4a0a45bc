"""Keeps the workers busy with whatever the plan says is ready: the queue, the retries, the patience.

An engine only carries dispatches to workers: `cluster` to resident ones on Ray; `InlineEngine` computes in this process, for
tests, debuggers and machines without Ray. Outcomes come back one by one and the caller records each before more is asked for:
killing the driver loses at most the tasks in flight.
Not here: what a task does, where its tensors lie, more than one study at a time.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from compiler.errors import SynthcError
from compiler.plan.dag import Task
from runtime.execution.engine import Engine, Landing
from runtime.execution.ready_queue import Frontier, Pace
from runtime.execution.worker import Dispatch, Order
from runtime.outcome import Outcome

RETRIES = {"crash": 2, "out_of_memory": 1}
"""Further attempts by class of error; what is not named here is deterministic and fails at once."""

BEAT = 0.5
"""Seconds after which a wait returns, landed or not: for Ctrl-C, publishing and the progress display."""


@dataclass
class Interrupt:
    """How often a stop was asked for: once means finish what is running, twice means now."""

    count: int = 0
    asked: bool = False
    """Whether it was the user who asked, and not `fail_fast`."""


@dataclass(frozen=True)
class Policy:
    """How a run treats failure and time."""

    fail_fast: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)
    """Seconds by kind of task."""
    grace: float = 30.0
    """Seconds that running tasks get after the first interrupt."""


class Driver:
    """Computes `todo` (in topological order; every need outside it is done) on an engine.

    `record(task, outcome, attempt)` hears of every attempt as it ends, and of what is blocked; an outcome that will be
    tried again says so in its notes. `beat(flying)` is called at least every half second. `tried` gives the attempts of
    earlier runs, `seconds` what an operation took in them.
    """

    def __init__(
        self,
        todo: Mapping[str, Task],
        engine: Engine,
        record: Callable[[Task, Outcome, int], None],
        *,
        beat: Callable[[Mapping[str, Task]], None] = lambda flying: None,
        tried: Callable[[str], int] = lambda task: 0,
        seconds: Mapping[str, float] | None = None,
        policy: Policy | None = None,
        interrupt: Interrupt | None = None,
    ) -> None:
        self.todo, self.engine, self.record, self.beat, self.tried = todo, engine, record, beat, tried
        self.policy, self.interrupt = policy or Policy(), interrupt or Interrupt()
        self.frontier = Frontier(todo, Pace(seconds))
        self.flying: dict[Dispatch, float] = {}
        self.tries: Counter[str] = Counter()
        self.alone: set[str] = set()
        """Tasks that ran out of memory: they get the machine to themselves."""
        self.solo: set[str] = set()
        """Tasks that were lost with a worker: they travel without mates, so that an innocent one is not lost twice."""
        self.blocked: set[str] = set()
        self.stopping: float | None = None

    def run(self) -> None:
        """Until everything is done, failed or blocked, or the user had enough. SynthcError if the store cannot be written."""
        while len(self.frontier) or self.flying:
            self._hand_out()
            if self._out_of_patience() or (self.stopping is not None and not self.flying):
                return
            self._give_up_the_late()
            for landing in self.engine.wait(BEAT):
                del self.flying[landing.dispatch]
                attempt = {order.task: order.attempt for order in landing.dispatch}
                for outcome in landing.outcomes or _lost(landing):
                    self._settle(self.todo[outcome.task], outcome, attempt[outcome.task])
            self.beat({order.task: self.todo[order.task] for dispatch in self.flying for order in dispatch})

    def _hand_out(self) -> None:
        if self.interrupt.count and self.stopping is None:
            self.stopping = time.monotonic()
        while len(self.frontier) and self.stopping is None and len(self.flying) < self.engine.slots:
            if any(order.task in self.alone for dispatch in self.flying for order in dispatch):
                return
            taken = self.frontier.take(max(1, len(self.frontier) // self.engine.slots), self.alone | self.solo)
            if taken[0].id in self.alone and self.flying:
                self.frontier.put_back(taken[0].id)
                return
            dispatch = tuple(self._order(task) for task in taken)
            self.flying[dispatch] = time.monotonic()
            self.engine.submit(dispatch)

    def _order(self, task: Task) -> Order:
        self.tries[task.id] += 1
        return Order(task.id, task.work, task.needs, task.address, task.text, self.tried(task.id) + self.tries[task.id])

    def _settle(self, task: Task, outcome: Outcome, attempt: int) -> None:
        if outcome.status == "done":
            if outcome.provenance:
                self.frontier.pace.learn(task.operation, outcome.provenance.seconds)
            self.record(task, outcome, attempt)
            self.frontier.done(task.id)
        elif outcome.error_kind == "storage":
            hint = "free some space or name another --store, then run again: what is committed stays"
            raise SynthcError(f"the store cannot be written: {outcome.error}; {hint}")
        elif self.tries[task.id] <= RETRIES.get(outcome.error_kind, 0):
            self.record(task, dataclasses.replace(outcome, notes={**outcome.notes, "tried_again": True}), attempt)
            (self.alone if outcome.error_kind == "out_of_memory" else self.solo).add(task.id)
            self.frontier.put_back(task.id)
        else:
            self.record(task, outcome, attempt)
            self._block_behind(task, outcome)

    def _block_behind(self, task: Task, outcome: Outcome) -> None:
        reason = f"{task.address}: {outcome.error}"
        for user in self.frontier.behind(task.id):
            if user not in self.blocked:
                self.blocked.add(user)
                blocked = Outcome(user, "blocked", error=reason, error_kind="need failed", notes={"need": task.id})
                self.record(self.todo[user], blocked, 0)
        if self.policy.fail_fast:
            self.interrupt.count = max(self.interrupt.count, 1)

    def _out_of_patience(self) -> bool:
        waited = 0.0 if self.stopping is None else time.monotonic() - self.stopping
        return self.interrupt.count > 1 or waited > self.policy.grace

    def _give_up_the_late(self) -> None:
        now = time.monotonic()
        for dispatch, since in self.flying.items():
            limit = self.policy.timeouts.get(self.todo[dispatch[0].task].kind)
            if limit is not None and now - since > limit * len(dispatch):
                self.engine.kill(dispatch)


def _lost(landing: Landing) -> list[Outcome]:
    return [Outcome(order.task, "failed", error=landing.reason, error_kind=landing.lost) for order in landing.dispatch]
