"""`synthc check`, `plan`, `init`: what a study says, what it would run, and how to begin one. None of them needs torch."""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from compiler.errors import SpecError, SynthcError
from compiler.outlook import outlook
from compiler.plan import Plan
from runtime.artifacts import folder_of, is_done
from runtime.cli import results_options, store_of
from runtime.cli.spec_options import compiled, spec_options, tell


def register(commands: Any) -> None:
    """Add the commands of this family."""
    check = commands.add_parser(
        "check",
        parents=[spec_options(optional=True)],
        help="find every mistake in a study, and what it lacks",
        description="Compile a study and say every mistake, and what a rigorous study needs and this one lacks, with its place.\n"
        "Exit code 0 if nothing refuses the study, else 2. Lints (L01, L02, …) can be silenced in the spec, with a reason.",
        epilog="examples:\n"
        "  synthc check specs/full_study.yaml --profile fashion_mnist\n"
        "  synthc check --explain L05                      what a lint is about\n"
        "  synthc check specs/full_study.yaml --explain L04    and where it speaks in this study",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("--explain", metavar="CODE", help="what a lint is about, why, after whom, and how it is silenced")
    check.set_defaults(handler=_check)

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

    init = commands.add_parser(
        "init",
        help="write a commented starter study",
        description="Write NAME.yaml, a small study with every part explained. Never overwrites a file.",
        epilog="example:\n  synthc init my_study && synthc run my_study.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    init.add_argument("name", metavar="NAME", help="name of the study, and of its file")
    init.set_defaults(handler=_init)


def _check(args: argparse.Namespace) -> int:
    if args.explain is not None:
        return _explain_lint(args)
    if args.spec is None:
        raise SynthcError("name a study, as in `synthc check study.yaml`, or a lint, as in `synthc check --explain L05`")
    plan = compiled(args)
    tell(plan)
    warned = sum(finding.silenced is None for finding in plan.lints)
    found = f"no mistakes, {warned} warning{'s' if warned != 1 else ''}"
    print(f"{args.spec}: {plan.header.study}: {len(plan.trials)} trials, {len(plan.tasks)} tasks, {found}")
    return 0


def _explain_lint(args: argparse.Namespace) -> int:
    from compiler.lint.catalog import LINTS, explain

    code = args.explain.upper()
    if code not in LINTS:
        listed = "\n".join(f"  {lint.code}  {lint.title}" for lint in LINTS.values())
        what = f"no lint is called {args.explain!r}; codes in words are of mistakes, which say all there is to say"
        raise SynthcError(f"{what}. There are:\n{listed}")
    print("\n".join(explain(code)))
    if args.spec is None:
        return 0
    try:
        here: list[Any] = [finding for finding in compiled(args).lints if finding.code == code]
    except SpecError as error:
        here = [found for found in error.diagnostics if found.code == code]
        if not here:
            raise
    print(f"\nin {args.spec}: " + ("" if here else "silent" if LINTS[code].before else "nothing to be seen before the run"))
    for found in here:
        print(f"  {found}")
    for reason in {getattr(found, "silenced", None) for found in here} - {None}:
        print(f"  silenced: {reason}")
    return 0


def _plan(args: argparse.Namespace) -> int:
    plan, store = compiled(args), store_of(args)
    tell(plan)
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


def _init(args: argparse.Namespace) -> int:
    name = Path(args.name).stem
    target = Path(args.name).with_name(f"{name}.yaml")
    starter = (files("runtime.cli") / "starter.yaml").read_text(encoding="utf-8").replace("STUDY", name)
    try:
        with target.open("x", encoding="utf-8") as handle:
            handle.write(starter)
    except FileExistsError:
        raise SynthcError(f"{target}: already there, and nothing is overwritten; choose another name") from None
    except OSError as error:
        raise SynthcError(f"{target}: cannot be written: {error.strerror}; choose another folder") from error
    print(f"wrote {target}\nnext: synthc plan {target}   synthc run {target}")
    return 0
