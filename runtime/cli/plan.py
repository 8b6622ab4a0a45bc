"""`synthc plan`: what a study would run, and what its audit could show."""

from __future__ import annotations

import argparse
import json
from typing import Any

from compiler.outlook import outlook
from compiler.plan import Plan
from runtime.artifacts import folder_of, is_done
from runtime.cli import results_options, store_of
from runtime.cli.spec_options import compiled, spec_options


def register(commands: Any) -> None:
    """Add the commands of this family."""
    plan = commands.add_parser(
        "plan",
        parents=[spec_options(), results_options()],
        help="what a study would run, and what its audit could show",
        description="Compile a study and say what is done, what would run, and what the audit can resolve. Runs nothing.",
        epilog="examples:\n  synthc plan specs/full_study.yaml\n  synthc plan specs/full_study.yaml --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument("--json", action="store_true", help="as JSON: study, trials, tasks {total, done, to_run, by_kind}")
    plan.set_defaults(handler=_plan)


def _plan(args: argparse.Namespace) -> int:
    plan, store = compiled(args), store_of(args)
    state = {id: is_done(store, id) for id in plan.tasks}
    to_run = plan.to_run(lambda id: state[id])
    if args.json:
        print(json.dumps(_summary(plan, sum(state.values()), len(to_run)), indent=1))
        return 0
    print(f"{plan.header.study}: {plan.header.question}\n")
    print(f"{len(plan.trials)} trials, {len(plan.tasks)} tasks: {sum(state.values())} done, {len(to_run)} to run")
    for kind, total in plan.counts().items():
        waiting = [task for task in to_run.values() if task.kind == kind]
        operations: dict[str, int] = {}
        for task in waiting:
            operations[task.operation] = operations.get(task.operation, 0) + 1
        listed = ", ".join(f"{count} {operation}" for operation, count in sorted(operations.items()))
        print(f"  {kind:<11} {total:>6}  to run {len(waiting):>6}  {listed}")
    tried = [id for id in to_run if any(folder_of(store, id).glob("attempts/*"))]
    if tried:
        print(f"  {len(tried)} of those to run were tried before; their logs lie in {store}")
    print()
    print("\n".join(outlook(plan)))
    return 0


def _summary(plan: Plan, done: int, to_run: int) -> dict[str, Any]:
    return {
        "study": plan.header.study,
        "profile": plan.profile,
        "trials": len(plan.trials),
        "tasks": {"total": len(plan.tasks), "done": done, "to_run": to_run, "by_kind": dict(plan.counts())},
    }
