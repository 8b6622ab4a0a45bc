"""Canaries: of every kind what the protocol says, drawn once for all, and no twin of one unnoticed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compiler.language.audit import CanaryGroup
from compiler.language.data import Data
from compiler.plan.lower import dataset_of
from compiler.work.operations import Population, Private
from runtime.data.images import LabeledImages
from runtime.data.population import near_duplicates as duplicates
from runtime.data.population import roles
from runtime.data.population.near_duplicates import near_duplicates
from runtime.data.population.roles import private_set
from tests.conftest import Done

KINDS = ("mislabeled", "clean", "ood", "blank", "duplicated")
POPULATION = Population(
    dataset_of(Data(name="digits", test=360)),
    dataset_of(Data(name="shapes")),
    0,
    tuple((kind, CanaryGroup(kind=kind, count=24, **({"copies": 4} if kind == "duplicated" else {}))) for kind in KINDS),  # type: ignore[arg-type]
    100,
)


def groups() -> dict[str, roles.Group]:
    return {group.name: group for group in roles.roles_of(POPULATION).groups}


def test_labels_of_canaries_are_wrong_right_or_of_nobody_as_their_kind_says() -> None:
    for kind in ("mislabeled", "duplicated"):
        group = groups()[kind]
        assert (group.labels != group.true_labels).all()
        assert len(group.labels.unique()) > 5  # any other label, not one
    assert torch.equal(groups()["clean"].labels, groups()["clean"].true_labels)
    for kind in ("ood", "blank"):
        assert (groups()[kind].true_labels == -1).all()
        assert (groups()[kind].samples == -1).all()
        assert len(groups()[kind].labels.unique()) > 5


def test_canaries_z_pool_test_set_and_fixed_part_share_no_sample() -> None:
    parts = roles.roles_of(POPULATION)
    rows = [*parts.fixed_samples.tolist(), *(row for group in parts.groups for row in group.samples.tolist() if row >= 0)]
    assert len(set(rows)) == len(rows) == 1797 - 360 - 100


def test_the_z_pool_is_treated_like_the_canaries() -> None:
    z = {kind: group.z_labels for kind, group in groups().items()}
    assert (z["mislabeled"] != z["clean"]).all()
    assert (z["duplicated"] != z["clean"]).all()
    public = {tuple(image.flatten().tolist()) for image in groups()["ood"].images}
    assert not public & {tuple(image.flatten().tolist()) for image in groups()["ood"].z_images}


def test_no_public_image_is_a_canary_of_two_groups_and_a_later_group_moves_no_earlier_one() -> None:
    ood = CanaryGroup(kind="ood", count=900)
    populations = (replace(POPULATION, groups=groups) for groups in ((("a", ood),), (("a", ood), ("b", ood))))
    one, two = ([group.images.flatten(1) for group in roles.roles_of(population).groups] for population in populations)
    assert torch.equal(one[0], two[0])
    assert len(torch.cat(two).unique(dim=0)) == 1800


def test_blank_canaries_have_one_colour_each_and_no_two_the_same() -> None:
    group = groups()["blank"]
    assert (group.images.flatten(1).amax(1) == group.images.flatten(1).amin(1)).all()
    colours = group.images[:, 0, 0, 0].tolist()
    assert len(set(colours)) == 24
    assert not set(colours) & set(group.z_images[:, 0, 0, 0].tolist())
    whole = replace(POPULATION, groups=(("blank", CanaryGroup(kind="blank", count=255)),))
    (all_but_one,) = roles.roles_of(whole).groups
    assert len(set(all_but_one.images[:, 0, 0, 0].tolist())) == 255
    assert len(set(all_but_one.z_images[:, 0, 0, 0].tolist())) == 1


def test_a_private_set_holds_each_of_its_canaries_as_often_as_its_kind_says_and_no_other() -> None:
    private = private_set(Private(POPULATION, "pairs", 0, 0, None))
    held = private.canary.bincount(minlength=1) if (private.canary >= 0).all() else private.canary[private.canary >= 0].bincount()
    counts = {kind: set(held[24 * place : 24 * (place + 1)].tolist()) for place, kind in enumerate(KINDS)}
    assert counts == {kind: {0, 4} if kind == "duplicated" else {0, 1} for kind in KINDS}


def test_canaries_of_digits_have_no_near_duplicates_and_blank_ones_of_like_colours_do() -> None:
    found = near_duplicates(POPULATION)
    spans = {kind: found[24 * place : 24 * (place + 1)] for place, kind in enumerate(KINDS)}
    assert not any(spans[kind].any() for kind in ("mislabeled", "clean", "duplicated"))
    colours = groups()["blank"].images[:, 0, 0, 0].long()
    gaps = (colours[:, None] - colours).abs().fill_diagonal_(999).amin(1)
    assert spans["blank"].tolist() == (gaps <= duplicates.MAX_RMS_DIFFERENCE).tolist()
    assert spans["blank"].any()


def test_a_twin_of_a_canary_is_found_as_a_search_of_one_image_at_a_time_would(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = roles.roles_of(POPULATION)
    first, second = parts.groups[0], parts.groups[1]
    noise = torch.randint(-7, 8, first.images[3].shape, generator=torch.Generator().manual_seed(0))
    images = parts.fixed.images.clone()
    images[100] = (first.images[3].int() + noise).clamp(0, 255).to(torch.uint8)
    twins = second.images.clone()
    twins[5] = first.images[8]
    planted = replace(
        parts, fixed=LabeledImages(images, parts.fixed.labels), groups=(first, replace(second, images=twins), *parts.groups[2:3])
    )
    monkeypatch.setattr(duplicates, "roles_of", lambda _: planted)
    found = near_duplicates.__wrapped__(POPULATION)
    canaries = torch.cat([group.images for group in planted.groups]).double()
    others = [torch.cat([images.double(), canaries[:row], canaries[row + 1 :]]) for row in range(len(canaries))]
    distances = [((other - one) ** 2).mean((1, 2, 3)).sqrt().amin() for one, other in zip(canaries, others, strict=True)]
    naive = [bool(distance <= duplicates.MAX_RMS_DIFFERENCE) for distance in distances]
    assert found.tolist() == naive
    assert found.nonzero().flatten().tolist() == [3, 8, 24 + 5]


def test_every_trial_says_how_many_of_its_canaries_have_near_duplicates(tiny: Done) -> None:
    rows = tiny.rows("SELECT canaries, value, n, count(*) FROM result WHERE metric = 'near_duplicates' GROUP BY ALL")
    assert sorted(rows) == [("clean", 0.0, 16, 3), ("mislabeled", 0.0, 24, 3)]
