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
        """canary: the label that each is scored against."""
        return self.group.labels.numpy()

    def signal(self, name: str, queries: int) -> np.ndarray | None:
        """canary × view × shadow: the signal of that name on the first `queries` views; `given_signal`, unchanged, where there is
        one; None with neither logits nor a given signal. ValueError for a logit that is not finite, or gives a signal that is
        not; a given signal is not checked."""
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
        """z sample × view × shadow: the signal of that name on the first `queries` views of the z pool; None without logits of a z
        pool. ValueError for a logit that is not finite."""
        if self.z_logits is None:
            return None
        return signals.by_shadow(signals.SIGNALS[name], self.z_logits[:, :queries], self.group.z_labels.numpy())

    @cached_property
    def _signals(self) -> dict[tuple[str, int], np.ndarray]:
        return {}

    def measure(self, name: str) -> np.ndarray | None:
        """canary × 1 × shadow: the signal of that name in `measured`; None where it has none. ValueError for one that is not
        finite."""
        values = (self.measured or {}).get(name)
        return None if values is None else check_finite(values[:, None, :])


def check_finite(signal: np.ndarray) -> np.ndarray:
    """The signal itself (canary × view × shadow); ValueError with the index of the first NaN or infinity.

    A value that is not finite would make all scores of its canary NaN, and NaN scores are left out.
    """
    if not np.isfinite(signal).all():
        canary, view, shadow = (int(index) for index in np.argwhere(~np.isfinite(signal))[0])
        value = f"{signal[canary, view, shadow]} for view {view} of canary {canary}"
        raise ValueError(f"shadow {shadow} gives {value}; a model that gives no number cannot be scored")
    return signal
