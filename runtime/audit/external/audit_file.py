"""One file from outside, audited as a trial is: every attack that applies, with intervals, null controls and epsilon bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from compiler.errors import SynthcError
from compiler.language.audit import Design
from runtime.audit.attacks.pool import MIN_SHADOWS
from runtime.audit.external.evidence import GROUP, Evidence, answers_of, design_of
from runtime.audit.external.file_attacks import Settings, applicable, conditions
from runtime.audit.statistics.bootstrap import Resamples, interval
from runtime.audit.statistics.null import central
from runtime.audit.trial.bounds import Bound, bound_as_json
from runtime.audit.trial.measure import AttackResult, Scope, measure_attack
from runtime.audit.trial.metrics import AttackMetrics
from runtime.audit.trial.terms import Terms
from runtime.seeds import numpy_generator

SCORES_RESAMPLED = 2_000_000_000
"""Scores that a bootstrap may draw: 1,000 resamples up to two million scores, 100 from twenty million on."""
SIGNALS_REDRAWN = 50_000_000
"""Signals that a null control may touch: 100 redraws up to 500,000 signals, 10 from five million on."""
TARGET = 0
"""The shadow that one-run bounds speak about: the first, so that nobody chooses it after seeing scores."""
HEADLINE_FPR = "0.01"


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A true-positive rate read at a false-positive rate, and how finely."""

    value: float | None
    """None where n0 non-members cannot resolve the rate."""
    low: float | None
    high: float | None
    n0: int
    false_positives: int
    threshold: float | None
    """The smallest score that is called a member; None if no score is, or if it is infinite."""
    resolvable: bool


@dataclass(frozen=True)
class Summary:
    """One attack's figures."""

    auc: Estimate
    tpr: dict[str, Rate]
    null_auc: Estimate
    """Mean over redrawn memberships, and where the central share `confidence` of the redraws lies."""
    epsilon_lower: dict[str, Bound]
    null_passed: bool
    left_out: int
    """Scores without enough shadows to judge by."""

    def as_json(self) -> dict[str, Any]:
        return {
            "auc": asdict(self.auc), "tpr": {text: asdict(rate) for text, rate in self.tpr.items()},
            "null_auc": asdict(self.null_auc),
            "epsilon_lower": {name: bound_as_json(bound) for name, bound in self.epsilon_lower.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What an audit found."""

    n_shadows: int
    n_samples: int
    design: Design
    resamples: int
    """Behind every interval."""
    drawn: str
    """What these draw, in words."""
    attacks: dict[str, Summary]
    skipped: dict[str, str]
    """Attacks that do not apply, each with the reason."""

    def as_json(self) -> dict[str, Any]:
        """The documented public form: finite numbers, strings, booleans and null."""
        attacks = {name: summary.as_json() for name, summary in self.attacks.items()}
        return {"n_shadows": self.n_shadows, "n_samples": self.n_samples, "attacks": attacks}


def audit(evidence: Evidence, settings: Settings, on_result: Callable[[AttackResult], None] | None = None) -> Report:
    """Audit what a file says; SynthcError where what was asked for does not fit what it holds.

    `on_result` is called with each attack's result as it comes: together they may not fit into memory.
    """
    design = _checked_design(evidence, settings)
    attacks, skipped = applicable(evidence, settings, design)
    _refuse_if_asked(settings, skipped)
    scope, answers = scope_of(evidence, settings, design), answers_of(evidence)
    summaries: dict[str, Summary] = {}
    for attack in attacks:
        result = measure_attack(attack, [replace(answers, release=attack.reads[0])], scope)
        if result is None or _one_sided(result.groups[0].measured):
            few = f"{evidence.shadows} shadows leave too few to judge a target by: {MIN_SHADOWS} with and {MIN_SHADOWS} without it"
            skipped[attack.attack] = few
            _refuse_if_asked(settings, skipped)
            continue
        summaries[attack.attack] = _summary(result, settings)
        if on_result is not None:
            on_result(result)
    one_way = _one_way(evidence, settings)
    drawn = "samples" if one_way else f"samples and {'pairs of shadows' if design == 'pairs' else 'shadows'}"
    return Report(evidence.shadows, evidence.samples, design, _resamples(evidence, settings), drawn, summaries, skipped)


def _refuse_if_asked(settings: Settings, skipped: dict[str, str]) -> None:
    for name, reason in skipped.items() if settings.tried else ():
        raise SynthcError(f"--attack {name}: {reason}")


def scope_of(evidence: Evidence, settings: Settings, design: Design) -> Scope:
    """The audit of a file, as that of a trial with one canary group."""
    shadows = None if _one_way(evidence, settings) else evidence.shadows
    rng = numpy_generator(0, None, "audit/bootstrap")
    resamples = Resamples.draw(_resamples(evidence, settings), evidence.samples, rng, shadows, paired=design == "pairs")
    signals = evidence.member.size * min(settings.views or evidence.views, evidence.views)
    terms = Terms(
        design=design, fpr=tuple(map(float, dict.fromkeys(settings.fpr))), headline_fpr=headline_fpr(settings),
        confidence=settings.confidence, delta=settings.delta, thresholds=settings.thresholds, guesses=settings.guesses,
        target=TARGET, redraws=settings.null_permutations or max(10, min(100, SIGNALS_REDRAWN // signals)), seed=0,
        null_purpose="audit/null/{attack}",
    )  # fmt: skip
    return Scope(
        terms, evidence.member, {GROUP: slice(None)}, lambda attack, group: resamples,
        lambda attack, group: conditions(attack, evidence, design, settings), (None, "final_model"),
    )  # fmt: skip


def headline_fpr(settings: Settings) -> float:
    return float(HEADLINE_FPR if HEADLINE_FPR in settings.fpr else settings.fpr[0])


def _one_way(evidence: Evidence, settings: Settings) -> bool:
    return evidence.shadows == 1 or settings.interval == "canaries"


def _resamples(evidence: Evidence, settings: Settings) -> int:
    return settings.resamples or max(100, min(1000, SCORES_RESAMPLED // evidence.member.size))


def _checked_design(evidence: Evidence, settings: Settings) -> Design:
    """The design, after what was asked for was held against what the file holds."""
    if settings.one_run and evidence.kind != "scores":
        raise SynthcError(f"--one-run wants scores (1 × samples); the file holds {evidence.kind}")
    if settings.one_run and evidence.shadows != 1:
        raise SynthcError(f"--one-run wants scores of one shadow (1 × samples); the file holds {evidence.shadows} shadows")
    if settings.guesses and sum(settings.guesses) > evidence.samples:
        plus, minus = settings.guesses
        raise SynthcError(f"--guesses {plus} {minus}: more guesses than the file's {evidence.samples} samples")
    if settings.views is not None and settings.views > evidence.views:
        raise SynthcError(f"--queries {settings.views}: the file holds {evidence.views} views of each sample")
    return design_of(evidence, settings.membership)


def _one_sided(measured: AttackMetrics) -> bool:
    sides = measured.member[measured.there]
    return bool(sides.all() or not sides.any())


def _summary(result: AttackResult, settings: Settings) -> Summary:
    measured, control = result.groups[0].measured, result.groups[0].control
    area, confidence = measured.steps.area(), settings.confidence
    assert area is not None  # both sides are there
    return Summary(
        auc=Estimate(area, *_interval(measured.draws.auc, confidence)),
        tpr={text: _rate(measured, float(text)) for text in settings.fpr},
        null_auc=Estimate(float(control.auc.mean()), *central(control.auc, confidence)),
        epsilon_lower=measured.bounds,
        null_passed=control.passed,
        left_out=int((~measured.there).sum()),
    )


def _rate(measured: AttackMetrics, fpr: float) -> Rate:
    reading = measured.reading(fpr)
    if reading.value is None:
        return Rate(None, None, None, reading.non_members, 0, None, False)
    low, high = _interval(measured.draws.tpr[fpr], measured.terms.confidence)
    threshold = reading.threshold if reading.threshold is not None and math.isfinite(reading.threshold) else None
    return Rate(reading.value, low, high, reading.non_members, reading.false_positives, threshold, True)


def _interval(resampled: np.ndarray, confidence: float) -> tuple[float, float]:
    """Where most resamples cannot resolve the rate, or hold one side only, they exclude nothing."""
    return interval(resampled, confidence) or (0.0, 1.0)


def notes(report: Report) -> Iterator[str]:
    """What a reader of the table must know beside the figures."""
    for name, summary in report.attacks.items():
        if not summary.null_passed:
            yield f"{name}: the null control failed; its figures are not to be trusted"
        if summary.left_out:
            yield f"{name}: {summary.left_out:,} scores are left out: too few shadows to judge by"
    for name, reason in report.skipped.items():
        yield f"{name}: not done, {reason}"
