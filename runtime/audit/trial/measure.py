"""Runs one attack on all canary groups at one release level, and collects what an artifact holds of all attacks. Trials and users'
files share this code.

Not here: the attacks (`attacks`), metrics of their scores (`metrics`), where answers and membership come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from compiler.language.attacks.base import ReleaseLevel, Tried
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.dispatch import scorer_of
from runtime.audit.attacks.lira import Likelihood
from runtime.audit.statistics.bootstrap import Resamples
from runtime.audit.statistics.null import Control, central, redraw
from runtime.audit.statistics.roc import auc
from runtime.audit.trial.doubts import (
    HARDLY_EVER,
    STANDARD_ERRORS,
    Doubt,
    doubt_of_labels,
    doubts_of_answers,
    doubts_of_membership,
    doubts_of_scores,
    equal_models,
)
from runtime.audit.trial.metrics import AttackMetrics
from runtime.audit.trial.risk import memorization
from runtime.audit.trial.terms import Conditions, Terms
from runtime.data.population.roles import Group
from runtime.outcome import Metric
from runtime.seeds import numpy_generator

NULL_FAILED = "null control failed"
NOT_TRUSTED = "not to be trusted"


def flag_of(doubt: Doubt) -> str:
    """The doubt as a flag: `not to be trusted: …` if it is grave, else `doubtful: …`."""
    return f"{NOT_TRUSTED}: {doubt.text}" if doubt.grave else f"doubtful: {doubt.text}"


def is_trusted(flags: Iterable[str]) -> bool:
    """False if a flag marks the figures as invalid: it starts with NULL_FAILED or NOT_TRUSTED."""
    return not any(flag.startswith((NULL_FAILED, NOT_TRUSTED)) for flag in flags)


@dataclass(frozen=True)
class Scope:
    """What all attacks of one audit have in common: terms, membership, groups, resamples, conditions of bounds, headline."""

    terms: Terms
    member: np.ndarray
    """canary × shadow, bool; the groups one after the other."""
    spans: Mapping[str, slice]
    """Group → rows of its canaries among all."""
    resamples: Callable[[Tried, Group], Resamples]
    conditions: Callable[[Tried, Group], Conditions]
    headline: tuple[Tried | None, ReleaseLevel]
    """The declared attack, None where there is none, and its release level."""
    one_model: frozenset[ReleaseLevel] = frozenset()
    """Release levels at which all shadows have the same model by design (an untuned base): equal answers raise no doubt there."""

    @cached_property
    def targets(self) -> np.ndarray:
        """shadow, bool: models that were trained on some samples and not on others. A model trained on none (or all) is a reference
        and no target, since to know that is to know membership; so is one trained on hardly any (or on nearly all), compared with
        the others (`_hardly_any`). True for all where no model would be a target."""
        some = ~_hardly_any(self.member) & ~_hardly_any(~self.member)
        return some if some.any() else np.ones_like(some)


def _hardly_any(member: np.ndarray) -> np.ndarray:
    """shadow, bool: models that hold no sample; and those that hold less than a tenth of the largest number, those of models with
    all samples apart, and so few that a binomial draw with the largest share (at most one half) gives no more with a probability
    below HARDLY_EVER. member: sample × shadow, bool."""
    count, samples = member.sum(0), len(member)
    most = count[count < samples].max(initial=0)
    by_coins = binom.cdf(count, samples, min(most / samples, 0.5))
    return np.asarray((count == 0) | ((10 * count < most) & (by_coins < HARDLY_EVER)))


@dataclass(frozen=True)
class GroupResult:
    """One attack's metrics and null control on one canary group."""

    measured: AttackMetrics
    control: Control
    floored: tuple[int, int]
    """Number of likelihood-ratio fits whose variance is at its floor, and number of all fits; (0, 0) for other attacks, and at
    release levels of `Scope.one_model`."""

    @property
    def group(self) -> Group:
        return self.measured.answers.group

    def metrics(self) -> Iterator[Metric]:
        """Metrics of the scores and of the null control, and the number of floored fits if there are any."""
        yield from self.measured.metrics()
        if self.floored[0]:
            yield self.measured.metric("floored_fits", float(self.floored[0]), None, self.floored[1], "shadows that all but agree")
        yield from self.measured.null_metrics(self.control)

    @property
    def doubts(self) -> list[Doubt]:
        """Doubts about the data that the scores raise (`doubts_of_scores`), before them a grave one where more than half of the
        fits are floored."""
        some, every = self.floored
        found = (
            [Doubt(f"in {some} of {every} fits the shadows give all but equal answers: are they one model?")]
            if some * 2 > every
            else []
        )
        measured = self.measured
        return [*found, *doubts_of_scores(measured.scores, measured.member, self.control.auc, measured.steps.area())]

    def flags(self) -> list[str]:
        """Complaints of the null control and doubts that the scores raise, each with the attack's coordinates."""
        attack = self.measured.attack
        column = f"{self.measured.answers.release} {attack.attack} {attack.variant_name} {self.group.name}"
        return [
            *(f"{NULL_FAILED}: {column}, {complaint}" for complaint in self.control.complaints()),
            *(f"{flag_of(doubt)} ({column})" for doubt in self.doubts),
        ]


@dataclass(frozen=True)
class AttackResult:
    """One attack at one release level."""

    attack: Tried
    release: ReleaseLevel
    scores: np.ndarray
    """canary × shadow; NaN where it does not apply."""
    groups: tuple[GroupResult, ...]
    """Groups that the attack applies to; at least one."""


def measure_attack(attack: Tried, answers: Sequence[Answers], scope: Scope) -> AttackResult | None:
    """The attack's result on all groups that it applies to and gives scores for; None where there is no such group. Scores of
    shadows that are not in `scope.targets` are NaN. `answers`: of one release level. ValueError for a logit or signal that is not
    finite, and for a plug-in without a scorer or with scores of a wrong shape or infinite; ImportError without its module."""
    scores = np.full(scope.member.shape, np.nan)
    groups = []
    for of_group in answers:
        score = scorer_of(attack, of_group, scope.terms.paired)
        if score is None:
            continue
        group, span = of_group.group, scope.spans[of_group.group.name]
        member = scope.member[span]
        scores[span] = _of_targets(score, scope)(member)
        resamples, conditions = scope.resamples(attack, group), scope.conditions(attack, group)
        refit = _refit(score, scope, member) if isinstance(score, Likelihood) else None
        measured = AttackMetrics(scope.terms, attack, of_group, scores[span], member, resamples, conditions, refit)
        if measured.scored.any():
            one_model = of_group.release in scope.one_model
            floored = score.floored(member) if isinstance(score, Likelihood) and not one_model else (0, 0)
            groups.append(GroupResult(measured, measured.null_control(_of_targets(score, scope)), floored))
    return AttackResult(attack, answers[0].release, scores, tuple(groups)) if groups else None


def _refit(score: Likelihood, scope: Scope, member: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """The function that `AttackMetrics.refit` describes. None where canaries share no fit, and under `balanced` membership, where
    the models left out with each target are drawn anew for other canaries."""
    if not score.shares_fits or scope.terms.design == "balanced":
        return None
    return lambda kept: _of_targets(score.of(kept), scope)(member[kept])


def _of_targets(score: Score, scope: Scope) -> Score:
    """The attack with NaN in the columns of models that are no targets."""
    return lambda member: np.where(scope.targets, score(member), np.nan)


def doubts_about(answers: Sequence[Answers], scope: Scope, same: np.ndarray | None = None) -> Iterator[Doubt]:
    """Doubts about membership, and about the answers (logits or a given signal) on each group; where models give equal answers,
    that is the group's only doubt. ValueError for a logit that is not finite.

    `same`: canary, index of the distinct sample that each row is, where rows are repeated.
    """
    distinct = slice(None) if same is None else np.unique(same, return_index=True)[1]
    yield from doubts_of_membership(scope.member[distinct], scope.terms.design)
    for of_group in answers:
        member = scope.member[scope.spans[of_group.group.name]]
        said = of_group.logits if of_group.logits is not None else of_group.given_signal
        if said is None:
            continue
        raw = np.moveaxis(said, 2, -1)
        if equal := equal_models(raw):
            yield Doubt(f"{EQUAL_MODELS}: shadows {', '.join(f'{one} and {other}' for one, other in equal[:8])}")
            continue
        signal = of_group.signal("logit", 1)
        if signal is not None:
            yield from doubts_of_answers(signal[:, 0], member)
        if of_group.logits is not None and of_group.group.kind == "mislabeled":
            right = signals.by_shadow(signals.correct, of_group.logits[:, :1], of_group.labels)[:, 0] > 0
            yield from doubt_of_labels(right, member, said.shape[-1])


EQUAL_MODELS = "models that give one another's answers to the last bit"
SHAM_REDRAWS = 20
"""Memberships redrawn for the null distribution of `sham_auc`."""


def sham(attack: Tried, answers: Answers, scope: Scope) -> tuple[Metric, list[str]] | None:
    """A second null control: the attack on z samples with made-up membership that no training used, which must find nothing.

    The metric `sham_auc`, whose interval is that of redrawn memberships, and a list of one flag if it is far from their mean, else
    an empty one. None where the z pool is missing or has fewer than two samples, and where the attack does not apply to them, such
    as one that needs a z pool itself. Errors as of `measure_attack`.
    """
    if answers.z_logits is None:
        return None
    group, count = answers.group, len(answers.z_logits)
    nobody = torch.full((count,), -1)
    shams = replace(group, images=group.z_images, labels=group.z_labels, true_labels=nobody, samples=nobody, z_labels=nobody[:0])
    score = scorer_of(attack, Answers(answers.release, shams, answers.z_logits), scope.terms.paired)
    if score is None or count < 2:
        return None
    rng = numpy_generator(scope.terms.seed, None, f"sham/{group.name}")
    half = np.arange(scope.member.shape[1]) < scope.member.shape[1] // 2
    template = np.tile(half, (count, 1)) if scope.terms.design == "balanced" else rng.random((count, len(half))) < 0.5

    def area(member: np.ndarray) -> float:
        scores = score(member)
        there = ~np.isnan(scores)
        found = auc(scores[there], member[there]) if there.any() else None
        return 0.5 if found is None else found

    drawn = [area(redraw(template, scope.terms.design, rng)) for _ in range(1 + SHAM_REDRAWS)]
    value, others = drawn[0], np.array(drawn[1:])
    off = abs(value - others.mean()) > STANDARD_ERRORS * max(others.std(ddof=1), 1e-3)
    note = "z samples with a row of membership that training ignored; the bounds are where redraws lie"
    flags = [f"{NOT_TRUSTED}: sham canaries {group.name}, AUC {value:.3f} where nothing is to be found"] if off else []
    low, high = central(others, scope.terms.confidence)
    names = group.name, attack.attack, attack.variant_name, answers.release
    return Metric("sham_auc", value, low, high, count, note, *names), flags


@dataclass
class Kept:
    """Collects what the artifact holds of all attacks of an audit: tensors, metrics, flags and JSON notes."""

    scope: Scope
    most_scores: float
    """Largest number of scores that are kept, of all attacks together. Of the attacks that would exceed it, the figures are kept
    without the scores."""
    scores: dict[str, Tensor]
    """`member` (uint8), and `score/<index in columns>` for each attack whose scores are kept: canary × shadow."""
    roc: dict[str, Tensor] = field(default_factory=dict)
    """`<index in columns>/<group>` → points × 4: see `AttackMetrics.roc`."""
    risk: dict[str, Tensor] = field(default_factory=dict)
    """Index in `columns`, as text → canary × 4: see `risk.of_canaries`; NaN for groups that the attack does not apply to."""
    metrics: list[Metric] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    columns: list[dict[str, str]] = field(default_factory=list)
    readings: list[dict[str, Any]] = field(default_factory=list)
    fits: list[dict[str, Any]] = field(default_factory=list)
    headline_column: int | None = None
    """Index of the headline attack in `columns`; None unless it was added."""

    @classmethod
    def of(cls, scope: Scope, most_scores: float = np.inf) -> Kept:
        """An empty collection that holds the membership alone."""
        return cls(scope, most_scores, {"member": torch.from_numpy(scope.member.astype(np.uint8))})

    def add(self, result: AttackResult) -> None:
        """Add one attack's result: compute its figures. That of the headline attack also sets `headline_column`, and its ROC has a
        confidence band. Scores (not copied) are left out where their number times the number of attacks added, this one included,
        exceeds `most_scores`. No other part of the result is kept, so that its memory can be freed."""
        key, headline = str(len(self.columns)), (result.attack, result.release) == self.scope.headline
        if headline:
            self.headline_column = len(self.columns)
        self.columns.append({"release": result.release, "attack": result.attack.attack, "variant": result.attack.variant_name})
        if result.scores.size * len(self.columns) <= self.most_scores:
            self.scores[f"score/{key}"] = torch.from_numpy(result.scores)
        risk = np.full((len(result.scores), 4), np.nan)
        for group in result.groups:
            name = group.group.name
            self.roc[f"{key}/{name}"] = torch.from_numpy(group.measured.roc(banded=headline))
            risk[self.scope.spans[name]] = group.measured.risk()
            self.metrics += group.metrics()
            self.flags += group.flags()
            self.readings += group.measured.readings()
            self.fits += group.measured.fits()
        self.risk[key] = torch.from_numpy(risk)


def describe_canaries(groups: Sequence[Group], answers: Sequence[Answers], scope: Scope) -> dict[str, Tensor]:
    """File `canaries`: labels, true labels, sample numbers, groups (their indices) and memorization of every canary (NaN without
    logits, and where no model is with it, or none without). `answers`: of the final model; memorization is read from the first
    view. ValueError for a logit that is not finite."""
    memorized = np.full(len(scope.member), np.nan)
    for of_group in answers:
        span = scope.spans[of_group.group.name]
        if of_group.logits is not None:
            confidence = signals.by_shadow(signals.confidence, of_group.logits[:, :1], of_group.labels)[:, 0]
            memorized[span] = memorization(confidence, scope.member[span])
    return {
        "labels": torch.cat([group.labels for group in groups]),
        "true_labels": torch.cat([group.true_labels for group in groups]),
        "samples": torch.cat([group.samples for group in groups]),
        "group": torch.cat([torch.full((len(group),), index) for index, group in enumerate(groups)]),
        "memorization": torch.from_numpy(memorized),
    }


def describe_groups(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Name, kind and number of canaries of each group, as JSON."""
    return [{"name": group.name, "kind": group.kind, "count": len(group)} for group in groups]
