"""`synthc run`: compile, compute what is missing, record, publish."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from compiler.errors import SynthcError, and_more, did_you_mean, plural
from compiler.work import TaskKind
from runtime.cli.options import (
    compile_study_of,
    force_option,
    identify_data,
    only_option,
    print_notices,
    select_forced,
    spec_options,
)
from runtime.cli.results_options import add_command, positive_number, store_of, whole_number

if TYPE_CHECKING:
    from compiler.plan.dag import Plan, Task
    from runtime.execution.driver import Interrupt
    from runtime.execution.engine import Engine
    from runtime.execution.study_run import StudyRun
    from runtime.execution.worker import Dispatch
    from runtime.outcome import Outcome

MAX_REPAIRS = 3
"""Rounds of recomputing damaged artifacts before a run gives up, since the disk is then unreliable."""
KINDS = get_args(TaskKind)


def register(commands: Any) -> None:
    parser = add_command(
        commands,
        "run",
        run,
        parents=[spec_options(), only_option(), force_option()],
        help="run a study, or what is missing of it",
        description="Compile a study, compute what is not in the store yet, publish the results, and draw the spec's `charts:`.",
        epilog="examples:\n"
        "  synthc run specs/full_study.yaml\n"
        "  synthc run specs/smoke.yaml --engine inline --db /tmp/smoke/results.duckdb\n"
        "  synthc run study.yaml --set audit.shadows=32\n"
        "  synthc run study.yaml --only arm=coreset --only fraction=[0.1,0.3]    a part of it; claims about the rest wait\n"
        "  synthc run study.yaml --force 'dm*/shadow 3/model'    compute it again, and what rests on it\n"
        "  synthc run study.yaml --address auto          on a running Ray cluster\n\n"
        "Ctrl-C once finishes what is running, twice stops now; running again continues.\n"
        "Exit codes: 0 done, 1 tasks failed, 2 something to mend, 3 the policy is closed, 130 interrupted.",
    )
    engine_options(parser)
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed in earlier runs")


def engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the engine: which one, its cluster, workers and GPUs, what a failure stops, time limits of tasks."""
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray", help="who computes: ray (default) or this process")
    address = "join a running Ray cluster: its head's address, auto, or local for none (default: RAY_ADDRESS, or none)"
    parser.add_argument("--address", metavar="HOST:PORT", help=address)
    parser.add_argument("--no-token", action="store_true", help="join a cluster that requires no token")
    workers = "workers (default: one per core, or as many per GPU as fit)"
    parser.add_argument("--workers", type=whole_number(), metavar="N", help=workers)
    memory = "GPU memory that a worker may need, by which workers share a GPU (default: 8)"
    parser.add_argument("--gpu-memory", type=positive_number, default=8.0, metavar="GIB", help=memory)
    rehearsed = "ask the cluster for shares of GPUs, which may be logical, and compute on the CPU"
    parser.add_argument("--rehearse-gpus", action="store_true", help=rehearsed)
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure; else what does not need it goes on")
    parser.add_argument(
        "--timeout",
        action="append",
        default=[],
        type=_parse_timeout,
        metavar="KIND=SECONDS",
        help=f"give up a task after so long; KIND is one of {', '.join(KINDS)}",
    )


def run(args: argparse.Namespace) -> int:
    """Run a study: compile it, compute the tasks that are missing, publish, print the answer on standard error, draw the declared
    charts (unless interrupted, or nothing had to run and all are there), and, if no task is missing, check its policy. Returns the
    exit code: 0 done, 1 tasks are missing, 3 the policy is closed, 130 interrupted. SpecError for a study that is not valid;
    SynthcError for what else ends the run: if that is while it computes, its record is completed as `failed` first."""
    from compiler.plan.select import select
    from compiler.text.compose import compose, sources
    from compiler.text.nodes import plain
    from runtime.present import spec_charts
    from runtime.store.artifacts import lock_store, warn_of_others

    plan, store = _compile_with_data(args), store_of(args)
    print_notices(plan)
    selected, forced = select(plan, args.only), select_forced(plan, args)
    texts = sources(args.spec)
    composed = plain(compose(args.spec, args.profile, args.sets))
    origin = {
        "spec": str(args.spec),
        "spec_text": texts[str(args.spec)],
        "texts": texts,
        "composed": composed,
        "argv": sys.argv[1:],
    }
    with lock_store(store):
        if warning := warn_of_others(store):
            _print(f"synthc: {store}: {warning}")
        from runtime.database.index import Index
        from runtime.execution.study_run import Scope, StudyRun

        with contextlib.closing(Index.open(store)) as index, contextlib.ExitStack() as signals:
            study = StudyRun(plan, store, index, args.db.absolute(), origin, Scope(selected.answers, forced, args.retry_failed))
            for warning in study.list_changed_code():
                _print(f"synthc: {warning}")
            try:
                status = compute(study, args, signals) if study.todo else "done"
            except BaseException:
                with contextlib.suppress(SynthcError, OSError):  # the first error says more
                    study.close("failed")
                raise
            if notice := study.close(status):
                _print(f"synthc: {notice}")
            signals.close()
            if selected.waiting:
                _print(f"claims that wait for trials outside of --only: {', '.join(selected.waiting)}")
            code = _print_summary(study, status, args)
            if code != 130 and (study.todo or spec_charts.missing(plan, study.target)):
                for sentence in spec_charts.draw(plan, study.target, store):
                    _print(sentence)
            return _check_policy(study) if plan.header.policy and not code else code


def _check_policy(study: StudyRun) -> int:
    """Print on standard error the result of each condition of the study's policy for each trial that it is about, and write them to
    `policy.json` in the run's folder; returns 3 where one is not met, else 0. SynthcError where the database cannot be read."""
    from runtime.judge.gate import check_conditions

    settled = check_conditions(study.plan, study.target, study.index.origin, study.store / "runs" / study.name)
    for one in settled:
        _print(one.sentence)
    closed = sum(not one.holds for one in settled)
    conditions = plural(len(settled), "condition")
    _print(f"the policy is closed; not met: {closed} of {conditions}" if closed else f"the policy is open; met: {conditions}")
    return 3 if closed else 0


def _compile_with_data(args: argparse.Namespace) -> Plan:
    """The plan, with ids by the content of its data sets (`identify_data`, errors as there); SpecError for a study that is not
    valid."""
    plan = compile_study_of(args)
    return compile_study_of(args) if identify_data(trial.trial for trial in plan.trials) else plan


def compute(study: StudyRun, args: argparse.Namespace, signals: contextlib.ExitStack) -> str:
    """Compute until every task is done, failed or blocked, or the run is stopped, and show progress on standard error; returns
    `interrupted` if the user stopped it, else `done`, also where tasks failed. `args`: the options of `engine_options`. Artifacts
    found damaged are computed again, MAX_REPAIRS times at most. Signal handlers stay until `signals` is closed. SynthcError where
    the engine cannot start, loses its workers, or the store cannot be written."""
    from runtime.execution.driver import Driver, Interrupt, Policy
    from runtime.execution.progress import Display

    interrupt, policy = Interrupt(), Policy(args.fail_fast, dict(args.timeout))
    with Display(study.todo) as display:
        rest = len(study.plan.tasks) - len(study.todo)
        display.print_line(f"{study.plan.header.study}: {plural(len(study.todo), 'task')} to run, {rest} done or not needed")

        def on_outcome(task: Task, outcome: Outcome, attempt: int) -> None:
            study.on_outcome(task, outcome, attempt)
            display.on_outcome(task, outcome)

        def on_tick(in_flight: Mapping[Dispatch, float]) -> None:
            if notice := study.publish_if_due(display.on_tick(in_flight)):
                display.print_line(notice)

        if args.engine == "ray":
            display.print_line("starting workers: each loads PyTorch first")
        engine = _start_engine(args, study.store, display.print_line)
        signals.enter_context(_handle_signals(interrupt, display.print_line))
        try:
            with interrupt.stoppable():
                repairs = 0
                while True:
                    Driver(
                        study.todo,
                        engine,
                        on_outcome,
                        on_submit=study.on_submit,
                        on_tick=on_tick,
                        earlier=study.earlier(),
                        policy=policy,
                        interrupt=interrupt,
                    ).run()
                    if interrupt.count or repairs == MAX_REPAIRS or not study.repair():
                        break
                    repairs += 1
                    display.add_tasks(study.todo)
                    display.print_line(f"what earlier tasks left was damaged: computing {plural(len(study.todo), 'task')} again")
        finally:
            engine.close()
    return "interrupted" if interrupt.by_user else "done"


def _start_engine(args: argparse.Namespace, store: Path, say: Callable[[str], None]) -> Engine:
    from runtime.operations import OPERATIONS

    if args.engine == "inline":
        from runtime.execution.engine import InlineEngine

        return InlineEngine(store, operations=OPERATIONS)
    from runtime.execution.ray_engine import RayEngine

    address = args.address or os.environ.get("RAY_ADDRESS") or None
    return RayEngine(
        store,
        address,
        args.workers,
        args.gpu_memory,
        OPERATIONS,
        with_token=not args.no_token,
        rehearse_gpus=args.rehearse_gpus,
        say=say,
    )


def _print_summary(study: StudyRun, status: str, args: argparse.Namespace) -> int:
    for finding in study.findings:
        if finding.silenced is None:
            _print(f"synthc: {finding}")
    alike: dict[str, list[str]] = {}
    for id, error in study.given_up.items():
        alike.setdefault(str(error), []).append(study.plan.tasks[id].address)
    for error, addresses in alike.items():
        _print(f"failed before: {and_more(addresses, 1)}: {error}")
    if study.given_up:
        _print(f"{plural(len(study.given_up), 'task')} failed in an earlier run; --retry-failed tries again")
    missing, results = study.count_missing(), f"results in {study.target}"
    if status == "interrupted":
        _print(f"interrupted with {plural(missing, 'task')} left; what was finished is kept: run the same command again to go on")
        return 130
    if missing:
        _print(f"computed {plural(study.computed, 'task')}; failed: {len(study.failures)}, missing: {missing}")
        if study.published:
            _print(f"{results}: what could be computed")
        return 1
    _print(f"computed {plural(study.computed, 'task')}" if study.computed else "everything was done before")
    if study.published:
        _print_answer(study, args)
        _print(results)
    return 0


def _print_answer(study: StudyRun, args: argparse.Namespace) -> None:
    """Print, on standard error, the comparison table, the answer in sentences, and commands for more."""
    from runtime.database.read import Scope, narrow, open_read_only
    from runtime.present.answer import answer, count_verdicts
    from runtime.present.paradigms import rows_of
    from runtime.present.tables import comparison, render

    header = study.plan.header
    with open_read_only(study.target) as query:
        narrow(query, Scope(study.index.origin, header.study, study.plan.profile or ""))
        found, claims = query("FROM comparison"), rows_of(*query("FROM claim"))
    _print("\n" + render(*comparison(*found), "table"))
    for sentence in (*answer(rows_of(*found)), *([f"{count_verdicts(claims)}."] if claims else [])):
        _print(f"\n{textwrap.fill(sentence, 100, break_on_hyphens=False)}")
    of_this = ["--study", header.study, *(["--profile", study.plan.profile] if study.plan.profile else [])]
    named = [] if str(args.db) == "results.duckdb" else ["--db", str(args.db)]
    named += ["--store", str(args.store)] if args.store else []
    commands = (
        ["report", "-o", "report.html", *of_this],
        ["chart", "tradeoff", "-o", "tradeoff.svg", *of_this],
        ["sql", "FROM comparison", *of_this],
    )
    _print("\nnext: " + "\n      ".join(shlex.join(["synthc", *words, *named]) for words in commands) + "\n")


def _print(line: str) -> None:
    print(line, file=sys.stderr)


@contextlib.contextmanager
def _handle_signals(interrupt: Interrupt, print_line: Callable[[str], None]) -> Iterator[None]:
    """In the block, SIGINT (Ctrl-C), SIGTERM and SIGHUP are counted in `interrupt`. After the first, which `print_line` announces,
    running tasks finish; a later one raises Stopped if `interrupt.can_stop`, which it clears, and else has no effect.

    Installed after Ray, which replaces SIGTERM's handler; earlier handlers return with the end of the block. A signal that is
    ignored (`nohup`) stays so.
    """
    from runtime.outcome import Stopped

    def handle(number: int, frame: object) -> None:
        interrupt.count += 1
        interrupt.by_user = True
        if interrupt.count == 1:
            print_line("stopping: finishing what is running (again to stop now)")
        elif interrupt.can_stop:
            interrupt.can_stop = False
            raise Stopped

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parse_timeout(text: str) -> tuple[str, float]:
    kind, _, seconds = text.partition("=")
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=SECONDS; {did_you_mean(kind, KINDS)}")
    return kind, positive_number(seconds)
