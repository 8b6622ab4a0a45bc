"""The one rule: a mapping whose only key is `grid` stands for each of its values in turn.

Inside a list a grid multiplies the element that holds it; anywhere else it multiplies the trials of its arm. Grids nest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from compiler.errors import Diagnostic, SpecError
from compiler.text.compose import is_grid
from compiler.text.nodes import Mapping, Node, Scalar, Sequence, Value, plain

MAX_TRIALS = 10_000


@dataclass(frozen=True)
class Coordinate:
    """The value of one grid in a trial."""

    path: tuple[str, ...]
    """Keys that lead from the top of the spec to the grid."""
    value: Value
    """The value; lists and mappings as text, such as `epsilon=8.0`: see `_label`."""


@dataclass(frozen=True)
class Expanded:
    """A tree without grids, and the values that its grids have in it."""

    node: Node
    axes: tuple[Coordinate, ...] = ()


def expand(node: Node, limit: int = MAX_TRIALS) -> list[Expanded]:
    """All combinations of the values of the grids in `node`, the last grid of the text varying fastest.

    A grid in a list adds elements to the list instead. SpecError, before any tree is built, for an empty grid, a grid that is no
    list, repeats a value or has a key beside `grid`, for more than `limit` trees, and for grids that make a list longer than
    MAX_TRIALS.

    >>> from compiler.text.nodes import parse
    >>> [plain(point.node) for point in expand(parse("a: {grid: [1, 2]}", "example"))]
    [{'a': 1}, {'a': 2}]
    """
    if problems := list(_check_grids(node)):
        raise SpecError(*problems)
    count = _count(node)
    if count > limit:
        hint = f"at most {limit:,}: shorten a grid, or split the study"
        raise SpecError(Diagnostic("too-many-trials", node.location, f"the grids stand for {count:,} combinations", hint))
    if problems := list(_find_long_lists(node)):
        raise SpecError(*problems)
    return list(_expand(node, ()))


def _expand(node: Node, path: tuple[str, ...]) -> Iterator[Expanded]:
    """Each combination of the grids in a node; `path`: names on the way to it. Grids within a list lengthen it and have no axes."""
    match node:
        case Scalar():
            yield Expanded(node)
        case Sequence(items=items, location=location):
            yield Expanded(Sequence(tuple(point.node for item in items for point in _expand(item, ())), location))
        case Mapping() if is_grid(node):
            for value in _values(node):
                # A grid directly in a grid is one axis: its values are added to the outer one's.
                here = () if is_grid(value) else (Coordinate(path, _label(value)),)
                for point in _expand(value, path):
                    yield Expanded(point.node, (*here, *point.axes))
        case Mapping(items=named, keys=keys, location=location):
            for combination in product(*(list(_expand(child, (*path, name))) for name, child in named.items())):
                nodes = {name: point.node for name, point in zip(named, combination, strict=True)}
                yield Expanded(Mapping(nodes, keys, location), tuple(axis for point in combination for axis in point.axes))


def _count(node: Node) -> int:
    """Number of trees that a node expands to; 1 for a list, which grids only lengthen."""
    match node:
        case Mapping() if is_grid(node):
            return sum(_count(value) for value in _values(node))
        case Mapping(items=named):
            return math.prod(_count(child) for child in named.values())
    return 1


def _find_long_lists(node: Node) -> Iterator[Diagnostic]:
    """Diagnostics for lists that grids make longer than MAX_TRIALS."""
    match node:
        case Sequence(items=items, location=location):
            count = sum(_count(item) for item in items)
            if count > max(MAX_TRIALS, len(items)):
                what = f"the grids in this list stand for {count:,} elements"
                yield Diagnostic("too-many-trials", location, what, f"at most {MAX_TRIALS:,}: shorten a grid")
        case Mapping(items=named):
            items = tuple(named.values())
        case _:
            return
    for item in items:
        yield from _find_long_lists(item)


def _values(grid: Mapping) -> tuple[Node, ...]:
    values = grid.items["grid"]
    assert isinstance(values, Sequence)
    return values.items


def _label(node: Node) -> Value:
    """The value of a coordinate: a scalar's own, a list as Python writes it, a mapping as `name=value` joined by commas, of which
    members with grids that stand for several values are given by name alone; of a grid of one value that value's."""
    match node:
        case Scalar(value=value):
            return value
        case Mapping() if is_grid(node):
            return _label(_values(node)[0])
        case Mapping(items=named):
            return ",".join(name if _count(inner) > 1 else f"{name}={_label(inner)}" for name, inner in named.items())
        case Sequence():
            return str(plain(node))


def _leaves(grid: Mapping) -> Iterator[Node]:
    """The values of a grid, where grids directly in it are replaced by their values."""
    for value in _values(grid):
        yield from _leaves(value) if isinstance(value, Mapping) and is_grid(value) else (value,)


def _find_repeats(grid: Mapping) -> Iterator[Diagnostic]:
    """Diagnostics for repeated values of a grid, whose trials would be the same: also 1 and 1.0, and mappings that differ in
    order."""
    seen: dict[str, str] = {}
    for leaf in _leaves(grid):
        text, same = json.dumps(plain(leaf), ensure_ascii=False), json.dumps(_as_numbers(plain(leaf)), sort_keys=True)
        if same in seen:
            what = (
                f"the grid has {text} twice" if seen[same] == text else f"the grid has {seen[same]} and {text}, which are the same"
            )
            yield Diagnostic("grid", leaf.location, what, "drop one of them")
        seen.setdefault(same, text)


def _as_numbers(value: object) -> object:
    """The value with whole numbers as floats, unless a float cannot hold them, in lists and mappings too: 1 and 1.0 are the same.
    True and False stay."""
    match value:
        case dict():
            return {name: _as_numbers(item) for name, item in value.items()}
        case list():
            return [_as_numbers(item) for item in value]
        case int() if not isinstance(value, bool) and int(float(value)) == value:
            return float(value)
    return value


def _check_grids(node: Node) -> Iterator[Diagnostic]:
    """Diagnostics for grids that are empty, no list, have repeated values (looked for if the grids inside them have no fault), or a
    key beside `grid`."""
    match node:
        case Mapping() if is_grid(node):
            values = node.items["grid"]
            if not isinstance(values, Sequence):
                yield Diagnostic("grid", values.location, "a grid must be a list of values", "such as {grid: [0.1, 0.3]}")
            elif not values.items:
                what = "the grid is empty, so nothing would run"
                yield Diagnostic("empty-grid", values.location, what, "give it at least one value")
            else:
                inner = [problem for value in values.items for problem in _check_grids(value)]
                yield from inner or _find_repeats(node)
        case Mapping(items=named, keys=keys):
            if "grid" in named:
                hint = "a grid stands alone: {grid: [...]}"
                yield Diagnostic("grid", keys["grid"], f"`grid` beside {', '.join(name for name in named if name != 'grid')}", hint)
            for child in named.values():
                yield from _check_grids(child)
        case Sequence(items=items):
            for item in items:
                yield from _check_grids(item)
