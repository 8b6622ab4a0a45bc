"""Effects: an interval and p-values, of figures read from scores, of shadows, or of test images and shadows.

Not here: what is compared (`audit.compare`), several effects on the same resamples (`simultaneous`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from runtime.audit.statistics.bootstrap import ODDS, Uncertainty


@dataclass(frozen=True)
class Estimate:
    """An effect, and how sure it is on which side of any margin."""

    value: float
    low: float | None
    """None, as `high`, where nothing differs, so that no spread can be seen, and of a ratio to what may be nothing."""
    high: float | None
    n: int
    p_above: Callable[[float], float]
    """Margin → one-sided p-value of "the effect is not above it"."""
    p_below: Callable[[float], float]


WRONG = np.geomspace(1e-15, 0.5, 150)
"""One-sided errors at which limits are read, to be turned into p-values."""


def of_one(one: Uncertainty, confidence: float, n: int) -> Estimate:
    """A figure itself."""
    return _of_limits(one.value, one.limits, confidence, n)


def of_two(one: Uncertainty, other: Uncertainty, confidence: float, n: int, ratio: bool = False) -> Estimate:
    """The difference of two figures, or their ratio, from the limits of each, so that it is as skewed as they are; what resamples
    of both have in common is taken off (Zou and Donner 2008)."""
    scale: Any = np.log if ratio else np.asarray
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = scale(one.value), scale(other.value)
        shared = _correlation(scale(one.resampled), scale(other.resampled))

    def limits(wrong: Any) -> tuple[Any, Any]:
        with np.errstate(divide="ignore", invalid="ignore"):
            (low, high), (under, over) = (tuple(map(scale, side.limits(wrong))) for side in (one, other))
            difference = first - second
            ends = difference - _add(first - low, over - second, shared), difference + _add(high - first, second - under, shared)
        return (np.exp(ends[0]), np.exp(ends[1])) if ratio else ends

    return _of_limits(one.value / other.value if ratio else one.value - other.value, limits, confidence, n)


def _add(first: Any, second: Any, shared: float) -> Any:
    """Root of the sum of squares, less what is shared; infinite where one is."""
    found = np.sqrt(np.maximum(first**2 - 2 * shared * first * second + second**2, 0.0))
    return np.where(np.isfinite(first) & np.isfinite(second), found, np.inf)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    there = np.isfinite(first) & np.isfinite(second)
    if there.sum() < 3 or min(first[there].std(), second[there].std()) < 1e-12:
        return 0.0
    return float(np.corrcoef(first[there], second[there])[0, 1])


def _of_limits(value: float, limits: Callable[[Any], tuple[Any, Any]], confidence: float, n: int) -> Estimate:
    lows, highs = limits(WRONG)
    ends = np.maximum.accumulate(np.concatenate([lows, highs[::-1]]))
    errors = np.concatenate([WRONG, 1 - WRONG[::-1]])
    low, high = (float(end) if np.isfinite(end) else None for end in limits((1 - confidence) / 2))
    counted = bool(ends[-1] - ends[0] < 1e-12)  # and not estimated

    def above(margin: float) -> float:
        return float(value - margin <= 1e-12) if counted else _where_reached(ends, errors, margin)

    def below(margin: float) -> float:
        return float(margin - value <= 1e-12) if counted else _where_reached(-ends[::-1], errors, -margin)

    return Estimate(value, low, high, n, above, below)


def _where_reached(ends: np.ndarray, errors: np.ndarray, margin: float) -> float:
    """The largest error at which the limit is at or below the margin."""
    after = int(np.searchsorted(ends, margin, side="right"))
    if after in (0, len(ends)):
        return float(errors[min(after, len(ends) - 1)])
    low, high = ends[after - 1], ends[after]
    share = (margin - low) / (high - low) if np.isfinite([low, high]).all() else 1.0
    return float(errors[after - 1] * (errors[after] / errors[after - 1]) ** share)


def from_pairs(differences: np.ndarray, confidence: float) -> Estimate:
    """Student's t on paired differences, one for each shadow; where all are equal the sign test, whose p is never below 2^-n."""
    mean, n = float(np.mean(differences)), len(differences)
    error = float(np.std(differences, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    if error <= np.finfo(np.float64).eps * abs(mean):
        floor = 0.5**n
        return Estimate(mean, None, None, n, lambda at: floor if mean > at else 1.0, lambda at: floor if mean < at else 1.0)
    return _student(mean, error, n - 1, confidence, n)


def accuracy_of(right: np.ndarray, confidence: float) -> Estimate:
    """The share of right answers, image × shadow, both drawn; on log odds, where accuracies near 1 scatter evenly. `n`: images."""
    mean, variance, freedom = _mean_of_cells(right)
    error = variance**0.5 / (mean * (1 - mean)) if variance > 0 else 0.0
    return of_one(Uncertainty(mean, error, freedom, ODDS, len(right), np.empty(0)), confidence, len(right))


def difference_of(cells: np.ndarray, confidence: float) -> Estimate:
    """The mean of the paired differences of two accuracies, image × shadow, both drawn. `n`: images.

    Where nothing differs, as for so many images that none does.
    """
    mean, variance, freedom = _mean_of_cells(cells)
    if variance <= np.finfo(np.float64).eps:
        return _equal_cells(mean, len(cells), confidence)
    return _student(mean, variance**0.5, freedom, confidence, len(cells))


def _mean_of_cells(cells: np.ndarray) -> tuple[float, float, float]:
    """Mean, its variance and degrees of freedom, of image × shadow.

    The two variances of means add, less what both count of the cells' own noise (Cameron, Gelbach and Miller 2011); the degrees
    of freedom are those of their sum (Satterthwaite 1946).
    """
    images, shadows = cells.shape
    cells = cells.astype(np.float64)
    mean = float(cells.mean())
    rows, columns = cells.mean(1), cells.mean(0)
    noise = cells - rows[:, None] - columns + mean
    parts = [float(np.var(side, ddof=1) / len(side)) if len(side) > 1 else 0.0 for side in (rows, columns)]
    both = float((noise**2).sum() / max((images - 1) * (shadows - 1), 1) / cells.size)
    freedom = [part**2 / max(len(side) - 1, 1) for part, side in zip(parts, (rows, columns), strict=True)]
    return mean, max(sum(parts) - both, *parts), sum(parts) ** 2 / sum(freedom) if sum(freedom) > 0 else float(images)


def _equal_cells(mean: float, images: int, confidence: float) -> Estimate:
    """Of `images` none is unlike the others: as many as Clopper and Pearson's limit allows might be."""

    def p_value(distance: float) -> float:
        return float((1 - min(distance, 1.0)) ** images) if distance > 0 else 1.0

    half = float(1 - ((1 - confidence) / 2) ** (1 / images))
    return Estimate(mean, mean - half, mean + half, images, lambda at: p_value(mean - at), lambda at: p_value(at - mean))


def _student(mean: float, error: float, freedom: float, confidence: float, n: int) -> Estimate:
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error

    def p_value(distance: float) -> float:
        return float(stats.t.sf(distance / error, freedom))

    return Estimate(mean, mean - half, mean + half, n, lambda at: p_value(mean - at), lambda at: p_value(at - mean))
