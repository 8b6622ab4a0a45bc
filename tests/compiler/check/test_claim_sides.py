"""What the trials of a claim must agree in, since the claim has it once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.errors import SpecError
from tests.conftest import TINY

OTHER = TINY.replace("{paradigm: undefended}", "{paradigm: undefended, audit: {CHANGE}}")
BOTH = "claims: {c: {text: t, test: difference, MORE left: {paradigm: coreset}, right: {arm: undefended}}}\n"
LEFT = "claims: {c: {text: t, test: difference, MORE left: {arm: [coreset, undefended]}}}\n"


def complaints(folder: Path, change: str, claim: str, more: str = "") -> str:
    """What is said of a claim on TINY where the audit of its undefended arm has this change; empty if nothing is."""
    spec = folder / "study.yaml"
    spec.write_text(OTHER.replace("CHANGE", change) + claim.replace("MORE", more))
    try:
        compile_study(spec)
    except SpecError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("claim", "side"), [(BOTH, "right"), (LEFT, "left")])
def test_a_claim_on_leakage_is_of_trials_with_one_headline_fpr(tmp_path: Path, claim: str, side: str) -> None:
    said = complaints(tmp_path, "headline: {fpr: 0.001}, shadows: 200", claim)
    assert re.search(
        r"has the headline FPR (0.1|0.001), \S+ (0.1|0.001), and a claim has one; compare `metric: tpr@fpr=0.01`", said
    )
    assert said.count("\n") == 0
    line = (tmp_path / "study.yaml").read_text().splitlines()[-1]
    assert f":{line.index(f'{side}: ') + len(side) + 3}: " in said


def test_a_claim_on_a_rate_or_an_accuracy_may_be_of_trials_with_other_headlines(tmp_path: Path) -> None:
    change = "headline: {fpr: 0.001}, shadows: 200"
    assert complaints(tmp_path, change, BOTH, "metric: tpr@fpr=0.1,") == ""
    assert complaints(tmp_path, "headline: {attack: threshold, variant: null}", LEFT, "metric: test_accuracy,") == ""


def test_a_claim_is_of_trials_with_one_confidence(tmp_path: Path) -> None:
    said = complaints(tmp_path, "confidence: 0.9", BOTH, "metric: test_accuracy,")
    assert "has the confidence 0.95, undefended#0 0.9, and a claim has one; use one for all of its trials" in said


def test_a_side_of_a_claim_reads_one_attack_on_one_group(tmp_path: Path) -> None:
    change = "headline: {attack: threshold, variant: null}"
    assert "the attack read of undefended#0 is threshold, of coreset[method=random]#0 lira" in complaints(tmp_path, change, LEFT)
    assert complaints(tmp_path, change, BOTH) == ""  # each side has its own
    said = complaints(tmp_path, "headline: {canaries: clean}", LEFT)
    assert "the canaries read of undefended#0 is clean, of coreset[method=random]#0 mislabeled; name the canaries" in said
    assert complaints(tmp_path, "headline: {canaries: clean}", LEFT.replace("left: {", "left: {canaries: clean, ")) == ""


def test_a_rate_or_an_attack_must_be_in_the_audit_of_every_trial_of_the_claim(tmp_path: Path) -> None:
    assert "the FPR 0.001 is not read; `audit.fpr` has: 0.1" in complaints(tmp_path, "fpr: [0.1]", BOTH, "metric: tpr@fpr=0.001,")
    attack = "attacks: [{attack: lira, signal: logit, variant: pooled, queries: 1}]"
    claim = LEFT.replace("difference", "correlation")
    said = complaints(tmp_path, attack, claim, "metric: lira, against: threshold,")
    assert "no attack of the audit is called 'threshold'" in said


def test_a_claim_without_a_right_side_is_about_its_left_trials_alone(tmp_path: Path) -> None:
    claim = "claims: {c: {text: t, test: difference, metric: canary_share_selected, left: {paradigm: coreset}}}\n"
    assert complaints(tmp_path, "", claim) == ""
