"""A method is two new files: its words, and the module that computes it. No existing file names it.

The files are added to a copy of the tree, in which everything else is as it is here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY

ADDED = {
    "compiler/language/methods/first_images.py": '''
"""Words of a further way of choosing."""

from typing import ClassVar, Literal

from compiler.language.methods.coreset import Selection


class FirstImages(Selection):
    """The first images of each class, as they lie."""

    compute: ClassVar[str] = "first"

    method: Literal["first"]
''',
    "runtime/synthesize/coreset/first.py": '''
"""The first images of each class."""

from runtime.synthesize.coreset.selection import chosen


def synthesize(how, private, needs, setting):
    return chosen(how, private, setting, lambda rows, keep: rows[:keep])
''',
    "compiler/language/methods/blurring.py": '''
"""Paradigm `blurring`: release what is left of private images when little can be seen."""

from typing import ClassVar, Literal

from pydantic import Field

from compiler.language.base import Method
from compiler.language.cost import Cost, Sizes


class BoxBlur(Method):
    """Means of square boxes around each pixel."""

    compute: ClassVar[str] = "box"

    paradigm: Literal["blurring"]
    method: Literal["box"]
    side: int = Field(default=3, gt=0)
    """Pixels."""

    @property
    def from_private_images(self) -> bool:
        return True

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(1e-6 * sizes.images)
''',
    "runtime/synthesize/blurring/box.py": '''
"""Box blur of every private image."""

import torch

from runtime.synthesize.release import Release


def synthesize(how, private, needs, setting):
    grey = torch.nn.functional.avg_pool2d(private.images.float() / 255, how.side, stride=1, padding=how.side // 2)
    return Release(grey, private.labels, origins=torch.arange(len(private)))
''',
}

STUDY = (
    TINY.split("arms:")[0].replace("allow: {", "allow: {L04: a test of additions, ")
    + """\
arms:
  undefended: {paradigm: undefended}
  chosen: {paradigm: coreset, method: {grid: [random, first]}, fraction: 0.3}
  blurred: {paradigm: blurring, method: box, side: {grid: [1, 3]}, released: true}
"""
)

COMPUTE = """
import sys
from pathlib import Path
from compiler.compile import compile_study
from runtime.execution.worker import TaskRequest, compute
from runtime.operations import OPERATIONS
import runtime
assert Path(runtime.__file__).is_relative_to(sys.argv[1]), runtime.__file__
plan = compile_study(Path(sys.argv[2]))
for trial in plan.trials:
    for stage in trial.stages:
        task = plan.tasks[stage.task]
        if stage.shadow == 0:
            order = TaskRequest(task.id, task.work, task.needs, task.address, task.text, 1)
            (outcome,) = compute([order], Path(sys.argv[1], "store"), operations=OPERATIONS)
            assert outcome.status == "done", outcome.error
            print(task.operation, task.address, sep=" | ")
"""

DRAW = """
import json
from runtime.present.charts import look
from runtime.present.paradigms import paradigms_of, printed_name
rows = [{"paradigm": "blurring"}, {"paradigm": "diffusion"}, {"paradigm": "undefended"}]
print(json.dumps([[printed_name(name), look.color_of(name)] for name in paradigms_of(rows)]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with the added files, and a study that names what they add."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("compiler", "runtime"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in ADDED.items():
        path = root / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (root / "study.yaml").write_text(STUDY)
    return root


def python(tree: Path, *words: str) -> str:
    """Runs Python with these arguments in a new process, which imports the copy of the source in `tree`; returns what it prints."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_added_is_planned_with_a_cost(tree: Path) -> None:
    out = json.loads(python(tree, "-m", "runtime.cli", "plan", "study.yaml", "--json"))
    assert set(out["tasks"]["by_arm"]) == {"undefended", "chosen", "blurred"}
    assert out["tasks"]["by_arm"]["blurred"]["core_seconds"] > 0
    tasks = json.loads(python(tree, "-m", "runtime.cli", "plan", "study.yaml", "--emit", "tasks"))
    assert {"Synthesize first", "Synthesize box"} <= {task["operation"] for task in tasks}


def test_a_shadow_of_what_is_added_runs(tree: Path) -> None:
    out = python(tree, "-c", COMPUTE, str(tree), "study.yaml")
    done = {line.split(" | ")[0] for line in out.splitlines()}
    assert {"Synthesize first", "Synthesize box", "TrainClassifier"} <= done


def test_mistakes_in_what_is_added_are_met_like_others(tree: Path) -> None:
    (tree / "wrong.yaml").write_text(STUDY.replace("[random, first]", "[random, frist]").replace("side:", "sid:"))
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "runtime.cli", "check", "wrong.yaml"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert "no method is called 'frist'; did you mean 'first'?" in done.stderr
    assert "no field is called 'sid'; did you mean 'side'?" in done.stderr


def test_a_new_paradigm_has_a_name_and_a_colour_and_comes_last(tree: Path) -> None:
    names = json.loads(python(tree, "-c", DRAW))
    assert [name for name, _ in names] == ["Undefended", "Diffusion", "Blurring"]
    assert len({color for _, color in names}) == 3
