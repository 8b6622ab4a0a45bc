"""Summary of a plan as text and as JSON: tasks that are done and to run, by kind and by arm, and the expected time.

The JSON is stable (`compiler.inspect.json_help` documents it): fields are added, never renamed or taken away.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compiler.errors import plural
from compiler.inspect.cost.estimate import Estimate
from compiler.plan.dag import Plan, Task
from compiler.power.outlook import outlook
from compiler.power.resolution import Resolution, resolution


@dataclass(frozen=True)
class Share:
    """Trials and tasks of one arm."""

    trials: int
    tasks: frozenset[str]
    shared: int
    """How many of them another arm uses, too."""


@dataclass(frozen=True)
class Summary:
    """A plan, ids of its tasks that are done, tasks to run by id, and the expected cost of these."""

    plan: Plan
    done: frozenset[str]
    to_run: Mapping[str, Task]
    estimate: Estimate

    @property
    def arms(self) -> dict[str, Share]:
        """Arm → its trials and tasks, in the order of the spec; tasks of claims belong to none."""
        tasks: dict[str, set[str]] = defaultdict(set)
        trials: Counter[str] = Counter()
        for planned in self.plan.trials:
            trials[planned.trial.arm_name] += 1
            tasks[planned.trial.arm_name] |= {planned.answer, *(stage.task for stage in planned.stages)}
        users = Counter(task for of in tasks.values() for task in of)
        return {arm: Share(trials[arm], frozenset(of), sum(users[task] > 1 for task in of)) for arm, of in tasks.items()}

    @property
    def shared(self) -> int:
        """Number of tasks of shadows that more than one trial uses; attacks and claims are not counted."""
        users: Counter[str] = Counter()
        for planned in self.plan.trials:
            users.update({stage.task for stage in planned.stages})
        return sum(count > 1 for count in users.values())


def summary_json(summary: Summary) -> dict[str, Any]:
    """The summary in the shape of `compiler.inspect.json_help`."""
    plan, estimate = summary.plan, summary.estimate
    return {
        "study": plan.header.study,
        "profile": plan.profile,
        "question": plan.header.question,
        "trials": len(plan.trials),
        "claims": len(plan.claims),
        "tasks": {
            "total": len(plan.tasks),
            "done": len(summary.done),
            "to_run": len(summary.to_run),
            "shared": summary.shared,
            "by_kind": dict(plan.counts()),
            "by_arm": {
                arm: {
                    "trials": share.trials,
                    "total": len(share.tasks),
                    "done": len(share.tasks & summary.done),
                    "to_run": sum(task in summary.to_run for task in share.tasks),
                    "shared": share.shared,
                    "core_seconds": round(estimate.seconds_of(share.tasks), 1),
                    "peak_vram_mb": round(estimate.vram_of(share.tasks)),
                }
                for arm, share in summary.arms.items()
            },
        },
        "estimate": {
            "basis": estimate.basis if summary.to_run else "nothing to run",
            "from_history": estimate.known,
            "workers": estimate.workers,
            "seconds": round(estimate.seconds, 1),
            "core_seconds": round(estimate.core_seconds, 1),
            "peak_memory_mb": round(estimate.memory_mb),
            "peak_vram_mb": round(estimate.vram_of(summary.to_run)),
            "disk_mb": round(estimate.disk_mb, 1),
            "critical_path": {
                "seconds": round(estimate.critical_seconds, 1),
                "addresses": [task.address for task in estimate.critical],
            },
        },
        "headlines": _headlines(plan),
    }


def _headlines(plan: Plan) -> list[dict[str, Any]]:
    """What each distinct headline (canaries, shadows and FPR) can resolve by its number of non-members, with the arms that declare
    it, as JSON."""
    arms_of: dict[Resolution, list[str]] = {}
    for planned in plan.trials:
        audit = planned.trial.point.audit
        headline = audit.headline
        read = resolution(headline.canaries, audit.canaries[headline.canaries], audit.shadows, headline.fpr)
        arms_of.setdefault(read, []).append(planned.trial.arm_name)
    return [
        {
            "arms": list(dict.fromkeys(arms)),
            "canaries": read.group,
            "fpr": read.fpr,
            "non_members": read.non_members,
            "false_positives": read.false_positives,
            "verdict": read.verdict,
        }
        for read, arms in arms_of.items()
    ]


def summary_text(summary: Summary) -> list[str]:
    """The summary as lines of text, followed by the power analysis of the plan (`outlook`)."""
    plan = summary.plan
    name = plan.header.study + (f" ({plan.profile})" if plan.profile else "")
    counts = f"{plural(len(plan.trials), 'trial')}, {plural(len(plan.claims), 'claim')}, {plural(len(plan.tasks), 'task')}"
    lines = [f"{name}: {plan.header.question}" if plan.header.question else name, ""]
    lines.append(f"{counts} ({summary.shared:,} serve several trials): {len(summary.done):,} done, {len(summary.to_run):,} to run")
    lines += ["", *_kinds(summary), "", *_arms(summary), "", *_estimate(summary), ""]
    return lines + outlook(plan)


def _kinds(summary: Summary) -> list[str]:
    lines = [f"  {'kind':<12}{'tasks':>8}{'to run':>8}  of which"]
    for kind, total in summary.plan.counts().items():
        waiting = Counter(task.operation for task in summary.to_run.values() if task.kind == kind)
        listed = ", ".join(f"{count:,} {operation}" for operation, count in waiting.items())
        first, *rest = wrapped(listed, 100) or [""]
        lines.append(f"  {kind:<12}{total:>8,}{sum(waiting.values()):>8,}  {first}".rstrip())
        lines += [" " * 32 + more for more in rest]
    return lines


def _arms(summary: Summary) -> list[str]:
    arms = summary.arms
    wide = max(12, *(len(arm) + 2 for arm in arms))
    lines = [f"  {'arm':<{wide}}{'trials':>7}{'tasks':>8}{'shared':>8}{'to run':>8}{'core time':>14}{'VRAM':>10}"]
    for arm, share in arms.items():
        left = sum(task in summary.to_run for task in share.tasks)
        spent = duration(summary.estimate.seconds_of(share.tasks)) if left else "-"
        held = _size(summary.estimate.vram_of(share.tasks)) if left else "-"
        lines.append(f"  {arm:<{wide}}{share.trials:>7,}{len(share.tasks):>8,}{share.shared:>8,}{left:>8,}{spent:>14}{held:>10}")
    return lines


def _estimate(summary: Summary) -> list[str]:
    estimate, count = summary.estimate, len(summary.to_run)
    if not count:
        return ["nothing to run: every answer is in the store"]
    because = {
        "history": "from what earlier tasks took",
        "guess": "guessed: nothing of the kind was run before",
        "both": f"{estimate.known:,} of {count:,} tasks from what earlier ones took, the rest guessed",
    }[estimate.basis]
    workers = plural(estimate.workers, "worker")
    lines = [f"about {duration(estimate.seconds)} on {workers}, {duration(estimate.core_seconds)} of one core ({because})"]
    lines.append(f"  longest chain     {duration(estimate.critical_seconds)}, whatever the number of workers:")
    lines += [" " * 20 + line for line in wrapped(" → ".join(task.address for task in estimate.critical), 110)]
    peak = f"{estimate.memory_mb / 1e3:.1f} GB at the peak of all workers"
    lines.append(f"  memory and disk   {peak}, {_size(estimate.disk_mb)} more in the store")
    if held := estimate.vram_of(summary.to_run):
        fits = f"--gpu-memory {math.ceil(held / 1024)} lets workers share a GPU"
        lines.append(f"  GPU memory        {_size(held)} for the largest task, if a GPU computes it (guessed; {fits})")
    return lines


def duration(seconds: float) -> str:
    """Seconds in a readable unit: `under 1 s`, `40 s`, `12 min`, `3 h 5 min`, `12 days`; minutes from 90 s on, hours from 90 min,
    days from 48 h."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{round(minutes / 1440):,} days"


def wrapped(listed: str, width: int) -> list[str]:
    """Lines broken at a space after a comma or before an arrow only, of at most `width` characters unless one item is longer; []
    for an empty text."""
    parts = re.split(r"(?<=,) | (?=→ )", listed)
    whole = " ".join(part.replace(" ", "\0") for part in parts)
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _size(megabytes: float) -> str:
    """MB as text: `40 MB`, from 1,000 on `1.2 GB`."""
    return f"{megabytes:,.0f} MB" if megabytes < 1000 else f"{megabytes / 1e3:,.1f} GB"
