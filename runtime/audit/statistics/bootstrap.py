"""Bootstrap intervals for clustered scores: those of one canary share its difficulty, those of one model its training noise.

Each resample draws canaries with replacement (all their models go along) and reads the threshold anew by the count rule.
The two-way version also draws models, in pairs where membership is paired. A pooled binomial interval would be about four
times too narrow, so there is none.

Fast because a resample is a vector of weights: the scores are sorted once, and every reading of every resample is a
cumulative sum of weights along that order. `tests/runtime/audit/test_bootstrap.py` has the slow twin that draws rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from scipy import special, stats

from runtime.audit.statistics.roc import LEAST_SHARE, SAME_TPR, check_scores

CHUNK = 250_000
"""Weights held at once: 1 MB, which stays in a core's cache: 128 × 16 scores are read 2,000 times in 0.06 s, with 16 MB in 0.11."""

FEW_CLUSTERS = 20
"""With fewer models (or pairs) than this, their share of the variance is estimated by a jackknife: the bootstrap's is biased
low."""
PART = 5
"""Where models are few, one in so many resamples, at least 100, is repeated with canaries alone resampled."""


@dataclass(frozen=True)
class Resamples:
    """How many times each canary (and, two-way, each model) is drawn in each resample; several trials may share the draws."""

    canaries: np.ndarray
    """resample × canary, counts."""
    shadows: np.ndarray | None = None
    """resample × shadow, counts; None when models are not resampled."""
    same: np.ndarray | None = None
    """canary: index of the distinct sample that each row is, where rows are repeated; these are drawn together. Else None."""

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
        """Draw `count` resamples, each of as many canaries and shadows as there are, with replacement. `shadows` None resamples
        canaries alone; `paired` draws shadows 2j and 2j+1 together, and needs an even number. `same`: see `Resamples.same`; where
        it is given, `canaries` is not used."""
        drawn = _counts(rng, count, canaries) if same is None else _counts(rng, count, int(same.max()) + 1)[:, same]
        if shadows is None:
            return cls(drawn, None, same)
        unit = 2 if paired else 1
        return cls(drawn, np.repeat(_counts(rng, count, shadows // unit), unit, axis=1), same)

    @property
    def units(self) -> int:
        """Number of distinct canaries."""
        return self.canaries.shape[1] if self.same is None else int(self.same.max()) + 1

    @cached_property
    def models(self) -> int:
        """Number of independent models; of pairs, if every resample draws shadows 2j and 2j+1 equally often; 0 where models are not
        resampled."""
        if self.shadows is None:
            return 0
        shadows = self.shadows.shape[1]
        paired = shadows % 2 == 0 and bool((self.shadows[:, ::2] == self.shadows[:, 1::2]).all())
        return shadows // 2 if paired else shadows

    @property
    def parts(self) -> tuple[Resamples, Resamples] | None:
        """For few models: the first of the resamples (see `PART`) with canaries alone drawn, and the jackknife: one row for each
        model or pair, which it leaves out, with every canary once. None for fewer than two models or pairs, for `FEW_CLUSTERS` or
        more, and where models are not resampled."""
        if self.shadows is None or not 2 <= (count := self.models) < FEW_CLUSTERS:
            return None
        unit = self.shadows.shape[1] // count
        left = np.repeat(1 - np.eye(count, dtype=np.int64), unit, axis=1)
        everyone = np.ones((count, self.canaries.shape[1]), dtype=np.int64)
        return Resamples(self.canaries[: max(100, len(self) // PART)], None, self.same), Resamples(everyone, left, self.same)

    def __len__(self) -> int:
        return len(self.canaries)


def _counts(rng: np.random.Generator, resamples: int, of: int) -> np.ndarray:
    """resample × unit: how many times each of `of` units is drawn, with replacement."""
    return rng.multinomial(of, np.full(of, 1 / of), size=resamples)


@dataclass(frozen=True)
class Readings:
    """TPRs, AUC and balanced accuracy of every resample."""

    tpr: dict[float, np.ndarray]
    """FPR → resample; NaN where a resample cannot resolve it."""
    auc: np.ndarray
    """resample; NaN without members or without non-members, as is `balanced_accuracy`."""
    balanced_accuracy: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Readings]) -> Readings:
        """Concatenate along resamples, with the FPRs of the first part; ValueError without any part."""
        tpr = {fpr: np.concatenate([part.tpr[fpr] for part in parts]) for fpr in (parts[0].tpr if parts else ())}
        areas, balanced = ([getattr(part, name) for part in parts] for name in ("auc", "balanced_accuracy"))
        return cls(tpr, np.concatenate(areas), np.concatenate(balanced))


def read_resamples(
    scores: np.ndarray,
    member: np.ndarray,
    fprs: Sequence[float],
    resamples: Resamples,
    there: np.ndarray | None = None,
    strict: bool = False,
) -> Readings:
    """TPR at each FPR, AUC and balanced accuracy of every resample. `scores` (higher = member), `member`: canary × shadow.
    `there` (canary × shadow, bool): the scores that count; None for all. `strict`: see `tpr_at`. A figure is NaN on a resample
    without members or without non-members, a TPR also where it is not resolvable there. ValueError for NaN among the scores that
    count, and for none.
    """
    shadows = np.shape(scores)[1]
    flat, sides = check_scores(scores, member) if there is None else check_scores(scores[there], member[there])
    order = np.argsort(-flat, kind="stable")
    falling, sides = flat[order], sides[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    others = np.diff(np.cumsum(~sides)[ends], prepend=0)  # block: number of non-members that have its score
    shared = np.append(others > 1, False)
    # Between one block without non-members and the next, the rates differ by more members alone, so the largest is at the last.
    peaks = np.append(np.flatnonzero(others[1:]), len(ends) - 1)
    if there is not None and not there.all():
        order = np.flatnonzero(there)[order]
    # Four bytes suffice for an index here, and large pools hold both of them all the time.
    canary, shadow = (place.astype(np.int32) for place in np.divmod(order, shadows))
    blocks = slice(None) if len(ends) == len(falling) else ends  # without ties, a view instead of a copy
    del order, flat, falling

    tpr = {fpr: np.empty(len(resamples)) for fpr in fprs}
    area, balanced = np.empty(len(resamples)), np.empty(len(resamples))
    counts = sides[:, None].astype(np.int32)
    for rows in _chunks(len(resamples), sides.size):
        # block × resample, so that each step goes along rows of resamples; whole numbers, so that no order of adding rounds.
        weight = _columns(resamples.canaries[rows], shadows)[canary]
        if resamples.shadows is not None:
            weight *= _columns(resamples.shadows[rows], shadows)[shadow]
        true = weight * counts
        weight -= true
        false = np.cumsum(weight, axis=0, dtype=weight.dtype, out=weight)[blocks]
        true = np.cumsum(true, axis=0, dtype=true.dtype, out=true)[blocks]
        members, non_members = true[-1], false[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            for fpr in fprs:
                tpr[fpr][rows] = _read(fpr, true, false, shared, strict)
            # The trapezoid of each block: its false positives times the mean of the true positives before and after it.
            new = np.diff(false, axis=0).astype(np.float64)
            under = np.einsum("br,br->r", new, true[1:] + true[:-1]) + np.multiply(false[0], true[0], dtype=np.float64)
            area[rows] = under / 2 / np.multiply(members, non_members, dtype=np.float64)
            rates = true[peaks] / members - false[peaks] / non_members
            balanced[rows] = 0.5 * (1 + np.maximum(rates.max(axis=0), 0.0))
    return Readings(tpr, area, balanced)


def _chunks(count: int, scores: int) -> Iterator[slice]:
    """Slices that cover `count` resamples in order, each of as many as have at most `CHUNK` weights (one for each of `scores`
    scores), but at least one."""
    step = max(1, CHUNK // max(scores, 1))
    return (slice(start, start + step) for start in range(0, count, step))


def _columns(counts: np.ndarray, shadows: int) -> np.ndarray:
    """`counts` (resample × unit) as unit × resample: int32 where the largest sum of a resample's counts times `shadows` is less
    than 2^30, else int64."""
    largest = int(counts.sum(axis=1).max(initial=0)) * shadows
    return np.ascontiguousarray(counts.T, dtype=np.int32 if largest < 2**30 else np.int64)


def _read(fpr: float, true: np.ndarray, false: np.ndarray, shared: np.ndarray, strict: bool) -> np.ndarray:
    """resample: TPR at `fpr` by the count rule, NaN where it is not resolvable; see `Steps.reading`.

    true, false: block × resample, cumulative weights of members and of non-members by falling score. shared: block, whether several
    non-members have its score, with a False at the end.
    """
    allowed, resolvable = allowances(fpr, false[-1], strict)
    accepted, columns = (false <= allowed.astype(false.dtype)).sum(axis=0), np.arange(false.shape[1])
    last = np.maximum(accepted - 1, 0)
    hits, found = (np.where(accepted > 0, side[last, columns], 0) for side in (true, false))
    read, blocked = hits / true[-1], shared[accepted] & (found < allowed * LEAST_SHARE)
    if blocked.any():
        after = np.minimum(accepted, len(true) - 1)
        more, new = (side[after, columns] - before for side, before in ((true, hits), (false, found)))
        with np.errstate(invalid="ignore", divide="ignore"):
            blocked &= (accepted == 0) | ((allowed - found) / new * more / true[-1] > SAME_TPR)
    return np.where(resolvable & ~blocked, read, np.nan)


def allowances(fpr: float, non_members: np.ndarray, strict: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """For each of `non_members`, a (weighted) number n, which must be whole: the false positives allowed at `fpr`, floor(fpr · n)
    as a float, and whether that is at least 1; exact, with `fpr` as the decimal that it prints as. `strict`: instead the largest
    whole number below fpr · n, which may be 0 although floor(fpr · n) is 1, and is −1 for n = 0; the second array still tells
    whether floor(fpr · n) is at least 1."""
    exact = Fraction(repr(fpr))  # a weighted count is a whole number below 2^53
    fits = int(non_members.max(initial=0)) * exact.numerator < 2**62  # else Python's own whole numbers, which have no limit
    products = non_members.astype(np.int64).astype(np.int64 if fits else object) * exact.numerator
    floors = (products // exact.denominator).astype(np.float64)
    if not strict:
        return floors, floors >= 1
    return (-(-products // exact.denominator) - 1).astype(np.float64), floors >= 1


Read = TypeVar("Read")


@dataclass(frozen=True)
class Drawn(Generic[Read]):
    """A figure (or all figures) on the bootstrap resamples, and on those by which the models' share of the variance is found."""

    both: Read
    """On the resamples themselves."""
    canaries: Read | None = None
    """On resamples of canaries alone; None where models are many or not resampled."""
    without: Read | None = None
    """On the data without each model or pair in turn; None likewise."""
    refits: tuple[Read, Read] | None = None
    """On the data without each block of canaries in turn: with the attack fitted anew, and with the fits as they were. None where
    canaries share no fit."""

    @classmethod
    def of(cls, read: Callable[[Resamples], Read], resamples: Resamples, refits: tuple[Read, Read] | None = None) -> Drawn[Read]:
        """Call `read` on the resamples and, where models are few, on both of their `parts`; `refits` as given."""
        canaries, without = map(read, resamples.parts) if resamples.parts is not None else (None, None)
        return cls(read(resamples), canaries, without, refits)

    def spread(self, pick: Callable[[Read], np.ndarray]) -> Drawn[np.ndarray]:
        """The same resamples with one figure, which `pick` takes from each of the readings."""
        canaries, without = (None if part is None else pick(part) for part in (self.canaries, self.without))
        refits = None if self.refits is None else (pick(self.refits[0]), pick(self.refits[1]))
        return Drawn(pick(self.both), canaries, without, refits)


@dataclass(frozen=True)
class Scale:
    """A transform of a figure on which intervals are computed, and its inverse. SHARE and AREA use the number of trials to stay
    finite at 0 and 1; ODDS and RATIO do not stay finite, and PLAIN changes nothing."""

    to: Callable[[Any, int], Any]
    """(figure, trials) → transformed figure."""
    back: Callable[[Any, int], Any]
    share: bool = False
    """Whether figures lie between 0 and 1. Within one trial of either end, and where the error is 0, resamples hardly
    vary, so the limits are widened to those of Clopper and Pearson: an AUC of 1 on 127 canaries does not exclude that one canary in
    100 leaks nothing."""


def _arcsine(share: Any, trials: int) -> Any:
    return np.arcsin(np.sqrt(np.clip((share * trials + 0.375) / (trials + 0.75), 0.0, 1.0)))


def _of_arcsine(angle: Any, trials: int) -> Any:
    share = np.sin(np.clip(angle, 0.0, np.pi / 2)) ** 2
    return np.clip((share * (trials + 0.75) - 0.375) / trials, 0.0, 1.0)


def _log_odds(share: Any, trials: int) -> Any:
    inside = (share * trials + 0.5) / (trials + 1)
    return np.log(inside / (1 - inside))


def _of_log_odds(odds: Any, trials: int) -> Any:
    return np.clip(((trials + 1) * special.expit(odds) - 0.5) / trials, 0.0, 1.0)


SHARE = Scale(_arcsine, _of_arcsine, share=True)
"""Arcsine of the root (Anscombe 1948). By log odds intervals of a TPR at 1 % under heavy tails would be 1.7 times as wide."""
AREA = Scale(_log_odds, _of_log_odds, share=True)
"""Log odds with half a success and half a failure added (Anscombe 1956), for an AUC: it is skewed where models differ in
leakage."""
ODDS = Scale(lambda share, _: special.logit(share), lambda odds, _: special.expit(odds), share=True)
"""Log odds, for an accuracy. With half a success and half a failure added, its intervals at 99.5 % would cover less."""
RATIO = Scale(lambda ratio, trials: np.log(ratio), lambda log, trials: np.exp(log))
PLAIN = Scale(lambda value, trials: value, lambda value, trials: value)


@dataclass(frozen=True)
class Uncertainty:
    """A figure with its standard error and degrees of freedom on a scale, for Student's t intervals."""

    value: float
    error: float
    """Standard error on the scale."""
    freedom: float
    """Degrees of freedom."""
    scale: Scale
    trials: int
    """Number of independent units behind the figure."""
    resampled: np.ndarray
    """resample: the figure; NaN where it cannot be read from the resample."""

    def limits(self, wrong: Any) -> tuple[Any, Any]:
        """Confidence limits (low, high) in the units of the figure, each with one-sided error `wrong` (a number or an array):
        Student's t on the scale, widened as `Scale.share` states. A ratio's upper limit may be infinite."""
        center, half = self.scale.to(self.value, self.trials), stats.t.isf(wrong, self.freedom) * self.error
        with np.errstate(over="ignore"):  # a ratio's upper limit may be infinite
            low, high = (self.scale.back(end, self.trials) for end in (center - half, center + half))
        if self.scale.share and (min(self.value, 1 - self.value) * self.trials < 1 or self.error == 0):
            hits, misses = self.value * self.trials, (1 - self.value) * self.trials
            low = np.minimum(low, stats.beta.ppf(wrong, hits, misses + 1) if hits > 0 else 0.0)
            high = np.maximum(high, stats.beta.isf(wrong, hits + 1, misses) if misses > 0 else 1.0)
        return low, high

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided interval (low, high) with this confidence, a share such as 0.95, in the units of the figure."""
        low, high = self.limits((1 - confidence) / 2)
        return float(low), float(high)


def uncertainty(
    value: float | None,
    spread: Drawn[np.ndarray],
    resamples: Resamples,
    scale: Scale = SHARE,
    trials: int | None = None,
    fits: float | None = None,
) -> Uncertainty | None:
    """Uncertainty of a figure with the estimate `value`; None where `value` is None or not finite, and where fewer than half of
    the resamples give a figure that is finite on the scale.

    The variance is that of the resamples, times n / (n − 1), with n − 1 degrees of freedom; n is the number of canaries, or that of
    models (or pairs) if these are resampled and fewer. Where models are few, it is the models' jackknife variance plus that of
    resampling canaries alone, minus the cells' noise that both hold (Cameron, Gelbach and Miller 2011), with Satterthwaite's
    degrees of freedom (1946), at least n − 1. To it is added the variance due to refitting the attack: `fits` if given, else by
    `variance_of_fits`. `trials`: number of units behind the figure, by default of distinct canaries.
    """
    trials = resamples.units if trials is None else trials
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = _variance(scale.to(spread.both, trials))
    if value is None or not np.isfinite(value) or whole is None:
        return None
    units, models = resamples.units, resamples.models
    count = units if models < 2 else min(units, models)
    variance, freedom = whole * count / max(count - 1, 1), float(max(count - 1, 1))
    alone = None if spread.canaries is None else _variance(scale.to(spread.canaries, trials))
    if alone is not None and spread.without is not None:
        alone *= units / max(units - 1, 1)
        found = _left_out(scale.to(spread.without, trials))
        by_model = whole if found is None else found
        noise = min(max(whole - alone - by_model, 0.0), alone, by_model)
        variance = alone + by_model - noise
        parts = alone**2 / max(units - 1, 1) + by_model**2 / (models - 1)
        freedom = max((alone + by_model) ** 2 / parts, freedom) if parts > 0 else freedom
    variance += variance_of_fits(spread, scale, trials) if fits is None else fits
    return Uncertainty(value, variance**0.5, freedom, scale, trials, spread.both)


def variance_of_fits(spread: Drawn[np.ndarray], scale: Scale, trials: int) -> float:
    """The variance that refitting the attack adds, on `scale`: that of the jackknife over blocks of canaries with the attack fitted
    anew, minus that of the jackknife with the fits as they were. At least 0; 0 without `spread.refits`, and where either jackknife
    has fewer than two finite values. `trials`: number of units behind the figure, which the scale uses."""
    if spread.refits is None:
        return 0.0
    anew, before = (_left_out(scale.to(side, trials)) for side in spread.refits)
    return 0.0 if anew is None or before is None else max(anew - before, 0.0)


def _variance(values: np.ndarray) -> float | None:
    """Variance (divided by n) of the finite values; None where there are none, or fewer than half are finite."""
    there = values[np.isfinite(values)]
    return float(there.var()) if len(there) and 2 * len(there) >= len(values) else None


def _left_out(values: np.ndarray) -> float | None:
    """Jackknife variance from the figure's values without each of several equal parts in turn, those that are finite; None with
    fewer than two."""
    there = values[np.isfinite(values)]
    return (len(there) - 1) / len(there) * float(((there - there.mean()) ** 2).sum()) if len(there) > 1 else None
