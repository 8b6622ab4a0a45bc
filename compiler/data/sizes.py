"""Sizes of a study's sets: what the study may draw from, and what a shadow's private set is expected to hold."""

from __future__ import annotations

from collections.abc import Collection

from compiler.data.files import card_of
from compiler.language.audit import Audit, CanaryGroup
from compiler.language.data import Data


def private_size(data: Data, audit: Audit) -> int:
    """Expected number of images in a shadow's private set."""
    return private_images(pool_size(data), data.test, audit.z_pool, audit.canaries.values())


def private_images(pool: int, test: int | None, z_pool: int, groups: Collection[CanaryGroup]) -> int:
    """The same, of a pool of so many images: without those that others get, and with half of the canaries, copies included."""
    drawn = sum(group.count for group in groups if group.kind not in ("ood", "blank"))
    held = sum(group.count * group.copies for group in groups)
    return pool - (test or 0) - z_pool - drawn + held // 2


def pool_size(data: Data) -> int:
    """Images that the study may draw from."""
    return data.subset or card_of(data).samples
