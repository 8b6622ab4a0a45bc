"""What holds of every attack of the language in every way it can be done, which are found from its types: a new one is here too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch

from compiler.language.attacks.base import DenoisingSignal
from compiler.language.audit import Attack, KnownAttack
from compiler.work.operations import AuditSettings
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers
from runtime.audit.attacks.dispatch import scorer_of
from runtime.audit.external.evidence import answers_of, check
from runtime.audit.external.file_attacks import ON_MODELS, applicable
from runtime.audit.statistics.roc import auc, tpr_at
from runtime.data.population.roles import Group

CANARIES, VIEWS, SHADOWS, CLASSES, Z = 40, 9, 12, 5, 60


DENOISING = [f"vector/{level}" for level in range(10)] + [name for name in get_args(DenoisingSignal) if name != "vector"]
"""What a denoiser is asked."""


def ways() -> Iterator[Attack]:
    """Every attack with every combination of its choices, and each of its published choices beside the usual ones."""
    for kind in get_args(get_args(KnownAttack)[0]):
        choices: dict[str, list[Any]] = {"queries": [VIEWS]} if "queries" in kind.model_fields else {}
        compat: tuple[str, ...] = ()
        for name, field in kind.model_fields.items():
            if name == "compat":
                compat = get_args(get_args(field.annotation)[0])
            elif name != "attack" and get_origin(field.annotation) is Literal:
                choices[name] = list(get_args(field.annotation))
        tag = kind.model_fields["attack"].annotation
        for values in itertools.product(*choices.values()):
            yield kind(attack=get_args(tag)[0], **dict(zip(choices, values, strict=True)))
        for choice in compat:
            yield kind(attack=get_args(tag)[0], compat=(choice,), **{name: values[0] for name, values in choices.items()})


EVERY = {f"{attack.attack}/{attack.variant_name}": attack for attack in ways()}


def membership(seed: int = 0) -> np.ndarray:
    """canary × shadow, in pairs."""
    member = np.empty((CANARIES, SHADOWS), bool)
    member[:, 0::2] = np.random.default_rng(seed).random((CANARIES, SHADOWS // 2)) < 0.5
    member[:, 1::2] = ~member[:, 0::2]
    return member


def said(attack: Attack, member: np.ndarray, gap: float = 4.0) -> Answers:
    """What shadows say that have memorised their members: each canary hard or easy in its own way, by far more than `gap`."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, CANARIES)
    images, z_images = (torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4)).astype(np.uint8)) for n in (CANARIES, Z))
    z_labels = rng.integers(0, CLASSES, Z)
    none = torch.full((CANARIES,), -1)
    group = Group(
        "mislabeled", "mislabeled", images, torch.from_numpy(labels), torch.from_numpy((labels + 1) % CLASSES), none, z_images,
        torch.from_numpy(z_labels), 1, torch.empty(0),
    )  # fmt: skip
    logits, z_logits = (rng.normal(size=(n, VIEWS, SHADOWS, CLASSES)) for n in (CANARIES, Z))
    level = rng.normal(size=CANARIES)
    for canary, label in enumerate(labels):
        logits[canary, :, :, label] += level[canary] + gap * member[canary]
    measured = (
        {
            name: rng.normal(scale=5, size=(CANARIES, 1)) + rng.normal(size=member.shape) + gap * member
            for name in ("pixel", "feature", f"pixel/{VIEWS}q", f"feature/{VIEWS}q", *DENOISING)
        }
        | {f"base/{name}": rng.normal(size=member.shape) for name in DENOISING}
        | {"selected": (member & (rng.random(member.shape) < 0.6)).astype(np.float64)}
    )
    release: Any = attack.reads[0]
    return Answers(release, group, logits, z_logits, measured if release not in ("final_model", "labels_only") else None)


def scores(attack: Attack, answers: Answers, member: np.ndarray) -> np.ndarray:
    score = scorer_of(attack, answers, paired=True)
    assert score is not None
    return score(member)


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_mistake_11_larger_means_member(attack: Attack) -> None:
    member = membership()
    found = scores(attack, said(attack, member), member)
    there = np.isfinite(found)
    area = auc(found[there], member[there])
    assert area is not None
    assert area > 0.6
    nothing = scores(attack, said(attack, np.zeros_like(member)), member)  # the same where nobody has memorised anything
    assert abs((auc(nothing, member) or 0.0) - 0.5) < 0.09  # 3.4 standard errors of 240 scores a side


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_mistake_1_and_10_a_score_is_independent_of_its_targets_own_membership(attack: Attack) -> None:
    member = membership()
    answers, turned = said(attack, member), member.copy()
    turned[:, 4:6] = ~turned[:, 4:6]
    before, after = scores(attack, answers, member), scores(attack, answers, turned)
    np.testing.assert_allclose(after[:, 4:6], before[:, 4:6], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_mistake_17_scores_do_not_change_when_canaries_and_pairs_are_renamed(attack: Attack) -> None:
    member = membership()
    answers, turn, swap = said(attack, member), np.random.default_rng(0).permutation(CANARIES), np.arange(SHADOWS) ^ 2
    group = replace(answers.group, **{
        name: getattr(answers.group, name)[turn] for name in ("images", "labels", "true_labels", "samples")
    })  # fmt: skip
    assert answers.logits is not None
    assert answers.z_logits is not None
    renamed = Answers(
        answers.release, group, answers.logits[turn][:, :, swap], answers.z_logits[:, :, swap],
        {name: values[turn][:, swap] for name, values in answers.measured.items()} if answers.measured else None,
    )  # fmt: skip
    found = scores(attack, renamed, member[turn][:, swap])
    np.testing.assert_allclose(found, scores(attack, answers, member)[turn][:, swap], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_shadows_that_all_say_the_same_say_nothing(attack: Attack) -> None:
    member = membership()
    answers = said(attack, member)
    for saturated in (0.0, 1e4):  # what separates canaries, and not shadows, by whatever gap
        changed = {
            "logits": alike(answers.logits, 2) * (1 + saturated), "z_logits": alike(answers.z_logits, 2) * (1 + saturated),
            "measured": {name: alike(values, 1) * (1 + saturated) for name, values in (answers.measured or {}).items()} or None,
        }  # fmt: skip
        found = scores(attack, replace(answers, **changed), member).round(6)  # sums over shadows round differently
        assert auc(found, member) == 0.5
        reading = tpr_at(0.1, found, member)
        assert reading.value in (None, reading.false_positives / reading.non_members)
        assert reading.by_lot == pytest.approx(0.1, abs=1 / reading.non_members)  # as chance gives


def alike(values: np.ndarray | None, axis: int) -> np.ndarray:
    """The first shadow's answers, given by all."""
    assert values is not None
    return np.repeat(values.take([0], axis), SHADOWS, axis)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_what_is_no_number_is_refused_with_its_place(attack: Attack, bad: float) -> None:
    member = membership()
    for name in ("logits", "z_logits"):
        answers = said(attack, member)
        values = answers.measured if answers.measured is not None else {name: getattr(answers, name)}
        for array in values.values():
            array[(3, 0, 7, 2)[: array.ndim] if array.ndim == 4 else (3, 7)] = bad
        reads_z = attack.attack in ("rmia", "quantile")
        if answers.measured is None and name == "z_logits" and not reads_z:
            continue
        with pytest.raises(ValueError, match=r"\(3, 0, 7, 2\) is|shadow 7 gives .* canary 3"):
            scores(attack, answers, member)


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_float32_answers_give_what_the_same_numbers_in_float64_give(attack: Attack) -> None:
    member = membership()
    answers = said(attack, member)

    def given(kind: type) -> np.ndarray:
        assert answers.logits is not None
        assert answers.z_logits is not None
        logits, z_logits = (array.astype(np.float32).astype(kind) for array in (answers.logits, answers.z_logits))
        measured = {name: array.astype(np.float32).astype(kind) for name, array in (answers.measured or {}).items()}
        return scores(attack, replace(answers, logits=logits, z_logits=z_logits, measured=measured), member)

    np.testing.assert_array_equal(given(np.float32), given(np.float64))


READ: dict[str, Callable[..., np.ndarray]] = {
    **signals.SIGNALS, "correct": signals.correct, "confidence": signals.confidence, "taylor_confidence": signals.taylor_confidence,
    "contrast": lambda logits, labels: signals.contrast(logits, labels, labels + 1),
}  # fmt: skip


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_mistake_11_a_signal_is_larger_where_the_label_is_surer(read: Callable[..., np.ndarray]) -> None:
    unsure, sure = read(np.array([[0.1, 0.3, -0.2], [2.5, 0.3, -0.2]]), np.array([0, 0]))
    assert sure > unsure


@pytest.mark.parametrize("name", ON_MODELS)
def test_mistake_11_larger_means_member_in_a_file_from_outside(name: str) -> None:
    member = membership()
    answers = said(EVERY["threshold/logit/9q"], member)
    assert answers.logits is not None
    assert answers.z_logits is not None
    arrays = {
        "logits": answers.logits.transpose(2, 0, 1, 3), "labels": answers.group.labels.numpy(), "member": member.T,
        "z_logits": answers.z_logits.transpose(2, 0, 1, 3), "z_labels": answers.group.z_labels.numpy(),
    }  # fmt: skip
    evidence = check(arrays, "here")
    (attack,), _ = applicable(evidence, AuditSettings(tried=(name,)), "pairs")
    found = scores(attack, replace(answers_of(evidence), release=attack.reads[0]), member)
    there = np.isfinite(found)
    assert (auc(found[there], member[there]) or 0.0) > 0.6
