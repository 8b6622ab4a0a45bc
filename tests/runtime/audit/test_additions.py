"""A new attack is two new files: its words and its module, in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, TINY

WORDS = '''"""A confidence."""

from typing import ClassVar, Literal

from pydantic import Field

from compiler.language.attacks.base import Tried


class Margin(Tried):
    """The plain confidence, raised to a power."""

    compute: ClassVar[str] = "margin"

    attack: Literal["margin"]
    power: float = Field(default=1.0, gt=0)
    queries: int = 1
'''
COMPUTES = '''"""A confidence."""

from runtime.audit.attacks import signals


def scorer(how, answers, paired):
    if answers.logits is None:
        return None
    scores = signals.confidence(answers.logits[:, 0], answers.labels) ** how.power
    return lambda member: scores
'''


def test_an_attack_is_added_by_two_files_and_then_checked_planned_and_run(tmp_path: Path) -> None:
    for folder in ("compiler", "runtime"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "compiler/language/attacks/margin.py").write_text(WORDS)
    (tmp_path / "runtime/audit/attacks/margin.py").write_text(COMPUTES)
    study = (
        TINY.split("  coreset:")[0]
        .replace("epochs: 3", "epochs: 1")
        .replace("  fpr:", "    - {attack: margin, power: 2.0}\n  fpr:")
    )
    (tmp_path / "study.yaml").write_text(study)
    (tmp_path / "wrong.yaml").write_text(study.replace("attack: margin", "attack: margni"))

    def synthc(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        call = [sys.executable, "-m", "runtime.cli", *command]
        return subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "wrong.yaml:14:16: no attack is called 'margni'; did you mean 'margin'?" in synthc("check", "wrong.yaml").stderr
    ran = synthc("run", "study.yaml", "--engine", "inline", "--db", "r.duckdb")
    assert ran.returncode == 0, ran.stderr
    figures = "FROM result WHERE attack = 'margin' AND metric IN ('auc', 'null_auc') ORDER BY ALL"
    said = synthc("sql", f"SELECT DISTINCT attack, variant, metric {figures}", "--db", "r.duckdb", "--format", "csv").stdout
    assert said.split() == ["attack,variant,metric", "margin,1q/power=2.0,auc", "margin,1q/power=2.0,null_auc"]
