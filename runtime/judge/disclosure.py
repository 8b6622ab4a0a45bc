"""Tests for copies of members in a released set: a list of copied members at a false-discovery rate, a lower bound on their number,
a test for members on the whole, and the power of the list.

Given: a score for each unit (HIGHER MEANS NEARER to the released set), computed without membership. If the set does not depend on
members, the scores of members and holdout are exchangeable. That is the only assumption.

    list         conformal p-values and Benjamini–Hochberg (Bates, Candès, Lei, Romano, Sesia 2023, theorem 2)
    lower bound  hypergeometric, over thresholds that are declared as ranks
    collection   one statistic, membership labels permuted

There is no upper bound: a copy that is not near in the measured spaces is not found.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache

import numpy as np
from scipy.stats import hypergeom, rankdata

from runtime.seeds import numpy_generator

FDR = 0.05
"""False-discovery rate of the list."""
ERROR = 0.05
"""Error probability of the lower bound and of other one-sided statements."""
RANKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Thresholds of the lower bound, as ranks among all scores, declared in advance; those above half of the pool are left out."""
PERMUTATIONS = 9_999
POWER = 0.8
REHEARSALS = 2_000
"""Simulated random orders of members and holdout units from which power is computed."""
PREFIX = 200
"""Leading units of a simulated order that are read: a list that has not begun by then is taken to be empty."""


def conformal_p(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The conformal p-value of each member, in their order: (1 + holdout units with at least its score) / (holdout units + 1).
    scores, member (bool): one entry for each unit."""
    holdout = np.sort(scores[~member])
    above = len(holdout) - np.searchsorted(holdout, scores[member], side="left")
    return (1 + above) / (len(holdout) + 1)


def discoveries(p: np.ndarray, rate: float = FDR) -> np.ndarray:
    """For each p-value, bool: whether Benjamini and Hochberg's procedure (1995) rejects it at the false-discovery rate `rate`."""
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= rate * np.arange(1, len(p) + 1) / len(p))
    return p <= (ordered[below[-1]] if len(below) else -1.0)


def listed_members(scores: np.ndarray, member: np.ndarray, rate: float = FDR) -> np.ndarray:
    """unit, bool: members that are significantly near to the set at the false-discovery rate `rate`. scores (higher = nearer),
    member (bool): by unit."""
    found = np.zeros(len(scores), bool)
    found[np.flatnonzero(member)[discoveries(conformal_p(scores, member), rate)]] = True
    return found


def phantoms(scores: np.ndarray, member: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """unit, bool: holdout units at least as near to the set as the farthest listed member; none where none is listed. scores
    (higher = nearer), member, listed (bool): by unit."""
    bar = scores[listed].min() if listed.any() else np.inf
    return ~member & (scores >= bar)


def copied_at_least(scores: np.ndarray, member: np.ndarray, error: float = ERROR) -> int:
    """A lower confidence bound on the number of members that the set copies, at one-sided error `error`; 0 where no copy is shown.
    scores (higher = nearer), member (bool): by unit.

    At each threshold: if c of the members above it are copies, the others above it are a draw without replacement from the
    remaining members and the holdout. The bound is the smallest c that a hypergeometric test does not reject; the largest over
    thresholds, with the error divided among them (Bonferroni).
    """
    ranks = [rank for rank in RANKS if rank <= len(scores) / 2] or [max(1, len(scores) // 2)]
    ordered = np.sort(scores)[::-1]
    members, holdout = int(member.sum()), int((~member).sum())
    best = 0
    for rank in ranks:
        above = scores >= ordered[rank - 1]  # a tie block as a whole: which units it holds depends on the pool alone
        inside, outside = int((above & member).sum()), int((above & ~member).sum())

        def contradicts(copied: int, inside: int = inside, outside: int = outside) -> bool:
            others = members - copied
            return float(hypergeom.sf(inside - copied - 1, others + holdout, others, inside - copied + outside)) <= error / len(
                ranks
            )

        # The test rejects less with each further copy, and not at all once all members above are copies: bisection applies.
        best = max(best, bisect_left(range(inside + 1), True, key=lambda copied: not contradicts(copied)))
    return best


def collection_p(scores: np.ndarray, member: np.ndarray, strata: np.ndarray | None = None) -> float:
    """One-sided p-value of a permutation test of "members are no nearer to the set than the holdout": small where members have the
    higher scores. The statistic is the sum of the members' ranks among all units; membership is permuted PERMUTATIONS times, within
    each of the `strata` if they are given. scores, member (bool), strata: one entry for each unit."""
    rng = numpy_generator(0, None, "judge/collection")
    ranks = rankdata(scores)
    groups = [np.arange(len(scores))] if strata is None else [np.flatnonzero(strata == one) for one in np.unique(strata)]
    seen = ranks[member].sum()
    drawn = np.zeros(PERMUTATIONS)
    for rows in groups:
        of = ranks[rows]
        count, fewer = int(member[rows].sum()), min(int(member[rows].sum()), int((~member[rows]).sum()))
        for turn in range(PERMUTATIONS):  # the smaller side is drawn; the other's sum is the rest
            part = of[rng.choice(len(of), fewer, replace=False, shuffle=False)].sum() if fewer else 0.0
            drawn[turn] += part if fewer == count else of.sum() - part
    return float((1 + (drawn >= seen - 1e-6).sum()) / (PERMUTATIONS + 1))


def detectable(members: int, holdout: int, rate: float = FDR, power: float = POWER) -> int:
    """The smallest number of copied members at which the list is not empty with probability `power`, if each copy is nearer than
    every unit that is not copied; found from REHEARSALS simulated orders, whose places are holdout units by independent draws.

    It may exceed the number of members: then this holdout can detect nothing. k copies, followed by the others in random order, are
    listed as soon as (1 + j) / (holdout + 1) ≤ rate · i / members, where i members come before the (j+1)th holdout unit.
    """
    length = min(PREFIX, members + holdout)
    before = np.cumsum(_orders()[:, :length] < holdout / (members + holdout), axis=1)
    more = np.arange(1, length + 1) - before  # members among the first units of the order
    needed = np.ceil(members * (1 + before) / (rate * (holdout + 1)) - 1e-9) - more
    at_once = math.ceil(members / (rate * (holdout + 1)) - 1e-9)
    least = np.maximum(1, np.minimum(at_once, needed.min(axis=1)))
    return int(np.quantile(least, power, method="inverted_cdf"))


@cache
def _orders() -> np.ndarray:
    """REHEARSALS × PREFIX uniform numbers behind the simulated orders, the same at each call; not to be changed."""
    return numpy_generator(0, None, "judge/power").random((REHEARSALS, PREFIX))


def holdout_for(members: int, copies: int, rate: float = FDR, power: float = POWER) -> int:
    """The smallest number of holdout units, of at least two, with which `copies` ≥ 1 copied members make the list not empty with
    probability `power` (see `detectable`)."""
    low, high = 1, 2
    while detectable(members, high, rate, power) > copies:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(members, middle, rate, power) <= copies else (middle, high)
    return high
