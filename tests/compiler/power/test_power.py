"""What a plan promises of its audit, beside simulations, the runtime's own bounds and pairings, and scipy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.language.audit import CanaryGroup
from compiler.power.claim_power import prospect, smallest_distinct, student_quantile
from compiler.power.epsilon_bounds import count_guesses, delta_of_mu, steinke_ceiling
from compiler.power.outlook import outlook
from compiler.power.resolution import Resolution, resolution
from compiler.work.operations import CompareTrials
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.roc import tpr_at
from runtime.audit.statistics.simultaneous import Evidence, judge_pairs
from tests.conftest import ROOT, TINY


@pytest.mark.parametrize("canaries", [8, 33, 128, 500])
def test_the_ceiling_is_what_the_bound_gives_when_every_guess_is_right(canaries: int) -> None:
    guesses, delta, p = count_guesses(canaries), 1e-5, 0.05
    assert steinke_ceiling(guesses, p) == pytest.approx(epsilon.steinke(guesses, guesses, canaries, 0.0, p), abs=1e-6)
    assert steinke_ceiling(guesses, p) >= epsilon.steinke(guesses, guesses, canaries, delta, p)


def test_the_closed_form_of_gaussian_dp_is_exact_in_the_tails() -> None:
    for mu in (0.05, 0.5, 2.0, 8.0):
        for eps in (0.0, 0.3, 3.0, 20.0):
            exact = stats.norm.cdf(-eps / mu + mu / 2) - np.exp(eps + stats.norm.logcdf(-eps / mu - mu / 2))
            assert delta_of_mu(mu, eps) == pytest.approx(exact, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("leaking", [0.02, 0.3, 1.0])
def test_the_planning_error_is_above_the_spread_of_simulated_readings_and_not_far(leaking: float) -> None:
    rng = np.random.default_rng(3)
    read = resolution("it", CanaryGroup(kind="mislabeled", count=128), 16, 0.01)
    member = np.tile([True, False], 8)[None].repeat(128, 0)
    rates = []
    for _ in range(200):
        strength = np.where(rng.random(128) < leaking, 2.5, 0.0)
        scores = rng.normal(size=(128, 16)) + member * strength[:, None]
        rates.append(tpr_at(0.01, scores.ravel(), member.ravel()).value or 0.0)
    assert np.std(rates) < read.standard_error(float(np.mean(rates))) < 6 * np.std(rates)


def test_the_smallest_difference_that_is_promised_is_found_four_times_in_five() -> None:
    rng, read = np.random.default_rng(5), Resolution("it", 128, 0.01, 1024, 10)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    other = smallest_distinct(read, 0.5, float(z))
    assert other is not None
    errors = read.standard_error(0.5), read.standard_error(other)
    differences = rng.normal(other, errors[1], 4000) - rng.normal(0.5, errors[0], 4000)
    assert (differences > stats.norm.ppf(0.975) * np.hypot(*errors)).mean() == pytest.approx(0.8, abs=0.03)


def test_the_approximate_t_quantile_is_near_the_true_one() -> None:
    for z in (1.96, 2.8, 3.9):
        assert student_quantile(z, 15) == pytest.approx(stats.t.ppf(stats.norm.cdf(z), 15), rel=0.03)


CLAIMS = """\
claims:
  each: {text: x, test: difference, left: {paradigm: coreset}, right: {arm: [undefended, coreset]}}
  itself: {text: x, test: difference, left: {arm: coreset}, right: {arm: coreset, canaries: clean}}
  share: {text: x, test: correlation, metric: lira, against: threshold, left: {arm: [undefended, coreset]}}
"""


def prospects(folder: Path, text: str) -> dict[str, tuple[CompareTrials, object]]:
    spec = folder / "study.yaml"
    spec.write_text(text)
    plan = compile_study(spec)
    trials = {planned.trial.address: planned.trial for planned in plan.trials}
    made = {}
    for claim in plan.claims:
        work = plan.tasks[claim.task].work
        assert isinstance(work, CompareTrials)
        made[claim.name] = (work, prospect(work, *([trials[name] for name in side] for side in (claim.left, claim.right))))
    return made


def test_pairs_are_counted_as_the_test_pairs_them(tmp_path: Path) -> None:
    found = prospects(tmp_path, TINY.replace("resamples: 100", "resamples: 1000") + CLAIMS)
    assert {name: made.pairs for name, (_, made) in found.items()} == {"each": 4, "itself": 2, "share": 3}  # type: ignore[attr-defined]


def test_trials_of_one_attack_task_are_no_pair_in_the_plan_as_they_are_none_in_the_test(tmp_path: Path) -> None:
    study = TINY.replace("resamples: 100", "resamples: 1000") + "  again: {paradigm: undefended}\n"
    found = prospects(tmp_path, study + CLAIMS.replace("left: {paradigm: coreset}", "left: {arm: [again, coreset]}"))
    plan = compile_study(tmp_path / "study.yaml")
    tasks, (each, *_) = {planned.trial.address: planned.answer for planned in plan.trials}, plan.claims
    assert tasks["again#0"] == tasks["undefended#0"]
    apart = sum(tasks[one] != tasks[other] for one in each.left for other in each.right)
    assert found["each"][1].pairs == apart == 6  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match="every trial would be compared with itself"):
        prospects(tmp_path, study + "claims: {c: {text: x, test: difference, left: {arm: undefended}, right: {arm: again}}}\n")


def test_what_no_data_could_decide_is_what_the_most_convincing_resamples_leave_undecided(tmp_path: Path) -> None:
    base = prospects(tmp_path, TINY.replace("resamples: 100", "resamples: 1000") + CLAIMS)["each"][0]
    plan = compile_study(tmp_path / "study.yaml")
    left, right = ([planned.trial for planned in plan.trials if planned.trial.arm_name == arm] for arm in ("coreset", "undefended"))
    for resamples in (20, 38, 39, 200):
        best = Evidence("it", 9.0, np.zeros(resamples))
        decided = judge_pairs([(best, best)] * 2, 1 - 0.95)[0][0] == "supported"
        assert (prospect(replace(base, resamples=resamples), left, right).never == "") == decided, resamples


def test_each_audit_has_its_block_and_a_guarantee_that_cannot_be_contradicted_is_told(tmp_path: Path) -> None:
    text = "\n".join(outlook(compile_study(ROOT / "specs" / "full_study.yaml")))
    assert text.count("what the audit can show") == 1
    assert "1,024               10  resolved" in text
    assert "dp_sgd#0 promises epsilon 8, which no bound of this audit could contradict" in text
    spec = tmp_path / "study.yaml"
    spec.write_text(TINY + "  more: {paradigm: undefended, audit: {shadows: 12}}\n")
    lines = outlook(compile_study(spec))
    assert [line.split(" can show")[0] for line in lines if line.startswith("what the audit")] == [
        "what the audit of undefended, coreset",
        "what the audit of more",
    ]
    strict = (ROOT / "specs" / "full_study.yaml").read_text().replace("epsilon: 8.0", "epsilon: 1.0")
    spec.write_text(strict)
    assert "promises epsilon" not in "\n".join(outlook(compile_study(spec)))
