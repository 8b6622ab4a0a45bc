"""Which epsilon the scores rule out, or the reason why none may be stated.

A one-run bound speaks about one model, the target, and holds only if that model's memberships are independent fair coins given
all that the attack used. A multi-run bound needs independent trials: one sample in each of many models. Pooled
leave-one-out scores are neither. What cannot be checked is not assumed: then there is a reason instead of a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

from compiler.language.audit import Design, Strategy
from runtime.audit.external.evidence import Evidence, given_away, looks_like
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.one_run import BOUNDS, OneRun, one_run
from runtime.seeds import numpy_generator

TARGET = 0
"""The shadow that one-run bounds speak about: the first, so that nobody chooses it after seeing scores."""

UNFAIR = 1e-3
"""A share of members that fair coins give less often than this is not taken for fair coins."""

FEWEST_SAMPLES = 8
"""Four right guesses of four rule nothing out at 95 %."""

ONE_RUN: dict[str, OneRun] = {"steinke": BOUNDS["steinke"], "fdp": BOUNDS["f_dp"]}
MULTI_RUN: dict[str, Callable[..., float]] = {"clopper_pearson": epsilon.multi_run, "mu_gdp": epsilon.gaussian}


@dataclass(frozen=True)
class Terms:
    """What was declared before the scores were seen."""

    confidence: float = 0.95
    delta: float = 1e-5
    guesses: tuple[int, int] | None = None
    """How many samples to call members and non-members; None for a quarter each."""
    strategy: Strategy = "preset"
    one_run: bool = False
    """Whether the caller says that the one model's members were drawn by fair coins."""

    @property
    def error(self) -> float:
        return 1 - self.confidence


@dataclass(frozen=True)
class Bound:
    """Epsilon below `value` is ruled out for the target; never "epsilon is"."""

    value: float
    confidence: float
    delta: float
    target: int
    k_plus: int
    k_minus: int


@dataclass(frozen=True)
class PooledBound:
    """Epsilon below `value` is ruled out for the mechanism, from one sample in many models."""

    value: float
    confidence: float
    delta: float
    threshold: float
    members: int
    non_members: int


@dataclass(frozen=True)
class Refused:
    """No bound, and why."""

    value: None = field(default=None, init=False)
    reason: str


AnyBound = Bound | PooledBound | Refused


def lower_bounds(attack: str, scores: np.ndarray, evidence: Evidence, design: Design, terms: Terms) -> dict[str, AnyBound]:
    """Every bound by its name. scores: sample × shadow, NaN where not applicable."""
    found: dict[str, AnyBound] = {}
    there = ~np.isnan(scores[:, TARGET])
    column, sides = scores[there, TARGET], evidence.member[there, TARGET]
    reason = _no_one_run(evidence, design, terms, sides)
    for name, bound in ONE_RUN.items():
        found[name] = Refused(reason) if reason else _one_run(bound, column, sides, terms)
    reason = _no_multi_run(attack, evidence)
    for name, bound in MULTI_RUN.items():
        found[name] = Refused(reason) if reason else _multi_run(bound, scores[0], evidence.member[0], terms)
    return found


def _no_one_run(evidence: Evidence, design: Design, terms: Terms, sides: np.ndarray) -> str | None:
    """Why the theorems about one run do not apply to the target; None if nothing speaks against them."""
    if evidence.shadows == 1 and not terms.one_run:
        return "nothing says that the one shadow's members were drawn by independent fair coins; --one-run says it"
    if reason := given_away(evidence.member, design):
        return reason
    if design == "pairs" and evidence.kind == "scores":
        return "whether these scores were made without the target's complement is not known; its membership gives the target's away"
    if terms.guesses and sum(terms.guesses) > len(sides):
        return f"{sum(terms.guesses)} guesses about {len(sides)} scored samples"
    if len(sides) < FEWEST_SAMPLES:
        return f"{len(sides)} scored samples of the target are too few to rule anything out"
    if binomtest(int(sides.sum()), len(sides)).pvalue < UNFAIR:
        return f"{int(sides.sum())} of the target's {len(sides)} samples are members: fair coins hardly ever give that"
    return None


def _no_multi_run(attack: str, evidence: Evidence) -> str | None:
    if evidence.samples > 1:
        return "scores of one model share its training noise, those of one sample its difficulty: the trials are not independent"
    if attack not in ("threshold", "scores"):
        return "leave-one-out scores are fitted on one another's models: the trials are not independent"
    if looks_like(evidence.member) == "pairs":
        return "paired shadows are complements: the trials are not independent"
    if evidence.shadows < 2 * FEWEST_SAMPLES:
        return f"{evidence.shadows} models are too few to choose a threshold on one half and test it on the other"
    return None


def _one_run(bound: OneRun, scores: np.ndarray, member: np.ndarray, terms: Terms) -> Bound:
    found = one_run(
        bound, scores, member, delta=terms.delta, error=terms.error, strategy=terms.strategy, guesses=terms.guesses
    )
    return Bound(found.value, terms.confidence, terms.delta, TARGET, found.k_plus, found.k_minus)


def _multi_run(bound: Callable[..., float], scores: np.ndarray, member: np.ndarray, terms: Terms) -> PooledBound:
    """The threshold is chosen on one half of the models and tested on the other."""
    turn = numpy_generator(0, None, "audit/halves").permutation(len(scores))
    half = len(scores) // 2
    first, second = turn[:half], turn[half:]

    def at(bar: float, rows: np.ndarray) -> float:
        called, sides = scores[rows] >= bar, member[rows]
        true, members = int((called & sides).sum()), int(sides.sum())
        return bound(true, members, int((called & ~sides).sum()), len(rows) - members, terms.delta, terms.error)

    bars = np.unique(np.quantile(scores[first], np.linspace(0, 1, 101), method="lower"))
    bar = float(max(bars, key=lambda one: at(one, first)))
    members = int(member[second].sum())
    return PooledBound(at(bar, second), terms.confidence, terms.delta, bar, members, len(second) - members)
