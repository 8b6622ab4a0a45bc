"""Splits a data set into test set, canary groups, z pool and fixed training images, and builds each shadow's private set from them.

Rows are taken from one permutation of the data set: the test set from its front, then the canaries group by group, skipping images
that have an exact duplicate; the z pool from its end, before it the validation images. The other images are the fixed part, which
is in every private set. So a group added at the end reduces the fixed part only, and the sizes of z pool and validation set change
no canary. The split depends on the study's seed alone, not on arms, shadows or replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from compiler.errors import SynthcError
from compiler.language.audit import CanaryGroup, CanaryKind
from compiler.work.operations import Population, Private
from runtime.data.images import LabeledImages
from runtime.data.population.membership import membership_of
from runtime.data.sources import load
from runtime.seeds import Seeds, generator, numpy_generator


@dataclass(frozen=True)
class Group:
    """Canaries of one kind, and a z pool that is prepared like them."""

    name: str
    kind: CanaryKind
    images: Tensor
    """n × channels × height × width, uint8."""
    labels: Tensor
    """n, int64: the label that members are trained with and that scores refer to."""
    true_labels: Tensor
    """n, int64: the data set's label, -1 where there is none (ood, blank)."""
    samples: Tensor
    """n, int64: row of the data set, -1 where the image is not from it."""
    z_images: Tensor
    z_labels: Tensor
    copies: int
    """Number of images of the canary, itself included, in a private set that holds it."""
    near_copies: Tensor
    """n × (copies - 1) × channels × height × width, uint8: the further copies."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Roles:
    """All samples of a study, by role. `test`: the images on which accuracy is measured: those set aside for it, else the official
    test split, or the validation images where the data set is `judged_on` them."""

    fixed: LabeledImages
    groups: tuple[Group, ...]
    test: LabeledImages
    fixed_samples: Tensor
    """fixed image: row of the data set."""

    @property
    def canaries(self) -> int:
        return sum(map(len, self.groups))

    @property
    def spans(self) -> dict[str, slice]:
        """Group → slice of its canaries among those of all groups, in the order of `groups`."""
        ends = list(accumulate(map(len, self.groups), initial=0))
        return {group.name: slice(*ends[place : place + 2]) for place, group in enumerate(self.groups)}


@dataclass(frozen=True)
class PrivateSet:
    """One shadow's private set: `data` for its pipeline, `canary` and `sample_ids` for the audit alone."""

    data: LabeledImages
    canary: Tensor
    """n, int64: index of the canary that a row is, -1 for none. Not given to methods."""
    sample_ids: Tensor
    """n, int64: id of a row's image, as by the function `sample_ids`. Not given to methods."""


@lru_cache(maxsize=8)
def roles_of(population: Population) -> Roles:
    """All samples of a study by role, cached and shared by callers: do not change them. SynthcError if too few images are without
    exact duplicates in the study's pool; errors of the data as of `sources.load`. (`compiler.check` has checked the counts.)"""
    loaded = load(population.dataset)
    pool = loaded.pool
    test_rows = population.dataset.test or 0
    drawn = sum(group.count for _, group in population.groups if group.kind not in FOREIGN)
    # "cast" is the name of a random stream; a new name would redraw the canaries of every study.
    order = torch.randperm(len(pool), generator=generator(population.seed, None, "cast"))
    last = len(pool) - population.z_pool - (population.dataset.validation or 0)  # after it: validation images, then the z pool
    free, validation = order[test_rows:last], order[last : len(pool) - population.z_pool]
    z = pool[order[len(pool) - population.z_pool :]]
    candidates = free[_unique(pool.images)[free]]
    if len(candidates) < drawn:
        raise SynthcError(
            f"{population.dataset.name}: {drawn} canaries, and only {len(candidates)} images without a twin; ask for fewer"
        )
    groups, drawn_so_far, public_so_far = [], 0, 0
    for name, group in population.groups:
        if group.kind in FOREIGN:
            groups.append(_foreign_group(name, group, population, loaded.classes, public_so_far))
            public_so_far += group.count if group.kind == "ood" else 0
            continue
        rows = candidates[drawn_so_far : drawn_so_far + group.count]
        groups.append(_own_group(name, group, population.seed, pool[rows], rows, z, loaded.classes))
        drawn_so_far += group.count
    fixed = free[~torch.isin(free, candidates[:drawn_so_far])]
    test = pool[order[:test_rows]] if test_rows else loaded.test
    if population.dataset.judged_on == "validation":
        test = pool[validation]
    assert test is not None
    return Roles(pool[fixed], tuple(groups), test, fixed)


def _unique(images: Tensor) -> Tensor:
    """n, bool: whether no other image has the same pixels. (A canary with a duplicate in the fixed part would never be OUT.)

    Near-duplicates are not found here (`near_duplicates`).
    """
    whole = np.ascontiguousarray(images.flatten(1).numpy())
    _, which, counts = np.unique(whole.view(f"V{whole.shape[1]}")[:, 0], return_inverse=True, return_counts=True)
    return torch.from_numpy(counts[which] == 1)


FOREIGN = ("ood", "blank")
"""Kinds of canaries that are not from the data set."""


def _own_group(
    name: str, group: CanaryGroup, seed: int, data: LabeledImages, rows: Tensor, z: LabeledImages, classes: int
) -> Group:
    """A group of canaries from the data set: `data` at its rows `rows`. Those of the kind `clean` keep their labels; canaries and z
    pool of other kinds get wrong ones, the same for all models."""
    labels, z_labels = data.labels, z.labels
    if group.kind != "clean":
        labels, z_labels = (
            _wrong_labels(of.labels, classes, numpy_generator(seed, None, f"canaries/{name}/{whose}"))
            for of, whose in ((data, "labels"), (z, "z labels"))
        )
    copies = _near_copies(data.images, group.copies - 1, numpy_generator(seed, None, f"canaries/{name}/copies"))
    return Group(name, group.kind, data.images, labels, data.labels, rows, z.images, z_labels, group.copies, copies)


def _foreign_group(name: str, group: CanaryGroup, population: Population, classes: int, public_at: int) -> Group:
    """A group of canaries that are not from the data set, with random labels: images of the public set, from index `public_at` of
    its permutation on (`ood`), or images of one colour (`blank`). The z pool is like them; of `ood`, the end of that
    permutation."""
    draws = numpy_generator(population.seed, None, f"canaries/{name}/labels")
    n, z_pool = group.count, population.z_pool
    if group.kind == "ood":
        assert population.public is not None
        public = load(population.public).pool.images
        order = torch.randperm(len(public), generator=generator(population.seed, None, "canaries/ood"))  # no image in two groups
        images, z_images = public[order[public_at : public_at + n]], public[order[len(public) - z_pool :]]
    else:
        shape = population.dataset.shape
        images, z_images = (
            torch.from_numpy(colours).reshape(-1, shape[0], 1, 1).expand(-1, *shape).contiguous()
            for colours in _colours(n, z_pool, shape[0], numpy_generator(population.seed, None, f"canaries/{name}/images"))
        )
    labels = torch.from_numpy(draws.integers(0, classes, n))
    z_labels = torch.from_numpy(draws.integers(0, classes, z_pool))
    none = torch.full((n,), -1)
    copies = _near_copies(images, group.copies - 1, numpy_generator(population.seed, None, f"canaries/{name}/copies"))
    return Group(name, group.kind, images, labels, none, none, z_images, z_labels, group.copies, copies)


def _colours(n: int, z_pool: int, channels: int, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n × channels and z_pool × channels, uint8: n distinct colours, and for the z pool colours that are none of these and may
    repeat."""
    colours = 256**channels
    drawn = draws.choice(colours, n, replace=False)
    z = draws.integers(0, colours - n, z_pool)
    z += np.searchsorted(np.sort(drawn) - np.arange(n), z, side="right")  # skips the colours of canaries
    return tuple((codes[:, None] >> (8 * np.arange(channels)) & 255).astype(np.uint8) for codes in (drawn, z))  # type: ignore[return-value]


def _wrong_labels(labels: Tensor, classes: int, draws: np.random.Generator) -> Tensor:
    """n, int64: for each label a uniformly random other one from 0 to classes - 1."""
    return (labels + torch.from_numpy(draws.integers(1, classes, len(labels)))) % classes


def _near_copies(images: Tensor, copies: int, draws: np.random.Generator) -> Tensor:
    """n × copies × channels × height × width, uint8: each copy is shifted down and right by a random -1, 0 or 1 pixel each
    (zero-padded), with a uniformly random whole number from -2 to 2 added to each grey value, clamped to 0..255."""
    n, (channels, height, width) = len(images), images.shape[1:]
    made = torch.empty(n, copies, channels, height, width, dtype=torch.uint8)
    moves = draws.integers(0, 3, (n, copies, 2))
    noise = torch.from_numpy(draws.integers(-2, 3, tuple(made.shape), dtype=np.int16))
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    for row, copy in np.ndindex(n, copies):
        down, right = moves[row, copy]
        made[row, copy] = padded[row, :, down : down + height, right : right + width]
    return (made.to(torch.int16) + noise).clamp(0, 255).to(torch.uint8)


def sample_ids(population: Population) -> tuple[Tensor, ...]:
    """For each group, canary × copy, int64: id of each image, the canary itself first. That of an image of the data set is its row
    in the study's pool (after a subset); other images have ids from the size of the pool on, in the order of `extra_images`. Errors
    as of `roles_of`."""
    beyond, found = len(load(population.dataset).pool), []
    for group in roles_of(population).groups:
        rows = group.samples[:, None] if group.kind not in FOREIGN else group.samples.new_empty(len(group), 0)
        copies = group.copies - rows.shape[1]
        new = torch.arange(len(group) * copies).reshape(len(group), copies) + beyond
        found.append(torch.cat([rows, new], dim=1))
        beyond += new.numel()
    return tuple(found)


def extra_images(population: Population) -> Tensor:
    """n × channels × height × width, uint8: images of canaries that are not in the data set, from another source or near copies, by
    group, then canary, then copy; none for groups of the data set without copies. Errors as of `roles_of`."""
    shown = [torch.empty(0, *population.dataset.shape, dtype=torch.uint8)]
    for group in roles_of(population).groups:
        every = torch.cat([group.images[:, None], group.near_copies], dim=1)
        shown.append((every if group.kind in FOREIGN else every[:, 1:]).flatten(0, 1))
    return torch.cat(shown)


def expected_size(population: Population) -> int:
    """Number of images of the fixed part and half of all canaries' rows (copies included, rounded down): the nominal size of a
    private set, independent of membership. Errors as of `roles_of`."""
    roles = roles_of(population)
    return len(roles.fixed) + sum(len(group) * group.copies for group in roles.groups) // 2


@lru_cache(maxsize=4)
def private_set(private: Private) -> PrivateSet:
    """The fixed part and the shadow's member canaries with all their copies, in a seeded random order, so that positions do not
    reveal canaries. Cached and shared by callers: do not change it. Errors as of `roles_of`."""
    population = private.population
    roles = roles_of(population)
    member = membership_of(private)
    images, labels = [roles.fixed.images], [roles.fixed.labels]
    canary, shown = [torch.full((len(roles.fixed),), -1)], [roles.fixed_samples]
    for group, where in zip(roles.groups, sample_ids(population), strict=True):
        span = roles.spans[group.name]
        held = torch.from_numpy(member[span].nonzero()[0])
        every = torch.cat([group.images[:, None], group.near_copies], dim=1)[held]  # held × copies × image
        images.append(every.flatten(0, 1))
        labels.append(group.labels[held].repeat_interleave(group.copies))
        canary.append((held + span.start).repeat_interleave(group.copies))
        shown.append(where[held].flatten())
    joined = LabeledImages(torch.cat(images), torch.cat(labels))
    order = torch.randperm(len(joined), generator=Seeds(population.seed, private.replicate, private.shadow)("private order"))
    return PrivateSet(joined[order], torch.cat(canary)[order], torch.cat(shown)[order])
