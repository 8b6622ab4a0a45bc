"""A plan as a graph of few nodes: folded over shadows and grid points, one lane for each arm, one column for each step.

Tasks that several arms share are in the lane of the first that needs them. Columns count from the end, so that the same step of
different arms is in one column. Not here: pictures (`runtime.present.graph`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Literal

from compiler.errors import plural
from compiler.plan.dag import Plan, Task, Use
from compiler.work import TaskKind

Unfold = Literal["points", "shadows"]
"""points: a lane for each trial, a node for each claim. shadows: besides, a node for each task."""

CLAIMS = "claims"
"""The lane of the tasks that compare trials."""
COLUMNS = ("compare", "attack", "query", "released model", "synthetic set", "proxy, teacher, generator")
"""Names of columns, from the last to the first."""
SOURCES = len(COLUMNS) - 1
"""The column of models trained for a synthesis."""
TITLES = {
    ("train", "model"): "train",
    ("synthesize", "model"): "synthesize",
    ("query", "final_model"): "query model",
    ("query", "synthetic_set"): "query set",
}
"""(kind, stage) → title, where it is not `kind stage`."""

Key = tuple[str, str, str]
"""(lane, stage, operation), or with the task's id where nothing is folded."""


@dataclass(frozen=True)
class Node:
    """Tasks that are drawn as one node."""

    key: Key
    lane: str
    stage: str
    operation: str
    kind: TaskKind
    tasks: tuple[str, ...]
    done: int
    shadows: int
    points: int
    """Grid points and replicates that the tasks belong to."""
    column: int = 0
    """Steps to the end: 0 for claims, 1 for attacks."""
    members: tuple[str, ...] = ()
    """Names of what is folded, where they have some: claims."""

    @property
    def title(self) -> str:
        """Kind and stage of the tasks in a few words, from TITLES where they are there; of tasks that compare, the name of the
        claim or the number of claims."""
        if self.kind == "compare":
            return self.members[0] if len(self.members) == 1 else f"{len(self.members)} claims"
        return TITLES.get((self.kind, self.stage), f"{self.kind} {self.stage}" if self.kind != self.stage else self.stage)

    @property
    def about(self) -> str:
        """Numbers of grid points and shadows, where above 1: `3 points × 16 shadows`; "" where neither is."""
        times = [f"{count} {what}" for count, what in ((self.points, "points"), (self.shadows, "shadows")) if count > 1]
        return " × ".join(times)

    @property
    def label(self) -> str:
        """Text of the node, line by line: title, points and shadows (if there are several), how many of its tasks are done (if any
        is) or how many it has."""
        progress = f"{self.done} of {len(self.tasks)} done" if self.done else plural(len(self.tasks), "task")
        return "\n".join(filter(None, (self.title, self.about, progress)))


@dataclass(frozen=True)
class Lane:
    """One arm, one trial of it, or all claims."""

    name: str
    about: str
    """Paradigms and methods; "" for claims."""


@dataclass(frozen=True)
class Graph:
    """Lanes, nodes, and dependencies between nodes."""

    study: str
    question: str
    lanes: tuple[Lane, ...]
    nodes: dict[Key, Node]
    edges: dict[tuple[Key, Key], int]
    """(from, to) → number of dependencies of tasks of `to` on tasks of `from`; edges that a longer path implies are left out."""


def graph(plan: Plan, done: Container[str] = (), unfold: Unfold | None = None) -> Graph:
    """The graph of a plan, folded over grid points and shadows except as `unfold` states; `done` has ids of finished tasks."""
    lanes = {planned.trial.address: planned.trial.address if unfold else planned.trial.arm_name for planned in plan.trials}
    uses: dict[str, Use] = {}
    for id, use in plan.uses():
        uses.setdefault(id, use)  # a shared task is in the lane of its first use
    keys = {id: _key(plan.tasks[id], use, lanes.get(use.owner, CLAIMS), unfold) for id, use in uses.items()}
    gathered: dict[Key, list[str]] = defaultdict(list)
    for id in plan.tasks:
        gathered[keys[id]].append(id)
    edges: dict[tuple[Key, Key], int] = defaultdict(int)
    for id, task in plan.tasks.items():
        for need in {need for _, need in task.needs}:
            edges[keys[need], keys[id]] += 1
    columns = _columns(plan, keys)
    nodes = {key: _node(plan, key, tasks, uses, done, columns[key]) for key, tasks in gathered.items()}
    return Graph(plan.header.study, plan.header.question, _list_lanes(plan, lanes), nodes, _direct(edges, columns))


def _key(task: Task, use: Use, lane: str, unfold: Unfold | None) -> Key:
    stage = use.stage.removeprefix("train ")
    if unfold == "shadows" or (unfold and task.kind == "compare"):
        return lane, stage, task.id
    return lane, stage, "" if task.kind in ("attack", "compare") else type(task.work).__name__


def _columns(plan: Plan, keys: dict[str, Key]) -> dict[Key, int]:
    """Node → its column: length of the longest path from any of its tasks to the end, at least 1 for attacks and SOURCES for models
    that a synthesis needs. `keys`: task id → node."""
    far: dict[str, int] = {id: 1 if task.kind == "attack" else 0 for id, task in plan.tasks.items()}
    for id, task in reversed(list(plan.tasks.items())):
        for _, need in task.needs:
            source = task.kind == "synthesize" and plan.tasks[need].kind == "train"
            far[need] = max(far[need], far[id] + 1, SOURCES if source else 0)
    columns: dict[Key, int] = defaultdict(int)
    for id, key in keys.items():
        columns[key] = max(columns[key], far[id])
    return columns


def _direct(edges: dict[tuple[Key, Key], int], columns: dict[Key, int]) -> dict[tuple[Key, Key], int]:
    """Transitive reduction: the edges without those that a longer path implies. Assumes that edges lead to lower columns."""
    users: dict[Key, set[Key]] = defaultdict(set)
    for source, target in edges:
        users[source].add(target)
    beyond: dict[Key, set[Key]] = {}
    for key in sorted(columns, key=lambda key: columns[key]):  # users stand in lower columns
        beyond[key] = set().union(*(users[user] | beyond.get(user, set()) for user in users[key]))
    return {(source, target): count for (source, target), count in edges.items() if target not in beyond[source]}


def _node(plan: Plan, key: Key, tasks: list[str], first_uses: dict[str, Use], done: Container[str], column: int) -> Node:
    first = plan.tasks[tasks[0]]
    operations = list(dict.fromkeys(plan.tasks[id].operation.removeprefix(f"{type(first.work).__name__} ") for id in tasks))
    shown = operations[0] if len(operations) == 1 else f"{len(operations)} methods"
    uses = [first_uses[id] for id in tasks]
    members = tuple(use.owner for use in uses) if first.kind == "compare" else ()
    shadows, points = len({use.shadow for use in uses}), len({use.owner for use in uses})
    finished, points = sum(id in done for id in tasks), 1 if members else points
    return Node(key, key[0], key[1], shown, first.kind, tuple(tasks), finished, shadows, points, column, members)


def _list_lanes(plan: Plan, lanes: Mapping[str, str]) -> tuple[Lane, ...]:
    """Lanes in the order of the trials, each with its paradigms and methods, and, if the plan has claims, theirs last. `lanes`:
    address of a trial → name of its lane."""
    about: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for planned in plan.trials:
        arm = planned.trial.point.arm
        methods = about[lanes[planned.trial.address]][arm.paradigm]
        method = getattr(arm, "method", None)
        if method is not None and method not in methods:
            methods.append(method)
    listed = [Lane(name, ", ".join(_listed(*item) for item in methods.items())) for name, methods in about.items()]
    return (*listed, *([Lane(CLAIMS, "")] if plan.claims else []))


def _listed(paradigm: str, methods: list[str]) -> str:
    if not methods:
        return paradigm
    return f"{paradigm}: {', '.join(methods)}" if len(methods) <= 2 else f"{paradigm}: {len(methods)} methods"
