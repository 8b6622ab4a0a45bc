"""Power analysis of a plan in words: counts and interval widths of each audit, largest epsilon bounds, claims.

Printed by `synthc plan` before anything runs. Everything is a planning bound in closed form, nothing is simulated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.errors import plural
from compiler.language.audit import Audit
from compiler.language.methods.baselines import DpSgd
from compiler.language.study import Trial
from compiler.plan.dag import Plan
from compiler.power.claim_power import POWER, prospect
from compiler.power.epsilon_bounds import STANDARD_NORMAL, count_guesses, f_dp, steinke_ceiling
from compiler.power.resolution import MIN_FALSE_POSITIVES, resolutions
from compiler.work.operations import CompareTrials

TRUE_RATES = (0.05, 0.5)
"""TPRs at which widths are printed."""


def outlook(plan: Plan) -> list[str]:
    """Lines: two blocks (resolution, epsilon) for each distinct audit of the plan, then one on all claims, if it has any."""
    by_audit: dict[str, list[Trial]] = {}
    for planned in plan.trials:
        by_audit.setdefault(planned.trial.point.audit.model_dump_json(), []).append(planned.trial)
    lines: list[str] = []
    for trials in by_audit.values():
        arms = ", ".join(dict.fromkeys(trial.arm_name for trial in trials))
        owner = "" if len(by_audit) == 1 else f" of {arms}"
        lines += [*_describe_readings(trials[0].point.audit, owner, len(trials)), "", *_describe_bounds(trials), ""]
    return [*lines, *_describe_claims(plan)]


def _describe_readings(audit: Audit, owner: str, trials: int) -> Iterator[str]:
    """Lines on the resolution of each canary group and FPR of an audit, with half widths of intervals. `owner`: text after `the
    audit`, such as ` of coreset`, or ""; `trials`: number of trials with this audit."""
    widths = " / ".join(f"{tpr:.0%}" for tpr in TRUE_RATES)
    each = f"each of {trials} trials" if trials > 1 else "the trial"
    yield f"what the audit{owner} can show in {each} ({audit.shadows} shadows, each canary in half of them):"
    heads = ("canaries", "n", "FPR", "non-members", "false positives", "", f"{audit.confidence:.0%} interval at TPR {widths}")
    yield "  {:<14}{:>5}{:>8}{:>13}{:>17}  {:<15}{}".format(*heads)
    z = STANDARD_NORMAL.inv_cdf(0.5 + audit.confidence / 2)
    by_non_members: dict[int, list[str]] = {}
    for read in resolutions(audit):
        by_non_members.setdefault(read.non_members, []).append(read.group)
        widths = " / ".join(f"±{z * read.standard_error(tpr):.1%}" for tpr in TRUE_RATES) if read.false_positives else "-"
        yield (
            f"  {read.group:<14}{read.canaries:>5}{read.fpr:>8g}{read.non_members:>13,}{read.false_positives:>17,}"
            f"  {read.verdict:<15}{widths}"
        )
    for non_members, groups in by_non_members.items():
        if non_members:
            names = ", ".join(dict.fromkeys(groups))
            fine = f"from {MIN_FALSE_POSITIVES / non_members:.2g} on with {MIN_FALSE_POSITIVES} false positives"
            yield f"  {names}: FPRs can be read from {1 / non_members:.2g} on, {fine}"
    yield "  (half widths: planning bounds, closed form; what was then measured on digits was 0.4 to 1.3 times as wide)"


def _describe_bounds(trials: Sequence[Trial]) -> Iterator[str]:
    """Lines on the largest lower bounds on epsilon that the audit common to `trials` can give, and a warning for each DP-SGD trial
    of replicate 0 whose declared epsilon is not below the largest of Steinke's (0 if there is none). Under balanced membership one
    line alone: there is none."""
    audit, p = trials[0].point.audit, 1 - trials[0].point.audit.confidence
    highest = 0.0
    if audit.membership == "balanced":
        yield "epsilon: no lower bound under balanced membership"
        return
    by_count: dict[int, list[str]] = {}
    for name, group in audit.canaries.items():
        by_count.setdefault(0 if group.copies > 1 or not count_guesses(group.count) else group.count, []).append(name)
    for count, names in by_count.items():
        if not count:
            yield f"epsilon: no lower bound from {', '.join(names)}"
            continue
        guesses = count_guesses(count)
        steinke, gaussian = steinke_ceiling(guesses, p), f_dp(guesses, guesses, count, audit.delta, p)
        highest = max(highest, steinke)
        yield (
            f"epsilon: lower bounds from {', '.join(names)} reach {steinke:.1f} at most (Steinke), if all {guesses} guesses "
            f"about one model are right; {gaussian:.1f} if the trade-off is Gaussian (f-DP)"
        )
    for trial in trials:
        arm = trial.point.arm
        if isinstance(arm, DpSgd) and arm.privacy.epsilon is not None and arm.privacy.epsilon >= highest and trial.replicate == 0:
            promise = f"{trial.address} promises epsilon {arm.privacy.epsilon:g}"
            yield f"  warning: {promise}, which no bound of this audit could contradict: a broken DP-SGD would pass"


def _describe_claims(plan: Plan) -> Iterator[str]:
    """A heading, then a line for each claim: number of pairs, and the smallest detectable effect or why it cannot be decided. No
    lines without claims."""
    if not plan.claims:
        return
    trials = {planned.trial.address: planned.trial for planned in plan.trials}
    yield f"what its claims could tell apart (planning bounds, closed form; power {POWER:.0%}, all pairs of a claim together):"
    width = max(len(claim.name) for claim in plan.claims)
    for claim in plan.claims:
        work = plan.tasks[claim.task].work
        assert isinstance(work, CompareTrials)
        power = prospect(work, *([trials[address] for address in side] for side in (claim.left, claim.right)))
        effect = f"{power.never}; {power.needed}" if power.never else power.effect
        yield f"  {claim.name:<{width}}  {plural(power.pairs, 'pair'):>9}  {effect}"
