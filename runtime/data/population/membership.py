"""Draws membership: which canaries each shadow's private set holds. It is the same for every arm, and, except in a balanced design,
more shadows extend it without redrawing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from compiler.language.audit import Design
from compiler.work.operations import Population, Private
from runtime.seeds import numpy_generator


@lru_cache(maxsize=256)
def membership(population: Population, design: Design, replicate: int, shadows: int) -> np.ndarray:
    """canary × shadow, bool, read-only: True where the shadow's private set holds the canary.

    pairs: shadows 2j and 2j+1 hold complementary halves, by an independent fair coin per (canary, pair).
    bernoulli: an independent fair coin per (canary, shadow).
    balanced: every canary is in exactly shadows // 2 random shadows; the only design that depends on how many there are.

    Each pair or shadow has a random stream of its own, of which canaries use the first numbers, so more shadows or a further group
    of canaries at the end leave earlier memberships as they are (balanced: not with more shadows). ValueError for an odd number of
    shadows in pairs.
    """
    canaries = sum(group.count for _, group in population.groups)

    def uniforms(what: str) -> np.ndarray:
        return numpy_generator(population.seed, None, f"replicate {replicate}/membership/{design}/{what}").random(canaries)

    member = np.zeros((canaries, shadows), dtype=bool)
    match design:
        case "pairs":
            if shadows % 2:
                raise ValueError(f"{shadows} shadows cannot be paired")
            for pair in range(shadows // 2):
                member[:, 2 * pair] = uniforms(f"pair {pair}") < 0.5
                member[:, 2 * pair + 1] = ~member[:, 2 * pair]
        case "bernoulli":
            for shadow in range(shadows):
                member[:, shadow] = uniforms(f"shadow {shadow}") < 0.5
        case "balanced":
            draws = np.stack([uniforms(f"shadow {shadow}") for shadow in range(shadows)], axis=1)
            member = draws.argsort(axis=1).argsort(axis=1) < shadows // 2
    member.setflags(write=False)
    return member


def membership_of(private: Private) -> np.ndarray:
    """canary, bool, read-only: the column of `membership` of one shadow. `private.shadows` is the number of all shadows in a
    balanced design, and None in others, which do not depend on it."""
    pairs_complete = private.shadow + 2 - private.shadow % 2
    return membership(private.population, private.design, private.replicate, private.shadows or pairs_complete)[:, private.shadow]
