"""Lower bounds on epsilon from guesses about members. A bound says "epsilon below x is ruled out", never "epsilon is x".

Every bound is one-sided, at a declared delta and error probability p, for add/remove neighbours, and holds only where
memberships are independent fair coins given everything the guess used, and thresholds were fixed elsewhere. Pooled
leave-one-out rates never become an epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, gammaln, ndtr, ndtri
from scipy.stats import beta

LARGEST = 60.0
"""Bounds are searched up to here; e^60 is beyond any number of trials."""


def clopper_pearson_upper(hits: int, trials: int, p: float) -> float:
    """Upper limit of a proportion with one-sided error p."""
    return 1.0 if hits >= trials else float(beta.ppf(1 - p, hits + 1, trials - hits))


def multi_run(true: int, members: int, false: int, non_members: int, delta: float, p: float = 0.05) -> float:
    """From independent trials (one canary per independent model) and a threshold set beforehand."""
    fnr = clopper_pearson_upper(members - true, members, p / 2)
    fpr = clopper_pearson_upper(false, non_members, p / 2)
    return max(_log_ratio(1 - delta - fnr, fpr), _log_ratio(1 - delta - fpr, fnr), 0.0)


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def gaussian(true: int, members: int, false: int, non_members: int, delta: float, p: float = 0.05) -> float:
    """The same counts under the assumption of a Gaussian trade-off: beside the pure bound, not instead."""
    fnr = clopper_pearson_upper(members - true, members, p / 2)
    fpr = clopper_pearson_upper(false, non_members, p / 2)
    # One direction only: an absolute value would make a confident wrong attack look like leakage.
    return epsilon_of_mu(max(0.0, float(ndtri(1 - fpr) - ndtri(fnr))), delta)


def delta_of_mu(mu: float, epsilon: float) -> float:
    """delta(epsilon) of mu-Gaussian DP (Dong, Roth and Su 2022, corollary 1)."""
    if mu <= 0:
        return 0.0
    return float(ndtr(-epsilon / mu + mu / 2) - math.exp(epsilon) * ndtr(-epsilon / mu - mu / 2))


def epsilon_of_mu(mu: float, delta: float) -> float:
    """The epsilon at which mu-Gaussian DP has this delta; 0 where even epsilon 0 has less."""
    if not math.isfinite(mu):
        return LARGEST
    if delta_of_mu(mu, 0.0) <= delta:
        return 0.0
    if delta_of_mu(mu, LARGEST) > delta:
        return LARGEST
    return float(brentq(lambda epsilon: delta_of_mu(mu, epsilon) - delta, 0.0, LARGEST, xtol=1e-9))


def steinke(correct: int, guesses: int, canaries: int, delta: float, p: float = 0.05) -> float:
    """One run: `guesses` of `canaries` fair coins guessed, `correct` of them rightly (Steinke, Nasr, Jagielski 2023, thm 5.2)."""
    _check_guesses(correct, guesses, canaries)
    return _largest(lambda epsilon: steinke_p_value(epsilon, correct, guesses, canaries, delta) <= p)


def steinke_p_value(epsilon: float, correct: int, guesses: int, canaries: int, delta: float) -> float:
    """Probability, at most, of at least this many right guesses under (epsilon, delta)-DP."""
    q = 1 / (1 + math.exp(-epsilon))
    tail = float(betainc(correct, guesses - correct + 1, q)) if correct else 1.0
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    # Probabilities of one, two, … right guesses fewer, and their running sums; scipy's binom would take ten times as long.
    fewer = np.arange(correct - 1, -1, -1)
    ways = gammaln(guesses + 1) - gammaln(fewer + 1) - gammaln(guesses - fewer + 1)
    inside = np.cumsum(np.exp(ways + fewer * math.log(q) - (guesses - fewer) * (epsilon + math.log1p(math.exp(-epsilon)))))
    return min(1.0, tail + 2 * canaries * delta * float((inside / np.arange(1, correct + 1)).max()))


def f_dp(correct: int, guesses: int, canaries: int, delta: float, p: float = 0.05) -> float:
    """One run against a Gaussian trade-off (Mahloujifar, Melis and Chaudhuri 2024): usually much tighter on equal counts."""
    _check_guesses(correct, guesses, canaries)
    if not correct:
        return 0.0
    low, high = 0.0, 20.0
    if not f_dp_rejects(low, correct, guesses, canaries, p):
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if f_dp_rejects(middle, correct, guesses, canaries, p) else (low, middle)
    return epsilon_of_mu(low, delta)


def f_dp_rejects(mu: float, correct: int, guesses: int, canaries: int, p: float = 0.05) -> bool:
    """Whether so many right guesses rule mu-Gaussian DP out at error p: the recursion of Mahloujifar et al. 2024 overshoots."""
    right = p * correct / canaries
    wrong = p * (guesses - correct) / canaries
    for step in range(correct - 1, -1, -1):
        raised = max(wrong, float(ndtr(ndtri(min(right, 1.0)) - mu)))
        right += step / (guesses - step) * (raised - wrong)
        wrong = raised
        if right + wrong > guesses / canaries:
            return True
    return right + wrong > guesses / canaries


def guess(scores: np.ndarray, member: np.ndarray, in_guesses: int, out_guesses: int) -> int:
    """Right guesses when the highest `in_guesses` are called members and the lowest `out_guesses` non-members; ties by position."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    member = np.asarray(member, bool)[order]
    return int(member[:in_guesses].sum() + (~member[len(member) - out_guesses :]).sum())


def _check_guesses(correct: int, guesses: int, canaries: int) -> None:
    if not 0 <= correct <= guesses <= canaries or guesses < 1:
        raise ValueError(f"{correct} right of {guesses} guesses about {canaries} canaries: these numbers do not fit")


def _largest(ruled_out: Callable[[float], bool]) -> float:
    """The largest epsilon that is ruled out, where what is ruled out is an interval from 0."""
    if not ruled_out(0.0):
        return 0.0
    low, high = 0.0, LARGEST
    for _ in range(45):   # to 2e-12
        middle = (low + high) / 2
        low, high = (middle, high) if ruled_out(middle) else (low, middle)
    return low
