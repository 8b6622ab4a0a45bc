"""The figures of one attack on one canary group at one release level: each with n, interval and null control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compiler.language.audit import Attack
from compiler.work.operations import AttackTrial
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.statistics.bootstrap import Readings, Resamples, interval, read_resamples
from runtime.audit.statistics.deployed import shadow_only
from runtime.audit.statistics.null import Control, Expected, central, control
from runtime.audit.statistics.roc import Reading, Steps, balanced_accuracy, roc_points, tpr_at
from runtime.audit.trial import bounds, risk
from runtime.outcome import Metric
from runtime.seeds import numpy_generator

BAND = 40
"""Points of a curve at which its band is read, spread evenly in log FPR."""

PRIORS = (0.5, 0.1, 0.01)
"""Shares of members among those asked about at which a positive predictive value is stated."""


@dataclass(frozen=True)
class Figures:
    """See the module. `scores` and `member`: canary × shadow; NaN scores are not applicable."""

    work: AttackTrial
    attack: Attack
    said: Answers
    scores: np.ndarray
    member: np.ndarray
    resamples: Resamples

    @cached_property
    def there(self) -> np.ndarray:
        """canary × shadow, bool. A target with too few shadows for some canary (bernoulli membership) has no score there."""
        return ~np.isnan(self.scores)

    @cached_property
    def steps(self) -> Steps:
        return Steps.of(self.scores[self.there], self.member[self.there])

    @cached_property
    def draws(self) -> Readings:
        """Every figure from every resample."""
        return read_resamples(self.scores, self.member, self.work.fpr, self.resamples, self.there, self.strict)

    @property
    def strict(self) -> bool:
        return "strict_fpr" in self.attack.compat

    def reading(self, fpr: float) -> Reading:
        return self.steps.reading(fpr, self.strict)

    def metrics(self) -> Iterator[Metric]:
        """TPR at every FPR, AUC, balanced accuracy, epsilon lower bounds; nothing where no score is applicable."""
        if not self.there.any():
            return
        confidence, n = self.work.confidence, int(self.there.sum())
        for fpr in self.work.fpr:
            yield self._tpr(tpr_name(fpr), self.reading(fpr), self.draws.tpr[fpr])
        yield self.metric("auc", self.steps.area(), interval(self.draws.auc, confidence), n)
        balanced = balanced_accuracy(self.scores[self.there], self.member[self.there])
        yield self.metric("balanced_accuracy", balanced, interval(self.draws.balanced_accuracy, confidence), n)
        for name, value, canaries, note in bounds.lower_bounds(self.work, self.said.group, self.scores, self.member):
            yield self.metric(f"epsilon_lower_{name}", value, None, canaries, note)

    def _tpr(self, name: str, reading: Reading, resampled: np.ndarray) -> Metric:
        bounds = interval(resampled, self.work.confidence) if reading.value is not None else None
        note = "; ".join(filter(None, [reading.note, self._from_one_shadow(reading)]))
        if reading.value is not None and bounds is None:
            return self.metric(name, None, None, reading.non_members, "; ".join(["not resolvable in most resamples", note]))
        return self.metric(name, reading.value, bounds, reading.non_members, note)

    def _false(self, reading: Reading) -> np.ndarray:
        """canary × shadow, bool: false positives."""
        bar = np.inf if reading.threshold is None else reading.threshold
        return self.there & ~self.member & (self.scores >= bar)

    def _from_one_shadow(self, reading: Reading) -> str:
        """A warning where most false positives are one model's, so that the reading says more of it than of the attack."""
        each = self._false(reading).sum(0)
        most = int(each.argmax())
        telling = reading.false_positives >= 4 and 2 * each[most] > reading.false_positives
        return f"{each[most]} of {reading.false_positives} false positives are of shadow {most}" if telling else ""

    def readings(self) -> Iterator[dict[str, Any]]:
        """JSON: at each FPR all that is needed to judge how finely the TPR was read."""
        for fpr in self.work.fpr if self.there.any() else ():
            reading, false = self.reading(fpr), self._false(self.reading(fpr))
            yield {
                "release": self.said.release, "attack": self.attack.attack, "variant": self.attack.variant_name,
                "canaries": self.said.group.name, "fpr": fpr, "tpr": reading.value, "members": reading.members,
                "non_members": reading.non_members, "allowed": reading.allowed, "false_positives": reading.false_positives,
                "false_positive_canaries": int(false.any(1).sum()), "false_positive_shadows": int(false.any(0).sum()),
                "threshold": reading.threshold, "rule": reading.rule,
            }

    def strata(self, parts: Mapping[str, np.ndarray]) -> Iterator[Metric]:
        """The TPR at the headline's FPR of the members in each part (canary × shadow, bool), against all non-members."""
        fpr = self.work.headline.fpr
        for name, kept in parts.items():
            there = self.there & (~self.member | kept)
            members = int((there & self.member).sum())
            if members == 0 or not (there & ~self.member).any():
                yield self.metric(f"{tpr_name(fpr)},{name}", None, None, 0, f"no member is {name.replace('_', ' ')}")
                continue
            reading = tpr_at(fpr, self.scores[there], self.member[there], self.strict)
            bounds = None
            if reading.value is not None:
                draws = read_resamples(self.scores, self.member, (fpr,), self.resamples, there, self.strict)
                bounds = interval(draws.tpr[fpr], self.work.confidence)
            yield self.metric(f"{tpr_name(fpr)},{name}", reading.value, bounds, members, reading.note)

    def deployed(self) -> Iterator[Metric]:
        """What comes of thresholds that are read from the shadows of each target alone: rates, and the PPV at each prior."""
        fpr, paired = self.work.headline.fpr, self.work.design == "pairs"
        if self.reading(fpr).value is None:
            return
        found = shadow_only(self.scores, self.member, fpr, paired)
        draws = shadow_only(self.scores, self.member, fpr, paired, self.resamples)
        how, n = f"thresholds from shadows only, at a declared FPR of {fpr:g}", self.reading(fpr).non_members
        for name in ("tpr", "fpr"):
            around = interval(getattr(draws, name), self.work.confidence)
            yield self.metric(f"realised_{name}", float(getattr(found, name)[0]), around, n, how)
        for prior in PRIORS:
            value = float(found.ppv(prior)[0])
            around = interval(draws.ppv(prior), self.work.confidence)
            if np.isfinite(value):
                yield self.metric(f"ppv@prior={prior:g}", value, around, n, how)
            else:
                yield self.metric(f"ppv@prior={prior:g}", None, None, n, f"nobody is called a member; {how}")

    def null_control(self, score: Score) -> tuple[list[Metric], list[str]]:
        """Metrics of the null control, and what it complains of."""
        redraws = self.work.null_permutations
        if self.attack.fitted:
            redraws = max(10, redraws // 10)
        purpose = f"null/{self.said.group.name}/{self.attack.attack}/{self.attack.variant_name}"
        rng = numpy_generator(self.work.population.seed, None, purpose)
        fpr = self.work.headline.fpr
        alarmed = bounds.alarm(self.work, self.said.group)

        def read(scores: np.ndarray, member: np.ndarray) -> tuple[float, float, float]:
            there = ~np.isnan(scores)
            steps = Steps.of(scores[there], member[there])
            found, value = steps.area(), steps.reading(fpr, self.strict).value
            return 0.5 if found is None else found, np.nan if value is None else value, alarmed(scores, member)

        reading = self.reading(fpr)
        expected = None if reading.value is None else (reading.allowed + 1) / (reading.non_members + 1)
        made = control(
            score, read, self.member, self.work.design, redraws, rng, Expected(expected, reading.members, 1 - self.work.confidence)
        )
        return list(self._null(made, reading)), made.complaints()

    def _null(self, made: Control, reading: Reading) -> Iterator[Metric]:
        verdict = "" if made.passed else f"null control failed, the trial is invalid: {', '.join(made.complaints())}"
        # The bounds are where the redraws lie: what an attack that knows nothing shows on this pool.
        confidence, redraws = self.work.confidence, len(made.auc)
        yield self.metric("null_auc", float(made.auc.mean()), central(made.auc, confidence), redraws, verdict)
        if np.isfinite(made.alarm).all():
            yield self.metric("null_epsilon_share", float(made.alarm.mean()), None, redraws, "redraws with a bound above zero")
        if np.isfinite(made.tpr).all():
            around = central(made.tpr, confidence)
            yield self.metric(f"null_{tpr_name(reading.fpr)}", float(made.tpr.mean()), around, redraws)
            if reading.value is not None:
                yield self.metric("permutation_p", made.p_value(reading.value), None, redraws, f"of the TPR at {reading.fpr:g}")

    def roc(self, banded: bool) -> np.ndarray:
        """points × 4: FPR, TPR, and the pointwise interval of the TPR at some of the points, NaN at the others."""
        points = roc_points(self.scores[self.there], self.member[self.there])
        band = np.full_like(points, np.nan)
        if banded:
            rates = np.unique(np.geomspace(2 / max((~self.member[self.there]).sum(), 2), 1.0, BAND).round(9))
            draws = read_resamples(self.scores, self.member, rates.tolist(), self.resamples, self.there)
            for rate in rates.tolist():
                bounds = interval(draws.tpr[rate], self.work.confidence)
                if bounds is not None:
                    band[np.searchsorted(points[:, 0], rate + 1e-9, side="right") - 1] = bounds
        return np.concatenate([points, band], axis=1)

    def risk(self) -> np.ndarray:
        """canary × 4, see `risk.of_canaries`, at the headline's FPR."""
        return risk.of_canaries(self.scores, self.member, self.reading(self.work.headline.fpr).threshold)

    def stability(self) -> Metric:
        """Whether other models would call the same canaries the most exposed."""
        rng = numpy_generator(self.work.population.seed, None, f"risk/{self.said.group.name}")
        bar = self.reading(self.work.headline.fpr).threshold
        top, found = risk.overlap(self.scores, self.member, bar, self.work.design == "pairs", rng)
        chance = top / (2 * len(self.scores) - top)
        note = f"Jaccard overlap of the {top} canaries of most risk between halves of the shadows; by chance {chance:.2f}"
        return self.metric("risk_overlap", float(found.mean()), central(found, self.work.confidence), len(found), note)

    def metric(self, name: str, value: float | None, bounds: tuple[float, float] | None, n: int, note: str = "") -> Metric:
        """A figure with the coordinates of this attack."""
        low, high = bounds if bounds is not None else (None, None)
        return Metric(
            name, value, low, high, n, note, self.said.group.name, self.attack.attack, self.attack.variant_name, self.said.release
        )


def tpr_name(fpr: float) -> str:
    """Name of the metric: `tpr@fpr=0.01`."""
    return f"tpr@fpr={fpr:g}"
