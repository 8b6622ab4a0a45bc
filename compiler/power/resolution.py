"""Resolution of an audit in closed form: numbers of non-members, allowed false positives, expected interval widths.

The planning standard error was found by simulation, as an upper bound (1.2 to 2.4 times the true one in nine toy worlds): its
first term counts canaries, not scores, its second is the noise of the threshold. It does not know how much shadows differ: half
widths that were then measured on digits, by a bootstrap over canaries and shadows, were 0.4 to 1.3 times the planned ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from compiler.language.audit import Audit, CanaryGroup
from compiler.power.epsilon_bounds import STANDARD_NORMAL

MIN_FALSE_POSITIVES = 10
"""With fewer allowed false positives than this a reading is coarse: a single one changes the threshold visibly."""


@dataclass(frozen=True)
class Resolution:
    """What one group of canaries can resolve at one false-positive rate, in a pool of shadows that each hold half of it."""

    group: str
    canaries: int
    fpr: float
    non_members: int
    """Number of non-member scores: half of canaries × shadows, rounded down."""
    false_positives: int
    """Number of allowed false positives: floor(fpr × non_members), in exact arithmetic."""

    @property
    def verdict(self) -> str:
        """`not resolvable` (no false positive is allowed), `coarse` (fewer than MIN_FALSE_POSITIVES are) or `resolved`."""
        if self.false_positives < 1:
            return "not resolvable"
        return "coarse" if self.false_positives < MIN_FALSE_POSITIVES else "resolved"

    def standard_error(self, tpr: float) -> float:
        """Planning bound on the standard error of a TPR whose true value is `tpr`; NaN where the FPR is not resolvable, or `tpr` is
        not between 0 and 1."""
        if self.false_positives < 1 or not 0 < tpr < 1:
            return math.nan
        z = STANDARD_NORMAL.inv_cdf(1 - self.fpr)
        d = z + STANDARD_NORMAL.inv_cdf(tpr)
        threshold = (self.fpr * math.exp(d * z - d * d / 2)) ** 2 / self.false_positives
        return math.sqrt(tpr * (1 - tpr) / self.canaries + threshold)


def resolutions(audit: Audit) -> Iterator[Resolution]:
    """The resolution of each canary group at each false-positive rate."""
    for name, group in audit.canaries.items():
        for fpr in audit.fpr:
            yield resolution(name, group, audit.shadows, fpr)


def resolution(name: str, group: CanaryGroup, shadows: int, fpr: float) -> Resolution:
    """The resolution of a group of canaries, called `name`, at one FPR in a pool of so many shadows."""
    non_members = group.count * shadows // 2
    return Resolution(name, group.count, fpr, non_members, math.floor(Fraction(str(fpr)) * non_members))
