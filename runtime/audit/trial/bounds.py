"""Epsilon lower bounds of a trial: on one model, declared beforehand; and for every bound that may not be stated, the reason.

For trainings without noise there is no true epsilon: a bound says what is ruled out. Not here: the bounds themselves
(`statistics.epsilon`), how many guesses are made (`statistics.one_run`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from compiler.power.epsilon_bounds import f_dp_rejects
from compiler.work.operations import AttackTrial
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.one_run import BOUNDS, Guessed, one_run
from runtime.data.population.roles import Group

FEWEST = 8
"""Canaries: four right guesses of four rule nothing out at 95 %."""

POOLED = "leave-one-out scores of a pool share canaries and models: they are no independent trials"


def lower_bounds(
    work: AttackTrial, group: Group, scores: np.ndarray, member: np.ndarray
) -> Iterator[tuple[str, float | None, int, str]]:
    """Of each bound its name, value (None: not stated), canaries, and how it was found or why it may not be stated."""
    column = scores[:, work.target]
    canaries = int((~np.isnan(column)).sum())
    reason = refusal(work, group, canaries)
    for name in BOUNDS:
        if reason:
            yield name, None, canaries, reason
        else:
            found = guessed(work, column, member[:, work.target], name)
            yield name, found.value, found.canaries, told(work, found)
    for name in ("clopper_pearson", "mu_gdp"):
        yield name, None, 0, POOLED


def refusal(work: AttackTrial, group: Group, canaries: int) -> str:
    """Why nothing can be said about one model, or ""."""
    if work.design == "balanced":
        return "every canary is in equally many shadows: given the others, the target's membership is no coin"
    if group.copies > 1:
        return f"{group.copies} copies of a canary test the privacy of a group of images, not of one"
    return f"{canaries} scored canaries of the target are too few to rule anything out" if canaries < FEWEST else ""


def guessed(work: AttackTrial, scores: np.ndarray, member: np.ndarray, name: str, delta: float | None = None) -> Guessed:
    """The bound of this name on the target's scores (canary)."""
    there = ~np.isnan(scores)
    return one_run(
        BOUNDS[name], scores[there], member[there], delta=work.delta if delta is None else delta, error=1 - work.confidence,
        strategy=work.thresholds,
    )


def told(work: AttackTrial, found: Guessed, delta: float | None = None) -> str:
    """How a bound was found: everything that it must be quoted with."""
    return (
        f"ruled out at confidence {work.confidence:g}, delta {work.delta if delta is None else delta:g}; shadow {work.target}, "
        f"{found.right} of {found.k_plus + found.k_minus} guesses right, {found.canaries} canaries, thresholds {work.thresholds}"
    )


def alarm(work: AttackTrial, group: Group) -> Callable[[np.ndarray, np.ndarray], float]:
    """(scores, member) → 1 where a bound is above zero, 0 where none is, NaN where none may be stated (null control)."""

    def read(scores: np.ndarray, member: np.ndarray) -> float:
        there = ~np.isnan(scores[:, work.target])
        canaries = int(there.sum())
        if refusal(work, group, canaries) or work.thresholds != "preset":
            return np.nan
        side = canaries // 4
        right = epsilon.guess(scores[there, work.target], member[there, work.target], side, side)
        return float(right >= _telling(2 * side, canaries, work.delta, 1 - work.confidence))

    return read


@lru_cache(maxsize=64)
def _telling(guesses: int, canaries: int, delta: float, error: float) -> int:
    """The fewest right guesses that put some bound above zero."""
    return next(
        (
            right
            for right in range(guesses // 2, guesses + 1)
            if epsilon.steinke_p_value(0.0, right, guesses, canaries, delta) <= error
            or f_dp_rejects(0.0, right, guesses, canaries, error)
        ),
        guesses + 1,
    )
