"""One file from outside, audited: every attack that applies, with intervals, null controls and epsilon lower bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from compiler.errors import SynthcError
from compiler.language.audit import Design, Interval
from runtime.audit.attacks.pool import FEWEST
from runtime.audit.external.evidence import Evidence, design_of
from runtime.audit.external.file_attacks import FITTED, ON_MODELS, Manner, Score, Scorer, obstacle
from runtime.audit.external.file_bounds import AnyBound, Terms, lower_bounds
from runtime.audit.statistics.bootstrap import Resamples, interval, read_resamples
from runtime.audit.statistics.null import central, control
from runtime.audit.statistics.roc import auc, tpr_at
from runtime.seeds import numpy_generator

RESAMPLED = 2_000_000_000
"""Scores that a bootstrap may draw: 1,000 resamples up to two million scores, 100 from twenty million on."""
REDRAWN = 50_000_000
"""Signals that a null control may touch: 100 redraws up to 500,000 signals, 10 from five million on."""


@dataclass(frozen=True)
class Settings:
    """What was declared before the file was opened."""

    attacks: tuple[str, ...] = ()
    """Names; empty for all that apply."""
    fpr: tuple[str, ...] = ("0.001", "0.01", "0.1")
    """False-positive rates, as written."""
    design: str = "auto"
    manner: Manner = field(default_factory=Manner)
    terms: Terms = field(default_factory=Terms)
    resamples: int | None = None
    """Of the bootstrap; None for as many as `RESAMPLED` allows, from 100 to 1000."""
    interval: Interval = "two_way"
    """What a resample draws; two-way, as a study's headline, since any figure of a file may become one."""
    redraws: int | None = None
    """Of the null control; None for as many as `REDRAWN` allows, from 10 to 100."""


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
class Found:
    """One attack's figures."""

    auc: Estimate
    tpr: dict[str, Rate]
    null_auc: Estimate
    """Mean over redrawn memberships, and where the central share `confidence` of the redraws lies."""
    epsilon_lower: dict[str, AnyBound]
    null_passed: bool
    left_out: int
    """Scores without enough shadows to judge by."""


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
    attacks: dict[str, Found]
    skipped: dict[str, str]
    """Attacks that do not apply, each with the reason."""

    def as_json(self) -> dict[str, Any]:
        """The documented public form: finite numbers, strings, booleans and null."""
        attacks = {name: {key: _plain(getattr(found, key)) for key in JSON_KEYS} for name, found in self.attacks.items()}
        return {"n_shadows": self.n_shadows, "n_samples": self.n_samples, "attacks": attacks}


JSON_KEYS = ("auc", "tpr", "null_auc", "epsilon_lower")


def _plain(value: Any) -> Any:
    return {key: asdict(one) for key, one in value.items()} if isinstance(value, dict) else asdict(value)


Heard = Callable[[str, np.ndarray, Found], None]
"""Is told each attack's name, scores (sample × shadow) and figures, as they come."""


def audit(evidence: Evidence, settings: Settings, heard: Heard | None = None) -> Report:
    """Audit what a file says; SynthcError where what was asked for does not fit what it holds."""
    design = _checked(evidence, settings)
    wanted = settings.attacks or (("scores",) if evidence.kind == "scores" else ON_MODELS)
    skipped = {name: reason for name in wanted if (reason := obstacle(name, evidence, design))}
    if settings.attacks and skipped:
        raise SynthcError(f"--attack {next(iter(skipped))}: {next(iter(skipped.values()))}")
    scorer = Scorer.of(evidence, design == "pairs", settings.manner)
    one_way = evidence.shadows == 1 or settings.interval == "canaries"
    resamples = Resamples.draw(
        settings.resamples or max(100, min(1000, RESAMPLED // evidence.member.size)),
        evidence.samples,
        numpy_generator(0, None, "audit/bootstrap"),
        None if one_way else evidence.shadows,
        paired=design == "pairs",
    )
    found: dict[str, Found] = {}
    for name in dict.fromkeys(wanted):
        if name in skipped:
            continue
        score = scorer.attack(name)
        scores = score(evidence.member)
        sides = evidence.member[~np.isnan(scores)]
        if sides.all() or not sides.any():
            skipped[name] = f"{evidence.shadows} shadows leave too few to judge a target by: {FEWEST} with and {FEWEST} without it"
            if settings.attacks:
                raise SynthcError(f"--attack {name}: {skipped[name]}")
            continue
        found[name] = _figures(name, score, scores, scorer, resamples, design, settings)
        if heard is not None:
            heard(name, scores, found[name])
    drawn = "samples" if one_way else f"samples and {'pairs of shadows' if design == 'pairs' else 'shadows'}"
    return Report(evidence.shadows, evidence.samples, design, len(resamples), drawn, found, skipped)


def _checked(evidence: Evidence, settings: Settings) -> Design:
    """The design, after what was asked for was held against what the file holds."""
    terms, queries = settings.terms, settings.manner.queries
    if terms.one_run and evidence.kind != "scores":
        raise SynthcError(f"--one-run wants scores (1 × samples); the file holds {evidence.kind}")
    if terms.one_run and evidence.shadows != 1:
        raise SynthcError(f"--one-run wants scores of one shadow (1 × samples); the file holds {evidence.shadows} shadows")
    if terms.guesses and sum(terms.guesses) > evidence.samples:
        plus, minus = terms.guesses
        raise SynthcError(f"--guesses {plus} {minus}: more guesses than the file's {evidence.samples} samples")
    if queries is not None and queries > evidence.views:
        raise SynthcError(f"--queries {queries}: the file holds {evidence.views} views of each sample")
    return design_of(evidence, settings.design)


def _figures(
    name: str, score: Score, scores: np.ndarray, scorer: Scorer, resamples: Resamples, design: Design, settings: Settings
) -> Found:
    evidence, confidence = scorer.evidence, settings.terms.confidence
    there = ~np.isnan(scores)
    fpr = {text: float(text) for text in settings.fpr}
    draws = read_resamples(scores, evidence.member, tuple(set(fpr.values())), resamples, there)
    rates = {text: _rate(rate, scores[there], evidence.member[there], draws.tpr[rate], confidence) for text, rate in fpr.items()}
    value = auc(scores[there], evidence.member[there])
    assert value is not None  # both sides are there
    # Where most resamples hold one side only, they exclude nothing.
    low, high = interval(draws.auc, confidence) or (0.0, 1.0)

    redraws = settings.redraws or max(10, min(100, REDRAWN // scorer.signal.size))
    if name in FITTED:
        redraws = min(redraws, 10)
    made = control(score, _read, evidence.member, design, redraws, numpy_generator(0, None, f"audit/null/{name}"))
    null = Estimate(float(made.auc.mean()), *central(made.auc, confidence))
    bounds = lower_bounds(name, scores, evidence, design, settings.terms)
    return Found(Estimate(value, low, high), rates, null, bounds, made.passed, int((~there).sum()))


def _rate(fpr: float, scores: np.ndarray, member: np.ndarray, draws: np.ndarray, confidence: float) -> Rate:
    reading = tpr_at(fpr, scores, member)
    if reading.value is None:
        return Rate(None, None, None, reading.non_members, 0, None, False)
    # Where most resamples cannot resolve the rate, they exclude nothing.
    low, high = interval(draws, confidence) or (0.0, 1.0)
    bar = reading.threshold if reading.threshold is not None and math.isfinite(reading.threshold) else None
    return Rate(reading.value, low, high, reading.non_members, reading.false_positives, bar, True)


def _read(scores: np.ndarray, member: np.ndarray) -> tuple[float, float, float]:
    """AUC of one redraw; TPR and bounds are not controlled here."""
    there = ~np.isnan(scores)
    found = auc(scores[there], member[there]) if there.any() else None
    return (0.5 if found is None else found), math.nan, math.nan


def notes(report: Report) -> Iterator[str]:
    """What a reader of the table must know beside the figures."""
    for name, found in report.attacks.items():
        if not found.null_passed:
            yield f"{name}: the null control failed; its figures are not to be trusted"
        if found.left_out:
            yield f"{name}: {found.left_out:,} scores are left out: too few shadows to judge by"
    for name, reason in report.skipped.items():
        yield f"{name}: not done, {reason}"
