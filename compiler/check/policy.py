"""Validates a policy: its conditions, with all errors and their locations."""

from __future__ import annotations

from pathlib import Path

from compiler.check.validate import Validator
from compiler.errors import Checking, Diagnostic, SpecError, collect, did_you_mean
from compiler.language.policy import METRICS, Condition
from compiler.text import nodes
from compiler.text.nodes import Node


def read_policy(path: Path) -> tuple[Condition, ...]:
    """The conditions under `policy:` of a file, which may be a study, but whose `extends` and profiles are not read; SpecError as
    for `read` and `policy_in`."""
    return policy_in(nodes.read(path))


def policy_in(tree: nodes.Mapping) -> tuple[Condition, ...]:
    """The conditions under `policy:` of a tree; SpecError if there is no `policy`, or with all that `check_policy` yields."""
    node = tree.get("policy")
    if node is None:
        hint = "such as policy: [{metric: copied_members, end: low, at_most: 0}]"
        raise SpecError(Diagnostic("missing-field", tree.location, "`policy` is missing", hint))
    found, problems = collect(check_policy(node))
    if problems:
        raise SpecError(*problems)
    return found


def check_policy(node: Node) -> Checking[tuple[Condition, ...]]:
    """The conditions in `node`, () if a field of one is not valid; yields diagnostics, also for an empty list and for figures that
    are not in METRICS."""
    found: tuple[Condition, ...] | None = yield from Validator(tuple[Condition, ...]).check(node)
    if found is not None and not found:
        yield Diagnostic(
            "policy", node.location, "`policy` is empty", "it would release any set: state a condition, or leave it out"
        )
    for index, condition in enumerate(found or ()):
        of = node.items[index] if isinstance(node, nodes.Sequence) else node
        for name in condition.names:
            if name not in METRICS:
                place = of.nearest("metric") if isinstance(of, nodes.Mapping) and name == condition.metric else of.location
                yield Diagnostic("unknown-metric", place, f"nothing measures {name!r}", did_you_mean(name, METRICS))
    return found or ()
