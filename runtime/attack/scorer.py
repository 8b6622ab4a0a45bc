"""An attack of the spec on what one release level said about one canary group: a function from membership to scores.

Everything but membership is fixed in the function, so that the same attack runs on the true membership and on redrawn ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from compiler.spec.audit import (
    Attack,
    Calibrated,
    Denoising,
    LabelOnly,
    Lira,
    LiraOffline,
    Nearest,
    Quantile,
    Reference,
    Rmia,
    Selected,
    Threshold,
)
from runtime.attack import signals
from runtime.attack.label_only import label_only
from runtime.attack.lira import lira, lira_offline
from runtime.attack.pool import Pool
from runtime.attack.quantile import quantile
from runtime.attack.reference import calibrated, reference, threshold
from runtime.attack.rmia import rmia
from runtime.data.cast import Group

Score = Callable[[np.ndarray], np.ndarray]
"""Membership (canary × shadow) → scores (canary × shadow): an attack on one group with everything else fixed."""


@dataclass(frozen=True)
class Answers:
    """What the shadows of one release level said about one canary group."""

    release: str
    group: Group
    logits: np.ndarray | None = None
    """canary × view × shadow × class."""
    z_logits: np.ndarray | None = None
    measured: Mapping[str, np.ndarray] | None = None
    """Signals that a set or a generator gave: name → canary × shadow."""


def scorer_of(attack: Attack, said: Answers, paired: bool) -> Score | None:
    """The attack on one group, or None where it does not apply to this release level."""
    labels = said.group.labels.numpy()
    match attack:
        case Nearest() if said.release == "synthetic_set" and said.measured and attack.space in said.measured:
            return _on_signal(
                said.measured[attack.space][:, None, :], lambda signal, pool: lira(signal, pool, attack.variant), paired
            )
        case Denoising() if said.release == "generator" and said.measured and "denoising" in said.measured:
            return _on_signal(
                said.measured["denoising"][:, None, :], lambda signal, pool: lira(signal, pool, attack.variant), paired
            )
        case Selected() if said.release == "index_list" and said.measured and "selected" in said.measured:
            chosen = said.measured["selected"]
            return lambda member: chosen
        case Nearest() | Denoising() | Selected():
            return None
    if said.logits is None:
        return None
    views = attack.queries
    asked = said.logits[:, :views]
    match attack:
        case Threshold():
            return lambda member: threshold(_signal(attack.signal, asked, labels))
        case Reference():
            return _on_signal(_signal(attack.signal, asked, labels), reference, paired)
        case Calibrated():
            return _on_signal(_signal(attack.signal, asked, labels), calibrated, paired)
        case Lira():
            signal = _signal(attack.signal, asked, labels)
            return _on_signal(signal, lambda values, pool: lira(values, pool, attack.variant, attack.compat), paired)
        case LiraOffline():
            signal = _signal(attack.signal, asked, labels)
            return _on_signal(signal, lambda values, pool: lira_offline(values, pool, attack.variant, attack.compat), paired)
        case LabelOnly():
            return _on_signal(signals.correct(asked, labels), label_only, paired)
    z_labels = said.group.z_labels.numpy()
    if said.z_logits is None:
        return None
    z_asked = said.z_logits[:, :views]
    if isinstance(attack, Rmia):
        own = signals.confidence(asked, labels, attack.temperature)
        others = signals.confidence(z_asked, z_labels, attack.temperature)
        online = attack.variant == "online"
        return _on_signal(
            own, lambda values, pool: rmia(values, others, pool, online=online, gamma=attack.gamma, a=attack.a), paired
        )
    if isinstance(attack, Quantile):
        z_signal = _signal(attack.signal, z_asked, z_labels)
        images, z_images = (part.flatten(1).numpy() for part in (said.group.images, said.group.z_images))
        fixed = quantile(_signal(attack.signal, asked, labels), z_signal, images, z_images)
        return lambda member: fixed
    return None


def _on_signal(signal: np.ndarray, attack: Callable[[np.ndarray, Pool], np.ndarray], paired: bool) -> Score:
    return lambda member: attack(signal, Pool(member, paired))


def _signal(name: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """canary × view × shadow."""
    return signals.SIGNALS[name](logits, labels)
