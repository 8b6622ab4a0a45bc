"""`synthc run`: compile, compute what is missing, record, publish."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.plan import Plan, Task
from runtime import machine
from runtime.artifacts import folder_of, held, is_done, written
from runtime.cli import results_options, store_of
from runtime.cli.spec_options import compiled, spec_options
from runtime.outcome import Outcome

if TYPE_CHECKING:
    from runtime.schedule import Engine, Interrupt
    from runtime.store import Index

KINDS = ("train", "synthesize", "query", "attack", "compare")


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        parents=[spec_options(), results_options()],
        help="run a study, or what is missing of it",
        description="Compile a study, compute what is not in the store yet, and publish the results.",
        epilog="examples:\n"
        "  synthc run specs/full_study.yaml\n"
        "  synthc run specs/full_study.yaml --profile smoke --engine inline\n"
        "  synthc run study.yaml --set audit.shadows=32 --db big.duckdb\n"
        "  synthc run study.yaml --address auto          on a running Ray cluster\n\n"
        "Ctrl-C once finishes what is running, twice stops now; running again continues.\n"
        "Exit codes: 0 done, 1 some tasks failed, 2 something to mend, 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray", help="who computes: ray (default) or this process")
    parser.add_argument("--address", metavar="HOST:PORT", help="join a running Ray cluster: its address, or auto")
    parser.add_argument("--workers", type=_positive, metavar="N", help="workers (default: one per core, four per GPU)")
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed in earlier runs")
    parser.add_argument("--fail-fast", action="store_true",
                        help="stop at the first failure; the default goes on with what does not need it")
    parser.add_argument("--timeout", action="append", default=[], type=_timeout, metavar="KIND=SECONDS",
                        help=f"give up a task after so long; KIND is one of {', '.join(KINDS)}")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """The command."""
    plan = compiled(args)
    store, target = store_of(args), args.db.absolute()
    with held(store):
        from runtime.store import Index

        study = StudyRun(plan, args, store, target)
        with contextlib.closing(Index.open(store)) as index:
            return study.carry_out(index)


class StudyRun:
    """One execution of a plan: what is left to do, the record of the run, and the rhythm of publishing."""

    def __init__(self, plan: Plan, args: argparse.Namespace, store: Path, target: Path) -> None:
        self.plan, self.args, self.store, self.target = plan, args, store, target
        self.started = datetime.now(UTC)
        self.name = f"{self.started:%Y%m%dT%H%M%S}-{plan.header.study}"[:80]
        self.todo = plan.to_run(lambda id: is_done(store, id))
        self.given_up = {} if args.retry_failed else self._failed_before()
        self.failures: list[str] = []

    def carry_out(self, index: Index) -> int:
        publisher = Publisher(index, self.target)
        publisher.check()
        self._keep_record(index, "running")
        for id in index.missing(id for id in self.plan.tasks if is_done(self.store, id)):
            index.record_outcome(folder_of(self.store, id))   # committed, but its run died before the row was written
        status = "done"
        try:
            if self.todo_now:
                status = self._compute(index, publisher)
        finally:
            self._keep_record(index, status)
            publisher.publish(final=True)
        return self._close(status)

    @property
    def todo_now(self) -> dict[str, Task]:
        """What this run computes: without tasks that failed before, and without what waits for those."""
        left: dict[str, Task] = {}
        for id, task in self.todo.items():
            if id not in self.given_up and all(need in left or need not in self.todo for _, need in task.needs):
                left[id] = task
        return left

    def _failed_before(self) -> dict[str, str]:
        """Tasks whose last attempt failed for a reason that the same code would only repeat → the error."""
        found = {}
        for id in self.todo:
            attempts = sorted(folder_of(self.store, id).glob("attempts/*/attempt.json"), key=lambda path: int(path.parent.name))
            if attempts:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    last = json.loads(attempts[-1].read_text())
                    same_code = last["provenance"]["source_digest"] == machine.source_digest()
                    if last["status"] == "failed" and last["error_kind"] in ("exception", "diverged") and same_code:
                        found[id] = last["error"]
        return found

    def _compute(self, index: Index, publisher: Publisher) -> str:
        from runtime.progress import Display
        from runtime.schedule import Driver, Interrupt, Policy

        todo = self.todo_now
        interrupt = Interrupt()
        with Display(todo) as display:
            shared = len(self.plan.tasks) - len(self.todo)
            display.say(f"{self.plan.header.study}: {len(todo)} tasks to run, {shared} done or not needed")
            engine = self._engine()

            def record(task: Task, outcome: Outcome, attempt: int) -> None:
                if outcome.status == "done":
                    index.record_outcome(folder_of(self.store, task.id))
                    display.finished(task, outcome.provenance.seconds if outcome.provenance else 0.0)
                elif outcome.status == "blocked":
                    display.held_up(task)
                elif not outcome.notes.get("tried_again"):
                    self.failures.append(f"{task.address}: {outcome.error}")
                    display.fell(task, outcome.error)
                index.record_attempt(task.id, self.name, attempt, asdict(outcome))

            def beat(flying: Any) -> None:
                display.beat(flying)
                if notice := publisher.publish():
                    display.say(notice)

            policy = Policy(fail_fast=self.args.fail_fast, timeouts=dict(self.args.timeout))
            try:
                with _interruptible(interrupt, display.say):
                    driver = Driver(todo, engine, record, beat=beat, tried=self._tried, seconds=index.seconds_by_operation(),
                                    policy=policy, interrupt=interrupt)
                    driver.run()
            finally:
                engine.close()
        return "interrupted" if interrupt.count and not self.failures else "done"

    def _engine(self) -> Engine:
        from runtime.schedule import InlineEngine, RayEngine

        if self.args.engine == "inline":
            return InlineEngine(self.store)
        return RayEngine(self.store, self.args.address, self.args.workers)

    def _tried(self, id: str) -> int:
        return len(list((folder_of(self.store, id) / "attempts").glob("*")))

    def _keep_record(self, index: Index, status: str) -> None:
        """Write the run's record into the store (the truth) and into the index."""
        ended = None if status == "running" else datetime.now(UTC).isoformat(timespec="seconds")
        record = run_record(self.plan, self.args, self.name, self.started.isoformat(timespec="seconds"), ended, status)
        folder = self.store / "runs" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        with written(folder / "run.json", synced=False) as beside:
            beside.write_text(json.dumps(record, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        index.record_run(record)

    def _close(self, status: str) -> int:
        say = lambda line: print(line, file=sys.stderr)   # noqa: E731
        left = self.plan.to_run(lambda id: is_done(self.store, id))
        for id, error in self.given_up.items():
            say(f"failed before: {self.plan.tasks[id].address}: {error}")
        if self.given_up:
            say(f"{len(self.given_up)} tasks failed in an earlier run and were not tried again; --retry-failed does")
        if status == "interrupted":
            say(f"interrupted with {len(left)} tasks left; nothing that was finished is lost: run the same command again to go on")
            return 130
        if self.failures or self.given_up:
            say(f"{len(self.failures)} tasks failed, {len(left)} are missing; what could be computed is in {self.target}")
            return 1
        took = (datetime.now(UTC) - self.started).total_seconds()
        did = f"computed {len(self.todo)} tasks in {took:.0f} s" if self.todo else "everything was done before"
        say(f'{did}; results in {self.target}\nnext: synthc sql "FROM comparison"   synthc chart tradeoff -o tradeoff.svg')
        return 0


class Publisher:
    """Publishes now and then: at most every few seconds, and never for more than a tenth of the time."""

    EVERY = 5.0

    def __init__(self, index: Index, target: Path) -> None:
        self.index, self.target = index, target
        self._next = time.monotonic() + self.EVERY

    def check(self) -> None:
        """SynthcError now rather than after an hour: the target is somebody else's, or its folder cannot be written."""
        from runtime.store import check_target

        check_target(self.target)

    def publish(self, final: bool = False) -> str:
        """Publish if it is time (or `final`); what the user should hear, or ""."""
        started = time.monotonic()
        if not final and started < self._next:
            return ""
        from runtime.store import TargetBusy

        try:
            self.index.publish(self.target)
        except TargetBusy as busy:
            if final:
                print(f"synthc: {busy}; `synthc db rebuild` publishes later", file=sys.stderr)
            self._next = time.monotonic() + 30.0
            return "" if final else str(busy)
        took = time.monotonic() - started
        self._next = time.monotonic() + max(self.EVERY, 10 * took)
        return ""


def run_record(plan: Plan, args: argparse.Namespace, name: str, started: str, ended: str | None, status: str) -> dict[str, Any]:
    """What `run.json` holds: the exact plan, spec text, versions and code behind a run's results."""
    headline = plan.trials[0].trial.point.audit.headline.model_dump() if plan.trials else {}
    return {
        "run": name, "study": plan.header.study, "question": plan.header.question, "profile": plan.profile,
        "spec": str(args.spec), "spec_text": Path(args.spec).read_text(encoding="utf-8"), "argv": sys.argv[1:],
        "started": started, "ended": ended, "status": status, "headline": headline,
        "versions": machine.versions(), "commit": machine.commit(), "source_digest": machine.source_digest(),
        "trials": [_trial_record(planned) for planned in plan.trials],
        "tasks": [
            {"id": task.id, "kind": task.kind, "operation": task.operation, "address": task.address, "needs": task.needs}
            for task in plan.tasks.values()
        ],
        "claims": [], "lints": [],
    }


def _trial_record(planned: Any) -> dict[str, Any]:
    trial = planned.trial
    method = getattr(trial.point.arm, "method", None) or trial.point.arm.paradigm
    label = " ".join([trial.arm_name, *(str(value) for _, value in trial.axes)])
    return {
        "trial": trial.address, "arm": trial.arm_name, "paradigm": trial.point.arm.paradigm, "method": method, "label": label,
        "axes": dict(trial.axes), "replicate": trial.replicate, "answer": planned.answer, "data": trial.point.data.name,
        "stages": [(stage.task, stage.shadow, stage.name) for stage in planned.stages],
    }


@contextlib.contextmanager
def _interruptible(interrupt: Interrupt, say: Any) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask to finish; the second one means now. Installed after Ray, which replaces SIGTERM's handler."""
    def asked(number: int, frame: object) -> None:
        interrupt.count += 1
        if interrupt.count == 1:
            say("stopping: finishing what is running (again to stop now)")
        else:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _timeout(text: str) -> tuple[str, float]:
    kind, _, seconds = text.partition("=")
    try:
        limit = float(seconds)
    except ValueError:
        limit = 0.0
    if kind not in KINDS or not limit > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=SECONDS with KIND one of {', '.join(KINDS)}")
    return kind, limit
