"""Sizes of a study's sets: what the study may draw from, and what a shadow's private set is expected to hold."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from compiler.data.files import card_of
from compiler.language.audit import Audit, CanaryGroup
from compiler.language.data import Data


class Images(Protocol):
    """Words of a data set, or what they became."""

    @property
    def test(self) -> int | None: ...
    @property
    def validation(self) -> int | None: ...


def private_size(data: Data, audit: Audit) -> int:
    """Expected number of images in a shadow's private set."""
    return private_images(pool_size(data), set_aside(data), audit.z_pool, audit.canaries.values())


def set_aside(data: Images) -> int:
    """Images that are no canaries and that no model trains on: to test by, and to choose settings by."""
    return (data.test or 0) + (data.validation or 0)


def private_images(pool: int, aside: int, z_pool: int, groups: Collection[CanaryGroup]) -> int:
    """The same, of a pool of so many images: without those that others get, and with half of the canaries, copies included."""
    drawn = sum(group.count for group in groups if group.kind not in ("ood", "blank"))
    held = sum(group.count * group.copies for group in groups)
    return pool - aside - z_pool - drawn + held // 2


def pool_size(data: Data) -> int:
    """Images that the study may draw from."""
    return data.subset or card_of(data).samples
