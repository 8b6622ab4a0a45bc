"""docs/tutorial.md, run block by block as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```(python|sh|yaml)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_tutorial_goes_from_a_folder_of_images_to_a_verdict_in_three_minutes(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    began, said = sum(os.times()[:4]), []
    for kind, name, text in BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8")):
        if kind == "yaml":
            (tmp_path / name).write_text(text)
            continue
        command, _, comment = text.strip().partition("  # exit code ")
        words = ["-c", text] if kind == "python" else ["-m", "runtime.cli", *shlex.split(command)[1:]]
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == int(comment or 0), f"{text}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    assert sum(os.times()[:4]) - began < 180
    assert any(text.startswith("The policy is open") for text in said)
    assert any(re.match(r"The policy is closed: \d+ of \d+ members are copied", text) for text in said)
    assert (tmp_path / "verdict.html").exists()
