"""Verdicts: from a distribution of effects to an interval, a p-value and a word, several at once by Holm.

The distribution is a bootstrap's, or Student's around a mean of paired differences. Not here: what is compared (`attack.compare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["supported", "refuted", "undecided"]


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


def from_resamples(value: float, resampled: np.ndarray, margin: float, confidence: float, n: int) -> Effect | None:
    """Percentile interval and p-values (never below 1 / (resamples + 1)); None if half of the resamples are undefined."""
    there = resampled[np.isfinite(resampled)]
    if len(there) < len(resampled) / 2 or not np.isfinite(value):
        return None
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


def p_values(effects: Sequence[Effect]) -> tuple[float, float]:
    """That supports and that refutes "all of these effects are above their margins", each one half of a two-sided test.

    Supported by the least convincing of them (an intersection of hypotheses: Berger 1982), refuted by the most convincing of those
    below their margin, at a price for having looked at all (Bonferroni).
    """
    supports = max(effect.above for effect in effects)
    refutes = len(effects) * min(effect.below for effect in effects)
    return min(1.0, 2 * supports), min(1.0, 2 * refutes)


def judge_pairs(sides: Sequence[tuple[float, float]], alpha: float) -> list[tuple[Verdict, float]]:
    """Verdict and adjusted p-value of each pair from its two p-values, that supports and that refutes.

    By Holm in each direction, so that over all pairs a wrong "supported" and a wrong "refuted" are as rare as of a single pair,
    whatever depends on what. One step-down over both directions would count a pair refuted as a reason to be easier on support.
    """
    directions = [holm([pair[way] for pair in sides]) for way in (0, 1)]
    return [
        ("supported" if supports <= alpha else "refuted" if refutes <= alpha else "undecided", min(supports, refutes))
        for supports, refutes in zip(*directions, strict=True)
    ]


def judge_claim(verdicts: Sequence[Verdict], pairs: Literal["all", "any", "none"]) -> Verdict:
    """What the pairs' verdicts say of the claim about them all.

    One pair that breaks `all` or `none`, or carries `any`, is found by looking at all: Holm pays for that. What all pairs must
    show together (that `all` or `none` holds, `any` does not) could do with less, and is as adjusted as what is printed of each.
    """
    if pairs == "none":
        opposite: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
        return judge_claim([opposite[verdict] for verdict in verdicts], "all")
    strong: Verdict = "refuted" if pairs == "all" else "supported"
    if strong in verdicts:
        return strong
    if all(verdict == verdicts[0] for verdict in verdicts):
        return verdicts[0]
    return "undecided"
