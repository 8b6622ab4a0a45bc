"""What other audits got wrong: a test for each mistake, named by its number in the list of seventeen.

Beside the code that they are about stand 1, 3, 5, 6, 7, 14 and 17 (`test_attacks`), 8 and 9 (`test_roc`); 1, 10, 11 and 17 hold of
every attack (`test_every_attack`); the rest are here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.compile import compile_study
from compiler.power.epsilon_bounds import f_dp
from compiler.work.operations import AuditSettings, Private, TrainClassifier
from runtime.audit.external.audit_file import audit
from runtime.audit.external.evidence import check
from runtime.audit.external.product import work_of
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.deployed import shadow_only
from runtime.audit.statistics.null import redraw
from runtime.audit.statistics.one_run import SHARES, one_run
from runtime.audit.statistics.roc import auc
from runtime.data.images import LabeledImages
from runtime.data.population import roles as casting
from runtime.data.population.membership import membership
from runtime.data.population.roles import private_set, roles_of
from runtime.data.sources import Loaded
from runtime.seeds import generator
from runtime.store.artifacts import Artifact, folder_of
from runtime.training.nets import build
from runtime.training.scoring import logits
from tests.conftest import TINY, Done


def private_of(folder: Path, text: str = TINY) -> Private:
    (folder / "study.yaml").write_text(text)
    return next(task.work.private for task in compile_study(folder / "study.yaml").tasks.values() if hasattr(task.work, "private"))


def answers(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "study.yaml").write_text(text)
    return tuple(trial.answer for trial in compile_study(folder / "study.yaml").trials)


@pytest.mark.parametrize(("old", "new"), [
    ("epochs: 3", "epochs: 4"),                         # a retrained target
    ("name: digits, test: 360", "name: digits, test: 361"),   # another split
    ("study: tiny", "study: tiny\nseed: 1"),            # the same sizes, other rows
    ("shadows: 8", "shadows: 8\n  membership: bernoulli"),   # as many models, other members
    ("queries: 1}\n    - {attack: threshold", "queries: 1, compat: [strict_fpr]}\n    - {attack: threshold"),
])  # fmt: skip
def test_mistake_2_no_answer_is_served_for_another_target_split_membership_or_reading(tmp_path: Path, old: str, new: str) -> None:
    assert TINY.replace(old, new) != TINY
    assert not set(answers(tmp_path, TINY)) & set(answers(tmp_path, TINY.replace(old, new)))


def test_mistake_2_no_answer_is_served_for_another_file_of_the_same_shape() -> None:
    rng = np.random.default_rng(0)
    member, scores = rng.random((6, 40)) < 0.5, rng.normal(size=(6, 40))
    turn = rng.permutation(40)
    retrained, moved = scores.copy(), member.copy()
    retrained[2, 3] += 1e-9
    moved[2, :2] = ~moved[2, :2]
    files = [(scores, member), (retrained, member), (scores, moved), (scores[:, turn], member[:, turn]), (scores[:, turn], member)]
    works = {work_of(check({"scores": one, "member": side}, "here"), AuditSettings()) for one, side in files}
    assert len(works) == len(files)


def test_mistake_3_more_models_never_redraw_the_memberships_of_the_first(tmp_path: Path) -> None:
    population = private_of(tmp_path).population
    for design in ("pairs", "bernoulli"):
        np.testing.assert_array_equal(membership(population, design, 0, 32)[:, :16], membership(population, design, 0, 16))  # type: ignore[arg-type]


def test_mistake_4_a_canary_is_answered_the_same_in_any_batch_and_batch_norm_learns_nothing(tmp_path: Path) -> None:
    private = private_of(tmp_path)
    works = (task.work for task in compile_study(tmp_path / "study.yaml").tasks.values())
    recipe = next(work.recipe for work in works if isinstance(work, TrainClassifier))
    card, images = private.population.dataset.card, roles_of(private.population).groups[0].images
    net = build(recipe, card, generator(0, None, "test"))
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in net.modules())
    net.train()  # as somebody may have left it
    before = {name: value.clone() for name, value in net.named_buffers()}
    together = logits(net, images, card, torch.device("cpu"))
    bright = torch.full_like(images[:5], 255)
    for row in (0, 7):
        alone = logits(net, images[row : row + 1], card, torch.device("cpu"))
        beside = logits(net, torch.cat([bright, images[row : row + 1]]), card, torch.device("cpu"))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(beside[5], together[row], rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())


def test_mistake_10_a_targets_threshold_knows_nothing_of_its_own_or_its_complements_scores() -> None:
    rng = np.random.default_rng(0)
    member = np.empty((200, 8), bool)
    member[:, 0::2] = rng.random((200, 4)) < 0.5
    member[:, 1::2] = ~member[:, 0::2]
    scores = rng.normal(size=member.shape) + 2 * member
    scores[:, 1:][member[:, 1:]] = np.nan  # the TPR that comes out is then that of target 0
    before = shadow_only(scores, member, 0.1, paired=True).tpr[0]
    loud = np.where(~member & (np.arange(8) < 2), 1e9, scores)
    assert shadow_only(loud, member, 0.1, paired=True).tpr[0] == before > 0
    assert shadow_only(loud, member, 0.1, paired=False).tpr[0] == 0.0  # the mistake: its complement is asked


def test_mistake_12_no_canary_has_a_twin_in_the_fixed_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = casting.load(private_of(tmp_path).population.dataset)
    images = whole.pool.images.clone()
    images[1::2] = images[0:-1:2]  # every image stands there twice, but for the last
    images[:300] = whole.pool.images[:300]
    monkeypatch.setattr(casting, "load", lambda _: Loaded(LabeledImages(images, whole.pool.labels), None, whole.classes, "twins"))
    roles_of.cache_clear()
    try:
        found = roles_of(private_of(tmp_path).population)
    finally:
        roles_of.cache_clear()
    fixed = {image.numpy().tobytes() for image in found.fixed.images}
    everyone = [image.numpy().tobytes() for group in found.groups for image in group.images]
    assert len(set(everyone)) == len(everyone) == 40
    assert not fixed & set(everyone)


def test_mistake_13_shadows_are_trained_as_the_target_is_dp_sgd_included(tmp_path: Path) -> None:
    private = TINY + "  dp: {paradigm: dp_sgd, privacy: {noise_multiplier: 1.0}, classifier: {norm: group}}\n"
    (tmp_path / "study.yaml").write_text(private)
    plan = compile_study(tmp_path / "study.yaml")
    for trial in plan.trials:
        recipes = {
            dataclasses.replace(work, private=dataclasses.replace(work.private, shadow=0))
            for work in (plan.tasks[stage.task].work for stage in trial.stages if stage.name == "model")
            if isinstance(work, TrainClassifier)
        }
        assert len(recipes) == 1, trial.trial.address


def test_mistake_14_a_one_run_bound_is_about_one_declared_model() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((6, 200)) < 0.5
    scores = rng.normal(size=(6, 200))
    scores[0] += 2 * member[0]  # the target leaks, the others do not
    settings = AuditSettings(resamples=100, null_permutations=10, membership="bernoulli")
    bounds = [
        audit(check({"scores": rows, "member": member}, "here"), settings)
        .attacks["scores"].epsilon_lower["steinke"]
        for rows in (scores, np.vstack([scores[:1], rng.normal(size=(5, 200)) + 9 * member[1:]]))
    ]  # fmt: skip
    assert bounds[0] == bounds[1]
    assert bounds[0].value == pytest.approx(one_run(epsilon.steinke, scores[0], member[0], delta=1e-5, error=0.05).value)


def test_mistake_14_the_delta_that_is_printed_is_the_delta_that_was_used() -> None:
    for bound in (epsilon.steinke, f_dp):
        assert bound(60, 64, 2000, 1e-2) != bound(60, 64, 2000, 0.0)


def test_mistake_14_numbers_of_guesses_are_not_chosen_on_the_scores_that_they_are_tested_on() -> None:
    @functools.cache
    def above_zero(right: int, guesses: int, canaries: int, delta: float, error: float) -> float:
        return float(epsilon.steinke_p_value(0.0, right, guesses, canaries, delta) <= error)

    rng = np.random.default_rng(0)
    alarms = dict.fromkeys(("best of the grid", "preset", "split", "bonferroni", "multisplit"), 0)
    for _ in range(300):
        member, scores = rng.random(128) < 0.5, rng.normal(size=128)
        every = [(k, epsilon.guess(scores, member, k, k)) for k in range(2, 64)]
        alarms["best of the grid"] += any(above_zero(right, 2 * k, 128, 1e-5, 0.05) for k, right in every)
        for strategy in ("preset", "split", "bonferroni", "multisplit"):
            found = one_run(above_zero, scores, member, delta=1e-5, error=0.05, strategy=strategy)  # type: ignore[arg-type]
            alarms[strategy] += found.value > 0
    most = 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)
    assert alarms.pop("best of the grid") > 40  # what goes wrong: several times the nominal share
    assert all(count <= most for count in alarms.values()), alarms
    assert len(SHARES) == 6


def test_mistake_15_members_and_non_members_are_the_same_images_so_that_no_look_at_them_tells(tmp_path: Path) -> None:
    population = private_of(tmp_path).population
    groups = roles_of(population).groups
    member = membership(population, "pairs", 0, 8)
    blind: list[Callable[[casting.Group], torch.Tensor]] = [
        lambda group: group.images.double().mean((1, 2, 3)), lambda group: group.labels, lambda group: group.true_labels,
        lambda group: group.samples,
    ]  # fmt: skip
    for look in blind:
        scores = np.repeat(torch.cat([look(group).double() for group in groups]).numpy()[:, None], 8, axis=1)
        assert auc(scores, member) == 0.5


def test_mistake_16_every_stage_of_every_model_is_its_own(tiny: Done) -> None:
    plan = compile_study(tiny.spec)
    stages: dict[tuple[str, str], list[str]] = {}
    for trial in plan.trials:
        for stage in trial.stages:
            digest = str(sorted(Artifact(folder_of(tiny.store, stage.task)).outcome["files"].items()))
            stages.setdefault((trial.trial.address, stage.name), []).append(digest)
    assert {name for _, name in stages} >= {"model", "synthesize", "train proxy", "final_model"}
    for where, digests in stages.items():
        assert len(set(digests)) == 8, where
    sets = [private_set(dataclasses.replace(private_of(tiny.folder), shadow=shadow)).canary.sort().values for shadow in range(8)]
    assert len({rows.numpy().tobytes() for rows in sets}) == 8


@pytest.mark.parametrize("design", ["pairs", "bernoulli"])
def test_mistake_17_membership_that_no_model_knows_gives_half_an_auc_and_no_epsilon(design: str) -> None:
    rng = np.random.default_rng(1)
    areas, above = [], 0
    for _ in range(150):
        member, scores = redraw(np.zeros((100, 8), bool), design, rng), rng.normal(size=(100, 8))  # type: ignore[arg-type]
        if design == "bernoulli":
            member = rng.random((100, 8)) < 0.5
        areas.append(auc(scores, member))
        found = [one_run(bound, scores[:, 0], member[:, 0], delta=1e-5, error=0.05) for bound in (epsilon.steinke, f_dp)]
        above += any(one.value > 0 for one in found)
    assert np.mean(np.array(areas, float)) == pytest.approx(0.5, abs=0.005)
    assert above <= 150 * 0.05 + 3 * math.sqrt(150 * 0.05 * 0.95)
