"""Where the names of points go, so that they cover neither each other nor the points: greedy, and none where none fits.

Not here: what the names are. Text is measured by classes of letters, since only the browser knows the font.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FONT, HEIGHT = 8.5, 10.0
"""Points of the letters of names, and of a line of them."""
NARROW, WIDE = " fijlrtI.,:;'|!/()[]-", "mwMW%@"


@dataclass(frozen=True)
class Label:
    """A name beside its point."""

    dx: float
    dy: float
    align: Literal["left", "right", "center"]
    led: bool = False
    """Whether it lies so far away that a line leads to it."""


PLACES = (
    Label(7, -7, "left"),
    Label(7, 8, "left"),
    Label(-7, -7, "right"),
    Label(-7, 8, "right"),
    Label(0, -11, "center"),
    Label(0, 12, "center"),
    Label(9, 0, "left"),
    Label(-9, 0, "right"),
)
"""In order of preference."""
FAR = tuple(
    Label(side * far * math.sin(angle), -far * math.cos(angle), "left" if side > 0 else "right", led=True)
    for far in (18, 26, 36)
    for angle in (math.pi / 4, 3 * math.pi / 4, math.pi / 8, 7 * math.pi / 8, math.pi / 2)
    for side in (1, -1)
)
"""Around the point, nearest first, for a name that finds no place beside it."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; y downwards."""
Point = tuple[float, float]


def placed(
    points: Sequence[Point],
    names: Sequence[str],
    width: float,
    height: float,
    radius: float = 5.0,
    most: int = 24,
    bars: Sequence[Box] = (),
    font: float = FONT,
    lead: bool = False,
) -> list[Label | None]:
    """A place for the name of each point (in points of the plotting area, y downwards), or None where it would cover something.

    Of the places beside a point the one is taken that crosses the fewest `bars`; where there is none, and with `lead`, one
    further off. Beyond `most` points nobody reads labels: none gets one.
    """
    labels: list[Label | None] = [None] * len(points)
    if len(points) > most:
        return labels
    dots: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    taken: list[Box] = []
    lines: list[tuple[Point, Point]] = []
    for places in (PLACES, FAR) if lead else (PLACES,):
        for at, (point, name) in enumerate(zip(points, names, strict=True)):
            if labels[at] is not None:
                continue
            others = [other for other in points if other != point]
            fits = []
            for rank, place in enumerate(places):
                box = _box(*point, place, name, font)
                # A name may stand out of the area above and to the right, where nothing is drawn.
                inside = box[0] >= 0 and box[1] >= -HEIGHT and box[2] <= width + 60 and box[3] <= height
                if not inside or any(_overlap(box, other) for other in (*dots, *taken)):
                    continue
                if any(_crosses(line, box) for line in lines) or not _owned(point, place, box, others, taken, radius):
                    continue
                fits.append((sum(_overlap(box, bar) for bar in bars), rank, place, box))
            if fits:
                _, _, found, box = min(fits, key=lambda fit: fit[:2])
                labels[at] = found
                taken.append(box)
                if found.led:
                    lines.append((point, _end(point, box)))
    return labels


def length(text: str, font: float = FONT) -> float:
    """Points that a text takes, by Helvetica's widths in five classes, and a twentieth more: fonts differ."""

    def wide(letter: str) -> float:  # of the font's size
        if letter in NARROW:
            return 0.3
        if letter in WIDE:
            return 0.85
        return 0.7 if letter.isupper() else 0.56 if letter < "\u2e80" else 1.0

    return 1.05 * font * sum(map(wide, text))


def bars(rows: Sequence[Mapping[str, Any]], across: str, upright: str, at: Callable[[float, float], Point]) -> list[Box]:
    """The intervals of two figures as boxes without breadth; `at` says where the figures lie."""
    boxes = []
    for row in rows:
        low, high = row[f"{across}_low"], row[f"{across}_high"]
        if low is not None and high is not None:
            boxes.append((*at(low, row[upright]), *at(high, row[upright])))
        low, high = row[f"{upright}_low"], row[f"{upright}_high"]
        if low is not None and high is not None:
            boxes.append((*at(row[across], high), *at(row[across], low)))
    return boxes


def led(label: Label, name: str, font: float = FONT) -> str | None:
    """The line from a point to its name as an SVG path around the point; None for a name that lies beside it."""
    if not label.led:
        return None
    x, y = _end((0.0, 0.0), _box(0.0, 0.0, label, name, font))
    short = 5.0 / math.hypot(x, y)  # it begins at the mark's edge
    return f"M{short * x:.1f},{short * y:.1f}L{x:.1f},{y:.1f}"


def _owned(point: Point, place: Label, box: Box, others: Iterable[Point], taken: Iterable[Box], radius: float) -> bool:
    """Whether a name is seen to be its point's: no other point is nearer; a line that leads to it meets no point and no name."""
    if not place.led:
        own = _apart(box, *point)
        return not any(_apart(box, *other) < own for other in others)
    line, core = (point, _end(point, box)), radius / 2  # marks may touch; their middles may not be struck through
    met = any(_crosses(line, (x - core, y - core, x + core, y + core)) or _apart(box, x, y) < 2 * radius for x, y in others)
    return not met and not any(_crosses(line, other) for other in taken)


def _end(point: Point, box: Box) -> Point:
    """Where a line to a name ends: at its nearest edge, a little before the letters."""
    left, top, right, bottom = box
    near = 1.0 if left > point[0] else -1.0
    return (left - near if left > point[0] else right - near, min(max(point[1], top), bottom))


def _crosses(line: tuple[Point, Point], box: Box) -> bool:
    """Whether a line passes through a box (Liang and Barsky's clipping)."""
    (x, y), (to_x, to_y) = line
    begin, end = 0.0, 1.0
    for along, room in ((x - to_x, x - box[0]), (to_x - x, box[2] - x), (y - to_y, y - box[1]), (to_y - y, box[3] - y)):
        if along == 0:
            if room < 0:
                return False
        elif along < 0:
            begin = max(begin, room / along)
        else:
            end = min(end, room / along)
    return begin < end


def _box(x: float, y: float, place: Label, name: str, font: float = FONT) -> Box:
    long, high = length(name, font), HEIGHT * font / FONT
    left = x + place.dx - {"left": 0.0, "right": long, "center": long / 2}[place.align]
    middle = y + place.dy
    return left, middle - high / 2, left + long, middle + high / 2


def _apart(box: Box, x: float, y: float) -> float:
    """Points between a box and a point."""
    left, top, right, bottom = box
    return math.hypot(max(left - x, 0.0, x - right), max(top - y, 0.0, y - bottom))


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
