"""The figures of one attack on one canary group at one release level: each with n, interval and null control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from compiler.spec.audit import Attack, LabelOnly, Quantile, variant_name
from compiler.work import AttackTrial
from runtime.attack.scorer import Answers, Score
from runtime.outcome import Metric
from runtime.seeds import numpy_generator
from runtime.statistics import epsilon
from runtime.statistics.bootstrap import Resamples, interval, read_resamples
from runtime.statistics.null import central, control
from runtime.statistics.roc import auc, balanced_accuracy, roc_points, tpr_at

BAND = 40
"""Points of a curve at which its band is read, spread evenly in log FPR."""
FITTED = (LabelOnly, Quantile)
"""Attacks that fit a model per target: a tenth of the redraws must do for their null control."""


@dataclass(frozen=True)
class Figures:
    """See the module. `scores` and `member`: canary × shadow; NaN scores are not applicable."""

    work: AttackTrial
    attack: Attack
    said: Answers
    scores: np.ndarray
    member: np.ndarray
    resamples: Resamples

    def metrics(self) -> Iterator[Metric]:
        # A target with too few shadows for some canary (bernoulli membership) has no score there; the others count.
        there = ~np.isnan(self.scores)
        scores, member = self.scores[there], self.member[there]
        if not scores.size:
            return
        draws = read_resamples(self.scores, self.member, self.work.fpr, self.resamples, there)
        for fpr in self.work.fpr:
            reading = tpr_at(fpr, scores, member)
            bounds = interval(draws.tpr[fpr], self.work.confidence) if reading.value is not None else None
            if reading.value is not None and bounds is None:
                yield self._metric(
                    tpr_name(fpr), None, None, reading.non_members, f"not resolvable in most resamples; {reading.note}"
                )
            else:
                yield self._metric(tpr_name(fpr), reading.value, bounds, reading.non_members, reading.note)
        yield self._metric("auc", auc(scores, member), interval(draws.auc, self.work.confidence), scores.size)
        balanced = balanced_accuracy(scores, member)
        yield self._metric("balanced_accuracy", balanced, interval(draws.balanced_accuracy, self.work.confidence), scores.size)
        yield from self._epsilon()

    def strata(self, used: np.ndarray) -> Iterator[Metric]:
        """The headline's TPR of the members that were used in the set, and of those that were not, against all non-members."""
        fpr, scored = self.work.headline.fpr, ~np.isnan(self.scores)
        for name, kept in (("used", used), ("unused", ~used)):
            there = scored & (~self.member | kept)
            members = int((there & self.member).sum())
            if members == 0 or not (there & ~self.member).any():
                yield self._metric(f"{tpr_name(fpr)},{name}", None, None, 0, f"no member is {name}")
                continue
            reading = tpr_at(fpr, self.scores[there], self.member[there])
            bounds = None
            if reading.value is not None:
                draws = read_resamples(self.scores, self.member, (fpr,), self.resamples, there)
                bounds = interval(draws.tpr[fpr], self.work.confidence)
            yield self._metric(f"{tpr_name(fpr)},{name}", reading.value, bounds, members, reading.note)

    def _epsilon(self) -> Iterator[Metric]:
        """One-run bounds on the first shadow, declared in advance; a quarter of the canaries guessed on each side."""
        if self.work.design == "balanced":
            return  # given the others, a target's membership is determined: the theorems do not hold
        there = ~np.isnan(self.scores[:, 0])
        scores, member = self.scores[there, 0], self.member[there, 0]
        side = len(scores) // 4
        if side < 2 or self.said.group.copies > 1:
            return
        right = epsilon.guess(scores, member, side, side)
        p = 1 - self.work.confidence
        note = (
            f"ruled out at confidence {self.work.confidence:g}, delta {self.work.delta:g}; "
            f"shadow 0, {right} of {2 * side} guesses right"
        )
        for name, bound in (("steinke", epsilon.steinke), ("f_dp", epsilon.f_dp)):
            value = bound(right, 2 * side, len(scores), self.work.delta, p)
            yield self._metric(f"epsilon_lower_{name}", value, None, len(scores), note)

    def null_control(self, score: Score) -> tuple[list[Metric], bool]:
        """Metrics of the null control, and whether it passed."""
        redraws = self.work.null_permutations
        if isinstance(self.attack, FITTED):
            redraws = max(10, redraws // 10)
        purpose = f"null/{self.said.group.name}/{self.attack.attack}/{variant_name(self.attack)}"
        rng = numpy_generator(self.work.population.seed, None, purpose)
        fpr = self.work.headline.fpr

        def read(scores: np.ndarray, member: np.ndarray) -> tuple[float, float]:
            there = ~np.isnan(scores)
            found, value = auc(scores[there], member[there]), tpr_at(fpr, scores[there], member[there]).value
            return (0.5 if found is None else found), (np.nan if value is None else value)

        made = control(score, read, self.member, self.work.design, redraws, rng)
        verdict = "" if made.passed else "null control failed: the trial is invalid"
        # The bounds are where the redraws lie: what an attack that knows nothing shows on this pool.
        around = central(made.auc, self.work.confidence)
        found = [self._metric("null_auc", float(made.auc.mean()), around, redraws, verdict)]
        if np.isfinite(made.tpr).all():
            around = central(made.tpr, self.work.confidence)
            found.append(self._metric(f"null_{tpr_name(fpr)}", float(made.tpr.mean()), around, redraws))
            observed = tpr_at(fpr, self.scores[~np.isnan(self.scores)], self.member[~np.isnan(self.scores)]).value
            if observed is not None:
                found.append(self._metric("permutation_p", made.p_value(observed), None, redraws, f"of the TPR at {fpr:g}"))
        return found, made.passed

    def roc(self, banded: bool) -> np.ndarray:
        """points × 4: FPR, TPR, and the pointwise interval of the TPR at some of the points, NaN at the others."""
        there = ~np.isnan(self.scores)
        points = roc_points(self.scores[there], self.member[there])
        band = np.full_like(points, np.nan)
        if banded:
            rates = np.unique(np.geomspace(2 / max((~self.member[there]).sum(), 2), 1.0, BAND).round(9))
            draws = read_resamples(self.scores, self.member, rates.tolist(), self.resamples, there)
            for rate in rates.tolist():
                bounds = interval(draws.tpr[rate], self.work.confidence)
                if bounds is not None:
                    band[np.searchsorted(points[:, 0], rate + 1e-9, side="right") - 1] = bounds
        return np.concatenate([points, band], axis=1)

    def risk(self) -> np.ndarray:
        """canary × 3: share of its IN models above the threshold of the headline's FPR, with a Jeffreys interval."""
        there = ~np.isnan(self.scores)
        reading = tpr_at(self.work.headline.fpr, self.scores[there], self.member[there])
        bar = np.inf if reading.threshold is None else reading.threshold
        seen = (self.member & there).sum(1)
        hits = (self.member & (self.scores >= bar)).sum(1)
        low, high = stats.beta.ppf([[0.025], [0.975]], hits + 0.5, seen - hits + 0.5)
        with np.errstate(invalid="ignore"):
            return np.stack([hits / seen, low, high], axis=1)

    def _metric(self, name: str, value: float | None, bounds: tuple[float, float] | None, n: int, note: str = "") -> Metric:
        low, high = bounds if bounds is not None else (None, None)
        return Metric(
            name, value, low, high, n, note, self.said.group.name, self.attack.attack, variant_name(self.attack), self.said.release
        )


def tpr_name(fpr: float) -> str:
    """Name of the metric: `tpr@fpr=0.01`."""
    return f"tpr@fpr={fpr:g}"
