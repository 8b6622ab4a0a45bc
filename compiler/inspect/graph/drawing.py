"""A graph as a picture: SVG and HTML laid out here, without Graphviz; DOT and Mermaid for those who have other tools.

Lanes lie under each other, columns beside each other, nodes of a lane and column in a stack; edges are curves between them.
Colours are those of Paul Tol's bright scheme, which colour-blind readers can tell apart; every node also says what it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from compiler.inspect.graph.graph import CLAIMS, COLUMNS, Graph, Key, Node

COLOURS = {"train": "#4477aa", "synthesize": "#aa3377", "query": "#228833", "attack": "#ee6677", "compare": "#b5a42e"}
INK, FAINT, LINE, BAND = "#22262b", "#667079", "#a9b3bc", "#f5f7f9"
FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"

HIGH, GAP = 42, 10
"""Of a node, and between two of a stack."""
BETWEEN = 64
"""From one column to the next: room for the curves."""
PADDING, TOP = 14, 96
WIDEST = 13
"""Claims that are listed by name in one node."""

ORDER = {"synthetic_set": 0, "final_model": 1}
"""Of stages in a stack."""
MOST_DRAWN = 5_000
"""Nodes beyond which no browser is quick with the picture."""

STYLE = """
.node rect.box { fill: #ffffff; stroke: #cbd3da; }
.node:hover rect.box { stroke: #22262b; stroke-width: 1.5; }
.edge { fill: none; stroke: #b4bdc6; stroke-width: 1.3; }
.edge.shared { stroke: #7b8794; stroke-dasharray: 5 3; }
"""


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    wide: float
    high: float


def svg(graph: Graph) -> str:
    """The graph as an SVG text."""
    boxes, bands, wide, high = lay_out(graph)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}" '
        f'font-family="{FONT}" role="img" aria-label="plan of {escape(graph.study)}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{wide:.0f}" height="{high:.0f}" fill="#ffffff"/>',
        _text(PADDING, 28, graph.study, 17, weight=600),
        _text(PADDING, 48, graph.question, 12, FAINT),
        *_headings(graph, boxes),
        *_bands(graph, bands, wide),
    ]
    # A study shares by first use: an edge out of its lane is work that was done for another arm.
    for (source, target), count in sorted(graph.edges.items()):
        parts.append(_edge(graph.nodes[source], graph.nodes[target], boxes[source], boxes[target], count))
    parts += [_drawn(node, boxes[key]) for key, node in graph.nodes.items()]
    return "\n".join([*parts, *_legend(wide), "</svg>"]) + "\n"


def html(graph: Graph) -> str:
    """A page that holds the picture, for wide screens and for reading out; no script, nothing from elsewhere."""
    title = f"plan of {escape(graph.study)}"
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    look = "<style>body { margin: 0; overflow: auto; } svg { display: block; }</style></head>"
    return f"{head}{look}<body>\n{svg(graph)}</body></html>\n"


def dot(graph: Graph) -> str:
    """The graph for Graphviz: lanes are clusters."""
    name = {key: f"n{place}" for place, key in enumerate(graph.nodes)}
    look = "  rankdir=LR; node [shape=box, style=rounded, fontname=Helvetica, fontsize=11];"
    lines = [f"digraph {_quoted(graph.study)} {{", look]
    for place, lane in enumerate(graph.lanes):
        lines.append(f"  subgraph cluster_{place} {{ label={_quoted(lane.name)}; color=gray85;")
        for key, node in graph.nodes.items():
            if node.lane == lane.name:
                label = "\\n".join(filter(None, (node.title, node.about, _progress(node))))
                lines.append(f"    {name[key]} [label={_quoted(label)}, color={_quoted(COLOURS[node.kind])}];")
        lines.append("  }")
    lines += [f"  {name[source]} -> {name[target]};" for source, target in sorted(graph.edges)]
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart, which GitHub and GitLab draw in Markdown."""
    name = {key: f"n{place}" for place, key in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for place, lane in enumerate(graph.lanes):
        lines.append(f"  subgraph lane{place}[{_worded(lane.name)}]")
        for key, node in graph.nodes.items():
            if node.lane == lane.name:
                label = "<br>".join(filter(None, (node.title, node.about, _progress(node))))
                lines.append(f"    {name[key]}[{_worded(label)}]:::{node.kind}")
        lines.append("  end")
    lines += [f"  {name[source]} --> {name[target]}" for source, target in sorted(graph.edges)]
    lines += [f"  classDef {kind} fill:#fff,stroke:{colour},stroke-width:2px;" for kind, colour in COLOURS.items()]
    return "\n".join(lines) + "\n"


def lay_out(graph: Graph) -> tuple[dict[Key, Box], dict[str, tuple[float, float]], float, float]:
    """Where each node lies, from where to where each lane reaches, and the size of it all."""
    columns = sorted({node.column for node in graph.nodes.values()}, reverse=True)
    widths = {column: max(_wide(node) for node in graph.nodes.values() if node.column == column) for column in columns}
    left = PADDING + max([90.0, *(max(_length(lane.name, 13, True), _length(lane.about, 10)) for lane in graph.lanes)]) + 26
    xs: dict[int, float] = {}
    for column in columns:
        xs[column] = left
        left += widths[column] + BETWEEN
    wide = left - BETWEEN + PADDING + 8
    stacks: dict[tuple[str, int], list[Node]] = defaultdict(list)
    # What asks the released model in the middle, on a level with it: the others' edges pass above and below.
    for node in sorted(graph.nodes.values(), key=lambda node: ORDER.get(node.stage, len(ORDER))):
        stacks[node.lane, node.column].append(node)
    boxes: dict[Key, Box] = {}
    bands: dict[str, tuple[float, float]] = {}
    y = float(TOP)
    for lane in graph.lanes:
        if lane.name == CLAIMS:
            continue
        rows = max([1, *(len(stack) for (name, _), stack in stacks.items() if name == lane.name)])
        high = rows * (HIGH + GAP) - GAP + 2 * PADDING
        for column in columns:
            stack = stacks[lane.name, column]
            top = y + (high - len(stack) * (HIGH + GAP) + GAP) / 2
            for place, node in enumerate(stack):
                boxes[node.key] = Box(xs[column], top + place * (HIGH + GAP), widths[column], HIGH)
        bands[lane.name] = (y, y + high)
        y += high
    compared = [node for node in graph.nodes.values() if node.lane == CLAIMS]
    total = sum(_high(node) + GAP for node in compared) - GAP
    top = max(float(TOP), TOP + (y - TOP - total) / 2)
    for node in compared:
        boxes[node.key] = Box(xs[node.column], top, widths[node.column], _high(node))
        top += _high(node) + GAP
    return boxes, bands, max(wide, PADDING * 2 + _length(graph.question, 12), 640), max(y, top) + 46


def _headings(graph: Graph, boxes: dict[Key, Box]) -> Iterator[str]:
    for column in sorted({node.column for node in graph.nodes.values()}):
        box = next(boxes[key] for key, node in graph.nodes.items() if node.column == column)
        if column < len(COLUMNS):
            yield _text(box.x, TOP - 12, COLUMNS[column], 11, FAINT)


def _bands(graph: Graph, bands: dict[str, tuple[float, float]], wide: float) -> Iterator[str]:
    for place, lane in enumerate(graph.lanes):
        if lane.name not in bands:
            continue
        top, bottom = bands[lane.name]
        if place % 2 == 0:
            yield f'<rect x="0" y="{top:.1f}" width="{wide:.1f}" height="{bottom - top:.1f}" fill="{BAND}"/>'
        middle = (top + bottom) / 2
        yield _text(PADDING, middle - 1 if lane.about else middle + 4, lane.name, 13, weight=600)
        if lane.about:
            yield _text(PADDING, middle + 14, lane.about, 10, FAINT)


def _drawn(node: Node, box: Box) -> str:
    colour, share = COLOURS[node.kind], node.done / len(node.tasks)
    tip = f"{node.lane}: {node.title}\n{node.operation}\n{len(node.tasks):,} tasks, {node.done:,} done"
    parts = [
        f'<g class="node"><title>{escape(tip)}</title>',
        f'<rect class="box" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.wide:.1f}" height="{box.high:.1f}" rx="7"/>',
        f'<path d="M{box.x + 7:.1f} {box.y:.1f} h-1 a6 6 0 0 0 -6 6 v{box.high - 12:.1f} a6 6 0 0 0 6 6 h1 z" fill="{colour}"/>',
        _text(box.x + 16, box.y + (18 if node.about or node.members[1:] else 26), node.title, 12.5, weight=600),
    ]
    if node.members[1:]:
        for place, name in enumerate(_names(node)):
            parts.append(_text(box.x + 16, box.y + 35 + 15 * place, name, 10.5, FAINT))
    elif node.about:
        parts.append(_text(box.x + 16, box.y + 33, node.about, 10.5, FAINT))
    if share == 1:
        tick = f"M{box.x + box.wide - 18:.1f} {box.y + 12:.1f} l3.5 3.5 l6 -7"
        parts.append(f'<path d="{tick}" fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"/>')
    elif share:
        # What is done, as a bar along the foot of the box.
        y = box.y + box.high - 1.5
        parts.append(f'<path d="M{box.x + 8:.1f} {y:.1f} h{(box.wide - 16) * share:.1f}" stroke="{colour}" stroke-width="3"/>')
    return "".join([*parts, "</g>"])


def _edge(source: Node, target: Node, start: Box, end: Box, count: int) -> str:
    x1, y1, x2, y2 = start.x + start.wide, start.y + start.high / 2, end.x, end.y + end.high / 2
    if target.lane == CLAIMS:
        y2 = min(max(y1, end.y + 12), end.y + end.high - 12)
    shared = source.lane != target.lane and target.lane != CLAIMS
    # The curve lies in the gap behind the source; the rest is straight, at the target's height, between the nodes of a stack.
    bend = min(x2 - x1, BETWEEN) if target.lane != CLAIMS else x2 - x1
    way = f"M{x1:.1f} {y1:.1f} C{x1 + 0.6 * bend:.1f} {y1:.1f} {x1 + 0.4 * bend:.1f} {y2:.1f} {x1 + bend:.1f} {y2:.1f} H{x2:.1f}"
    tip = f"{count:,} × {source.lane} {source.title} → {target.lane} {target.title}"
    return f'<path class="edge{" shared" if shared else ""}" d="{way}"><title>{escape(tip)}</title></path>'


def _legend(wide: float) -> Iterator[str]:
    x = wide - PADDING
    for kind, colour in reversed(COLOURS.items()):
        x -= _length(kind, 10.5) + 28
        yield f'<rect x="{x:.1f}" y="20" width="10" height="10" rx="3" fill="{colour}"/>'
        yield _text(x + 15, 29, kind, 10.5, FAINT)
    x = wide - PADDING - 250
    yield f'<path class="edge shared" d="M{x:.1f} 47 h26"/>'
    yield _text(x + 33, 51, "computed once, for several arms", 10.5, FAINT)


def _text(x: float, y: float, text: str, size: float, colour: str = INK, weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'


def _length(text: str, size: float, bold: bool = False) -> float:
    """About how wide a text is: no font is at hand to measure it by."""
    return len(text) * size * (0.6 if bold else 0.55)


def _wide(node: Node) -> float:
    lines = [_length(node.title, 12.5, True) + 22, _length(node.about, 10.5), *(_length(name, 10.5) for name in _names(node))]
    return max(92.0, max(lines) + 32)


def _high(node: Node) -> float:
    return HIGH if not node.members[1:] else 30 + 15 * len(_names(node)) + 6


def _names(node: Node) -> list[str]:
    if not node.members[1:]:
        return []
    more = len(node.members) - WIDEST
    return [*node.members[:WIDEST], *([f"and {more} more"] if more > 0 else [])]


def _progress(node: Node) -> str:
    return f"{len(node.tasks)} tasks" if not node.done else f"{node.done} of {len(node.tasks)} done"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\\\\n", "\\n") + '"'


def _worded(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
