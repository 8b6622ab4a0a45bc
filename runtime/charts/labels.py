"""Where the names of points go, so that they cover neither each other nor the points: greedy, and none where none fits.

Not here: what the names are. Text is measured by the letter, since only the browser knows the font.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LETTER, HEIGHT = 4.8, 10.0
"""Points that a letter and a line take at 8.5 points of Arial: 4.7 on average over the arms of the full study."""


@dataclass(frozen=True)
class Label:
    """A name beside its point."""

    dx: float
    dy: float
    align: Literal["left", "right", "center"]


PLACES = (
    Label(7, -7, "left"),
    Label(7, 8, "left"),
    Label(-7, -7, "right"),
    Label(-7, 8, "right"),
    Label(0, -11, "center"),
    Label(0, 12, "center"),
    Label(9, 0, "left"),
    Label(-9, 0, "right"),
    Label(7, -17, "left"),
    Label(7, 18, "left"),
)
"""In order of preference."""

Box = tuple[float, float, float, float]


def placed(
    points: Sequence[tuple[float, float]], names: Sequence[str], width: float, height: float, radius: float = 5.0, most: int = 24
) -> list[Label | None]:
    """A place for the name of each point (in points of the plotting area, y downwards), or None where it would cover something.

    Beyond `most` points nobody reads labels: none gets one.
    """
    if len(points) > most:
        return [None] * len(points)
    taken: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    labels: list[Label | None] = []
    for (x, y), name in zip(points, names, strict=True):
        found = None
        for place in PLACES:
            box = _box(x, y, place, name)
            # A name may stand out of the area above and to the right, where nothing is drawn.
            inside = box[0] >= 0 and box[1] >= -HEIGHT and box[2] <= width + 60 and box[3] <= height
            own = _apart(box, x, y)
            # Nearer to another point than to its own, a name would be read as that one's.
            astray = any(_apart(box, *other) < own for other in points if other != (x, y))
            if inside and not astray and not any(_overlap(box, other) for other in taken):
                found = place
                taken.append(box)
                break
        labels.append(found)
    return labels


def _box(x: float, y: float, place: Label, name: str) -> Box:
    long = LETTER * len(name)
    left = x + place.dx - {"left": 0.0, "right": long, "center": long / 2}[place.align]
    middle = y + place.dy
    return left, middle - HEIGHT / 2, left + long, middle + HEIGHT / 2


def _apart(box: Box, x: float, y: float) -> float:
    """Points between a box and a point."""
    left, top, right, bottom = box
    return math.hypot(max(left - x, 0.0, x - right), max(top - y, 0.0, y - bottom))


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
