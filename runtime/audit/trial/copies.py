"""Compares copies of canaries in the synthetic set with leakage by the model: either may occur without the other.

A released image may be almost equal to a private one although the attack on the model finds nothing: an attack that scores a wrong
label misses a copy with the true one (see `true_label` and `contrast`). And a model may leak canaries that no image of its set
resembles. So the TPR is read for members with a copy and for those without, and the nearest pairs are kept for inspection.
Not here: distances (`query.synthetic_set`), the calibrated attack on them (`nearest`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compiler.work.operations import AttackTrial
from runtime.audit.statistics.bootstrap import PLAIN, Drawn, Resamples, read_resamples, uncertainty
from runtime.audit.statistics.roc import tpr_at
from runtime.data.population.roles import Group, roles_of
from runtime.outcome import Metric
from runtime.store.artifacts import Artifact

PAIRS_KEPT = 6
"""Pairs kept of each kind (`runtime.outcome.PAIR_KINDS`) and canary group: members nearest to an image; members with a copy that
the attack does not identify, lowest scores first; members that the attack identifies, without a copy, farthest from any image first
(copy or not where copies are not resolvable)."""


@dataclass(frozen=True)
class Nearness:
    """Distances from the canaries of a group to each shadow's synthetic set."""

    work: AttackTrial
    group: Group
    closeness: np.ndarray
    """canary × shadow: −log(d + DISTANCE_OFFSET) of the Euclidean distance d to the nearest image, both normalised; higher is
    nearer."""
    member: np.ndarray
    """canary × shadow, bool."""
    resamples: Resamples

    @property
    def copied(self) -> np.ndarray | None:
        """canary × shadow, bool: members whose nearest image is nearer than that of all but a share of the non-members, the
        headline's FPR; None where that is not resolvable."""
        reading = tpr_at(self.work.headline.fpr, self.closeness, self.member)
        if reading.value is None:
            return None
        bar = np.inf if reading.threshold is None else reading.threshold
        return self.member & (self.closeness >= bar)

    def metrics(self) -> Iterator[Metric]:
        """`copied_share`: the TPR of one distance threshold for all canaries at the headline's FPR, without a value where it is not
        resolvable; `nearest_ratio`: distances as member over those as non-member, geometric mean over canaries, below 1 where
        members are nearer; not yielded where no canary has both."""
        fpr = self.work.headline.fpr
        reading = tpr_at(fpr, self.closeness, self.member)
        drawn = Drawn.of(lambda part: read_resamples(self.closeness, self.member, (fpr,), part), self.resamples)
        found = uncertainty(reading.value, drawn.spread(lambda read: read.tpr[fpr]), self.resamples)
        around = found.interval(self.work.confidence) if found else None
        how = f"members nearer to an image than all but {fpr:g} of the non-members"
        yield self._metric("copied_share", reading.value, around, reading.non_members, reading.note or how)
        gap = float(log_distance_gap(self.closeness, self.member, None)[0])
        gaps = Drawn.of(lambda part: log_distance_gap(self.closeness, self.member, part), self.resamples)
        found = uncertainty(gap, gaps.spread(lambda read: read), self.resamples, PLAIN)
        low, high = found.interval(self.work.confidence) if found else (None, None)
        around = (math.exp(low), math.exp(high)) if low is not None and high is not None else None
        ratio = float(np.exp(gap))
        if np.isfinite(ratio):
            how = "distance of members over that of non-members, geometric mean over canaries: 1 where members are no nearer"
            yield self._metric("nearest_ratio", ratio, around, len(self.group), how)

    def pairs(self, scores: np.ndarray, bar: float | None, inputs: Mapping[str, Artifact]) -> dict[str, Tensor]:
        """Up to PAIRS_KEPT pairs of each kind, of a canary and the nearest image of a shadow's set, as columns: kind (its index),
        canary (its row among all canaries), shadow, distance (e^−`closeness`), score, canary_image and released_image (uint8).
        `scores`: canary × shadow, of this group; `bar`: threshold at or above which the attack identifies, None for none; `inputs`:
        of the trial, whose files `nearest` hold the images. Corrupt where one of these is damaged."""
        copied = self.copied
        caught = self.member & (scores >= (np.inf if bar is None else bar))
        chosen: list[tuple[int, int, int]] = []
        for kind, (there, order) in enumerate([
            (self.member, -self.closeness),
            (np.zeros_like(self.member) if copied is None else copied & ~caught & np.isfinite(scores), scores),
            (caught if copied is None else caught & ~copied, self.closeness),
        ]):  # fmt: skip
            rows, columns = np.nonzero(there)
            first = np.argsort(order[rows, columns], kind="stable")[:PAIRS_KEPT]
            chosen += [(kind, int(rows[one]), int(columns[one])) for one in first]
        kinds, canaries, shadows = (torch.tensor([row[part] for row in chosen], dtype=torch.int64) for part in range(3))
        nearest = {shadow: inputs[f"synthetic_set/{shadow}"].tensors("nearest")["images"] for shadow in set(shadows.tolist())}
        at = (canaries.numpy(), shadows.numpy())
        first_row = roles_of(self.work.population).spans[self.group.name].start
        released = [nearest[shadow][first_row + canary] for _, canary, shadow in chosen]
        return {
            "kind": kinds,
            "canary": canaries + first_row,
            "shadow": shadows,
            "distance": torch.from_numpy(np.exp(-self.closeness[at])),
            "score": torch.from_numpy(scores[at]),
            "canary_image": self.group.images[canaries],
            "released_image": torch.stack(released) if released else self.group.images[:0],
        }

    def _metric(self, name: str, value: float | None, bounds: tuple[float, float] | None, n: int, note: str) -> Metric:
        low, high = bounds if bounds is not None else (None, None)
        return Metric(name, value, low, high, n, note, canaries=self.group.name, release="synthetic_set")


def log_distance_gap(closeness: np.ndarray, member: np.ndarray, resamples: Resamples | None) -> np.ndarray:
    """resample: mean over canaries of the mean log distance as member minus that as non-member, below 0 where members are nearer;
    canaries without both are left out, and NaN where none is left. closeness (minus the log distance), member: canary × shadow.
    Without `resamples`: one row, the data as they are."""
    one = np.ones((1, len(member))) if resamples is None else resamples.canaries.astype(np.float64)
    two = np.ones((len(one), member.shape[1])) if resamples is None or resamples.shadows is None else resamples.shadows
    with np.errstate(invalid="ignore", divide="ignore"):
        inside, outside = ((two @ (-closeness * side).T) / (two @ side.T.astype(np.float64)) for side in (member, ~member))
        gap = inside - outside  # resample × canary
        weight = one * np.isfinite(gap)
        return (np.nan_to_num(gap) * weight).sum(1) / weight.sum(1)
