"""Converts the stages of the compiler to JSON: nodes, trials, tasks."""

from __future__ import annotations

from typing import Any

from compiler.plan.dag import Plan
from compiler.text.nodes import Mapping, Node, Scalar, Sequence


def nodes(node: Node) -> Any:
    """A node as JSON: `{"at": location, "value": …}`, in whose value the members of mappings and lists have the same form."""
    match node:
        case Scalar(value=value):
            return {"at": str(node.location), "value": value}
        case Sequence(items=items):
            return {"at": str(node.location), "value": [nodes(item) for item in items]}
        case Mapping(items=named):
            return {"at": str(node.location), "value": {name: nodes(item) for name, item in named.items()}}


def trials(plan: Plan) -> list[dict[str, Any]]:
    """Each trial of a plan as JSON: address, arm, axes, replicate, seed, resolved parameters, the task of its attacks (`answer`),
    and the tasks of its stages."""
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
    """Each task of a plan as JSON, in topological order: id, kind, operation, address, needs (role → id), canonical text."""
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
