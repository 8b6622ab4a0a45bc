"""`synthc plan`, `explain`, `graph`, `diff`: show what a study would run, and why. None of them runs tasks."""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError
from compiler.inspect.json_help import JSON_SHAPE, STAGES
from runtime.cli.options import compile_study_of, force_option, only_option, print_notices, select_forced, spec_options
from runtime.cli.results_options import add_command, store_of, whole_number, write

if TYPE_CHECKING:
    from compiler.plan.dag import Plan, Task


def register(commands: Any) -> None:
    """Add the commands `plan`, `explain`, `graph` and `diff`."""
    _add_plan(commands)
    _add_explain(commands)
    _add_graph(commands)
    _add_diff(commands)


def _add_plan(commands: Any) -> None:
    stages = "\n".join(f"  {stage:<8}{about}" for stage, about in STAGES.items())
    plan = add_command(
        commands,
        "plan",
        _plan,
        parents=[spec_options(), only_option(), force_option()],
        help="what a study would run, how long, and what its audit could show",
        description="Compile a study and say what is done, what would run and for which arm, how long it would take, and what the "
        "audit can resolve. Runs nothing.",
        epilog="examples:\n  synthc plan specs/full_study.yaml\n"
        "  synthc plan specs/full_study.yaml --profile complete --workers 16\n"
        "  synthc plan specs/full_study.yaml --json\n  synthc plan specs/full_study.yaml --emit trials\n\n"
        f"stages of --emit:\n{stages}\n\n--json:\n{JSON_SHAPE}",
    )
    plan.add_argument("--json", action="store_true", help="the summary as JSON (its shape is below)")
    plan.add_argument("--emit", choices=tuple(STAGES), metavar="STAGE", help=f"one stage as JSON: {', '.join(STAGES)}")
    plan.add_argument("--workers", type=whole_number(), metavar="N", help="estimate for so many workers (default: one per core)")


def _add_explain(commands: Any) -> None:
    explain = add_command(
        commands,
        "explain",
        _explain,
        parents=[spec_options(), only_option(), force_option()],
        help="why tasks would run: what changed since the last plan",
        description="Say why each task would run, field by field against the last run of the study under the same profile: new, a "
        "parameter changed from … to …, a parent changed, failed before, artifact gone or damaged, forced. Runs nothing.",
        epilog="examples:\n  synthc explain specs/full_study.yaml --set classifier.lr=0.1\n"
        "  synthc explain specs/full_study.yaml 'dm[init=noise]#0/shadow 3/model'\n"
        "  synthc explain specs/full_study.yaml '*/shadow 0/*' --json",
    )
    where = "a task's address or id, a trial, or a pattern with * (default: all that would run)"
    explain.add_argument("address", nargs="?", metavar="ADDRESS", help=where)
    shape = "as JSON: a list of {id, address, operation, would_run, reason, lines, compared_with}"
    explain.add_argument("--json", action="store_true", help=shape)


def _add_graph(commands: Any) -> None:
    graph = add_command(
        commands,
        "graph",
        _graph,
        parents=[spec_options()],
        help="a picture of the plan",
        description="Draw the plan: a lane for each arm, a column for each step, shadows and grid points folded; what is done is "
        "marked. The file's ending says the format: .svg, .html, .dot (Graphviz), .mermaid or .mmd.",
        epilog="examples:\n  synthc graph specs/full_study.yaml -o plan.svg\n"
        "  synthc graph specs/smoke.yaml -o plan.svg --unfold points      a lane for each trial\n"
        "  synthc graph specs/smoke.yaml -o plan.html --unfold shadows    besides, a node for each task",
    )
    graph.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to: .svg, .html, .dot, .mermaid")
    graph.add_argument("--unfold", choices=("points", "shadows"), help="what to draw apart (default: nothing)")


def _add_diff(commands: Any) -> None:
    diff = add_command(
        commands,
        "diff",
        _diff,
        help="what two studies share and where they differ, or what moved between two runs",
        description="Compare two studies, or a study with itself under another profile: trials that are the same, trials that "
        "differ and in which words, tasks that both would use. Or two runs, by their names in `synthc runs`: figures that moved "
        "beyond their intervals, words of the spec and versions that differ. Runs nothing.",
        epilog="examples:\n  synthc diff specs/smoke.yaml specs/full_study.yaml\n"
        "  synthc diff specs/full_study.yaml specs/full_study.yaml --profiles '' complete\n"
        "  synthc diff 20261128T101500 20261128T164210      two runs; beginnings of names will do\n\n"
        "--json, of studies: {left, right, trials: {same, "
        "changed, only_left, only_right}, tasks: {shared, only_left, only_right}}",
    )
    diff.add_argument("left", type=Path, metavar="A.yaml|RUN")
    diff.add_argument("right", type=Path, metavar="B.yaml|RUN")
    diff.add_argument("--profiles", nargs=2, metavar=("OF_A", "OF_B"), default=("", ""), help="a profile of each ('' for none)")
    diff.add_argument("--json", action="store_true", help="as JSON (its shape is below)")


def _plan(args: argparse.Namespace) -> int:
    from compiler.inspect.summary import summary_json, summary_text

    if args.emit:
        _print_json(_read_stage(args))
        return 0
    plan = compile_study_of(args)
    print_notices(plan)
    summary = summarize(args, plan)
    if args.json:
        _print_json(summary_json(summary))
    else:
        print("\n".join(summary_text(summary)))
    return 0


def _read_stage(args: argparse.Namespace) -> Any:
    from compiler.inspect import emit
    from compiler.text.compose import compose
    from compiler.text.nodes import plain, read

    match args.emit:
        case "nodes":
            return emit.nodes(read(args.spec))
        case "tree":
            return plain(compose(args.spec, args.profile, args.sets))
        case "trials":
            return emit.trials(compile_study_of(args))
    return emit.tasks(compile_study_of(args))


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=1, ensure_ascii=False))


def summarize(args: argparse.Namespace, plan: Plan | None = None) -> Any:
    """The `compiler.inspect.summary.Summary` of `plan`, or where that is None of the study that the arguments of `synthc plan`
    name, with an estimate of cost by earlier tasks, or else by guesses at the pace of this machine (which is measured then), for
    `--workers` (default: one per core). SpecError where that study does not compile or `--only` selects no trial; SynthcError where
    `--force` names no task."""
    from compiler.inspect.cost.estimate import estimate, pace_of
    from compiler.inspect.summary import Summary
    from runtime import machine
    from runtime.database.history import history

    plan = compile_study_of(args) if plan is None else plan
    done, to_run = _split_tasks(plan, args)
    past = history(args.db.absolute(), store_of(args), to_run.values()) if to_run else {}
    pace = pace_of(past) or (machine.pace() if to_run else 1.0)
    return Summary(plan, done, to_run, estimate(to_run, past, max(1, args.workers or machine.cores()), pace))


def _split_tasks(plan: Plan, args: argparse.Namespace) -> tuple[frozenset[str], dict[str, Task]]:
    """Ids of all tasks of the plan that are done and not forced; and, for the trials of `--only`, id → task of those that would
    run. SpecError where `--only` selects no trial; SynthcError where `--force` names no task."""
    from compiler.plan.select import select

    done = _find_done(plan, args) - select_forced(plan, args)
    return done, plan.to_run(done.__contains__, select(plan, args.only).answers)


def _find_done(plan: Plan, args: argparse.Namespace) -> frozenset[str]:
    from runtime.store.artifacts import is_done

    store: Path = store_of(args)
    return frozenset(id for id in plan.tasks if is_done(store, id)) if store.is_dir() else frozenset()


MAX_TASKS_IN_DETAIL = 12
"""Most tasks that are each explained in full."""


def _explain(args: argparse.Namespace) -> int:
    from compiler.inspect.explain import Explanation, detail, explanation_json, find_tasks, overview
    from runtime.store.runs import load_previous, read_trace

    plan, store = compile_study_of(args), store_of(args)
    _, to_run = _split_tasks(plan, args)
    last = load_previous(store, plan.header.study, plan.profile) if store.is_dir() else None
    explanation = Explanation(plan, to_run, functools.cache(lambda task: read_trace(store, task)), last)
    tasks = find_tasks(plan, args.address) if args.address else list(to_run.values())
    if args.json:
        _print_json(explanation_json(explanation, tasks))
    elif args.address and len(tasks) <= MAX_TASKS_IN_DETAIL:
        print("\n\n".join("\n".join(detail(explanation, task)) for task in tasks))
    else:
        print("\n".join(overview(explanation, tasks)))
    return 0


def _graph(args: argparse.Namespace) -> int:
    from compiler.inspect.graph import graph
    from runtime.present.graph import MAX_NODES_DRAWN, draw

    forms = {".svg": "svg", ".html": "html", ".dot": "dot", ".mermaid": "mermaid", ".mmd": "mermaid"}
    form: Any = forms.get(args.output.suffix)
    if form is None:
        raise SynthcError(f"{args.output}: the ending should be one of {', '.join(forms)}")
    plan = compile_study_of(args)
    folded = graph(plan, _find_done(plan, args), args.unfold)
    if len(folded.nodes) > MAX_NODES_DRAWN:
        hint = "draw it folded, or fewer trials with --set"
        raise SynthcError(f"{len(folded.nodes):,} nodes are more than a picture can hold ({MAX_NODES_DRAWN:,}); {hint}")
    write(draw(folded, form), args.output)
    return 0


def _diff(args: argparse.Namespace) -> int:
    if not args.left.exists() and not args.right.exists() and not {args.left.suffix, args.right.suffix} & {".yaml", ".yml"}:
        from runtime.cli.run_diff import diff_runs

        return diff_runs(args)
    from compiler.inspect.diff import diff, diff_json, diff_text
    from runtime.data.cards import compile_with_files

    specs, profiles = (args.left, args.right), [name or None for name in args.profiles]
    difference = diff(*(compile_with_files(spec, profile) for spec, profile in zip(specs, profiles, strict=True)))
    if args.json:
        _print_json(diff_json(difference))
        return 0
    names = [f"{spec} ({profile})" if profile else str(spec) for spec, profile in zip(specs, profiles, strict=True)]
    print("\n".join(diff_text(difference, *names)))
    return 0
