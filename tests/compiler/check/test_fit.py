"""Nets and counts that fit the images of a grid point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compiler.check.fit import _unfit, least_of_class
from compiler.compile import compile_study
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS, Shape
from runtime.training.nets import build
from tests.conftest import TINY


def works(recipe: Recipe, shape: Shape) -> bool:
    """Whether the net can be made, takes a batch of its size in training, and gives features that are not zero."""
    draws = torch.Generator().manual_seed(0)
    try:
        net = build(recipe, replace(CARDS["digits"], shape=shape), draws).train()
        features = net.features(torch.randn(recipe.batch_size, *shape, generator=draws))
    except Exception:
        return False
    return bool(features.abs().max() > 1e-4)  # one pixel under instance norm leaves rounding errors


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("net", ["small", "convnet", "resnet9", "resnet18", "wrn"])
def test_a_net_is_refused_exactly_where_torch_cannot_train_it(net: str) -> None:
    depth = 10 if net == "wrn" else None
    recipes = [Recipe(net=net, width=4, depth=depth, norm=norm, batch_size=n) for norm, n in (("instance", 2), ("batch", 1))]
    shapes = [(1, side, other) for side in range(1, 41) for other in {side, 3, 40}]
    # A ConvNet for a side of one pixel could be made, and would have no layer.
    cases = [(recipe, shape) for recipe in recipes for shape in shapes if net != "convnet" or min(shape[1:]) > 1]
    assert [(r.norm, shape) for r, shape in cases if (_unfit(r, shape) is None) != works(r, shape)] == []


def least(folder: Path, *changes: tuple[str, str]) -> int:
    """The least number of images of a class in TINY after these replacements."""
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    spec = folder / "study.yaml"
    spec.write_text(text)
    return least_of_class(compile_study(spec).trials[0].trial.point)


def test_validation_images_are_drawn_as_test_images_are(tmp_path: Path) -> None:
    assert least(tmp_path, ("test: 360", "test: 360, validation: 200")) == least(tmp_path, ("test: 360", "test: 560"))


def test_canaries_that_are_not_drawn_from_the_data_take_none_of_a_class(tmp_path: Path) -> None:
    text = ("  z_pool: 40\n", "    ood: {kind: ood, count: 200}\n  z_pool: 40\n")
    assert least(tmp_path, text, ("audit:\n", "public: {name: shapes}\naudit:\n")) == least(tmp_path)


def test_copies_of_members_take_none_of_a_class(tmp_path: Path) -> None:
    one = (
        "    clean: {kind: clean, count: 16}\n",
        "    clean: {kind: clean, count: 16}\n    many: {kind: duplicated, count: 16}\n",
    )
    many = (one[0], one[1].replace("duplicated, count: 16", "duplicated, count: 16, copies: 16"))
    assert least(tmp_path, one) == least(tmp_path, many)


def test_a_subset_is_balanced(tmp_path: Path) -> None:
    """The smallest class of digits has 174 of 1,797 images; a balanced subset of 1,000 has 100 of each class."""
    found = least(tmp_path, ("test: 360", "subset: 1000, test: 360"))
    held = 1000 - 360 - 40 - 40
    assert found == int(held / 10 - 4 * (0.1 * (1000 - held)) ** 0.5)
