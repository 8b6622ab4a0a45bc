"""The denoiser, its noise, and the sets that it draws: known variances, limits of SDEdit, an average beside a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from compiler.datasets import CARDS
from compiler.spec.classifier import Recipe
from compiler.spec.diffusion import Denoiser, Diffusion
from runtime.data import LabeledImages, digits
from runtime.query.generator import loss
from runtime.seeds import Seeds
from runtime.synthesize import denoisers, diffusion
from runtime.synthesize.release import Setting
from runtime.training import Average

CARD = CARDS["digits"]
SETTING = Setting(card=CARD, seeds=Seeds(0, 0, 0), device=torch.device("cpu"), recipe=Recipe(), iterations=10)
LIGHT = {"width": 16, "blocks": 1, "epochs": 5.0, "batch_size": 64}


class Kept:
    """An artifact in memory."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.held = tensors

    def tensors(self, stem: str) -> dict[str, torch.Tensor]:
        assert stem == "generator"
        return self.held


def words(method: str = "conditional", **fields: Any) -> Any:
    given = {"paradigm": "diffusion", "method": method, "denoiser": LIGHT, "steps": 10, **fields}
    return TypeAdapter(Diffusion).validate_python(given)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def private() -> LabeledImages:
    return digits.read()[0][torch.arange(300)]


@pytest.fixture(scope="module")
def trained(private: LabeledImages) -> Any:
    return Kept(dict(diffusion.train_generator(Denoiser(**LIGHT), private, SETTING).files["generator"]))


def drawn(trained: Any, private: LabeledImages, **fields: Any) -> Any:
    return diffusion.synthesize(words(**fields), private, {"generator": trained}, SETTING)


def test_noise_keeps_the_variance_of_images_of_variance_one_at_every_level() -> None:
    abar = diffusion.kept_signal(1000)
    x, noise = torch.randn(2, 20_000, 1, 1, 1, generator=rng())
    for level in (0, 100, 500, 900, 999):
        seen = diffusion.noised(x, noise, torch.full((20_000,), level), abar)
        assert seen.var().item() == pytest.approx(1.0, abs=0.04)


def test_the_signal_falls_from_nearly_all_to_nearly_nothing() -> None:
    abar = diffusion.kept_signal(1000)
    assert abar[0] > 0.9999
    assert abar[-1] < 1e-4
    assert (abar.diff() < 0).all()


def test_half_way_the_cosine_schedule_keeps_about_half_of_the_variance() -> None:
    assert diffusion.kept_signal(1000)[499].item() == pytest.approx(0.5, abs=0.02)   # cos²(π/4), but for the offset of 0.008


def test_sdedit_of_no_strength_gives_the_private_images_back(trained: Any, private: LabeledImages) -> None:
    twins = drawn(trained, private, method="sdedit", strength=1e-4)
    assert (twins.images.int() - private.images.int()).abs().max() <= 1


def test_sdedit_of_full_strength_forgets_the_image_and_keeps_the_label(trained: Any, private: LabeledImages) -> None:
    weak, full = (drawn(trained, private, method="sdedit", strength=strength) for strength in (0.1, 1.0))

    def alike(made: Any) -> float:
        pair = torch.stack([made.images.double().flatten(), private.images.double().flatten()])
        return torch.corrcoef(pair)[0, 1].item()

    # The denoiser here is too small to draw digits; what is left of the images is what all digits have in common.
    shuffled = private[torch.randperm(len(private), generator=rng())]
    common = torch.corrcoef(torch.stack([shuffled.images.double().flatten(), private.images.double().flatten()]))[0, 1].item()
    assert alike(weak) > 0.95
    assert alike(full) < common + 0.1
    assert torch.equal(full.labels, private.labels)


def test_each_twin_names_the_image_it_was_made_from_and_drawn_images_name_none(trained: Any, private: LabeledImages) -> None:
    assert torch.equal(drawn(trained, private, method="sdedit", strength=0.5).origins, torch.arange(300))
    assert drawn(trained, private).origins is None


def test_a_multiple_of_the_private_set_keeps_its_proportions(trained: Any, private: LabeledImages) -> None:
    made = drawn(trained, private, multiple=2.0)
    assert torch.equal(made.labels.bincount(minlength=10), 2 * private.labels.bincount(minlength=10))
    assert len(drawn(trained, private, multiple=0.5).labels) == 150


def test_drawing_is_the_same_under_the_same_seeds_and_differs_between_shadows(trained: Any, private: LabeledImages) -> None:
    once, again = drawn(trained, private), drawn(trained, private)
    assert torch.equal(once.images, again.images)
    other = Setting(card=CARD, seeds=Seeds(0, 0, 1), device=torch.device("cpu"), recipe=Recipe(), iterations=10)
    assert not torch.equal(once.images, diffusion.synthesize(words(), private, {"generator": trained}, other).images)


def test_no_guidance_is_the_conditional_model_itself_and_guidance_moves_away_from_the_unlabeled_one(
    trained: Any, private: LabeledImages
) -> None:
    net = diffusion.restored(words().denoiser, trained, SETTING)
    labels = torch.arange(10)
    plain, guided = (
        diffusion.sample(net, words(guidance=weight, steps=1), labels, SETTING, rng(5)) for weight in (0.0, 1.0)
    )
    top, x = torch.full((10,), 999), torch.randn(10, *CARD.shape, generator=rng(5))
    abar = diffusion.kept_signal(1000)[999].float()
    with torch.no_grad():
        own, none = net(x, top, labels), net(x, top, torch.full((10,), CARD.classes))
    for made, noise in ((plain, own), (guided, 2 * own - none)):
        clean = ((x - (1 - abar).sqrt() * noise) / abar.sqrt()).clamp(-1, 1)
        assert torch.allclose(made, clean, atol=1e-5)


def test_the_average_of_the_weights_equals_a_loop_written_out() -> None:
    net = torch.nn.Linear(3, 1)
    average = Average(net, 0.9)
    naive = [parameter.detach().clone() for parameter in net.parameters()]
    for step in range(40):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng(step)))
        average.update()
        keep = min(0.9, (2 + step) / (11 + step))
        naive = [keep * old + (1 - keep) * new.detach() for old, new in zip(naive, net.parameters(), strict=True)]
    average.give()
    for mine, theirs in zip(net.parameters(), naive, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("net", ["mlp", "unet"])
def test_a_denoiser_answers_with_noise_of_the_images_shape_and_looks_at_level_and_label(net: str) -> None:
    how = Denoiser(net=net, width=8, blocks=2)
    built = denoisers.build(how, CARDS["fashion_mnist"], rng())
    with torch.no_grad():
        for parameter in built.parameters():   # some begin at zero, on purpose: then nothing would be looked at
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng(1)))
        x = torch.randn(2, 1, 28, 28, generator=rng()).repeat(2, 1, 1, 1)[:2]
        found = built(x, torch.tensor([10, 10]), torch.tensor([1, 1]))
        assert found.shape == (2, 1, 28, 28)
        assert not torch.allclose(found, built(x, torch.tensor([900, 900]), torch.tensor([1, 1])))
        assert not torch.allclose(found, built(x, torch.tensor([10, 10]), torch.tensor([2, 2])))


@pytest.mark.parametrize("net", ["mlp", "unet"])
def test_the_same_seed_builds_the_same_denoiser_whatever_was_drawn_before(net: str) -> None:
    how = Denoiser(net=net, width=8, blocks=2)
    first = denoisers.build(how, CARD, rng(3)).state_dict()
    torch.rand(7)
    second = denoisers.build(how, CARD, rng(3)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss_on_images_that_were_seen(private: LabeledImages) -> None:
    how = Denoiser(**{**LIGHT, "epochs": 60.0, "width": 32})
    product = diffusion.train_generator(how, private, SETTING)
    found = {metric.name: metric.value for metric in product.metrics}
    assert found["denoiser_loss"] is not None
    assert found["denoiser_loss"] < 0.8   # an untrained one answers zero: 1


def test_a_denoiser_is_less_wrong_about_what_it_has_seen(private: LabeledImages) -> None:
    how = Denoiser(width=128, blocks=2, epochs=400, batch_size=64)
    seen, unseen = private[torch.arange(40)], private[torch.arange(150, 290)]
    kept: Any = Kept(dict(diffusion.train_generator(how, seen, SETTING).files["generator"]))
    net = diffusion.restored(how, kept, SETTING)
    inside, outside = (loss(net, part.images.float() / 127.5 - 1, part.labels, how, 0) for part in (seen, unseen))
    assert inside.mean() < 0.7 * outside.mean()
