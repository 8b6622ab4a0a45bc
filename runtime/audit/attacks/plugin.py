"""Attacks of a user's package: called like the built-in ones, their scores checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compiler.language.plugins import PluginAttack
from runtime.data.plugin import load_function

if TYPE_CHECKING:
    from runtime.audit.attacks.answers import Answers, Score


def scorer(how: PluginAttack, said: Answers, paired: bool) -> Score | None:
    """The user's attack on one group of canaries, None where it does not apply. Wrong scores are a ValueError."""
    score = load_function(how.attack, how.compute, "scorer")(how, said, paired)
    if score is None:
        return None

    def checked(member: np.ndarray) -> np.ndarray:
        scores = np.asarray(score(member.copy()), dtype=np.float64)
        if scores.shape != member.shape:
            raise ValueError(f"{how.attack}: scores have the shape {scores.shape}; it should be canary × shadow, {member.shape}")
        if np.isinf(scores).any():
            raise ValueError(f"{how.attack}: a score is infinite; NaN means that it does not apply to this canary and shadow")
        return scores

    return checked
