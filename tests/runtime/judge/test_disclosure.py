"""Lists, bounds, the collection and the power, by simulation on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from runtime.judge import disclosure
from runtime.judge.disclosure import (
    RANKS,
    collection_p,
    conformal_p,
    copied_at_least,
    detectable,
    discoveries,
    holdout_for,
    listed_members,
    phantoms,
)


def scores(rng: np.random.Generator, members: int, holdout: int, copies: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of shuffled units; the first `copies` members stand far out."""
    member = rng.permutation(members + holdout) < members
    score = rng.normal(size=len(member))
    score[np.flatnonzero(member)[:copies]] += 50
    return score, member


def test_p_values_and_the_list_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    score, member = scores(rng, 60, 40, 12)
    score = score.round(1)  # ties
    naive = [(1 + sum(other >= one for other in score[~member])) / 41 for one in score[member]]
    assert conformal_p(score, member) == pytest.approx(naive)
    p = rng.random(50) ** 3
    ordered = np.sort(p)
    last = max((k for k in range(1, 51) if ordered[k - 1] <= 0.05 * k / 50), default=0)
    assert discoveries(p).sum() == last


def test_where_no_member_mattered_nothing_is_listed_and_no_bound_is_above_zero() -> None:
    rng = np.random.default_rng(1)
    drawn = [scores(rng, 300, 100) for _ in range(400)]
    assert np.mean([listed_members(*one).any() for one in drawn]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean([copied_at_least(*one) > 0 for one in drawn]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_the_p_value_of_the_collection_is_uniform_where_no_member_mattered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disclosure, "PERMUTATIONS", 199)
    rng = np.random.default_rng(2)
    p = np.array([collection_p(*scores(rng, 40, 20)) for _ in range(400)])
    for level in (0.05, 0.2):
        error = np.sqrt(level * (1 - level) / 400)
        assert 0.7 * level - 2 * error <= (p <= level).mean() <= level + 2 * error
    far, member = scores(rng, 40, 20, 30)
    assert collection_p(far, member) == 1 / 200


def test_labels_are_permuted_within_the_classes_of_a_stratified_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disclosure, "PERMUTATIONS", 199)
    # One class is all members and nearer by itself: that says nothing of members within a class.
    strata = np.repeat([0, 1], 40)
    member = np.concatenate([np.ones(40, bool), np.arange(40) % 2 == 0])
    score = np.concatenate([np.full(40, 5.0), np.random.default_rng(0).normal(size=40)])
    assert collection_p(score, member) < 0.05 < collection_p(score, member, strata)


@pytest.mark.parametrize("copies", [20, 40, 100])
def test_the_lower_bound_covers_the_number_of_copies(copies: int) -> None:
    rng = np.random.default_rng(3)
    bounds = np.array([copied_at_least(*scores(rng, 400, 400, copies)) for _ in range(200)])
    assert (bounds > copies).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert bounds.mean() > 0.5 * copies


def test_the_lower_bound_is_the_smallest_number_that_no_threshold_contradicts() -> None:
    score, member = scores(np.random.default_rng(4), 100, 80, 15)
    ranks = [rank for rank in RANKS if rank <= 90]
    best = 0
    for rank in ranks:
        above = score >= np.sort(score)[::-1][rank - 1]
        inside, outside = int((above & member).sum()), int((above & ~member).sum())
        p = [hypergeom.sf(inside - c - 1, 180 - c, 100 - c, inside - c + outside) for c in range(inside + 1)]
        best = max(best, next(c for c, one in enumerate(p) if one > 0.05 / len(ranks)))
    assert copied_at_least(score, member) == best


def test_the_false_discovery_rate_holds_with_copies_that_bystanders_resemble() -> None:
    rng = np.random.default_rng(5)
    wrong, found = [], []
    for _ in range(200):
        score, member = scores(rng, 400, 400)
        copied = np.flatnonzero(member)[:40]
        score[copied] += 4  # near, not out of reach
        listed = listed_members(score, member)
        wrong.append((listed.sum() - listed[copied].sum()) / max(1, listed.sum()))
        found.append(listed[copied].mean())
        assert phantoms(score, member, listed).sum() <= 0.05 * listed.sum() * 401 / 400 + 1e-9
    assert np.mean(wrong) <= 0.05 + 2 * np.std(wrong) / np.sqrt(200)
    assert np.mean(found) > 0.3


@pytest.mark.parametrize(("members", "holdout"), [(600, 600), (300, 100), (2000, 2000)])
def test_power_is_told_before_looking(members: int, holdout: int) -> None:
    fewest = detectable(members, holdout)
    rng = np.random.default_rng(6)
    at, below = (
        np.mean([listed_members(*scores(rng, members, holdout, copies)).any() for _ in range(200)])
        for copies in (fewest, fewest - 4)
    )
    assert at >= 0.8 - 2 * np.sqrt(0.16 / 200)
    assert below < 0.8
    assert fewest <= np.ceil(members / (0.05 * (holdout + 1)))


def test_a_holdout_large_enough_detects_a_tenth() -> None:
    fewest = detectable(1000, 200)
    more = holdout_for(1000, fewest // 10)
    assert detectable(1000, more) <= fewest // 10 < detectable(1000, more - 20)
    assert detectable(50, 10) > 50  # nothing can be detected
