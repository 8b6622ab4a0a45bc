"""Lower bounds on epsilon in closed form: what planning and measuring share, by the standard library alone.

A bound from one run: some of the canaries, fair coins, are guessed; so many right guesses rule out every epsilon below the bound.
Not here: bounds that need incomplete beta functions (`runtime.audit.statistics.epsilon`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

STANDARD_NORMAL = NormalDist()
MAX_EPSILON = 60.0
"""Upper end of searches for bounds; e^60 exceeds any number of trials."""


def bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest number in [low, high] up to which `holds` is true, by bisection to 3e-14 of the interval; `low` if there is none.
    Once false, `holds` must stay false for larger numbers."""
    if holds(high):
        return high
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def count_guesses(canaries: int) -> int:
    """Number of guesses of a one-run bound, a quarter of the canaries, rounded down, on each side; 0 for fewer than 8 canaries."""
    return 2 * (canaries // 4) if canaries >= 8 else 0


def check_guesses(correct: int, guesses: int, canaries: int) -> None:
    """ValueError unless 0 ≤ correct ≤ guesses ≤ canaries and guesses ≥ 1."""
    if not 0 <= correct <= guesses <= canaries or guesses < 1:
        raise ValueError(f"{correct} right of {guesses} guesses about {canaries} canaries: these numbers do not fit")


def steinke_ceiling(guesses: int, p: float) -> float:
    """Steinke's lower bound on epsilon with confidence 1 − p if all guesses are right: logit(p^(1/r)) for r guesses, at least 0, at
    delta 0; a larger delta gives a smaller bound.

    Steinke, Nasr and Jagielski 2023, theorem 5.2.
    """
    right = p ** (1 / guesses)
    return max(0.0, math.log(right / (1 - right)))


def f_dp(correct: int, guesses: int, canaries: int, delta: float, p: float = 0.05) -> float:
    """Lower bound on epsilon at `delta`, with confidence 1 − p, from one run in which `correct` of `guesses` guesses about
    `canaries` fair coins are right, if the trade-off is Gaussian (Mahloujifar, Melis and Chaudhuri 2024); 0 where mu = 0 is not
    rejected, or where the bound on mu has a delta of at most `delta` at epsilon 0; at most MAX_EPSILON.

    On equal counts usually much tighter than Steinke's. For a mechanism with another trade-off (randomised response, Laplace) it
    can exceed the true epsilon. ValueError as for `check_guesses`.
    """
    check_guesses(correct, guesses, canaries)
    if not correct or not f_dp_rejects(0.0, correct, guesses, canaries, p):
        return 0.0
    return epsilon_of_mu(bisect(lambda mu: f_dp_rejects(mu, correct, guesses, canaries, p), 0.0, 20.0), delta)


def f_dp_rejects(mu: float, correct: int, guesses: int, canaries: int, p: float = 0.05) -> bool:
    """Whether `correct` right guesses, of `guesses` about `canaries` fair coins, reject mu-Gaussian DP at error p, by the recursion
    of Mahloujifar et al. 2024; `mu` is not negative. The counts are not checked."""
    right = p * correct / canaries
    wrong = p * (guesses - correct) / canaries
    for step in range(correct - 1, -1, -1):
        raised = max(wrong, _cdf(STANDARD_NORMAL.inv_cdf(right) - mu) if right < 1 else 1.0)
        right += step / (guesses - step) * (raised - wrong)
        wrong = raised
        if right + wrong > guesses / canaries:
            return True
    return right + wrong > guesses / canaries


def delta_of_mu(mu: float, epsilon: float) -> float:
    """delta(epsilon) of mu-Gaussian DP (Dong, Roth and Su 2022, corollary 1); 0 for mu ≤ 0."""
    if mu <= 0:
        return 0.0
    return _cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * _cdf(-epsilon / mu - mu / 2)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """The epsilon at which mu-Gaussian DP has this delta, at most MAX_EPSILON, and MAX_EPSILON for a mu that is not finite; 0 where
    the delta of epsilon 0 is not above `delta`."""
    if not math.isfinite(mu):
        return MAX_EPSILON
    return bisect(lambda epsilon: delta_of_mu(mu, epsilon) > delta, 0.0, MAX_EPSILON)


def _cdf(x: float) -> float:
    """Normal distribution function, accurate in the lower tail too (`NormalDist.cdf` of Python 3.11 uses erf)."""
    return math.erfc(-x / math.sqrt(2)) / 2
