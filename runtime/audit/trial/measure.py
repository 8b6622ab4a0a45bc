"""One attack on all canary groups at one release level, and what is kept of many. Trials and files from outside go this way alike.

Not here: the attacks (`attacks`), how their scores are read (`metrics`), where answers and membership come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.language.attacks.base import ReleaseLevel, Tried
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers
from runtime.audit.attacks.dispatch import scorer_of
from runtime.audit.attacks.lira import Likelihood
from runtime.audit.statistics.bootstrap import Resamples
from runtime.audit.statistics.null import Control
from runtime.audit.trial.metrics import AttackMetrics
from runtime.audit.trial.risk import memorization
from runtime.audit.trial.terms import Conditions, Terms
from runtime.data.population.roles import Group
from runtime.outcome import Metric

NULL_FAILED = "null control failed"


@dataclass(frozen=True)
class Scope:
    """What all attacks of one audit share."""

    terms: Terms
    member: np.ndarray
    """canary × shadow, bool: all groups, one after the other."""
    spans: Mapping[str, slice]
    """Where each group's canaries lie among all."""
    resamples: Callable[[Tried, Group], Resamples]
    conditions: Callable[[Tried, Group], Conditions]
    headline: tuple[Tried | None, ReleaseLevel]
    """The declared attack and its release level."""


@dataclass(frozen=True)
class GroupResult:
    """One attack on one canary group."""

    measured: AttackMetrics
    control: Control
    floored: int | None
    """Degenerate fits of a likelihood ratio; None for other attacks."""

    @property
    def group(self) -> Group:
        return self.measured.answers.group

    def metrics(self) -> Iterator[Metric]:
        yield from self.measured.metrics()
        if self.floored:
            scores = self.measured.member.size
            yield self.measured.metric("floored_fits", float(self.floored), None, scores, "shadows that all but agree")
        yield from self.measured.null_metrics(self.control)

    def flags(self) -> list[str]:
        attack = self.measured.attack
        column = f"{self.measured.answers.release} {attack.attack} {attack.variant_name} {self.group.name}"
        return [f"{NULL_FAILED}: {column}, {complaint}" for complaint in self.control.complaints()]


@dataclass(frozen=True)
class AttackResult:
    """One attack at one release level."""

    attack: Tried
    release: ReleaseLevel
    scores: np.ndarray
    """canary × shadow; NaN where it does not apply."""
    groups: tuple[GroupResult, ...]
    """Those that it applies to; at least one."""


def measure_attack(attack: Tried, answers: Sequence[Answers], scope: Scope) -> AttackResult | None:
    """The attack on every group whose answers (of one release level) it applies to; None where there is none."""
    scores = np.full(scope.member.shape, np.nan)
    groups = []
    for of_group in answers:
        score = scorer_of(attack, of_group, scope.terms.paired)
        if score is None:
            continue
        group, span = of_group.group, scope.spans[of_group.group.name]
        member = scope.member[span]
        scores[span] = score(member)
        resamples, conditions = scope.resamples(attack, group), scope.conditions(attack, group)
        measured = AttackMetrics(scope.terms, attack, of_group, scores[span], member, resamples, conditions)
        if measured.there.any():
            floored = score.floored(member) if isinstance(score, Likelihood) else None
            groups.append(GroupResult(measured, measured.null_control(score), floored))
    return AttackResult(attack, answers[0].release, scores, tuple(groups)) if groups else None


@dataclass
class Kept:
    """What is kept of the attacks on one audit: files, rows, and JSON beside them. Grows attack by attack."""

    scope: Scope
    most_scores: float
    """Where all attacks give more scores together, only the metrics of the later ones are kept."""
    scores: dict[str, Tensor]
    roc: dict[str, Tensor] = field(default_factory=dict)
    risk: dict[str, Tensor] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    columns: list[dict[str, str]] = field(default_factory=list)
    readings: list[dict[str, Any]] = field(default_factory=list)
    headline_column: int | None = None

    @classmethod
    def of(cls, scope: Scope, most_scores: float = np.inf) -> Kept:
        return cls(scope, most_scores, {"member": torch.from_numpy(scope.member.astype(np.uint8))})

    def add(self, result: AttackResult) -> None:
        """Of the result itself nothing is held on to."""
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
        self.risk[key] = torch.from_numpy(risk)


def describe_canaries(groups: Sequence[Group], answers: Sequence[Answers], scope: Scope) -> dict[str, Tensor]:
    """File `canaries`, canary by canary. `answers`: of the final model; what it memorises is read from their plain view."""
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
    return [{"name": group.name, "kind": group.kind, "count": len(group)} for group in groups]
