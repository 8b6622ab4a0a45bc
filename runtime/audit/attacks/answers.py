"""What one release level said about one canary group: the input of every attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from compiler.language.audit import (
    ReleaseLevel,
)
from runtime.data.population.roles import Group

Score = Callable[[np.ndarray], np.ndarray]
"""Membership (canary × shadow) → scores (canary × shadow): an attack on one group with everything else fixed."""


@dataclass(frozen=True)
class Answers:
    """What the shadows of one release level said about one canary group."""

    release: ReleaseLevel
    group: Group
    logits: np.ndarray | None = None
    """canary × view × shadow × class."""
    z_logits: np.ndarray | None = None
    measured: Mapping[str, np.ndarray] | None = None
    """Signals that a set or a generator gave: name → canary × shadow."""
