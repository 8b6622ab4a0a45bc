"""Sizes of a study's sets: images available to the study, and expected size of private sets."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Protocol

from compiler.data.files import card_of
from compiler.language.audit import Audit, CanaryGroup
from compiler.language.classifier import Recipe
from compiler.language.data import Data


class Images(Protocol):
    """Anything with the numbers of test and validation images: a data set's fields in the spec, or the resolved data set."""

    @property
    def test(self) -> int | None: ...
    @property
    def validation(self) -> int | None: ...


def private_size(data: Data, audit: Audit) -> int:
    """Expected number of images in a shadow's private set, as `private_images` counts them. SynthcError and KeyError as for
    `card_of`."""
    return private_images(pool_size(data), set_aside(data), audit.z_pool, audit.canaries.values())


def largest_deviation(audit: Audit) -> float:
    """Four standard deviations of the size of a shadow's private set: a fair coin for each canary, with its copies."""
    return 4 * math.sqrt(sum(group.count * group.copies**2 for group in audit.canaries.values())) / 2


def set_aside(data: Images) -> int:
    """Number of images set aside from training: test and validation images."""
    return (data.test or 0) + (data.validation or 0)


def private_images(pool: int, aside: int, z_pool: int, groups: Collection[CanaryGroup]) -> int:
    """Expected size of a private set from a pool of `pool` images: without `aside` images, the z pool and the canaries that are
    images of the pool (not ood or blank), plus half of all canaries with their copies, rounded down. 0 or negative where the pool
    is too small."""
    drawn = sum(group.count for group in groups if group.kind not in ("ood", "blank"))
    held = sum(group.count * group.copies for group in groups)
    return pool - aside - z_pool - drawn + held // 2


def pool_size(data: Data) -> int:
    """Number of images that a study's sets are drawn from: `subset`, else all of the data set without its official test split.
    SynthcError and KeyError as for `card_of`, unless there is a `subset`."""
    return data.subset or card_of(data).samples


def iterations_of(recipe: Recipe, data: Data, audit: Audit) -> int:
    """Training steps of a recipe: `epochs` times the nominal size of the private set, divided by the batch size and rounded up, at
    least 1. The size of the set that is trained on does not matter.

    Nominal is `private_size`: the fixed part and half of the canaries (with copies), so that no shadow trains longer for having
    more of them. SynthcError and KeyError as there.
    """
    return max(1, math.ceil(recipe.epochs * private_size(data, audit) / recipe.batch_size))
