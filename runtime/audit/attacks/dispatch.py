"""Finds and calls the module that computes an attack, built-in or from a plug-in.

The declaration of an attack names the module that computes it (`compute`). The module's `scorer(how, answers, paired)` returns a
function from membership to scores.
"""

from __future__ import annotations

import numpy as np

from compiler.language.attacks.base import Tried
from compiler.language.plugins import is_own
from runtime.audit.attacks.answers import Answers, Score
from runtime.data.plugin import load_function


def scorer_of(attack: Tried, answers: Answers, paired: bool) -> Score | None:
    """A function from membership to scores (see `Score`); None where the attack does not read this release level, where the answers
    lack the signal that it reads, or where it does not apply to these canaries. `paired`: as in `ShadowPool`.

    The function of a plug-in raises ValueError for scores of another shape than the membership's, and for infinite ones.
    ImportError without the attack's module, ValueError without its function `scorer`; errors of that `scorer`, such as ValueError
    for a logit or signal that is not finite."""
    if answers.release not in attack.reads:
        return None
    foreign = is_own(attack.attack)
    module = attack.compute if foreign else f"{__package__}.{attack.compute}"
    score: Score | None = load_function(attack.attack, module, "scorer")(attack, answers, paired)
    return score if score is None or not foreign else _checked(attack.attack, score)


def _checked(name: str, score: Score) -> Score:
    """`score`, given a copy of the membership, with its scores as float64; when called, it raises ValueError, whose text begins
    with `name`, for scores of another shape than the membership's and for infinite ones. NaN is allowed."""

    def checked(member: np.ndarray) -> np.ndarray:
        scores = np.asarray(score(member.copy()), dtype=np.float64)
        if scores.shape != member.shape:
            raise ValueError(f"{name}: scores have the shape {scores.shape}; it should be canary × shadow, {member.shape}")
        if np.isinf(scores).any():
            raise ValueError(f"{name}: a score is infinite; NaN means that it does not apply to this canary and shadow")
        return scores

    return checked
