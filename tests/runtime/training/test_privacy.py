"""DP-SGD: gradients of single samples beside Opacus's, noise beside a second accountant's, sampling, and what a shadow may show."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from compiler.errors import SynthcError
from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS, Card
from compiler.language.methods.baselines import Privacy
from runtime.data.formats import digits
from runtime.data.images import LabeledImages
from runtime.outcome import Metric
from runtime.seeds import Seeds
from runtime.training import dp_sgd, gradients, nets
from runtime.training.batches import Training
from runtime.training.scoring import accuracy

CARD = CARDS["digits"]
RECIPE = Recipe(net="small", width=8, norm="group", batch_size=64, lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
CPU = torch.device("cpu")
SEEDS = Seeds(0, 0, 0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def training(
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe = RECIPE,
    iterations: int = 1,
    *,
    card: Card = CARD,
    seeds: Seeds = SEEDS,
) -> Training:
    return Training(
        images=images, labels=labels, recipe=recipe, iterations=iterations, card=card, seeds=seeds, device=CPU, purpose="test"
    )


NETS = [
    Recipe(net="small", width=8, norm="group"),
    Recipe(net="small", width=8, norm="none"),
    Recipe(net="convnet", width=8, norm="instance"),
    Recipe(net="resnet9", width=8, norm="group"),
    Recipe(net="wrn", width=8, depth=10, norm="group"),
    Recipe(net="mlp", width=16, norm="none"),
]


@pytest.mark.parametrize("recipe", NETS, ids=lambda recipe: f"{recipe.net} {recipe.norm}")
def test_gradients_of_single_samples_equal_opacus(recipe: Recipe) -> None:
    from opacus import GradSampleModule

    net = nets.build(recipe, CARD, rng())
    x, y = torch.randn(9, *CARD.shape, generator=rng(1)), torch.arange(9) % 10
    ours, losses = gradients.per_sample_gradients(gradients.classification_loss(net), gradients.parameters_of(net), x[:, None], y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own hooks
        theirs = GradSampleModule(nets.restored(recipe, CARD, net.state_dict()).train(), loss_reduction="sum")
        F.cross_entropy(theirs(x), y, reduction="sum").backward()
    for name, parameter in theirs._module.named_parameters():
        assert torch.allclose(ours[name], parameter.grad_sample, atol=1e-5)
    assert torch.allclose(losses, F.cross_entropy(net(x), y, reduction="none"), atol=1e-6)


def test_gradients_of_attention_equal_those_of_one_sample_after_another() -> None:
    net = torch.nn.MultiheadAttention(8, 2, batch_first=True)  # a warning of torch, which has no rule for fused attention, fails

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, weights, (x, x, x), {"need_weights": False})[0].square().sum()

    x, held = torch.randn(5, 4, 8, generator=rng()), gradients.parameters_of(net)
    ours, losses = gradients.per_sample_gradients(loss, held, x)
    for one in range(5):
        net.zero_grad()
        alone = net(x[one], x[one], x[one], need_weights=False)[0].square().sum()
        alone.backward()
        assert torch.allclose(losses[one], alone, rtol=1e-5)
        for name, parameter in net.named_parameters():
            assert torch.allclose(ours[name][one], parameter.grad, atol=1e-5), name


def test_the_sum_clips_each_sample_over_all_parameters_together_whatever_the_chunks() -> None:
    net = nets.build(RECIPE, CARD, rng())
    x, y = torch.randn(7, 1, *CARD.shape, generator=rng(1)), torch.arange(7)
    loss, held = gradients.classification_loss(net), gradients.parameters_of(net)
    naive = torch.zeros(sum(parameter.numel() for parameter in held.values()))
    for one in range(7):
        net.zero_grad()
        F.cross_entropy(net(x[one]), y[one : one + 1]).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None])
        naive += gradient * min(1.0, 0.5 / gradient.norm().item())
    for cut in (7, 3):
        chunks = list(zip(x.split(cut), y.split(cut), strict=True))
        assert torch.allclose(dp_sgd.clipped_sum(loss, held, chunks, 0.5)[0], naive, atol=1e-5)


def test_copies_of_a_sample_are_averaged_before_they_are_clipped() -> None:
    net = nets.build(RECIPE, CARD, rng())
    x, y = torch.randn(1, 4, *CARD.shape, generator=rng(1)), torch.tensor([3])
    loss, held = gradients.classification_loss(net), gradients.parameters_of(net)
    together = dp_sgd.clipped_sum(loss, held, [(x, y)], 1e6)[0]
    apart = sum(dp_sgd.clipped_sum(loss, held, [(x[:, one : one + 1], y)], 1e6)[0] for one in range(4)) / 4
    assert torch.allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(8.0, 0.2, 60), (1.0, 0.05, 300), (3.0, 0.01, 1000)])
def test_the_noise_for_an_epsilon_agrees_with_opacus_to_a_hundredth(epsilon: float, rate: float, steps: int) -> None:
    from opacus.accountants import PRVAccountant

    ours = dp_sgd.noise_for(epsilon, 1e-5, rate, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def theirs(sigma: float) -> float:
            accountant = PRVAccountant()
            accountant.history = [(sigma, rate, steps)]
            return accountant.get_epsilon(1e-5)

        # The two noises that give our epsilon differ by less than one in a hundred if theirs lies between these.
        assert theirs(1.01 * ours) < epsilon < theirs(0.99 * ours)


def test_an_epsilon_that_takes_far_less_noise_by_pld_than_by_rdp_has_its_noise() -> None:
    delta, rate, steps = 1e-5, 1 / 1940, 194
    noise = dp_sgd.noise_for(0.1, delta, rate, steps)
    assert dp_sgd.epsilon_of("pld", noise, delta, rate, steps) <= 0.1 < dp_sgd.epsilon_of("pld", noise - 0.01, delta, rate, steps)
    assert dp_sgd.epsilon_of("rdp", 2 * noise, delta, rate, steps) > 0.1


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.0, 0.2, 60), (2.0, 0.05, 300), (0.6, 0.01, 1000)])
def test_the_bound_by_renyi_divergences_is_that_of_opacus_to_a_hundredth(sigma: float, rate: float, steps: int) -> None:
    from opacus.accountants import RDPAccountant

    theirs = RDPAccountant()
    theirs.history = [(sigma, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the order that was best
        assert dp_sgd.epsilon_of("rdp", sigma, 1e-5, rate, steps) == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-2)


def blank(samples: int, recipe: Recipe, iterations: int) -> Training:
    return training(torch.zeros(samples, *CARD.shape), torch.zeros(samples, dtype=torch.int64), recipe, iterations)


def test_copies_of_a_sample_are_drawn_together_and_changed_apart() -> None:
    recipe = RECIPE.model_copy(update={"augment": Augment(shift=2, flip=True)})
    batches = list(dp_sgd.poisson(blank(200, recipe, 50), 0.1, 4))
    rows, down = (torch.cat([getattr(batch, word) for batch in batches]).unflatten(0, (-1, 4)) for word in ("rows", "down"))
    assert (rows == rows[:, :1]).all()
    assert (down != down[:, :1]).any(dim=1).to(torch.float64).mean().item() == pytest.approx(1 - (1 / 5) ** 3, abs=0.03)
    plain = torch.cat([batch.rows for batch in dp_sgd.poisson(blank(200, recipe, 50), 0.1, 1)])
    assert torch.equal(plain, rows[:, 0])  # copies change who is drawn for nobody


def test_copies_of_colour_images_are_taken_together_by_a_net_with_strides() -> None:
    colour = CARDS["cifar10"]
    net = nets.build(Recipe(net="wrn", depth=10, width=16, norm="group"), colour, rng())
    images, labels = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8, generator=rng()), torch.arange(16) % 10
    recipe = Recipe(net="wrn", depth=10, width=16, norm="group", batch_size=8, momentum=0.0)
    # torch warns where it falls back to a loop, and here warnings are errors
    mechanism = dp_sgd.new_mechanism(Privacy(noise_multiplier=1.0, multiplicity=2), 8, 16, 1)
    dp_sgd.fit_privately(net, training(images, labels, recipe, card=colour), mechanism)


def test_poisson_sampling_takes_each_sample_independently_and_may_take_none() -> None:
    batches = list(dp_sgd.poisson(blank(200, RECIPE, 2000), 0.05, 1))
    counts = torch.stack([torch.bincount(batch.rows, minlength=200) for batch in batches])
    assert counts.max() == 1
    assert counts.float().mean().item() == pytest.approx(0.05, abs=0.002)
    sizes = counts.sum(1).float()
    assert sizes.var().item() == pytest.approx(200 * 0.05 * 0.95, rel=0.15)  # a batch of fixed size would have none
    rare = list(dp_sgd.poisson(blank(5, RECIPE, 100), 0.05, 1))
    assert any(len(batch.rows) == 0 for batch in rare)


def train(
    net: nets.Classifier,
    data: LabeledImages,
    recipe: Recipe = RECIPE,
    noise: float = 1.0,
    iterations: int = 1,
    expected: int = 600,
    seeds: Seeds = SEEDS,
) -> None:
    """Train in place."""
    job = training(data.images, data.labels, recipe, iterations, seeds=seeds)
    dp_sgd.fit_privately(net, job, dp_sgd.new_mechanism(Privacy(noise_multiplier=noise), recipe.batch_size, expected, iterations))


def fitted(noise: float, seed: Seeds, iterations: int = 40, images: int = 600) -> nets.Classifier:
    data = digits.read()[0][torch.arange(images)]
    net = nets.build(RECIPE, CARD, seed("test/init"))
    train(net, data, noise=noise, iterations=iterations, seeds=seed)
    return net


def test_little_noise_learns_and_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    one, again, other = fitted(0.1, Seeds(0, 0, 0)), fitted(0.1, Seeds(0, 0, 0)), fitted(0.1, Seeds(0, 0, 1))
    assert torch.equal(one.head.weight, again.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    data = digits.read()[0][torch.arange(600, 1000)]
    assert accuracy(one, data.images, data.labels, CARD, CPU) > 0.6


def test_training_survives_steps_without_any_sample() -> None:
    net = nets.build(RECIPE, CARD, rng())
    data = digits.read()[0][torch.arange(3)]
    train(net, data, iterations=30, expected=6000)
    assert net.head.weight.isfinite().all()


def test_sums_are_divided_by_the_expected_batch_and_not_by_the_drawn_one() -> None:
    """A drawn size would tell how many were drawn: half the set, at the same expected size, moves the weights half as far."""
    start = nets.build(RECIPE, CARD, Seeds(0, 0, 0)("test/init"))

    def moved(images: int) -> float:
        data = digits.read()[0][torch.zeros(images, dtype=torch.int64)]  # one image, many times
        net = nets.build(RECIPE, CARD, Seeds(0, 0, 0)("test/init"))
        recipe = RECIPE.model_copy(update={"batch_size": 600, "lr": 1e-3})  # every sample in every batch
        train(net, data, recipe, noise=0.0)
        return (net.head.weight - start.head.weight).norm().item()

    assert moved(300) == pytest.approx(moved(600) / 2, rel=1e-3)


def test_labels_are_smoothed_as_the_recipe_says_and_as_sgd_smooths_them() -> None:
    net = nets.build(RECIPE, CARD, rng())
    x, y = torch.randn(5, *CARD.shape, generator=rng(1)), torch.arange(5)
    _, losses = gradients.per_sample_gradients(gradients.classification_loss(net, 0.3), gradients.parameters_of(net), x[:, None], y)
    assert torch.allclose(losses, F.cross_entropy(net(x), y, reduction="none", label_smoothing=0.3), atol=1e-6)
    data = digits.read()[0][torch.arange(60)]
    nets_of = [nets.build(RECIPE, CARD, Seeds(0, 0, 0)("test/init")) for _ in range(2)]
    for smoothing, other in zip((0.0, 0.3), nets_of, strict=True):
        train(other, data, RECIPE.model_copy(update={"label_smoothing": smoothing}), noise=0.0)
    assert not torch.equal(nets_of[0].head.weight, nets_of[1].head.weight)


def test_batch_norm_is_refused() -> None:
    recipe = RECIPE.model_copy(update={"norm": "batch"})
    data = digits.read()[0][torch.arange(10)]
    with pytest.raises(SynthcError, match="use `norm: group`"):
        train(nets.build(recipe, CARD, rng()), data, recipe)


def test_a_vacuous_epsilon_is_said_to_be_one_and_no_noise_gives_none() -> None:
    def epsilon(noise: float, batch_size: int, steps: int) -> Metric:
        return next(dp_sgd.new_mechanism(Privacy(noise_multiplier=noise), batch_size, 100, steps).metrics())

    assert "vacuous" in epsilon(0.05, 10, 160).note
    nothing = epsilon(0.0, 10, 160)
    assert nothing.value is None
    assert "> 1e6" in nothing.note
    real = epsilon(2.0, 10, 60)
    assert real.value is not None
    assert math.isfinite(real.value)
    assert "vacuous" not in real.note
