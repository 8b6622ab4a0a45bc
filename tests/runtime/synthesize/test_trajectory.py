"""Trajectory matching: the derivative of an unrolled training against a plain unroll, a quadratic, and TESLA's shortcut by name."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from compiler.language.study import AnyArm
from runtime.data.formats import digits
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.seeds import Seeds
from runtime.store import checkpoint
from runtime.synthesize.distillation import trajectory
from runtime.synthesize.distillation.initial import initialise
from runtime.synthesize.release import Setting

CARD = CARDS["digits"]
SETTING = Setting(card=CARD, expected_size=300, seeds=Seeds(0, 0, 0), device=torch.device("cpu"), recipe=Recipe(), iterations=10)


EXPERTS = {"count": 2, "epochs": 4, "width": 8, "batch_size": 8, "lr": 0.1, "augment": False}


class Kept:
    """The experts' artifact, in memory."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.held = tensors

    def tensors(self, stem: str) -> dict[str, Tensor]:
        assert stem == "generator"
        return self.held


def words(method: str = "mtt", **fields: Any) -> Any:
    given = {
        "paradigm": "distillation",
        "method": method,
        "images_per_class": 2,
        "steps": 3,
        "net_steps": 3,
        "expert_epochs": 1,
        "last_start": 2,
        "experts": EXPERTS,
        **({"window": 1} if method == "datm" else {}),
        **fields,
    }
    return TypeAdapter(AnyArm).validate_python(given)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def private() -> LabeledImages:
    return digits.read()[0][torch.arange(200)]


@pytest.fixture(scope="module")
def experts(private: LabeledImages) -> Any:
    return Kept(dict(trajectory.train_generator(words().experts, private, SETTING).files["generator"]))


# The derivative


def quadratic(x: Tensor) -> Any:
    """A student of two weights with a quadratic loss around the learned point, steeper in one direction; the step decides which."""
    return lambda weights, step: (torch.tensor([1.0 + step, 3.0], dtype=torch.float64) * (weights - x).square()).sum() / 2


def test_one_step_on_a_quadratic_has_the_derivative_on_paper() -> None:
    x, lr = torch.tensor([2.0, -1.0]).double().requires_grad_(), torch.tensor(0.1).double()
    start, target = torch.zeros(2).double(), torch.tensor([1.0, 1.0]).double()
    found = trajectory.compare_with_expert(quadratic(x), [x], lr, start, target, 1)
    end = torch.tensor([0.1 * 2, 0.3 * -1]).double()  # start − lr · curvature · (start − x)
    assert found.loss.item() == pytest.approx(((end - target).square().sum() / 2).item())
    assert torch.allclose(found.learned[0], (end - target) * torch.tensor([0.1, 0.3]).double())
    assert found.net_lr.item() == pytest.approx(((end - target) * torch.tensor([2.0, -3.0]).double()).sum().item())


def net_and_images() -> tuple[Any, Tensor, Tensor]:
    x = torch.randn(6, 3, generator=rng(), dtype=torch.float64, requires_grad=True)
    y = torch.arange(6) % 2

    def loss_at(weights: Tensor, step: int) -> Tensor:
        hidden = torch.tanh(x[step % 2 :: 2] @ weights[:12].view(3, 4))
        return torch.nn.functional.cross_entropy(hidden @ weights[12:].view(4, 2), y[step % 2 :: 2])

    return loss_at, x, torch.randn(20, generator=rng(1), dtype=torch.float64)


def test_walking_back_step_by_step_equals_the_plain_unroll() -> None:
    loss_at, x, start = net_and_images()
    target, lr = start + 0.3, torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    weights = start.clone().requires_grad_()
    for step in range(7):
        (gradient,) = torch.autograd.grad(loss_at(weights, step), [weights], create_graph=True)
        weights = weights - lr * gradient
    plain = (weights - target).square().sum() / (start - target).square().sum()
    of_x, of_lr = torch.autograd.grad(plain, [x, lr])
    found = trajectory.compare_with_expert(loss_at, [x], lr.detach(), start, target, 7)
    assert found.loss.item() == pytest.approx(plain.item())
    assert torch.allclose(found.learned[0], of_x, atol=1e-12)
    assert found.net_lr.item() == pytest.approx(of_lr.item())


def test_dropped_cross_terms_are_teslas_derivative_and_not_the_losss() -> None:
    loss_at, x, start = net_and_images()
    target, lr = start + 0.3, torch.tensor(0.5, dtype=torch.float64)
    whole, dropped = (
        trajectory.compare_with_expert(loss_at, [x], lr, start, target, 7, cross_terms=kept) for kept in (True, False)
    )
    # TESLA: the sum over steps of the gradient at weights that are taken for constants.
    weights, naive = start, torch.zeros_like(x)
    at = []
    for step in range(7):
        at.append(weights)
        fixed = weights.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_at(fixed, step), [fixed])
        weights = weights - lr * gradient
    residual = 2 * (weights - target) / (start - target).square().sum()
    for step, fixed in enumerate(at):
        fixed = fixed.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_at(fixed, step), [fixed], create_graph=True)
        naive = naive - lr * torch.autograd.grad(gradient, x, grad_outputs=residual)[0]
    assert torch.allclose(dropped.learned[0], naive, atol=1e-12)
    assert not torch.allclose(dropped.learned[0], whole.learned[0], rtol=0.01)


# The methods


def test_experts_are_kept_before_training_and_after_each_epoch(experts: Any) -> None:
    weights = experts.held["weights"]
    assert weights.shape[:2] == (2, 5)
    assert not torch.equal(weights[0, 0], weights[1, 0])
    assert ((weights[:, 1:] - weights[:, :-1]).flatten(2).norm(dim=2) > 0).all()


@pytest.mark.parametrize("method", ["mtt", "datm"])
def test_the_same_seeds_learn_the_same_images(method: str, private: LabeledImages, experts: Any) -> None:
    made, again = (trajectory.synthesize(words(method), private, {"generator": experts}, SETTING) for _ in range(2))
    assert made.images.shape == (20, *CARD.shape)
    assert torch.equal(made.images, again.images)


def test_learning_brings_the_student_nearer_to_the_expert(private: LabeledImages, experts: Any) -> None:
    how = words(steps=60, images_per_class=5, net_steps=10, last_start=0, lr=30.0, net_lr=0.05)
    notes = trajectory.synthesize(how, private, {"generator": experts}, SETTING).notes
    assert notes["loss_last"] < 0.9 * notes["loss_first"]


def test_datm_gives_soft_labels_and_mtt_hard_ones(private: LabeledImages, experts: Any) -> None:
    needs = {"generator": experts}
    soft, hard = (trajectory.synthesize(words(method), private, needs, SETTING).labels for method in ("datm", "mtt"))
    assert soft.shape == (20, 10)
    assert torch.allclose(soft.sum(1), torch.ones(20))
    assert hard.dtype == torch.int64


@pytest.mark.parametrize("scale", [-1.0, 1e-3])
@pytest.mark.parametrize(("init", "per_class"), [("noise", 2), ("class_mean", 2), ("real", 2), ("real", 5)])
def test_experts_that_know_little_of_a_class_begin_datm_from_what_they_come_nearest_to(
    private: LabeledImages, experts: Any, scale: float, init: str, per_class: int
) -> None:
    ignorant = Kept({"weights": scale * experts.held["weights"]})
    how = words("datm", init=init, images_per_class=per_class)
    made = trajectory.synthesize(how, private, {"generator": ignorant}, SETTING)
    assert made.images.shape == (10 * per_class, *CARD.shape)
    assert made.labels.isfinite().all()


IMAGES = r"the learned images hold a grey level .*; lower the method's lr"
STUDENTS, STILL = r"lower net_lr \(.*\), by which the first student learns", r"raise experts.lr if experts stand still"


@pytest.mark.parametrize(
    ("method", "scale", "rates", "fault"),
    [
        ("mtt", 0.0, {}, STILL),
        ("datm", 0.0, {}, STILL),
        ("mtt", 1.0, {"net_lr": 1e8}, STUDENTS),
        ("datm", 1.0, {"net_lr": 1e8}, STUDENTS),
        ("mtt", 1.0, {"lr": 1e9, "clip": 1e9, "steps": 6}, IMAGES),
        ("datm", 1.0, {"lr": 1e9, "clip": 1e9, "steps": 6}, IMAGES),
    ],
)
def test_divergence_is_laid_to_the_rate_that_is_at_fault(
    private: LabeledImages, experts: Any, method: str, scale: float, rates: dict[str, float], fault: str
) -> None:
    experts = Kept({"weights": scale * experts.held["weights"]})  # experts that stay where they are: the loss is divided by nothing
    with pytest.raises(Diverged, match=fault):
        trajectory.synthesize(words(method, **rates), private, {"generator": experts}, SETTING)


@pytest.mark.parametrize("killed_at", [None, 20])
@pytest.mark.parametrize(
    ("gradient", "fault"),
    [
        (-1.0, r"lower lr_net_lr \(1e\+09\), which raised net_lr from 0.01 to 0.0739"),
        (1.0, r"lower lr \(.*\) or clip .* net_lr was 0.00135"),
    ],
)
def test_a_later_divergence_is_laid_to_what_moved_also_before_an_interruption(
    private: LabeledImages, gradient: float, fault: str, killed_at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = words(net_lr=0.01, lr_net_lr=1e9)
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)

    def learn(killed_at: int | None) -> trajectory.LearnedSet:
        learned = trajectory.LearnedSet(how, initialise(how, private, SETTING), torch.zeros(20, 10), SETTING)
        for step in checkpoint.loop("mtt", 21, **learned.parts):
            if step == killed_at:
                raise KeyboardInterrupt
            slope = torch.tensor(gradient if step < 20 else torch.nan)
            learned.step(trajectory.Comparison(loss=slope, learned=(torch.zeros(20, *CARD.shape),), net_lr=slope), step)
        return learned

    with contextlib.suppress(KeyboardInterrupt), checkpoint.checkpoints_in(tmp_path):
        learn(killed_at)
    with checkpoint.checkpoints_in(tmp_path):
        learned = learn(None)
    with pytest.raises(Diverged, match=f"mtt: the loss is nan after 2 steps; {fault}"):
        learned.release([torch.tensor(1.0), torch.tensor(torch.nan)])


def test_datms_window_of_starts_grows_until_the_middle_of_the_steps() -> None:
    how = words("datm", steps=10, window=0, last_start=3)
    assert [trajectory.window(how, step) for step in range(7)] == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (0, 3), (0, 3)]


def test_a_window_beyond_the_experts_is_refused_with_what_would_do() -> None:
    with pytest.raises(ValidationError, match=r"a start at epoch 4 and 1 more need longer experts than 4 epochs"):
        words(last_start=4)
