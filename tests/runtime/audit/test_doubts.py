"""Invalid files: each kind of fault raises its doubt, and valid files raise none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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


def at_random(samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(9).random(samples) < 0.5


HALF, EVEN = np.arange(SAMPLES) < SAMPLES // 2, np.arange(SAMPLES) % 2 == 0


def drift(member: np.ndarray) -> Arrays:
    """Models that know nothing, and whose answers to the first half of the samples are higher."""
    rng = np.random.default_rng(7)
    shift = np.arange(member.shape[1]) < member.shape[1] // 2
    return {"signal": rng.normal(size=member.shape) + 2 * rng.normal(size=member.shape[1]) + shift, "member": member}


def offline(targets: int, references: int, held: int = 0, leak: float = 1.5, seed: int = 0) -> Arrays:
    """Targets by fair coins, and reference models that hold `held` samples each, or all but one where it is -1."""
    rng = np.random.default_rng(seed)
    member = np.zeros((targets + references, 400), bool)
    member[:targets] = rng.random((targets, 400)) < 0.5
    for row in member[targets:]:
        row[rng.choice(400, held % 400, replace=False)] = True
    quality = np.where(np.arange(len(member)) < targets, 1.0, 0.0)[:, None]
    return {"signal": signal(rng, member, leak) + quality, "member": member}


def again(arrays: Arrays, times: int) -> Arrays:
    """Every sample several times, in another order."""
    order = np.random.default_rng(2).permutation(np.repeat(np.arange(arrays["member"].shape[1]), times))
    return {name: values[order] if name == "labels" else values[:, order] for name, values in arrays.items()}


def under_two_memberships() -> Arrays:
    found = good()
    return {"signal": np.tile(found["signal"], (1, 2)), "member": np.hstack([found["member"], pairs(np.random.default_rng(4))])}


def a_batch_twice() -> Arrays:
    found = logits()
    found["logits"][3, 20:30] = found["logits"][3, 10:20]
    return found


def inverted_behind_infinities() -> Arrays:
    scores, member = good()["signal"].copy(), ~good()["member"]
    scores[2, np.flatnonzero(~member[2])[30:]] = -np.inf
    return {"scores": scores, "member": member}


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
    "members inverted, and most scores of one model infinite": (inverted_behind_infinities, "score lower"),
    "a loss": (changed(signal=np.negative), "score lower"),
    "one split for all": (lambda: good() | {"member": np.repeat(good()["member"][:1], SHADOWS, 0)}, "one split"),
    "membership by blocks": (lambda: good() | {"member": by_blocks()}, "their row"),
    "samples four times": (
        lambda: {name: np.tile(values[:, :50], 4) for name, values in good().items()}, "200 samples are 50"
    ),
    "one split by half": (lambda: drift(np.repeat(HALF[None], 8, 0)), "one split"),
    "two alternating splits": (lambda: drift(np.stack([at_random(), ~HALF] * 4)), "more alike"),
    "a split and its complement in turn": (lambda: drift(np.stack([at_random(), ~at_random()] * 4)), "one split"),
    "all memberships equal but one": (lambda: drift(np.stack([*[at_random()] * 7, EVEN])), "more alike"),
    "ten samples and one split": (lambda: drift(np.repeat((np.arange(10) < 5)[None], 8, 0)), "one split"),
    "samples again in another order": (lambda: again(good(), 2), "400 samples are 200"),
    "samples of one model again": (lambda: again({name: values[:1] for name, values in good().items()}, 2), "400 samples are 200"),
    "logits again": (lambda: again(logits(), 3), "600 samples are 200"),
    "samples under two memberships": (under_two_memberships, "another's answers in every shadow, and another membership"),
    "a batch of one model twice": (a_batch_twice, "20 samples have another's answers in shadow 3 and not in all"),
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


REPEATED = ("samples four times", "samples again in another order", "logits again")
DOUBTED = ("one model under all names", "checkpoints", "one split for all", "one split by half", "two alternating splits")
DOUBTED += ("a split and its complement in turn", "all memberships equal but one", "ten samples and one split")


def bounds(report: Report) -> list[float]:
    """The epsilon bounds that are stated."""
    every = [bound.value for summary in report.attacks.values() for bound in summary.epsilon_lower.values()]
    return [value for value in every if value is not None]


@pytest.mark.parametrize("name", [*DOUBTED, *REPEATED])
def test_no_epsilon_rests_on_a_file_that_is_doubted(name: str) -> None:
    report = report_of(WRONG[name][0]())
    assert not bounds(report)
    assert report.trusted == (name in REPEATED)  # whose intervals count each sample once


@pytest.mark.parametrize("scores", ["one decimal", "half precision", "a vote of nine", "saturated"])
def test_ties_of_scores_that_tell_everything_are_no_repeated_samples(scores: str) -> None:
    rng, member = np.random.default_rng(0), at_random(400)[None]
    sharp = rng.normal(size=member.shape) + 9 * member
    found = {
        "one decimal": sharp.round(1), "half precision": sharp.astype(np.float16).astype(np.float32),
        "a vote of nine": np.where(member, 9 - rng.integers(0, 3, (1, 400)), rng.integers(0, 3, (1, 400))) / 9,
        "saturated": np.where(member, 27.631021, sharp),
    }  # fmt: skip
    assert not said({"scores": found[scores], "member": member})


SORTED: dict[str, Callable[[], np.ndarray]] = {
    "a half and its complement": lambda: np.stack([HALF, ~HALF]),
    "every other sample": lambda: np.stack([EVEN, ~EVEN]),
    "blocks of ten": lambda: np.stack([np.arange(SAMPLES) // 10 % 2 == 0, *np.zeros((4, SAMPLES), bool)]),
    "a half beside references": lambda: np.stack([HALF, *np.zeros((4, SAMPLES), bool)]),
}


@pytest.mark.parametrize("name", SORTED)
def test_members_that_follow_from_their_places_give_no_epsilon_until_coins_are_declared(name: str) -> None:
    arrays = drift(SORTED[name]())
    report = report_of(arrays)
    assert not bounds(report)
    reason = next(iter(report.attacks.values())).epsilon_lower["steinke"].note
    assert "members of the target follow from their places" in reason
    declared = replace(QUICK, membership=reason.rpartition("--design ")[2])  # type: ignore[arg-type]
    assert bounds(audit(check(arrays, "here"), declared))


def test_repeated_samples_give_the_interval_of_what_they_repeat() -> None:
    once = {name: values[:, :50] for name, values in good().items()}
    narrow, wide = (report_of(arrays).attacks["lira"].auc for arrays in (WRONG["samples four times"][0](), once))
    assert narrow.value == pytest.approx(wide.value, abs=0.01)
    assert narrow.high - narrow.low > 0.75 * (wide.high - wide.low)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("targets", "references", "held"), [(1, 4, 0), (1, 4, 1), (1, 4, 5), (1, 4, -1), (3, 8, 0), (2, 6, 3), (1, 1, 0)]
)
@pytest.mark.parametrize("leak", [0.0, 1.5])
def test_models_that_hold_hardly_anybody_are_references_and_their_design_is_redrawn(
    targets: int, references: int, held: int, leak: float
) -> None:
    for seed in range(3):
        report = report_of(offline(targets, references, held, leak, seed))
        assert report.trusted
        some = report.attacks.get("lira_offline", report.attacks["threshold"])
        assert some.auc.value > 0.6 if leak else 0.4 < some.auc.value < 0.6  # type: ignore[operator]
        assert (some.epsilon_lower["steinke"].value > 0) == bool(leak)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["logits", "signal"])
def test_the_advice_for_one_model_without_a_bound_gives_one(kind: str) -> None:
    member = at_random(400)[None]
    sharp = np.random.default_rng(0).normal(size=member.shape) + 3 * member
    arrays: Arrays = {"signal": sharp, "member": member}
    if kind == "logits":
        arrays = {"logits": np.stack([sharp, -sharp], axis=-1)[:, :, None], "labels": np.zeros(400, int), "member": member}
    refused = report_of(arrays)
    assert not bounds(refused)
    assert (
        "make scores (1 × samples) of it, and say it with --one-run" in refused.attacks["threshold"].epsilon_lower["steinke"].note
    )
    scores = report_of({"scores": sharp, "member": member})
    assert not bounds(scores)
    assert scores.attacks["scores"].epsilon_lower["steinke"].note.endswith("if they were, say it with --one-run")
    assert min(bounds(audit(check({"scores": sharp, "member": member}, "here"), replace(QUICK, one_run=True)))) > 0


def test_a_reference_in_the_place_of_the_target_is_told_where_the_target_belongs() -> None:
    report = report_of({name: values[::-1] for name, values in offline(1, 4).items()})
    assert not bounds(report)
    assert "put the target first" in report.attacks["lira_offline"].epsilon_lower["steinke"].note


def test_right_files_are_hardly_ever_doubted() -> None:
    rng, doubted = np.random.default_rng(0), 0
    for _ in range(150):
        _, design, evidence = right_file(rng)
        doubted += bool(list(doubts_of(evidence, QUICK, design)))
    assert doubted <= 3
