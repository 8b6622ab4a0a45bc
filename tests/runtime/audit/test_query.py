"""Queries: order of views, nearest images against a loop, canaries that a set holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compiler.compile import compile_study
from compiler.language.audit import Queries
from compiler.language.datasets import CARDS
from compiler.work.operations import QueryClassifier, QuerySet
from runtime.audit.query.classifier import perform as perform_query
from runtime.audit.query.synthetic_set import perform, trace_back
from runtime.data.distances import nearest
from runtime.data.population.queries import views
from runtime.data.population.roles import private_set, roles_of
from runtime.training.nets import build
from tests.artifacts import artifact
from tests.conftest import TINY


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_views_are_the_plain_image_then_shifts_row_by_row_then_the_same_mirrored() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 1] = 1.0
    seen = views(image, Queries(shift=1, flip=True))[0, :, 0]
    places = [tuple(view.nonzero()[0].tolist()) for view in seen]
    shifts = [(2 + down, 1 + right) for down in (0, -1, 1) for right in (0, -1, 1)]
    assert places == shifts + [(row, 4 - column) for row, column in shifts]


def test_a_view_shows_nothing_that_came_in_from_the_other_side() -> None:
    image = torch.ones(1, 1, 4, 4)
    shifted_up = views(image, Queries(shift=1))[0, 3, 0]  # down = -1, right = 0
    assert shifted_up[:3].min() == 1.0
    assert shifted_up[3].max() == 0.0


def test_a_study_without_a_z_pool_has_answers_all_the_same(tmp_path: Path) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(TINY.replace("z_pool: 40", "z_pool: 0"))
    work = next(task.work for task in compile_study(spec).tasks.values() if isinstance(task.work, QueryClassifier))
    net = build(work.recipe, CARDS["digits"], rng())
    answers = perform_query(work, {"model": artifact(tmp_path, model=net.state_dict())}, torch.device("cpu")).files["answers"]
    assert answers["z/clean"].shape == (0, 1, 10)
    assert answers["canary"].shape == (40, 1, 10)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_nearest_distance_equals_a_loop(offset: float) -> None:
    points, among = torch.randn(7, 12, generator=rng()), torch.randn(1100, 12, generator=rng(1))
    among[[600, 900]] = points[2]  # copies, of which the first counts
    points, among = points + offset, among + offset
    naive = [min(float((point.double() - other.double()).norm()) for other in among) for point in points]
    distance, row = nearest(points, among)
    assert torch.allclose(distance, torch.tensor(naive, dtype=torch.float64))
    assert torch.allclose((points - among[row]).norm(dim=1), distance.float())
    assert (distance[2], among[row[2]].tolist()) == (0.0, points[2].tolist())


def test_a_copy_is_nearer_than_anything_else_and_what_was_chosen_is_said_to_be(tmp_path: Any) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(TINY)
    population = compile_study(spec).trials[0].trial
    private = next(iter(compile_study(spec).tasks.values())).work.private  # type: ignore[union-attr]
    assert population.seed == private.population.seed
    images = torch.cat([group.images for group in roles_of(private.population).groups])
    held = private_set(private)
    row = int((held.canary >= 0).nonzero()[0])
    canary = int(held.canary[row])

    class Set:
        stems = ("audit", "set")

        def tensors(self, stem: str) -> dict[str, torch.Tensor]:
            others = torch.randint(0, 255, (5, *images.shape[1:]), dtype=torch.uint8, generator=rng())
            made = {"images": torch.cat([others, held.data.images[row : row + 1]])}
            origins = {"origins": torch.tensor([-1] * 5 + [row]), "origin_canary": torch.tensor([-1] * 5 + [canary])}
            return made if stem == "set" else origins

    inputs: Any = {"set": Set()}
    made = perform(QuerySet(private, Queries()), inputs, torch.device("cpu"))
    answers = made.files["answers"]
    for space in ("pixel", "feature"):
        assert answers[space].argmax() == canary
        assert answers[space].isfinite().all()
    assert answers["selected"].nonzero()[:, 0].tolist() == [canary]
    assert torch.equal(made.files["nearest"]["images"][canary], images[canary])
    assert {metric.name: metric.value for metric in made.metrics}["trace_back_rate"] == 1.0


def test_a_mirrored_and_shifted_copy_is_found_by_the_views_and_not_by_the_plain_image(tmp_path: Path) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(TINY)
    private = next(iter(compile_study(spec).tasks.values())).work.private  # type: ignore[union-attr]
    images = torch.cat([group.images for group in roles_of(private.population).groups])
    queries = Queries(shift=1, flip=True)
    others = torch.randint(0, 255, (5, *images.shape[1:]), dtype=torch.uint8, generator=rng())
    released = torch.cat([others, views(images[3:4], queries)[0, 13:14]])
    inputs: Any = {"set": artifact(tmp_path, set={"images": released, "labels": torch.zeros(6, dtype=torch.int64)})}
    answers = perform(QuerySet(private, queries), inputs, torch.device("cpu")).files["answers"]
    assert set(answers) == {"pixel", "feature", "pixel/18q", "feature/18q"}
    points, among = (part.flatten(-3).double() / 255 for part in (views(images, queries), released))
    naive = [min(float((view - image).norm()) for view in canary for image in among) for canary in points]
    scale = answers["pixel/18q"].neg().exp() / (torch.tensor(naive) + 1e-9)  # normalisation stretches all distances alike
    rest = torch.arange(len(images)) != 3
    assert torch.allclose(scale[rest], scale[rest].mean().expand(int(rest.sum())), rtol=1e-4)
    for space in ("pixel", "feature"):
        assert answers[f"{space}/18q"][3] == answers[f"{space}/18q"].max() > 13  # -log 1e-6
        assert answers[space][3] < 5
        assert (answers[f"{space}/18q"] >= answers[space]).all()


@pytest.mark.parametrize(("attacks", "views"), [("", None), ("{attack: nearest}", 1), ("{attack: nearest, queries: 9}", 9)])
def test_views_are_held_against_a_set_only_where_an_attack_asks_for_them(tmp_path: Path, attacks: str, views: int | None) -> None:
    spec = tmp_path / "study.yaml"
    asked = f"queries: {{shift: 1}}\n  attacks:\n    - {attacks}" if attacks else "queries: {shift: 1}\n  attacks:"
    spec.write_text(TINY.replace("attacks:", asked))
    works = [task.work for task in compile_study(spec).tasks.values()]
    assert {work.queries.count for work in works if isinstance(work, QuerySet)} == ({views} if views else set())


def test_an_image_is_traced_back_while_its_origin_is_the_nearest_private_one() -> None:
    pool = torch.randn(40, 1, 4, 4, generator=rng())
    released = pool[:10] + 0.3 * torch.randn(10, 1, 4, 4, generator=rng(1))
    released[8:] = pool[20:22]  # two have drifted to others
    origins = torch.arange(10)
    origins[9] = -1  # of the second of them nobody says that it began as a private one
    near = [min(range(40), key=lambda row: float((pool[row] - image).norm())) for image in released]
    metric = trace_back(released, pool, origins)
    assert (metric.value, metric.n) == (sum(near[row] == row for row in range(9)) / 9, 9)
    assert metric.value == 8 / 9
    assert trace_back(released, pool, torch.full((10,), -1)).value is None
