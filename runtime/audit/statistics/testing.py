"""Effects by Student's t: an interval and p-values, of shadows, or of test images and shadows; several p-values by Holm.

Not here: what is compared (`audit.compare`), several effects on the same resamples (`simultaneous`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from runtime.audit.statistics.bootstrap import widening


@dataclass(frozen=True)
class Effect:
    """An estimated effect. `above`, `below`: one-sided p-values of "the effect is not above (not below) the margin"."""

    value: float
    low: float | None
    """None, as `high`, where nothing differs, so that no spread can be seen."""
    high: float | None
    n: int
    above: float
    below: float


def from_resamples(
    value: float, resampled: np.ndarray, margin: float, confidence: float, n: int, clusters: int | None = None
) -> Effect | None:
    """Percentile interval and p-values (never below 1 / (resamples + 1)); None if half of the resamples are undefined.

    `clusters`: units that were drawn of what there is least of (`Resamples.clusters`); where they are few, all is widened.
    """
    there = resampled[np.isfinite(resampled)]
    if len(there) < len(resampled) / 2 or not np.isfinite(value):
        return None
    factor = widening(clusters, confidence) if clusters is not None else 1.0
    if not np.isfinite(factor):
        return None
    there = value + factor * (there - value)
    low, high = np.quantile(there, [0.5 - confidence / 2, 0.5 + confidence / 2])
    above, below = ((1 + int(hits.sum())) / (1 + len(there)) for hits in (there <= margin, there >= margin))
    return Effect(value, float(low), float(high), n, above, below)


def from_pairs(differences: np.ndarray, margin: float, confidence: float) -> Effect:
    """Student's t on paired differences, one for each shadow; where all are equal the sign test, whose p is never below 2^-n."""
    mean, n = float(np.mean(differences)), len(differences)
    error = float(np.std(differences, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    if error <= np.finfo(np.float64).eps * abs(mean):
        floor = 0.5**n
        return Effect(mean, None, None, n, floor if mean > margin else 1.0, floor if mean < margin else 1.0)
    return _student(mean, error, n - 1, margin, confidence, n)


def from_cells(cells: np.ndarray, margin: float, confidence: float) -> Effect:
    """The mean of image × shadow, both drawn: of 0 and 1 an accuracy, of paired differences that of two accuracies. `n`: images.

    The two variances of means add, less what both count of the cells' own noise (Cameron, Gelbach and Miller 2011); Student's t
    with the degrees of freedom of their sum (Satterthwaite 1946). Where nothing differs, as for so many images that none does.
    """
    images, shadows = cells.shape
    cells = cells.astype(np.float64)
    mean, n = float(cells.mean()), images
    rows, columns = cells.mean(1), cells.mean(0)
    noise = cells - rows[:, None] - columns + mean
    parts = [float(np.var(side, ddof=1) / len(side)) if len(side) > 1 else 0.0 for side in (rows, columns)]
    both = float((noise**2).sum() / max((images - 1) * (shadows - 1), 1) / cells.size)
    variance = max(sum(parts) - both, *parts)
    if variance <= np.finfo(np.float64).eps:
        return _equal_cells(mean, images, margin, confidence)
    freedom = sum(parts) ** 2 / sum(part**2 / max(len(side) - 1, 1) for part, side in zip(parts, (rows, columns), strict=True))
    return _student(mean, variance**0.5, freedom, margin, confidence, n)


def _equal_cells(mean: float, images: int, margin: float, confidence: float) -> Effect:
    """Of `images` none is unlike the others: as many as Clopper and Pearson's limit allows might be."""

    def unlike(p: float) -> float:
        return float(1 - p ** (1 / images))

    def p_value(distance: float) -> float:
        return float((1 - min(distance, 1.0)) ** images) if distance > 0 else 1.0

    half = unlike((1 - confidence) / 2)
    return Effect(mean, mean - half, mean + half, images, p_value(mean - margin), p_value(margin - mean))


def _student(mean: float, error: float, freedom: float, margin: float, confidence: float, n: int) -> Effect:
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    above = float(stats.t.sf((mean - margin) / error, freedom))
    return Effect(mean, mean - half, mean + half, n, above, 1 - above)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): each at most α with family-wise error α."""
    order = np.argsort(p, kind="stable")
    adjusted, highest = np.empty(len(p)), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return [float(value) for value in adjusted]
