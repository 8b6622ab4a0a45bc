"""The metrics of one attack on one canary group at one release level: each with n, interval and null control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np

from compiler.language.attacks.base import Tried
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.statistics.bootstrap import (
    AREA,
    SHARE,
    Drawn,
    Readings,
    Resamples,
    Scale,
    Uncertainty,
    read_resamples,
    uncertainty,
    variance_of_fits,
)
from runtime.audit.statistics.deployed import shadow_only
from runtime.audit.statistics.null import Control, Expected, central, run_null_control
from runtime.audit.statistics.roc import RateReading, Steps, balanced_accuracy, none_if_infinite, roc_points, tpr_at
from runtime.audit.trial import risk
from runtime.audit.trial.bounds import Bound, alarm, lower_bounds
from runtime.audit.trial.terms import Conditions, Terms
from runtime.outcome import Metric
from runtime.seeds import numpy_generator

BLOCKS = 20
"""Blocks of canaries, without each of which in turn fits that canaries share are made anew, so that intervals include how the fits
depend on the canaries."""
MOST_REFITTED = 2000
"""Most canaries for which shared fits are made anew: with more, the fits hardly vary."""
BAND_POINTS = 40
"""Points of an ROC curve at which its confidence band is computed, spread evenly in log FPR."""

PRIORS = (0.5, 0.1, 0.01)
"""Prior shares of members at which a positive predictive value is stated."""


@dataclass(frozen=True)
class AttackMetrics:
    """Metrics of one attack on one canary group at one release level. `scores`, `member`: canary × shadow; NaN scores are not
    applicable."""

    terms: Terms
    attack: Tried
    answers: Answers
    scores: np.ndarray
    member: np.ndarray
    resamples: Resamples
    conditions: Conditions
    refit: Callable[[np.ndarray], np.ndarray] | None = None
    """Canaries to keep (bool) → their scores with the attack fitted on them alone; None where canaries share no fit, and under
    `balanced` membership."""

    @cached_property
    def scored(self) -> np.ndarray:
        """canary × shadow, bool: where there is a score. Under bernoulli membership a target may have too few shadows for a
        canary."""
        return ~np.isnan(self.scores)

    @cached_property
    def steps(self) -> Steps:
        """The ROC's steps over all scores that are not NaN; ValueError where all are NaN, here and in all that is read from it."""
        return Steps.of(self.scores[self.scored], self.member[self.scored])

    @cached_property
    def drawn(self) -> Drawn[Readings]:
        """The TPRs at the FPRs of `terms`, AUC and balanced accuracy on the resamples, with the further readings that intervals
        need (`bootstrap.Drawn`). ValueError where all scores are NaN."""
        return self._drawn(self.terms.fpr, self.scored, self.strict)

    def _drawn(self, fprs: Sequence[float], there: np.ndarray, strict: bool) -> Drawn[Readings]:
        """Readings of the scores that count (`there`) on the resamples and, where there are refits (`_refitted`), without each of
        their blocks. ValueError where no score counts."""

        def read(part: Resamples) -> Readings:
            return read_resamples(self.scores, self.member, fprs, part, there, strict)

        anew = [
            read_resamples(scores, self.member[kept], fprs, Resamples(np.ones((1, kept.sum()), np.int64)), counted, strict)
            for kept, scores in self._refitted
            if (counted := there[kept] & ~np.isnan(scores)).any()
        ]
        if not anew:
            return Drawn.of(read, self.resamples)
        before = read(Resamples(np.stack([kept for kept, _ in self._refitted]).astype(np.int64)))
        return Drawn.of(read, self.resamples, (Readings.join(anew), before))

    @cached_property
    def _refitted(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each block of canaries: the canaries outside it (bool), and their scores with the attack fitted on them; [] without
        `refit`, and where distinct canaries are fewer than two or more than `MOST_REFITTED`."""
        units = self.resamples.units
        if self.refit is None or not 2 <= units <= MOST_REFITTED:
            return []
        block = numpy_generator(0, None, "audit/refits").permutation(units) % min(BLOCKS, units)
        of = block if self.resamples.same is None else block[self.resamples.same]
        return [(kept, self.refit(kept)) for kept in (of != one for one in range(block.max() + 1))]

    def _spread(self, drawn: Drawn[Readings], fpr: float) -> Drawn[np.ndarray]:
        return drawn.spread(lambda read: read.tpr[fpr])

    def uncertain(self, fpr: float) -> Uncertainty | None:
        """The TPR at an FPR, with its uncertainty; None where it cannot be read, or in fewer than half of the resamples. KeyError
        for an FPR that is not in `terms.fpr`."""
        return uncertainty(self.reading(fpr).value, self._spread(self.drawn, fpr), self.resamples)

    @property
    def strict(self) -> bool:
        """Whether a rate has to stay below the FPR, as in published code (`strict_fpr` in the attack's `compat`)."""
        return "strict_fpr" in self.attack.compat

    @cached_property
    def bounds(self) -> dict[str, Bound]:
        """Name → epsilon lower bound, or without value and with the reason why none may be stated: see `lower_bounds`."""
        return lower_bounds(self.terms, self.conditions, self.scores, self.member)

    def reading(self, fpr: float) -> RateReading:
        """The TPR at `fpr` by the count rule, strict if the attack's `compat` has `strict_fpr`."""
        return self.steps.reading(fpr, self.strict)

    def metrics(self) -> Iterator[Metric]:
        """TPR at every FPR, AUC, balanced accuracy, epsilon lower bounds; nothing where no score is applicable. Figures that cannot
        be read or stated are yielded without a value; the bounds have no interval, nor AUC and accuracy where all scores are
        equal."""
        if not self.scored.any():
            return
        n = int(self.scored.sum())
        for fpr in self.terms.fpr:
            yield self._tpr(tpr_name(fpr), self.reading(fpr), self._spread(self.drawn, fpr))
        balanced = balanced_accuracy(self.scores[self.scored], self.member[self.scored])
        for name, value in (("auc", self.steps.area()), ("balanced_accuracy", balanced)):
            told_apart = len(self.steps.true) > 2
            around = self.interval(value, self.drawn.spread(attrgetter(name)), scale=AREA) if told_apart else None
            yield self.metric(name, value, around, n, "" if told_apart else "all scores are equal")
        for name, bound in self.bounds.items():
            yield self.metric(f"epsilon_lower_{name}", bound.value, None, bound.n, bound.note)

    def interval(
        self, value: float | None, spread: Drawn[np.ndarray], canaries: int | None = None, scale: Scale = SHARE
    ) -> tuple[float, float] | None:
        """Confidence interval of a figure at `terms.confidence`, see `uncertainty`; None where `value` is None or not finite, or
        fewer than half of the resamples give it. `canaries`: number of canaries behind it, if not all."""
        found = uncertainty(value, spread, self.resamples, scale, canaries)
        return None if found is None else found.interval(self.terms.confidence)

    def _tpr(self, name: str, reading: RateReading, spread: Drawn[np.ndarray], canaries: int | None = None) -> Metric:
        """The metric of a TPR with its interval; without a value where the reading has none, or more than half of the resamples
        cannot resolve it. `n` is the number of non-members. `canaries`: see `interval`."""
        around = self.interval(reading.value, spread, canaries)
        note = "; ".join(filter(None, [reading.note, self._one_shadow_warning(reading)]))
        if reading.value is not None and around is None:
            return self.metric(name, None, None, reading.non_members, "; ".join(["not resolvable in most resamples", note]))
        return self.metric(name, reading.value, around, reading.non_members, note)

    def headline(self) -> Iterator[Metric]:
        """`headline`, the declared leakage: the TPR at the headline's FPR; `headline_fpr`, the FPR at which it was read;
        `headline_by_lot`, the TPR if ties are broken at random, which has a value also where ties prevent the reading."""
        fpr = self.terms.headline_fpr
        reading = self.reading(fpr)
        yield self._tpr("headline", reading, self._spread(self.drawn, fpr))
        how = f"of the headline, declared at {fpr:g}"
        yield self.metric("headline_fpr", reading.realised_fpr, None, reading.non_members, how)
        yield self.metric("headline_by_lot", reading.by_lot, None, reading.non_members, reading.note or how)

    def _false_positives(self, reading: RateReading) -> np.ndarray:
        """canary × shadow, bool: non-members at or above the reading's threshold; none without one."""
        bar = np.nan if reading.threshold is None else reading.threshold  # no score is at or above NaN
        return self.scored & ~self.member & (self.scores >= bar)

    def _one_shadow_warning(self, reading: RateReading) -> str:
        """A warning where more than half of the false positives, of at least four, are one model's; "" otherwise."""
        by_shadow = self._false_positives(reading).sum(0)
        most = int(by_shadow.argmax())
        if reading.false_positives < 4 or 2 * by_shadow[most] <= reading.false_positives:
            return ""
        return f"{by_shadow[most]} of {reading.false_positives} false positives are of shadow {most}"

    def readings(self) -> Iterator[dict[str, Any]]:
        """As JSON, for each FPR: the TPR, also by lot, with the counts, threshold and rule behind it; nothing where no score is
        applicable."""
        for fpr in self.terms.fpr if self.scored.any() else ():
            reading, false = self.reading(fpr), self._false_positives(self.reading(fpr))
            yield self._column | {
                "fpr": fpr,
                "tpr": reading.value,
                "by_lot": reading.by_lot,
                "members": reading.members,
                "non_members": reading.non_members,
                "allowed": reading.allowed,
                "false_positives": reading.false_positives,
                "false_positive_canaries": int(false.any(1).sum()),
                "false_positive_shadows": int(false.any(0).sum()),
                "threshold": none_if_infinite(reading.threshold),
                "rule": reading.rule,
            }

    def fits(self) -> Iterator[dict[str, Any]]:
        """As JSON, for each TPR and the AUC: the variance that refitting adds, on the scale SHARE or AREA; nothing where `refit` is
        None. It is 0 where it cannot be measured, as with more than MOST_REFITTED canaries. ValueError where all scores are NaN.
        Claims read it, since they cannot refit the attack."""
        spreads = {tpr_name(fpr): (self._spread(self.drawn, fpr), SHARE) for fpr in self.terms.fpr}
        spreads["auc"] = self.drawn.spread(attrgetter("auc")), AREA
        for name, (spread, scale) in spreads.items() if self.refit is not None else ():
            added = variance_of_fits(spread, scale, self.resamples.units)
            yield self._column | {"metric": name, "variance": added}

    @property
    def _column(self) -> dict[str, Any]:
        """Release level, attack, variant and canary group, as JSON."""
        attack, answers = self.attack, self.answers
        names = {"release": answers.release, "attack": attack.attack, "variant": attack.variant_name}
        return names | {"canaries": answers.group.name}

    def strata(self, parts: Mapping[str, np.ndarray]) -> Iterator[Metric]:
        """For each part (name → canary × shadow, bool) the metric `tpr@fpr=…,<name>`: the TPR of its members at the headline's FPR,
        against all non-members. `n`: number of these members; 0, and no value, for a part without scored members, or where no
        non-member is scored."""
        fpr = self.terms.headline_fpr
        for name, kept in parts.items():
            there = self.scored & (~self.member | kept)
            members = int((there & self.member).sum())
            if members == 0 or not (there & ~self.member).any():
                yield self.metric(f"{tpr_name(fpr)},{name}", None, None, 0, f"no member is {name.replace('_', ' ')}")
                continue
            reading = tpr_at(fpr, self.scores[there], self.member[there], self.strict)
            spread = self._spread(self._drawn((fpr,), there, self.strict), fpr)
            canaries = int((there & self.member).any(1).sum())  # distinct canaries, however many of their members count
            figure = self._tpr(f"{tpr_name(fpr)},{name}", reading, spread, canaries)
            yield replace(figure, n=members)

    def deployed(self) -> Iterator[Metric]:
        """`realised_tpr`, `realised_fpr` and, at each prior, PPV with thresholds that are read from each target's shadows alone, by
        the rule that is not strict (`deployed.shadow_only`); nothing where the headline's TPR is not resolvable. A PPV has no value
        where no sample is called a member."""
        fpr, paired = self.terms.headline_fpr, self.terms.paired
        if self.reading(fpr).value is None:
            return
        found = shadow_only(self.scores, self.member, fpr, paired)
        drawn = Drawn.of(lambda part: shadow_only(self.scores, self.member, fpr, paired, part), self.resamples)
        how, n = f"thresholds from shadows only, at a declared FPR of {fpr:g}", self.reading(fpr).non_members
        for name in ("tpr", "fpr"):
            value = float(getattr(found, name)[0])
            yield self.metric(f"realised_{name}", value, self.interval(value, drawn.spread(attrgetter(name))), n, how)
        for prior in PRIORS:
            value = float(found.ppv(prior)[0])
            if np.isfinite(value):
                around = self.interval(value, drawn.spread(methodcaller("ppv", prior)))
                yield self.metric(f"ppv@prior={prior:g}", value, around, n, how)
            else:
                yield self.metric(f"ppv@prior={prior:g}", None, None, n, f"nobody is called a member; {how}")

    def null_control(self, score: Score) -> Control:
        """The null control of the attack: see `statistics.null`. `score`: function from membership to scores. An attack that is
        `fitted` to data (label-only, quantile) gets a tenth of the redraws, at least ten. A redraw without scores has AUC 0.5."""
        redraws = max(10, self.terms.redraws // 10) if self.attack.fitted else self.terms.redraws
        purpose = self.terms.null_purpose.format(
            group=self.answers.group.name, attack=self.attack.attack, variant=self.attack.variant_name
        )
        rng = numpy_generator(self.terms.seed, None, purpose)
        fpr, alarmed = self.terms.headline_fpr, alarm(self.terms, self.conditions)

        def read(scores: np.ndarray, member: np.ndarray) -> tuple[float, float, float]:
            there = ~np.isnan(scores)
            if not there.any():
                return 0.5, np.nan, np.nan
            steps = Steps.of(scores[there], member[there])
            area, tpr = steps.area(), steps.reading(fpr, self.strict).value
            return 0.5 if area is None else area, np.nan if tpr is None else tpr, alarmed(scores, member)

        reading = self.reading(fpr)
        tpr = None if reading.value is None else (reading.allowed + 1) / (reading.non_members + 1)
        expected = Expected(tpr, reading.members, self.terms.error)
        return run_null_control(score, read, self.member, self.terms.design, redraws, rng, expected, self.resamples.same)

    def null_metrics(self, made: Control) -> Iterator[Metric]:
        """Figures of the null control `made`, with n the number of redraws: `null_auc` and `null_tpr@fpr=…`, their means and
        central intervals; `null_epsilon_share`, the share with an epsilon bound above zero; `permutation_p`, of the TPR, or of the
        AUC as `Control.p_value` states (its note says which). TPR and share are left out unless every redraw has one."""
        verdict = "" if made.passed else f"null control failed, the trial is invalid: {', '.join(made.complaints())}"
        # Intervals are the central intervals of the redraws.
        confidence, redraws, reading = self.terms.confidence, len(made.auc), self.reading(self.terms.headline_fpr)
        yield self.metric("null_auc", float(made.auc.mean()), central(made.auc, confidence), redraws, verdict)
        if np.isfinite(made.alarm).all():
            yield self.metric("null_epsilon_share", float(made.alarm.mean()), None, redraws, "redraws with a bound above zero")
        if np.isfinite(made.tpr).all():
            around = central(made.tpr, confidence)
            yield self.metric(f"null_{tpr_name(reading.fpr)}", float(made.tpr.mean()), around, redraws)
        p, what = made.p_value(reading.value, self.steps.area())
        yield self.metric("permutation_p", p, None, redraws, f"of the TPR at {reading.fpr:g}" if what == "TPR" else "of the AUC")

    def roc(self, banded: bool) -> np.ndarray:
        """points × 4: FPR, TPR, and low and high end of the pointwise interval of the TPR: at up to BAND_POINTS of the points if
        `banded`, NaN at all others. At most 300 points (`roc_points`)."""
        points = roc_points(self.scores[self.scored], self.member[self.scored])
        band = np.full_like(points, np.nan)
        if banded:
            rates = np.unique(np.geomspace(2 / max((~self.member[self.scored]).sum(), 2), 1.0, BAND_POINTS).round(9))
            drawn = self._drawn(rates.tolist(), self.scored, strict=False)
            for rate in rates.tolist():
                place = np.searchsorted(points[:, 0], rate + 1e-9, side="right") - 1
                bounds = self.interval(float(points[place, 1]), self._spread(drawn, rate))
                if bounds is not None:
                    band[place] = bounds
        return np.concatenate([points, band], axis=1)

    def risk(self) -> np.ndarray:
        """canary × 4, with the threshold of the headline's FPR: see `risk.of_canaries`."""
        return risk.of_canaries(self.scores, self.member, self.reading(self.terms.headline_fpr).threshold)

    def stability(self) -> Metric:
        """`risk_overlap`: Jaccard overlap of the most exposed canaries between random halves of the shadows (`risk.overlap`), mean
        over splits, with the central interval of the splits; n: number of splits."""
        rng = numpy_generator(self.terms.seed, None, f"risk/{self.answers.group.name}")
        bar = self.reading(self.terms.headline_fpr).threshold
        top, found = risk.overlap(self.scores, self.member, bar, self.terms.paired, rng)
        chance = top / (2 * len(self.scores) - top)
        note = f"Jaccard overlap of the {top} canaries of most risk between halves of the shadows; by chance {chance:.2f}"
        return self.metric("risk_overlap", float(found.mean()), central(found, self.terms.confidence), len(found), note)

    def metric(self, name: str, value: float | None, bounds: tuple[float, float] | None, n: int, note: str = "") -> Metric:
        """A metric with this attack's coordinates: canary group, attack, variant, release level."""
        low, high = bounds if bounds is not None else (None, None)
        attack = self.attack
        return Metric(
            name, value, low, high, n, note, self.answers.group.name, attack.attack, attack.variant_name, self.answers.release
        )


def tpr_name(fpr: float) -> str:
    """Name of the metric: `tpr@fpr=0.01`."""
    return f"tpr@fpr={fpr:g}"
