"""Presets: plain values beneath what is written, begun anew by a later text, and in no id."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.check.presets import fields_of, presets
from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS
from compiler.plan.dag import Plan
from tests.conftest import TINY

WRITTEN = "classifier: {net: small, width: 8, epochs: 3, batch_size: 64, lr: 0.1}"
PRIVATE = ("high_utility", "real_epsilon")
"""Presets for DP-SGD."""


def plan_of(folder: Path, text: str, *sets: str, profile: str | None = None) -> Plan:
    spec = folder / "study.yaml"
    spec.write_text(text)
    return compile_study(spec, profile, sets)


def recipes(plan: Plan) -> dict[str, Recipe]:
    return {trial.trial.address: trial.trial.point.classifier for trial in plan.trials}


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
@pytest.mark.parametrize("name", presets())
def test_a_preset_is_a_whole_recipe_for_images_of_any_known_size(name: str, card: object) -> None:
    fields = fields_of(name, card)  # type: ignore[arg-type]
    recipe = Recipe.model_validate({**fields, "augment": Augment.model_validate(fields.get("augment", {}))})
    assert recipe.augment.flip <= card.flips  # type: ignore[attr-defined]
    assert recipe.label_smoothing == 0  # it hides memorisation, so an audit has to ask for it
    assert (recipe.norm == "batch") == (name not in PRIVATE)


def test_the_name_of_a_preset_is_in_no_id(tmp_path: Path) -> None:
    fields = fields_of("fast", CARDS["digits"])
    written = "classifier: {" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}"
    named = plan_of(tmp_path, TINY.replace(WRITTEN, "classifier: {preset: fast}"))
    assert list(named.tasks) == list(plan_of(tmp_path, TINY.replace(WRITTEN, written)).tasks)


def test_what_is_written_beside_a_preset_wins(tmp_path: Path) -> None:
    text = TINY.replace(WRITTEN, "classifier: {preset: fast, width: 5, augment: {shift: 1}}")
    plain = Recipe.model_validate(fields_of("fast", CARDS["digits"]))
    wanted = plain.model_copy(update={"width": 5, "augment": Augment(shift=1)})
    assert set(recipes(plan_of(tmp_path, text)).values()) == {wanted}


def test_a_preset_in_a_later_text_begins_anew(tmp_path: Path) -> None:
    """Half of an earlier recipe under a preset would be neither: an arm, a profile and --set start from the preset alone."""
    plain = Recipe.model_validate(fields_of("fast", CARDS["digits"]))
    in_an_arm = TINY.replace("{paradigm: undefended}", "{paradigm: undefended, classifier: {preset: fast}}")
    assert recipes(plan_of(tmp_path, in_an_arm))["undefended#0"] == plain
    in_a_profile = TINY + "profiles: {quick: {classifier: {preset: fast, epochs: 2}}}\n"
    wanted = plain.model_copy(update={"epochs": 2})
    assert set(recipes(plan_of(tmp_path, in_a_profile, profile="quick")).values()) == {wanted}
    assert set(recipes(plan_of(tmp_path, TINY, "classifier.preset=fast", "classifier.epochs=2")).values()) == {wanted}


def test_presets_can_be_a_grid_and_a_proxy_can_have_one(tmp_path: Path) -> None:
    grid = TINY.replace(WRITTEN, "classifier: {preset: {grid: [fast, memorising]}}")
    found = recipes(plan_of(tmp_path, grid))
    assert {"undefended[preset=fast]#0", "undefended[preset=memorising]#0"} <= set(found)
    proxy = TINY + "  hard: {paradigm: coreset, method: forgetting, fraction: 0.3, proxy: {preset: memorising}}\n"
    arm = plan_of(tmp_path, proxy).trials[-1].trial.point.arm
    assert arm.proxy == Recipe.model_validate(fields_of("memorising", CARDS["digits"]))  # type: ignore[union-attr]


def test_a_name_that_is_no_preset_is_complained_of_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"study\.yaml:18:22: no preset is called 'fats'; did you mean 'fast'"):
        plan_of(tmp_path, TINY.replace(WRITTEN, "classifier: {preset: fats}"))


def test_who_misspells_the_word_is_told_of_it(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no field is called 'preste'; did you mean 'preset'"):
        plan_of(tmp_path, TINY.replace(WRITTEN, "classifier: {preste: fast}"))
