"""TPR at a declared FPR by the count rule, AUC, ROC points. HIGHER SCORE MEANS MEMBER.

The count rule: distinct scores downwards, each tie block accepted whole or not at all, stopping before
the block that would exceed floor(fpr · n0) false positives. Not here: intervals (`bootstrap`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

FEW_FALSE_POSITIVES = 10
"""Readings that allow fewer false positives than this are flagged: a single non-member changes them visibly."""
LEAST_SHARE = 0.5
"""Least share of the allowed false positives at which a reading counts as one of the declared rate. Where a tie block stops it
earlier, the TPR is not resolvable, unless breaking the tie at random would change it by at most `SAME_TPR`."""
SAME_TPR = 0.01


@dataclass(frozen=True)
class RateReading:
    """TPR at one FPR, with the counts and ties behind it."""

    fpr: float
    value: float | None
    """None where the rate cannot be resolved: no members, too few non-members, or too many of these share a score."""
    members: int
    non_members: int
    allowed: int
    """Number of false positives that the FPR allows: see `allowed_false_positives`."""
    false_positives: int
    """Number of false positives at the threshold, or where a tie stops the reading; 0 where `by_lot` is None."""
    threshold: float | None
    """Smallest accepted score; None if nothing is accepted, or nothing can be read."""
    shared: int = 0
    """Number of non-members in the tie block that stops the reading; 0 where it is no tie."""
    below: float = 0.0
    """TPR with as many false positives as `false_positives`, of which there may be far fewer than `allowed`."""
    by_lot: float | None = None
    """TPR if the tie that stops the reading is broken at random until `allowed` is reached: linear interpolation on the ROC. None
    without members, and where floor(fpr · n0) is 0."""
    strict: bool = False
    """Whether the FPR at the threshold must be below `fpr`, as in published code; else it may also be equal to it."""

    @property
    def rule(self) -> str:
        """The rule of the reading: `lt` if the FPR at the threshold must be below `fpr`; `count` if it may also be equal to it."""
        return "lt" if self.strict else "count"

    @property
    def realised_fpr(self) -> float | None:
        """`false_positives` as a share of the non-members, also where `value` is None; None without non-members."""
        return self.false_positives / self.non_members if self.non_members else None

    @property
    def note(self) -> str:
        """Why the TPR is not resolvable, or what limits its precision; "" if nothing does."""
        if not self.members:
            return "not resolvable: no scores of members"
        if self.by_lot is None:
            return f"not resolvable: {self.non_members} non-member scores allow no false positive at {self.fpr:g}"
        if self.value is None:
            share, lot = f"{100 * self.shared / self.non_members:.1f} %", f"by lot the TPR would be {100 * self.by_lot:.1f} %"
            if self.threshold is None and not self.below:
                return f"not resolvable: the highest score is shared by {share} of the non-members; {lot}"
            at = f"{100 * self.below:.1f} % can be read at an FPR of {100 * self.false_positives / self.non_members:.2g} %"
            return f"not resolvable: {share} of the non-members share the next score; {at}, {lot}"
        notes = [f"coarse: {self.allowed} false positives allowed"] if self.allowed < FEW_FALSE_POSITIVES else []
        if self.shared and self.false_positives < self.allowed:
            notes.append(f"read at an FPR of {100 * self.false_positives / self.non_members:.2g} %: ties; by lot {self.by_lot:.1%}")
        return "; ".join(notes)


def none_if_infinite(threshold: float | None) -> float | None:
    """The threshold as JSON has it: None where it is infinite, as a score in a user's file may be."""
    return threshold if threshold is not None and math.isfinite(threshold) else None


def allowed_false_positives(fpr: float, non_members: int, strict: bool = False) -> int:
    """floor(fpr · n0) in exact arithmetic, with `fpr` as the decimal that it prints as: 0.29 · 100 is 28.999… in floating point.
    `strict`: the largest whole number below fpr · n0; −1 where fpr · n0 is 0."""
    exact = Fraction(repr(fpr)) * non_members
    return math.ceil(exact) - 1 if strict else math.floor(exact)


def tpr_at(fpr: float, scores: np.ndarray, member: np.ndarray, strict: bool = False) -> RateReading:
    """TPR at `fpr` by the count rule: scores at or above the threshold are called members, and it is the lowest distinct score with
    at most floor(fpr · n0) false positives. The value is None where that number is 0, without members, and where ties stop the
    reading too early (`LEAST_SHARE`). ValueError for NaN, for no scores, and where `scores` and `member` differ in shape.

    `strict` reproduces published code: the last threshold whose FPR is below `fpr`, not at or below it.
    """
    return Steps.of(scores, member).reading(fpr, strict)


def auc(scores: np.ndarray, member: np.ndarray) -> float | None:
    """Probability that a member scores higher than a non-member, ties counting half; None without members or without
    non-members. ValueError as for `check_scores`."""
    return Steps.of(scores, member).area()


def balanced_accuracy(scores: np.ndarray, member: np.ndarray) -> float | None:
    """Largest mean of TPR and TNR over all thresholds at or above which scores are called members: at least 0.5, and optimistic,
    since the threshold is chosen on the same scores. None without members or without non-members. ValueError as for
    `check_scores`."""
    steps = Steps.of(scores, member)
    if not (steps.true[-1] and steps.false[-1]):
        return None
    return float((0.5 * (steps.true / steps.true[-1] + 1 - steps.false / steps.false[-1])).max())


def roc_points(scores: np.ndarray, member: np.ndarray, most: int = 300) -> np.ndarray:
    """points × 2: (FPR, TPR), from (0, 0) to (1, 1). Longer curves are thinned to at most `most` points, spread evenly in log FPR:
    the first is then the highest at FPR 0, and (0, 0) is left out if that is another. Without members every TPR is 0, without
    non-members every FPR. ValueError as for `check_scores`."""
    steps = Steps.of(scores, member)
    curve = np.stack([steps.false / max(steps.false[-1], 1), steps.true / max(steps.true[-1], 1)], axis=1)
    if len(curve) <= most:
        return curve
    wanted = np.concatenate([[0.0], np.geomspace(1 / max(steps.false[-1], 2), 1.0, most - 1)])
    # The last point at or below each wanted FPR is the upper end of its vertical step.
    return curve[np.unique(np.searchsorted(curve[:, 0], wanted, side="right") - 1)]


@dataclass(frozen=True)
class Steps:
    """The ROC's steps: counts of accepted members and non-members after each tie block of falling scores, from (0, 0) on."""

    true: np.ndarray
    """blocks + 1: number of accepted members."""
    false: np.ndarray
    """blocks + 1: number of accepted non-members."""
    threshold: np.ndarray
    """blocks + 1: the block's score; the first is +inf."""

    @classmethod
    def of(cls, scores: np.ndarray, member: np.ndarray) -> Steps:
        """The steps of these scores; ValueError as for `check_scores`."""
        scores, member = check_scores(scores, member)
        order = np.argsort(-scores, kind="stable")
        falling, sides = scores[order], member[order]
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
        true = np.concatenate([[0], np.cumsum(sides)[ends]])
        false = np.concatenate([[0], np.cumsum(~sides)[ends]])
        return cls(true, false, np.concatenate([[np.inf], falling[ends]]))

    def area(self) -> float | None:
        """Area under the ROC curve; None without members or without non-members."""
        both = float(self.true[-1]) * float(self.false[-1])
        return float(np.trapezoid(self.true, self.false) / both) if both else None

    def reading(self, fpr: float, strict: bool = False) -> RateReading:
        """The TPR at `fpr` by the count rule, with its counts; see `tpr_at`."""
        members, non_members = int(self.true[-1]), int(self.false[-1])
        allowed = allowed_false_positives(fpr, non_members, strict)
        if allowed_false_positives(fpr, non_members) < 1 or members < 1:
            return RateReading(fpr, None, members, non_members, allowed, 0, None, strict=strict)
        accepted = int((self.false <= allowed).sum()) - 1
        value, false = float(self.true[accepted]) / members, int(self.false[accepted])
        shared, by_lot = 0, value
        if accepted + 1 < len(self.false):
            new = int(self.false[accepted + 1]) - false
            by_lot += (allowed - false) / new * float(self.true[accepted + 1] - self.true[accepted]) / members
            shared = new if new > 1 else 0
        if shared and false < allowed * LEAST_SHARE and (accepted == 0 or by_lot - value > SAME_TPR):
            return RateReading(fpr, None, members, non_members, allowed, false, None, shared, value, by_lot, strict)
        threshold = float(self.threshold[accepted]) if accepted else None
        return RateReading(fpr, value, members, non_members, allowed, false, threshold, shared, value, by_lot, strict)


def check_scores(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as flat arrays, float64 scores and bool membership; ValueError for shapes that differ, for no scores, and for NaN (with
    the index of the first)."""
    scores, member = np.asarray(scores, np.float64), np.asarray(member, bool)
    if scores.shape != member.shape or not scores.size:
        raise ValueError(f"scores of shape {scores.shape} and membership of shape {member.shape} must agree and not be empty")
    if np.isnan(scores).any():
        place = tuple(int(index) for index in np.argwhere(np.isnan(scores))[0])
        raise ValueError(f"the score at {place} is NaN; a score must say something about every trial")
    return scores.ravel(), member.ravel()
