"""Leave-one-out statistics over a pool of models, for all targets at once.

Every model is the target once; the others, minus its complement where membership is paired (`left_out`), are its shadows.
Running sums minus the target's own terms give what a loop over targets would, in O(canary × model) instead of O(canary × model²);
`tests/runtime/audit/test_attacks.py` has the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from runtime.seeds import numpy_generator

VARIANCE_FLOOR = 1e-12
"""Least variance of a signal: a constant signal would have an infinite density; `SideMoments.floored` counts its uses."""

CANCELLED = 1e-7
"""Share of the whole sum of squares below which the rest after subtraction has lost half of its digits."""

MIN_SHADOWS = 3
"""Least number of shadows on a side, the target not counted; with fewer the score is NaN and counts as not applicable."""


@dataclass(frozen=True)
class ShadowPool:
    """Which models of a pool were trained on which canaries."""

    member: np.ndarray
    """canary × model, bool."""
    paired: bool
    """Whether models 2j and 2j+1 hold complementary halves; then a target's complement is dropped with it."""

    @cached_property
    def left_out(self) -> np.ndarray | None:
        """canary × model (1 × model if `paired`), int: index of the model of opposite membership that is left out with each target;
        None where none is. Cached.

        If `paired` it is the target's complement. Else, where all of at least eight canaries are in equally many models
        (`balanced`), but not in none or in all, it is drawn from the other side with a fixed seed, independently of scores: the
        target's side lacks the target, so the other must lack one too, or scores are biased towards non-membership.
        """
        canaries, models = self.member.shape
        if self.paired:
            return (np.arange(models) ^ 1)[None]
        inside = self.member.sum(1)
        if canaries < 8 or (inside != inside[0]).any() or not 0 < inside[0] < models:
            return None
        order = np.argsort(self.member, axis=1, kind="stable")  # canary × model: those without it, then those with it
        lot = numpy_generator(0, None, "audit/left out").random(self.member.shape)
        outside = models - inside[0]
        place = np.where(self.member, (lot * outside).astype(np.int64), outside + (lot * inside[0]).astype(np.int64))
        return np.take_along_axis(order, place, axis=1)

    def for_outsiders(self, count: int) -> ShadowPool:
        """The same models with `count` samples that none was trained on."""
        return ShadowPool(np.zeros((count, self.member.shape[1]), dtype=bool), self.paired)

    def without_target(self, values: np.ndarray) -> np.ndarray:
        """canary × … × target: the sum of `values` (canary × … × model) over the models, without the target and, where a model is
        left out with it (`left_out`), without that model."""
        rest = values.sum(-1, keepdims=True) - values
        if self.left_out is None:
            return rest
        if self.paired:  # by slices: indexing by `left_out` would copy
            rest[..., ::2] -= values[..., 1::2]
            rest[..., 1::2] -= values[..., ::2]
            return rest
        gone = self.left_out.reshape(len(self.left_out), *([1] * (values.ndim - 2)), -1)
        return rest - np.take_along_axis(values, np.broadcast_to(gone, values.shape), axis=-1)

    def without(self, kept: np.ndarray, canary: np.ndarray, target: np.ndarray) -> None:
        """Set targets and the models left out with them to False in `kept` (row × model, bool), in place. canary, target: for each
        row, the index of its canary and of its target."""
        row = np.arange(len(kept))
        kept[row, target] = False
        if self.left_out is not None:
            kept[row, self.left_out[canary if len(self.left_out) > 1 else 0, target]] = False

    def shadows(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Yield for each target, in order, canary × model, bool: a copy of `chosen` (likewise) without the target and without the
        model left out with it."""
        for target in range(chosen.shape[1]):
            kept = chosen.copy()
            self.without(kept, np.arange(len(kept)), np.full(len(kept), target))
            yield kept


@dataclass(frozen=True)
class SideMoments:
    """For each canary, view and target: count, mean and squares of the signal over the shadows of one side (IN or OUT)."""

    count: np.ndarray
    """canary × 1 × model."""
    mean: np.ndarray
    """canary × view × model; NaN where there is no shadow."""
    squares: np.ndarray
    """canary × view × model: sum of squared distances from the mean."""

    def floored(self, how: str) -> tuple[int, int]:
        """Of the fits (canary, view and target) with at least `MIN_SHADOWS` shadows: the number whose variance is at
        `VARIANCE_FLOOR`, and the number of all. `how`: as for `variance`."""
        enough = np.broadcast_to(self.count >= MIN_SHADOWS, self.squares.shape)
        return int((enough & (self.variance(how) <= VARIANCE_FLOOR)).sum()), int(enough.sum())

    def variance(self, how: str) -> np.ndarray:
        """Unbiased variance, at least `VARIANCE_FLOOR`. For `how` `pooled`: 1 × view × model, about each canary's own mean, pooled
        over all canaries; NaN where no canary has two shadows. For any other `how` (`per_example`, `student_t`): canary × view ×
        model; NaN where the canary has fewer than two shadows."""
        freedom = self.count - 1
        if how == "pooled":
            # A canary without shadows on this side (bernoulli membership) is NaN, which must not reach the pooled sum.
            known = np.where(self.count > 0, self.squares, 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                pooled = known.sum(0, keepdims=True) / np.maximum(freedom, 0).sum(0, keepdims=True)
            return np.maximum(pooled, VARIANCE_FLOOR)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.maximum(self.squares / freedom, VARIANCE_FLOOR)


def sides(signal: np.ndarray, pool: ShadowPool) -> tuple[SideMoments, SideMoments]:
    """Moments of the signal over the IN shadows, and over the OUT shadows, of every target (see `ShadowPool.without_target`).
    signal: canary × view × model, finite."""
    signal = np.asarray(signal, np.float64)
    center = signal.mean(-1, keepdims=True)
    centred = signal - center  # running sums of squares cancel badly far from zero
    return _side(center, centred, pool.member, pool), _side(center, centred, ~pool.member, pool)


def _side(center: np.ndarray, centred: np.ndarray, chosen: np.ndarray, pool: ShadowPool) -> SideMoments:
    """Moments of the signal over the models in `chosen` (canary × model, bool), for every target without it and the model left out
    with it. `centred`: canary × view × model, the signal minus `center` (canary × view × 1), which is added to the means again."""
    mask = chosen[:, None, :].astype(np.float64)
    count, ours = pool.without_target(mask), mask * centred
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = pool.without_target(ours) / count
    powers = ours * centred
    squares = np.maximum(pool.without_target(powers) - count * mean**2, 0.0)
    doubtful = squares < CANCELLED * powers.sum(-1, keepdims=True)
    if doubtful.any():
        _summed_again(squares, mean, doubtful, centred, chosen, pool)
    return SideMoments(count, mean + center, squares)


def _summed_again(
    squares: np.ndarray, mean: np.ndarray, doubtful: np.ndarray, centred: np.ndarray, chosen: np.ndarray, pool: ShadowPool
) -> None:
    """Compute `mean` (of `centred`) and `squares` anew, in place, by direct sums, where `doubtful` (canary × view × target, bool)
    is true: there the terms of the models that are left out make up nearly all of the sum, so that subtraction cancels."""
    where = np.argwhere(doubtful)
    for part in np.array_split(where, max(1, where.size * centred.shape[-1] // 4_000_000)):
        canary, view, target = part.T
        kept = chosen[canary].copy()
        pool.without(kept, canary, target)
        values = centred[canary, view]
        with np.errstate(invalid="ignore", divide="ignore"):
            center = np.where(kept, values, 0.0).sum(1) / kept.sum(1)
        mean[canary, view, target] = center
        squares[canary, view, target] = np.where(kept, (values - center[:, None]) ** 2, 0.0).sum(1)


def usable(first: SideMoments, *others: SideMoments) -> np.ndarray:
    """canary × model, bool: whether each of these sides has at least `MIN_SHADOWS` shadows."""
    enough = first.count[:, 0] >= MIN_SHADOWS
    for side in others:
        enough = enough & (side.count[:, 0] >= MIN_SHADOWS)
    return enough
