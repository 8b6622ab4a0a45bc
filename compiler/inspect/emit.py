"""Any stage of the compiler as JSON: nodes, tree, trials, tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compiler.plan.dag import Plan
from compiler.text.compose import compose
from compiler.text.nodes import Mapping, Node, Scalar, Sequence, plain, read


def emit_text(stage: str, path: Path, profile: str | None = None, sets: Iterable[str] = ()) -> Any:
    """`nodes` or `tree` of a study, which need not be without mistakes."""
    return nodes(read(path)) if stage == "nodes" else plain(compose(path, profile, tuple(sets)))


def emit_plan(stage: str, plan: Plan) -> Any:
    """`trials` or `tasks` of a plan."""
    return trials(plan) if stage == "trials" else tasks(plan)


def nodes(node: Node) -> Any:
    """A node with its location; mappings and lists under `value`."""
    match node:
        case Scalar(value=value):
            return {"at": str(node.location), "value": value}
        case Sequence(items=items):
            return {"at": str(node.location), "value": [nodes(item) for item in items]}
        case Mapping(items=named):
            return {"at": str(node.location), "value": {name: nodes(item) for name, item in named.items()}}


def trials(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "trial": planned.trial.address,
            "arm": planned.trial.arm_name,
            "axes": dict(planned.trial.axes),
            "replicate": planned.trial.replicate,
            "seed": planned.trial.seed,
            "point": planned.trial.point.model_dump(mode="json"),
            "answer": planned.answer,
            "stages": [{"shadow": stage.shadow, "stage": stage.name, "task": stage.task} for stage in planned.stages],
        }
        for planned in plan.trials
    ]


def tasks(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "id": task.id,
            "kind": task.kind,
            "operation": task.operation,
            "address": task.address,
            "needs": dict(task.needs),
            "text": task.text,
        }
        for task in plan.tasks.values()
    ]
