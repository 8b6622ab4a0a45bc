"""Training: the order and the changes of what is presented, the same weights from the same seed, averages, and what is reported."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiler.compile import compile_study
from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS
from compiler.work.operations import TrainClassifier
from runtime import machine
from runtime.data.formats import digits
from runtime.data.images import LabeledImages
from runtime.data.population.roles import private_set
from runtime.outcome import Diverged, Metric
from runtime.seeds import Seeds
from runtime.training import classifier, nets
from runtime.training.batches import EMA, Batch, Examples, Fitted, Training, lr_factor, presentations
from runtime.training.scoring import accuracy, logits
from runtime.training.sgd import fit
from tests.conftest import TINY, Done

CARD = CARDS["digits"]
CPU = torch.device("cpu")
RECIPE = Recipe(net="small", width=8, batch_size=64, lr=0.1)
SEEDS = Seeds(0, 0, 0)


@pytest.fixture(scope="module")
def data() -> LabeledImages:
    return digits.read()[0][torch.arange(500)]


def training(data: LabeledImages, recipe: Recipe = RECIPE, iterations: int = 40, **words: Any) -> Training:
    given = {"images": data.images, "labels": data.labels, "card": CARD, "seeds": SEEDS, "device": CPU, "purpose": "test"}
    return Training(recipe=recipe, iterations=iterations, **given | words)


def fitted(data: LabeledImages, recipe: Recipe = RECIPE, seeds: Seeds = SEEDS, iterations: int = 40, **words: Any) -> Fitted:
    return fit(nets.build(recipe, CARD, seeds("test/init")), training(data, recipe, iterations, seeds=seeds, **words))


def flat(net: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().to(torch.float64) for tensor in net.state_dict().values()])


# What is presented


@pytest.mark.parametrize(("samples", "batch"), [(500, 64), (50, 64), (64, 64), (130, 50)])
def test_batches_are_full_and_every_sample_is_presented_once_a_pass(samples: int, batch: int, data: LabeledImages) -> None:
    recipe = RECIPE.model_copy(update={"batch_size": batch})
    batches = list(presentations(training(data[torch.arange(samples)], recipe, 30)))
    assert {len(found) for found in batches} == {batch}
    rows, turn = (torch.cat([getattr(found, word) for found in batches]) for word in ("rows", "turn"))
    for passed in range(int(turn.max())):  # the last pass may be cut short
        assert rows[turn == passed].sort().values.tolist() == list(range(samples))


def test_shifts_and_mirrors_are_uniform_and_drawn_anew_each_time(data: LabeledImages) -> None:
    recipe = RECIPE.model_copy(update={"augment": Augment(shift=2, flip=True)})
    batches = list(presentations(training(data, recipe, 100)))
    for word, values in (("down", 5), ("right", 5), ("mirror", 2)):
        drawn = torch.cat([getattr(found, word) for found in batches]).to(torch.int64)
        shares = torch.bincount(drawn, minlength=values) / len(drawn)
        assert torch.allclose(shares, torch.full((values,), 1 / values), atol=0.03), word
    first, second = (torch.cat([found.down for found in batches[at : at + 10]]) for at in (0, 10))
    assert not torch.equal(first, second)


def test_a_presented_image_is_the_one_that_padding_cropping_and_mirroring_give(data: LabeledImages) -> None:
    batch = Batch(
        torch.arange(6),
        torch.zeros(6, dtype=torch.int64),
        torch.tensor([0, 4, 2, 1, 3, 2]),
        torch.tensor([4, 0, 2, 3, 1, 2]),
        torch.tensor([True, False, True, False, True, False]),
    )
    x, y = Examples(training(data, RECIPE.model_copy(update={"augment": Augment(shift=2, flip=True)}))).present(batch)
    for place in range(6):
        down, right = int(batch.down[place]), int(batch.right[place])
        image = F.pad(data.images[place], (2, 2, 2, 2))[:, down : down + 8, right : right + 8]
        image = image.flip(2) if batch.mirror[place] else image
        assert torch.equal(x[place], nets.normalise(image[None], CARD)[0])
    assert torch.equal(y, data.labels[:6])


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_a_schedule_stays_between_nothing_and_its_peak_and_ends_low_unless_constant(schedule: str) -> None:
    rates = [lr_factor(schedule, step, 200) for step in range(200)]
    assert 0 < min(rates)
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    assert rates[-1] == 1.0 if schedule == "constant" else rates[-1] < 0.01


# Weights


def test_the_same_seed_gives_the_same_weights_to_the_bit_and_another_shadow_others(data: LabeledImages) -> None:
    recipe = RECIPE.model_copy(update={"augment": Augment(shift=1), "ema": 0.9})
    one, again, other = (fitted(data, recipe, seeds).net for seeds in (SEEDS, SEEDS, Seeds(0, 0, 1)))
    assert torch.equal(flat(one), flat(again))
    assert not torch.equal(flat(one), flat(other))


def test_steps_are_those_of_a_loop_that_knows_no_tricks(data: LabeledImages) -> None:
    """Layout, fused steps and the gathered batches change no more than rounding."""
    recipe = RECIPE.model_copy(update={"augment": Augment(shift=1)})
    net = nets.build(recipe, CARD, SEEDS("test/init")).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=False)
    for step, batch in enumerate(presentations(training(data, recipe, 10))):
        padded = F.pad(data.images, (1, 1, 1, 1))
        images = [
            padded[row, :, down : down + 8, right : right + 8]
            for row, down, right in zip(batch.rows.tolist(), batch.down.tolist(), batch.right.tolist(), strict=True)
        ]
        optimizer.param_groups[0]["lr"] = 0.1 * lr_factor("one_cycle", step, 10)
        optimizer.zero_grad()
        F.cross_entropy(net(nets.normalise(torch.stack(images), CARD)), data.labels[batch.rows]).backward()
        optimizer.step()
    assert torch.allclose(flat(fitted(data, recipe, iterations=10).net), flat(net), atol=1e-4)


def test_an_average_of_weights_is_that_of_a_loop() -> None:
    net = nets.build(RECIPE, CARD, SEEDS("test/init"))
    ema, wanted = EMA(net, 0.8), flat(net)
    draws = torch.Generator().manual_seed(0)
    for step in range(1, 30):
        with torch.no_grad():
            for tensor in net.state_dict().values():
                if tensor.is_floating_point():
                    tensor += torch.randn(tensor.shape, generator=draws)
        decay = min(0.8, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * flat(net)
        ema.update()
    last = flat(net)
    ema.copy_to_net()
    floating = torch.cat([torch.full((tensor.numel(),), tensor.is_floating_point()) for tensor in net.state_dict().values()])
    assert torch.allclose(flat(net)[floating], wanted[floating], atol=1e-5)
    assert not torch.allclose(flat(net), last)


def test_a_half_precise_forward_pass_trains_and_scores_in_float32(data: LabeledImages) -> None:
    recipe = RECIPE.model_copy(update={"precision": "bfloat16"})
    half, whole = (fitted(data, chosen).net for chosen in (recipe, RECIPE))
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    scores = logits(half, data.images, CARD, CPU)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.to(torch.bfloat16).to(torch.float32))  # not merely stored as such
    assert accuracy(half, data.images, data.labels, CARD, CPU) > accuracy(whole, data.images, data.labels, CARD, CPU) - 0.03


def test_soft_labels_that_are_hard_train_as_hard_ones_do(data: LabeledImages) -> None:
    soft = F.one_hot(data.labels, 10).to(torch.float32)
    assert torch.allclose(flat(fitted(data, iterations=10).net), flat(fitted(data, iterations=10, labels=soft).net), atol=1e-4)


def test_a_loss_that_is_no_number_is_said_to_have_diverged(data: LabeledImages) -> None:
    with pytest.raises(Diverged, match="the loss is"):
        fitted(data, RECIPE.model_copy(update={"lr": 1e20, "norm": "none"}), iterations=120)


def test_the_logits_of_an_image_do_not_depend_on_what_is_asked_beside_it(data: LabeledImages) -> None:
    net = fitted(data, iterations=5).net
    together = logits(net, data.images[:300], CARD, CPU)
    assert torch.equal(torch.cat([logits(net, data.images[:7], CARD, CPU), logits(net, data.images[7:300], CARD, CPU)]), together)


# What is reported


def reported(folder: Path, arm: str) -> tuple[TrainClassifier, dict[str, list[Metric]]]:
    """The training of shadow 0 of the tiny study's undefended arm and this one, and what the latter reports."""
    spec = folder / "study.yaml"
    spec.write_text(TINY.split("  coreset:")[0] + f"  it: {arm}\n")
    plan = compile_study(spec)
    work = plan.tasks[plan.trials[1].stages[0].task].work
    assert isinstance(work, TrainClassifier)
    found: dict[str, list[Metric]] = {}
    for metric in classifier.perform(work, {}, CPU).metrics:
        found.setdefault(metric.name, []).append(metric)
    return work, found


@pytest.mark.parametrize(
    "arm",
    [
        "{paradigm: undefended}",
        "{paradigm: dp_sgd, privacy: {epsilon: 8.0}, classifier: {norm: group, momentum: 0.0, weight_decay: 0.0}}",
    ],
)
def test_every_trainer_reports_what_it_cost_and_what_became_of_it(tmp_path: Path, arm: str) -> None:
    work, found = reported(tmp_path, arm)
    for name in ("seconds", "images_seen", "images_per_second", "train_accuracy", "test_accuracy"):
        assert len(found[name]) == 1, name
        assert found[name][0].value is not None
        assert found[name][0].n
    rate, seen, seconds = (found[name][0].value for name in ("images_per_second", "images_seen", "seconds"))
    assert seen == pytest.approx(rate * seconds)  # type: ignore[operator]
    assert seen == pytest.approx(work.iterations * 64, rel=0.1)  # exact without Poisson sampling
    for side in ("in", "out"):
        rows = found[f"canary_accuracy_{side}"]
        assert [row.canaries for row in rows] == ["mislabeled", "clean"]
        assert all(row.value is not None and row.n for row in rows)
    held = [row.n or 0 for side in ("in", "out") for row in found[f"canary_accuracy_{side}"]]
    assert held[0] + held[2] == 24
    assert found["train_accuracy"][0].n == len(private_set(work.private).data)


def test_a_guarantee_is_stored_with_its_delta_its_neighbours_and_its_accountant(tmp_path: Path) -> None:
    arm = "{paradigm: dp_sgd, privacy: {epsilon: 8.0, delta: 1.0e-4}, classifier: {norm: group, momentum: 0.0}}"
    work, found = reported(tmp_path, arm)
    (epsilon,) = found["epsilon"]
    assert epsilon.value is not None
    assert 7.9 < epsilon.value <= 8.0
    assert epsilon.n == work.iterations
    for words in ("delta 0.0001", "one image added or removed", "Poisson sampling at rate", "accountant pld"):
        assert words in epsilon.note
    sigma = found["noise_multiplier"][0].value
    assert sigma is not None
    assert math.isfinite(sigma)
    assert f"noise multiplier {sigma:.4g}" in epsilon.note


def test_the_cost_of_every_training_has_its_peak_memory(tiny: Done) -> None:
    rows = tiny.rows("SELECT stage, peak_memory_mb, images_seen, seconds FROM cost WHERE stage IN ('model', 'train proxy')")
    assert {stage for stage, *_ in rows} == {"model", "train proxy"}
    assert all(value > 0 for _, *values in rows for value in values)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the peak of the whole process")
def test_the_peak_memory_of_a_task_is_not_that_of_an_earlier_one() -> None:
    large = torch.ones(50_000_000)
    before = machine.peak_memory_mb()
    del large
    machine.reset_peak_memory()
    assert machine.peak_memory_mb() < before - 100


def test_peak_memory_is_in_millions_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=1_000_000))
    for platform, megabytes in (("linux", 1024.0), ("darwin", 1.0)):  # Linux counts KiB, macOS bytes
        monkeypatch.setattr("sys.platform", platform)
        assert machine.peak_memory_mb() == pytest.approx(megabytes)
