"""The measurements for a GPU, rehearsed on the CPU: every part gives its rows, and what fails or is absent is a row too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GPU = ROOT / "benchmarks/gpu.py"


def rehearse(folder: Path, *options: str, **environment: str) -> tuple[int, list[list[str]]]:
    """Exit code, and the cells of each row of the table."""
    out = folder / "gpu.md"
    words = [sys.executable, str(GPU), "--device", "cpu", "--out", str(out), *options]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    text = out.read_text(encoding="utf-8")
    assert "a rehearsal" in text, done.stderr
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return done.returncode, [[cell.strip() for cell in row] for row in rows[1:]]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_a_package_that_is_absent_costs_its_lines_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "opacus.py").write_text("raise ModuleNotFoundError('No module named opacus', name='opacus')")
    few = ("--scale", "0.0001", "--budget", "0", "--only", "shadows", "private")
    code, rows = rehearse(tmp_path, *few, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert code == 0, rows
    assert [said for _, what, _, _, _, said in rows if "Opacus" in what] == ["left out: opacus is not installed"]
    measured = [row for row in rows if "Opacus" not in row[1]]
    assert len(measured) == 3 * 4 + 2  # three nets, four ways; DP-SGD in two precisions
    assert all(number(rate) > 0 and number(memory) > 0 for _, _, rate, _, memory, _ in measured)


@pytest.mark.long
def test_the_whole_rehearsal_gives_every_part_and_every_arm(tmp_path: Path) -> None:
    from compiler.compile import compile_study

    code, rows = rehearse(tmp_path, "--scale", "0.001")
    assert code == 0, [row for row in rows if "failed" in row[-1]]
    assert {part for part, *_ in rows} == {"checks", "shadows", "private", "arms", "beside", "hours"}
    assert not [row for row in rows if re.search("DIFFER|MORE|BEYOND|left out|not measured", row[-1])]
    arms = {planned.trial.arm_name for planned in compile_study(ROOT / "specs/full_study.yaml", "cifar10").trials}
    foretold = {what: number(seconds) for part, what, _, seconds, _, _ in rows if part == "hours"}
    assert foretold.keys() == arms | {"latent_full", "the whole profile"}
    whole = foretold.pop("the whole profile")
    assert whole == pytest.approx(sum(foretold.values()) - foretold["latent_full"], rel=0.02)


@pytest.mark.long
def test_a_prediction_is_near_a_run_of_the_same_plan(tmp_path: Path) -> None:
    arms = ("undefended", "random_set", "text_to_image")
    code, rows = rehearse(tmp_path, "--scale", "0.01", "--only", "arms", "hours", "--run", "--arms", *arms)
    assert code == 0, [row for row in rows if "failed" in row[-1]]
    said = rows[-1][-1]
    ratio = re.search(r"tasks: ([\d.]+) × the truth", said)
    assert ratio is not None, said
    assert 0.5 < float(ratio[1]) < 2, said
