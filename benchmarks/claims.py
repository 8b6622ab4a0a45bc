"""Error rates and power of claims, by verdicts on simulated trials whose truth is known.

    python benchmarks/claims.py            200 studies of each world
    python benchmarks/claims.py 1000

Worlds: trials that are alike in all (a claim about 12 pairs may call a pair wrongly in 5 % of studies), dominance at its edge
(worse by exactly the margin in one figure and better in the others), leakage at the edge of a tolerance, and effects to be seen.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from compiler.language.claims import Margins
from compiler.work.operations import CompareTrials, Reading
from runtime.audit.claim_side import ClaimSide
from runtime.audit.compare import difference, perform

CANARIES, SHADOWS, IMAGES, FPR = 64, 16, 200, 0.1
WAVER = 0.3
"""Spread of an image's ease from model to model, beside 1 from image to image."""
COLUMN = {"release": "final_model", "attack": "lira", "variant": "it", "canaries": "all"}


class Trial:
    """What the attack on a trial leaves, simulated: a given share of canaries leaks, and some test images are harder."""

    def __init__(self, rng: np.random.Generator, world: dict[str, Any], leak: float, accuracy: float, flops: float) -> None:
        self.folder = Path(str(rng.integers(1 << 60)))
        self.member = world["member"]
        noise = rng.normal(size=self.member.shape) + world["wobble"] * rng.normal(size=(1, SHADOWS))
        # Which canaries leak, and how many, differs from trial to trial; of all members leak + FPR · (1 - leak) are found.
        leaks = rng.random(CANARIES) < leak
        self.scores = noise + 6.0 * self.member * leaks[:, None]
        # Images are drawn too: of all images that might have been, this share is classified rightly.
        bar = math.sqrt(1 + WAVER**2) * stats.norm.ppf(accuracy)
        self.right = (world["ease"] + WAVER * rng.normal(size=(IMAGES, SHADOWS)) < bar).astype(np.uint8)
        self.shadows = {"test_accuracy": self.right.mean(0), "flops": np.full(SHADOWS, flops), "seconds": np.full(SHADOWS, 1.0)}
        self.stems = ["test"]
        self.fits: list[dict[str, Any]] = []

    @classmethod
    def of(cls, name: str, member: np.ndarray, scores: np.ndarray, fits: list[dict[str, Any]]) -> Trial:
        """Of given scores; a trial of that name, without figures of utility. `fits`: see `AttackMetrics`."""
        made = cls.__new__(cls)
        made.folder, made.member, made.scores, made.shadows, made.stems = Path(name), member, scores, {}, []
        made.fits = [one | COLUMN for one in fits]
        return made

    @property
    def outcome(self) -> dict[str, Any]:
        return {"notes": {"groups": [{"name": "all", "count": len(self.member)}], "columns": [COLUMN], "fits": self.fits}}

    def tensors(self, stem: str) -> dict[str, torch.Tensor]:
        if stem == "test":
            return {"correct": torch.from_numpy(self.right)}
        if stem == "shadows":
            return {name: torch.from_numpy(values) for name, values in self.shadows.items()}
        return {"member": torch.from_numpy(self.member.astype(np.uint8)), "score/0": torch.from_numpy(self.scores)}


def world(rng: np.random.Generator) -> dict[str, Any]:
    coins = rng.random((CANARIES, SHADOWS // 2)) < 0.5
    member = np.stack([coins, ~coins], axis=2).reshape(CANARIES, SHADOWS)
    return {"member": member, "wobble": 0.2, "ease": rng.normal(size=(IMAGES, 1))}


def verdict(left: list[Trial], right: list[Trial], **words: Any) -> tuple[str, list[str]]:
    notes = perform(*_task(left, right, **words), torch.device("cpu")).notes
    return notes["verdict"], [pair["verdict"] for pair in notes["pairs"]]


def effects(left: Trial, right: Trial, metrics: tuple[str, ...], **words: Any) -> list[tuple[float, float | None, float | None]]:
    """The difference of two trials in each metric, low, high."""
    work, inputs = _task([left], [right], **words)
    sides = [ClaimSide(0, inputs[f"{side}/0"], work, work.left) for side in ("left", "right")]
    found = [compared.estimate for metric in metrics if (compared := difference(work, metric, *sides)) is not None]
    assert len(found) == len(metrics)
    return [(one.value, one.low, one.high) for one in found]


def _task(left: list[Trial], right: list[Trial], **words: Any) -> tuple[CompareTrials, Any]:
    reading = Reading("lira", "it", "final_model", "all", None)
    usual: dict[str, Any] = {"test": "difference", "metric": "leakage", "against": None, "over": "events", "margin": 0.0}
    usual |= {"match": "leakage", "tolerance": 0.1, "margins": Margins(), "pairs": "any", "fpr": FPR, "resamples": 400}
    given = usual | {"confidence": 0.95, "seed": 0, "left": reading, "right": reading} | words
    return CompareTrials(**given), {
        f"{side}/{place}": one for side, of in (("left", left), ("right", right)) for place, one in enumerate(of)
    }


MARGINS = Margins(leakage=0.2, test_accuracy=0.05, cost=1.1)
CASES: dict[str, tuple[str, list[tuple[float, float, float]], list[tuple[float, float, float]], dict[str, Any]]] = {
    # name: (what counts, left and right trials as (leak, accuracy, flops), words)
    "12 pairs alike, leakage: some pair called": ("wrong", [(0.3, 0.9, 1.0)] * 3, [(0.3, 0.9, 1.0)] * 4, {}),
    "12 pairs alike, accuracy: some pair called": ("wrong", [(0.3, 0.9, 1.0)] * 3, [(0.3, 0.9, 1.0)] * 4, {"metric": "test_accuracy"}),  # noqa: E501
    "12 pairs, dominance, all alike: some pair supported": (
        "supported", [(0.3, 0.9, 1.0)] * 3, [(0.3, 0.9, 1.0)] * 4, {"test": "dominance", "margins": MARGINS}),
    "dominance, 0.2 leakier (the margin): supported": ("supported", [(0.3 + 0.2 / (1 - FPR), 0.99, 0.5)], [(0.3, 0.8, 1.0)], {"test": "dominance", "margins": MARGINS}),  # noqa: E501
    "dominance, 0.05 less accurate (the margin): supported": (
        "supported", [(0.0, 0.85, 0.5)], [(0.6, 0.9, 1.0)], {"test": "dominance", "margins": MARGINS}),
    "dominance, at the floor, more accurate: supported": (
        "supported", [(0.0, 0.97, 1.0)], [(0.0, 0.85, 1.0)], {"test": "dominance", "margins": MARGINS}),
    "likeness, 0.1 apart (the tolerance): supported": ("supported", [(0.2, 0.9, 1.0)], [(0.2 + 0.1 / (1 - FPR), 0.9, 1.0)], {"test": "equivalence", "margin": 0.1}),  # noqa: E501
    "likeness, equal: supported": ("supported", [(0.1, 0.9, 1.0)], [(0.1, 0.9, 1.0)], {"test": "equivalence", "margin": 0.2}),
    "difference of 0.3: supported": ("supported", [(0.5, 0.9, 1.0)], [(0.2, 0.9, 1.0)], {}),
    "difference of 0.3 in each of 12 pairs: all supported": (
        "claim", [(0.5, 0.9, 1.0)] * 3, [(0.2, 0.9, 1.0)] * 4, {"pairs": "all"}),
}  # fmt: skip


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for name, (counted, left, right, words) in CASES.items():
        hits = 0
        for study in range(studies):
            rng = np.random.default_rng(study)
            around = world(rng)
            sides = [[Trial(rng, around, *one) for one in side] for side in (left, right)]
            claim, pairs = verdict(*sides, **words)
            hits += {"wrong": {*pairs} != {"undecided"}, "supported": "supported" in pairs, "claim": claim == "supported"}[counted]
        print(f"{name:<58}{hits / studies:>7.1%} of {studies}", flush=True)


if __name__ == "__main__":
    main()
