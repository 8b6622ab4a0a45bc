"""Where learned images start, and DM, DC and DSA: derivatives against finite differences, naive twins, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional as F

from compiler.errors import SynthcError
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS, Card
from compiler.language.methods.distillation import Distilled
from compiler.language.study import AnyArm
from runtime.data.formats import digits
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.seeds import Seeds
from runtime.synthesize.distillation.initial import MEAN_NOISE, finish, initialise
from runtime.synthesize.distillation.matching import (
    ClassBatches,
    LearnedImages,
    class_gradients,
    class_means,
    gradient_distance,
    matching_net,
    synthesize,
)
from runtime.synthesize.release import Setting
from runtime.training.nets import build, normalise

CARD = CARDS["digits"]
SMALL = Card("small", 0, 0, 3, (1, 4, 4), (0.5,), (0.5,), "", "")
PUBLIC = LabeledImages(torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8), torch.arange(40) % 10)
SETTING = Setting(
    card=CARD, expected_size=300, seeds=Seeds(0, 0, 0), device=torch.device("cpu"), recipe=Recipe(), iterations=10, public=PUBLIC
)


def words(method: str = "dm", **fields: Any) -> Any:
    quick: dict[str, Any] = {"steps": 4} if method == "dm" else {"nets": 2, "points": 2, "net_steps": 2}
    given = {"paradigm": "distillation", "method": method, "images_per_class": 3, "width": 4, "batch_real": 8, **quick, **fields}
    return TypeAdapter(AnyArm).validate_python(given)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def private() -> LabeledImages:
    data, _ = digits.read()
    return data[torch.arange(200)]


@pytest.fixture
def net() -> Any:
    return build(matching_net(3, 1, SMALL), SMALL, rng()).double()


# Beginnings


def test_noise_asks_nothing_of_the_private_images(private: LabeledImages) -> None:
    other = LabeledImages(255 - private.images, private.labels)
    one, two = (initialise(words(), data, SETTING) for data in (private, other))
    assert torch.equal(one.pixels, two.pixels)
    assert one.origins is None
    assert one.pixels.std() == pytest.approx(1, abs=0.05)


def test_a_real_beginning_is_different_private_images_of_the_right_class(private: LabeledImages) -> None:
    start = initialise(words(init="real"), private, SETTING)
    assert start.origins is not None
    assert len(start.origins.unique()) == len(start.labels) == 30
    assert torch.equal(private.labels[start.origins], start.labels)
    assert torch.equal(start.pixels, normalise(private.images[start.origins], CARD))


def test_a_class_mean_is_the_mean_and_a_little_noise(private: LabeledImages) -> None:
    start = initialise(words(init="class_mean", images_per_class=200), private, SETTING)
    mean = normalise(private.images[private.labels == 4], CARD).mean(0)
    mine = start.pixels[start.labels == 4]
    assert (mine.mean(0) - mean).abs().max() < 5 * MEAN_NOISE / 200**0.5
    assert (mine - mean).std() == pytest.approx(MEAN_NOISE, rel=0.05)


def test_a_public_beginning_is_different_public_images(private: LabeledImages) -> None:
    start = initialise(words(init="public"), private, SETTING)
    values = start.pixels[:, 0, 0, 0]
    assert len(values.unique()) == 30
    assert torch.isin(start.pixels, normalise(PUBLIC.images, CARD)).all()


def test_all_methods_begin_with_the_same_private_images(private: LabeledImages) -> None:
    assert torch.equal(
        initialise(words("dm", init="real"), private, SETTING).pixels, initialise(words("dc", init="real"), private, SETTING).pixels
    )


def test_what_begins_and_does_not_move_ends_as_it_was(private: LabeledImages) -> None:
    start = initialise(words(init="real"), private, SETTING)
    release = finish(start, start.pixels, CARD)
    assert torch.allclose(release.images * 255, private.images[start.origins].float(), atol=1e-3)


@pytest.mark.parametrize(("level", "said"), [(28.0, "a grey level of 28"), (math.inf, "no numbers"), (math.nan, "no numbers")])
def test_learned_images_that_leave_every_scale_diverged_and_are_told_what_to_lower(
    private: LabeledImages, level: float, said: str
) -> None:
    start = initialise(words(init="real"), private, SETTING)
    pixels = start.pixels.clone()
    pixels[0, 0, 0, 0] = normalise(torch.tensor(level), CARD).flatten()[0] if math.isfinite(level) else level
    with pytest.raises(Diverged, match=f"{said}.*lower the method's lr"):
        finish(start, pixels, CARD)


def test_more_real_images_of_a_class_than_there_are_is_a_clear_error(private: LabeledImages) -> None:
    with pytest.raises(SynthcError, match=r"images_per_class: 50 asks for more images of class 0 than the 21"):
        initialise(words(init="real", images_per_class=50), private, SETTING)
    assert len(initialise(words(images_per_class=50), private, SETTING).labels) == 500  # noise has no such limit


def test_a_public_beginning_without_a_public_set_or_with_a_small_one_is_a_clear_error(private: LabeledImages) -> None:
    with pytest.raises(SynthcError, match="names no public set"):
        initialise(words(init="public"), private, replace(SETTING, public=None))
    with pytest.raises(SynthcError, match="50 images to begin with, the public set has 40"):
        initialise(words(init="public", images_per_class=5), private, SETTING)


@pytest.mark.parametrize("method", ["dm", "dc", "dsa"])
@pytest.mark.parametrize("init", ["noise", "real", "class_mean"])
def test_a_class_that_a_relabelling_emptied_has_no_learned_images(method: str, init: str, private: LabeledImages) -> None:
    without = private[(private.labels != 6).nonzero()[:, 0]]
    release = synthesize(words(method, init=init), without, {}, SETTING)
    assert release.labels.unique().tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert release.notes["classes_without_images"] == [6]


# Private batches


def test_a_batch_holds_different_images_of_each_class_and_repeats_only_where_a_class_is_small() -> None:
    images = torch.arange(14, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4)
    data = LabeledImages(images, torch.tensor([0] * 10 + [2] * 3 + [1]))
    batch = ClassBatches(data, (0, 1, 2), 5, SMALL, rng(), torch.device("cpu")).draw()
    shown = ((batch[:, :, 0, 0, 0] * 0.5 + 0.5) * 255).round().long()
    assert len(shown[0].unique()) == 5
    assert shown[0].max() < 10
    assert shown[1].unique().tolist() == [13]
    assert sorted(shown[2].bincount(minlength=13)[10:].tolist()) == [1, 2, 2]


# DM


def test_class_means_are_those_of_a_loop(net: Any) -> None:
    images = torch.randn(3, 5, 1, 4, 4, generator=rng(), dtype=torch.float64)
    naive = torch.stack([net.features(of_class).mean(0) for of_class in images])
    assert torch.allclose(class_means(net, images), naive)


def test_the_derivative_of_dm_is_that_of_finite_differences(net: Any) -> None:
    real, learned = (torch.randn(2, n, 1, 4, 4, generator=rng(n), dtype=torch.float64) for n in (4, 3))
    target = class_means(net, real).detach()
    learned.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: (class_means(net, x) - target).square().sum(), (learned,))


def test_dm_brings_the_mean_features_together(private: LabeledImages) -> None:
    release = synthesize(words(steps=60, lr=3.0, width=8, augment=False), private, {}, SETTING)
    assert release.notes["loss_last"] < 0.5 * release.notes["loss_first"]


# DC and DSA


def test_class_gradients_are_those_of_a_loop(net: Any) -> None:
    images, labels = torch.randn(3, 5, 1, 4, 4, generator=rng(), dtype=torch.float64), torch.tensor([2, 0, 1])
    got = class_gradients(net, images, labels)
    for place, label in enumerate(labels):
        loss = F.cross_entropy(net(images[place]), label.expand(5))
        naive = dict(zip(got, torch.autograd.grad(loss, [dict(net.named_parameters())[name] for name in got]), strict=True))
        assert all(torch.allclose(got[name][place], naive[name]) for name in got)


def test_the_derivative_of_gradient_matching_is_that_of_finite_differences(net: Any) -> None:
    labels = torch.tensor([0, 2])
    real, learned = (torch.randn(2, n, 1, 4, 4, generator=rng(n), dtype=torch.float64) for n in (4, 3))
    target = {name: gradient.detach() for name, gradient in class_gradients(net, real, labels).items()}
    learned.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gradient_distance(target, class_gradients(net, x, labels)), (learned,), atol=1e-4)


def test_the_net_of_dsa_is_trained_on_each_learned_image_under_a_map_of_its_own(private: LabeledImages) -> None:
    learner = LearnedImages(words("dsa", images_per_class=8), private, SETTING)
    with torch.no_grad():
        learner.pixels.copy_(learner.pixels[:1].expand_as(learner.pixels))
    mapped, plain = learner.training_batch(mapped=True)[0], learner.training_batch(mapped=False)[0]
    assert len(plain.unique(dim=0)) == 1
    assert len(mapped.unique(dim=0)) > 40  # of 80; several maps may leave an image as it is


def test_the_distance_counts_rows_by_their_angle_and_leaves_vectors_out() -> None:
    target = {"conv": torch.randn(2, 3, 4, 3, 3, generator=rng()), "bias": torch.randn(2, 3, generator=rng())}
    assert gradient_distance(target, {"conv": 7 * target["conv"], "bias": -target["bias"]}) == pytest.approx(0, abs=1e-5)
    assert gradient_distance(target, {"conv": -target["conv"], "bias": target["bias"]}) == pytest.approx(2 * 6, rel=1e-5)


def test_a_row_without_any_gradient_gives_no_nan() -> None:
    zero = torch.zeros(1, 2, 3, requires_grad=True)
    gradient_distance({"w": torch.ones(1, 2, 3)}, {"w": zero * 2}).backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("method", ["dc", "dsa"])
def test_gradient_matching_turns_gradients_towards_the_private_ones(method: str, private: LabeledImages) -> None:
    release = synthesize(words(method, nets=30, points=2, lr=1.0, width=8), private, {}, SETTING)
    assert release.notes["loss_last"] < 0.75 * release.notes["loss_first"]


# All


@pytest.mark.parametrize("method", ["dm", "dc", "dsa"])
def test_images_that_left_all_bounds_are_a_divergence_and_no_result(method: str, private: LabeledImages) -> None:
    with pytest.raises(Diverged):
        synthesize(words(method).model_copy(update={"lr": 1e38}), private, {}, SETTING)


@pytest.mark.parametrize("method", ["dm", "dc", "dsa"])
def test_the_private_images_handed_in_stay_as_they_are(method: str, private: LabeledImages) -> None:
    kept = private.images.clone()
    synthesize(words(method, init="real"), private, {}, SETTING)
    assert torch.equal(private.images, kept)


def test_a_size_of_nothing_is_refused_by_the_language() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        words(images_per_class=0)
    assert isinstance(words(), Distilled)
