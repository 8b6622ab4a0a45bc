"""The risk of single canaries, and how well it replicates with other models.

Decisions about a single canary and model are often near a coin flip (arXiv 2505.18773, 2603.07567): so a canary's share of models
has an interval, and a list of the most exposed canaries is reported with its overlap between halves of the models.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

HALVINGS = 20
"""Random splits of the shadows into halves over which overlap is averaged."""
COMPARISONS_AT_ONCE = 4_000_000
"""Pairwise comparisons of scores that are in memory at once."""
CANARIES_PER_EXPOSED = 10
"""One canary in so many counts as most exposed: the top tenth."""


def of_canaries(scores: np.ndarray, member: np.ndarray, threshold: float | None) -> np.ndarray:
    """canary × 4: share of its scored IN models (those trained on it) with a score at or above the threshold, with a 95 % Jeffreys
    interval (low, high); its own AUC over models.

    Without a scored IN model the share is NaN and the interval that of the prior; without scored models on both sides the AUC is
    NaN. `threshold` None: no score reaches it, +inf neither. scores (NaN is not scored), member: canary × shadow.
    """
    there = ~np.isnan(scores)
    bar = np.nan if threshold is None else threshold  # no score is at or above NaN
    seen = (member & there).sum(1)
    hits = (member & (scores >= bar)).sum(1)
    low, high = stats.beta.ppf([[0.025], [0.975]], hits + 0.5, seen - hits + 0.5)
    with np.errstate(invalid="ignore"):
        return np.stack([hits / seen, low, high, auc_of_canaries(scores, member)], axis=1)


def auc_of_canaries(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """canary: probability that a model with it scores it higher than one without, ties counting half; NaN without both. NaN scores
    are left out. scores, member: canary × shadow."""
    shadows = scores.shape[1]
    blocks = max(1, scores.size * shadows // COMPARISONS_AT_ONCE)  # canary × shadow × shadow at once
    parts = np.array_split(np.arange(len(scores)), blocks)
    return np.concatenate([_auc_of(scores[part], member[part]) for part in parts])


def _auc_of(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """As `auc_of_canaries`, for all canaries at once."""
    there = ~np.isnan(scores)
    both = (member & there)[:, :, None] & (~member & there)[:, None, :]
    higher = (scores[:, :, None] > scores[:, None, :]) + 0.5 * (scores[:, :, None] == scores[:, None, :])
    with np.errstate(invalid="ignore"):
        return (higher * both).sum((1, 2)) / both.sum((1, 2))


def memorization(confidence: np.ndarray, member: np.ndarray) -> np.ndarray:
    """canary: mean confidence in its label of the models with it, minus that of the models without (Feldman and Zhang 2020); NaN
    where no model is with it, or none without.

    confidence, member: canary × shadow.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        inside, outside = (np.where(side, confidence, 0.0).sum(1) / side.sum(1) for side in (member, ~member))
    return inside - outside


def overlap(
    scores: np.ndarray, member: np.ndarray, threshold: float | None, paired: bool, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
    """Number of canaries that count as most exposed, a tenth (rounded down) and at least one; and split: for each of HALVINGS
    random splits of the shadows (of pairs, if `paired`) into halves, the Jaccard overlap of the two halves' most exposed canaries
    (`_most_exposed`). `threshold`: as for `of_canaries`; scores, member: canary × shadow."""
    canaries, shadows = scores.shape
    top = max(1, canaries // CANARIES_PER_EXPOSED)
    unit = 2 if paired else 1
    found = np.empty(HALVINGS)
    for turn in range(HALVINGS):
        order = rng.permutation(shadows // unit)
        halves = [(part[:, None] * unit + np.arange(unit)).ravel() for part in np.array_split(order, 2)]
        first, second = (_most_exposed(scores[:, half], member[:, half], threshold, top, rng) for half in halves)
        found[turn] = len(first & second) / len(first | second)
    return top, found


def _most_exposed(scores: np.ndarray, member: np.ndarray, threshold: float | None, top: int, rng: np.random.Generator) -> set[int]:
    """Rows of the `top` canaries by share of IN models at or above the threshold, then by their own AUC, highest first and NaN
    last. Ties are broken at random: broken by position, they would make halves overlap."""
    share, _, _, area = np.nan_to_num(of_canaries(scores, member, threshold), nan=-1.0).T
    return set(np.lexsort((rng.random(len(share)), area, share))[::-1][:top].tolist())
