"""The input of every attack: responses of all shadows, at one release level, to one canary group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compiler.language.attacks.base import ReleaseLevel
from runtime.audit.attacks import signals
from runtime.data.population.roles import Group

Score = Callable[[np.ndarray], np.ndarray]
"""Membership (canary × shadow, bool) → scores (canary × shadow): an attack on one group with everything else fixed, so that it runs
on the true membership and on redrawn ones alike. HIGHER MEANS MEMBER; NaN where too few shadows are left to fit on."""


@dataclass(frozen=True)
class Answers:
    """Responses of all shadows, at one release level, to the samples of one canary group."""

    release: ReleaseLevel
    group: Group
    logits: np.ndarray | None = None
    """canary × view × shadow × class."""
    z_logits: np.ndarray | None = None
    """z sample × view × shadow × class."""
    measured: Mapping[str, np.ndarray] | None = None
    """Signals read from a synthetic set or a generator: name → canary × shadow."""
    given_signal: np.ndarray | None = None
    """canary × view × shadow: a signal in place of logits, from files that users bring; it is used under every signal's name."""

    @property
    def labels(self) -> np.ndarray:
        """canary, int64: the label that each is scored against; -1 in files of a signal or of scores, which have no labels. Shares
        memory with the group's tensor."""
        return self.group.labels.numpy()

    def signal(self, name: str, queries: int) -> np.ndarray | None:
        """canary × view × shadow: `given_signal`, unchanged and not checked, where there is one; else the signal `name`, float64
        and higher for members, on the first `queries` views of the logits (all views if there are fewer), cached; None with
        neither. ValueError where a logit of these views, or the signal, is not finite; KeyError for a name not in
        `signals.SIGNALS`."""
        if self.given_signal is not None:
            return self.given_signal
        if self.logits is None:
            return None
        key = name, queries  # several attacks read the same one
        if key not in self._signals:
            found = signals.by_shadow(signals.SIGNALS[name], self.logits[:, :queries], self.labels)
            self._signals[key] = check_finite(found)
        return self._signals[key]

    def z_signal(self, name: str, queries: int) -> np.ndarray | None:
        """z sample × view × shadow, float64, not cached: the signal `name` on the first `queries` views of the z pool (all views if
        there are fewer); None without logits of a z pool. ValueError where a logit of these views is not finite, KeyError for a
        name not in `signals.SIGNALS`; the signal itself is not checked."""
        if self.z_logits is None:
            return None
        return signals.by_shadow(signals.SIGNALS[name], self.z_logits[:, :queries], self.group.z_labels.numpy())

    @cached_property
    def _signals(self) -> dict[tuple[str, int], np.ndarray]:
        return {}

    def measure(self, name: str) -> np.ndarray | None:
        """canary × 1 × shadow, a view: the array `name` of `measured`; None where `measured` is None or has no such array.
        ValueError where a value is not finite."""
        values = (self.measured or {}).get(name)
        return None if values is None else check_finite(values[:, None, :])


def check_finite(signal: np.ndarray) -> np.ndarray:
    """The signal itself (canary × view × shadow); ValueError with the index of the first NaN or infinity.

    A value that is not finite would make scores NaN, and NaN scores are left out of all figures.
    """
    if not np.isfinite(signal).all():
        canary, view, shadow = (int(index) for index in np.argwhere(~np.isfinite(signal))[0])
        value = f"{signal[canary, view, shadow]} for view {view} of canary {canary}"
        raise ValueError(f"shadow {shadow} gives {value}; a model that gives no number cannot be scored")
    return signal
