"""`synthc run`: compile, compute what is missing, record, publish."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError
from runtime.cli.options import compiled, force_option, forced, only_option, spec_options, tell
from runtime.cli.results_options import results_options, store_of
from runtime.store.artifacts import held

if TYPE_CHECKING:
    from compiler.plan.dag import Plan, Task
    from runtime.execution.driver import Interrupt
    from runtime.execution.engine import Engine
    from runtime.execution.study_run import StudyRun
    from runtime.outcome import Outcome

REPAIRS = 3
"""How often damaged artifacts are computed again before a run gives up: the disk is not to be trusted."""
KINDS = ("train", "synthesize", "query", "attack", "compare")


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        parents=[spec_options(), only_option(), force_option(), results_options()],
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
        "Exit codes: 0 done, 1 some tasks failed, 2 something to mend, 130 interrupted.",
    )
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray", help="who computes: ray (default) or this process")
    parser.add_argument("--address", metavar="HOST:PORT", help="join a running Ray cluster: its address, or auto")
    parser.add_argument("--workers", type=_positive, metavar="N", help="workers (default: one per core, or as many per GPU as fit)")
    memory = "GPU memory that a worker may need, by which workers share a GPU (default: 8)"
    parser.add_argument("--gpu-memory", type=float, default=8.0, metavar="GIB", help=memory)
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed in earlier runs")
    failing = parser.add_mutually_exclusive_group()
    failing.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    failing.add_argument(
        "--keep-going", dest="fail_fast", action="store_false", help="go on with what does not need what failed (the default)"
    )
    parser.add_argument(
        "--timeout",
        action="append",
        default=[],
        type=_timeout,
        metavar="KIND=SECONDS",
        help=f"give up a task after so long; KIND is one of {', '.join(KINDS)}",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """The command."""
    from compiler.plan.select import select
    from compiler.text.compose import sources
    from runtime.present import spec_charts as figures

    plan, store = _with_known_data(args), store_of(args)
    tell(plan)
    wanted, again = select(plan, args.only), forced(plan, args)
    texts = sources(args.spec)
    origin = {"spec": str(args.spec), "spec_text": texts[str(args.spec)], "texts": texts, "argv": sys.argv[1:]}
    with held(store):
        from runtime.database.index import Index
        from runtime.execution.study_run import StudyRun

        with contextlib.closing(Index.open(store)) as index:
            study = StudyRun(plan, store, index, args.db.absolute(), origin, args.retry_failed, wanted.answers, again)
            try:
                status = _compute(study, args) if study.todo else "done"
            except BaseException:
                with contextlib.suppress(SynthcError, OSError):   # what went wrong first says more
                    study.close("failed")
                raise
            if notice := study.close(status):
                _say(f"synthc: {notice}")
            if wanted.waiting:
                _say(f"claims that wait for trials outside of --only: {', '.join(wanted.waiting)}")
            code = _sum_up(study, status)
            if code != 130 and (study.todo or figures.missing(plan, study.target)):
                for path in figures.draw(plan, study.target, store):
                    _say(f"drew {path}")
            return code


def _with_known_data(args: argparse.Namespace) -> Plan:
    """The plan; what it names and nobody read here yet is read first, since ids depend on it."""
    from compiler.inspect.data_notices import unseen

    plan = compiled(args)
    if absent := unseen(plan):
        from runtime.data.sources import see

        for name in absent:
            record = see(name)
            _say(f"{name}: {record.samples:,} + {record.test_samples:,} images, identified by their content as {record.digest}")
        plan = compiled(args)
    return plan


def _compute(study: StudyRun, args: argparse.Namespace) -> str:
    from runtime.execution.driver import Driver, Interrupt, Policy
    from runtime.execution.progress import Display

    interrupt = Interrupt()
    with Display(study.todo) as display:
        rest = len(study.plan.tasks) - len(study.todo)
        display.say(f"{study.plan.header.study}: {len(study.todo)} tasks to run, {rest} done or not needed")

        def record(task: Task, outcome: Outcome, attempt: int) -> None:
            study.record(task, outcome, attempt)
            display.heard(task, outcome)

        def beat(flying: Mapping[str, Task]) -> None:
            display.beat(flying)
            if notice := study.publish_if_due():
                display.say(notice)

        engine = _engine(args, study.store)
        try:
            with _interruptible(interrupt, display.say):
                repairs = 0
                while True:
                    Driver(
                        study.todo,
                        engine,
                        record,
                        beat=beat,
                        tried=study.tried,
                        seconds=study.index.seconds_by_operation(),
                        policy=Policy(args.fail_fast, dict(args.timeout)),
                        interrupt=interrupt,
                    ).run()
                    if interrupt.count or repairs == REPAIRS or not study.repair():
                        break
                    repairs += 1
                    display.more(study.todo)
                    display.say(f"what earlier tasks left was damaged: computing {len(study.todo)} tasks again")
        finally:
            engine.close()
    return "interrupted" if interrupt.asked else "done"


def _engine(args: argparse.Namespace, store: Path) -> Engine:
    from runtime.operations import OPERATIONS

    if args.engine == "inline":
        from runtime.execution.engine import InlineEngine

        return InlineEngine(store, operations=OPERATIONS)
    from runtime.execution.ray_engine import RayEngine

    return RayEngine(store, args.address, args.workers, args.gpu_memory, OPERATIONS)


def _sum_up(study: StudyRun, status: str) -> int:
    for finding in study.findings:
        if finding.silenced is None:
            _say(f"synthc: {finding}")
    for id, error in study.given_up.items():
        _say(f"failed before: {study.plan.tasks[id].address}: {error}")
    if study.given_up:
        _say(f"{len(study.given_up)} tasks failed in an earlier run and were not tried again; --retry-failed does")
    if status == "interrupted":
        _say(f"interrupted with {study.left} tasks left; what was finished is kept: run the same command again to go on")
        return 130
    if study.failures or study.given_up:
        _say(f"{len(study.failures)} tasks failed, {study.left} are missing; what could be computed is in {study.target}")
        return 1
    _say(f"computed {len(study.todo)} tasks" if study.todo else "everything was done before")
    _say(f'results in {study.target}\nnext: synthc sql "FROM comparison"   synthc chart tradeoff -o tradeoff.svg')
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


@contextlib.contextmanager
def _interruptible(interrupt: Interrupt, say: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask to finish; the second one means now. Installed after Ray, which replaces SIGTERM's handler."""

    def asked(number: int, frame: object) -> None:
        interrupt.count += 1
        interrupt.asked = True
        if interrupt.count > 1:
            raise KeyboardInterrupt
        say("stopping: finishing what is running (again to stop now)")

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _timeout(text: str) -> tuple[str, float]:
    kind, _, seconds = text.partition("=")
    try:
        limit = float(seconds)
    except ValueError:
        limit = 0.0
    if kind not in KINDS or not limit > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=SECONDS with KIND one of {', '.join(KINDS)}")
    return kind, limit
