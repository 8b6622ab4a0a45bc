"""The null control: the same attack on membership that no model knows must find nothing.

Memberships are redrawn within the design on the very same signals. Over redraws the mean AUC must lie in its band around one
half, the mean TPR in its band around the FPR, and an epsilon bound may be above zero in no more than its share; the redraws also
give an exact permutation p-value, valid in spite of all clustering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.language.audit import Design

MAX_STANDARD_ERRORS = 4.0
"""Standard errors that the mean null AUC may lie from one half: about one false alarm in 16,000 controls."""
AUC_SLACK = 0.005
"""Further AUC that is tolerated: `balanced` membership is slightly conservative at few shadows."""
MAX_TPR_RATIO = 1.25
"""Times the expected TPR that is tolerated: fits from few shadows differ in their tails."""


@dataclass(frozen=True)
class Expected:
    """What membership that no model knows should give."""

    tpr: float | None = None
    """At the FPR asked for: (allowed + 1) / (n0 + 1), since a reading stops just before the first false positive too many."""
    members: int = 1
    """Scores behind the TPR."""
    alarm: float = 0.05
    """Share of redraws in which a bound may be above zero: its error probability."""


BY_CHANCE = Expected()


@dataclass(frozen=True)
class Control:
    """What the redraws gave."""

    auc: np.ndarray
    """redraw."""
    tpr: np.ndarray
    """redraw: at the FPR asked for; NaN where not resolvable."""
    alarm: np.ndarray
    """redraw: 1 where an epsilon bound is above zero, else 0; NaN where there is none."""
    expected: Expected

    @property
    def passed(self) -> bool:
        return not self.complaints()

    def complaints(self) -> list[str]:
        """What the redraws found although there is nothing to find: in the middle, in the tail, or in the bound."""
        redraws, found = len(self.auc), []
        error = self.auc.std(ddof=1) / np.sqrt(redraws) if redraws > 1 else np.inf
        if abs(self.auc.mean() - 0.5) > MAX_STANDARD_ERRORS * error + AUC_SLACK:
            found.append(f"mean AUC {self.auc.mean():.3f}")
        if self.expected.tpr is not None and np.isfinite(self.tpr).all():
            # With few redraws their spread may be nothing by chance; a rate read from so many members has at least this.
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
        """(1 + redraws at least as large) / (redraws + 1), of the TPR, or of the AUC where ties hide the TPR; and of which."""
        readable = tpr is not None and bool(np.isfinite(self.tpr).all())
        redraws, observed = (self.tpr, tpr) if readable else (self.auc, 0.5 if auc is None else auc)
        return (1 + int((redraws >= observed).sum())) / (len(redraws) + 1), "TPR" if readable else "AUC"


def central(redraws: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Where this central share of the redraws lies: what an attack that knows nothing shows on the same pool."""
    low, high = np.quantile(redraws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def redraw(member: np.ndarray, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Another membership of the same design: orientations flipped, rows permuted, or coins tossed again. canary × shadow."""
    match design:
        case "pairs":
            first = rng.random((len(member), member.shape[1] // 2)) < 0.5
            fresh = np.empty_like(member)
            fresh[:, 0::2], fresh[:, 1::2] = first, ~first
            return fresh
        case "balanced":
            return rng.permuted(member, axis=1)
    # Coins tossed again, given how many came up in each shadow: exact for a coin of any bias, models that hold nobody go on to
    # hold nobody, and no side is ever empty. Where each model was asked about one sample alone, the sample's models are permuted.
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
    """Run `attack(membership) -> scores` and `read(scores, membership) -> (AUC, TPR, alarm)` on so many redrawn memberships.

    `same`: canary, number of the sample that it is, where several are the same one.
    """
    first, back = (slice(None), slice(None)) if same is None else (np.unique(same, return_index=True)[1], same)
    found = []
    for _ in range(redraws):
        fresh = redraw(member[first], design, rng)[back]
        found.append(read(attack(fresh), fresh))
    auc, tpr, alarm = np.array(found, dtype=np.float64).T
    return Control(auc, tpr, alarm, expected)
