"""Nearest-neighbour search by Euclidean distance, for attacks, copies, galleries and `judge`.

Exact by default: a matrix product gives all distances (up to 13 times as fast), and those of the nearest, where it cancels, are
computed again by differences. An approximate first pass in few dimensions is for tens of thousands of images, where exact search
takes hours.
"""

from __future__ import annotations

import torch
from torch import Tensor

IMAGES_PER_BLOCK = 512
NUMBERS_AT_ONCE = 1 << 24
"""Distances in memory at once."""
CANDIDATES = 4
"""Candidates for each neighbour, whose distance is computed again."""
DIMENSIONS = 96
"""Principal components that the first pass uses."""
FIRST_PASS_CANDIDATES = 64
"""Candidates for each point after a first pass."""
LIKENESS = 0.3
"""Cosine that a first pass assumes between the residuals of two rows outside of its components. At 1 (a lower bound of the
distance) noisy rows rank too high, at 0 copies of noisy rows rank too low. Worst rank of the true nearest row, for 2,500 points
among 5,000 rows of 3,072 numbers, with noise of many strengths, a tenth copied: 700 at 1, 115 at 0.5, 30 at 0.3, 151 at 0
(benchmarks/LOG.md, 2026-11-28)."""
GROUP = 16
"""Rows of a group: groups are selected by their least distance before rows are sorted, which leaves fewer numbers to sort."""
SAMPLED = 8_192
"""Rows from which the first pass computes principal components."""


class Search:
    """An index of a set of rows of d numbers for nearest-neighbour queries."""

    def __init__(self, among: Tensor, first_pass: bool = False) -> None:
        """`among`: m × d, floats, the rows to search, m ≥ 1; kept, not copied. `first_pass`: select candidates in few dimensions,
        and compute distances in all dimensions to these alone."""
        self.among = among
        self.axes: Tensor | None = None
        self.center = among.mean(0)
        if first_pass:
            sample = among[:: max(1, len(among) // SAMPLED)] - self.center
            self.axes = torch.linalg.eigh(sample.T @ sample)[1][:, -DIMENSIONS:]
        blocks = [self._coarse(block) for block in among.split(8 * IMAGES_PER_BLOCK)]
        width, rows = blocks[0].shape[1], -(-len(among) // GROUP) * GROUP
        # |a|² − 2 a·p + |p|² as one product of [a, |a|², 1] and [−2 p, 1, |p|²]; padding rows have infinite distance.
        self._table = among.new_zeros(width + 2, rows)
        self._table[width, len(among) :] = torch.inf
        for at, block in zip(range(0, len(among), 8 * IMAGES_PER_BLOCK), blocks, strict=True):
            self._table[:width, at : at + len(block)] = block.T
            self._table[width, at : at + len(block)] = (block**2).sum(1)
        self._table[width + 1] = 1
        # Both are reused. To allocate the first takes as long as the product; the second, allocated for each block, left holes
        # that the C library does not fill: 0.1 MB for each image of a large search, up to 11 GiB (benchmarks/LOG.md).
        self._square = among.new_empty(0, rows)
        self._pairs = among.new_empty(2, 0, among.shape[1])

    def nearest(self, points: Tensor, own: Tensor | None = None, neighbours: int = 1) -> tuple[Tensor, Tensor]:
        """n × neighbours: distances in ascending order, infinite where there are fewer rows; and int64 the rows of the neighbours.
        Distances are computed by differences, so they are right to the rounding of the dtype, but only of candidates: a row that is
        nearer by no more than the rounding of the matrix product may be missed, with a first pass also others. Of equal distances
        any row may come first. Fewer columns where `neighbours` exceeds m, rounded up to a multiple of GROUP.

        points: n × view × d, dtype and device as the rows'; the distance of a point is that of its nearest view.

        `own`: n, the row that is the point itself, which is left out. More than one neighbour is for a single view.
        """
        count, views, size = points.shape
        step = max(1, min(IMAGES_PER_BLOCK, NUMBERS_AT_ONCE // (views * self._table.shape[1])))
        step = max(1, -(-count // max(1, -(-count // step))))  # blocks of equal size, since a small one takes hardly less time
        found = []
        for rows in torch.arange(count).split(step):
            near = points[rows]
            view, row, there = self._candidates(near, None if own is None else own[rows], neighbours)
            point = torch.arange(len(rows), device=near.device)[:, None] * views + view
            several = max(1, NUMBERS_AT_ONCE // (8 * size * view.shape[1]))
            pairs = zip(point.split(several), row.split(several), strict=True)
            distance = torch.cat([self._differences(near.flatten(0, 1), *part) for part in pairs]).masked_fill(~there, torch.inf)
            best = distance.topk(min(neighbours, distance.shape[1]), largest=False)
            found.append((best.values, row.gather(1, best.indices)))
        return torch.cat([values for values, _ in found]), torch.cat([rows for _, rows in found])

    def _differences(self, points: Tensor, point: Tensor, row: Tensor) -> Tensor:
        """Distances, in the shape of `row`, of the rows of `among` with the indices `row` from the rows of `points` (n × d) with
        the indices `point`, place by place; computed by differences, in a buffer that is kept for the next call."""
        if self._pairs.shape[1] < row.numel():
            self._pairs = points.new_empty(2, row.numel(), points.shape[1])
        near, there = self._pairs[:, : row.numel()]
        torch.index_select(points, 0, point.flatten(), out=near)
        torch.index_select(self.among, 0, row.flatten(), out=there)
        return near.sub_(there).norm(dim=1).unflatten(0, row.shape)

    def _candidates(self, near: Tensor, own: Tensor | None, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
        """n × candidates: views and rows of the nearest candidates by the matrix product, whether or not in few dimensions; and
        bool, False for a candidate that is padding or `own`. near: n × view × d; `own`: n, as for `nearest`."""
        coarse = self._coarse(near.flatten(0, 1))
        squares = (coarse**2).sum(1, keepdim=True)
        if self.axes is not None:
            coarse[:, -1] *= LIKENESS
        ours = torch.cat([-2 * coarse, torch.ones_like(squares), squares], dim=1)
        if len(self._square) < len(ours):
            self._square = ours.new_empty(len(ours), self._table.shape[1])
        square = torch.mm(ours, self._table, out=self._square[: len(ours)]).unflatten(0, near.shape[:2])  # n × view × row
        if own is not None:
            square.scatter_(2, own[:, None, None].expand(-1, near.shape[1], 1), torch.inf)
        views, rows = square.shape[1:]
        least = square.unflatten(2, (GROUP, -1)).amin(2)  # a group is every so manyth row: contiguous minima
        groups = least.shape[2]
        several = max(CANDIDATES * neighbours, 0 if self.axes is None else FIRST_PASS_CANDIDATES)
        group = least.flatten(1).topk(min(several, views * groups), largest=False).indices
        inside = torch.arange(GROUP, device=near.device) * groups + (group % groups)[:, :, None]
        index = ((group // groups)[:, :, None] * rows + inside).flatten(1)
        best = square.flatten(1).gather(1, index).topk(min(several, index.shape[1]), largest=False)
        index = index.gather(1, best.indices)
        row = index % rows
        return index // rows, row.clamp(max=len(self.among) - 1), best.values.isfinite()

    def _coarse(self, points: Tensor) -> Tensor:
        """n × d: the points (n × d) minus the mean of the rows; in a first pass n × (axes + 1), the components of that along the at
        most DIMENSIONS principal axes, and in the last column the norm of the rest."""
        about = points - self.center
        if self.axes is None:
            return about
        along = about @ self.axes
        left = ((about**2).sum(1) - (along**2).sum(1)).clamp(min=0).sqrt()
        return torch.cat([along, left[:, None]], dim=1)


def nearest(points: Tensor, among: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """n, `dtype`: distance of each point (n × d) to the nearest row of `among` (m × d), m ≥ 1; n, int64: that row."""
    distance, rows = Search(among.to(dtype)).nearest(points.to(dtype)[:, None])
    return distance[:, 0], rows[:, 0]
