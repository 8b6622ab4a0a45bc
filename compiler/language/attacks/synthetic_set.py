"""Attacks on a released set itself, whatever is trained on it."""

from typing import ClassVar, Literal

from pydantic import PositiveInt

from compiler.language.attacks.base import ReleaseLevel, Spread, Tried


class Nearest(Tried):
    """A LiRA on the distance from a canary to the nearest released image (release level `synthetic_set`)."""

    compute: ClassVar[str] = "synthetic_set"
    reads: ClassVar[tuple[ReleaseLevel, ...]] = ("synthetic_set",)
    looks_at: ClassVar[str] = "a released set"

    attack: Literal["nearest"]
    space: Literal["pixel", "feature"] = "pixel"
    """Distances between pixels, or between features of a fixed random net."""
    variant: Spread = "pooled"
    """How the spread of the distances over shadows is estimated, as in `lira`."""
    queries: PositiveInt = 1
    """1 for the distance of the plain image, or the number of all views: then of the view that comes nearest to an image."""


class Selected(Tried):
    """Whether the canary itself is in the released list (release level `index_list`), or in what its images began from."""

    compute: ClassVar[str] = "synthetic_set"
    reads: ClassVar[tuple[ReleaseLevel, ...]] = ("index_list",)
    looks_at: ClassVar[str] = "a released list of samples"

    attack: Literal["selected"]
