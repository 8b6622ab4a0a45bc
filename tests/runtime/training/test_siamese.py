"""Siamese augmentation: what each family does, by naive twins; one map for many images; derivatives; explicit randomness."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS
from runtime.seeds import Seeds
from runtime.training.batches import Examples, Training, presentations
from runtime.training.siamese import (
    FAMILIES,
    ROTATE,
    SCALE,
    AugmentParams,
    black_level,
    families,
    sample,
    transform,
    transform_blocks,
)

GREY, COLOUR = CARDS["digits"], CARDS["cifar10"]
BLACK = torch.tensor(-1.5).reshape(1, 1, 1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def identity(n: int = 1) -> AugmentParams:
    still = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(n, 2, 3)
    one = torch.ones(n)
    return AugmentParams(still, torch.zeros(n, 4, dtype=torch.long), 0 * one, one, one)


def family_of(maps: AugmentParams, row: int) -> set[str]:
    """The families whose parameters are away from the identity."""
    affine = maps.affine[row]
    found = set()
    if maps.brightness[row] != 0 or maps.contrast[row] != 1 or maps.saturation[row] != 1:
        found.add("colour")
    if affine[0, 2] != 0 or affine[1, 2] != 0:
        found.add("crop")
    if maps.hole[row].any():
        found.add("cutout")
    if affine[0, 0] == -1:
        found.add("flip")
    elif affine[0, 1] != 0:
        found.add("rotate")
    elif affine[0, 0] != 1 or affine[1, 1] != 1:
        found.add("scale")
    return found


def test_the_identity_changes_nothing() -> None:
    images = torch.randn(3, 1, 8, 8, generator=rng())
    assert torch.allclose(transform(images, identity(3), BLACK), images, atol=1e-5)


def test_a_map_is_of_one_family_and_every_family_comes_up() -> None:
    maps = sample(600, COLOUR, rng())
    found = [family_of(maps, row) for row in range(600)]
    assert max(map(len, found)) == 1
    assert set().union(*found) == set(FAMILIES)


def test_a_digit_is_never_mirrored() -> None:
    maps = sample(600, GREY, rng())
    assert "flip" not in families(GREY)
    assert all(family_of(maps, row) != {"flip"} for row in range(600))


def test_parameters_stay_within_their_bounds_and_reach_near_them() -> None:
    maps = sample(20_000, COLOUR, rng())
    angles = maps.affine[:, 1, 0].asin().abs()
    assert math.radians(ROTATE) * 0.95 < angles.max() <= math.radians(ROTATE) + 1e-6
    factors = maps.affine[:, 1, 1][maps.affine[:, 1, 0] == 0]
    assert 1 / SCALE - 1e-6 <= factors.min() < 1 / SCALE + 0.01
    assert SCALE - 0.01 < factors.max() <= SCALE + 1e-6
    moved = (maps.affine[:, :, 2] * 16).unique()  # 32 pixels make 2 units
    assert moved.tolist() == [float(step) for step in range(-4, 5)]  # an eighth of 32
    assert 0.45 < maps.brightness.abs().max() <= 0.5


def test_a_crop_moves_by_whole_pixels_and_black_comes_in() -> None:
    images = torch.randn(1, 1, 8, 8, generator=rng())
    for right, down in [(1, 0), (-1, 1), (0, -1)]:
        maps = identity()
        affine = maps.affine.clone()
        affine[:, 0, 2], affine[:, 1, 2] = right * 2 / 8, down * 2 / 8
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-1.5)
        naive = padded[:, :, 1 + down : 9 + down, 1 + right : 9 + right]
        got = transform(images, AugmentParams(affine, maps.hole, maps.brightness, maps.saturation, maps.contrast), BLACK)
        assert torch.allclose(got, naive, atol=1e-5)


def test_a_mirror_is_a_mirror() -> None:
    images, maps = torch.randn(1, 3, 8, 8, generator=rng()), identity()
    affine = maps.affine.clone()
    affine[:, 0, 0] = -1
    got = transform(images, AugmentParams(affine, maps.hole, maps.brightness, maps.saturation, maps.contrast), BLACK)
    assert torch.allclose(got, images.flip(3), atol=1e-5)


def test_a_hole_is_black_and_at_most_half_the_side() -> None:
    maps = sample(400, GREY, rng())
    holes = maps.hole.any(1).nonzero()[:, 0]
    images = transform(torch.full((len(holes), 1, 8, 8), 2.0), maps[holes], BLACK)
    blotted = images == -1.5
    assert ((images - 2.0).abs() < 1e-5).logical_or(blotted).all()
    assert blotted.flatten(1).sum(1).max() == 16
    assert blotted.flatten(1).sum(1).min() >= 4  # its centre always lies in the image


def test_colour_changes_level_spread_and_saturation_as_by_hand() -> None:
    image = torch.randn(1, 3, 5, 5, generator=rng())
    maps = AugmentParams(identity().affine, identity().hole, torch.tensor([0.3]), torch.tensor([0.5]), torch.tensor([1.4]))
    brighter = image + 0.3
    grey = brighter.mean(1, keepdim=True)
    paler = grey + 0.5 * (brighter - grey)
    naive = paler.mean() + 1.4 * (paler - paler.mean())
    assert torch.allclose(transform(image, maps, BLACK), naive, atol=1e-5)


def test_one_map_serves_all_images_of_its_block() -> None:
    blocks, maps = torch.randn(5, 4, 1, 8, 8, generator=rng()), sample(5, GREY, rng(1))
    got = transform_blocks(blocks, maps, BLACK)
    for block in range(5):
        for image in range(4):
            alone = transform(blocks[block, image][None], maps[torch.tensor([block])], BLACK)[0]
            assert torch.allclose(got[block, image], alone, atol=1e-6)


def test_its_derivative_is_that_of_finite_differences() -> None:
    maps = sample(12, COLOUR, rng(4))
    colour = (tensor.double() for tensor in (maps.brightness, maps.saturation, maps.contrast))
    precise = AugmentParams(maps.affine.double(), maps.hole, *colour)
    images = torch.randn(12, 3, 4, 4, generator=rng(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: transform(x, precise, BLACK.double()), (images,))


def test_draws_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (sample(50, GREY, rng(seed)) for seed in (7, 7, 8))
    assert torch.equal(first.affine, again.affine)
    assert not torch.equal(first.affine, other.affine)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_images_handed_in_stay_as_they_are() -> None:
    images = torch.randn(20, 1, 8, 8, generator=rng())
    kept: Tensor = images.clone()
    transform(images, sample(20, GREY, rng()), black_level(GREY))
    assert torch.equal(images, kept)


def test_a_classifier_in_training_is_shown_each_image_under_a_map_of_its_own() -> None:
    images = torch.randint(256, (6, *GREY.shape), dtype=torch.uint8, generator=rng())
    trainings = [
        Training(
            images=images,
            labels=torch.arange(6),
            recipe=Recipe(batch_size=6, augment=Augment(dsa=dsa)),
            iterations=1,
            card=GREY,
            seeds=Seeds(0, 0, 0),
            device=torch.device("cpu"),
            purpose="classifier",
        )
        for dsa in (False, True)
    ]
    (batch,) = presentations(trainings[0])
    examples = [Examples(training) for training in trainings]
    plain, mapped = (one.present(batch)[0] for one in examples)
    assert torch.equal(mapped, transform(plain, sample(6, GREY, trainings[1].stream("maps")), black_level(GREY)))
    assert not torch.equal(mapped, examples[1].present(batch)[0])  # and under another one the next time


@pytest.mark.parametrize("card", [GREY, COLOUR])
def test_black_is_what_a_black_image_becomes(card: object) -> None:
    from runtime.training.nets import normalise

    assert card in (GREY, COLOUR)
    black = torch.zeros(1, *card.shape, dtype=torch.uint8)  # type: ignore[attr-defined]
    assert torch.allclose(normalise(black, card)[0, :, :1, :1], black_level(card))  # type: ignore[arg-type]
