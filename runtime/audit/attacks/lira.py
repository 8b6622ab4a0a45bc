"""LiRA: the likelihood ratio of a signal under models with and without the canary (Carlini et al. 2022, section V).

Online with IN and OUT shadows; offline with OUT shadows only and one-sided, since a two-sided density would call unusually
low confidence a sign of membership. Views: the mean of per-view log densities, as in all public code.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln

from compiler.language.attacks.lira import Lira, LiraOffline
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers, Score, check_finite
from runtime.audit.attacks.pool import VARIANCE_FLOOR, ShadowPool, SideMoments, sides, usable


def scorer(how: Lira | LiraOffline, answers: Answers, paired: bool) -> Score | None:
    """The attack as a function from membership to scores (see `Score`), a `Likelihood` for `Lira`; None with neither logits nor a
    given signal. For the signals `true_label` and `contrast` None also without logits, where any true label is unknown (negative),
    or where all are the scored labels. `paired`: as in `ShadowPool`. ValueError for a logit, or a signal of logits, that is not
    finite."""
    signal = _signal(how, answers)
    if signal is None:
        return None
    if isinstance(how, LiraOffline):
        return lambda member: lira_offline(signal, ShadowPool(member, paired), how.variant, how.compat)
    return Likelihood(signal, paired, how.variant, how.compat)


def _signal(how: Lira | LiraOffline, answers: Answers) -> np.ndarray | None:
    """canary × view × shadow: the signal that the attack declares, on the first `how.queries` views; None, and ValueError, as of
    `scorer`."""
    if how.signal not in ("true_label", "contrast"):
        return answers.signal(how.signal, how.queries)
    labels, true_labels = answers.labels, answers.group.true_labels.numpy()
    if answers.logits is None or (true_labels < 0).any() or (true_labels == labels).all():
        return None  # true label and scored label differ for mislabeled canaries alone
    asked = answers.logits[:, : how.queries]
    if how.signal == "contrast":
        return check_finite(signals.by_shadow(signals.contrast, asked, labels, true_labels))
    return check_finite(signals.by_shadow(signals.logit, asked, true_labels))


@dataclass(frozen=True)
class Likelihood:
    """LiRA on a signal: a function from membership to scores that can also count its degenerate fits."""

    signal: np.ndarray
    """canary × view × shadow."""
    paired: bool
    variant: str
    compat: tuple[str, ...] = ()

    def __call__(self, member: np.ndarray) -> np.ndarray:
        """canary × shadow: scores under this membership, see `lira`."""
        return lira(self.signal, ShadowPool(member, self.paired), self.variant, self.compat)

    @property
    def shares_fits(self) -> bool:
        """Whether canaries share a variance, so that each one's score depends on the others."""
        return self.variant == "pooled" or "global_variance" in self.compat

    def of(self, kept: np.ndarray) -> Likelihood:
        """The same attack on the canaries where `kept` (canary, bool) is true."""
        return replace(self, signal=self.signal[kept])

    def floored(self, member: np.ndarray) -> tuple[int, int]:
        """(number of fits whose variance is at `VARIANCE_FLOOR`, number of all fits): of both sides, each canary, view and target,
        where the side has at least `MIN_SHADOWS` shadows. The variance is that of `variant`, whatever `compat`."""
        found = [side.floored(self.variant) for side in sides(self.signal, ShadowPool(member, self.paired))]
        return sum(some for some, _ in found), sum(every for _, every in found)


def lira(signal: np.ndarray, pool: ShadowPool, variant: str = "pooled", compat: tuple[str, ...] = ()) -> np.ndarray:
    """canary × model: log density as a member minus as a non-member, leave-one-out, mean over views; higher means member. signal:
    canary × view × model, finite.

    NaN where a side has fewer than `MIN_SHADOWS` shadows. `variant`: `per_example` or `pooled`, a normal density with this variance
    (see `SideMoments.variance`); `student_t`, Student's predictive density with the variance per example.
    `compat` reproduces published code: `median_location` (densities about the shadows' median instead of their mean),
    `global_variance` (for each view and target one variance of all canaries' IN signals about their common mean, used for both
    sides); other entries have no effect.
    """
    signal = np.asarray(signal, np.float64)
    inside, outside = sides(signal, pool)
    if "median_location" in compat:
        inside, outside = _at_median(inside, signal, pool.member, pool), _at_median(outside, signal, ~pool.member, pool)
    shared = _global_variance(signal, pool) if "global_variance" in compat else None

    def density(side: SideMoments) -> np.ndarray:
        return _log_density(signal, side, side.variance(variant) if shared is None else shared, variant)

    ratio = density(inside)
    with np.errstate(invalid="ignore"):  # of sides with too few shadows, which `usable` masks
        ratio -= density(outside)  # in place, one side's variance at a time: of 256 × 50,000 scores the peak is 100 MB lower
    return np.where(usable(inside, outside), ratio.mean(1), np.nan)


def lira_offline(signal: np.ndarray, pool: ShadowPool, variant: str = "pooled", compat: tuple[str, ...] = ()) -> np.ndarray:
    """canary × model: how far the signal lies above its mean over the target's shadows without the canary, in standard deviations,
    mean over views; higher means member. NaN with fewer than `MIN_SHADOWS` such shadows. signal: canary × view × model, finite.

    With one view the order is that of 1 - Pr[Z > signal], which as a number is exactly 1 from z = 8.3 on and so would tie the tail.
    `variant`: as for `lira`; `student_t` widens by the uncertainty of the mean. `compat`: `median_location`, the median instead of
    the mean; `two_sided` (a known mistake), minus the log density instead, so that unusually low signals score high too.
    """
    signal = np.asarray(signal, np.float64)
    _, outside = sides(signal, pool)
    if "median_location" in compat:
        outside = _at_median(outside, signal, ~pool.member, pool)
    variance = outside.variance(variant)
    if "two_sided" in compat:
        score = -_log_density(signal, outside, variance, variant)
    else:
        widened = variance * (1 + 1 / np.maximum(outside.count, 1)) if variant == "student_t" else variance
        score = (signal - outside.mean) / np.sqrt(widened)
    return np.where(usable(outside), score.mean(1), np.nan)


def _log_density(signal: np.ndarray, side: SideMoments, variance: np.ndarray, variant: str) -> np.ndarray:
    """canary × view × model: log density of the signal, normal, or Student's predictive one for `student_t`."""
    if variant == "student_t":
        freedom = np.maximum(side.count - 1, 1)
        scale = np.sqrt(variance * (1 + 1 / np.maximum(side.count, 1)))
        t = (signal - side.mean) / scale
        constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(freedom * math.pi)
        return constant - (freedom + 1) / 2 * np.log1p(t**2 / freedom) - np.log(scale)
    return -0.5 * ((signal - side.mean) ** 2 / variance + np.log(2 * math.pi * variance))


def _at_median(side: SideMoments, signal: np.ndarray, chosen: np.ndarray, pool: ShadowPool) -> SideMoments:
    """The side's moments with `mean` replaced by the median of its shadows; `count` and `squares`, about the mean, are unchanged.
    `chosen`: canary × model, bool, the models of this side."""
    location = np.stack([np.nanmedian(shadows, axis=-1) for shadows in _shadows(signal, chosen, pool)], axis=-1)
    return SideMoments(side.count, location, side.squares)


def _global_variance(signal: np.ndarray, pool: ShadowPool) -> np.ndarray:
    """1 × view × target: variance (divided by n) of the signals of all canaries' IN shadows about their common mean, differences
    between canaries included; at least `VARIANCE_FLOOR`, NaN where there is no such shadow."""
    variance = np.stack([np.nanvar(shadows, axis=(0, 2)) for shadows in _shadows(signal, pool.member, pool)], axis=-1)
    return np.maximum(variance[None], VARIANCE_FLOOR)


def _shadows(signal: np.ndarray, chosen: np.ndarray, pool: ShadowPool) -> Iterator[np.ndarray]:
    """Yield for each target the signals (canary × view × model) of its shadows among the `chosen` models (canary × model, bool),
    NaN elsewhere. All Python warnings are ignored from the first to the last step of the iteration. A loop, for replication
    only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sides without any shadow, which `usable` masks
        for kept in pool.shadows(chosen):
            yield np.where(kept[:, None, :], signal, np.nan)
