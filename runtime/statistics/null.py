"""The null control: the same attack on membership that no model knows must find nothing.

Memberships are redrawn within the design on the very same signals. The mean AUC over redraws must lie in its band around
one half; the redraws also give an exact permutation p-value, valid in spite of all clustering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.spec.audit import Design

BAND = 4.0
"""Standard errors that the mean null AUC may lie from one half: about one false alarm in 16,000 controls."""
SLACK = 0.005
"""Further AUC that is tolerated: `balanced` membership is slightly conservative at few shadows."""


@dataclass(frozen=True)
class Control:
    """What the redraws gave."""

    auc: np.ndarray
    """redraw."""
    tpr: np.ndarray
    """redraw: at the FPR asked for; NaN where not resolvable."""

    @property
    def passed(self) -> bool:
        error = self.auc.std(ddof=1) / np.sqrt(len(self.auc)) if len(self.auc) > 1 else np.inf
        return bool(abs(self.auc.mean() - 0.5) <= BAND * error + SLACK)

    def p_value(self, observed: float) -> float:
        """(1 + redraws at least as large) / (redraws + 1)."""
        return (1 + int((self.tpr >= observed).sum())) / (len(self.tpr) + 1)


def central(redraws: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Where this central share of the redraws lies: what an attack that knows nothing shows on the same pool."""
    low, high = np.quantile(redraws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def redrawn(member: np.ndarray, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Another membership of the same design: orientations flipped, rows permuted, or coins tossed again. canary × shadow."""
    match design:
        case "pairs":
            first = rng.random((len(member), member.shape[1] // 2)) < 0.5
            fresh = np.empty_like(member)
            fresh[:, 0::2], fresh[:, 1::2] = first, ~first
            return fresh
        case "balanced":
            return rng.permuted(member, axis=1)
    # Coins tossed again, given how many came up in each shadow: exact for a coin of any bias, and no side is ever empty.
    return rng.permuted(member, axis=0)


def control(
    attack: Callable[[np.ndarray], np.ndarray],
    read: Callable[[np.ndarray, np.ndarray], tuple[float, float]],
    member: np.ndarray,
    design: Design,
    redraws: int,
    rng: np.random.Generator,
) -> Control:
    """Run `attack(membership) -> scores` and `read(scores, membership) -> (AUC, TPR)` on so many redrawn memberships."""
    found = []
    for _ in range(redraws):
        fresh = redrawn(member, design, rng)
        found.append(read(attack(fresh), fresh))
    auc, tpr = np.array(found, dtype=np.float64).T
    return Control(auc, tpr)
