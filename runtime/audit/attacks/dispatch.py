"""An attack of the spec on what one release level said about one canary group: a function from membership to scores.

Everything but membership is fixed in the function, so that the same attack runs on the true membership and on redrawn ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from compiler.language.audit import (
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
from compiler.language.plugins import PluginAttack
from compiler.work.releases import levels
from runtime.audit.attacks import plugin, signals
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.label_only import label_only, vote
from runtime.audit.attacks.lira import lira, lira_offline
from runtime.audit.attacks.pool import Pool, sides
from runtime.audit.attacks.quantile import quantile
from runtime.audit.attacks.reference import calibrated, reference, threshold
from runtime.audit.attacks.rmia import rmia


def scorer_of(attack: Attack, said: Answers, paired: bool) -> Score | None:
    """The attack on one group, or None where it does not apply to this release level or to these canaries."""
    if said.release not in levels(attack):
        return None
    match attack:
        case PluginAttack():
            return plugin.scorer(attack, said, paired)
        case Nearest() | Denoising() | Selected():
            return _on_measured(attack, said.measured or {}, paired)
    if said.logits is None:
        return None
    return _on_logits(attack, said, said.logits[:, : attack.queries], paired)


def _on_measured(attack: Nearest | Denoising | Selected, measured: Mapping[str, np.ndarray], paired: bool) -> Score | None:
    name: str = attack.attack
    if isinstance(attack, Nearest):
        name = attack.space if attack.queries == 1 else f"{attack.space}/{attack.queries}q"
    if name not in measured:
        return None
    signal = measured[name][:, None, :]
    if not isinstance(attack, Selected):
        return _likelihood(signal, attack, paired)
    _check_finite(signal)
    return lambda member: measured[name]


def _on_logits(attack: Attack, said: Answers, asked: np.ndarray, paired: bool) -> Score | None:
    labels = said.group.labels.numpy()
    match attack:
        case Threshold():
            fixed = threshold(_signal(attack.signal, asked, labels))
            return lambda member: fixed
        case Reference():
            return _on_signal(_signal(attack.signal, asked, labels), reference, paired)
        case Calibrated():
            return _on_signal(_signal(attack.signal, asked, labels), calibrated, paired)
        case Lira(signal="true_label" | "contrast"):
            true_labels = said.group.true_labels.numpy()
            if (true_labels < 0).any() or (true_labels == labels).all():
                return None  # only a wrong label has a true one beside it
            beside = signals.contrast(asked, labels, true_labels)
            return _likelihood(beside if attack.signal == "contrast" else signals.logit(asked, true_labels), attack, paired)
        case Lira():
            return _likelihood(_signal(attack.signal, asked, labels), attack, paired)
        case LiraOffline():
            signal = _signal(attack.signal, asked, labels)
            return _on_signal(signal, lambda values, pool: lira_offline(values, pool, attack.variant, attack.compat), paired)
        case LabelOnly(variant="vote"):
            share = vote(signals.correct(asked, labels))
            return lambda member: share
        case LabelOnly():
            return _on_signal(signals.correct(asked, labels), label_only, paired)
    if said.z_logits is None:
        return None
    z_labels, z_asked = said.group.z_labels.numpy(), said.z_logits[:, : asked.shape[1]]
    match attack:
        case Rmia():
            read = signals.taylor_confidence if "taylor_softmax" in attack.compat else signals.confidence
            own, others = (read(logits, of, attack.temperature) for logits, of in ((asked, labels), (z_asked, z_labels)))
            online, majority, trimmed = attack.variant == "online", attack.vote == "majority", "trimmed_mean" in attack.compat

            def against(values: np.ndarray, pool: Pool) -> np.ndarray:
                return rmia(values, others, pool, online=online, gamma=attack.gamma, a=attack.a, majority=majority, trimmed=trimmed)

            return _on_signal(own, against, paired)
        case Quantile():
            z_signal = _signal(attack.signal, z_asked, z_labels)
            images, z_images = (part.flatten(1).numpy() for part in (said.group.images, said.group.z_images))
            expected = quantile(_signal(attack.signal, asked, labels), z_signal, images, z_images)
            return lambda member: expected
    return None


def _likelihood(signal: np.ndarray, attack: Lira | Nearest | Denoising, paired: bool) -> Likelihood:
    _check_finite(signal)
    return Likelihood(signal, attack, paired)


def _on_signal(signal: np.ndarray, attack: Callable[[np.ndarray, Pool], np.ndarray], paired: bool) -> Score:
    _check_finite(signal)
    return lambda member: attack(signal, Pool(member, paired))


@dataclass(frozen=True)
class Likelihood:
    """A LiRA on a signal, which can also tell how often its fits were degenerate."""

    signal: np.ndarray
    """canary × view × shadow."""
    attack: Lira | Nearest | Denoising
    paired: bool

    def __call__(self, member: np.ndarray) -> np.ndarray:
        return lira(self.signal, Pool(member, self.paired), self.attack.variant, self.attack.compat)

    def floored(self, member: np.ndarray) -> int:
        """Fits whose shadows agree so well that their spread is taken to be the least one."""
        return sum(side.floored(self.attack.variant) for side in sides(self.signal, Pool(member, self.paired)))


def _check_finite(signal: np.ndarray) -> None:
    """ValueError with the place of what is no number: it would spread to all scores of its canary, and these be dropped."""
    if not np.isfinite(signal).all():
        canary, view, shadow = (int(index) for index in np.argwhere(~np.isfinite(signal))[0])
        said = f"{signal[canary, view, shadow]} for view {view} of canary {canary}"
        raise ValueError(f"shadow {shadow} gives {said}; a model that gives no number cannot be scored")


def _signal(name: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """canary × view × shadow."""
    return signals.SIGNALS[name](logits, labels)
