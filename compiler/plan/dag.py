"""Task and Plan: a DAG of tasks without repetition, and queries on it."""

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
    """A node: an operation with parameters, and the tasks that it needs. Equal tasks of several trials have the same id."""

    id: str
    work: Work
    needs: tuple[tuple[str, str], ...]
    """(role, task id), sorted by role; roles are named in `compiler.work.operations`."""
    address: str
    """Where the task is first needed, such as `coreset[fraction=0.1]#0/shadow 3/proxy`. For users; no part of the id."""
    text: str
    """The canonical text whose hash is the id, stored with the result, so that differences can be explained by field."""

    @property
    def kind(self) -> TaskKind:
        """Kind of the task's operation: `train`, `synthesize`, `query`, `attack` or `compare`."""
        return cast(TaskKind, self.work.kind)

    @property
    def operation(self) -> str:
        """Name of the operation, followed by the method of its parameters `how` if they have one: `TrainClassifier`, `Synthesize
        forgetting`."""
        method = getattr(getattr(self.work, "how", None), "method", None)
        return type(self.work).__name__ + (f" {method}" if method else "")


@dataclass(frozen=True)
class Stage:
    """A task's role in one trial; `task` is its id."""

    task: str
    shadow: int
    name: str
    """`model`, `synthesize`, `train proxy`, `final_model` (its query), …"""


@dataclass(frozen=True)
class TrialPlan:
    """A trial, the id of the task of its attacks (`answer`), and the tasks of its pipelines, shadow by shadow."""

    trial: Trial
    answer: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class ClaimPlan:
    """A claim, the id of the task that tests it, and the addresses of its trials; `right` is empty where left trials are tested
    alone."""

    name: str
    claim: Claim
    task: str
    left: tuple[str, ...]
    right: tuple[str, ...]


class Use(NamedTuple):
    """A use of a task in a study: trial or claim, shadow and stage. The stages `attack` and `claim` have no shadow."""

    owner: str
    """The trial's address, or the claim's name."""
    shadow: int | None
    stage: str


@dataclass(frozen=True)
class Plan:
    """A compiled study. `tasks` (id → task) is in topological order."""

    header: Header
    profile: str | None
    trials: tuple[TrialPlan, ...]
    tasks: Mapping[str, Task]
    claims: tuple[ClaimPlan, ...] = ()
    lints: tuple[Finding, ...] = ()
    """Lint findings in the spec, silenced or not."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Ids of the tasks that attack a trial or test a claim, without repetition."""
        return tuple(dict.fromkeys([*(planned.answer for planned in self.trials), *(claim.task for claim in self.claims)]))

    def uses(self) -> Iterator[tuple[str, Use]]:
        """All pairs of a task's id and a use, trial by trial, then claims."""
        for planned in self.trials:
            address = planned.trial.address
            yield from ((stage.task, Use(address, stage.shadow, stage.name)) for stage in planned.stages)
            yield planned.answer, Use(address, None, "attack")
        yield from ((claim.task, Use(claim.name, None, "claim")) for claim in self.claims)

    @property
    def packages(self) -> tuple[str, ...]:
        """Sorted names of the distributions that provide the study's plug-ins (methods, attacks, data sets), as the spec writes
        them."""
        points = [planned.trial.point for planned in self.trials]
        names = {name for point in points for name in (point.data.name, getattr(point.arm, "method", ""))}
        names |= {attack.attack for point in points for attack in point.audit.attacks}
        names |= {point.public.name for point in points if point.public is not None}
        return tuple(sorted({name.partition(":")[0] for name in names if is_own(name)}))

    def to_run(self, done: Callable[[str], bool], answers: Iterable[str] | None = None) -> dict[str, Task]:
        """Id → task of all that must run to get `answers` (ids of tasks; default: the plan's answers), in topological order: those
        answers and, directly or not, their needs, without tasks that are `done` and what these alone need. KeyError for an answer
        that is not in the plan and not `done`."""
        needed: set[str] = set()
        waiting = [answer for answer in (self.answers if answers is None else answers) if not done(answer)]
        while waiting:
            task = waiting.pop()
            if task not in needed:
                needed.add(task)
                waiting += [need for _, need in self.tasks[task].needs if need not in needed and not done(need)]
        return {id: task for id, task in self.tasks.items() if id in needed}

    def with_dependents(self, tasks: Iterable[str]) -> frozenset[str]:
        """Ids of these tasks (ids, not checked) and of all in the plan that depend on them, directly or not."""
        found = set(tasks)
        for id, task in self.tasks.items():
            if any(need in found for _, need in task.needs):
                found.add(id)
        return frozenset(found)

    def counts(self) -> Counter[str]:
        """Kind → number of tasks, of the kinds that the plan has."""
        return Counter(task.kind for task in self.tasks.values())


def upward_rank(tasks: Mapping[str, Task], cost: Callable[[Task], float] = lambda _: 1.0) -> dict[str, float]:
    """Task id → cost of the longest path from the task to the end, through tasks that need it, its own included; tasks of high rank
    should start first (as in HEFT).

    `tasks` is in topological order; needs outside of it are ignored. `cost` gives expected seconds, by default 1 for each task.
    """
    rank = {id: 0.0 for id in tasks}
    for id, task in reversed(list(tasks.items())):
        rank[id] += cost(task)
        for _, need in task.needs:
            if need in rank:
                rank[need] = max(rank[need], rank[id])
    return rank
