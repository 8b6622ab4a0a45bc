"""The auditor's side of a synthetic set: dispatch, what is written, and what is measured about canaries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from compiler.language.audit import CanaryGroup
from compiler.language.base import Generator, Method
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from compiler.language.methods.coreset import Forgetting, RandomSubset
from compiler.language.methods.distillation import DistributionMatching
from compiler.language.methods.imported import ImportedSets
from compiler.language.study import ARMS
from compiler.work.operations import Dataset, Population, Private, Synthesize
from runtime.data.population.roles import private_set
from runtime.outcome import Metric
from runtime.store.artifacts import Artifact
from runtime.synthesize.operation import function_of, perform, selection
from runtime.synthesize.release import Setting
from runtime.training.scoring import canary_accuracy
from tests.artifacts import artifact

CPU = torch.device("cpu")
RECIPE = Recipe(net="small", width=4, epochs=2)
GROUPS = (("mislabeled", CanaryGroup(kind="mislabeled", count=40)), ("twins", CanaryGroup(kind="duplicated", count=20, copies=3)))


def private(shadow: int = 0) -> Private:
    digits, shapes = CARDS["digits"], CARDS["shapes"]
    dataset = Dataset("digits", digits.digest, 700, 200, digits.shape)
    public = Dataset("shapes", shapes.digest, None, None, digits.shape)
    return Private(Population(dataset, public, 0, GROUPS, 50), "pairs", 0, shadow, None)


def made(how: Method, shadow: int = 0, **needs: Artifact) -> Any:
    return perform(Synthesize(private(shadow), how, RECIPE, 10), needs, CPU)


def random_part(fraction: float) -> RandomSubset:
    return RandomSubset(paradigm="coreset", method="random", fraction=fraction)


def value(metrics: tuple[Metric, ...], name: str, canaries: str = "") -> float | None:
    (found,) = (metric for metric in metrics if (metric.name, metric.canaries) == (name, canaries))
    return found.value


def test_every_method_that_the_language_knows_has_a_module_with_its_function() -> None:
    known = [kind for kind in ARMS if issubclass(kind, Method) and kind is not ImportedSets]  # those are computed elsewhere
    for kind in known:
        paradigm, *_ = get_args(kind.model_fields["paradigm"].annotation)
        assert callable(function_of(kind.model_construct(paradigm=paradigm, method=""), "synthesize"))
    for generator in Generator.__subclasses__():
        assert callable(function_of(generator.model_construct(), "train_generator"))


def test_a_set_is_written_with_its_origins_and_the_canaries_behind_them() -> None:
    product = made(random_part(0.3))
    data = private_set(private())
    origins = product.files["audit"]["origins"]
    assert torch.equal(product.files["set"]["images"], data.data.images[origins])
    assert torch.equal(product.files["set"]["labels"], data.data.labels[origins])
    assert torch.equal(product.files["audit"]["origin_canary"], data.canary[origins])
    assert value(product.metrics, "images") == len(origins) == round(0.3 * len(data.canary))


def test_the_share_of_canaries_chosen_is_counted_by_canary_and_the_enrichment_by_row() -> None:
    product = made(random_part(0.3))
    data = private_set(private())
    chosen = {int(canary) for canary in product.files["audit"]["origin_canary"] if canary >= 0}
    held = {int(canary) for canary in data.canary if canary >= 40}
    assert value(product.metrics, "canary_share_selected", "twins") == pytest.approx(len(chosen & held) / len(held))
    rows = [row for row, canary in enumerate(data.canary.tolist()) if canary >= 40]
    kept = len(set(rows) & set(product.files["audit"]["origins"].tolist())) / len(rows)
    share = value(product.metrics, "share_selected")
    assert share is not None
    assert value(product.metrics, "canary_enrichment", "twins") == pytest.approx(kept / share)


def test_a_share_that_cannot_be_computed_says_why() -> None:
    data = private_set(private())
    unrelated = list(selection(torch.full((30,), -1), data, private()))
    assert all(metric.note for metric in unrelated if metric.value is None)
    assert any(metric.name == "canary_enrichment" and metric.value is None for metric in unrelated)
    one = (("single", CanaryGroup(kind="clean", count=1)),)
    alone = replace(private(), population=replace(private().population, groups=one))
    sides = list(canary_accuracy(torch.zeros(1, 10), alone))
    assert [bool(metric.note) for metric in sides] == [metric.value is None for metric in sides]
    assert sum(metric.value is None for metric in sides) == 1


def test_a_choice_that_is_blind_to_canaries_shows_no_enrichment() -> None:
    found = [value(made(random_part(0.5), shadow).metrics, "canary_enrichment", "mislabeled") for shadow in range(12)]
    assert sum(x for x in found if x is not None) / len(found) == pytest.approx(1.0, abs=0.13)  # about four standard errors


def test_the_whole_set_has_every_canary() -> None:
    assert value(made(random_part(1.0)).metrics, "canary_share_selected", "twins") == 1.0


def test_the_same_work_gives_the_same_set_and_another_shadow_another_one() -> None:
    how = DistributionMatching(paradigm="distillation", method="dm", images_per_class=2, steps=3, width=4)
    first, again, other = (made(how, shadow).files["set"]["images"] for shadow in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_draws_from_the_global_generator_changes_nothing() -> None:
    how = DistributionMatching(paradigm="distillation", method="dm", images_per_class=2, steps=3, width=4)
    torch.manual_seed(1)
    first = made(how).files["set"]["images"]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(made(how).files["set"]["images"], first)
    assert torch.equal(torch.get_rng_state(), state)  # and nothing is drawn from it


def test_a_method_is_given_images_and_labels_and_no_canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    import runtime.synthesize.coreset.difficulty as coreset

    seen: list[Any] = []

    def spy(how: Any, data: Any, needs: Any, setting: Any) -> Any:
        seen.extend([data, setting])
        return original(how, data, needs, setting)

    original = coreset.synthesize
    monkeypatch.setattr(coreset, "synthesize", spy)
    made(random_part(0.3))
    data, setting = seen
    assert set(vars(data)) == {"images", "labels"}
    assert set(vars(setting)) == {"base", "card", "seeds", "device", "expected_size", "public", "recipe", "iterations"}
    assert isinstance(setting, Setting)


def test_noise_comes_from_nobody_and_a_private_beginning_is_tracked() -> None:
    def how(init: Any) -> DistributionMatching:
        return DistributionMatching(paradigm="distillation", method="dm", images_per_class=2, steps=2, width=4, init=init)

    for init in ("noise", "class_mean", "public"):
        assert "audit" not in made(how(init)).files
    audit = made(how("real")).files["audit"]
    assert torch.equal(audit["origin_canary"], private_set(private()).canary[audit["origins"]])


def test_a_log_of_another_set_is_refused(tmp_path: Any) -> None:
    proxy = artifact(tmp_path, dynamics={name: torch.zeros(3, 7) for name in ("correct", "margin", "el2n")})
    with pytest.raises(ValueError, match="trained on another set"):
        made(Forgetting(paradigm="coreset", method="forgetting", fraction=0.3), proxy=proxy)
