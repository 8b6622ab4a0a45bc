"""Reading scores: TPR at a declared FPR by the count rule, AUC, ROC points. HIGHER SCORE MEANS MEMBER.

The count rule: distinct scores downwards, each tie block accepted whole or not at all, stopping before
the block that would exceed floor(fpr · n0) false positives. Not here: how sure a reading is (`bootstrap`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

COARSE = 10
"""Readings that allow fewer false positives than this are flagged: a single non-member moves them visibly."""


@dataclass(frozen=True)
class Reading:
    """TPR at one FPR, and everything needed to judge how finely it was read."""

    fpr: float
    value: float | None
    """None where floor(fpr · n0) is 0: the rate cannot be resolved."""
    members: int
    non_members: int
    allowed: int
    """False positives that the rate allows."""
    false_positives: int
    threshold: float | None
    """Smallest accepted score; None if nothing is accepted."""

    @property
    def note(self) -> str:
        if self.value is None:
            return f"not resolvable: {self.non_members} non-member scores allow no false positive at {self.fpr:g}"
        return f"coarse: {self.allowed} false positives allowed" if self.allowed < COARSE else ""


def allowed_false_positives(fpr: float, non_members: int) -> int:
    """floor(fpr · n0) in exact arithmetic: 0.29 · 100 is 28.999… in floating point."""
    return math.floor(Fraction(repr(fpr)) * non_members)


def tpr_at(fpr: float, scores: np.ndarray, member: np.ndarray) -> Reading:
    """TPR at `fpr` by the count rule. `scores` float64 and `member` bool, of one shape; ValueError for NaN."""
    steps = Steps.of(scores, member)
    members, non_members = int(steps.true[-1]), int(steps.false[-1])
    allowed = allowed_false_positives(fpr, non_members)
    if allowed < 1 or members < 1:
        return Reading(fpr, None, members, non_members, allowed, 0, None)
    accepted = int((steps.false <= allowed).sum()) - 1
    threshold = float(steps.threshold[accepted]) if accepted else None
    return Reading(fpr, float(steps.true[accepted]) / members, members, non_members, allowed, int(steps.false[accepted]), threshold)


def auc(scores: np.ndarray, member: np.ndarray) -> float | None:
    """Probability that a member scores higher than a non-member, ties counting half; None without both."""
    steps = Steps.of(scores, member)
    return steps.area() if steps.true[-1] and steps.false[-1] else None


def balanced_accuracy(scores: np.ndarray, member: np.ndarray) -> float | None:
    """Largest mean of TPR and TNR over all thresholds: optimistic, since the threshold is chosen on the same scores."""
    steps = Steps.of(scores, member)
    if not (steps.true[-1] and steps.false[-1]):
        return None
    return float((0.5 * (steps.true / steps.true[-1] + 1 - steps.false / steps.false[-1])).max())


def roc_points(scores: np.ndarray, member: np.ndarray, most: int = 300) -> np.ndarray:
    """points × 2: (FPR, TPR) from (0, 0) to (1, 1), thinned to about `most` points spread evenly in log FPR."""
    steps = Steps.of(scores, member)
    curve = np.stack([steps.false / max(steps.false[-1], 1), steps.true / max(steps.true[-1], 1)], axis=1)
    if len(curve) <= most:
        return curve
    wanted = np.concatenate([[0.0], np.geomspace(1 / max(steps.false[-1], 2), 1.0, most - 1)])
    # The last point at or below each wanted FPR: the upper end of every vertical step, so that no reading is lost.
    return curve[np.unique(np.searchsorted(curve[:, 0], wanted, side="right") - 1)]


@dataclass(frozen=True)
class Steps:
    """The staircase behind every reading: what is accepted after each tie block, beginning with nothing."""

    true: np.ndarray
    """blocks + 1: accepted members."""
    false: np.ndarray
    threshold: np.ndarray
    """blocks + 1: the block's score; the first is +inf."""

    @classmethod
    def of(cls, scores: np.ndarray, member: np.ndarray) -> Steps:
        scores, member = checked(scores, member)
        order = np.argsort(-scores, kind="stable")
        falling, sides = scores[order], member[order]
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
        true = np.concatenate([[0], np.cumsum(sides)[ends]])
        false = np.concatenate([[0], np.cumsum(~sides)[ends]])
        return cls(true, false, np.concatenate([[np.inf], falling[ends]]))

    def area(self) -> float:
        return float(np.trapezoid(self.true, self.false) / (float(self.true[-1]) * float(self.false[-1])))


def checked(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat float64 scores and bool membership; ValueError with the place of the first NaN, or for shapes that differ."""
    scores, member = np.asarray(scores, np.float64), np.asarray(member, bool)
    if scores.shape != member.shape or not scores.size:
        raise ValueError(f"scores of shape {scores.shape} and membership of shape {member.shape} must agree and not be empty")
    if np.isnan(scores).any():
        place = tuple(int(index) for index in np.argwhere(np.isnan(scores))[0])
        raise ValueError(f"the score at {place} is NaN; a score must say something about every trial")
    return scores.ravel(), member.ravel()
