"""The audit of a trial: queries of each release level and stored results, on simulated answers whose truth is known."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compiler.compile import compile_study
from compiler.language.attacks.denoising import Denoising
from compiler.language.attacks.label_only import LabelOnly
from compiler.language.attacks.lira import Lira
from compiler.language.attacks.synthetic_set import Nearest
from compiler.language.audit import Headline
from compiler.work.operations import AttackTrial
from runtime.audit.trial.trial import perform
from runtime.data.population.membership import membership
from runtime.data.population.roles import roles_of
from runtime.outcome import Metric, Product
from runtime.present.charts.gallery import make_sheet
from runtime.store.artifacts import folder_of
from tests.artifacts import artifact
from tests.conftest import TINY, Done

SHADOWS, VIEWS = 8, 9
ATTACKS = (
    Lira(attack="lira"),
    Lira(attack="lira", signal="true_label"),
    Lira(attack="lira", signal="contrast"),
    Lira(attack="lira", compat=("strict_fpr",)),
    LabelOnly(attack="label_only", queries=VIEWS),
    LabelOnly(attack="label_only", variant="vote", queries=VIEWS),
    Nearest(attack="nearest"),
    Denoising(attack="denoising"),
)


class Made:
    """What a task left, without a store."""

    def __init__(self, metrics: Mapping[str, float] | None = None, **files: dict[str, Tensor]) -> None:
        rows = [{"name": name, "value": value, "canaries": "", "note": ""} for name, value in (metrics or {}).items()]
        self.outcome = {"metrics": rows, "notes": {"made_elsewhere": True}, "provenance": {"device": "cpu", "seconds": 1.0}}
        self.files, self.stems = files, sorted(files)

    def tensors(self, stem: str) -> dict[str, Tensor]:
        return self.files[stem]

    def ancestry(self) -> list[Made]:
        return [self]

    def metric(self, name: str) -> float | None:
        return next((row["value"] for row in self.outcome["metrics"] if row["name"] == name), None)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> AttackTrial:
    spec = tmp_path_factory.mktemp("trial") / "study.yaml"
    spec.write_text(TINY)
    plan = compile_study(spec)
    asked = plan.tasks[plan.trials[0].answer].work
    assert isinstance(asked, AttackTrial)
    return dataclasses.replace(asked, attacks=ATTACKS)


def answers(
    work: AttackTrial,
    *,
    label: float = 0.0,
    true_label: float = 0.0,
    near: float = 0.0,
    epsilon: float | None = None,
    teacher: float | None = None,
    denoising: float = 0.0,
) -> dict[str, Any]:
    """What shadows say whose members differ from non-members by so much, in standard deviations of noise."""
    rng = np.random.default_rng(0)
    groups = roles_of(work.population).groups
    member = membership(work.population, work.design, 0, SHADOWS)
    labels, true_labels = (torch.cat([getattr(group, name) for group in groups]).numpy() for name in ("labels", "true_labels"))
    made: dict[str, Any] = {}

    def said(shadow: int, gap: float) -> dict[str, Tensor]:
        logits = rng.normal(size=(len(member), VIEWS, 10))
        for canary in np.flatnonzero(member[:, shadow]):
            logits[canary, :, labels[canary]] += gap
            logits[canary, :, true_labels[canary]] += true_label
        z = {f"z/{group.name}": torch.from_numpy(rng.normal(size=(len(group.z_labels), VIEWS, 10))) for group in groups}
        return {"canary": torch.from_numpy(logits), **z}

    for shadow in range(SHADOWS):
        made[f"model/{shadow}"] = Made({} if epsilon is None else {"epsilon": epsilon, "delta": 1e-5})
        made[f"final_model/{shadow}"] = Made({"test_accuracy": 0.9}, answers=said(shadow, label))
        closeness = torch.from_numpy(rng.normal(size=len(member)) + near * member[:, shadow])
        images = torch.full((len(member), 1, 8, 8), shadow, dtype=torch.uint8)
        made[f"synthetic_set/{shadow}"] = Made(answers={"pixel": closeness}, nearest={"images": images})
        loss = torch.from_numpy(rng.normal(size=len(member)) + denoising * member[:, shadow])
        made[f"generator/{shadow}"] = Made(answers={"mean_loss": loss})
        if teacher is not None:
            made[f"teacher/{shadow}"] = Made(answers=said(shadow, teacher))
    return made


def attacked(work: AttackTrial, made: dict[str, Any]) -> Product:
    return perform(work, made, torch.device("cpu"))


def found(product: Product, name: str, **where: str) -> Metric:
    fitting = [
        metric for metric in product.metrics
        if metric.name == name and all(getattr(metric, key) == value for key, value in where.items())
    ]  # fmt: skip
    assert len(fitting) == 1, (name, where, fitting)
    return fitting[0]


LIRA = {"canaries": "mislabeled", "attack": "lira", "release": "final_model"}
PLAIN = {**LIRA, "variant": "logit/pooled/1q"}


@pytest.fixture(scope="module")
def copying(work: AttackTrial) -> Product:
    """Sets that copy their members with the true label: what a model that is asked about the wrong one does not show."""
    return attacked(work, answers(work, true_label=2.0, near=8.0))


@pytest.fixture(scope="module")
def leaking(work: AttackTrial) -> Product:
    """Models that know the wrong labels of their members, from sets that look like nobody."""
    return attacked(work, answers(work, label=6.0, teacher=6.0, denoising=3.0))


def value(metric: Metric) -> float:
    assert metric.value is not None
    return metric.value


def test_copies_are_seen_although_lira_on_the_wrong_label_finds_little(copying: Product) -> None:
    assert value(found(copying, "headline")) < 0.3
    assert value(found(copying, "copied_share", canaries="mislabeled")) > 0.9
    assert value(found(copying, "nearest_ratio", canaries="mislabeled")) < 0.01
    for signal, least in (("true_label", 0.6), ("contrast", 0.4)):
        assert value(found(copying, "tpr@fpr=0.1,copied", **LIRA, variant=f"{signal}/pooled/1q")) > least
    assert found(copying, "tpr@fpr=0.1,copied", **PLAIN).value == pytest.approx(value(found(copying, "headline")), abs=0.1)
    kinds = copying.files["pairs"]["mislabeled/kind"].tolist()
    assert kinds.count(0) == kinds.count(1) == 6


def test_leakage_is_seen_although_no_image_is_like_a_private_one(leaking: Product) -> None:
    assert value(found(leaking, "headline")) > 0.9
    ratio = found(leaking, "nearest_ratio", canaries="mislabeled")
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < 1 < ratio.high
    assert value(found(leaking, "copied_share", canaries="mislabeled")) < 0.3
    assert value(found(leaking, "tpr@fpr=0.1,not_copied", **PLAIN)) > 0.9
    assert 2 in leaking.files["pairs"]["mislabeled/kind"].tolist()


def test_kept_pairs_are_members_with_the_image_of_their_own_shadow(copying: Product, work: AttackTrial) -> None:
    pairs = copying.files["pairs"]
    member = membership(work.population, work.design, 0, SHADOWS)
    images = torch.cat([group.images for group in roles_of(work.population).groups])
    for row, (canary, shadow) in enumerate(zip(pairs["clean/canary"].tolist(), pairs["clean/shadow"].tolist(), strict=True)):
        assert member[canary, shadow]
        assert torch.equal(pairs["clean/canary_image"][row], images[canary])
        assert pairs["clean/released_image"][row].unique().tolist() == [shadow]
    distances = pairs["clean/distance"][pairs["clean/kind"] == 0]
    assert torch.equal(distances, distances.sort().values)


def test_an_attack_that_sees_labels_alone_is_scored_at_that_level_and_no_other_is(leaking: Product) -> None:
    at = {column["release"] for column in leaking.notes["columns"] if column["attack"] == "label_only"}
    others = {column["release"] for column in leaking.notes["columns"] if column["attack"] != "label_only"}
    assert at == {"labels_only"}
    assert others == {"final_model", "teacher", "synthetic_set", "generator"}
    for variant in ("regression/9q", "vote/9q"):
        assert value(found(leaking, "auc", canaries="mislabeled", attack="label_only", variant=variant)) > 0.8


def test_in_a_signal_of_sets_and_generators_too_larger_means_member(copying: Product, leaking: Product) -> None:
    assert value(found(copying, "auc", canaries="clean", attack="nearest")) > 0.9
    assert value(found(leaking, "auc", canaries="clean", attack="denoising")) > 0.8


def test_published_choices_stand_in_the_variant_of_every_row(leaking: Product) -> None:
    strict = [metric for metric in leaking.metrics if metric.variant.endswith("/strict_fpr") and metric.canaries == "mislabeled"]
    assert {metric.name for metric in strict} >= {"tpr@fpr=0.1", "auc", "null_auc"}
    rules = {reading["variant"]: reading["rule"] for reading in leaking.notes["readings"]}
    assert (rules["logit/pooled/1q"], rules["logit/pooled/1q/strict_fpr"]) == ("count", "lt")
    assert value(found(leaking, "headline")) == value(found(leaking, "tpr@fpr=0.1", **PLAIN))  # never the published one


def test_student_and_teacher_are_read_on_the_same_draws(leaking: Product) -> None:
    ratio = found(leaking, "student_teacher_ratio", canaries="mislabeled")
    at = [value(found(leaking, "tpr@fpr=0.1", **{**PLAIN, "release": release})) for release in ("final_model", "teacher")]
    assert ratio.value == pytest.approx(at[0] / at[1])
    assert ratio.low is not None


def test_a_student_that_cannot_be_read_is_no_teacher_that_does_not_leak(work: AttackTrial) -> None:
    made = answers(work, teacher=6.0)
    for shadow in range(SHADOWS):
        same = {key: torch.zeros_like(logits) for key, logits in made[f"final_model/{shadow}"].tensors("answers").items()}
        made[f"final_model/{shadow}"] = Made({"test_accuracy": 0.9}, answers=same)
    ratio = found(attacked(work, made), "student_teacher_ratio", canaries="mislabeled")
    assert (ratio.value, ratio.note) == (None, "not resolvable")


def test_every_reading_says_whose_its_false_positives_are(leaking: Product, work: AttackTrial) -> None:
    member = membership(work.population, work.design, 0, SHADOWS)[:24]
    place = leaking.notes["columns"].index({"release": "final_model", "attack": "lira", "variant": "logit/pooled/1q"})
    scores = leaking.files["scores"][f"score/{place}"][:24].numpy()
    reading = next(one for one in leaking.notes["readings"] if one["canaries"] == "mislabeled" and one["fpr"] == 0.1)
    false = (scores >= reading["threshold"]) & ~member
    assert (reading["members"], reading["non_members"], reading["allowed"]) == (96, 96, 9)
    assert reading["false_positives"] == false.sum()
    assert reading["false_positive_canaries"] == len({canary for canary, _ in np.argwhere(false)})
    assert reading["false_positive_shadows"] == len({shadow for _, shadow in np.argwhere(false)})


def test_what_a_prior_makes_of_a_rate_is_stated_with_thresholds_from_shadows_alone(leaking: Product) -> None:
    tpr, fpr = (value(found(leaking, f"realised_{name}", **PLAIN)) for name in ("tpr", "fpr"))
    for prior in (0.5, 0.1, 0.01):
        ppv = found(leaking, f"ppv@prior={prior:g}", **PLAIN)
        assert ppv.value == pytest.approx(prior * tpr / (prior * tpr + (1 - prior) * fpr))
        assert ppv.low is not None


def test_bounds_that_may_not_be_stated_are_rows_with_their_reason(work: AttackTrial, leaking: Product) -> None:
    assert "no independent trials" in found(leaking, "epsilon_lower_clopper_pearson", **PLAIN).note
    balanced = attacked(dataclasses.replace(work, design="balanced", attacks=ATTACKS[:1]), answers(work))
    for name in ("steinke", "f_dp_if_gaussian", "mu_gdp_if_gaussian"):
        bound = found(balanced, f"epsilon_lower_{name}", **PLAIN)
        assert bound.value is None
        assert bound.note


def test_an_audited_bound_above_the_accountants_epsilon_flags_the_trial(work: AttackTrial) -> None:
    leaky, quick = answers(work, label=9.0, epsilon=0.5), dataclasses.replace(work, attacks=ATTACKS[:1])
    broken = attacked(quick, leaky)
    assert value(found(broken, "dp_soundness")) > 0.5
    assert any(flag.startswith("DP soundness failed") for flag in broken.notes["flags"])
    sound = attacked(quick, answers(work, epsilon=0.5))
    assert value(found(sound, "dp_soundness")) <= 0.5
    assert sound.notes["flags"] == []
    vain = attacked(quick, answers(work, label=9.0, epsilon=8.0))
    assert "could not fail: 1.26 is the most" in found(vain, "dp_soundness").note  # twelve right guesses of twelve
    assert not [metric for metric in attacked(quick, answers(work)).metrics if metric.name == "dp_soundness"]


def test_a_signal_that_is_no_number_is_refused_with_its_place(work: AttackTrial) -> None:
    made = answers(work)
    made["generator/3"].files["answers"]["mean_loss"][5] = torch.nan
    headline = Headline(attack="denoising", signal="mean_loss")
    work = dataclasses.replace(work, attacks=(Denoising(attack="denoising"),), headline=headline)
    with pytest.raises(ValueError, match="shadow 3 gives nan for view 0 of canary 5"):
        attacked(work, made)


def test_all_intervals_of_a_table_are_of_one_kind_two_way_unless_it_is_said(work: AttackTrial) -> None:
    made = answers(work, label=2.0)
    wide = attacked(dataclasses.replace(work, attacks=ATTACKS[:2]), made)  # what nothing is said about
    narrow = attacked(dataclasses.replace(work, interval="canaries", attacks=ATTACKS[:2]), made)
    other = {**LIRA, "variant": "true_label/pooled/1q"}
    for where in ({"name": "headline"}, {"name": "auc", **other}):
        assert found(narrow, **where).low != found(wide, **where).low
        assert found(narrow, **where).value == found(wide, **where).value
    assert wide.notes["interval"].startswith("bootstrap two-way over canaries and pairs")
    assert narrow.notes["interval"].startswith("bootstrap over canaries")


def test_readings_and_risks_are_views_of_the_database(tiny: Done) -> None:
    rows = tiny.rows("SELECT non_members, allowed, false_positives, realised_fpr, rule FROM reading WHERE fpr = 0.1")
    assert len(rows) == 3 * 2 * 2
    for outsiders, allowed, false, rate, rule in rows:
        assert (false <= allowed, rule) == (True, "count")
        assert rate == pytest.approx(false / outsiders)
    risks = tiny.rows("SELECT tpr, auc, memorization FROM canary_risk WHERE attack = 'lira'")
    assert len(risks) == 3 * 40
    assert all(0 <= tpr <= 1 and 0 <= area <= 1 and -1 <= memorized <= 1 for tpr, area, memorized in risks)
    assert tiny.rows("SELECT count(*) FROM result WHERE metric = 'risk_overlap' AND value BETWEEN low AND high") == [(6,)]


def test_kept_pairs_are_shown_with_private_images_only(copying: Product, tmp_path: Path) -> None:
    from PIL import Image

    made, answer = "0123456789abcdef", "fedcba9876543210"
    for task in (made, answer):
        folder_of(tmp_path, task).mkdir(parents=True)
    artifact(folder_of(tmp_path, made), set={"images": torch.rand(4, 1, 8, 8), "labels": torch.arange(4)})
    artifact(folder_of(tmp_path, answer), pairs=dict(copying.files["pairs"]))
    for name in (made, answer):
        (folder_of(tmp_path, name) / "task.json").write_text("{}")  # of unknown words: in doubt, private
    withheld = make_sheet(tmp_path, made, with_private=False, answer=answer)
    assert withheld is not None
    assert withheld.pairs is None
    shown = make_sheet(tmp_path, made, with_private=True, answer=answer)
    assert shown is not None
    assert shown.pairs is not None
    assert shown.kept[:3] == ("clean, nearest", "clean, copied but not caught", "mislabeled, nearest")
    with Image.open(io.BytesIO(shown.pairs)) as image:
        grey = np.asarray(image)[..., 0]
    first = copying.files["pairs"]["clean/canary_image"][0, 0].numpy()
    np.testing.assert_array_equal(grey[:8, :8], first)
    assert grey[9, 0] == copying.files["pairs"]["clean/shadow"][0]  # below it, the image of its shadow's set


@pytest.mark.parametrize("untuned", [True, False])
def test_equal_answers_of_generators_are_doubted_unless_all_shadows_ask_one_untuned_base(work: AttackTrial, untuned: bool) -> None:
    made = answers(work)
    for shadow in range(SHADOWS):
        asked = made[f"generator/{shadow}"] = made["generator/0"]
        asked.outcome["notes"] = {"one_model": True} if untuned else {}
    notes = attacked(work, made).notes
    assert any("are they one model?" in flag for flag in notes["flags"]) != untuned
    assert notes["null_ok"] == untuned
