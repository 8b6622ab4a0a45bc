"""The attacks that a file from outside allows: each a function from membership to scores. LARGER MEANS MEMBER.

The attacks themselves live in `runtime.attack`; here is only which of them apply to what the file holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.language.audit import Design
from runtime.audit.attacks import signals
from runtime.audit.attacks.label_only import label_only
from runtime.audit.attacks.lira import lira, lira_offline
from runtime.audit.attacks.pool import Pool
from runtime.audit.attacks.reference import calibrated, reference, threshold
from runtime.audit.attacks.rmia import rmia
from runtime.audit.external.evidence import Evidence, given_away

Score = Callable[[np.ndarray], np.ndarray]
"""Membership (sample × shadow) → scores (sample × shadow); NaN where too few shadows are left to judge by."""

ON_SIGNALS = ("threshold", "reference", "calibrated", "lira", "lira_offline")
"""What one number per sample and shadow suffices for."""
ON_MODELS = (*ON_SIGNALS, "rmia", "label_only")
ATTACKS = (*ON_MODELS, "scores")
ONLY_IN_STUDIES = {
    "quantile": "the samples' images",
    "nearest": "a released set",
    "selected": "a released list of samples",
    "denoising": "a denoiser",
}
"""Attacks of a study that no file suffices for, and what they look at."""
FITTED = ("label_only",)
"""Attacks that fit a model per sample and target: a tenth of the redraws must do for their null control."""


@dataclass(frozen=True)
class Manner:
    """How the attacks are done; the words of a study's `attacks`."""

    signal: str = "logit"
    """Read from logits: logit or hinge."""
    variant: str = "pooled"
    """LiRA's spread: pooled, per_example, student_t."""
    queries: int | None = None
    """How many of the file's views to use, the first ones; None for all."""


def obstacle(name: str, evidence: Evidence, design: Design) -> str | None:
    """Why the attack does not apply to what the file holds or to how membership was drawn; None if it does."""
    if name == "scores":
        return None if evidence.kind == "scores" else f"the file holds {evidence.kind}, no scores"
    if evidence.kind == "scores":
        return "the file holds scores of an attack done elsewhere: only their statistics can be computed (--attack scores)"
    if name in ON_SIGNALS:
        return None
    if evidence.kind == "signal":
        return f"{name} needs logits; the file holds a signal"
    if name == "rmia" and evidence.z_logits is None:
        return "rmia needs z_logits and z_labels: samples that no shadow was trained on"
    if name == "label_only" and evidence.views < 2:
        return "label_only needs at least two views of each sample"
    if name == "label_only" and (reason := given_away(evidence.member, design)):
        return f"a learned attack would read that off: {reason}"
    return None


@dataclass(frozen=True)
class Scorer:
    """Makes the scores of attacks on one file; signals are computed once."""

    signal: np.ndarray
    """sample × view × shadow, float64; of a file of scores, these."""
    evidence: Evidence
    paired: bool
    manner: Manner

    @classmethod
    def of(cls, evidence: Evidence, paired: bool, manner: Manner) -> Scorer:
        if evidence.kind == "logits":
            signal = _per_shadow(signals.SIGNALS[manner.signal], evidence.values[:, :, : manner.queries], evidence.labels)
        else:
            signal = np.ascontiguousarray(evidence.values.T[:, None, :], dtype=np.float64)
        return cls(signal, evidence, paired, manner)

    def attack(self, name: str) -> Score:
        """The attack with everything but membership fixed."""
        signal, variant = self.signal, self.manner.variant
        match name:
            case "scores":
                return lambda member: signal[:, 0]
            case "threshold":
                fixed = threshold(signal)
                return lambda member: fixed
            case "reference":
                return lambda member: reference(signal, self._pool(member))
            case "calibrated":
                return lambda member: calibrated(signal, self._pool(member))
            case "lira":
                return lambda member: lira(signal, self._pool(member), variant)
            case "lira_offline":
                return lambda member: lira_offline(signal, self._pool(member), variant)
        logits, labels = self.evidence.values[:, :, : self.manner.queries], self.evidence.labels
        if name == "label_only":
            correct = _per_shadow(signals.correct, logits, labels)
            return lambda member: label_only(correct, self._pool(member))
        assert self.evidence.z_logits is not None
        own = _per_shadow(signals.confidence, logits, labels)
        others = _per_shadow(signals.confidence, self.evidence.z_logits[:, :, : self.manner.queries], self.evidence.z_labels)
        return lambda member: rmia(own, others, self._pool(member))

    def _pool(self, member: np.ndarray) -> Pool:
        return Pool(member, self.paired)


def _per_shadow(read: Callable[..., np.ndarray], logits: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """sample × view × shadow. One shadow at a time: the float64 copy that a signal needs is then small."""
    shadows, samples, views, _ = logits.shape
    found = np.empty((samples, views, shadows))
    for shadow in range(shadows):
        found[:, :, shadow] = read(logits[shadow], labels)
    return found
