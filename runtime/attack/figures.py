"""The figures of one attack on one canary group at one release level: each with n, interval and null control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from compiler.spec.audit import Attack, LabelOnly, Quantile, variant_name
from compiler.work import AttackTrial
from runtime.attack.scorer import Answers, Score
from runtime.outcome import Metric
from runtime.seeds import numpy_generator
from runtime.statistics import epsilon
from runtime.statistics.bootstrap import Resamples, interval, read_resamples
from runtime.statistics.null import control
from runtime.statistics.roc import auc, balanced_accuracy, roc_points, tpr_at

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
        scored = np.isfinite(self.scores) | np.isinf(self.scores)
        if not scored.all():
            # A target with too few shadows (bernoulli membership): whole canaries are left out, so that clusters stay whole.
            kept = scored.all(1)
            if not kept.any():
                return
            smaller = Resamples(self.resamples.canaries[:, kept], self.resamples.shadows)
            yield from replace(self, scores=self.scores[kept], member=self.member[kept], resamples=smaller).metrics()
            return
        draws = read_resamples(self.scores, self.member, self.work.fpr, self.resamples)
        for fpr in self.work.fpr:
            reading = tpr_at(fpr, self.scores, self.member)
            bounds = interval(draws.tpr[fpr], self.work.confidence) if reading.value is not None else None
            if reading.value is not None and bounds is None:
                yield self._metric(
                    tpr_name(fpr), None, None, reading.non_members, f"not resolvable in most resamples; {reading.note}"
                )
            else:
                yield self._metric(tpr_name(fpr), reading.value, bounds, reading.non_members, reading.note)
        trials = self.scores.size
        yield self._metric("auc", auc(self.scores, self.member), interval(draws.auc, self.work.confidence), trials)
        balanced = balanced_accuracy(self.scores, self.member)
        yield self._metric("balanced_accuracy", balanced, interval(draws.balanced_accuracy, self.work.confidence), trials)
        yield from self._epsilon()

    def _epsilon(self) -> Iterator[Metric]:
        """One-run bounds on the first shadow, declared in advance; a quarter of the canaries guessed on each side."""
        if self.work.design == "balanced":
            return  # given the others, a target's membership is determined: the theorems do not hold
        scores, member = self.scores[:, 0], self.member[:, 0]
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
        spread = 1.96 / np.sqrt(redraws)
        mean, error = float(made.auc.mean()), float(made.auc.std(ddof=1))
        verdict = "" if made.passed else "null control failed: the trial is invalid"
        found = [self._metric("null_auc", mean, (mean - spread * error, mean + spread * error), redraws, verdict)]
        if np.isfinite(made.tpr).all():
            mean, error = float(made.tpr.mean()), float(made.tpr.std(ddof=1))
            found.append(self._metric(f"null_{tpr_name(fpr)}", mean, (mean - spread * error, mean + spread * error), redraws))
            observed = tpr_at(fpr, self.scores[~np.isnan(self.scores)], self.member[~np.isnan(self.scores)]).value
            if observed is not None:
                found.append(self._metric("permutation_p", made.p_value(observed), None, redraws, f"of the TPR at {fpr:g}"))
        return found, made.passed

    def roc(self) -> np.ndarray:
        there = ~np.isnan(self.scores)
        return roc_points(self.scores[there], self.member[there])

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
