"""Attack performance when the threshold must be fixed in advance: thresholds from shadows only, and the PPV at a prior.

For each target the threshold is read, by the count rule, from the non-member scores of the other models without its complement;
then it is applied to the target. The realised false-positive rate differs from the declared one, and is reported
(Revisiting LiRA, arXiv 2603.07567: most of the published precision is lost at priors of 10 % and less).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.audit.statistics.bootstrap import Resamples, allowances


@dataclass(frozen=True)
class Deployed:
    """Rates over all targets, for each resample (or one row for the scores as they are)."""

    tpr: np.ndarray
    """resample: true-positive rate; NaN without members."""
    fpr: np.ndarray
    """resample: realised false-positive rate; NaN without non-members."""

    def ppv(self, prior: float) -> np.ndarray:
        """resample: positive predictive value, the probability that a sample called a member is one, where the share of members is
        `prior`; NaN where no sample is called a member, and where a rate is NaN."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return prior * self.tpr / (prior * self.tpr + (1 - prior) * self.fpr)


def shadow_only(scores: np.ndarray, member: np.ndarray, fpr: float, paired: bool, resamples: Resamples | None = None) -> Deployed:
    """Rates over all shadows, each in turn the target. Its threshold is read by the count rule from the non-member scores of the
    other shadows, if `paired` without its complement: the highest of these scores at or above which more than the allowed number
    lie. Samples whose score is strictly above it are called members; all are where there is no such score, and none where these
    scores allow no false positive at `fpr`. scores (higher = member; NaN is left out), member: canary × shadow.

    Each resample has thresholds of its own; without `resamples` there is one row, the scores as they are.
    """
    canaries, shadows = scores.shape
    one = np.ones((1, canaries)) if resamples is None else resamples.canaries.astype(np.float64)
    two = np.ones((len(one), shadows)) if resamples is None or resamples.shadows is None else resamples.shadows.astype(np.float64)
    there = ~np.isnan(scores)
    canary, shadow = np.nonzero(there & ~member)
    falling = np.argsort(-scores[canary, shadow], kind="stable")
    canary, shadow = canary[falling], shadow[falling]
    values = scores[canary, shadow]
    left_out = [{target, target ^ 1} if paired else {target} for target in range(shadows)]
    total = (one @ (there & ~member).astype(np.float64)) * two  # resample × shadow: weight of its non-members

    every = total.sum(1)
    first = int(4 * allowances(fpr, every)[0].max()) + 50  # only the top of the order can hold a threshold
    true, false = np.zeros(len(one)), np.zeros(len(one))
    for target, gone in enumerate(left_out):
        allowed, resolvable = allowances(fpr, every - total[:, sorted(gone)].sum(1))
        bar = np.full(len(one), np.inf)
        for kept in (min(first, len(values)), len(values)) if resolvable.any() else ():
            ends = np.flatnonzero(np.append(values[1:kept] != values[: kept - 1], True))
            weight = one[:, canary[:kept]] * np.where(np.isin(shadow[:kept], list(gone)), 0.0, two[:, shadow[:kept]])
            refused = (np.cumsum(weight, axis=1)[:, ends] <= allowed[:, None]).sum(1)  # the first tie block above the allowance
            if (refused < len(ends) - 1).all() or kept >= len(values):  # the last block of a part may be cut
                bar = np.where(refused < len(ends), values[ends][np.minimum(refused, len(ends) - 1)], -np.inf)
                break
        bar = np.where(resolvable, bar, np.inf)
        own = np.flatnonzero(there[:, target])
        rising = own[np.argsort(scores[own, target], kind="stable")]
        called = len(rising) - np.searchsorted(scores[rising, target], bar, side="right")  # strictly above the refused block
        for sum_of, side in ((true, member), (false, ~member)):
            counts = np.cumsum((one[:, rising] * side[rising, target])[:, ::-1], axis=1)
            hits = np.take_along_axis(counts, np.maximum(called - 1, 0)[:, None], axis=1)[:, 0] if len(rising) else 0.0
            sum_of += two[:, target] * np.where(called > 0, hits, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Deployed(true / _weighted(there & member, one, two), false / every)


def _weighted(cells: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """resample: sum over `cells` (canary × shadow, bool) of the weight of the canary (`one`: resample × canary) times that of the
    shadow (`two`: resample × shadow)."""
    return np.einsum("rs,rs->r", one @ cells.astype(np.float64), two)
