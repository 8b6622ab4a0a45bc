"""What a plan could show, as lines for people: counts and widths of each audit, ceilings of epsilon bounds, claims.

Printed by `synthc plan` before anything runs. Everything is a planning bound in closed form, nothing is simulated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.language.audit import Audit
from compiler.language.methods.baselines import DpSgd
from compiler.language.study import Trial
from compiler.plan.dag import Plan
from compiler.power.ceilings import f_dp_ceiling, guesses_of, steinke_ceiling
from compiler.power.claim_power import POWER, prospect
from compiler.power.resolution import COARSE, NORMAL, resolutions
from compiler.work.operations import CompareTrials

TRUE_RATES = (0.05, 0.5)
"""TPRs at which widths are told."""


def outlook(plan: Plan) -> list[str]:
    """One block per audit that the plan holds, one about all claims."""
    by_audit: dict[str, list[Trial]] = {}
    for planned in plan.trials:
        by_audit.setdefault(planned.trial.point.audit.model_dump_json(), []).append(planned.trial)
    lines: list[str] = []
    for trials in by_audit.values():
        whose = "" if len(by_audit) == 1 else f" of {_named(trials)}"
        lines += [*_readings(trials[0].point.audit, whose, len(trials)), "", *_bounds(trials), ""]
    return [*lines, *_claims(plan)]


def _readings(audit: Audit, whose: str, trials: int) -> Iterator[str]:
    widths = " / ".join(f"{tpr:.0%}" for tpr in TRUE_RATES)
    each = f"each of {trials} trials" if trials > 1 else "the trial"
    yield f"what the audit{whose} can show in {each} ({audit.shadows} shadows, each canary in half of them):"
    heads = ("canaries", "n", "FPR", "non-members", "false positives", "", f"{audit.confidence:.0%} interval at TPR {widths}")
    yield "  {:<14}{:>5}{:>8}{:>13}{:>17}  {:<15}{}".format(*heads)
    z = NORMAL.inv_cdf(0.5 + audit.confidence / 2)
    for found in resolutions(audit):
        shown = " / ".join(f"±{z * found.standard_error(tpr):.1%}" for tpr in TRUE_RATES) if found.false_positives else "-"
        yield (
            f"  {found.group:<14}{found.canaries:>5}{found.fpr:>8g}{found.non_members:>13,}{found.false_positives:>17,}"
            f"  {found.verdict:<15}{shown}"
        )
    by_outsiders: dict[int, list[str]] = {}
    for found in resolutions(audit):
        by_outsiders.setdefault(found.non_members, []).append(found.group)
    for outsiders, groups in by_outsiders.items():
        if outsiders:
            names = ", ".join(dict.fromkeys(groups))
            fine = f"from {COARSE / outsiders:.2g} on with {COARSE} false positives"
            yield f"  {names}: FPRs can be read from {1 / outsiders:.2g} on, {fine}"
    yield "  (half widths: planning bounds, closed form; what was then measured on digits was 0.4 to 1.3 times as wide)"


def _bounds(trials: Sequence[Trial]) -> Iterator[str]:
    """The largest epsilon that could be ruled out, and guarantees that such a bound could not contradict."""
    audit, p = trials[0].point.audit, 1 - trials[0].point.audit.confidence
    highest = 0.0
    if audit.membership == "balanced":
        yield "epsilon: no lower bound under balanced membership"
        return
    by_count: dict[int, list[str]] = {}
    for name, group in audit.canaries.items():
        by_count.setdefault(0 if group.copies > 1 or not guesses_of(group.count) else group.count, []).append(name)
    for count, names in by_count.items():
        if not count:
            yield f"epsilon: no lower bound from {', '.join(names)}"
            continue
        guesses = guesses_of(count)
        steinke, f_dp = steinke_ceiling(guesses, p), f_dp_ceiling(guesses, count, audit.delta, p)
        highest = max(highest, steinke, f_dp)
        yield (
            f"epsilon: lower bounds from {', '.join(names)} reach {steinke:.1f} (Steinke) and {f_dp:.1f} (f-DP) at most, "
            f"if all {guesses} guesses about one model are right"
        )
    for trial in trials:
        arm = trial.point.arm
        if isinstance(arm, DpSgd) and arm.privacy.epsilon is not None and arm.privacy.epsilon >= highest and trial.replicate == 0:
            promise = f"{trial.address} promises epsilon {arm.privacy.epsilon:g}"
            yield f"  warning: {promise}, which no bound of this audit could contradict: a broken DP-SGD would pass"


def _claims(plan: Plan) -> Iterator[str]:
    if not plan.claims:
        return
    trials = {planned.trial.address: planned.trial for planned in plan.trials}
    yield f"what its claims could tell apart (planning bounds, closed form; power {POWER:.0%}, Holm over the pairs of a claim):"
    width = max(len(claim.name) for claim in plan.claims)
    for claim in plan.claims:
        work = plan.tasks[claim.task].work
        assert isinstance(work, CompareTrials)
        found = prospect(work, *([trials[address] for address in side] for side in (claim.left, claim.right)))
        pairs = f"{found.pairs} pair{'s' if found.pairs != 1 else ''}"
        said = f"{found.never}; {found.needed}" if found.never else found.effect
        yield f"  {claim.name:<{width}}  {pairs:>9}  {said}"


def _named(trials: Sequence[Trial]) -> str:
    """Arms, each once."""
    return ", ".join(dict.fromkeys(trial.arm_name for trial in trials))
