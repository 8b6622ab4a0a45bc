"""Attacks beside loops over targets without any trick, and the mistakes that others made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from runtime.audit.attacks import signals
from runtime.audit.attacks.label_only import label_only
from runtime.audit.attacks.lira import lira, lira_offline
from runtime.audit.attacks.pool import ShadowPool
from runtime.audit.statistics.roc import auc, tpr_at


def paired(rng: np.random.Generator, canaries: int, shadows: int) -> np.ndarray:
    member = np.empty((canaries, shadows), dtype=bool)
    member[:, 0::2] = rng.random((canaries, shadows // 2)) < 0.5
    member[:, 1::2] = ~member[:, 0::2]
    return member


def world(seed: int = 0, canaries: int = 40, shadows: int = 12, views: int = 3, gap: float = 2.0) -> tuple[np.ndarray, ShadowPool]:
    """Signals in which members stand out by `gap`, canaries differing in difficulty by far more."""
    rng = np.random.default_rng(seed)
    member = paired(rng, canaries, shadows)
    difficulty = rng.normal(scale=10, size=(canaries, 1, 1))
    return difficulty + rng.normal(size=(canaries, views, shadows)) + gap * member[:, None, :], ShadowPool(member, paired=True)


def others(pool: ShadowPool, target: int) -> list[int]:
    return [model for model in range(pool.member.shape[1]) if model != target and not (pool.paired and model == target ^ 1)]


def lira_naive(signal: np.ndarray, pool: ShadowPool, variant: str) -> np.ndarray:
    canaries, views, models = signal.shape
    score = np.zeros((canaries, models))
    for target in range(models):
        rest = others(pool, target)
        for view in range(views):
            inside = [[signal[i, view, u] for u in rest if pool.member[i, u]] for i in range(canaries)]
            outside = [[signal[i, view, u] for u in rest if not pool.member[i, u]] for i in range(canaries)]
            for i in range(canaries):
                for sign, sides in ((1, inside), (-1, outside)):
                    mean = np.mean(sides[i])
                    if variant == "pooled":
                        squares = sum(np.sum((np.array(side) - np.mean(side)) ** 2) for side in sides)
                        variance = squares / sum(len(side) - 1 for side in sides)
                    else:
                        variance = np.var(sides[i], ddof=1)
                    n = len(sides[i])
                    if variant == "student_t":
                        density = stats.t.logpdf(signal[i, view, target], n - 1, mean, math.sqrt(variance * (1 + 1 / n)))
                    else:
                        density = stats.norm.logpdf(signal[i, view, target], mean, math.sqrt(variance))
                    score[i, target] += sign * density / views
    return score


@pytest.mark.parametrize("variant", ["per_example", "pooled", "student_t"])
def test_lira_by_running_sums_equals_the_loop_over_targets(variant: str) -> None:
    signal, pool = world(canaries=12, shadows=10)
    np.testing.assert_allclose(lira(signal, pool, variant), lira_naive(signal, pool, variant), rtol=1e-9, atol=1e-9)


def test_mistake_1_a_target_and_its_complement_are_not_among_its_own_shadows() -> None:
    signal, pool = world()
    moved = signal.copy()
    moved[:, :, 4] += 100.0
    moved[:, :, 5] -= 50.0
    before, after = lira(signal, pool, "per_example"), lira(moved, pool, "per_example")
    # The fit of target 4 uses neither 4 nor 5, so the moved signal meets the fit of the unmoved ones.
    inside, outside = _fit(signal, pool, 0, 4, True), _fit(signal, pool, 0, 4, False)
    density = stats.norm.logpdf(moved[0, :, 4], *inside) - stats.norm.logpdf(moved[0, :, 4], *outside)
    assert after[0, 4] == pytest.approx(density.mean())
    assert before[0, 4] != after[0, 4]


def _fit(signal: np.ndarray, pool: ShadowPool, canary: int, target: int, inside: bool) -> tuple[np.ndarray, np.ndarray]:
    chosen = [u for u in others(pool, target) if pool.member[canary, u] == inside]
    return signal[canary][:, chosen].mean(1), signal[canary][:, chosen].std(1, ddof=1)


def test_mistake_3_membership_that_varies_in_count_is_masked_and_never_zero_filled() -> None:
    rng = np.random.default_rng(1)
    member = rng.random((30, 20)) < 0.5
    signal = 5.0 + rng.normal(size=(30, 1, 20)) + 2 * member[:, None, :]
    pool = ShadowPool(member, paired=False)
    np.testing.assert_allclose(lira(signal, pool, "per_example"), lira_naive(signal, pool, "per_example"), rtol=1e-8)


@pytest.mark.parametrize("gap", [20.0, 50.0, 200.0, 1e4])
def test_mistake_5_the_tail_is_not_lost_in_float32(gap: float) -> None:
    logits = np.array([[gap, 0.0, 0.0], [gap * 1.01, 0.0, 0.0]], dtype=np.float32)
    smaller, larger = signals.logit(logits, np.array([0, 0]))
    assert smaller == pytest.approx(gap - math.log(2))
    assert np.isfinite([smaller, larger]).all()
    assert smaller < larger


def test_mistake_6_offline_scores_far_in_the_tail_stay_apart() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(3, 1, 40))
    member = paired(rng, 3, 40)
    member[:, 0], member[:, 1] = True, False
    signal[0, 0, 0], signal[1, 0, 0] = 9.0, 40.0
    score = lira_offline(signal, ShadowPool(member, paired=True), "per_example")
    assert score[0, 0] < score[1, 0]


def test_mistake_7_offline_unusually_low_confidence_is_no_sign_of_membership() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(2, 1, 40))
    member = paired(rng, 2, 40)
    signal[0, 0, 0], signal[1, 0, 0] = -12.0, 0.0
    one_sided = lira_offline(signal, ShadowPool(member, paired=True), "per_example")
    assert one_sided[0, 0] < one_sided[1, 0]
    two_sided = lira_offline(signal, ShadowPool(member, paired=True), "per_example", compat=("two_sided",))
    assert two_sided[0, 0] > two_sided[1, 0]  # the mistake, reproduced under its name


def test_mistake_14_and_17_predicting_the_minority_side_scores_nothing_under_pairs_with_drop() -> None:
    rng = np.random.default_rng(3)
    member = paired(rng, 200, 16)
    pool = ShadowPool(member, paired=True)
    minority = -pool.without_target(member.astype(float))  # call IN whoever is IN less often among the others
    assert auc(minority, member) == 0.5
    balanced = rng.permuted(np.tile(np.arange(16) < 8, (200, 1)), axis=1)
    given_away = -(balanced.sum(1, keepdims=True) - balanced).astype(float)
    assert auc(given_away, balanced) == 1.0  # what `balanced` gives away
    minority = -ShadowPool(balanced, paired=False).without_target(balanced.astype(float))
    assert auc(minority, balanced) == 0.5  # one model of the other side is left out, by lot


@pytest.mark.parametrize("shadows", [8, 16, 32])
def test_on_membership_that_no_model_knows_lira_finds_nothing(shadows: int) -> None:
    areas, rates = [], []
    for seed in range(20):
        signal, pool = world(seed, canaries=200, shadows=shadows, views=1, gap=0.0)
        score = lira(signal, pool, "per_example")
        areas.append(auc(score, pool.member))
        rates.append(tpr_at(0.01, score, pool.member).value)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.01)
    assert np.mean(rates) == pytest.approx(0.01, abs=0.004)


def test_logits_are_left_alone_and_a_nan_is_refused_with_its_place() -> None:
    logits = np.array([[1.0, 2.0, 3.0]])
    signals.hinge(logits, np.array([0]))
    assert logits.tolist() == [[1.0, 2.0, 3.0]]
    with pytest.raises(ValueError, match=r"the logit at \(0, 1\) is nan"):
        signals.logit(np.array([[1.0, np.nan, 3.0]]), np.array([0]))


def test_hinge_and_logit_agree_with_their_definitions() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 4, 10)), rng.integers(0, 10, 5)
    for i in range(5):
        for j in range(4):
            z, y = logits[i, j], labels[i]
            p = np.exp(z[y]) / np.exp(z).sum()
            assert signals.logit(logits, labels)[i, j] == pytest.approx(math.log(p / (1 - p)))
            assert signals.hinge(logits, labels)[i, j] == pytest.approx(z[y] - np.delete(z, y).max())
            assert signals.confidence(logits, labels)[i, j] == pytest.approx(p)


def test_label_only_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    member = paired(rng, 5, 16)
    correct = (rng.random((5, 9, 16)) < np.where(member[:, None, :], 0.8, 0.3)).astype(float)
    score = label_only(correct, ShadowPool(member, True))
    for i, target in ((0, 0), (3, 7)):
        rest = others(ShadowPool(member, True), target)
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(correct[i][:, rest].T, member[i, rest])
        assert score[i, target] == pytest.approx(model.decision_function(correct[i][:, [target]].T)[0], abs=1e-3)
