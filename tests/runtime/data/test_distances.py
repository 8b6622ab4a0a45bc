"""The one search for nearest images, beside all distances computed by themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from runtime.data.distances import Search, nearest


def test_the_nearest_is_the_nearest_by_all_distances() -> None:
    points, among = torch.rand(300, 64), torch.rand(700, 64)
    all_distances = torch.cdist(points.double(), among.double())
    distance, row = nearest(points, among)
    assert torch.allclose(distance, all_distances.amin(1))
    assert (row == all_distances.argmin(1)).all()
    assert nearest(among[5:6], among)[0].item() == 0.0  # not what cancellation leaves of it


def test_neighbours_leave_the_point_itself_out_and_views_count_by_their_nearest() -> None:
    among = torch.rand(500, 32)
    beside = torch.cdist(among.double(), among.double()).fill_diagonal_(torch.inf)
    distance, _ = Search(among).nearest(among[:, None], own=torch.arange(500), neighbours=3)
    assert torch.allclose(distance.double(), beside.topk(3, largest=False).values, atol=1e-5)
    views = torch.rand(40, 18, 32)
    distance, row = Search(among).nearest(views)
    every = torch.cdist(views.double(), among.double().expand(40, -1, -1))
    assert torch.allclose(distance[:, 0].double(), every.amin((1, 2)), atol=1e-5)
    assert (row[:, 0] == every.amin(1).argmin(1)).all()


def test_a_first_pass_in_few_dimensions_finds_the_same_where_few_dimensions_tell() -> None:
    mix = torch.randn(20, 256)
    among, points = (torch.randn(count, 20) @ mix + 0.1 * torch.randn(count, 256) for count in (4000, 500))
    points[:50] = among[:50]
    _, row = Search(among, first_pass=True).nearest(points[:, None])
    exact = torch.cdist(points.double(), among.double()).argmin(1)
    assert (row[:, 0] == exact).all()


def test_a_first_pass_finds_nearest_rows_and_copies_whatever_noise_few_dimensions_leave_out() -> None:
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(20, 512, generator=rng)

    def rows(count: int) -> torch.Tensor:
        noise = torch.randn(count, 512, generator=rng) * 8 * torch.rand(count, 1, generator=rng)
        return torch.randn(count, 20, generator=rng) @ mix + noise

    among, points = rows(5000), rows(400)
    points[:200] = among[:200] + torch.randn(200, 512, generator=rng)
    _, row = Search(among, first_pass=True).nearest(points[:, None])
    exact = torch.cdist(points.double(), among.double()).argmin(1)
    assert (exact[:200] == torch.arange(200)).all()
    assert (row[:, 0] == exact).all()


@pytest.mark.long
def test_a_search_for_more_images_holds_no_more_memory() -> None:
    # Reused buffers. Without them the C library leaves holes: 96 and 160 MiB in two of three runs.
    measure = """
import subprocess
import sys

import torch
from runtime.judge import nearness
torch.set_num_threads(1)
nearness.FIRST_PASS_FROM, held = 0.0, []
def tick(step, done, among):
    if step == "pixels: the set":
        held.append(int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20)
images = torch.randint(0, 256, (7_000, 3, 32, 32), dtype=torch.uint8)
nearness.measure(images[:2_000], images[2_000:], lambda images: images.flatten(1)[:, :8].float(), tick)
print(held[-1] - held[3])
"""
    grown = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True).stdout
    assert float(grown) < 50, "MiB more after 2,000 images than after 224"
