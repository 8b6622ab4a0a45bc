"""The count rule, AUC and ROC points against slow direct implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.audit.statistics.roc import allowed_false_positives, auc, balanced_accuracy, roc_points, tpr_at

SCORES = st.lists(st.tuples(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, 1e4, np.inf]), st.booleans()), min_size=1, max_size=40)


def tpr_naive(fpr: float, scores: np.ndarray, member: np.ndarray) -> float | None:
    """Every threshold, counted by hand."""
    non_members, members = int((~member).sum()), int(member.sum())
    allowed = int(str(fpr).replace("0.", "").lstrip("0") or 0) * non_members // 10 ** len(str(fpr).split(".")[1])
    if allowed < 1 or members < 1:
        return None
    best = 0.0
    for threshold in set(scores.tolist()):
        accepted = scores >= threshold
        if (accepted & ~member).sum() <= allowed:
            best = max(best, float((accepted & member).sum() / members))
    return best


def auc_naive(scores: np.ndarray, member: np.ndarray) -> float:
    pairs = [(inside, outside) for inside in scores[member] for outside in scores[~member]]
    return sum((inside > outside) + 0.5 * (inside == outside) for inside, outside in pairs) / len(pairs)


@given(SCORES, st.sampled_from([0.01, 0.05, 0.1, 0.29, 0.5]))
def test_tpr_agrees_with_counting_by_hand_on_ties_and_infinities(drawn: list[tuple[float, bool]], fpr: float) -> None:
    scores, member = np.array([score for score, _ in drawn]), np.array([side for _, side in drawn])
    expected = tpr_naive(fpr, scores, member)
    reading = tpr_at(fpr, scores, member)
    if expected is None:
        assert (reading.value, reading.by_lot) == (None, None)
    else:
        assert reading.below == pytest.approx(expected)
        assert reading.value in (None, reading.below)
        assert reading.by_lot is not None
        assert reading.below <= reading.by_lot <= 1
        # What cannot be read is said to be so: nobody is accepted, or ties stop far below the rate.
        assert (reading.value is None) <= (reading.shared > 1 and 2 * reading.false_positives < reading.allowed)
        assert reading.threshold is not None or reading.value in (None, 0.0)
    assert reading.false_positives <= reading.allowed


WRONG_READINGS = {
    "a rank among 8 references": lambda rng, member: np.minimum(rng.binomial(7, np.where(member, 0.97, 0.5)), 7).astype(float),
    "right or wrong": lambda rng, member: (rng.random(member.shape) < np.where(member, 0.95, 0.12)).astype(float),
    "three values": lambda rng, member: (
        np.where(member, rng.choice([0, 1, 2], member.shape, p=[0.1, 0.6, 0.3]), 0.0)
        + (~member) * rng.choice([0, 1, 2], member.shape, p=[0.8, 0.197, 0.003])
    ),
    "cut off": lambda rng, member: np.minimum(rng.normal(size=member.shape) + 2 * member, 1.5),
    "all equal": lambda rng, member: np.zeros(member.shape),
}


@pytest.mark.parametrize("name", WRONG_READINGS)
def test_what_ties_hide_is_no_figure_and_the_reason_says_who_shares_what(name: str) -> None:
    rng = np.random.default_rng(0)
    member = rng.random(4000) < 0.5
    scores = WRONG_READINGS[name](rng, member)
    found = [tpr_at(fpr, scores, member) for fpr in (0.001, 0.01, 0.05)]
    assert any(reading.value is None for reading in found)
    for reading in found:
        assert reading.value != 0.0
        assert reading.realised_fpr is not None
        if reading.value is None:
            assert "share" in reading.note
            assert "by lot" in reading.note
        else:
            assert 2 * reading.false_positives >= reading.allowed or reading.value + 0.01 >= reading.by_lot  # type: ignore[operator]
    three = tpr_at(0.1, np.array([2.0, 1.0, 1.0, 0.0, 0.0] * 100), np.array([1, 1, 0, 0, 0] * 100) > 0)
    assert (three.value, three.below, three.false_positives) == (None, 0.5, 0)
    assert three.by_lot == pytest.approx(0.5 + 0.3 * 0.5)  # 30 of the block of 100


def test_a_perfect_attack_is_read_although_all_non_members_share_a_score() -> None:
    scores = np.array([1.0, 0.0] * 100)
    assert tpr_at(0.01, scores, scores > 0).value == 1.0


@given(SCORES)
def test_auc_agrees_with_all_pairs(drawn: list[tuple[float, bool]]) -> None:
    scores, member = np.array([score for score, _ in drawn]), np.array([side for _, side in drawn])
    if member.all() or not member.any():
        assert auc(scores, member) is None
    else:
        assert auc(scores, member) == pytest.approx(auc_naive(scores, member))


def test_mistake_8_a_tie_block_is_never_split() -> None:
    scores, member = np.zeros(200), np.arange(200) % 2 == 0
    assert auc(scores, member) == 0.5
    assert tpr_at(0.5, scores, member).value is None
    curve = roc_points(scores, member)
    assert curve[-1].tolist() == [1.0, 1.0]
    rng = np.random.default_rng(0)
    mixed = rng.integers(0, 5, 200).astype(float)
    turn = rng.permutation(200)
    assert tpr_at(0.1, mixed, member) == tpr_at(0.1, mixed[turn], member[turn])


def test_mistake_9_a_rate_below_one_false_positive_gives_no_number_but_the_reason() -> None:
    reading = tpr_at(0.001, np.arange(400.0), np.arange(400) % 2 == 0)
    assert reading.value is None
    assert reading.note == "not resolvable: 200 non-member scores allow no false positive at 0.001"
    assert tpr_at(0.01, np.arange(400.0), np.arange(400) % 2 == 0).note == "coarse: 2 false positives allowed"


@pytest.mark.parametrize("count", [100, 5])
def test_without_members_the_reason_is_that_there_are_none(count: int) -> None:
    assert tpr_at(0.1, np.arange(float(count)), np.zeros(count, bool)).note == "not resolvable: no scores of members"


def test_the_allowance_is_exact_where_floating_point_is_not() -> None:
    assert int(0.29 * 100) == 28  # the trap
    assert allowed_false_positives(0.29, 100) == 29
    assert allowed_false_positives(0.001, 1000) == 1


def test_mistake_11_larger_means_member() -> None:
    scores, member = np.array([3.0, 2.0, 1.0, 0.0] * 10), np.array([True, True, False, False] * 10)
    assert auc(scores, member) == 1.0
    assert tpr_at(0.1, scores, member).value == 1.0
    assert balanced_accuracy(scores, member) == 1.0
    assert auc(-scores, member) == 0.0


def test_a_nan_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"the score at \(1, 0\) is NaN"):
        auc(np.array([[1.0, 2.0], [np.nan, 3.0]]), np.array([[True, False], [False, True]]))


def test_thinned_roc_points_keep_every_reading_at_the_wanted_rates() -> None:
    rng = np.random.default_rng(1)
    scores, member = rng.normal(size=50_000), rng.random(50_000) < 0.5
    curve = roc_points(scores + member, member)
    assert len(curve) <= 300
    assert curve[0].tolist() == [0.0, 0.0] or curve[0, 0] == 0.0
    assert curve[-1].tolist() == [1.0, 1.0]
    assert (np.diff(curve, axis=0) >= 0).all()
