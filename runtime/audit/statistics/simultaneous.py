"""Several hypotheses at once: scores by which each is told from chance, and p-values that account for all of them.

A score is a standard normal one, made from Student's t, so it goes on beyond what any number of resamples could count. How scores
scatter together where nothing is so is read from the same resamples for all (Westfall and Young 1993; Romano and Wolf 2005), so a
smallest p-value does not hang on the number of hypotheses. Not here: what is compared (`audit.compare`).
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
    """For "an effect is above its margin"."""

    name: str
    """Of what the effect is."""
    score: float
    """Standard normal where the effect lies at the margin; infinite for what is counted and not estimated."""
    scatter: np.ndarray
    """resample: such scores about their middle."""

    @classmethod
    def of(cls, name: str, p: float, resampled: np.ndarray) -> Evidence:
        """With a one-sided p-value, and the effect as it was resampled; half of the resamples or more must say something."""
        there = resampled[np.isfinite(resampled)]
        spread = float(there.std()) if there.size else 0.0
        if not spread > 1e-12:
            return cls(name, float(stats.norm.isf(p)), np.zeros(len(resampled)))
        # A resample that says nothing scatters as another one does.
        whole = np.where(np.isfinite(resampled), resampled, np.resize(there, len(resampled)))
        return cls(name, float(stats.norm.isf(p)), (whole - there.mean()) / spread)


def weakest(parts: Sequence[Evidence]) -> Evidence:
    """For "all of these": an intersection is as sure as its least sure part (Berger 1982)."""
    return min(parts, key=lambda part: part.score)


def strongest(parts: Sequence[Evidence]) -> Evidence:
    """For "one of these": the surest, at a price for having looked at all (Bonferroni), which its resamples pay as well."""

    def paid(score: np.ndarray | float) -> np.ndarray:
        return stats.norm.isf(np.minimum(1.0, len(parts) * stats.norm.sf(score)))

    best = max(parts, key=lambda part: part.score)
    return replace(best, score=float(paid(best.score)), scatter=paid(np.max([part.scatter for part in parts], axis=0)))


def step_down(found: Sequence[Evidence]) -> list[float]:
    """One-sided p-values adjusted for each other: each at most α with a family-wise error of α.

    The highest score is compared with the largest of all scores of each resample, the next with the largest of those that are left.
    Never below what the score says alone, nor below 1 / (resamples + 1).
    """
    scores = np.array([one.score for one in found])
    falling = np.argsort(-scores, kind="stable")
    rest = np.maximum.accumulate(np.stack([found[place].scatter for place in falling])[::-1])[::-1]  # rank × resample
    beyond = (1 + (rest >= scores[falling, None]).sum(1)) / (1 + rest.shape[1])
    adjusted = np.empty(len(found))
    adjusted[falling] = np.maximum.accumulate(np.maximum(beyond, stats.norm.sf(scores[falling])))
    return [float(p) for p in adjusted]


def judge_pairs(sides: Sequence[tuple[Evidence, Evidence]], alpha: float, halves: int = 2) -> list[tuple[Verdict, float]]:
    """Verdict and adjusted p-value of each pair from the evidence for it and against it.

    Each way by itself, so that over all pairs a wrong "supported" and a wrong "refuted" are as rare as of a single pair: one
    step-down over both would count a pair refuted as a reason to be easier on support. Each way takes half of α, but for the
    support of an equivalence (`halves` 1), whose two tests are one-sided already.
    """
    supports, refutes = (step_down([pair[way] for pair in sides]) for way in (0, 1))
    both = [(min(1.0, halves * one), min(1.0, 2 * other)) for one, other in zip(supports, refutes, strict=True)]
    return [("supported" if one <= alpha else "refuted" if other <= alpha else "undecided", min(one, other)) for one, other in both]


def judge_claim(verdicts: Sequence[Verdict], pairs: Literal["all", "any", "none"]) -> Verdict:
    """What the pairs' verdicts say of the claim about them all.

    One pair that breaks `all` or `none`, or carries `any`, is found by looking at all: the step-down pays for that. What all pairs
    must show together (that `all` or `none` holds, `any` does not) could do with less, and is as adjusted as each is.
    """
    if pairs == "none":
        opposite: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
        return judge_claim([opposite[verdict] for verdict in verdicts], "all")
    strong: Verdict = "refuted" if pairs == "all" else "supported"
    if strong in verdicts:
        return strong
    return verdicts[0] if len(set(verdicts)) == 1 else "undecided"
