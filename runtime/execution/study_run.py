"""One run of a plan: the tasks left to compute, the run's record in store and index, and when results are published.

Not here: how tasks are scheduled (`driver`), what is displayed (`progress`, `cli.run`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.errors import Finding, SynthcError, plural
from compiler.inspect.since import changes_since
from compiler.language.plugins import own_modules
from compiler.lint import lint_results
from compiler.lint.catalog import LINTS
from compiler.lint.results import Measured, RunResults
from compiler.plan.dag import ClaimPlan, Plan, Task, TrialPlan
from runtime import machine
from runtime.database.index import Index, Unwritable
from runtime.database.revision import TargetBusy, check_target
from runtime.execution.driver import EarlierRuns
from runtime.outcome import Outcome
from runtime.store.artifacts import FIGURES_FILE, Artifact, folder_of, has_outcome, is_done, quarantine, retract
from runtime.store.declared import carry_on, find_verdict
from runtime.store.records import Corrupt, write_record
from runtime.store.runs import PROGRESS_FILE, RecordedRun, load_first_results, load_last_run, read_trace, run_name, save_plan


@dataclass(frozen=True)
class Scope:
    """The part of a plan that a run computes: the missing tasks that `answers` (ids) still need; those in `forced` count as
    missing. Tasks whose last attempt failed with this code in a way that would recur are left out, with all that depend on them,
    unless `retry_failed`."""

    answers: tuple[str, ...]
    forced: frozenset[str] = frozenset()
    """Ids, with those of all tasks that depend on them."""
    retry_failed: bool = False


class StudyRun:
    """The state of a run: plan, store, index, and what has failed or is blocked. The store must be locked
    (`artifacts.lock_store`)."""

    def __init__(self, plan: Plan, store: Path, index: Index, target: Path, origin: Mapping[str, Any], scope: Scope) -> None:
        """Bring the index up to date with the store, find the tasks to compute, and record the run as running, with its plan.
        Commits that cannot be read are quarantined.

        `origin`: where the plan came from (spec, spec_text, texts, argv, composed). `target`: the published database, which is not
        changed yet; SynthcError if it is a file that synthc did not make, or its folder is missing or cannot be written.
        SynthcWarning as of `load_last_run` and `load_first_results`; Unwritable as of `Index`.
        """
        check_target(target)
        self.plan, self.store, self.index, self.target, self.origin, self.scope = plan, store, index, target, origin, scope
        self.started = datetime.now(UTC)
        self.name = run_name(store, self.started, plan.header.study)
        self._to_retract = set(scope.forced)
        """Ids of tasks to compute again; a task's old commit is retracted only when the task is submitted."""
        self._index_store()
        missing = plan.to_run(self.is_done, scope.answers)
        self.given_up = {} if scope.retry_failed else self._failed_before(missing)
        """Task → error, of tasks that failed in an earlier run of the same code and are not retried."""
        self.todo = self._reachable(missing)
        self.damaged_inputs: dict[str, str] = {}
        """Task → text on the damaged artifact that it read, or on its own commit that cannot be read. `repair` empties it; tasks
        that are left in it at the end of the run count as failed."""
        self.failures: dict[str, str] = {}
        """Address → error, of tasks that failed in this run."""
        self.blocked: dict[str, str] = {}
        """Task → reason, of tasks that cannot run since one that they need failed in this run."""
        self.computed = 0
        """Number of tasks that were committed in this run."""
        self.published = False
        """Whether the final results of this run are published."""
        self.findings: tuple[Finding, ...] = ()
        """Lint findings about the results, set at the end of the run."""
        self._publish_at = time.monotonic()
        self._notice = ""
        last = load_last_run(self.store, plan.header.study, plan.profile)
        self.first = load_first_results(self.store, last)
        """The study's first run that has results; None without one."""
        self._claims = self._declare_claims(last)
        self._write_record("running")

    def _declare_claims(self, last: RecordedRun | None) -> list[dict[str, Any]]:
        """Records of the plan's claims, each with the run and time in which its words were first declared, the number of the
        study's attacks that had results then, and its earlier verdicts. `last`: the last run of the study under the profile."""
        study = self.plan.header.study
        at = self.started.isoformat(timespec="seconds")
        declared = {"run": self.name, "at": at, "outcomes": self.index.count_outcomes(study)}
        claims = [_claim_record(planned, self.plan.header.evidence) for planned in self.plan.claims]
        return carry_on(claims, last.record if last else None, declared, self.store)

    def list_changed_code(self) -> list[str]:
        """A sentence on each plug-in method or attack of the plan whose results in the store, of done tasks that are not forced,
        were computed by other code than is installed now."""
        stale: dict[tuple[str, str], list[str]] = {}
        for task in self.plan.tasks.values():
            for name, module in own_modules(task.work).items() if self.is_done(task.id) else ():
                with contextlib.suppress(Corrupt, KeyError):
                    was = Artifact(folder_of(self.store, task.id)).outcome["provenance"]["own_code"][name]
                    if was != machine.package_digest(module):
                        stale.setdefault((name, module), []).append(task.address)
        return [
            f"{name}: the code of {module.partition('.')[0]} is another one than that of {plural(len(addresses), 'result')}, which "
            f"stay, such as {addresses[0]}; where numbers change, raise `revision` in its words, or compute them again: "
            f"{options_to_force(addresses)}"
            for (name, module), addresses in stale.items()
        ]

    def _index_store(self) -> None:
        """Make the index agree with the store for this plan's tasks: an earlier run may have been killed before it wrote rows.

        Missing rows of outcomes and attempts are added; of tasks without outcome in the store the outcomes' rows are deleted, and
        the attempts' where the task's folder is gone; commits that cannot be read are quarantined, and `index.damaged` is emptied.
        Unwritable if the index cannot be written.
        """
        unknown = {id for id in self.plan.tasks if not has_outcome(self.store, id)}
        self.index.forget(unknown)
        for id in self.index.missing(self.plan.tasks):
            folder = folder_of(self.store, id)
            if id not in unknown:
                try:
                    self.index.record_outcome(folder)
                except Corrupt as corrupt:
                    quarantine(corrupt.folder)
            self.index.record_attempts(folder)
        self.index.flush()
        self.index.damaged.clear()  # these commits are retracted already, so the tasks count as not done

    def repair(self) -> bool:
        """After tasks read damaged artifacts, or left damaged commits (`damaged_inputs`, `index.damaged`), replace `todo` by what
        is not done of the run's answers, of these tasks, and of all that they need. Tasks that failed in this run are added to
        `given_up`, and left out with all that depend on them; `damaged_inputs`, `index.damaged` and `blocked` are emptied. Returns
        whether `todo` then has tasks; False, with nothing changed but pending rows written, where there were no such tasks, or
        they and their needs are all done."""
        self.index.flush()
        damaged = (*self.damaged_inputs, *(folder.name for folder in self.index.damaged))
        # With all tasks that they depend on, done or not: an attack reads the artifacts of its whole pipeline.
        origins = self.plan.to_run(lambda id: False, [id for id in damaged if id in self.plan.tasks])
        again = [id for id in origins if not self.is_done(id)]
        if not again:
            return False
        self.damaged_inputs.clear()
        self.blocked.clear()
        self._index_store()
        failed = {task.id for task in self.plan.tasks.values() if task.address in self.failures}
        missing = self.plan.to_run(self.is_done, [*self.scope.answers, *again])
        self.given_up |= {id: self.failures[missing[id].address] for id in failed if id in missing}
        self.todo = self._reachable(missing)
        return bool(self.todo)

    def is_done(self, id: str) -> bool:
        return id not in self._to_retract and is_done(self.store, id)

    def earlier(self) -> EarlierRuns:
        """For the driver: mean seconds by operation from the index, and a function for the number of the last attempt at a task
        that the store has when it is called, also if that was in this run."""

        def last_attempt(id: str) -> int:
            names = (path.name for path in folder_of(self.store, id).glob("attempts/*"))
            return max((int(name) for name in names if name.isdigit()), default=0)

        return EarlierRuns(self.index.seconds_by_operation(), last_attempt)

    def on_submit(self, task: Task) -> None:
        """Retract the old commit of a task that is forced, the first time that it is submitted; nothing for other tasks."""
        if task.id in self._to_retract:
            self._to_retract.discard(task.id)
            retract(folder_of(self.store, task.id))

    def on_outcome(self, task: Task, outcome: Outcome, attempt: int) -> None:
        """Record the outcome of an attempt: its rows in the index; failed (unless they are tried again) and damaged tasks in this
        object; the attempt's record, if the worker has not written it. A commit that cannot be read is quarantined. A blocked task
        is only noted in this object. Unwritable as of `Index`."""
        if outcome.status == "blocked":
            self.blocked[task.id] = outcome.error
            return
        folder = folder_of(self.store, task.id)
        if outcome.status == "done":
            try:
                self.index.record_outcome(folder, again=task.id in self.scope.forced or (folder / FIGURES_FILE).exists())
                self.computed += 1
            except Corrupt as corrupt:
                quarantine(corrupt.folder)
                self.damaged_inputs[task.id] = str(corrupt)
        elif outcome.error_kind == "corrupt":
            self.damaged_inputs[task.id] = outcome.error
        elif not outcome.notes.get("tried_again"):
            self.failures[task.address] = outcome.error
        tried = folder / "attempts" / str(attempt)
        if not (tried / "attempt.json").exists():
            tried.mkdir(parents=True, exist_ok=True)
            write_record(tried / "attempt.json", outcome.attempt_json())
        self.index.record_attempt(tried)

    def publish_if_due(self, progress: Mapping[str, Any]) -> str:
        """Publish if that is due: 5 seconds after the last publishing began, or ten times as long as it took if that is more, and
        30 seconds after one that failed. Returns why publishing failed; "" if it did not, failed for the same reason as the last
        time that it failed, or was not due. Unwritable is passed on.

        `progress` (tasks that are running, time left) is first written to PROGRESS_FILE in the run's folder, if publishing is due.
        """
        started = time.monotonic()
        if started < self._publish_at:
            return ""
        try:
            with contextlib.suppress(OSError):  # no result depends on it
                write_record(self.store / "runs" / self.name / PROGRESS_FILE, progress)
            self.index.publish(self.target, patience=0.0)
        except Unwritable:
            raise
        except SynthcError as error:  # another process writes to the database, its disk is full, …: computing goes on
            self._publish_at = started + 30.0
            notice = str(error) if isinstance(error, TargetBusy) else f"{error}; computing goes on meanwhile"
            repeated, self._notice = notice == self._notice, notice
            return "" if repeated else notice
        self._publish_at = started + max(5.0, 10 * (time.monotonic() - started))
        return ""

    def close(self, status: str) -> str:
        """Lint the results (`findings`), complete the run's record with `status` and publish (`published`); returns why it was not
        published where another process has the database open, else "". Other reasons are raised, as SynthcError. The index stays
        open; rows of forced tasks that have no commit now are deleted from it.

        If tasks that the answers need are missing, the status "done" becomes "failed", or "incomplete" where nothing failed in this
        run.
        """
        self.index.forget(id for id in self.scope.forced if not is_done(self.store, id))
        self.failures |= {self.plan.tasks[id].address: error for id, error in self.damaged_inputs.items()}
        if status == "done" and self.count_missing():
            status = "failed" if self.failures else "incomplete"
        self.findings = lint_results(self._read_results())
        self._write_record(status)
        try:
            self.index.publish(self.target)
            self.published = True
        except TargetBusy as busy:
            return f"{busy}; `synthc db rebuild` publishes later"
        return ""

    def count_missing(self) -> int:
        """Number of tasks still to compute for this run's answers: those not done among them, and the tasks not done that these
        need, directly or through others that are not done."""
        return len(self.plan.to_run(self.is_done, self.scope.answers))

    def _reachable(self, missing: Mapping[str, Task]) -> dict[str, Task]:
        """The tasks in `missing` without those in `given_up` and those that depend on these."""
        todo: dict[str, Task] = {}
        for id, task in missing.items():
            if id not in self.given_up and all(need in todo or need not in missing for _, need in task.needs):
                todo[id] = task
        return todo

    def _failed_before(self, missing: Iterable[str]) -> dict[str, str]:
        traces = {id: read_trace(self.store, id) for id in missing}
        return {id: trace.error for id, trace in traces.items() if trace.given_up}

    def _read_results(self) -> RunResults:
        """For lints, of the study under this run's profile: the results of its current trials from the index, whichever run
        computed them, the headlines of earlier runs with results, and the changes since the first run with results. Unwritable if
        the index cannot be read."""
        study, profile = self.plan.header.study, self.plan.profile
        measured = tuple(Measured(*row) for row in self.index.trial_results(study, profile))
        earlier = tuple(self.index.earlier_headlines(study, profile, self.name))
        now = run_record(self.plan) | {"claims": self._claims}
        changes = tuple(changes_since(self.first.record, now)) if self.first else ()
        return RunResults(self.plan.header, measured, _headline(self.plan), earlier, changes)

    def _write_record(self, status: str) -> None:
        """Write this run's record to the store and to the index; with the status `running` also its plan, to the store."""
        record = (
            run_record(self.plan)
            | dict(self.origin)
            | {
                "claims": [claim | {"found": find_verdict(self.store, claim["task"])} for claim in self._claims],
                "lints": [_lint_record(finding, str(self.origin["spec"])) for finding in (*self.plan.lints, *self.findings)],
                "run": self.name,
                "origin": self.index.origin,
                "status": status,
                "started": self.started.isoformat(timespec="seconds"),
                "ended": None if status == "running" else datetime.now(UTC).isoformat(timespec="seconds"),
                "blocked": self.blocked,
                "answered": sum(self.is_done(planned.answer) for planned in self.plan.trials),
                "first_results": self.first.record["run"] if self.first else None,
                "versions": machine.versions(*self.plan.packages),
                "commit": machine.commit(),
                "source_digest": machine.source_digest(),
            }
        )
        folder = self.store / "runs" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder / "run.json", record, synced=True)
        if status == "running":
            save_plan(folder, self.plan)
        self.index.record_run(record)


def options_to_force(addresses: Sequence[str]) -> str:
    """Text of options `--force` whose patterns match the tasks at `addresses`: at least one, all of one stage, or all attacks. They
    match that stage in all shadows, or the attacks of trials; further tasks may match, of the same arm, or of all arms if the
    addresses have several."""
    _, in_shadow, stage = addresses[0].rpartition("/")
    arms = {address.partition("#")[0].partition("[")[0] for address in addresses}
    arm = f"{arms.pop()}*" if len(arms) == 1 else "*"
    digits = sorted({len(address.rpartition("#")[2]) for address in addresses})  # `*` would match what lies below a trial, too
    patterns = [f"{arm}/{stage}"] if in_shadow else [f"{arm}#{'?' * count}" for count in digits]
    return " ".join(f"--force '{pattern}'" for pattern in patterns)


def run_record(plan: Plan) -> dict[str, Any]:
    """The plan's part of `run.json`: study, question, profile, headline, trials and tasks."""
    fields = ("id", "kind", "operation", "address", "needs")
    return {
        "study": plan.header.study,
        "question": plan.header.question,
        "profile": plan.profile,
        "headline": _headline(plan),
        "trials": [_trial_record(planned) for planned in plan.trials],
        "tasks": [{name: getattr(task, name) for name in fields} for task in plan.tasks.values()],
    }


def _headline(plan: Plan) -> dict[str, Any]:
    return plan.trials[0].trial.point.audit.headline.model_dump() if plan.trials else {}


def _lint_record(finding: Finding, spec: str) -> dict[str, Any]:
    """A lint finding for `run.json`, with title, reason and source of its rule. `place` is None for a finding in results; its file,
    if it is not an option, is relative to the folder of `spec`."""
    lint, place = LINTS[finding.code], finding.location
    if place and not place.file.startswith("--"):
        place = replace(place, file=os.path.relpath(place.file, Path(spec).parent))
    fields = {name: value for name, value in asdict(finding).items() if name != "location"}
    return fields | {
        "place": str(place) if place else None,
        "seen_in": "spec" if place else "results",
        "title": lint.title,
        "because": lint.because,
        "source": lint.source,
    }


def _claim_record(planned: ClaimPlan, evidence: str | None) -> dict[str, Any]:
    claim = planned.claim
    return {
        "evidence": evidence,
        "words": claim.words,
        "earlier": [one.model_dump() for one in claim.earlier],
        "claim": planned.name,
        "statement": claim.text,
        "left_selector": claim.left,
        "right_selector": claim.right,
        **{name: getattr(planned, name) for name in ("task", "left", "right")},
        **{name: getattr(claim, name) for name in ("test", "metric", "margin", "pairs")},
    }


def _describe(axis: str, value: Any) -> str:
    """A grid value in a trial's label: the value as text (`forgetting`, `0.3`); of a switch the last part of the axis' name (`dsa`
    for True, `no dsa` for False or None)."""
    name = axis.rpartition(".")[2]
    return name if value is True else f"no {name}" if value is False or value is None else str(value)


def _trial_record(planned: TrialPlan) -> dict[str, Any]:
    trial, arm = planned.trial, planned.trial.point.arm
    return {
        "trial": trial.address,
        "arm": trial.arm_name,
        "paradigm": arm.paradigm,
        "method": getattr(arm, "method", arm.paradigm),
        "label": " ".join([trial.arm_name, *(_describe(axis, value) for axis, value in trial.axes)]),
        "axes": dict(trial.axes),
        "replicate": trial.replicate,
        "point": {"seed": trial.seed} | trial.point.model_dump(mode="json"),
        "answer": planned.answer,
        "data": trial.point.data.name,
        "control": getattr(arm, "control", False),
        "stages": [(stage.task, stage.shadow, stage.name) for stage in planned.stages],
    }
