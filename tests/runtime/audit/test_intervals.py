"""Intervals of means over images and models, by simulation: what was drawn is in the interval, what was not is not claimed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from runtime.audit.statistics.testing import accuracy_of, difference_of, from_pairs


def accuracies(rng: np.random.Generator, images: int, shadows: int, worlds: int) -> np.ndarray:
    """world × image × shadow, 0 or 1: images differ in difficulty, models in quality."""
    easy, good = rng.normal(2.5, 1.5, (worlds, images, 1)), rng.normal(0, 0.25, (worlds, 1, shadows))
    return rng.random((worlds, images, shadows)) < 1 / (1 + np.exp(-(easy + good)))


@pytest.mark.parametrize("shadows", [8, 16])
def test_an_accuracy_interval_covers_what_other_images_and_other_models_would_give(shadows: int) -> None:
    rng = np.random.default_rng(shadows)
    truth = float(accuracies(rng, 20_000, 400, 1).mean())
    found = [accuracy_of(world, 0.95) for world in accuracies(rng, 120, shadows, 400)]
    covered = np.mean([effect.low <= truth <= effect.high for effect in found])  # type: ignore[operator]
    assert 0.91 < covered < 0.99


def test_on_fixed_images_the_interval_of_an_accuracy_would_be_too_narrow() -> None:
    cells = accuracies(np.random.default_rng(0), 100, 32, 1)[0]
    both, shadows = accuracy_of(cells, 0.95), from_pairs(cells.mean(0), 0.95)
    assert both.value == pytest.approx(shadows.value)
    assert both.high - both.low > 1.5 * (shadows.high - shadows.low)  # type: ignore[operator]


def test_models_that_are_all_right_are_as_right_as_so_many_images_can_show() -> None:
    found = accuracy_of(np.ones((100, 8)), 0.95)
    exact = stats.binomtest(100, 100).proportion_ci(method="exact")
    assert (found.value, found.low) == (1.0, pytest.approx(exact.low))
    assert 0 < found.p_above(0.5) < 1e-14
    nothing = difference_of(np.zeros((100, 8)), 0.95)  # two arms that err on the same images
    assert (nothing.p_above(0.0), nothing.p_below(0.0)) == (1.0, 1.0)
    assert nothing.low is not None
    assert nothing.high is not None
    assert nothing.low < 0 < nothing.high


def test_equal_differences_have_no_interval_and_a_p_value_above_nothing() -> None:
    found = from_pairs(np.full(2, 0.3), 0.95)
    assert (found.low, found.high, found.p_above(0.0)) == (None, None, 0.25)
