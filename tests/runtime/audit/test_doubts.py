"""Invalid files: each kind of fault raises its doubt, and valid files raise none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compiler.errors import SynthcError
from compiler.work.operations import AuditSettings
from runtime.audit.external.audit_file import Report, audit, doubts_of
from runtime.audit.external.evidence import check, design_of
from tests.runtime.audit.right_files import right_file

Arrays = dict[str, Any]
QUICK = AuditSettings(resamples=100, null_permutations=20, fpr=("0.1",))
SHADOWS, SAMPLES = 16, 200


def pairs(rng: np.random.Generator, shadows: int = SHADOWS, samples: int = SAMPLES) -> np.ndarray:
    first = rng.random((shadows // 2, samples)) < 0.5
    return np.stack([first, ~first], axis=1).reshape(shadows, samples)


def signal(rng: np.random.Generator, member: np.ndarray, leak: float = 2.0) -> np.ndarray:
    return rng.normal(size=member.shape) + 2 * rng.normal(size=member.shape[1]) + leak * member


def good(leak: float = 2.0) -> Arrays:
    rng = np.random.default_rng(0)
    member = pairs(rng)
    return {"signal": signal(rng, member, leak), "member": member}


def logits(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    member, labels = pairs(rng), rng.integers(0, 5, SAMPLES)
    found = rng.normal(size=(SHADOWS, SAMPLES, 1, 5))
    found[:, np.arange(SAMPLES), 0, labels] += 3 * member
    return {"logits": found, "labels": labels, "member": member}


def twice(arrays: Arrays, noise: float, leak: float = 0.0) -> Arrays:
    """Models that know nothing, each there again as another checkpoint."""
    rng = np.random.default_rng(1)
    half, member = rng.normal(size=(SHADOWS // 2, SAMPLES)), rng.random((SHADOWS // 2, SAMPLES)) < 0.5
    again = half + noise * rng.normal(size=half.shape)
    return {"signal": np.concatenate([half, again]), "member": np.concatenate([member, member])}


def changed(**change: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Arrays]:
    return lambda: {name: change.get(name, np.asarray)(values) for name, values in good().items()}


def rolled(by: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.roll(values, by, axis=0)


def with_row(row: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.where(np.arange(len(values))[:, None] == row, change(values[row]), values)


def by_blocks() -> np.ndarray:
    return np.repeat(pairs(np.random.default_rng(3), samples=20), 10, axis=1)


def another(row: np.ndarray) -> np.ndarray:
    return np.random.default_rng(5).normal(size=len(row))


WRONG: dict[str, tuple[Callable[[], Arrays], str]] = {
    "one model under all names": (changed(signal=lambda s: np.repeat(s[:1], len(s), 0)), "to the last bit"),
    "two files are one": (changed(signal=with_row(5, lambda row: good()["signal"][2])), "to the last bit"),
    "files numbered two off": (changed(signal=rolled(2)), "the numbering is off"),
    "memberships numbered one off": (changed(member=rolled(1)), ""),
    "two files exchanged": (changed(signal=lambda s: s[[0, 3, 2, 1, *range(4, SHADOWS)]]), "the numbering is off"),
    "eight models twice": (lambda: twice(good(), 0.0), "to the last bit"),
    "checkpoints": (lambda: twice(good(), 0.3), "more alike"),
    "late checkpoints": (lambda: twice(good(), 1.0), "more alike"),
    "members inverted": (changed(member=np.logical_not), "score lower"),
    "a loss": (changed(signal=np.negative), "score lower"),
    "one split for all": (lambda: good() | {"member": np.repeat(good()["member"][:1], SHADOWS, 0)}, "one split"),
    "membership by blocks": (lambda: good() | {"member": by_blocks()}, "their row"),
    "samples four times": (
        lambda: {name: np.tile(values[:, :50], 4) for name, values in good().items()}, "200 samples are 50"
    ),
    "one pair inverted": (changed(member=lambda m: np.where(np.arange(SHADOWS)[:, None] < 2, ~m, m)), "shadow 0"),
    "one model constant": (changed(signal=with_row(3, np.zeros_like)), "shadow 3"),
    "samples in another order in one file": (changed(signal=with_row(3, lambda row: row[::-1])), "shadow 3"),
    "one model of another kind": (changed(signal=with_row(4, another)), "shadow 4"),
    "labels off by one": (lambda: logits() | {"labels": (logits()["labels"] + 1) % 5}, "score lower"),
    "z pool that is audited": (lambda: logits() | {"z_logits": logits()["logits"], "z_labels": logits()["labels"]}, "a z pool"),
}  # fmt: skip


def said(arrays: Arrays) -> list[str]:
    evidence = check(arrays, "here")
    return [doubt.text for doubt in doubts_of(evidence, QUICK, design_of(evidence))]


@pytest.mark.parametrize("name", WRONG)
def test_each_kind_of_wrong_file_is_named(name: str) -> None:
    make, words = WRONG[name]
    assert any(words in text for text in said(make())), said(make())


def test_probabilities_are_refused_with_what_to_give() -> None:
    powers = np.exp(logits()["logits"])
    for share in (powers / powers.sum(-1, keepdims=True), (powers / powers.sum(-1, keepdims=True)).astype(np.float16)):
        with pytest.raises(SynthcError, match=r"logits are probabilities.*before the softmax"):
            check(logits() | {"logits": share}, "here")


def report_of(arrays: Arrays) -> Report:
    return audit(check(arrays, "here"), QUICK)


@pytest.mark.parametrize("name", ["one model under all names", "checkpoints", "one split for all", "samples four times"])
def test_no_epsilon_rests_on_a_file_that_is_doubted(name: str) -> None:
    report = report_of(WRONG[name][0]())
    assert all(bound.value is None for summary in report.attacks.values() for bound in summary.epsilon_lower.values())
    assert report.trusted == (name == "samples four times")  # whose intervals count each sample once


def test_repeated_samples_give_the_interval_of_what_they_repeat() -> None:
    once = {name: values[:, :50] for name, values in good().items()}
    narrow, wide = (report_of(arrays).attacks["lira"].auc for arrays in (WRONG["samples four times"][0](), once))
    assert narrow.value == pytest.approx(wide.value, abs=0.01)
    assert narrow.high - narrow.low > 0.75 * (wide.high - wide.low)  # type: ignore[operator]


def test_models_that_hold_nobody_are_references_and_their_design_is_redrawn() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        member = np.zeros((5, 400), bool)
        member[0] = rng.random(400) < 0.5
        values = signal(rng, member, leak=1.5) + np.array([1.0, 0, 0, 0, 0])[:, None]
        report = report_of({"signal": values, "member": member})
        assert report.trusted
        assert report.attacks["lira_offline"].auc.value > 0.75  # type: ignore[operator]
        assert report.attacks["lira_offline"].epsilon_lower["steinke"].value > 0  # type: ignore[operator]


def test_right_files_are_hardly_ever_doubted() -> None:
    rng, doubted = np.random.default_rng(0), 0
    for _ in range(150):
        _, design, evidence = right_file(rng)
        doubted += bool(list(doubts_of(evidence, QUICK, design)))
    assert doubted <= 3
