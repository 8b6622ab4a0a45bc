"""Explains why a task would run, by comparing its fields with the last plan's task at the same stage of the same trial.

Reasons, the first that holds: it is done (and would not run, unless it is forced), no task to run needs it, its artifact was
damaged, it failed before, its artifact is gone, the last plan had it but it was never computed, it changed (which field from what
to what, which parent), it is new.
Not here: reading the store (`runtime.store.runs`), what is left to run (`plan`).
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compiler.errors import SynthcError, did_you_mean, plural
from compiler.fingerprint import parse_canonical
from compiler.plan.dag import Plan, Task, Use


@dataclass(frozen=True)
class Before:
    """The last plan of a study: the task of each stage, and the hashed text of each task by its id."""

    run: str
    stages: Mapping[tuple[str, int | None, str], str]
    """(address of a trial or name of a claim, shadow, stage) → task, as in `Use`."""
    trials: Mapping[str, Mapping[str, Any]]
    """Address → its record: arm, axes, replicate."""
    texts: Mapping[str, str]
    drift: str = ""
    """How the code differs from that run's, "" if it does not; it makes no task run again."""

    @cached_property
    def ids(self) -> frozenset[str]:
        """Ids of all tasks of the last plan."""
        return frozenset(self.stages.values())


@dataclass(frozen=True)
class Trace:
    """The record of a task in the store."""

    done: bool = False
    damaged: bool = False
    """Whether an artifact was found damaged and set aside."""
    attempts: int = 0
    last: str = ""
    """Status of the last attempt."""
    error: str = ""
    log: str = ""
    given_up: bool = False
    """Whether the last attempt failed in a way that would recur and the code is still the same."""


@dataclass(frozen=True)
class Reason:
    """Why a task would run (or not): a code for tools, lines for people, which list the fields that differ."""

    code: str
    lines: tuple[str, ...]
    compared: str = ""
    """The stage of the last plan that it was compared with, where that is one of another trial; else ""."""

    def __str__(self) -> str:
        return "; ".join(self.lines)


@dataclass(frozen=True)
class Explanation:
    """A plan, its tasks that would run, the store's record of each task, and the last plan of the same study (None without one)."""

    plan: Plan
    to_run: Mapping[str, Task]
    trace: Callable[[str], Trace]
    before: Before | None = None

    @cached_property
    def uses(self) -> dict[str, list[Use]]:
        """Id of a task → every use of it, in the order of `Plan.uses`; [] for other ids, as a defaultdict."""
        uses: dict[str, list[Use]] = defaultdict(list)
        for task, use in self.plan.uses():
            uses[task].append(use)
        return uses

    def why(self, task: Task) -> Reason:
        """The reason for this task to run or not to run: of those in the module's docstring the first that holds; `forced` for one
        that is done and would run. ValueError or TypeError as for `parse_canonical`."""
        seen = self.trace(task.id)
        if seen.done and task.id in self.to_run:
            return Reason("forced", ("forced: --force names it, or what it rests on",))
        if seen.done:
            return Reason("done", ("done: its result is in the store",))
        if task.id not in self.to_run:
            return Reason("not needed", ("not needed: what would use it is done, or was not asked for",))
        if seen.damaged:
            return Reason("damaged", ("damaged: what was there was set aside when it was found not to be what the task wrote",))
        if seen.last == "failed":
            again = "; the same code would fail again, --retry-failed tries" if seen.given_up else ""
            return Reason("failed", (f"failed before: {seen.error}{again}",))
        if seen.last == "done":
            return Reason("missing", ("its artifact is gone: it was computed before",))
        if self.before is None:
            return Reason("new", ("new: no run of this study is known",))
        if task.id in self.before.ids:
            return Reason("not computed", ("not computed yet: it was in the last plan, too",))
        return self._compare(task, self.before)

    def _compare(self, task: Task, before: Before) -> Reason:
        """How the task differs from the one at its stage in the last plan, of the same trial or else of the nearest that is gone,
        for the first of its uses that has one: `parent` if only its parents differ, else `changed`; `new` where there was none.
        ValueError or TypeError as for `parse_canonical`."""
        for trial, shadow, stage in self.uses[task.id]:
            # The same stage, then that of the nearest trial of the same arm that is not in this plan any more.
            for candidate in filter(None, (trial, self._nearest.get(trial))):
                if (old := before.stages.get((candidate, shadow, stage))) is not None:
                    lines = tuple(_differences(before.texts[old], task.text)) if old in before.texts else ()
                    code = "parent" if lines and all(line.startswith("parent") for line in lines) else "changed"
                    where = f"{candidate}/shadow {shadow}/{stage}" if shadow is not None else candidate
                    lines = lines or ("changed: what it was is not known any more",)
                    return Reason(code, lines, where if candidate != trial else "")
        return Reason("new", ("new: nothing of the kind was in the last plan",))

    @cached_property
    def _nearest(self) -> dict[str, str]:
        """New trial → the vanished trial of the same arm and replicate that shares most axis values with it; without one, no
        entry."""
        assert self.before is not None
        now = {planned.trial.address: planned.trial for planned in self.plan.trials}
        gone: dict[tuple[str, int], list[str]] = defaultdict(list)
        for address, record in self.before.trials.items():
            if address not in now:
                gone[record["arm"], record["replicate"]].append(address)
        nearest: dict[str, str] = {}
        for address, trial in now.items():
            candidates = gone[trial.arm_name, trial.replicate]
            if address not in self.before.trials and candidates:
                axes = dict(trial.axes).items()
                nearest[address] = max(candidates, key=lambda old: len(axes & self.before.trials[old]["axes"].items()))  # type: ignore[union-attr]
        return nearest


def _differences(old: str, new: str) -> Iterator[str]:
    """Yields the differences from the canonical text `old` of a task to `new`: operation, revision, fields (if the operation is the
    same), parents. ValueError or TypeError as for `parse_canonical`."""
    was, now = parse_canonical(old), parse_canonical(new)
    if was.operation != now.operation:
        yield f"operation: {was.operation} → {now.operation}"
    if was.revision != now.revision:
        yield f"revision: {_shown(was.revision)} → {_shown(now.revision)}"
    if was.operation == now.operation:
        yield from differences(was.params, now.params)
    yield from _changed_parents(dict(was.needs), dict(now.needs))


def differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yields `recipe.lr: 0.1 → 0.05` for each field in which two parsed JSON values differ, sorted by name; also fields that are
    new or gone. Lists are compared item by item if they have one length, else as a whole. `path`: what to put before the names. The
    key "", which holds the name of a class, is shown as the path of its mapping, without one as `operation`."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in sorted({*was, *now}):
            at = f"{path}.{name}" if path and name else path or name or "operation"
            if name not in was:
                yield f"{at}: {_shown(now[name])} is new"
            elif name not in now:
                yield f"{at}: {_shown(was[name])} is gone"
            elif was[name] != now[name]:
                yield from differences(was[name], now[name], at)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            if one != other:
                yield from differences(one, other, f"{path}[{index}]")
    elif was != now:
        yield f"{path}: {_shown(was)} → {_shown(now)}"


def _changed_parents(had: Mapping[str, str], has: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each role whose task changed, is new or is gone, from the needs `had` (role → id) to `has`; roles that are
    alike before the first `/`, such as those of several shadows, are counted together."""
    for what, roles in (
        ("changed", [role for role in has if role in had and had[role] != has[role]]),
        ("is new", [role for role in has if role not in had]),
        ("is gone", [role for role in had if role not in has]),
    ):
        for name, count in Counter(role.partition("/")[0] for role in roles).items():
            yield f"parent `{name}` {what}" + (f" (×{count})" if count > 1 else "")


def find_tasks(plan: Plan, name: str) -> list[Task]:
    """The task with this id or address, else all tasks, in topological order, whose address begins with `name` followed by `/` or
    `#`, or as a whole matches it as a shell pattern with `*` (also for `/`) and `?`; SynthcError if there is none."""
    if name in plan.tasks:
        return [plan.tasks[name]]
    by_address = {task.address: task for task in plan.tasks.values()}
    if name in by_address:
        return [by_address[name]]
    pattern = re.compile(fnmatch.translate(name.replace("[", "[[]")))
    begins = f"{name}/", f"{name}#"
    tasks = [task for address, task in by_address.items() if address.startswith(begins) or pattern.match(address)]
    if not tasks:
        starts = {address.partition("/")[0] for address in by_address}
        raise SynthcError(f"no task is at {name!r}; {did_you_mean(name, list(starts)[:40])}")
    return tasks


def _fold_shadows(address: str) -> str:
    """An address with `*` for the number of its shadow: `coreset#0/shadow */model`."""
    return re.sub(r"/shadow \d+", "/shadow *", address)


def overview(explanation: Explanation, tasks: Iterable[Task]) -> list[str]:
    """Lines: how many tasks of the plan would run, and how many of `tasks` have each code of a reason; the run that the plan is
    compared with, and how the code differs from that run's; then the reasons of `tasks`, each once, causes before consequences,
    with up to six addresses that it applies to and the number of tasks at each, where `*` stands for all shadows."""
    plan, before = explanation.plan, explanation.before
    grouped: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for task in tasks:
        reason = explanation.why(task)
        grouped[reason.code, str(reason)][_fold_shadows(task.address)] += 1
    counts: Counter[str] = Counter()
    for (code, _), addresses in grouped.items():
        counts[code] += addresses.total()
    listed = ", ".join(f"{count:,} {code}" for code, count in counts.items())
    of_all = f"{len(explanation.to_run):,} of {plural(len(plan.tasks), 'task')}"
    lines = [f"{plan.header.study}: {of_all} would run ({listed or 'none'})"]
    lines.append(f"compared with run {before.run}" if before else "no run of this study is in the store to compare with")
    if before and before.drift:
        lines.append(before.drift)
    # Causes before their consequences.
    order = ("forced", "damaged", "failed", "missing", "not computed", "new", "changed", "parent", "not needed", "done")
    for (_, text), addresses in sorted(grouped.items(), key=lambda one: order.index(one[0][0])):
        lines += ["", *(text.split("; ") if len(text) > 120 else [text])]
        for address, count in list(addresses.items())[:6]:
            lines.append(f"  {count:>7,}  {address}")
        if len(addresses) > 6:
            rest = sum(list(addresses.values())[6:])
            lines.append(f"  {rest:>7,}  at {len(addresses) - 6} more places")
    return lines


def detail(explanation: Explanation, task: Task) -> list[str]:
    """Lines on one task: address, id, reason, attempts, up to twelve parents, and, if more than one uses it, up to six of the
    trials and claims that do."""
    plan, reason, seen = explanation.plan, explanation.why(task), explanation.trace(task.id)
    lines = [task.address, f"  {task.id}  {task.operation} ({task.kind})"]
    runs = "would run" if task.id in explanation.to_run else "would not run"
    lines += [f"  {runs}: {reason.lines[0]}", *(f"             {line}" for line in reason.lines[1:])]
    if reason.compared:
        lines.append(f"             compared with {reason.compared}, the nearest of the same arm in the last plan")
    if seen.attempts:
        lines.append(f"  attempts:  {seen.attempts}, the last {seen.last}" + (f", log: {seen.log}" if seen.log else ""))
    for role, need in task.needs[:12]:
        state = "done" if explanation.trace(need).done else "to run" if need in explanation.to_run else "not there"
        lines.append(f"  needs:     {role} = {need} ({state})  {plan.tasks[need].address}")
    if len(task.needs) > 12:
        lines.append(f"             and {len(task.needs) - 12} more")
    served = list(dict.fromkeys(use.owner for use in explanation.uses[task.id]))
    if len(served) > 1:
        lines.append(f"  serves:    {plural(len(served), 'trial')}: {', '.join(served[:6])}" + (", …" if len(served) > 6 else ""))
    return lines


def explanation_json(explanation: Explanation, tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """One object per task: id, address, operation, whether it would run, reason, lines, `Reason.compared` (null for "")."""
    return [
        {
            "id": task.id,
            "address": task.address,
            "operation": task.operation,
            "would_run": task.id in explanation.to_run,
            "reason": reason.code,
            "lines": list(reason.lines),
            "compared_with": reason.compared or None,
        }
        for task in tasks
        for reason in (explanation.why(task),)
    ]


def _shown(value: Any) -> str:
    """A value as JSON, cut after 80 characters where it has 90 or more."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 90 else f"{text[:80]}…"
