"""The null control: the same attack on redrawn membership, which no model depends on, must find nothing.

Membership is redrawn within its design, on the same signals. Over redraws the mean AUC must lie in a band around one half, the mean
TPR at most a band above the FPR, and an epsilon bound above zero no more often than its error allows; the redraws also give an
exact permutation p-value, valid under any clustering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.language.audit import Design

MAX_STANDARD_ERRORS = 4.0
"""Standard errors by which the mean null AUC may differ from one half: about one false alarm in 16,000 controls."""
AUC_SLACK = 0.005
"""Further deviation of the AUC that is tolerated: `balanced` membership is slightly conservative with few shadows."""
MAX_TPR_RATIO = 1.25
"""Largest tolerated ratio of the null TPR to the expected one: fits from few shadows differ in their tails."""


@dataclass(frozen=True)
class Expected:
    """Expected figures under redrawn membership."""

    tpr: float | None = None
    """TPR at the headline's FPR: (allowed + 1) / (n0 + 1), since a reading stops just before the first false positive too many;
    None where the observed TPR cannot be read: TPRs are then not checked."""
    members: int = 1
    """Number of member scores behind the TPR."""
    alarm: float = 0.05
    """Share of redraws in which a bound may be above zero: its error probability."""


BY_CHANCE = Expected()


@dataclass(frozen=True)
class Control:
    """Figures of the redraws."""

    auc: np.ndarray
    """redraw: AUC."""
    tpr: np.ndarray
    """redraw: TPR at the headline's FPR; NaN where not resolvable."""
    alarm: np.ndarray
    """redraw: 1 where an epsilon bound is above zero, else 0; NaN where there is none."""
    expected: Expected

    @property
    def passed(self) -> bool:
        """Whether there are no complaints."""
        return not self.complaints()

    def complaints(self) -> list[str]:
        """Text for each figure of the redraws outside its band: a mean AUC too far from one half on either side, a mean TPR too
        high, a share of epsilon bounds above zero too high. The TPR is checked only where one is expected, TPR and bounds only
        where every redraw has one, AUC and TPR only with two redraws or more."""
        redraws, found = len(self.auc), []
        error = self.auc.std(ddof=1) / np.sqrt(redraws) if redraws > 1 else np.inf
        if abs(self.auc.mean() - 0.5) > MAX_STANDARD_ERRORS * error + AUC_SLACK:
            found.append(f"mean AUC {self.auc.mean():.3f}")
        if self.expected.tpr is not None and np.isfinite(self.tpr).all():
            # With few redraws their spread may be zero by chance; a rate over so many members has at least this standard error.
            least = np.sqrt(self.expected.tpr / max(self.expected.members, 1))
            error = max(self.tpr.std(ddof=1) if redraws > 1 else np.inf, least) / np.sqrt(redraws)
            if self.tpr.mean() > MAX_TPR_RATIO * self.expected.tpr + MAX_STANDARD_ERRORS * error:
                found.append(f"mean TPR {self.tpr.mean():.3f} where {self.expected.tpr:.3f} is expected")
        if np.isfinite(self.alarm).all():
            p = self.expected.alarm
            if self.alarm.mean() > p + MAX_STANDARD_ERRORS * np.sqrt(p * (1 - p) / redraws):
                found.append(f"epsilon above zero in {self.alarm.mean():.0%} of the redraws")
        return found

    def p_value(self, tpr: float | None, auc: float | None) -> tuple[float, str]:
        """Permutation p-value of the observed figure, (1 + number of redraws at least as large) / (redraws + 1), and the figure's
        name: "TPR", or "AUC" (one half if None) where `tpr` is None or the TPR of some redraw cannot be read."""
        readable = tpr is not None and bool(np.isfinite(self.tpr).all())
        redraws, observed = (self.tpr, tpr) if readable else (self.auc, 0.5 if auc is None else auc)
        return (1 + int((redraws >= observed).sum())) / (len(redraws) + 1), "TPR" if readable else "AUC"


def central(redraws: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Central interval (low, high) that holds the share `confidence` of the redraws."""
    low, high = np.quantile(redraws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def redraw(member: np.ndarray, design: Design, rng: np.random.Generator) -> np.ndarray:
    """canary × shadow, bool: a new membership of the same design. `pairs`: a fair coin for each canary and pair says which shadow
    holds it; `balanced`: each row is permuted; `bernoulli`: each column is permuted, or with a single canary its row."""
    match design:
        case "pairs":
            first = rng.random((len(member), member.shape[1] // 2)) < 0.5
            fresh = np.empty_like(member)
            fresh[:, 0::2], fresh[:, 1::2] = first, ~first
            return fresh
        case "balanced":
            return rng.permuted(member, axis=1)
    # Coins tossed again, given the number of members of each shadow: exact for a coin of any bias; models without members stay so,
    # and no side becomes empty. Where there is one sample alone, membership is permuted over its models.
    return rng.permuted(member, axis=1 if len(member) == 1 else 0)


def run_null_control(
    attack: Callable[[np.ndarray], np.ndarray],
    read: Callable[[np.ndarray, np.ndarray], tuple[float, float, float]],
    member: np.ndarray,
    design: Design,
    redraws: int,
    rng: np.random.Generator,
    expected: Expected = BY_CHANCE,
    same: np.ndarray | None = None,
) -> Control:
    """Run `attack(membership) -> scores` and `read(scores, membership) -> (AUC, TPR, alarm)` on `redraws` (at least one) redrawn
    memberships. `expected` is only stored in the result.

    `same`: canary, index of the distinct sample that each row is, where rows are repeated; these share what is redrawn.
    """
    first, back = (slice(None), slice(None)) if same is None else (np.unique(same, return_index=True)[1], same)
    found = []
    for _ in range(redraws):
        fresh = redraw(member[first], design, rng)[back]
        found.append(read(attack(fresh), fresh))
    auc, tpr, alarm = np.array(found, dtype=np.float64).T
    return Control(auc, tpr, alarm, expected)
