"""What an audit could show, before anything runs: counts of non-members, false positives allowed, widths to expect.

The planning standard error is an upper bound, found by simulation (1.2 to 2.4 times the true one in nine toy worlds): its first
term counts canaries, not scores, its second is the noise of the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

from compiler.plan import Plan
from compiler.spec.audit import Audit, CanaryGroup

NORMAL = NormalDist()
COARSE = 10
"""Fewer allowed false positives than this make a reading coarse: one of them moves the threshold visibly."""


@dataclass(frozen=True)
class Resolution:
    """What `count` canaries in a pool of `shadows` can resolve at one false-positive rate."""

    group: str
    canaries: int
    fpr: float
    non_members: int
    """Non-member scores: half of canaries × shadows."""
    false_positives: int
    """How many of them the rate allows: floor(fpr × non_members), in exact arithmetic."""

    @property
    def verdict(self) -> str:
        if self.false_positives < 1:
            return "not resolvable"
        return "coarse" if self.false_positives < COARSE else "resolved"

    def standard_error(self, tpr: float) -> float:
        """Upper planning bound of the standard error of a true TPR of `tpr`; NaN where the rate is not resolvable."""
        if self.false_positives < 1 or not 0 < tpr < 1:
            return math.nan
        z = NORMAL.inv_cdf(1 - self.fpr)
        d = z + NORMAL.inv_cdf(tpr)
        threshold = (self.fpr * math.exp(d * z - d * d / 2)) ** 2 / self.false_positives
        return math.sqrt(tpr * (1 - tpr) / self.canaries + threshold)


def resolutions(audit: Audit) -> Iterator[Resolution]:
    """One per canary group and false-positive rate."""
    for name, group in audit.canaries.items():
        for fpr in audit.fpr:
            yield resolution(name, group, audit.shadows, fpr)


def resolution(name: str, group: CanaryGroup, shadows: int, fpr: float) -> Resolution:
    non_members = group.count * shadows // 2
    return Resolution(name, group.count, fpr, non_members, math.floor(Fraction(str(fpr)) * non_members))


def power_table(plan: Plan) -> list[str]:
    """Lines for people: one block per audit that the plan holds."""
    lines: list[str] = []
    for audit in dict.fromkeys(planned.trial.point.audit.model_dump_json() for planned in plan.trials):
        lines += _block(Audit.model_validate_json(audit, strict=False))
    return lines


def _block(audit: Audit) -> list[str]:
    heads = ("canaries", "n", "FPR", "non-members", "false positives", "", "95 % interval at TPR 5 % / 50 %")
    lines = [f"what the audit can show ({audit.shadows} shadows, each canary in half of them):"]
    lines.append("  {:<14}{:>5}{:>8}{:>13}{:>17}  {:<15}{}".format(*heads))
    for found in resolutions(audit):
        widths = " / ".join(f"±{1.96 * found.standard_error(tpr):.1%}" for tpr in (0.05, 0.5)) if found.false_positives else "-"
        lines.append(
            f"  {found.group:<14}{found.canaries:>5}{found.fpr:>8g}{found.non_members:>13,}{found.false_positives:>17,}"
            f"  {found.verdict:<15}{widths}"
        )
    return lines
