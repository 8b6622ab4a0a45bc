"""Effects with interval and p-values: of figures from scores, of values per shadow, of test images × shadows.

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
    """An effect with its interval, and its p-values against any margin."""

    value: float
    low: float | None
    """None where all paired differences are equal (no standard error), and where the limit is not finite."""
    high: float | None
    """None likewise: a ratio's limit is infinite where the denominator may be 0."""
    n: int
    """Number of units behind the value, as the caller counts them: shadows, images, canaries or scores."""
    p_above: Callable[[float], float]
    """Margin → one-sided p-value of the null hypothesis "the effect is not above it"."""
    p_below: Callable[[float], float]
    """Margin → one-sided p-value of the null hypothesis "the effect is not below it"."""


WRONG = np.geomspace(1e-15, 0.5, 150)
"""One-sided errors at which confidence limits are computed; p-values are interpolated between them."""


def of_one(one: Uncertainty, confidence: float, n: int) -> Estimate:
    """The estimate of one figure: two-sided interval and p-values from the limits of its uncertainty; `n` is passed on."""
    return _of_limits(one.value, one.limits, confidence, n)


def of_two(one: Uncertainty, other: Uncertainty, confidence: float, n: int, ratio: bool = False) -> Estimate:
    """The difference one − other, or the ratio one / other, with an interval from the limits of each, which keeps their skewness,
    and from the correlation of their resamples (MOVER; Zou and Donner 2008). Both must be on the same resamples. A ratio's interval
    is computed on logarithms: both values must be above 0. `n` is passed on."""
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
    """Root of first² − 2 · shared · first · second + second², where `shared` is a correlation; infinite where `first` or `second`
    is not finite."""
    found = np.sqrt(np.maximum(first**2 - 2 * shared * first * second + second**2, 0.0))
    return np.where(np.isfinite(first) & np.isfinite(second), found, np.inf)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two figures over the resamples where both are finite; 0 for fewer than three, or if one hardly varies."""
    there = np.isfinite(first) & np.isfinite(second)
    if there.sum() < 3 or min(first[there].std(), second[there].std()) < 1e-12:
        return 0.0
    return float(np.corrcoef(first[there], second[there])[0, 1])


def _of_limits(value: float, limits: Callable[[Any], tuple[Any, Any]], confidence: float, n: int) -> Estimate:
    """The estimate from `limits`, a function of one-sided errors to (low, high); an end of the interval that is not finite is None.
    p-values invert the limits; where these do not vary (no sampling error), a p-value is 0 or 1."""
    lows, highs = limits(WRONG)
    ends = np.maximum.accumulate(np.concatenate([lows, highs[::-1]]))
    errors = np.concatenate([WRONG, 1 - WRONG[::-1]])
    low, high = (float(end) if np.isfinite(end) else None for end in limits((1 - confidence) / 2))
    counted = bool(ends[-1] - ends[0] < 1e-12)  # no sampling error

    def above(margin: float) -> float:
        return float(value - margin <= 1e-12) if counted else _where_reached(ends, errors, margin)

    def below(margin: float) -> float:
        return float(margin - value <= 1e-12) if counted else _where_reached(-ends[::-1], errors, -margin)

    return Estimate(value, low, high, n, above, below)


def _where_reached(ends: np.ndarray, errors: np.ndarray, margin: float) -> float:
    """p-value by inversion: the largest one-sided error at which the limit is at or below the margin, interpolated geometrically,
    and neither below the first nor above the last of `errors`. ends: the limit at each of `errors`, both rising."""
    after = int(np.searchsorted(ends, margin, side="right"))
    if after in (0, len(ends)):
        return float(errors[min(after, len(ends) - 1)])
    low, high = ends[after - 1], ends[after]
    share = (margin - low) / (high - low) if np.isfinite([low, high]).all() else 1.0
    return float(errors[after - 1] * (errors[after] / errors[after - 1]) ** share)


def from_pairs(differences: np.ndarray, confidence: float) -> Estimate:
    """Student's t on the mean of paired differences, one for each shadow; where all n are equal (or n is 1), no interval, and the
    p-value 2^-n of the sign test if they lie beyond the margin, else 1."""
    mean, n = float(np.mean(differences)), len(differences)
    error = float(np.std(differences, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    if error <= np.finfo(np.float64).eps * abs(mean):
        floor = 0.5**n
        return Estimate(mean, None, None, n, lambda at: floor if mean > at else 1.0, lambda at: floor if mean < at else 1.0)
    return _student(mean, error, n - 1, confidence, n)


def accuracy_of(right: np.ndarray, confidence: float) -> Estimate:
    """Mean accuracy of `right` (image × shadow, 0 or 1) with images and shadows both random; interval on log odds, near 0 and 1
    widened as `Scale.share` states. `n`: images."""
    mean, variance, freedom = _mean_of_cells(right)
    error = variance**0.5 / (mean * (1 - mean)) if variance > 0 else 0.0
    return of_one(Uncertainty(mean, error, freedom, ODDS, len(right), np.empty(0)), confidence, len(right))


def difference_of(cells: np.ndarray, confidence: float) -> Estimate:
    """Mean of paired differences of correctness (image × shadow), images and shadows both random, with Student's t interval. `n`:
    images.

    Where neither the images' means nor the shadows' means vary, the interval is that of `_equal_cells`.
    """
    mean, variance, freedom = _mean_of_cells(cells)
    if variance <= np.finfo(np.float64).eps:
        return _equal_cells(mean, len(cells), confidence)
    return _student(mean, variance**0.5, freedom, confidence, len(cells))


def _mean_of_cells(cells: np.ndarray) -> tuple[float, float, float]:
    """Mean of image × shadow cells, the variance of the mean, and its degrees of freedom.

    The variance is the sum of the clustered variances by image and by shadow minus the cells' noise, which both hold (Cameron,
    Gelbach and Miller 2011), but at least the larger of the two; the degrees of freedom are Satterthwaite's (1946), or the number
    of images where both variances are 0.
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
    """An estimate where all of `images` have the same difference: the interval is the mean ± the upper limit by Clopper and Pearson
    of the share of images that differ, of which 0 were found; p is (1 − d)^images where the mean is d beyond the margin, else 1."""

    def p_value(distance: float) -> float:
        return float((1 - min(distance, 1.0)) ** images) if distance > 0 else 1.0

    half = float(1 - ((1 - confidence) / 2) ** (1 / images))
    return Estimate(mean, mean - half, mean + half, images, lambda at: p_value(mean - at), lambda at: p_value(at - mean))


def _student(mean: float, error: float, freedom: float, confidence: float, n: int) -> Estimate:
    """The estimate of a mean with the standard error `error`, which must be above 0, by Student's t."""
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error

    def p_value(distance: float) -> float:
        return float(stats.t.sf(distance / error, freedom))

    return Estimate(mean, mean - half, mean + half, n, lambda at: p_value(mean - at), lambda at: p_value(at - mean))
