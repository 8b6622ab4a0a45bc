"""Epsilon bounds: closed forms, naive twins, and error rates by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from compiler.power.epsilon_bounds import delta_of_mu, epsilon_of_mu, f_dp
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.null import redraw, run_null_control


def test_perfect_trials_reach_the_known_ceiling() -> None:
    n, p = 100, 0.05
    u = 1 - (p / 2) ** (1 / n)
    assert epsilon.multi_run(n, n, 0, n, delta=0.0, p=p) == pytest.approx(math.log((1 - u) / u))
    assert epsilon.steinke(50, 50, 100, delta=0.0, p=p) == pytest.approx(math.log(p ** (1 / 50) / (1 - p ** (1 / 50))), abs=1e-6)


def test_steinke_p_value_equals_the_theorem_written_out() -> None:
    for correct, guesses, canaries, eps, delta in ((18, 20, 100, 0.5, 1e-3), (40, 60, 200, 1.0, 1e-5), (5, 20, 50, 0.1, 1e-2)):
        q = math.exp(eps) / (1 + math.exp(eps))
        beta = sum(binom.pmf(v, guesses, q) for v in range(correct, guesses + 1))
        alpha = max(sum(binom.pmf(v, guesses, q) for v in range(correct - i, correct)) / i for i in range(1, correct + 1))
        expected = min(1.0, beta + 2 * canaries * delta * alpha)
        assert epsilon.steinke_p_value(eps, correct, guesses, canaries, delta) == pytest.approx(expected)


def test_guessing_gives_no_epsilon_and_more_right_guesses_never_give_less() -> None:
    for bound in (epsilon.steinke, f_dp):
        assert bound(50, 100, 200, 1e-5) == 0.0
        found = [bound(correct, 100, 200, 1e-5) for correct in range(50, 101, 5)]
        assert found == sorted(found)
        assert found[-1] > 2


def test_a_confidently_wrong_attack_is_no_leakage() -> None:
    # An absolute value in the Gaussian bound once gave clearly positive epsilons on null scores.
    assert epsilon.gaussian(5, 100, 95, 100, delta=1e-5) == 0.0
    assert epsilon.multi_run(5, 100, 95, 100, delta=1e-5) == 0.0


@pytest.mark.parametrize("bound", [epsilon.steinke, f_dp])
def test_on_null_data_a_one_run_bound_is_positive_in_at_most_its_share_of_runs(bound) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    positive = sum(bound(epsilon.guess(rng.normal(size=100), rng.random(100) < 0.5, 25, 25), 50, 100, 1e-5) > 0 for _ in range(400))
    assert positive <= 0.05 * 400 + 3 * math.sqrt(0.05 * 0.95 * 400)


@pytest.mark.parametrize("mu", [1.0, 2.0])
def test_a_gaussian_mechanism_is_bounded_below_its_truth_and_not_by_nothing(mu: float) -> None:
    rng = np.random.default_rng(1)
    truth = epsilon_of_mu(mu, 1e-5)
    for bound in (epsilon.steinke, f_dp):
        found = []
        for _ in range(60):
            member = rng.random(1000) < 0.5
            found.append(bound(epsilon.guess(rng.normal(size=1000) + mu * member, member, 100, 100), 200, 1000, 1e-5))
        assert np.mean(np.array(found) <= truth) >= 0.95
        assert np.median(found) > 0.1 * truth


def test_delta_and_epsilon_of_mu_are_inverse() -> None:
    for mu in (0.3, 1.0, 3.0):
        assert delta_of_mu(mu, epsilon_of_mu(mu, 1e-5)) == pytest.approx(1e-5, rel=1e-6)
    assert epsilon_of_mu(0.0, 1e-5) == 0.0


@pytest.mark.parametrize("design", ["pairs", "balanced", "bernoulli"])
def test_a_redraw_stays_within_its_design(design: str) -> None:
    rng = np.random.default_rng(0)
    member = redraw(np.tile(np.arange(16) < 8, (50, 1)), design, rng)  # type: ignore[arg-type]
    if design == "pairs":
        np.testing.assert_array_equal(member[:, 0::2], ~member[:, 1::2])
    if design == "balanced":
        assert (member.sum(1) == 8).all()
    assert 0.4 < member.mean() < 0.6


def test_a_null_control_passes_on_an_honest_attack_and_fails_on_one_that_peeks() -> None:
    from runtime.audit.statistics.roc import auc, tpr_at

    rng = np.random.default_rng(0)
    noise = rng.normal(size=(100, 16))
    member = redraw(np.zeros((100, 16), bool), "pairs", rng)

    def read(scores: np.ndarray, side: np.ndarray) -> tuple[float, float, float]:
        return auc(scores, side) or 0.0, tpr_at(0.05, scores, side).value or 0.0, np.nan

    honest = run_null_control(lambda side: noise, read, member, "pairs", 50, rng)
    assert honest.passed
    assert 0.01 < honest.p_value(0.05, None)[0] <= 1
    peeking = run_null_control(lambda side: noise + 0.2 * side, read, member, "pairs", 50, rng)
    assert not peeking.passed
