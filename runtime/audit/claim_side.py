"""One trial as one side of a claim: its figures, and the same figures on bootstrap resamples that all trials share.

Draws of canaries depend on the seed and the name of their group, draws of shadows on the seed alone. Not here: which effects are
compared (`compare`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from compiler.work.operations import CompareTrials, Reading
from runtime.audit.statistics.bootstrap import AREA, SHARE, Drawn, Readings, Resamples, Uncertainty, read_resamples, uncertainty
from runtime.audit.statistics.roc import auc, tpr_at
from runtime.seeds import numpy_generator
from runtime.store.artifacts import Artifact

STRATA = {"used": ("used", 1), "unused": ("used", 0), "copied": ("copied", 1), "not_copied": ("copied", 0)}
"""Stratum of members → the array of the trial's `scores` file that marks it, and the value that its members have there."""


class ClaimSide:
    """One trial, read at one release level, canary group and attack. Properties and methods that read the group's rows raise
    ValueError where the trial has no such group; all that read a file of the trial, the constructor included, raise Corrupt where
    it is damaged."""

    def __init__(self, index: int, artifact: Artifact, work: CompareTrials, reading: Reading) -> None:
        self.index, self.artifact, self.work, self.reading = index, artifact, work, reading
        self.notes: Mapping[str, Any] = artifact.outcome["notes"]
        self.readings: dict[float, Drawn[Readings]] = {}

    @cached_property
    def files(self) -> dict[str, torch.Tensor]:
        """Name → tensor, of the trial's `scores` file."""
        return self.artifact.tensors("scores")

    @cached_property
    def span(self) -> slice:
        """The rows of the canary group among all canaries; ValueError where the trial has no group of that name."""
        first = 0
        for group in self.notes["groups"]:
            if group["name"] == self.reading.canaries:
                return slice(first, first + group["count"])
            first += group["count"]
        raise ValueError(f"the trial has no canaries called {self.reading.canaries!r}")

    @cached_property
    def member(self) -> np.ndarray:
        """canary × shadow, bool: whether the shadow's private set holds the canary."""
        return self.files["member"][self.span].numpy().astype(bool)

    @cached_property
    def scores(self) -> np.ndarray:
        """canary × shadow: scores of the claim's attack, as by `column`, higher for members; NaN where it does not apply.
        ValueError as of `column`."""
        return self.column(self.reading.attack)

    def column(self, attack: str) -> np.ndarray:
        """canary × shadow: scores of an attack at the claim's release level, or where it has none there, at the first level that
        has them. The claim's own attack is read in the claim's variant, another one in its first. ValueError where the trial has no
        such scores, or no such group."""
        variants = (self.reading.variant,) if attack == self.reading.attack else ()
        fitting = [
            (column["release"] != self.reading.release, place)
            for place, column in enumerate(self.notes["columns"])
            if column["attack"] == attack and column["variant"] in (variants or (column["variant"],))
        ]
        if not fitting:
            raise ValueError(f"the trial was not attacked by {attack} {''.join(variants)}")
        return self.files[f"score/{min(fitting)[1]}"][self.span].numpy()

    @cached_property
    def scored(self) -> np.ndarray:
        """canary × shadow, bool: the scores that enter the figures: those of non-members, and of the stratum's members (all members
        where the claim names no stratum; none where the trial does not mark it). NaN scores do not enter."""
        scored = ~np.isnan(self.scores)
        if self.reading.stratum is None:
            return scored
        name, value = STRATA[self.reading.stratum]
        if name not in self.files:
            return scored & ~self.member
        return scored & (~self.member | (self.files[name][self.span].numpy() == value))

    @cached_property
    def clusters(self) -> int:
        """Number of canaries with at least one member score that enters the figures."""
        return int((self.member & self.scored).any(1).sum())

    @cached_property
    def paired(self) -> bool:
        """Whether shadows 2j and 2j+1 have complementary membership of all canaries of the group, so that they are resampled
        together; False for an odd number of shadows."""
        return self.member.shape[1] % 2 == 0 and bool((self.member[:, ::2] != self.member[:, 1::2]).all())

    @property
    def units(self) -> int:
        """Number of units in which shadows are resampled: pairs where membership is paired, else shadows."""
        return self.member.shape[1] // (2 if self.paired else 1)

    @property
    def strict(self) -> bool:
        """Whether a rate has to stay below the FPR: `strict_fpr` is in the `compat` of the claim's attack, which its variant
        names."""
        return "strict_fpr" in self.reading.variant.split("/")

    def figure(self, metric: str) -> float | None:
        """Point estimate from the scores that enter: the AUC for `auc`, for any other metric the TPR at `rate(metric)` by the count
        rule, strict as `strict` says; None without members or without non-members, and where the TPR is not resolvable. ValueError
        as of `column`."""
        scores, member = self.scores[self.scored], self.member[self.scored]
        if not member.any() or member.all():
            return None
        return auc(scores, member) if metric == "auc" else tpr_at(self.rate(metric), scores, member, self.strict).value

    def uncertain(self, metric: str) -> Uncertainty | None:
        """The figure with its bootstrap uncertainty; None where it cannot be read, or not in at least half of the resamples.
        Readings of the resamples are cached, since a trial may be in many pairs. ValueError as of `column`."""
        value, rate = self.figure(metric), self.rate(metric)
        if value is None:
            return None
        if rate not in self.readings:
            self.readings[rate] = Drawn.of(
                lambda part: read_resamples(self.scores, self.member, (rate,), part, self.scored, self.strict), self.draws
            )
        area = metric == "auc"
        spread = self.readings[rate].spread(lambda read: read.auc if area else read.tpr[rate])
        scale, fits = AREA if area else SHARE, self._fits("auc" if area else f"tpr@fpr={rate:g}")
        return uncertainty(value, spread, self.draws, scale, self.clusters, fits)

    def _fits(self, metric: str) -> float:
        """Variance that refitting the attack adds to the metric (`auc` or `tpr@fpr=…`) on the scale of its interval, as the trial
        measured it, or 0 where it did not; a stratum has the variance of all its group's scores."""
        names = ("release", "attack", "variant", "canaries")
        wanted = {name: getattr(self.reading, name) for name in names} | {"metric": metric}
        return next((one["variance"] for one in self.notes.get("fits", ()) if wanted.items() <= one.items()), 0.0)

    @cached_property
    def draws(self) -> Resamples:
        """Resamples of canaries and shadows, equal for all trials of the claim that audit a group of this name with equally many
        canaries, shadows and `units`."""
        own = self.draw(f"canaries/{self.reading.canaries}", len(self.member))
        return Resamples(own, self.drawn_shadows)

    @cached_property
    def drawn_shadows(self) -> np.ndarray:
        """resample × shadow: how many times the shadow is drawn."""
        return np.repeat(self.draw("shadows", self.units), 2 if self.paired else 1, axis=1)

    def draw(self, what: str, of: int) -> np.ndarray:
        """resample × unit: how many times each of `of` units is drawn, with replacement. `what`: name that seeds the draws, with
        the claim's seed; draws of the same `what` and `of` are equal for all trials of the claim."""
        return Resamples.draw(self.work.resamples, of, numpy_generator(self.work.seed, None, f"claims/{what}")).canaries

    def rate(self, metric: str) -> float:
        """The FPR that a metric `tpr@fpr=…` names; for all other metrics, AUC included, the headline's."""
        return float(metric.removeprefix("tpr@fpr=")) if metric.startswith("tpr@") else self.work.fpr

    def per_shadow(self, metric: str) -> np.ndarray | None:
        """shadow: the metric's value for each shadow, of the canary group where the metric is one of groups; None where the trial
        does not have it for every shadow."""
        found = self.artifact.tensors("shadows")
        names = (metric, f"{metric}/{self.reading.canaries}")
        return next((found[name].numpy() for name in names if name in found), None)

    @cached_property
    def right(self) -> np.ndarray | None:
        """test image × shadow, float64: 1 where the model's prediction is correct, else 0; None where the trial has not stored
        it."""
        return self.artifact.tensors("test")["correct"].numpy().astype(float) if "test" in self.artifact.stems else None
