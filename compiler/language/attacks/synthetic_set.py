"""Attacks on a released set itself, whatever is trained on it."""

from typing import Literal

from pydantic import PositiveInt

from compiler.language.attacks.base import Spread, Tried


class Nearest(Tried):
    """A LiRA on the distance from a canary to the nearest released image (release level `synthetic_set`)."""

    compute = "synthetic_set"
    reads = ("synthetic_set",)
    looks_at = "a released set"

    attack: Literal["nearest"]
    space: Literal["pixel", "feature"] = "pixel"
    """Distances between pixels, or between features of a fixed random net."""
    variant: Spread = "pooled"
    """How the spread of the distances over shadows is estimated, as in `lira`."""
    queries: PositiveInt = 1
    """1 for the distance of the plain image, or the number of all views: then of the view that comes nearest to an image."""


class Selected(Tried):
    """Scores whether the canary is in the released list (release level `index_list`): selected, or the origin of an image."""

    compute = "synthetic_set"
    reads = ("index_list",)
    looks_at = "a released list of samples"

    attack: Literal["selected"]
