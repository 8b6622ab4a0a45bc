"""Power of claims in closed form: whether a claim can be decided, and the smallest detectable effect.

Planning bounds for a test at the audit's confidence, Bonferroni-adjusted for the number of pairs of the claim, with a power of
80 %. The standard errors are those of `resolution`; that both sides are read on the same canaries and shadows is not counted on.
Not here: the tests themselves (`runtime.audit.compare`), which know the spread.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.fingerprint import fingerprint
from compiler.language.study import Trial
from compiler.power.epsilon_bounds import STANDARD_NORMAL, bisect
from compiler.power.resolution import Resolution, resolution
from compiler.work.operations import CompareTrials

POWER = 0.8
READ_FROM_SCORES = ("leakage", "auc")


@dataclass(frozen=True)
class Prospect:
    """Power analysis of one claim."""

    pairs: int
    """Number of comparisons over which the error is divided; 0 if every trial would be compared with itself."""
    never: str
    """That the claim stays undecided whatever the data, and why; "" if it can be decided."""
    needed: str
    """What would let it be decided; "" if it can be."""
    effect: str
    """The smallest effect that the test detects with power POWER, in words, or another answer of `_describe_effect`; `nothing`
    where the claim cannot be decided."""


def prospect(work: CompareTrials, left: Sequence[Trial], right: Sequence[Trial]) -> Prospect:
    """The power analysis of a claim about these trials; `right` is empty where left trials are tested alone. The claim cannot be
    decided (`never`) where every trial would be compared with itself, or the resamples are too few for a p-value of 1 −
    confidence."""
    pairs = count_pairs(work, left, right)
    if not pairs:
        return Prospect(0, "no data could decide it: every trial would be compared with itself", "choose others", "nothing")
    if (least := _sides(work) / (work.resamples + 1)) > 1 - work.confidence:
        enough = math.ceil(_sides(work) / (1 - work.confidence))
        never = f"no data could decide it: {work.resamples:,} resamples give no p-value below {least:.2g}"
        return Prospect(pairs, never, f"set `audit.resamples` to {enough:,} or more", "nothing")
    return Prospect(pairs, "", "", _describe_effect(work, left, pairs))


def count_pairs(work: CompareTrials, left: Sequence[Trial], right: Sequence[Trial]) -> int:
    """Number of pairs that `runtime.audit.compare` tests: left trials alone if there is no right one; each left trial with each
    other right one; each trial with itself where both sides are the same trials and read differently. Trials of equal words in one
    replicate, whatever their arms are called, are the same: they share their attack task, by which the test tells trials apart."""
    if not right:
        return len(left)
    names, others = ([fingerprint("trial", trial.point, trial.replicate) for trial in side] for side in (left, right))
    if names == others and work.left != work.right:
        return len(names)
    mine, theirs = Counter(names), Counter(others)
    return len(names) * len(others) - sum(count * theirs[name] for name, count in mine.items())


def _sides(work: CompareTrials) -> int:
    """Number of sides of the test over which the error is divided: 1 for an equivalence, else 2."""
    return 1 if work.test == "equivalence" else 2


def _describe_effect(work: CompareTrials, left: Sequence[Trial], pairs: int) -> str:
    """In words: the smallest effect that the claim's test detects with power POWER, the error being divided by `pairs`. For leakage
    and TPRs a TPR or `nothing`, of an equivalence whether its margin can be shown (`_describe_rates`); for dominance one answer on
    leakage and one on accuracy; for a correlation over canaries the correlations, `nothing` with at most three canaries; for the
    AUC and a correlation over events that there is no closed form; else a number of standard deviations of the paired
    differences."""
    alpha = (1 - work.confidence) / pairs
    z = STANDARD_NORMAL.inv_cdf(1 - alpha / _sides(work)) + STANDARD_NORMAL.inv_cdf(POWER)
    shadows = min(trial.point.audit.shadows for trial in left)
    spread = f"{student_quantile(z, shadows - 1) / math.sqrt(shadows):.1f} sd of the paired differences of {shadows} shadows"
    if work.test == "correlation" and work.over == "canaries":
        canaries = min(trial.point.audit.canaries[work.left.canaries].count for trial in left)
        if canaries <= 3:
            return "nothing"
        error, middle = math.sqrt(1.06 / (canaries - 3)), math.atanh(max(-0.999, min(0.999, work.margin)))
        low, high = (math.tanh(middle + side * z * error) for side in (-1, 1))
        return f"a rank correlation below {low:.2f} or above {high:.2f}"
    if work.test == "dominance":
        return f"leakage: {_describe_margin(work, left, z, work.margins.leakage)}; accuracy: {spread}; cost is counted"
    if work.metric == "auc" or work.test == "correlation":
        return "depends on how the scores spread: no closed form"
    if work.metric in READ_FROM_SCORES or work.metric.startswith("tpr@"):
        return _describe_rates(work, left, z)
    return spread


def _describe_rates(work: CompareTrials, left: Sequence[Trial], z: float) -> str:
    """In words: the smallest TPR that differs from the FPR (no leakage) by `z` standard errors, and the smallest that so differs
    from one half; a text that begins with `nothing` if the FPR is not resolvable or no TPR differs so. Of an equivalence, what
    `_describe_margin` states."""
    if work.test == "equivalence":
        return _describe_margin(work, left, z, work.margin)
    worst = _coarsest_reading(work, left)
    if worst.verdict == "not resolvable":
        return f"nothing: an FPR of {worst.fpr:g} cannot be resolved"
    others = {base: smallest_distinct(worst, base, z) for base in (worst.fpr, 0.5)}
    distinct = [f"{base:.0%} from {other:.0%}" for base, other in others.items() if other is not None]
    few = ", more for a stratum, which has fewer members" if work.left.stratum or work.right.stratum else ""
    return f"a TPR of {' or '.join(distinct)}{few}" if distinct else "nothing"


def _describe_margin(work: CompareTrials, left: Sequence[Trial], z: float, margin: float) -> str:
    """In words: whether both sides, at equal TPRs, can be shown to differ by less than `margin`, judged at `z` standard errors for
    a TPR equal to the FPR and for one half; a text that begins with `nothing` if at neither."""
    worst = _coarsest_reading(work, left)
    near = [f"{base:.0%}" for base in (worst.fpr, 0.5) if z * math.sqrt(2) * worst.standard_error(base) < margin]
    what = f"a margin of {margin:g}"
    return f"{what} at a TPR of {' and '.join(near)}" if near else f"nothing: {what} is small"


def _coarsest_reading(work: CompareTrials, left: Sequence[Trial]) -> Resolution:
    """Of the left trials' audits, the resolution with the fewest allowed false positives, of the canaries that the left side reads,
    at the claim's FPR."""
    fpr = float(work.metric.removeprefix("tpr@fpr=")) if work.metric.startswith("tpr@") else work.fpr
    audits = {id(trial.point.audit): trial.point.audit for trial in left}.values()
    reads = [resolution(work.left.canaries, audit.canaries[work.left.canaries], audit.shadows, fpr) for audit in audits]
    return min(reads, key=lambda read: (read.false_positives, read.canaries))


def smallest_distinct(read: Resolution, base: float, z: float) -> float | None:
    """The smallest TPR above `base` that differs from it by `z` standard errors of the difference; None if even 99.9 % does not.
    The FPR of `read` must be resolvable, and `base` between 0 and 0.999."""

    def too_near(other: float) -> bool:
        return other - base < z * math.hypot(read.standard_error(base), read.standard_error(other))

    return None if too_near(0.999) else bisect(too_near, base, 0.999)


def student_quantile(z: float, freedom: int) -> float:
    """Approximate quantile of Student's t with `freedom` degrees of freedom, at the probability of the normal quantile `z` (Fisher
    and Cornish 1960, to the second order)."""
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
