"""Multiple testing: test statistics of several hypotheses, and p-values adjusted for all of them.

A statistic is the normal quantile of a Student's t p-value, so it is not limited by the number of resamples. The joint null
distribution of all statistics comes from bootstrap resamples that they share (Westfall and Young 1993; Romano and Wolf 2005).
Not here: what is compared (`audit.compare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Evidence:
    """The one-sided test of "an effect is above its margin": the higher the statistic, the stronger the evidence."""

    name: str
    """Metric that the effect is of."""
    score: float
    """Test statistic, the normal quantile of 1 − p: standard normal where the effect equals the margin; ±infinite for p 0 or 1."""
    scatter: np.ndarray
    """resample: the statistic's null distribution, the resampled effects standardised to mean 0 and variance 1; 0 everywhere where
    they do not vary."""

    @classmethod
    def of(cls, name: str, p: float, resampled: np.ndarray) -> Evidence:
        """From the one-sided p-value of the test and the resampled effects (resample), of which those that are not finite take the
        values of others; where at most one is finite or they are equal, `scatter` is 0."""
        there = resampled[np.isfinite(resampled)]
        spread = float(there.std()) if there.size else 0.0
        if not spread > 1e-12:
            return cls(name, float(stats.norm.isf(p)), np.zeros(len(resampled)))
        # A resample without a value takes that of another one.
        whole = np.where(np.isfinite(resampled), resampled, np.resize(there, len(resampled)))
        return cls(name, float(stats.norm.isf(p)), (whole - there.mean()) / spread)


def weakest(parts: Sequence[Evidence]) -> Evidence:
    """The part with the smallest statistic (of equal ones the first): the intersection-union test of "all of these hold" (Berger
    1982). ValueError without parts."""
    return min(parts, key=lambda part: part.score)


def strongest(parts: Sequence[Evidence]) -> Evidence:
    """The test of "at least one of these holds": the largest statistic, with its p-value multiplied by the number of parts and
    capped at 1 (Bonferroni), in the data and in every resample; its name is that of the part with the largest statistic.
    ValueError without parts."""

    def paid(score: np.ndarray | float) -> np.ndarray:
        return stats.norm.isf(np.minimum(1.0, len(parts) * stats.norm.sf(score)))

    best = max(parts, key=lambda part: part.score)
    return replace(best, score=float(paid(best.score)), scatter=paid(np.max([part.scatter for part in parts], axis=0)))


def step_down(found: Sequence[Evidence]) -> list[float]:
    """One-sided p-values, in the order of `found`, adjusted so that rejecting those at most α has a family-wise error of α. All
    `scatter` must be of the same resamples; ValueError for no tests.

    The largest statistic is compared with the maximum of all statistics in each resample, the next one with the maximum of the
    rest. An adjusted p-value is never below the unadjusted one, nor below 1 / (resamples + 1).
    """
    scores = np.array([one.score for one in found])
    falling = np.argsort(-scores, kind="stable")
    rest = np.maximum.accumulate(np.stack([found[place].scatter for place in falling])[::-1])[::-1]  # rank × resample
    beyond = (1 + (rest >= scores[falling, None]).sum(1)) / (1 + rest.shape[1])
    adjusted = np.empty(len(found))
    adjusted[falling] = np.maximum.accumulate(np.maximum(beyond, stats.norm.sf(scores[falling])))
    return [float(p) for p in adjusted]


def judge_pairs(sides: Sequence[tuple[Evidence, Evidence]], alpha: float, halves: int = 2) -> list[tuple[Verdict, float]]:
    """Verdict and adjusted p-value of each pair from the evidence for it and against it; ValueError for no pairs.

    Support and refutation each have a step-down of their own, so that the family-wise error holds for wrong "supported" and for
    wrong "refuted" verdicts: in a common step-down a refuted pair would ease support of the others. Each has half of α, except the
    support of an equivalence (`halves` 1), which consists of two one-sided tests. So the p-values of refutation are doubled, those
    of support are multiplied by `halves` (at most 1), and a side holds where its p-value is at most α, support first. Returned is
    the smaller of a pair's two.
    """
    supports, refutes = (step_down([pair[way] for pair in sides]) for way in (0, 1))
    both = [(min(1.0, halves * one), min(1.0, 2 * other)) for one, other in zip(supports, refutes, strict=True)]
    return [("supported" if one <= alpha else "refuted" if other <= alpha else "undecided", min(one, other)) for one, other in both]


def judge_claim(verdicts: Sequence[Verdict], pairs: Literal["all", "any", "none"]) -> Verdict:
    """The verdict on the claim from the verdicts on its pairs: `all` is refuted by one refuted pair and supported if all are
    supported; `any` is supported by one supported pair and refuted if all are refuted; `none` is refuted by one supported pair and
    supported if all are refuted. Else, and without pairs, undecided.

    The step-down corrects for the search for one pair. That every pair agrees needs no correction; it uses the same adjusted
    verdicts and is conservative.
    """
    if pairs == "none":
        opposite: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
        return judge_claim([opposite[verdict] for verdict in verdicts], "all")
    strong: Verdict = "refuted" if pairs == "all" else "supported"
    if strong in verdicts:
        return strong
    return verdicts[0] if len(set(verdicts)) == 1 else "undecided"
