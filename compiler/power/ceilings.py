"""The largest lower bounds on epsilon that an audit of this size can give, if every guess were right.

One run, a quarter of the canaries guessed on each side, as `runtime.audit.trial.metrics` does it; bounds of
`runtime.audit.statistics.epsilon`, which a test keeps equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

NORMAL = NormalDist()
LARGEST = 60.0


def guesses_of(canaries: int) -> int:
    """How many of them one run is guessed about; 0 where no bound is computed."""
    return 2 * (canaries // 4) if canaries >= 8 else 0


def steinke_ceiling(guesses: int, p: float) -> float:
    """logit(p^(1/r)), at delta 0, above which no delta takes it (Steinke, Nasr and Jagielski 2023, theorem 5.2)."""
    right = p ** (1 / guesses)
    return max(0.0, math.log(right / (1 - right)))


def f_dp_ceiling(guesses: int, canaries: int, delta: float, p: float) -> float:
    """By the recursion of Mahloujifar, Melis and Chaudhuri 2024 against a Gaussian trade-off."""
    if not _rules_out(0.0, guesses, canaries, p):
        return 0.0
    return _epsilon_of_mu(_largest(lambda mu: _rules_out(mu, guesses, canaries, p), 20.0), delta)


def _rules_out(mu: float, guesses: int, canaries: int, p: float) -> bool:
    """Whether all guesses right rule mu-Gaussian DP out."""
    right, wrong = p * guesses / canaries, 0.0
    for step in range(guesses - 1, -1, -1):
        raised = max(wrong, NORMAL.cdf(NORMAL.inv_cdf(right) - mu) if right < 1 else 1.0)
        right += step / (guesses - step) * (raised - wrong)
        wrong = raised
        if right + wrong > guesses / canaries:
            return True
    return False


def _epsilon_of_mu(mu: float, delta: float) -> float:
    """The epsilon at which mu-Gaussian DP has this delta (Dong, Roth and Su 2022, corollary 1)."""

    def exceeds(epsilon: float) -> bool:
        return NORMAL.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * NORMAL.cdf(-epsilon / mu - mu / 2) > delta

    return _largest(exceeds, LARGEST) if mu > 0 and exceeds(0.0) else 0.0


def _largest(holds: Callable[[float], bool], high: float) -> float:
    """The largest number up to `high` for which it holds, where it holds from 0 on."""
    low = 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
