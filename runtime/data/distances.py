"""Which image is nearest to which, by Euclidean distance: the one search that attacks, copies, galleries and `judge` use.

Exact by default: all distances by a matrix product (up to 13 times as fast); how near the nearest are, which cancels there, anew.
A first pass in few dimensions is for sets of tens of thousands of images, where all distances would take hours.
"""

from __future__ import annotations

import torch
from torch import Tensor

IMAGES_PER_BLOCK = 512
NUMBERS_AT_ONCE = 1 << 24
"""Distances that are held at once."""
DIMENSIONS = 96
"""Of the first pass."""
FIRST_PASS_CANDIDATES = 64
"""For each neighbour, to which the distance is then measured."""
GROUP = 16
"""Rows of which the first pass keeps the nearest alone."""
SAMPLED = 8_192
"""Rows whose principal axes the first pass sees."""


class Search:
    """A set to be searched: rows of d numbers."""

    def __init__(self, among: Tensor, first_pass: bool = False) -> None:
        """`first_pass`: look in few dimensions first, and measure the distance to the candidates that are nearest there alone."""
        self.among = among
        self.axes: Tensor | None = None
        self.center = among.mean(0)
        if first_pass:
            sample = among[:: max(1, len(among) // SAMPLED)] - self.center
            self.axes = torch.linalg.eigh(sample.T @ sample)[1][:, -DIMENSIONS:]
        coarse = torch.cat([self._coarse(block) for block in among.split(8 * IMAGES_PER_BLOCK)])
        self._transposed, self._squares = coarse.T, (coarse**2).sum(1)

    def nearest(self, points: Tensor, own: Tensor | None = None, neighbours: int = 1) -> tuple[Tensor, Tensor]:
        """n × neighbours: distances, least first, and int64 which rows these are. points: n × view × d, the nearest view counts.

        `own`: the row that each point is itself, which is not looked at. Several neighbours are for a single view.
        """
        count, views, size = points.shape
        step = max(1, min(IMAGES_PER_BLOCK, NUMBERS_AT_ONCE // (views * len(self.among))))
        found = []
        for rows in torch.arange(count).split(step):
            near = points[rows]
            view, row = self._candidates(near, None if own is None else own[rows], neighbours)
            distance = torch.cat([
                (near[at][torch.arange(len(at))[:, None], view[at]] - self.among[row[at]]).norm(dim=2)
                for at in torch.arange(len(rows)).split(max(1, NUMBERS_AT_ONCE // (8 * size * view.shape[1])))
            ])  # fmt: skip
            best = distance.topk(min(neighbours, distance.shape[1]), largest=False)
            found.append((best.values, row.gather(1, best.indices)))
        return torch.cat([values for values, _ in found]), torch.cat([rows for _, rows in found])

    def _candidates(self, near: Tensor, own: Tensor | None, neighbours: int) -> tuple[Tensor, Tensor]:
        """n × candidates: views and rows that are nearest as far as this is told without cancellation, or in few dimensions."""
        coarse = self._coarse(near.flatten(0, 1))
        square = torch.addmm(self._squares, coarse, self._transposed, alpha=-2.0) + (coarse**2).sum(1, keepdim=True)
        square = square.unflatten(0, near.shape[:2])  # n × view × row
        if own is not None:
            square.scatter_(2, own[:, None, None].expand(-1, near.shape[1], 1), torch.inf)
        rows, several = len(self.among), 4 * neighbours
        if self.axes is None or rows <= 4 * GROUP * FIRST_PASS_CANDIDATES * neighbours:
            index = square.flatten(1).topk(min(several, square[0].numel()), largest=False).indices
            return index // rows, index % rows
        whole = rows - rows % GROUP
        least = square[:, :, :whole].unflatten(2, (-1, GROUP)).min(dim=3)
        values = torch.cat([least.values, square[:, :, whole:]], dim=2)
        group = values.flatten(1).topk(FIRST_PASS_CANDIDATES * neighbours, largest=False).indices
        view, place = group // values.shape[2], group % values.shape[2]
        inside = least.indices[torch.arange(len(near))[:, None], view, place.clamp(max=least.values.shape[2] - 1)]
        return view, torch.where(place < least.values.shape[2], place * GROUP + inside, place - least.values.shape[2] + whole)

    def _coarse(self, points: Tensor) -> Tensor:
        """The points about the set's mean; in a first pass along few axes, with what is left of their length: no two are nearer in
        truth than so."""
        about = points - self.center
        if self.axes is None:
            return about
        along = about @ self.axes
        left = ((about**2).sum(1) - (along**2).sum(1)).clamp(min=0).sqrt()
        return torch.cat([along, left[:, None]], dim=1)


def nearest(points: Tensor, among: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """n, `dtype`: distance of each point (n × d) to the nearest of `among` (m × d), m ≥ 1; n, int64: which row that is."""
    distance, rows = Search(among.to(dtype)).nearest(points.to(dtype)[:, None])
    return distance[:, 0], rows[:, 0]
