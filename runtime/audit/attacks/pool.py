"""Leave-one-out statistics over a pool of models, for all targets at once.

Every model is the target once; the others, minus its complement where membership is paired, are its shadows. Running sums
minus the target's own terms give what a loop over targets would, in O(canary × model) instead of O(canary × model²);
`tests/runtime/audit/test_attacks.py` has the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

VARIANCE_FLOOR = 1e-12
"""Of a squared signal: keeps a constant signal from giving an infinite density; `SideMoments.floored` counts its uses."""

CANCELLED = 1e-7
"""Share of a running sum of squares below which what is left after subtraction has lost half of its digits."""

MIN_SHADOWS = 3
"""Shadows on a side below which a fit says nothing: the score is NaN and counts as not applicable. Judged without the target."""


@dataclass(frozen=True)
class ShadowPool:
    """Who was trained on what."""

    member: np.ndarray
    """canary × model, bool."""
    paired: bool
    """Whether models 2j and 2j+1 hold complementary halves; then a target's complement is dropped with it."""

    @property
    def partner(self) -> np.ndarray | None:
        """model: its complement."""
        return np.arange(self.member.shape[1]) ^ 1 if self.paired else None

    def without_target(self, values: np.ndarray) -> np.ndarray:
        """Sum over models minus what target and complement put in. values: … × model."""
        rest = values.sum(-1, keepdims=True) - values
        return rest if self.partner is None else rest - values[..., self.partner]

    def shadows(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """canary × model, bool, for each target: the chosen models without it and its complement. For what has no running sums."""
        for target in range(chosen.shape[1]):
            kept = chosen.copy()
            kept[:, target] = False
            if self.partner is not None:
                kept[:, self.partner[target]] = False
            yield kept


@dataclass(frozen=True)
class SideMoments:
    """For each canary, view and target: what the shadows of one side (IN or OUT) say."""

    count: np.ndarray
    """canary × 1 × model."""
    mean: np.ndarray
    """canary × view × model; NaN where there is no shadow."""
    squares: np.ndarray
    """canary × view × model: sum of squared distances from the mean."""

    def floored(self, how: str) -> int:
        """Fits whose spread is taken to be `VARIANCE_FLOOR`, since their shadows agree; of those with enough shadows."""
        enough = np.broadcast_to(self.count >= MIN_SHADOWS, self.squares.shape)
        return int((enough & (self.variance(how) <= VARIANCE_FLOOR)).sum())

    def variance(self, how: str) -> np.ndarray:
        """Unbiased, per canary (`per_example`, `student_t`) or pooled within canaries (`pooled`); floored."""
        freedom = self.count - 1
        if how == "pooled":
            # A canary without shadows on this side (bernoulli membership) says nothing; its NaN must not reach the others.
            known = np.where(self.count > 0, self.squares, 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                pooled = known.sum(0, keepdims=True) / np.maximum(freedom, 0).sum(0, keepdims=True)
            return np.maximum(np.broadcast_to(pooled, self.squares.shape), VARIANCE_FLOOR)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.maximum(self.squares / freedom, VARIANCE_FLOOR)


def sides(signal: np.ndarray, pool: ShadowPool) -> tuple[SideMoments, SideMoments]:
    """IN and OUT shadows of every target. signal: canary × view × model, finite."""
    signal = np.asarray(signal, np.float64)
    centred = signal - signal.mean(-1, keepdims=True)  # running sums of squares cancel badly far from zero
    return _side(signal, centred, pool.member, pool), _side(signal, centred, ~pool.member, pool)


def _side(signal: np.ndarray, centred: np.ndarray, chosen: np.ndarray, pool: ShadowPool) -> SideMoments:
    mask = chosen[:, None, :].astype(np.float64)
    count = pool.without_target(mask)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = pool.without_target(mask * centred) / count
    powers = mask * centred**2
    squares = np.maximum(pool.without_target(powers) - count * mean**2, 0.0)
    doubtful = squares < CANCELLED * powers.sum(-1, keepdims=True)
    if doubtful.any():
        _summed_again(squares, mean, doubtful, centred, chosen, pool)
    return SideMoments(count, mean + signal.mean(-1, keepdims=True), squares)


def _summed_again(
    squares: np.ndarray, mean: np.ndarray, doubtful: np.ndarray, centred: np.ndarray, chosen: np.ndarray, pool: ShadowPool
) -> None:
    """Without subtraction, in place, where the target alone makes most of the running sum: shadows that agree, a target apart."""
    where = np.argwhere(doubtful)
    for part in np.array_split(where, max(1, where.size * centred.shape[-1] // 4_000_000)):
        canary, view, target = part.T
        row = np.arange(len(part))
        kept = chosen[canary].copy()
        kept[row, target] = False
        if pool.partner is not None:
            kept[row, pool.partner[target]] = False
        values = centred[canary, view]
        with np.errstate(invalid="ignore", divide="ignore"):
            center = np.where(kept, values, 0.0).sum(1) / kept.sum(1)
        mean[canary, view, target] = center
        squares[canary, view, target] = np.where(kept, (values - center[:, None]) ** 2, 0.0).sum(1)


def usable(first: SideMoments, *others: SideMoments) -> np.ndarray:
    """canary × model, bool: whether every side has enough shadows."""
    enough = first.count[:, 0] >= MIN_SHADOWS
    for side in others:
        enough = enough & (side.count[:, 0] >= MIN_SHADOWS)
    return enough
