"""Intervals: the weighted staircase against really resampling, and what they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from runtime.audit.statistics.bootstrap import PLAIN, Drawn, Resamples, read_resamples, uncertainty
from runtime.audit.statistics.roc import auc, balanced_accuracy, tpr_at


def resampled(
    scores: np.ndarray, member: np.ndarray, canaries: np.ndarray, shadows: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Really drawn: each canary's row so often, each model's column so often."""
    rows = np.repeat(np.arange(len(scores)), canaries)
    columns = np.arange(scores.shape[1]) if shadows is None else np.repeat(np.arange(scores.shape[1]), shadows)
    return scores[np.ix_(rows, columns)], member[np.ix_(rows, columns)]


@pytest.mark.parametrize("two_way", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_a_weighted_staircase_reads_what_a_real_resample_reads(two_way: bool, ties: bool) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 8))
    scores = scores.round() if ties else scores
    member = rng.random((30, 8)) < 0.5
    resamples = Resamples.draw(40, 30, rng, 8 if two_way else None)
    found = read_resamples(scores, member, (0.01, 0.05, 0.2), resamples)
    for row in range(40):
        really = resampled(scores, member, resamples.canaries[row], None if resamples.shadows is None else resamples.shadows[row])
        for fpr in (0.01, 0.05, 0.2):
            reading = tpr_at(fpr, *really)
            if ties and np.isnan(found.tpr[fpr][row]):
                assert reading.value is None
                continue
            # What is drawn twice is no tie: a draw is read by the count rule where its scores were not equal before.
            expected = np.nan if reading.by_lot is None else reading.below
            assert found.tpr[fpr][row] == pytest.approx(expected, nan_ok=True)
        assert found.auc[row] == pytest.approx(auc(*really))
        assert found.balanced_accuracy[row] == pytest.approx(balanced_accuracy(*really))


def test_pairs_of_shadows_are_drawn_together() -> None:
    drawn = Resamples.draw(50, 10, np.random.default_rng(0), shadows=8, paired=True).shadows
    assert drawn is not None
    np.testing.assert_array_equal(drawn[:, 0::2], drawn[:, 1::2])
    assert (drawn.sum(1) == 8).all()


def test_an_interval_of_clustered_scores_covers_the_truth_where_a_binomial_one_would_not() -> None:
    # A world in which 40 % of the canaries leak in every model: scores of one canary stand or fall together.
    rng = np.random.default_rng(7)
    truth, covered, binomial = 0.0, 0, 0
    worlds = []
    for _ in range(120):
        leaky = rng.random(100) < 0.4
        member = np.repeat(rng.random((100, 8)) < 0.5, 2, axis=1)
        member[:, 1::2] = ~member[:, 0::2]
        worlds.append((rng.normal(size=(100, 16)) + 4 * member * leaky[:, None], member))
    truth = float(np.mean([tpr_at(0.01, *world).value for world in worlds]))
    for scores, member in worlds:
        value, draws = tpr_at(0.01, scores, member).value, Resamples.draw(200, 100, rng, 16)
        read = Drawn.of(lambda part, world=(scores, member): read_resamples(*world, (0.01,), part), draws)  # type: ignore[misc]
        found = uncertainty(value, read.spread(lambda one: one.tpr[0.01]), draws)
        assert found is not None
        assert value is not None
        low, high = found.interval(0.95)
        covered += low <= truth <= high
        binomial += abs(value - truth) <= 1.96 * np.sqrt(value * (1 - value) / member.sum())
    assert covered >= 0.90 * len(worlds)
    assert binomial < 0.75 * len(worlds)  # the interval that we never print


def test_what_most_resamples_cannot_resolve_has_no_interval() -> None:
    draws = Resamples.draw(4, 10, np.random.default_rng(0))
    for there, read in (([np.nan, np.nan, np.nan, 0.5], False), ([0.25, 0.5, 0.75, np.nan], True)):
        assert (uncertainty(0.5, Drawn(np.array(there)), draws) is not None) == read


def test_the_spread_of_few_models_is_the_sum_of_its_parts_without_what_both_count() -> None:
    rng = np.random.default_rng(0)
    draws = Resamples.draw(5000, 50, rng, 8, paired=True)
    cells = rng.normal(size=(50, 1)) + np.repeat(rng.normal(size=(1, 4)), 2, axis=1) + rng.normal(size=(50, 8))

    def mean(part: Resamples) -> np.ndarray:
        shadows = np.ones((len(part), 8)) if part.shadows is None else part.shadows
        return ((part.canaries @ cells) * shadows).sum(1) / (part.canaries.sum(1) * shadows.sum(1))

    found = uncertainty(cells.mean(), Drawn.of(mean, draws).spread(lambda one: one), draws, PLAIN)
    rows, pairs = cells.mean(1), cells.reshape(50, 4, 2).mean((0, 2))
    parts = rows.var(ddof=1) / 50, pairs.var(ddof=1) / 4
    noise = (cells.reshape(50, 4, 2).mean(2) - rows[:, None] - pairs + cells.mean()).var() / 200
    assert found is not None
    assert found.error**2 == pytest.approx(sum(parts) - noise, rel=0.1)
    assert found.freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 49 + parts[1] ** 2 / 3), rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.995])
def test_at_the_boundary_limits_are_at_least_those_of_so_many_canaries(value: float) -> None:
    draws = Resamples.draw(100, 128, np.random.default_rng(0))
    found = uncertainty(value, Drawn(np.full(100, value)), draws)
    assert found is not None
    low, high = found.interval(0.95)
    if value in (0, 1):
        exact = stats.binomtest(round(128 * value), 128).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))
    assert low < 1 - 1 / 128 < high or value == 0
