"""The denoiser, its noise, and the sets that it draws: known variances, limits of SDEdit, an average beside a loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from pydantic import TypeAdapter

from compiler.errors import SynthcError
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from compiler.language.methods.diffusion import Denoiser
from compiler.language.study import AnyArm
from runtime.data.formats import digits, shapes
from runtime.data.images import LabeledImages
from runtime.seeds import Seeds
from runtime.store.artifacts import encode_tensors
from runtime.synthesize.diffusion import bases, denoisers
from runtime.synthesize.diffusion import generate as diffusion
from runtime.synthesize.diffusion.bases import restored
from runtime.synthesize.diffusion.process import denoise, new_scheduler
from runtime.synthesize.release import Setting
from runtime.training.batches import EMA

CARD = CARDS["digits"]
SETTING = Setting(card=CARD, expected_size=300, seeds=Seeds(0, 0, 0), device=torch.device("cpu"), recipe=Recipe(), iterations=10)
LIGHT = {"width": 16, "blocks": 1, "epochs": 5.0, "batch_size": 64}


PRIVATELY = {"privacy": {"epsilon": 8.0}}
TUNED: dict[str, Any] = {**LIGHT, "base": {"pretrain": "public", "epochs": 5.0}}
UNTUNED = TUNED | {"finetune": "none"}


class Kept:
    """An artifact in memory."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.held = tensors

    def tensors(self, stem: str) -> dict[str, torch.Tensor]:
        assert stem in ("generator", "base")
        return self.held


def words(method: str = "conditional", **fields: Any) -> Any:
    given = {"paradigm": "diffusion", "method": method, "denoiser": LIGHT, "steps": 10, **fields}
    return TypeAdapter(AnyArm).validate_python(given)


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


def kept_signal(levels: int) -> torch.Tensor:
    """levels, float64: the share of a signal's variance that is left at each level (Nichol and Dhariwal 2021, eq. 17), through
    betas cut at 0.999, as published, so that the last level keeps a trace of the image."""
    at = torch.arange(levels + 1, dtype=torch.float64) / levels
    f = torch.cos((at + 0.008) / 1.008 * torch.pi / 2) ** 2
    return torch.cumprod(1 - (1 - f[1:] / f[:-1]).clamp(max=0.999), dim=0)


def test_noise_levels_and_noised_images_are_those_that_were_published() -> None:
    x, noise = torch.randn(2, 5, *CARD.shape, generator=rng())
    level = torch.tensor([0, 10, 500, 900, 999])
    kept = kept_signal(1000).float()[level, None, None, None]
    found = new_scheduler(Denoiser()).add_noise(x, noise, level)
    assert torch.allclose(found, kept.sqrt() * x + (1 - kept).sqrt() * noise, atol=1e-4)


def test_noise_keeps_the_variance_of_images_of_variance_one_at_every_level() -> None:
    x, noise = torch.randn(2, 20_000, 1, 1, 1, generator=rng())
    for level in (0, 100, 500, 900, 999):
        seen = new_scheduler(Denoiser()).add_noise(x, noise, torch.full((20_000,), level))
        assert seen.var().item() == pytest.approx(1.0, abs=0.04)


class Wavy(denoisers.Net):
    """A fixed net whose output depends on all of its inputs."""

    def forward(self, x: torch.Tensor, level: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.tanh(1.5 * x + 0.01 * level[:, None, None, None] - label[:, None, None, None] / 9)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize(("steps", "strength"), [(40, 1.0), (10, 1.0), (1, 1.0), (8, 0.5)])
def test_every_step_of_drawing_is_that_of_the_papers(sampler: str, steps: int, strength: float) -> None:
    """Song et al. 2021, eq. 12 and 16, without noise (ddim) or with all of it (ddpm); from the top or from images."""
    net, labels, noise = Wavy(CARD.shape), torch.arange(10), torch.randn(10, *CARD.shape, generator=rng())
    abar, shape = kept_signal(40).float(), {} if strength == 1 else {"method": "sdedit", "strength": strength}
    begin = None if strength == 1 else 0.5 * torch.randn(10, *CARD.shape, generator=rng(2))
    how = words(sampler=sampler, steps=steps, denoiser=LIGHT | {"timesteps": 40}, **shape)
    top = round(strength * 40) - 1
    x = noise if begin is None else abar[top].sqrt() * begin + (1 - abar[top]).sqrt() * noise
    draws = rng(1)
    for level in range(top, -1, -40 // steps):
        found = net(x, torch.full((10,), level), labels)
        kept, after = abar[level], abar[level - 40 // steps] if level >= 40 // steps else torch.tensor(1.0)
        clean = ((x - (1 - kept).sqrt() * found) / kept.sqrt()).clamp(-1, 1)
        found = (x - kept.sqrt() * clean) / (1 - kept).sqrt()  # the noise that goes with the clipped signal
        fresh = ((1 - after) / (1 - kept) * (1 - kept / after)).sqrt() if sampler == "ddpm" else torch.tensor(0.0)
        x = after.sqrt() * clean + (1 - after - fresh**2).clamp(min=0).sqrt() * found
        if sampler == "ddpm" and level:
            x = x + fresh * torch.randn(x.shape, generator=draws)
    assert torch.allclose(denoise(net, how, labels, 10, noise, rng(1), begin), x, atol=1e-3)


def test_sdedit_of_next_to_no_strength_gives_the_private_images_back(trained: Any, private: LabeledImages) -> None:
    twins = drawn(trained, private, method="sdedit", strength=1e-3, steps=1000)
    assert (twins.images.int() - private.images.int()).abs().float().mean() < 1


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


def test_more_twins_than_private_images_are_further_twins_of_the_same(trained: Any, private: LabeledImages) -> None:
    twins = drawn(trained, private, method="sdedit", strength=0.5, multiple=1.5)
    assert torch.equal(twins.origins, torch.arange(450) % 300)
    assert torch.equal(twins.labels, private.labels[twins.origins])
    assert not torch.equal(twins.images[:150], twins.images[300:])


def test_drawing_is_the_same_under_the_same_seeds_and_differs_between_shadows(trained: Any, private: LabeledImages) -> None:
    once, again = drawn(trained, private), drawn(trained, private)
    assert torch.equal(once.images, again.images)
    other = Setting(card=CARD, expected_size=300, seeds=Seeds(0, 0, 1), device=torch.device("cpu"), recipe=Recipe(), iterations=10)
    assert not torch.equal(once.images, diffusion.synthesize(words(), private, {"generator": trained}, other).images)


def test_guidance_moves_away_from_the_unlabeled_model_and_none_is_the_conditional_one(trained: Any, private: LabeledImages) -> None:
    net = restored(words().denoiser, trained, SETTING)
    labels = torch.arange(10)
    plain, guided = (diffusion.sample(net, words(guidance=weight, steps=1), labels, SETTING, rng(5)) for weight in (1.0, 2.0))
    top, x = torch.full((10,), 999), torch.randn(10, *CARD.shape, generator=rng(5))
    abar = kept_signal(1000)[999].float()
    with torch.no_grad():
        own, none = net(x, top, labels), net(x, top, torch.full((10,), CARD.classes))
    for made, noise in ((plain, own), (guided, 2 * own - none)):
        clean = ((x - (1 - abar).sqrt() * noise) / abar.sqrt()).clamp(-1, 1)
        assert torch.equal(made, net.decoded(clean, rng()))


def test_the_average_of_the_weights_equals_a_loop_written_out() -> None:
    net = torch.nn.Linear(3, 1)
    average = EMA(net, 0.9)
    naive = [parameter.detach().clone() for parameter in net.parameters()]
    for step in range(40):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng(step)))
        average.update()
        keep = min(0.9, (2 + step) / (11 + step))
        naive = [keep * old + (1 - keep) * new.detach() for old, new in zip(naive, net.parameters(), strict=True)]
    average.copy_to_net()
    for mine, theirs in zip(net.parameters(), naive, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("net", ["mlp", "latent_mlp", "unet"])
def test_a_denoiser_answers_with_noise_of_the_images_shape_and_looks_at_level_and_label(net: str) -> None:
    how = Denoiser(net=net, width=8, blocks=2)  # type: ignore[arg-type]
    built = denoisers.build(how, CARDS["fashion_mnist"], rng())
    with torch.no_grad():
        for parameter in built.parameters():  # some begin at zero, on purpose: then nothing would be looked at
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng(1)))
        x = torch.randn(2, *built.shape, generator=rng())
        found = built(x, torch.tensor([10, 10]), torch.tensor([1, 1]))
        assert found.shape == x.shape
        assert net == "latent_mlp" or built.shape == (1, 28, 28)
        assert not torch.allclose(found, built(x, torch.tensor([900, 900]), torch.tensor([1, 1])))
        assert not torch.allclose(found, built(x, torch.tensor([10, 10]), torch.tensor([2, 2])))


@pytest.mark.parametrize("net", ["mlp", "latent_mlp", "unet"])
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
    assert found["denoiser_loss"] < 0.8  # an untrained one answers zero: 1


def test_the_real_unet_learns_and_draws(private: LabeledImages) -> None:
    denoiser = {"net": "unet", "width": 8, "blocks": 2, "epochs": 8.0, "batch_size": 64, "lr": 3e-3}
    product = diffusion.train_generator(Denoiser(**denoiser), private, SETTING)  # type: ignore[arg-type]
    found = {metric.name: metric.value for metric in product.metrics}
    assert found["denoiser_loss"] is not None
    assert found["denoiser_loss"] < 0.8  # an untrained one: about 1
    kept: Any = Kept(dict(product.files["generator"]))
    made = drawn(kept, private, denoiser=denoiser, steps=4, multiple=0.1)
    assert made.images.shape == (30, *CARD.shape)
    assert made.images.float().std() > 20


# Principal components


def test_components_are_those_of_scikit_learn_brought_to_one_scale(private: LabeledImages) -> None:
    from sklearn.decomposition import PCA

    net = denoisers.build(Denoiser(net="latent_mlp", components=5, width=8), CARD, rng())
    net.prepare(private.images)
    signals = net.encoded(private.images)
    theirs = torch.from_numpy(PCA(5).fit_transform(private.images.flatten(1).numpy() / 127.5 - 1))
    assert torch.allclose(signals.abs(), (theirs / (2 * theirs.std(0))).abs().float(), atol=1e-3)
    assert torch.allclose(signals.std(0), torch.full((5,), 0.5), atol=1e-3)


def test_with_every_component_nothing_of_an_image_is_lost(private: LabeledImages) -> None:
    net = denoisers.build(Denoiser(net="latent_mlp", components=64, width=8), CARD, rng())
    net.prepare(private.images)
    assert (net.decoded(net.encoded(private.images), rng()).int() - private.images.int()).abs().max() <= 1


def test_what_the_components_leave_out_is_drawn_with_the_spectrum_that_it_has(private: LabeledImages) -> None:
    from sklearn.decomposition import PCA

    net = denoisers.build(Denoiser(net="latent_mlp", components=12, width=8), CARD, rng())
    net.prepare(private.images)
    flat = private.images.flatten(1).double() / 127.5 - 1
    further = PCA(60).fit(flat.numpy())  # 12, and 4 for each of them
    signals = net.encoded(private.images)[:1].expand(20_000, -1)
    smooth = signals[:1] * net.get_buffer("size") @ net.get_buffer("basis") + net.get_buffer("centre")
    noise = torch.randn(20_000, 48, generator=rng(4)) @ net.get_buffer("texture")
    along = (noise.double().numpy() @ further.components_[12:60].T).std(0)
    assert along == pytest.approx(further.explained_variance_[12:60] ** 0.5, rel=0.05, abs=2e-3)
    drawn = net.decoded(signals, rng(4)).flatten(1).float()
    assert (drawn - ((smooth + noise + 1) * 127.5).clamp(0, 255)).abs().max() < 0.51  # rounded


def test_a_latent_denoiser_draws_images_and_declares_its_basis(private: LabeledImages) -> None:
    denoiser = LIGHT | {"net": "latent_mlp", "components": 20, "epochs": 30.0, "width": 32}
    product = diffusion.train_generator(Denoiser(**denoiser), private, SETTING)
    assert product.notes == {"declared": "20 principal components of the private images"}
    kept: Any = Kept(dict(product.files["generator"]))
    made = drawn(kept, private, denoiser=denoiser)
    assert made.images.shape == private.images.shape
    means = torch.stack([images.float().mean(0).flatten() for images in (made.images, private.images)])
    assert torch.corrcoef(means)[0, 1] > 0.9


def test_more_components_than_pixels_is_a_clear_error() -> None:
    with pytest.raises(SynthcError, match="65 components of 64 pixels"):
        denoisers.build(Denoiser(net="latent_mlp", components=65), CARD, rng())


# A base


@pytest.fixture(scope="module")
def based() -> Any:
    """A setting whose generators start from a base trained on the shapes."""
    how = Denoiser(**TUNED)
    public = shapes.read(CARD.shape)[0][torch.arange(200)]
    product = diffusion.train_shared(how.shared, public, SETTING)  # type: ignore[arg-type]
    return replace(SETTING, base=Kept(dict(product.files["base"])))  # type: ignore[arg-type]


def tuned(private: LabeledImages, based: Any, **fields: Any) -> tuple[Denoiser, Any]:
    how = Denoiser(**TUNED | fields)
    return how, Kept(dict(diffusion.train_generator(how, private, based).files["generator"]))


def test_a_base_is_the_same_task_whatever_is_done_with_it_later() -> None:
    wordings = [TUNED, TUNED | {"epochs": 2.0, "lr": 0.5}, TUNED | {"finetune": "lora", "rank": 2}, UNTUNED, TUNED | PRIVATELY]
    assert len({Denoiser(**words).shared for words in wordings}) == 1
    assert Denoiser(**TUNED | {"width": 8}).shared != Denoiser(**TUNED).shared
    assert Denoiser(**LIGHT).shared is None


@pytest.mark.parametrize("fields", [{}, {"finetune": "lora"}])
def test_tuning_begins_with_the_answers_of_the_base_and_ends_with_others(
    private: LabeledImages, based: Any, fields: dict[str, Any]
) -> None:
    how, kept = tuned(private, based, **fields)
    x, level, labels = torch.randn(10, *CARD.shape, generator=rng()), torch.full((10,), 300), torch.arange(10)
    base = restored(Denoiser(**UNTUNED), None, based)
    with torch.no_grad():
        of_base = base(x, level, labels)
        assert torch.equal(of_base, base(x, level, torch.full((10,), 10)))  # it knows no class yet
        assert torch.equal(bases.new_denoiser(how, based)(x, level, labels), of_base)
        assert not torch.allclose(restored(how, kept, based)(x, level, labels), of_base, atol=1e-3)


def test_what_is_kept_of_a_shadow_is_what_was_tuned_and_draws_the_same_images_again(private: LabeledImages, based: Any) -> None:
    how, kept = tuned(private, based, finetune="lora", rank=2)
    net = bases.new_denoiser(how, based)
    moved = [parameter for parameter in net.parameters() if parameter.requires_grad]
    numbers = sum(parameter.numel() for parameter in moved)
    assert sum(tensor.numel() for tensor in kept.held.values()) == numbers
    assert len(encode_tensors(kept.held)) < 1.1 * 4 * numbers + 2000  # names and shapes of few numbers
    assert numbers < 0.5 * sum(parameter.numel() for parameter in net.parameters())
    arm = words(denoiser=TUNED | {"finetune": "lora", "rank": 2})
    one, again = (diffusion.synthesize(arm, private, {"generator": kept}, based).images for _ in range(2))
    assert torch.equal(one, again)


def test_an_untuned_base_draws_the_same_set_whatever_the_membership(private: LabeledImages, based: Any) -> None:
    arm = words(denoiser=UNTUNED, control=True, multiple=0.5)
    fewer = private[(private.labels != 3).nonzero()[:, 0]]
    one, other = (diffusion.synthesize(arm, data, {}, based) for data in (private, fewer))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)


def test_a_base_with_principal_components_has_those_of_the_public_images(private: LabeledImages) -> None:
    words = TUNED | {"net": "latent_mlp", "components": 5}
    public = shapes.read(CARD.shape)[0][torch.arange(100)]
    base = dict(diffusion.train_shared(Denoiser(**words).shared, public, SETTING).files["base"])  # type: ignore[arg-type]
    around = replace(SETTING, base=Kept(base))  # type: ignore[arg-type]
    product = diffusion.train_generator(Denoiser(**words), private, around)
    assert "basis" not in product.files["generator"]
    assert product.notes == {}
    assert torch.equal(restored(Denoiser(**words), None, around).get_buffer("basis"), base["basis"])


def test_dp_sgd_moves_the_tuned_part_alone_and_states_its_epsilon(private: LabeledImages, based: Any) -> None:
    how = Denoiser(**TUNED | {"finetune": "lora", "rank": 2, "privacy": {"epsilon": 8.0}})
    product = diffusion.train_generator(how, private, based)
    found = {metric.name: metric.value for metric in product.metrics}
    assert found["epsilon"] is not None
    assert found["epsilon"] <= 8.0
    assert set(product.files["generator"]) == {
        name for name, _ in bases.new_denoiser(how, based).named_parameters() if "lora" in name
    } | {"classes.weight"}


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm_solver"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_drawing_is_a_plain_loop_over_the_librarys_scheduler(sampler: str, strength: float) -> None:
    net, labels, noise = Wavy(CARD.shape), torch.arange(20) % 10, torch.randn(20, *CARD.shape, generator=rng())
    how = words(sampler=sampler, steps=8, **({} if strength == 1 else {"method": "sdedit", "strength": strength}))
    begin = None if strength == 1 else 0.5 * torch.randn(20, *CARD.shape, generator=rng(2))
    options = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    scheduler = {
        "ddim": lambda: diffusers.DDIMScheduler(1000, **options), "ddpm": lambda: diffusers.DDPMScheduler(1000, **options),
        "dpm_solver": lambda: diffusers.DPMSolverMultistepScheduler(1000, **options),
    }[sampler]()  # fmt: skip
    scheduler.set_timesteps(8)
    levels = scheduler.timesteps[-round(8 * strength) :]
    x, draws = noise if begin is None else scheduler.add_noise(begin, noise, levels[:1]), rng(1)
    clipped = {"use_clipped_model_output": True} if sampler == "ddim" else {}
    for level in levels:
        x = scheduler.step(net(x, level.expand(20), labels), level, x, generator=draws, **clipped).prev_sample
    assert torch.allclose(denoise(net, how, labels, 10, noise, rng(1), begin), x, atol=1e-6)


# DDPM, filter, DP-SGD


def test_ddpm_adds_noise_on_the_way_and_ddim_none(trained: Any) -> None:
    net = restored(words().denoiser, trained, SETTING)
    labels, noise = torch.arange(10), torch.randn(10, *CARD.shape, generator=rng())

    def made(sampler: str, seed: int) -> torch.Tensor:
        with torch.no_grad():
            return denoise(net, words(sampler=sampler), labels, 10, noise, rng(seed))

    assert torch.equal(made("ddim", 1), made("ddim", 2))
    assert not torch.equal(made("ddpm", 1), made("ddpm", 2))


def test_the_filter_keeps_what_the_teacher_believes_and_no_class_vanishes(trained: Any, private: LabeledImages) -> None:
    from runtime.training import nets

    class Teacher:
        def tensors(self, stem: str) -> dict[str, torch.Tensor]:
            return dict(nets.build(Recipe(), CARD, rng()).state_dict())

    how = words(filter=0.9)
    made = diffusion.synthesize(how, private, {"generator": trained, "teacher": Teacher()}, SETTING)  # type: ignore[dict-item]
    assert how.needs == ("generator", "teacher")
    assert 10 <= len(made.labels) < 300
    assert len(made.labels.unique()) == 10


def test_a_denoiser_trained_by_dp_sgd_states_its_epsilon_and_learns(private: LabeledImages) -> None:
    how = Denoiser(**LIGHT | {"epochs": 40.0, "privacy": {"noise_multiplier": 0.6}})
    found = {metric.name: metric for metric in diffusion.train_generator(how, private, SETTING).metrics}
    assert found["epsilon"].value is not None
    assert "one image added or removed" in found["epsilon"].note
    assert found["denoiser_loss"].value is not None
    assert found["denoiser_loss"].value < 1.0


def test_a_set_with_a_guarantee_tells_neither_the_size_nor_the_labels_of_the_private_set(private: LabeledImages) -> None:
    denoiser = LIGHT | {"privacy": {"noise_multiplier": 1.0}}
    net = denoisers.build(Denoiser(**denoiser), CARD, rng())
    kept: Any = Kept(dict(net.state_dict()))
    fewer = private[(private.labels != 3).nonzero()[:, 0]]
    one, other = (drawn(kept, data, denoiser=denoiser, multiple=0.5).labels for data in (private, fewer))
    assert torch.equal(one, other)
    assert one.bincount().tolist() == [15] * 10  # half of the expected 300


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"steps": 30}, "steps: 30 does not divide the denoiser's 1000 timesteps; 25 does"),
        ({"method": "sdedit", "strength": 0.01}, "a strength of 0.01 is less than one of 10 steps"),
        ({"guidance": 0.5}, "this was w; write w \\+ 1, here 1.5"),
        ({"guidance": 2.0, "denoiser": LIGHT | {"unlabeled": 0.0}}, "also learned without labels"),
        ({"filter": 0.5, "denoiser": LIGHT | PRIVATELY}, "the set would lose the denoiser's"),
        ({"method": "sdedit", "strength": 0.5, "denoiser": LIGHT | PRIVATELY}, "begins with private images"),
        ({"denoiser": LIGHT | PRIVATELY | {"net": "latent_mlp"}}, "does not account for the private images' principal components"),
        ({"denoiser": LIGHT | {"finetune": "lora"}}, "finetune: lora needs a `base`"),
        ({"denoiser": UNTUNED | PRIVATELY, "control": True}, "nothing for `privacy` to protect"),
        ({"denoiser": UNTUNED}, "an untuned base is a control: say `control: true`"),
        ({"denoiser": TUNED, "control": True}, "`control: true` is for `finetune: none`"),
        ({"denoiser": UNTUNED, "control": True, "filter": 0.5}, "a control would be one no more"),
        ({"denoiser": UNTUNED, "control": True, "method": "sdedit", "strength": 0.5}, "leaks by construction"),
    ],
)
def test_words_that_do_not_go_together_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        words(**fields)
