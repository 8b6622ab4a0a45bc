"""`policy:` of a study: held against each trial when a run ends, with exit code 3 where it is closed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.language.policy import Condition, Share
from runtime.cli.main import main
from runtime.judge.policy import evaluate
from runtime.outcome import Metric
from tests.conftest import TINY

FIGURES = {"auc": Metric("auc", 0.5, 0.4, 0.6, 10), "leakage": Metric("leakage", None, note="not resolvable")}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition(metric="auc", end="high", at_most=0.6), True),
        (Condition(metric="auc", end="high", at_most=0.59), False),
        (Condition(metric="auc", at_least=Share(share=1.0, of="auc")), True),
        (Condition(metric="leakage", end="high", at_most=1), False),
        (Condition(metric="p_value", at_least=0), False),
        (Condition(metric="auc", at_least=Share(share=0.1, of="leakage")), False),
    ],
)
def test_a_condition_that_cannot_be_read_closes_the_policy(condition: Condition, holds: bool) -> None:
    (one,) = evaluate([condition], FIGURES)
    assert one.holds is holds
    assert bool(one.reason) == (one.value is None or one.limit is None)
    assert one.sentence.startswith("open" if holds else "closed")


def test_a_misspelt_condition_of_a_study_is_placed(tmp_path: Path) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(TINY + "policy:\n  - {metric: leakge, end: high, at_most: 0.02}\n")
    with pytest.raises(SpecError, match=r"study.yaml:\d+:14: nothing measures 'leakge'; did you mean 'leakage'"):
        compile_study(spec)


def test_a_run_whose_policy_is_closed_exits_with_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "study.yaml"
    small = TINY.split("  coreset:")[0].replace("null_permutations: 20", "null_permutations: 100")
    run = ["run", str(spec), "--engine", "inline", "--db", str(tmp_path / "results.duckdb")]
    spec.write_text(small + "policy:\n  - {metric: auc, end: high, at_most: 1}\n")
    assert main(run) == 0
    assert "the policy is open" in capsys.readouterr().err
    spec.write_text(small + "policy:\n  - {metric: test_accuracy, at_least: 1}\n  - {metric: copied_members, at_most: 0}\n")
    assert main(run) == 3
    said = capsys.readouterr().err
    assert "closed: undefended#0: copied_members at most 0: cannot be read" in said
    kept = json.loads(sorted((tmp_path / ".synthc/runs").glob("*/policy.json"))[-1].read_text())
    assert kept["open"] is False
    assert len(kept["policy_digest"]) == 16
