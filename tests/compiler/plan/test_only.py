"""`--only`: a part of a study, chosen by the words of claims; the rest waits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.plan.dag import Plan
from compiler.plan.select import select
from runtime.cli.main import main
from tests.conftest import ROOT, TINY, Done


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_study(ROOT / "tests/studies/claims.yaml")


def trials(plan: Plan, *only: str) -> list[str]:
    answers = select(plan, only).answers
    return [planned.trial.address for planned in plan.trials if planned.answer in answers]


def test_without_it_everything_is_asked_for(plan: Plan) -> None:
    assert select(plan, ()).answers == plan.answers


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (("arm=small",), ["small#0"]),
        (("arm=large", "method=random"), ["large[method=random]#0"]),
        (("arm=large,method=random",), ["large[method=random]#0"]),
        (("arm=small", "arm=undefended"), ["undefended#0", "small#0"]),
        (("arm=[small, undefended]",), ["undefended#0", "small#0"]),
        (("fraction=0.1",), ["small#0"]),
        (("paradigm=coreset,fraction=[0.1,0.5],method=random",), ["small#0", "large[method=random]#0"]),
        (("replicate=0",), ["undefended#0", "small#0", "large[method=random]#0", "large[method=forgetting]#0"]),
    ],
)
def test_words_are_joined_and_a_word_said_twice_may_have_either_value(plan: Plan, only: tuple[str, ...], chosen: list[str]) -> None:
    assert trials(plan, *only) == chosen


@pytest.mark.parametrize(
    ("only", "complaint"),
    [
        (("am=small",), "--only am=small: no trial can be chosen by 'am'; did you mean 'arm'?"),
        (("arm=smal",), "--only arm=smal: no trial has arm 'smal'; did you mean 'small'?"),
        (("arm=small", "method=forgetting"), "--only arm=small --only method=forgetting: no trial has all of these"),
        (("fraction='0.1'",), "no trial has fraction '0.1'"),
        (("small",), "--only small: not a word and a value; such as --only arm=coreset"),
        (("canaries=clean",), "canaries says what is read of a trial, not which trial it is"),
        (("arm={a: 1}",), "arm has a mapping"),
        (("arm=[",), "not YAML"),
    ],
)
def test_what_chooses_nothing_is_said_with_what_would(plan: Plan, only: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(SpecError) as raised:
        select(plan, only)
    assert complaint in str(raised.value)


def test_claims_wait_until_all_of_their_trials_are_asked_for(plan: Plan) -> None:
    assert select(plan, ("arm=large",)).waiting == ("size_matters",)
    assert select(plan, ("arm=[large, small]",)).waiting == ()
    assert select(plan, ("arm=small",)).waiting == ("size_matters", "worst_case")


def test_a_part_is_run_and_the_rest_waits(tiny: Done, tmp_path: Path) -> None:
    shutil.copytree(tiny.store, tmp_path / ".synthc")
    (tmp_path / "study.yaml").write_text(TINY)
    done = Done(tmp_path, tmp_path / "study.yaml")
    answers = {planned.trial.arm_name: planned.answer for planned in compile_study(done.spec).trials}
    outcomes = {arm: done.store / answer[:2] / answer / "outcome.json" for arm, answer in answers.items()}
    for outcome in outcomes.values():
        outcome.unlink()
    assert main(["run", str(done.spec), "--engine", "inline", "--db", str(done.db), "--only", "arm=undefended"]) == 0
    assert {arm: outcome.exists() for arm, outcome in outcomes.items()} == {"undefended": True, "coreset": False}
    shown = done.rows("SELECT trial, test_accuracy IS NOT NULL FROM comparison ORDER BY ALL")
    assert shown == [("coreset[method=forgetting]#0", False), ("coreset[method=random]#0", True), ("undefended#0", True)]
