"""Compares two studies: trials and tasks in common, and differences of the others.

Tasks are shared when their ids are equal, whatever the studies call them. Trials are matched by address, or by their answer where
only the name changed; what is left differs in some fields of its point, which are listed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.errors import plural
from compiler.inspect.explain import differences
from compiler.inspect.summary import wrapped
from compiler.plan.dag import Plan, TrialPlan


@dataclass(frozen=True)
class TrialPair:
    """A trial of each study, by address: the two are the same task or differ in some fields."""

    left: str
    right: str
    differences: tuple[str, ...]
    """`classifier.lr: 0.1 → 0.05`, or `revision of an operation`; empty where both are the same task."""


@dataclass(frozen=True)
class Difference:
    """Common and different trials of two plans, by address; each trial is in one pair, or in `only_left` or `only_right`."""

    left: Plan
    right: Plan
    pairs: tuple[TrialPair, ...]
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]

    @property
    def same(self) -> tuple[TrialPair, ...]:
        """Pairs that are the same task."""
        return tuple(pair for pair in self.pairs if not pair.differences)

    @property
    def changed(self) -> tuple[TrialPair, ...]:
        """Pairs that differ."""
        return tuple(pair for pair in self.pairs if pair.differences)


def diff(left: Plan, right: Plan) -> Difference:
    """Match the trials of two plans: each left one, in order, with a right one of the same answer (the task of its attacks),
    preferably at the same address, else with the right one at the same address. A right one is matched once; those without a match
    are in `only_left` and `only_right`."""
    here, there = ({planned.trial.address: planned for planned in plan.trials} for plan in (left, right))
    matches = {address: address for address in here.keys() & there.keys() if here[address].answer == there[address].answer}
    by_answer: dict[str, list[str]] = defaultdict(list)
    for address, planned in there.items():
        if address not in matches:
            by_answer[planned.answer].append(address)
    for address, planned in here.items():  # the same task by another name comes before another one by the same name
        if address not in matches and by_answer[planned.answer]:
            matches[address] = by_answer[planned.answer].pop(0)
    taken = set(matches.values())
    matches |= {address: address for address in here if address not in matches and address in there and address not in taken}
    pairs = []
    for planned in left.trials:
        if planned.trial.address in matches:
            other = there[matches[planned.trial.address]]
            same = planned.answer == other.answer
            changes = () if same else tuple(_list_changes(planned, other)) or ("revision of an operation",)
            pairs.append(TrialPair(planned.trial.address, other.trial.address, changes))
    only_left = tuple(address for address in here if address not in matches)
    taken = set(matches.values())
    only_right = tuple(address for address in there if address not in taken)
    return Difference(left, right, tuple(pairs), only_left, only_right)


def _list_changes(left: TrialPlan, right: TrialPlan) -> Iterator[str]:
    """Differences from the left to the right trial in seed and resolved parameters, as by `differences`."""
    yield from differences({"seed": left.trial.seed}, {"seed": right.trial.seed})
    yield from differences(left.trial.point.model_dump(mode="json"), right.trial.point.model_dump(mode="json"))


def diff_json(difference: Difference) -> dict[str, Any]:
    """{left, right, trials: {same, changed, only_left, only_right}, tasks: {shared, only_left, only_right}}: names of the studies,
    addresses of trials (pairs under `same`, with differences under `changed`), numbers of tasks."""
    shared = difference.left.tasks.keys() & difference.right.tasks.keys()
    return {
        "left": difference.left.header.study,
        "right": difference.right.header.study,
        "trials": {
            "same": [[pair.left, pair.right] for pair in difference.same],
            "changed": [
                {"left": pair.left, "right": pair.right, "differences": list(pair.differences)} for pair in difference.changed
            ],
            "only_left": list(difference.only_left),
            "only_right": list(difference.only_right),
        },
        "tasks": {
            "shared": len(shared),
            "only_left": len(difference.left.tasks) - len(shared),
            "only_right": len(difference.right.tasks) - len(shared),
        },
    }


MAX_LISTED = 12
"""Most trials, or most differences, that are listed one by one."""


def diff_text(difference: Difference, left: str, right: str) -> list[str]:
    """The difference as lines of text, at most MAX_LISTED trials or differences in a list; `left`, `right`: what to call the two
    studies."""
    lines = [f"{left}: {_counts(difference.left)}", f"{right}: {_counts(difference.right)}", ""]
    shared = difference.left.tasks.keys() & difference.right.tasks.keys()
    lines.append(f"{plural(len(shared), 'task')} in both" + (": computed once, whichever runs first" if shared else ""))
    for name, plan in ((left, difference.left), (right, difference.right)):
        rest = Counter(task.operation for id, task in plan.tasks.items() if id not in shared)
        if rest:
            listed = ", ".join(f"{count:,} {operation}" for operation, count in rest.items())
            lines += [f"{rest.total():,} only in {name}:", *(f"  {line}" for line in wrapped(listed, 110))]
    if difference.same:
        renamed = [pair for pair in difference.same if pair.left != pair.right]
        lines += ["", f"the same ({_trials(difference.same)})" + (f", {len(renamed)} of them by another name" if renamed else "")]
        lines += _some([f"  {pair.left}" + (f" = {pair.right}" if pair.left != pair.right else "") for pair in difference.same])
    by_difference: dict[tuple[str, ...], list[TrialPair]] = defaultdict(list)
    for pair in difference.changed:
        by_difference[pair.differences].append(pair)
    for changes, pairs in by_difference.items():
        lines += ["", f"different ({_trials(pairs)}) in", *_some([f"    {line}" for line in changes])]
        lines += _some([f"  {pair.left}" + (f" | {pair.right}" if pair.left != pair.right else "") for pair in pairs])
    for name, only in ((left, difference.only_left), (right, difference.only_right)):
        if only:
            lines += ["", f"only in {name} ({_trials(only)})", *_some([f"  {address}" for address in only])]
    return lines


def _counts(plan: Plan) -> str:
    return f"{plan.header.study}, {_trials(plan.trials)}, {plural(len(plan.tasks), 'task')}"


def _trials(of: Sequence[object]) -> str:
    return plural(len(of), "trial")


def _some(lines: list[str]) -> list[str]:
    """The first MAX_LISTED lines, and one that counts the rest."""
    return lines if len(lines) <= MAX_LISTED else [*lines[:MAX_LISTED], f"  and {len(lines) - MAX_LISTED} more"]
