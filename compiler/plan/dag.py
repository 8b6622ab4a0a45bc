"""Task and Plan: a DAG in which each thing is computed once; what is done, what is left, what comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from compiler.errors import Finding
from compiler.language.claims import Claim
from compiler.language.plugins import is_own
from compiler.language.study import Header, Trial
from compiler.work import TaskKind
from compiler.work.operations import Work


@dataclass(frozen=True)
class Task:
    """One node: what to compute, from which other tasks. Equal work has an equal id, whichever trial needs it."""

    id: str
    work: Work
    needs: tuple[tuple[str, str], ...]
    """(role, task id), sorted by role; roles are named in `compiler.work.operations`."""
    address: str
    """Where it is first needed, such as `coreset[fraction=0.1]#0/shadow 3/proxy`. For people; never hashed."""
    text: str
    """The canonical text that was hashed: kept beside the result, so that a difference can be explained field by field."""

    @property
    def kind(self) -> TaskKind:
        return cast(TaskKind, self.work.kind)

    @property
    def operation(self) -> str:
        """The work's class, and the method where there are several: `TrainClassifier`, `Synthesize forgetting`."""
        method = getattr(getattr(self.work, "how", None), "method", None)
        return type(self.work).__name__ + (f" {method}" if method else "")


@dataclass(frozen=True)
class Stage:
    """A task as one trial sees it."""

    task: str
    shadow: int
    name: str
    """`model`, `synthesize`, `train proxy`, `final_model` (its query), …"""


@dataclass(frozen=True)
class TrialPlan:
    """A trial, the attack task that answers it, and the tasks of its pipeline."""

    trial: Trial
    answer: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class ClaimPlan:
    """A claim of the study, the task that tests it, and the addresses of the trials that it is about."""

    name: str
    claim: Claim
    task: str
    left: tuple[str, ...]
    right: tuple[str, ...]


class Use(NamedTuple):
    """Where a task stands in a study: in a trial or a claim, at a stage of it. `attack` and `claim` are of no shadow."""

    owner: str
    """The trial's address, or the claim's name."""
    shadow: int | None
    stage: str


@dataclass(frozen=True)
class Plan:
    """A compiled study. `tasks` is in topological order: every need comes before its users."""

    header: Header
    profile: str | None
    trials: tuple[TrialPlan, ...]
    tasks: Mapping[str, Task]
    claims: tuple[ClaimPlan, ...] = ()
    lints: tuple[Finding, ...] = ()
    """What the lints found in the spec, silenced or not."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Ids of the tasks that answer a trial or test a claim, each once."""
        return tuple(dict.fromkeys([*(planned.answer for planned in self.trials), *(claim.task for claim in self.claims)]))

    def uses(self) -> Iterator[tuple[str, Use]]:
        """Every use of a task, as (task, use), trial by trial, then the claims."""
        for planned in self.trials:
            address = planned.trial.address
            yield from ((stage.task, Use(address, stage.shadow, stage.name)) for stage in planned.stages)
            yield planned.answer, Use(address, None, "attack")
        yield from ((claim.task, Use(claim.name, None, "claim")) for claim in self.claims)

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions from which the study takes plugins: methods, attacks, data sets."""
        points = [planned.trial.point for planned in self.trials]
        names = {name for point in points for name in (point.data.name, getattr(point.arm, "method", ""))}
        names |= {attack.attack for point in points for attack in point.audit.attacks}
        names |= {point.public.name for point in points if point.public is not None}
        return tuple(sorted({name.partition(":")[0] for name in names if is_own(name)}))

    def to_run(self, done: Callable[[str], bool], answers: Iterable[str] | None = None) -> dict[str, Task]:
        """What must run to have these answers (default: all), in topological order: nothing behind a done task is looked at."""
        needed: set[str] = set()
        waiting = [answer for answer in (self.answers if answers is None else answers) if not done(answer)]
        while waiting:
            task = waiting.pop()
            if task not in needed:
                needed.add(task)
                waiting += [need for _, need in self.tasks[task].needs if need not in needed and not done(need)]
        return {id: task for id, task in self.tasks.items() if id in needed}

    def resting_on(self, tasks: Iterable[str]) -> frozenset[str]:
        """These tasks, and all that need one of them, however indirectly."""
        resting = set(tasks)
        for id, task in self.tasks.items():
            if any(need in resting for _, need in task.needs):
                resting.add(id)
        return frozenset(resting)

    def counts(self) -> Counter[str]:
        """Tasks by kind."""
        return Counter(task.kind for task in self.tasks.values())


def upward_rank(tasks: Mapping[str, Task], cost: Callable[[Task], float] = lambda _: 1.0) -> dict[str, float]:
    """For each task the longest way to the end, its own cost included: what has the highest rank should start first.

    `tasks` is in topological order; `cost` gives expected seconds.
    """
    rank = {id: 0.0 for id in tasks}
    for id, task in reversed(list(tasks.items())):
        rank[id] += cost(task)
        for _, need in task.needs:
            if need in rank:
                rank[need] = max(rank[need], rank[id])
    return rank
