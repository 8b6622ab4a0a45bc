"""A graph as a picture: SVG and HTML laid out here, without Graphviz; DOT and Mermaid for those who have other tools.

Lanes lie under each other, columns beside each other, nodes of a lane and column in a stack; edges are curves between them.
Colours are those of Paul Tol's bright scheme, which colour-blind readers can tell apart; every node also says what it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compiler.errors import plural
from compiler.inspect.graph.graph import CLAIMS, COLUMNS, Graph, Key, Node
from compiler.text import escape

COLOURS = {"train": "#4477aa", "synthesize": "#aa3377", "query": "#228833", "attack": "#ee6677", "compare": "#b5a42e"}

NODE_HEIGHT, NODE_GAP, LINE_HEIGHT = 42, 10, 15
"""Pixels, as all below: of a node, between two of a stack, and of a claim listed in a node."""
COLUMN_GAP = 64
"""From one column to the next: room for the curves."""
PADDING, TOP, FOOT = 14, 96, 46
MAX_CLAIMS_LISTED = 13
"""By name, in one node."""
MAX_NODES_DRAWN = 5_000
"""Beyond, no browser is quick with the picture."""
STACK_ORDER = {"synthetic_set": 0, "final_model": 1}
"""Of stages in a stack: what asks the released model in the middle, on a level with it; the others' edges pass above and below."""

STYLE = """
svg { font-family: Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif; font-size: 10.5px; fill: #22262b; }
.faint { fill: #667079; }
.study { font-size: 17px; font-weight: 600; }
.question { font-size: 12px; fill: #667079; }
.lane { font-size: 13px; font-weight: 600; }
.title { font-size: 12.5px; font-weight: 600; }
.band { fill: #f5f7f9; }
.node rect { fill: #ffffff; stroke: #cbd3da; }
.node:hover rect { stroke: #22262b; stroke-width: 1.5; }
.edge { fill: none; stroke: #b4bdc6; stroke-width: 1.3; }
.edge.shared { stroke: #7b8794; stroke-dasharray: 5 3; }
"""


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def svg(graph: Graph) -> str:
    """The graph as an SVG text."""
    boxes, bands = _lay_out(graph)
    width = max([640, 2 * PADDING + _length(graph.question, 12), *(box.x + box.width + PADDING + 8 for box in boxes.values())])
    height = FOOT + max([TOP, *(bottom for _, bottom in bands.values()), *(box.y + box.height for box in boxes.values())])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="plan of {escape.html(graph.study)}">',
        f'<style>{STYLE}</style>\n<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(PADDING, 28, graph.study, "study"),
        _text(PADDING, 48, graph.question, "question"),
        *_draw_lanes(graph, bands, width),
    ]
    heads = {node.column: boxes[key].x for key, node in graph.nodes.items() if node.column < len(COLUMNS)}
    parts += [_text(x, TOP - 12, COLUMNS[column], "faint") for column, x in heads.items()]
    # A study shares by first use: an edge out of its lane is work that was done for another arm.
    for (source, target), count in sorted(graph.edges.items()):
        parts.append(_draw_edge(graph.nodes[source], graph.nodes[target], boxes[source], boxes[target], count))
    parts += [_draw_node(node, boxes[key]) for key, node in graph.nodes.items()]
    return "\n".join([*parts, *_draw_legend(width), "</svg>"]) + "\n"


def html(graph: Graph) -> str:
    """A page that holds the picture, for wide screens and for reading out; no script, nothing from elsewhere."""
    title = f"plan of {escape.html(graph.study)}"
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    look = "<style>body { margin: 0; overflow: auto; } svg { display: block; }</style></head>"
    return f"{head}{look}<body>\n{svg(graph)}</body></html>\n"


def dot(graph: Graph) -> str:
    """The graph for Graphviz: lanes are clusters."""
    return "\n".join(
        [
            f"digraph {escape.dot(graph.study)} {{",
            "  rankdir=LR; node [shape=box, style=rounded, fontname=Helvetica, fontsize=11];",
            *_list_lanes(
                graph,
                lambda at, name: f"  subgraph cluster_{at} {{ label={escape.dot(name)}; color=gray85;",
                lambda name, label, kind: f"    {name} [label={escape.dot(label)}, color={escape.dot(COLOURS[kind])}];",
                "  }",
            ),
            *(f"  {source} -> {target};" for source, target in _list_edges(graph)),
            "}\n",
        ]
    )


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart, which GitHub and GitLab draw in Markdown."""
    return "\n".join(
        [
            "flowchart LR",
            *_list_lanes(
                graph,
                lambda at, name: f"  subgraph lane{at}[{escape.mermaid(name)}]",
                lambda name, label, kind: f"    {name}[{escape.mermaid(label)}]:::{kind}",
                "  end",
            ),
            *(f"  {source} --> {target}" for source, target in _list_edges(graph)),
            *(f"  classDef {kind} fill:#fff,stroke:{colour},stroke-width:2px;" for kind, colour in COLOURS.items()),
            "",
        ]
    )


def _list_lanes(graph: Graph, begin: Callable[[int, str], str], line: Callable[[str, str, str], str], end: str) -> Iterator[str]:
    """Each lane with its nodes; `line` takes a node's name, label and kind."""
    for at, lane in enumerate(graph.lanes):
        yield begin(at, lane.name)
        for number, node in enumerate(graph.nodes.values()):
            if node.lane == lane.name:
                progress = f"{node.done} of {len(node.tasks)} done" if node.done else plural(len(node.tasks), "task")
                yield line(f"n{number}", "\n".join(filter(None, (node.title, node.about, progress))), node.kind)
        yield end


def _list_edges(graph: Graph) -> list[tuple[str, str]]:
    names = {key: f"n{number}" for number, key in enumerate(graph.nodes)}
    return [(names[source], names[target]) for source, target in sorted(graph.edges)]


def _lay_out(graph: Graph) -> tuple[dict[Key, _Box], dict[str, tuple[float, float]]]:
    """Where each node lies, and from where to where each lane reaches; claims, which are of all lanes, beside them all."""
    widths: dict[int, float] = defaultdict(float)
    stacks: dict[tuple[str, int], list[Node]] = defaultdict(list)
    for node in sorted(graph.nodes.values(), key=lambda node: STACK_ORDER.get(node.stage, len(STACK_ORDER))):
        lines = [_length(node.title, 12.5) + 22, *(_length(line, 10.5) for line in (node.about, *_names(node)))]
        widths[node.column] = max(widths[node.column], 92, max(lines) + 32)
        stacks[node.lane, node.column].append(node)
    left = PADDING + 26 + max([90, *(max(_length(lane.name, 13), _length(lane.about, 10)) for lane in graph.lanes)])
    xs: dict[int, float] = {}
    for column in sorted(widths, reverse=True):
        xs[column] = left
        left += widths[column] + COLUMN_GAP
    bands: dict[str, tuple[float, float]] = {}
    bottom = float(TOP)
    for lane in graph.lanes:
        if lane.name != CLAIMS:
            rows = max([1, *(len(stack) for (name, _), stack in stacks.items() if name == lane.name)])
            bands[lane.name] = bottom, bottom + rows * (NODE_HEIGHT + NODE_GAP) - NODE_GAP + 2 * PADDING
            bottom = bands[lane.name][1]
    boxes: dict[Key, _Box] = {}
    for (name, column), stack in stacks.items():
        high = sum(_height(node) + NODE_GAP for node in stack) - NODE_GAP
        y = max(TOP, (sum(bands.get(name, (TOP, bottom))) - high) / 2)
        for node in stack:
            boxes[node.key] = _Box(xs[column], y, widths[column], _height(node))
            y += _height(node) + NODE_GAP
    return boxes, bands


def _draw_lanes(graph: Graph, bands: dict[str, tuple[float, float]], width: float) -> Iterator[str]:
    for at, lane in enumerate(lane for lane in graph.lanes if lane.name in bands):
        top, bottom = bands[lane.name]
        if at % 2 == 0:
            yield f'<rect class="band" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"/>'
        middle = (top + bottom) / 2
        yield _text(PADDING, middle - 1 if lane.about else middle + 4, lane.name, "lane")
        yield _text(PADDING, middle + 14, lane.about, "faint")


def _draw_node(node: Node, box: _Box) -> str:
    colour, share = COLOURS[node.kind], node.done / len(node.tasks)
    tip = f"{node.lane}: {node.title}\n{node.operation}\n{plural(len(node.tasks), 'task')}, {node.done:,} done"
    lines = _names(node) or [node.about]
    parts = [
        f'<g class="node" transform="translate({box.x:.1f} {box.y:.1f})"><title>{escape.html(tip)}</title>',
        f'<rect width="{box.width:.1f}" height="{box.height:.1f}" rx="7"/>',
        f'<path d="M7 0 h-1 a6 6 0 0 0 -6 6 v{box.height - 12:.1f} a6 6 0 0 0 6 6 h1 z" fill="{colour}"/>',
        _text(16, 18 if any(lines) else 26, node.title, "title"),
        *(_text(16, 34 + LINE_HEIGHT * at, line, "faint") for at, line in enumerate(lines)),
    ]
    if share == 1:
        tick = f"M{box.width - 18:.1f} 12 l3.5 3.5 l6 -7"
        parts.append(f'<path d="{tick}" fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"/>')
    elif share:
        # What is done, as a bar along the foot of the box.
        bar = f"M8 {box.height - 1.5:.1f} h{(box.width - 16) * share:.1f}"
        parts.append(f'<path d="{bar}" stroke="{colour}" stroke-width="3"/>')
    return "".join([*parts, "</g>"])


def _draw_edge(source: Node, target: Node, start: _Box, end: _Box, count: int) -> str:
    x1, y1, x2, y2 = start.x + start.width, start.y + start.height / 2, end.x, end.y + end.height / 2
    # The curve lies in the gap behind the source; the rest is straight, at the target's height, between the nodes of a stack.
    bend = min(x2 - x1, COLUMN_GAP)
    if target.lane == CLAIMS:
        y2, bend = min(max(y1, end.y + 12), end.y + end.height - 12), x2 - x1
    shared = " shared" if source.lane != target.lane != CLAIMS else ""
    way = f"M{x1:.1f} {y1:.1f} C{x1 + 0.6 * bend:.1f} {y1:.1f} {x1 + 0.4 * bend:.1f} {y2:.1f} {x1 + bend:.1f} {y2:.1f} H{x2:.1f}"
    tip = f"{count:,} × {source.lane} {source.title} → {target.lane} {target.title}"
    return f'<path class="edge{shared}" d="{way}"><title>{escape.html(tip)}</title></path>'


def _draw_legend(width: float) -> Iterator[str]:
    x = width - PADDING
    for kind, colour in reversed(COLOURS.items()):
        x -= _length(kind, 10.5) + 28
        yield f'<rect x="{x:.1f}" y="20" width="10" height="10" rx="3" fill="{colour}"/>'
        yield _text(x + 15, 29, kind, "faint")
    x = width - PADDING - 250
    yield f'<path class="edge shared" d="M{x:.1f} 47 h26"/>'
    yield _text(x + 33, 51, "computed once, for several arms", "faint")


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape.html(text)}</text>' if text else ""


def _length(text: str, size: float) -> float:
    """About how wide a text is: no font is at hand to measure it by."""
    return len(text) * size * 0.58


def _height(node: Node) -> float:
    return 36 + LINE_HEIGHT * len(_names(node)) if _names(node) else NODE_HEIGHT


def _names(node: Node) -> list[str]:
    """Claims that the node lists, if it has several."""
    more = len(node.members) - MAX_CLAIMS_LISTED
    listed = [*node.members[:MAX_CLAIMS_LISTED], *([f"and {more} more"] if more > 0 else [])]
    return listed if node.members[1:] else []
