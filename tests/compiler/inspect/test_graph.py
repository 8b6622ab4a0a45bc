"""A plan as a picture: nothing is lost in folding, nothing overlaps, every format says the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compiler.compile import compile_study
from compiler.inspect.graph import CLAIMS, Graph, Key, Unfold, graph
from compiler.plan.dag import Plan
from runtime.cli.main import main
from runtime.present.graph import draw
from tests.conftest import ROOT

SVG = "{http://www.w3.org/2000/svg}"
FULL = ROOT / "specs" / "full_study.yaml"
SMOKE = ROOT / "specs" / "smoke.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_study(FULL)


@pytest.fixture(scope="module")
def complete() -> Plan:
    return compile_study(FULL, "complete")


@pytest.mark.parametrize("unfold", [None, "points", "shadows"])
def test_every_task_is_in_exactly_one_node(plan: Plan, unfold: Unfold | None) -> None:
    drawn = [task for node in graph(plan, (), unfold).nodes.values() for task in node.tasks]
    assert sorted(drawn) == sorted(plan.tasks)


def test_folded_a_real_study_is_a_node_per_arm_and_step(plan: Plan) -> None:
    folded = graph(plan)
    assert len(folded.nodes) < 70 < len(plan.tasks)
    assert [lane.name for lane in folded.lanes] == [*dict.fromkeys(t.trial.arm_name for t in plan.trials), CLAIMS]
    (attack,) = (node for node in folded.nodes.values() if (node.lane, node.stage) == ("coreset", "attack"))
    assert (attack.points, attack.shadows) == (4, 1)


def test_what_feeds_what_survives_folding(plan: Plan) -> None:
    folded = graph(plan)
    home = {task: key for key, node in folded.nodes.items() for task in node.tasks}
    reach = {key: set(_behind(folded, key)) for key in folded.nodes}
    for id, task in plan.tasks.items():
        for _, need in task.needs:
            assert home[id] in reach[home[need]]
    for source, target in folded.edges:  # and no edge says what a longer way says
        assert all(target not in reach[other] for start, other in folded.edges if start == source and other != target)


def _behind(folded: Graph, key: Key) -> Iterator[Key]:
    for source, target in folded.edges:
        if source == key:
            yield target
            yield from _behind(folded, target)


@pytest.mark.parametrize("unfold", [None, "points"])
def test_edges_run_to_the_right_and_no_box_lies_on_another(complete: Plan, unfold: Unfold | None) -> None:
    root = ElementTree.fromstring(draw(graph(complete, (), unfold), "svg"))
    boxes = []
    for node in root.iter(f"{SVG}g"):
        (rect,) = node.findall(f"{SVG}rect")
        x, y = map(float, re.findall(r"[\d.]+", node.attrib["transform"]))
        boxes.append((x, y, x + float(rect.attrib["width"]), y + float(rect.attrib["height"])))
    for one, other in combinations(boxes, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    assert all(x > 0 and y > 0 and right < wide and bottom < high for x, y, right, bottom in boxes)
    edges = [path.attrib["d"] for path in root.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None]
    assert edges
    for way in edges:
        begin, *_, end = map(float, re.findall(r"-?[\d.]+", way))
        assert begin < end


def test_the_picture_is_well_formed_and_says_what_is_done(plan: Plan) -> None:
    done = {task for task in plan.tasks if plan.tasks[task].kind == "train"}
    root = ElementTree.fromstring(draw(graph(plan, done), "svg"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    for arm in (
        "undefended",
        "dp_sgd",
        "image_to_image",
        f"{len(plan.claims)} claims",
        "c1_dp_sgd_unbeaten",
        "4 points × 16 shadows",
    ):
        assert arm in texts
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any("16 tasks, 16 done" in title for title in titles)
    assert any("16 tasks, 0 done" in title for title in titles)


def test_text_of_the_study_cannot_break_the_picture(tmp_path: Path) -> None:
    text = SMOKE.read_text().replace("undefended: {", '"<b>&\\"x": {').replace("Does every", "Does <script> & every")
    (tmp_path / "study.yaml").write_text(text)
    drawn = graph(compile_study(tmp_path / "study.yaml"))
    root = ElementTree.fromstring(draw(drawn, "svg"))
    assert '<b>&"x' in [text.text for text in root.iter(f"{SVG}text")]
    assert "<script" not in draw(drawn, "html")
    assert 'label="<b>&\\"x"' in draw(drawn, "dot")
    assert '["#lt;b#gt;#amp;#quot;x"]' in draw(drawn, "mermaid")


@pytest.mark.parametrize(
    ("ending", "begins"),
    [
        ("svg", "<svg "),
        ("html", "<!DOCTYPE html>"),
        ("dot", 'digraph "smoke"'),
        ("mermaid", "flowchart LR"),
        ("mmd", "flowchart LR"),
    ],
)
def test_the_ending_says_the_format(tmp_path: Path, ending: str, begins: str) -> None:
    target = tmp_path / f"plan.{ending}"
    target.write_text("an older picture")
    assert main(["graph", str(SMOKE), "-o", str(target), "--db", str(tmp_path / "results.duckdb")]) == 0
    assert target.read_text().startswith(begins)


def test_dot_and_mermaid_have_every_node_and_edge(plan: Plan) -> None:
    drawn = graph(plan)
    for text, arrow in ((draw(drawn, "dot"), "->"), (draw(drawn, "mermaid"), "-->")):
        assert len(re.findall(r"^    n\d+ ?\[", text, flags=re.MULTILINE)) == len(drawn.nodes)
        assert len(re.findall(rf"^  n\d+ {arrow} n\d+;?$", text, flags=re.MULTILINE)) == len(drawn.edges)


def test_another_ending_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(SMOKE), "-o", str(tmp_path / "plan.bmp")]) == 2
    assert ".svg, .html, .dot, .mermaid, .mmd" in capsys.readouterr().err
