"""The one rule: a mapping whose only key is `grid` stands for each of its values in turn.

Inside a list a grid multiplies the element that holds it; anywhere else it multiplies the trials of its arm. Grids nest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from compiler.compose import is_grid
from compiler.errors import Diagnostic, SpecError
from compiler.source import Mapping, Node, Scalar, Sequence, Value, plain

MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Coordinate:
    """The value that one grid took."""

    path: tuple[str, ...]
    value: Value
    """A mapping in a grid is written as text, such as `epsilon=8.0`."""


@dataclass(frozen=True)
class Expanded:
    """A tree without grids, and the coordinates that it stands at."""

    node: Node
    axes: tuple[Coordinate, ...] = ()


def expand(node: Node, limit: int = MOST_TRIALS) -> list[Expanded]:
    """All trees that `node` stands for, the last grid of the text varying fastest.

    SpecError for an empty grid, a grid that is no list, or more than `limit` trees, before any is built.

    >>> from compiler.source import parse
    >>> [plain(found.node) for found in expand(parse("a: {grid: [1, 2]}", "example"))]
    [{'a': 1}, {'a': 2}]
    """
    found = list(_faults(node))
    if found:
        raise SpecError(found)
    count = _count(node)
    if count > limit:
        hint = f"at most {limit:,}: shorten a grid, or split the study"
        raise SpecError([Diagnostic("too-many-trials", node.place, f"the grids stand for {count:,} combinations", hint)])
    return list(_expanded(node, ()))


def _expanded(node: Node, path: tuple[str, ...]) -> Iterator[Expanded]:
    match node:
        case Scalar():
            yield Expanded(node)
        case Sequence(items=items, place=place):
            yield Expanded(Sequence(tuple(found.node for item in items for found in _expanded(item, ())), place))
        case Mapping() if is_grid(node):
            for value in _values(node):
                here = Coordinate(path, _written(value))
                for found in _expanded(value, path):
                    yield Expanded(found.node, (here, *found.axes))
        case Mapping(items=named, keys=keys, place=place):
            for combination in product(*(list(_expanded(child, (*path, name))) for name, child in named.items())):
                made = {name: found.node for name, found in zip(named, combination, strict=True)}
                yield Expanded(Mapping(made, keys, place), tuple(axis for found in combination for axis in found.axes))


def _count(node: Node) -> int:
    match node:
        case Mapping() if is_grid(node):
            return sum(_count(value) for value in _values(node))
        case Mapping(items=named):
            return math.prod(_count(child) for child in named.values())
    return 1


def _values(grid: Mapping) -> tuple[Node, ...]:
    values = grid.items["grid"]
    assert isinstance(values, Sequence)
    return values.items


def _written(node: Node) -> Value:
    if isinstance(node, Scalar):
        return node.value
    value = plain(node)
    if isinstance(value, dict):
        return ",".join(f"{name}={inner}" for name, inner in value.items())
    return str(value)


def _faults(node: Node) -> Iterator[Diagnostic]:
    match node:
        case Mapping() if is_grid(node):
            values = node.items["grid"]
            if not isinstance(values, Sequence):
                yield Diagnostic("grid", values.place, "a grid must be a list of values", "such as {grid: [0.1, 0.3]}")
            elif not values.items:
                yield Diagnostic(
                    "empty-grid", values.place, "the grid is empty, so nothing would run", "give it at least one value"
                )
            else:
                for value in values.items:
                    yield from _faults(value)
        case Mapping(items=named, keys=keys):
            if "grid" in named:
                hint = "a grid stands alone: {grid: [...]}"
                yield Diagnostic("grid", keys["grid"], f"`grid` beside {', '.join(name for name in named if name != 'grid')}", hint)
            for child in named.values():
                yield from _faults(child)
        case Sequence(items=items):
            for item in items:
                yield from _faults(item)
