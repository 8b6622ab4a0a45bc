"""Epsilon bounds from one model's scores. The number of guesses is declared in advance, or its choice is corrected for.

The largest bound over a grid of guesses, uncorrected, is above zero on null data in 41 to 47 % of audits at a nominal 5 %. Not
here: the bounds (`epsilon`), and whether their conditions hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from compiler.language.audit import Strategy
from compiler.power.epsilon_bounds import f_dp
from runtime.audit.statistics import epsilon
from runtime.seeds import numpy_generator

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""How the number of guesses is set; see the spec's `audit.thresholds`."""

SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Guesses on each side, as shares of the canaries, that all strategies but `preset` choose among."""

SPLITS = 15
"""Random splits of `multisplit`, over which a median is taken; more hardly change it."""

OneRun = Callable[[int, int, int, float, float], float]
"""(right, guesses, canaries, delta, error) → epsilon."""

IF_GAUSSIAN = "_if_gaussian"
"""Suffix in the name of a bound that assumes a Gaussian trade-off. On other mechanisms it may exceed the true epsilon: on
randomised response of epsilon 1 in 54 % (128 canaries) to 100 % (1,000) of audits."""

BOUNDS: dict[str, OneRun] = {"steinke": epsilon.steinke, f"f_dp{IF_GAUSSIAN}": f_dp}
"""Name → bound. Steinke's holds for every mechanism, and is the one reported as *the* epsilon."""


@dataclass(frozen=True)
class GuessBound:
    """A one-run bound: epsilon below `value` is ruled out for the model that was scored."""

    value: float
    k_plus: int
    """Number of canaries guessed to be members."""
    k_minus: int
    """Number of canaries guessed to be non-members."""
    right: int
    """Number of right guesses; 0 where all scores are equal and nothing was guessed."""
    canaries: int
    """Number of canaries that the guesses were chosen from."""


def one_run(
    bound: OneRun,
    scores: np.ndarray,
    member: np.ndarray,
    *,
    delta: float,
    error: float,
    strategy: Strategy = "preset",
    guesses: tuple[int, int] | None = None,
) -> GuessBound:
    """The bound from one model's scores (canary, without NaN, higher = member) at the error probability `error`; 0 without guesses
    where all scores are equal. Ties are broken by a fixed random order of the canaries.

    `strategy`: `preset` makes the declared `guesses` (members, non-members; None for a quarter of the canaries each), `split`
    chooses a share of SHARES on one half of the canaries and guesses on the other, `multisplit` is the median of SPLITS such splits
    at half of the error, `bonferroni` the largest bound over SHARES, among which the error is divided. ValueError for no scores,
    and where there would be no guess or more guesses than canaries to choose from.
    """
    scores, member = np.asarray(scores, np.float64), np.asarray(member, bool)
    if scores.min() == scores.max():  # all scores are equal: there is nothing to guess by
        return GuessBound(0.0, 0, 0, 0, len(scores))
    # Ties are broken by position, and users' files often list members first: rows are shuffled.
    turn = numpy_generator(0, None, "audit/guesses").permutation(len(scores))
    scores, member = scores[turn], member[turn]

    def at(count: tuple[int, int], rows: np.ndarray, share: float) -> GuessBound:
        right = epsilon.guess(scores[rows], member[rows], *count)
        return GuessBound(bound(right, sum(count), len(rows), delta, share), *count, right, len(rows))

    def chosen_on(first: np.ndarray, second: np.ndarray, share: float) -> GuessBound:
        best = max(SHARES, key=lambda part: at(_both(len(first), part), first, share).value)
        return at(_both(len(second), best), second, share)

    everyone = np.arange(len(scores))
    half = len(scores) // 2
    match strategy:
        case "preset":
            return at(guesses or _both(len(scores), 1 / 4), everyone, error)
        case "split":
            return chosen_on(everyone[:half], everyone[half:], error)
        case "bonferroni":
            return max((at(_both(len(scores), part), everyone, error / len(SHARES)) for part in SHARES), key=lambda one: one.value)
    # At half of the error the median over splits is valid: twice the median p-value is a p-value.
    turns = numpy_generator(0, None, "audit/splits").permuted(np.tile(everyone, (SPLITS, 1)), axis=1)
    return sorted((chosen_on(one[:half], one[half:], error / 2) for one in turns), key=lambda one: one.value)[SPLITS // 2]


def _both(canaries: int, share: float) -> tuple[int, int]:
    """How many canaries are guessed to be members and how many to be non-members: `share` of all on either side, rounded down, at
    least one."""
    side = max(1, int(canaries * share))
    return side, side
