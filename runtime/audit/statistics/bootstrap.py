"""Intervals that respect clusters: scores of one canary share its difficulty, scores of one model its training noise.

Each resample draws canaries with replacement (all their models go along) and reads the threshold anew by the count rule.
The two-way version also draws models, in pairs where membership is paired. A pooled binomial interval would be about four
times too narrow, so there is none.

Fast because a resample is a vector of weights: the scores are sorted once, and every reading of every resample is a
cumulative sum of weights along that one order. `tests/runtime/audit/test_bootstrap.py` has the slow twin that really resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy import stats

from runtime.audit.statistics.roc import LEAST_SHARE, SAME_TPR, check_scores

CHUNK = 500_000
"""Weights held at once: 4 MB, which stay in a core's cache: 128 × 16 scores are read 2,000 times in 0.08 s, with 32 MB in 0.24."""

FEW_CLUSTERS = 20
"""Fewer than this and a bootstrap's spread is visibly too small: intervals are widened as Student's are."""
PART = 5
"""Where models are few, one in so many resamples draws canaries alone as well."""


@dataclass(frozen=True)
class Resamples:
    """How often each canary (and, two-way, each model) was drawn in each resample; the same for all trials that share them."""

    canaries: np.ndarray
    """resample × canary, counts."""
    shadows: np.ndarray | None = None
    """resample × shadow, counts; None when models are not resampled."""
    same: np.ndarray | None = None
    """canary: number of the sample that it is, where several are the same; they are drawn together. None where none are."""

    @classmethod
    def draw(
        cls,
        count: int,
        canaries: int,
        rng: np.random.Generator,
        shadows: int | None = None,
        paired: bool = True,
        same: np.ndarray | None = None,
    ) -> Resamples:
        """`shadows` None resamples canaries only; `paired` draws shadows 2j and 2j+1 together."""
        drawn = _counts(rng, count, canaries) if same is None else _counts(rng, count, int(same.max()) + 1)[:, same]
        if shadows is None:
            return cls(drawn, None, same)
        unit = 2 if paired else 1
        return cls(drawn, np.repeat(_counts(rng, count, shadows // unit), unit, axis=1), same)

    @property
    def units(self) -> int:
        """Canaries that were drawn."""
        return self.canaries.shape[1] if self.same is None else int(self.same.max()) + 1

    @cached_property
    def models(self) -> int:
        """Shadows that were drawn, or pairs of them; 0 where none were."""
        if self.shadows is None:
            return 0
        shadows = self.shadows.shape[1]
        paired = shadows % 2 == 0 and bool((self.shadows[:, ::2] == self.shadows[:, 1::2]).all())
        return shadows // 2 if paired else shadows

    @property
    def clusters(self) -> int:
        """Units that were drawn of what there is least of."""
        return min(self.units, self.models) if self.shadows is not None else self.units

    @property
    def parts(self) -> tuple[Resamples, Resamples] | None:
        """Canaries drawn alone, in some of the resamples; all canaries without each model or pair. None unless models are few."""
        if self.shadows is None or not 2 <= (count := self.models) < FEW_CLUSTERS:
            return None
        unit = self.shadows.shape[1] // count
        left = np.repeat(1 - np.eye(count, dtype=np.int64), unit, axis=1)
        everyone = np.ones((count, self.canaries.shape[1]), dtype=np.int64)
        return Resamples(self.canaries[: max(100, len(self) // PART)], None, self.same), Resamples(everyone, left, self.same)

    def __len__(self) -> int:
        return len(self.canaries)


def _counts(rng: np.random.Generator, resamples: int, of: int) -> np.ndarray:
    return rng.multinomial(of, np.full(of, 1 / of), size=resamples)


@dataclass(frozen=True)
class Readings:
    """The same figures read from every resample."""

    tpr: dict[float, np.ndarray]
    """FPR → resample; NaN where a resample cannot resolve it."""
    auc: np.ndarray
    balanced_accuracy: np.ndarray


def read_resamples(
    scores: np.ndarray,
    member: np.ndarray,
    fprs: Sequence[float],
    resamples: Resamples,
    there: np.ndarray | None = None,
    strict: bool = False,
) -> Readings:
    """TPR at each FPR, AUC and balanced accuracy of every resample. `scores`, `member`: canary × shadow.

    `there` (canary × shadow, bool): only these scores count; the others take no part, whatever is drawn. `strict`: see `tpr_at`.
    """
    shadows = np.shape(scores)[1]
    flat, sides = check_scores(scores, member) if there is None else check_scores(scores[there], member[there])
    order = np.argsort(-flat, kind="stable")
    falling, sides = flat[order], sides[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    shared = np.append(np.diff(np.cumsum(~sides)[ends], prepend=0) > 1, False)  # block: whether several non-members have its score
    if there is not None and not there.all():
        order = np.flatnonzero(there)[order]
    # Four bytes suffice for an index here, and large pools hold both of them all the time.
    canary, shadow = (place.astype(np.int32) for place in np.divmod(order, shadows))
    blocks = slice(None) if len(ends) == len(falling) else ends  # without ties nothing need be picked out, nor copied
    del order, flat, falling

    tpr = {fpr: np.empty(len(resamples)) for fpr in fprs}
    area, balanced = np.empty(len(resamples)), np.empty(len(resamples))
    step = max(1, CHUNK // max(sides.size, 1))
    for start in range(0, len(resamples), step):
        rows = slice(start, start + step)
        weight = resamples.canaries[rows][:, canary].astype(np.float64)
        if resamples.shadows is not None:
            weight *= resamples.shadows[rows][:, shadow]
        true = np.cumsum(weight * sides, axis=1)[:, blocks]
        false = np.cumsum(weight * ~sides, axis=1)[:, blocks]
        members, non_members = true[:, -1], false[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            for fpr in fprs:
                tpr[fpr][rows] = _read(fpr, true, false, shared, strict)
            new = np.diff(false, axis=1, prepend=0.0)
            # The trapezoid under each block: what it adds to the false, times the mean of the true before and after it.
            under = np.einsum("rb,rb->r", new[:, 1:], true[:, 1:] + true[:, :-1]) + new[:, 0] * true[:, 0]
            area[rows] = under / 2 / (members * non_members)
            rates = true / members[:, None] - false / non_members[:, None]
            balanced[rows] = 0.5 * (1 + np.maximum(rates.max(axis=1), 0.0))
    return Readings(tpr, area, balanced)


def _read(fpr: float, true: np.ndarray, false: np.ndarray, shared: np.ndarray, strict: bool) -> np.ndarray:
    """The count rule on each row of cumulated weights: see `Steps.reading`."""
    allowed, resolvable = allowances(fpr, false[:, -1], strict)
    accepted = (false <= allowed[:, None]).sum(axis=1)
    last = np.maximum(accepted - 1, 0)[:, None]
    hits, found = (np.where(accepted > 0, np.take_along_axis(side, last, axis=1)[:, 0], 0.0) for side in (true, false))
    read, blocked = hits / true[:, -1], shared[accepted] & (found < allowed * LEAST_SHARE)
    if blocked.any():
        after = np.minimum(accepted, true.shape[1] - 1)[:, None]
        more, new = (np.take_along_axis(side, after, axis=1)[:, 0] - before for side, before in ((true, hits), (false, found)))
        with np.errstate(invalid="ignore", divide="ignore"):
            blocked &= (accepted == 0) | ((allowed - found) / new * more / true[:, -1] > SAME_TPR)
    return np.where(resolvable & ~blocked, read, np.nan)


def allowances(fpr: float, non_members: np.ndarray, strict: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """False positives that each weighted number of non-members allows, and whether it allows one at all; exact in integers."""
    exact = Fraction(repr(fpr))  # a weighted count is a whole number below 2^53
    products = [int(count) * exact.numerator for count in non_members]
    floors = np.array([product // exact.denominator for product in products], dtype=np.float64)
    if not strict:
        return floors, floors >= 1
    return np.array([-(-product // exact.denominator) - 1 for product in products], dtype=np.float64), floors >= 1


def widening(clusters: int, confidence: float = 0.95) -> float:
    """By how much a percentile interval from so few clusters is too narrow: √(G / (G - 1)) · t / z (Hesterberg 2015, 3.2.3)."""
    if clusters >= FEW_CLUSTERS:
        return 1.0
    if clusters < 2:
        return np.inf
    t = stats.t.ppf(0.5 + confidence / 2, clusters - 1) / stats.norm.ppf(0.5 + confidence / 2)
    return float(np.sqrt(clusters / (clusters - 1)) * t)


@dataclass(frozen=True)
class Spread:
    """How a share varies over resamples, and what of it is the models': the input of `interval_of_share`."""

    both: np.ndarray
    """resample: all that was drawn."""
    canaries: np.ndarray | None
    """resample: canaries alone; None where nothing else was drawn, or models are many."""
    without: np.ndarray | None
    """model (or pair): read without it, of all canaries; None likewise."""


Read = TypeVar("Read")


def read_each(read: Callable[[Resamples], Read], resamples: Resamples) -> tuple[Read, Read | None, Read | None]:
    """What is read from the resamples, and where models are few from their `parts`."""
    parts = resamples.parts
    return (read(resamples), None, None) if parts is None else (read(resamples), read(parts[0]), read(parts[1]))


def spread_of(each: tuple[Read, Read | None, Read | None], pick: Callable[[Read], np.ndarray]) -> Spread:
    """One figure of what `read_each` read."""
    both, canaries, without = each
    return Spread(pick(both), None if canaries is None else pick(canaries), None if without is None else pick(without))


def interval_of_share(
    value: float | None, spread: Spread, confidence: float, resamples: Resamples, canaries: int | None = None, near: float = 1.0
) -> tuple[float, float] | None:
    """Interval of a share that was read as `value`; None where most resamples cannot read it.

    Percentiles. Where models are few, on the logit scale: the variance from canaries drawn alone, plus the models' from leaving
    each out (a jackknife), less the cells' noise that both count, the models' part widened (Hesterberg 2015, 3.2.3);
    the hull of the normal interval of that variance and of the percentiles at its width, which keep the skew. Less than `near`
    canaries from 0 or 1, where resamples repeat what they were drawn from, the hull with Clopper and Pearson's interval of
    `canaries` trials.
    """
    around = interval(spread.both, confidence)
    if value is None or around is None:
        return None
    trials = resamples.units if canaries is None else canaries
    if spread.canaries is not None and spread.without is not None:
        around = _of_few_models(value, spread, confidence, trials, around)
    if min(value, 1 - value) * trials < near or around[0] == around[1]:
        hits, error = value * trials, (1 - confidence) / 2
        low = float(stats.beta.ppf(error, hits, trials - hits + 1)) if hits > 0 else 0.0
        high = float(stats.beta.ppf(1 - error, hits + 1, trials - hits)) if hits < trials else 1.0
        around = min(around[0], low), max(around[1], high)
    return around


def _of_few_models(
    value: float, spread: Spread, confidence: float, trials: int, around: tuple[float, float]
) -> tuple[float, float]:
    assert spread.canaries is not None
    assert spread.without is not None
    count = len(spread.without)
    factor = widening(count, confidence)
    if not np.isfinite(factor):
        return 0.0, 1.0
    center, low, high = _logit(np.array([value, *around]), trials).tolist()
    whole, alone = (float(np.nanvar(_logit(side, trials))) for side in (spread.both, spread.canaries))
    left = _logit(spread.without[np.isfinite(spread.without)], trials)
    models = (count - 1) / count * float(((left - left.mean()) ** 2).sum()) if len(left) else whole
    noise = min(max(whole - alone - models, 0.0), alone, models)
    variance = alone + (models - noise) * factor**2
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * variance**0.5
    scale = (variance / whole) ** 0.5 if whole > 0 else 1.0
    return (
        _share(min(center - half, center - scale * (center - low)), trials),
        _share(max(center + half, center + scale * (high - center)), trials),
    )


def _logit(share: np.ndarray, trials: int) -> np.ndarray:
    """Log odds of `share` successes among `trials`, with half a success and half a failure added (Haldane 1956; Anscombe 1956)."""
    inside = (share * trials + 0.5) / (trials + 1)
    return np.asarray(np.log(inside / (1 - inside)))


def _share(logit: float, trials: int) -> float:
    """The share, 0 to 1, whose log odds with those halves added are `logit`."""
    return float(np.clip(((trials + 1) / (1 + np.exp(-logit)) - 0.5) / trials, 0.0, 1.0))


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of the resamples that say something; None if fewer than half do."""
    there = values[np.isfinite(values)]
    if len(there) * 2 < len(values) or not len(there):
        return None
    low, high = np.quantile(there, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
