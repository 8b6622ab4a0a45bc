"""Draws a graph: SVG and HTML with a layout computed here, without Graphviz; DOT and Mermaid for other tools.

Lanes lie under each other, columns beside each other, nodes of a lane and column in a stack; edges are curves between them.
Colours are those of Paul Tol's bright scheme, which colour-blind readers can tell apart; every node also says what it is.
Not here: what stands in each picture (the templates beside this file).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from compiler.errors import plural
from compiler.inspect.graph import CLAIMS, COLUMNS, Graph, Key, Lane, Node
from compiler.text import escape

COLOURS = {"train": "#4477aa", "synthesize": "#aa3377", "query": "#228833", "attack": "#ee6677", "compare": "#b5a42e"}

NODE_HEIGHT, NODE_GAP, LINE_HEIGHT = 42, 10, 15
"""Sizes in pixels: a node, the gap between two nodes of a stack, the line of a claim in a node."""
COLUMN_GAP = 64
"""Gap between columns, in pixels, for the edges."""
PADDING, TOP, FOOT = 14, 96, 46
MAX_CLAIMS_LISTED = 13
"""Most claims that a node lists by name."""
MAX_NODES_DRAWN = 5_000
"""Most nodes of a picture, since with more browsers are slow; callers of `draw` check it."""
STACK_ORDER = {"synthetic_set": 0, "final_model": 1}
"""Order of query stages in a stack: the one of the released model is in the middle, at its height, and edges of the others pass
above and below."""


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def draw(graph: Graph, form: Literal["svg", "html", "dot", "mermaid"]) -> str:
    """The graph as text in the format `form`; `svg` and `html` with positions that are computed here, `dot` and `mermaid`
    without."""
    environment = Environment(
        loader=PackageLoader("runtime.present.graph", ""),
        autoescape=form in ("svg", "html"),
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"dot": escape.dot, "mermaid": escape.mermaid, "plural": plural}
    words: dict[str, Any] = {"graph": graph, "colours": COLOURS}
    if environment.autoescape:
        words |= _lay_out(graph)
    else:
        words["names"] = {key: f"n{number}" for number, key in enumerate(graph.nodes)}
    return environment.get_template(f"{form}.jinja").render(words)


def _shown(value: Any) -> Any:
    """A value as the templates print it: a float with one decimal, a plain `str` with control characters as escape codes
    (`escape.visible`), others unchanged."""
    if isinstance(value, float):
        return f"{value:.1f}"
    return escape.visible(value) if type(value) is str else value


def _lay_out(graph: Graph) -> dict[str, Any]:
    """Variables of the SVG and HTML templates: size of the picture, boxes, lanes, curves, headings, legend; lengths in pixels."""
    boxes, bands = _place_nodes(graph)
    width = max([640, 2 * PADDING + _length(graph.question, 12), *(box.x + box.width + PADDING + 8 for box in boxes.values())])
    height = FOOT + max([TOP, *(bottom for _, _, bottom in bands), *(box.y + box.height for box in boxes.values())])
    heads = {node.column: boxes[key].x for key, node in graph.nodes.items() if node.column < len(COLUMNS)}
    legend, x = [], width - PADDING
    for kind in reversed(COLOURS):
        x -= _length(kind, 10.5) + 28
        legend.append((kind, x))
    return {
        "width": round(width),
        "height": round(height),
        "padding": PADDING,
        "top": TOP,
        "line_height": LINE_HEIGHT,
        "claims": CLAIMS,
        "names": _names,
        "bands": bands,
        "boxes": [(node, boxes[key]) for key, node in graph.nodes.items()],
        "curves": {edge: _curve(boxes[edge[0]], boxes[edge[1]], graph.nodes[edge[1]].lane == CLAIMS) for edge in graph.edges},
        "heads": [(COLUMNS[column], x) for column, x in heads.items()],
        "legend": legend,
    }


def _place_nodes(graph: Graph) -> tuple[dict[Key, _Box], list[tuple[Lane, float, float]]]:
    """Key → box of each node; and (lane, top, bottom) of each lane but that of claims, whose nodes are at the right, centred over
    the height of all lanes. Lengths in pixels, y downwards."""
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
    bands: list[tuple[Lane, float, float]] = []
    bottom = float(TOP)
    for lane in graph.lanes:
        if lane.name != CLAIMS:
            rows = max([1, *(len(stack) for (name, _), stack in stacks.items() if name == lane.name)])
            bands.append((lane, bottom, bottom + rows * (NODE_HEIGHT + NODE_GAP) - NODE_GAP + 2 * PADDING))
            bottom = bands[-1][2]
    middles = {lane.name: (top + bottom) / 2 for lane, top, bottom in bands}
    boxes: dict[Key, _Box] = {}
    for (name, column), stack in stacks.items():
        heights = [36 + LINE_HEIGHT * len(_names(node)) if _names(node) else NODE_HEIGHT for node in stack]
        high = sum(heights) + NODE_GAP * (len(stack) - 1)
        y = max(TOP, middles.get(name, (TOP + bottom) / 2) - high / 2)
        for node, height in zip(stack, heights, strict=True):
            boxes[node.key] = _Box(xs[column], y, widths[column], height)
            y += height + NODE_GAP
    return boxes, bands


def _curve(start: _Box, end: _Box, to_claims: bool) -> str:
    """The SVG path of an edge: a curve in the gap after the source, then a straight line at the middle of the target. To claims it
    is a curve all the way, which ends at the source's height where the box reaches so far."""
    x1, y1, x2, y2 = start.x + start.width, start.y + start.height / 2, end.x, end.y + end.height / 2
    bend = min(x2 - x1, COLUMN_GAP)
    if to_claims:
        y2, bend = min(max(y1, end.y + 12), end.y + end.height - 12), x2 - x1
    return f"M{x1:.1f} {y1:.1f} C{x1 + 0.6 * bend:.1f} {y1:.1f} {x1 + 0.4 * bend:.1f} {y2:.1f} {x1 + bend:.1f} {y2:.1f} H{x2:.1f}"


def _length(text: str, size: float) -> float:
    """Estimated width of a text in pixels, without a font to measure it."""
    return len(text) * size * 0.58


def _names(node: Node) -> list[str]:
    """Names of the claims that a node lists, at most `MAX_CLAIMS_LISTED` and then how many more; none unless it has several."""
    more = len(node.members) - MAX_CLAIMS_LISTED
    listed = [*node.members[:MAX_CLAIMS_LISTED], *([f"and {more} more"] if more > 0 else [])]
    return listed if node.members[1:] else []
