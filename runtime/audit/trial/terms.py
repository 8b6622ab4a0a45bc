"""What is declared before any score exists: how scores are read, and when an epsilon bound may be stated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.language.audit import Design, Strategy
from compiler.work.operations import AttackTrial


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Declared settings, the same for all attacks, release levels and canary groups of an audit."""

    design: Design
    """How membership was drawn."""
    fpr: tuple[float, ...]
    """False-positive rates at which the TPR is read."""
    headline_fpr: float
    confidence: float
    """Confidence of every interval and bound."""
    delta: float
    """The delta of epsilon lower bounds."""
    thresholds: Strategy
    """How the number of guesses behind a one-run bound is set."""
    guesses: tuple[int, int] | None = None
    """For `preset` thresholds: numbers of canaries to call members and non-members; None for a quarter each."""
    target: int
    """The shadow that one-run bounds are about."""
    redraws: int
    """Number of memberships redrawn for each null control."""
    seed: int
    null_purpose: str = "null/{group}/{attack}/{variant}"
    """Purpose that seeds the random numbers of a null control."""

    @property
    def paired(self) -> bool:
        """Whether shadows 2j and 2j+1 have complementary membership."""
        return self.design == "pairs"

    @property
    def error(self) -> float:
        """Largest probability that a bound is wrong."""
        return 1 - self.confidence


def terms_of(work: AttackTrial) -> Terms:
    """The terms that a study declares."""
    return Terms(
        design=work.design, fpr=work.fpr, headline_fpr=work.headline.fpr, confidence=work.confidence, delta=work.delta,
        thresholds=work.thresholds, target=work.target, redraws=work.null_permutations, seed=work.population.seed,
    )  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """Reasons why epsilon bounds may not be stated about one attack on one canary group; "" where they may."""

    one_run: Callable[[np.ndarray], str]
    """Membership (canary, bool) of the target's scored canaries → reason."""
    multi_run: str
