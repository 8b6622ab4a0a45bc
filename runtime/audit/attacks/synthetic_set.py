"""Attacks on a released set: a LiRA on the distance to its nearest image, and whether the canary itself was chosen.

Not here: distances (`query.synthetic_set`).
"""

from __future__ import annotations

from compiler.language.attacks.synthetic_set import Nearest, Selected
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.lira import Likelihood


def scorer(how: Nearest | Selected, answers: Answers, paired: bool) -> Score | None:
    """None where the set was not measured so."""
    if isinstance(how, Selected):
        chosen = answers.measure("selected")
        return None if chosen is None else lambda member: chosen[:, 0]
    closeness = answers.measure(how.space if how.queries == 1 else f"{how.space}/{how.queries}q")
    return None if closeness is None else Likelihood(closeness, paired, how.variant)
