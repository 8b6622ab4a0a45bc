"""Data-free distillation: each loss against its definition, the published bugs by name, and what the student may see."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn import functional as F

from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from compiler.language.methods.data_free_kd import DataFree
from compiler.language.study import ARMS, AnyArm
from runtime.data.formats import digits
from runtime.data.images import LabeledImages
from runtime.seeds import Seeds
from runtime.synthesize.data_free_kd.losses import (
    EARLIER_BATCHES_WEIGHT,
    Statistics,
    divergence,
    move,
    negative_entropy,
    total_variation,
)
from runtime.synthesize.data_free_kd.rounds import StudentTrainer, synthesize
from runtime.synthesize.distillation import recovery
from runtime.synthesize.release import Setting
from runtime.training import nets
from runtime.training.batches import Training
from runtime.training.sgd import fit

CARD = CARDS["digits"]
RECIPE = Recipe(net="small", width=8, epochs=4, batch_size=64, lr=0.1)
SETTING = Setting(card=CARD, expected_size=300, seeds=Seeds(0, 0, 0), device=torch.device("cpu"), recipe=RECIPE, iterations=60)
NAMES = ["inversion", "fast", "deep_inversion", "dafl", "zskt", "dfad", "dfq"]


class Kept:
    """A trained teacher's artifact, in memory."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def tensors(self, stem: str) -> dict[str, torch.Tensor]:
        assert stem == "model"
        return {name: tensor.clone() for name, tensor in self.state.items()}


def words(method: str, **fields: Any) -> Any:
    quick: dict[str, Any] = {"rounds": 4, "student_steps": 2, "batch_size": 16, "warm_up": int(method in ("inversion", "fast"))}
    quick |= {"pixel_steps": 3} if method == "deep_inversion" else {"width": 4, "latent": 8}
    return TypeAdapter(AnyArm).validate_python({"paradigm": "data_free_kd", "method": method, **quick, **fields})


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def teacher() -> Any:
    data = digits.read()[0]
    net = nets.build(RECIPE, CARD, rng(1))
    fit(
        net,
        Training(
            images=data.images,
            labels=data.labels,
            recipe=RECIPE,
            iterations=120,
            card=CARD,
            seeds=Seeds(1, 0, 0),
            device=torch.device("cpu"),
            purpose="teacher",
        ),
    )
    return Kept(net.state_dict())


def trainer_of(teacher: Any, how: Any) -> StudentTrainer:
    return StudentTrainer(how, nets.restored(RECIPE, CARD, teacher.tensors("model")), SETTING)


NOTHING = LabeledImages(torch.empty(0, *CARD.shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))


def test_every_method_of_the_language_is_tried_here() -> None:
    models = [model for model in ARMS if issubclass(model, DataFree)]
    assert {get_args(model.model_fields["method"].annotation)[0] for model in models} == set(NAMES)


@pytest.mark.parametrize("method", NAMES)
def test_a_method_needs_no_private_image_and_gives_the_same_student_again(method: str, teacher: Any) -> None:
    made, again = (synthesize(words(method), NOTHING, {"teacher": teacher}, SETTING) for _ in range(2))
    assert made.images.shape == (64, *CARD.shape)
    assert made.images.dtype == torch.uint8
    assert made.origins is None
    assert made.student is not None
    assert again.student is not None
    assert all(torch.equal(made.student[name], again.student[name]) for name in made.student)


def test_the_student_does_not_begin_where_the_teacher_did() -> None:
    how, seeds = words("inversion"), Seeds(0, 0, 0)
    begun = nets.build(RECIPE, CARD, seeds("classifier/init"))
    student = StudentTrainer(how, begun, SETTING).student
    assert not any(torch.equal(student.state_dict()[name], begun.state_dict()[name]) for name in ("head.weight", "trunk.0.weight"))


def test_statistics_are_the_distance_written_out_and_blend_with_earlier_batches() -> None:
    norm = nn.BatchNorm2d(2).double().eval()
    norm.running_mean, norm.running_var = torch.tensor([0.5, -1.0]).double(), torch.tensor([2.0, 0.3]).double()
    statistics = Statistics(norm)  # type: ignore[arg-type]  # any module will do
    batches = torch.randn(3, 5, 2, 3, 3, generator=rng(), dtype=torch.float64)
    mean = variance = None
    for x in batches:
        norm(x)
        flat = x.transpose(0, 1).flatten(1)
        own = flat.mean(1), flat.var(1, unbiased=False)
        mean = own[0] if mean is None else EARLIER_BATCHES_WEIGHT * mean + (1 - EARLIER_BATCHES_WEIGHT) * own[0]
        variance = own[1] if variance is None else EARLIER_BATCHES_WEIGHT * variance + (1 - EARLIER_BATCHES_WEIGHT) * own[1]
        naive = (mean - norm.running_mean).norm() + (variance - norm.running_var).norm()
        assert statistics.distance().item() == pytest.approx(naive.item())
        statistics.blend()


def test_the_gradient_of_the_statistics_equals_finite_differences() -> None:
    norm = nn.BatchNorm2d(2).double().eval()
    norm.running_mean, norm.running_var = torch.tensor([0.5, -1.0]).double(), torch.tensor([2.0, 0.3]).double()
    statistics = Statistics(norm)  # type: ignore[arg-type]  # any module will do

    def distance(x: torch.Tensor) -> torch.Tensor:
        norm(x)
        return statistics.distance()

    x = torch.randn(3, 2, 2, 2, generator=rng(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(distance, (x,))


@pytest.mark.parametrize("method", ["zskt", "dfad", "dfq", "fast"])
def test_the_adversarial_term_is_not_zero_as_it_is_where_the_teacher_is_passed_as_the_student(method: str, teacher: Any) -> None:
    """Fast-Datafree, issue 11: the adversarial loss of four methods compared the teacher with itself."""
    how = words(method, losses={"adversarial": 1.0}, warm_up=0)
    here = trainer_of(teacher, how)
    # A student that answers as the teacher, but less surely: agreement does not hide the difference.
    here.student.load_state_dict(teacher.tensors("model"))
    with torch.no_grad():
        here.student.head.weight.mul_(0.5)
    images = digits.read()[0].images[:32].float() / 255
    images.requires_grad_()
    loss = here.image_loss(images, torch.zeros(32, dtype=torch.int64), against_student=True)
    assert loss.item() < -1e-3
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient.abs().max() > 0


def test_in_a_pool_the_adversarial_loss_counts_only_images_on_which_both_agree(teacher: Any) -> None:
    here = trainer_of(teacher, words("fast", losses={"adversarial": 1.0}, warm_up=0, shift=0))
    with torch.no_grad():  # a student that says 3 to everything
        here.student.head.weight.zero_()
        here.student.head.bias.copy_(5.0 * F.one_hot(torch.tensor(3), 10))
    images = digits.read()[0].images[:64].float() / 255
    x = nets.normalise(images, CARD)
    answer = here.teacher(x)
    apart = divergence(answer, here.student(x), 1.0) * (answer.argmax(1) == 3)
    assert here.image_loss(images, None, against_student=True).item() == pytest.approx(-apart.mean().item(), rel=1e-5)
    assert 0 < (answer.argmax(1) == 3).sum() < 64


def test_divergence_is_the_sum_written_out() -> None:
    answer, reply = torch.randn(2, 4, 5, generator=rng(), dtype=torch.float64)
    p, q = (answer / 3).softmax(1), (reply / 3).softmax(1)
    assert torch.allclose(divergence(answer, reply, 3.0), 9 * (p * (p / q).log()).sum(1))


def test_balance_is_least_when_all_classes_are_equally_frequent_and_survives_an_absent_one() -> None:
    sure = 1000.0 * torch.eye(4)
    assert negative_entropy(sure).item() == pytest.approx(-1.3862943)
    assert negative_entropy(sure[:1]).item() == 0.0


def test_total_variation_of_a_checkerboard_is_one_in_each_direction() -> None:
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(2, 2)[None, None]
    assert total_variation(board).item() == 2.0


def test_moving_shifts_by_whole_pixels_and_nothing_comes_in_from_the_other_side() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 4] = 1.0
    places = {tuple(move(image, 1, CARD, rng(seed))[0, 0].nonzero()[0].tolist()) for seed in range(60)}
    assert places == {(4 + down, 4 + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 0] = 1.0
    assert all(move(edge, 1, CARD, rng(seed))[..., -1].sum() == 0 for seed in range(20))


def test_fast_moves_the_generator_once_a_round_and_inversion_each_step(teacher: Any) -> None:
    from runtime.synthesize.data_free_kd.generators import TunedGenerator, new_generator

    for method, kept_apart in (("fast", True), ("inversion", False)):
        how = words(method, generator_steps=3)
        generator = new_generator(8, 4, CARD, rng(), torch.device("cpu"))
        before = generator.first.weight.detach().clone()
        met: list[torch.Tensor] = []

        def loss(images: torch.Tensor, wanted: torch.Tensor, own: Any = generator, met: Any = met) -> torch.Tensor:
            met.append(own.first.weight.detach().clone())
            return images.mean()

        TunedGenerator(how, generator, rng()).generate(torch.zeros(16, dtype=torch.int64), loss)
        assert all(torch.equal(before, seen) for seen in met) == kept_apart
        assert not torch.equal(before, generator.first.weight)


def test_methods_without_statistics_do_without_batch_norm() -> None:
    assert not words("zskt").needs_batch_norm
    assert words("inversion").needs_batch_norm
    assert not words("deep_inversion", losses={"one_hot": 1.0}).needs_batch_norm


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"losses": {}}, "no loss has a weight"),
        ({"warm_up": 4}, "a warm-up of 4 rounds leaves none of 4"),
        ({"losses": {"adversarial": 1.0}}, "no student to play against"),
    ],
)
def test_words_that_teach_nothing_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        words("inversion", **fields)


# Decoupled distillation, by the same critic


def test_recovered_images_are_what_the_teacher_takes_them_for_and_carry_its_soft_labels(teacher: Any) -> None:
    given = {"paradigm": "distillation", "method": "sre2l", "images_per_class": 3, "steps": 60}
    how: Any = TypeAdapter(AnyArm).validate_python(given | {"losses": {"statistics": 1.0, "one_hot": 2.0}})
    made = recovery.synthesize(how, digits.read()[0][torch.arange(100)], {"teacher": teacher}, SETTING)
    assert made.images.shape == (30, *CARD.shape)
    assert made.labels.shape == (30, 10)
    assert -1e-6 <= made.images.min() <= made.images.max() <= 1 + 1e-6  # grey levels, as the teacher judged them
    wanted = torch.arange(10).repeat_interleave(3)
    assert (made.labels.argmax(1) == wanted).float().mean() > 0.7  # the teacher is a poor one
    assert how.needs == ("teacher",)
    assert how.needs_batch_norm


def test_a_decoupled_distillation_has_no_student_for_an_adversarial_loss() -> None:
    with pytest.raises(ValidationError, match="no student to play against"):
        TypeAdapter(AnyArm).validate_python(
            {"paradigm": "distillation", "method": "sre2l", "images_per_class": 3, "losses": {"adversarial": 1.0}}
        )
