"""Attacks on a synthetic set: LiRA on a canary's distance to the nearest image, and whether the set holds the canary itself.

Not here: distances (`query.synthetic_set`).
"""

from __future__ import annotations

from compiler.language.attacks.synthetic_set import Nearest, Selected
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.lira import Likelihood


def scorer(how: Nearest | Selected, answers: Answers, paired: bool) -> Score | None:
    """The attack as a function from membership to scores (see `Score`): for `Selected` 1 where an image of the set is or began as
    the canary, else 0, whatever the membership; for `Nearest` a `Likelihood`. None where the set was not queried for this signal.
    `paired`: as in `ShadowPool`. ValueError for a signal that is not finite."""
    if isinstance(how, Selected):
        chosen = answers.measure("selected")
        return None if chosen is None else lambda member: chosen[:, 0]
    closeness = answers.measure(how.space if how.queries == 1 else f"{how.space}/{how.queries}q")
    return None if closeness is None else Likelihood(closeness, paired, how.variant)
