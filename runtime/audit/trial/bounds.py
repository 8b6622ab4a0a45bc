"""Epsilon lower bounds as declared beforehand; and for every bound that may not be stated, the reason.

A one-run bound is about one model, the target, and holds only if that model's memberships are independent fair coins given all that
the attack used. A multi-run bound needs independent trials: one sample in each of many models. Pooled leave-one-out scores are
neither. Training without noise has no finite epsilon: a bound then only states which values are ruled out.
Not here: the bounds themselves (`statistics.epsilon`), how many guesses are made (`statistics.one_run`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from compiler.language.audit import Design
from compiler.power.epsilon_bounds import f_dp_rejects
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.one_run import BOUNDS, IF_GAUSSIAN, one_run
from runtime.audit.statistics.roc import none_if_infinite
from runtime.audit.trial.terms import Conditions, Terms
from runtime.seeds import numpy_generator

MIN_CANARIES = 8
"""Least number of scored canaries for a one-run bound: with four right guesses of four nothing is ruled out at 95 %."""
MULTI_RUN: dict[str, Callable[..., float]] = {"clopper_pearson": epsilon.multi_run, f"mu_gdp{IF_GAUSSIAN}": epsilon.gaussian}

POOLED = "leave-one-out scores of a pool share canaries and models: they are no independent trials"
BALANCED = "equally many shadows: given the others, the target's membership is no coin"


@dataclass(frozen=True)
class Bound:
    """Epsilon below `value` is ruled out, for the target or for the mechanism; it is no estimate of epsilon."""

    value: float | None
    """None where no bound may be stated."""
    note: str
    """Conditions that the bound must be quoted with; where there is none, the reason."""
    n: int = 0
    """Of one run, the number of canaries that the guesses were chosen from; where no bound may be stated, of the target's scored
    canaries. Of many runs, the number of models that the threshold was tested on; 0 where no bound may be stated."""
    how: Mapping[str, float] = field(default_factory=dict)
    """confidence and delta; of one run target, k_plus (canaries called members) and k_minus; of many runs threshold, members,
    non_members. Empty without a value."""

    def as_json(self) -> dict[str, Any]:
        """As JSON: `value`, the entries of `how`, a threshold None where it is infinite, and `note`; without a value `value` None
        and `reason`, which is the note."""
        if self.value is None:
            return {"value": None, "reason": self.note}
        return {"value": self.value, **{name: none_if_infinite(value) for name, value in self.how.items()}, "note": self.note}


def lower_bounds(terms: Terms, conditions: Conditions, scores: np.ndarray, member: np.ndarray) -> dict[str, Bound]:
    """Name → bound, for all of BOUNDS and MULTI_RUN; without a value, and with the reason as its note, where one may not be stated.
    Bounds of one run are about the target, those of many runs about the first canary. scores (higher = member), member: canary ×
    shadow; the target's NaN scores are left out. ValueError as for `one_run`, where no reason excludes it."""
    there = ~np.isnan(scores[:, terms.target])
    column, sides = scores[there, terms.target], member[there, terms.target]
    found: dict[str, Bound] = {}
    reason = conditions.one_run(sides)
    for name in BOUNDS:
        found[name] = Bound(None, reason, len(column)) if reason else one_run_bound(name, terms, column, sides, terms.delta)
    for name in MULTI_RUN:
        reason = conditions.multi_run
        found[name] = Bound(None, reason) if reason else multi_run_bound(name, terms, scores[0], member[0])
    return found


def one_run_refusal(design: Design, copies: int, canaries: int) -> str:
    """Why no one-run bound may be stated about a model of a trial: membership is `balanced`, a canary has several copies, or fewer
    than MIN_CANARIES are scored; "" if one may. `canaries`: number of scored ones."""
    if design == "balanced":
        return f"every canary is in {BALANCED}"
    if copies > 1:
        return f"{copies} copies of a canary test the privacy of a group of images, not of one"
    return f"{canaries} scored canaries of the target are too few to rule anything out" if canaries < MIN_CANARIES else ""


def one_run_bound(name: str, terms: Terms, scores: np.ndarray, member: np.ndarray, delta: float) -> Bound:
    """The one-run bound of this name (a key of BOUNDS) at `delta` on the target's scores (canary, without NaN); ValueError as for
    `one_run`."""
    found = one_run(BOUNDS[name], scores, member, delta=delta, error=terms.error, strategy=terms.thresholds, guesses=terms.guesses)
    note = (
        f"ruled out at confidence {terms.confidence:g}, delta {delta:g}; shadow {terms.target}, {found.right} of "
        f"{found.k_plus + found.k_minus} guesses right, {found.canaries} canaries, thresholds {terms.thresholds}{_assumption(name)}"
    )
    how = {"confidence": terms.confidence, "delta": delta, "target": terms.target}
    return Bound(found.value, note, found.canaries, how | {"k_plus": found.k_plus, "k_minus": found.k_minus})


def _assumption(name: str) -> str:
    """Text for a bound's note if it assumes a Gaussian trade-off, else empty."""
    return "; only if the trade-off is Gaussian" if name.endswith(IF_GAUSSIAN) else ""


def multi_run_bound(name: str, terms: Terms, scores: np.ndarray, member: np.ndarray) -> Bound:
    """The bound of this name (a key of MULTI_RUN) on one sample's scores (model, at least two, without NaN): the threshold, at or
    above which a score counts as a member's, is chosen on a random half of the models (always the same) and tested on the rest."""
    turn = numpy_generator(0, None, "audit/halves").permutation(len(scores))
    half = len(scores) // 2
    first, second = turn[:half], turn[half:]

    def at(threshold: float, rows: np.ndarray) -> float:
        called, sides = scores[rows] >= threshold, member[rows]
        true, false, members = int((called & sides).sum()), int((called & ~sides).sum()), int(sides.sum())
        return MULTI_RUN[name](true, members, false, len(rows) - members, terms.delta, terms.error)

    candidates = np.unique(np.quantile(scores[first], np.linspace(0, 1, 101), method="lower"))
    best = float(max(candidates, key=lambda threshold: at(threshold, first)))
    value, members = at(best, second), int(member[second].sum())
    note = f"ruled out at confidence {terms.confidence:g}, delta {terms.delta:g}; {len(second)} models, threshold from the others"
    how = {"confidence": terms.confidence, "delta": terms.delta, "threshold": best}
    sides = {"members": members, "non_members": len(second) - members}
    return Bound(value, note + _assumption(name), len(second), how | sides)


def alarm(terms: Terms, conditions: Conditions) -> Callable[[np.ndarray, np.ndarray], float]:
    """For the null control, a function of scores and membership (canary × shadow): 1 where a one-run bound of the target is above
    zero, by any of BOUNDS (see `_min_correct_guesses`), 0 where none is, NaN where none may be stated or the number of guesses is
    not preset. Ties are broken by position, in `one_run` by lot: with ties it may differ from the bound."""

    def read(scores: np.ndarray, member: np.ndarray) -> float:
        there = ~np.isnan(scores[:, terms.target])
        column, sides = scores[there, terms.target], member[there, terms.target]
        if terms.thresholds != "preset" or conditions.one_run(sides):
            return np.nan
        k_plus, k_minus = terms.guesses or (len(column) // 4, len(column) // 4)
        correct = epsilon.guess(column, sides, k_plus, k_minus)
        return float(correct >= _min_correct_guesses(k_plus + k_minus, len(column), terms.delta, terms.error))

    return read


@lru_cache(maxsize=64)
def _min_correct_guesses(guesses: int, canaries: int, delta: float, error: float) -> int:
    """The smallest number of correct guesses, at least half of `guesses`, for which Steinke's one-run bound on epsilon is above
    zero, or the f-DP bound rejects mu = 0; one more than `guesses` if there is none."""
    return next(
        (
            correct
            for correct in range(guesses // 2, guesses + 1)
            if epsilon.steinke_p_value(0.0, correct, guesses, canaries, delta) <= error
            or f_dp_rejects(0.0, correct, guesses, canaries, error)
        ),
        guesses + 1,
    )
