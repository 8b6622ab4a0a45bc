"""Lower bounds on epsilon from guesses of membership. A bound means "epsilon below x is ruled out", never "epsilon is x".

Every bound is one-sided, at a declared delta and error probability p, for add/remove neighbours, and holds only where
memberships are independent fair coins given everything that the guess used, and thresholds were fixed on other data. No bound is
made from pooled leave-one-out rates. Bounds in closed form are shared with planning: `compiler.power.epsilon_bounds`.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betainc, gammaln, ndtri
from scipy.stats import beta

from compiler.power.epsilon_bounds import MAX_EPSILON, bisect, check_guesses, epsilon_of_mu


def clopper_pearson_upper(hits: int, trials: int, p: float) -> float:
    """Upper confidence limit of a proportion with one-sided error p (Clopper and Pearson 1934); 1 where all
    trials are hits, or there are none."""
    return 1.0 if hits >= trials else float(beta.ppf(1 - p, hits + 1, trials - hits))


def multi_run(true: int, members: int, false: int, non_members: int, delta: float, p: float = 0.05) -> float:
    """Epsilon lower bound from counts of true and false positives over independent trials (one canary per independent model), with
    a threshold that was fixed beforehand: Clopper–Pearson limits of both error rates, each at p / 2, so that the bound is wrong
    with a probability of at most p. 0 where nothing is ruled out."""
    fnr = clopper_pearson_upper(members - true, members, p / 2)
    fpr = clopper_pearson_upper(false, non_members, p / 2)
    return max(_log_ratio(1 - delta - fnr, fpr), _log_ratio(1 - delta - fpr, fnr), 0.0)


def _log_ratio(above: float, below: float) -> float:
    """Log of the ratio; 0 where either is not positive."""
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def gaussian(true: int, members: int, false: int, non_members: int, delta: float, p: float = 0.05) -> float:
    """Epsilon lower bound at `delta` from the same counts and limits as `multi_run`, if the mechanism's trade-off function is
    Gaussian (mu-GDP). 0 where nothing is ruled out, at most MAX_EPSILON."""
    fnr = clopper_pearson_upper(members - true, members, p / 2)
    fpr = clopper_pearson_upper(false, non_members, p / 2)
    # One direction only: with an absolute value, an attack that is systematically wrong would look like leakage.
    return epsilon_of_mu(max(0.0, float(ndtri(1 - fpr) - ndtri(fnr))), delta)


def steinke(correct: int, guesses: int, canaries: int, delta: float, p: float = 0.05) -> float:
    """Epsilon lower bound from one run: of `guesses` about `canaries` fair coins, `correct` are right (Steinke, Nasr, Jagielski
    2023, theorem 5.2). 0 where no epsilon is ruled out, at most MAX_EPSILON. ValueError as for `check_guesses`."""
    check_guesses(correct, guesses, canaries)
    if steinke_p_value(0.0, correct, guesses, canaries, delta) > p:
        return 0.0
    return bisect(lambda epsilon: steinke_p_value(epsilon, correct, guesses, canaries, delta) <= p, 0.0, MAX_EPSILON)


def steinke_p_value(epsilon: float, correct: int, guesses: int, canaries: int, delta: float) -> float:
    """Upper bound, at most 1, on the probability of at least `correct` right guesses, of `guesses` about `canaries` fair coins,
    under (epsilon, delta)-DP. The counts are not checked."""
    q = 1 / (1 + math.exp(-epsilon))
    tail = float(betainc(correct, guesses - correct + 1, q)) if correct else 1.0
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    # Probabilities of one, two, … right guesses fewer, and their running sums; scipy's binom would take ten times as long.
    fewer = np.arange(correct - 1, -1, -1)
    ways = gammaln(guesses + 1) - gammaln(fewer + 1) - gammaln(guesses - fewer + 1)
    inside = np.cumsum(np.exp(ways + fewer * math.log(q) - (guesses - fewer) * (epsilon + math.log1p(math.exp(-epsilon)))))
    return min(1.0, tail + 2 * canaries * delta * float((inside / np.arange(1, correct + 1)).max()))


def guess(scores: np.ndarray, member: np.ndarray, in_guesses: int, out_guesses: int) -> int:
    """Number of right guesses when the highest `in_guesses` scores are called members and the lowest `out_guesses` non-members; of
    equal scores the first in position count as higher. The two numbers must sum to at most the number of scores."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    member = np.asarray(member, bool)[order]
    return int(member[:in_guesses].sum() + (~member[len(member) - out_guesses :]).sum())
