"""One execution of a plan: what is left to do, its record in the store and the index, and the rhythm of publishing.

Not here: how tasks are scheduled (`schedule`), what a person sees (`progress`, `cli.run`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.errors import Finding, SynthcError
from compiler.lint import lint_results
from compiler.lint.catalog import LINTS
from compiler.lint.results import Measured, Results
from compiler.plan.dag import ClaimPlan, Plan, Task, TrialPlan
from runtime import machine
from runtime.database.index import Index, Unwritable
from runtime.database.revision import TargetBusy, check_target
from runtime.outcome import Outcome
from runtime.store.artifacts import Corrupt, folder_of, is_done, quarantine, retract
from runtime.store.commit import write_json
from runtime.store.runs import HOPELESS, keep, run_name


class StudyRun:
    """A plan, a store and an index, while a run lasts. The store must be held (`artifacts.held`)."""

    def __init__(
        self, plan: Plan, store: Path, index: Index, target: Path, origin: Mapping[str, Any], retry_failed: bool = False,
        answers: Sequence[str] | None = None, forced: Collection[str] = (),
    ) -> None:
        """`origin` says where the plan came from: spec, spec_text, texts, argv. `answers` are those to compute (default: all).
        `forced` are tasks to compute although they may be done, with all that rests on them.

        SynthcError if `target` is not ours to write.
        """
        check_target(target)
        self.plan, self.store, self.index, self.target, self.origin = plan, store, index, target, origin
        self.answers = answers
        self.started = datetime.now(UTC)
        self.name = run_name(store, self.started, plan.header.study)
        for id in plan.to_run(lambda id: self.is_done(id) and id not in forced, answers):
            retract(folder_of(store, id))
        self._take_in()
        missing = plan.to_run(self.is_done, answers)
        self.given_up = {} if retry_failed else self._failed_before(missing)
        """Tasks that failed in an earlier run of the same code → the error; they are not tried again."""
        self.todo = self._reachable(missing)
        self.hindered: dict[str, str] = {}
        """Task → what it found damaged, which counts as never computed since: a failure, unless repairing helps."""
        self.failures: dict[str, str] = {}
        """Address → error, of this run."""
        self.blocked: dict[str, str] = {}
        """Task → why it can never run, of this run."""
        self.findings: tuple[Finding, ...] = ()
        """What the lints found in the results, once the run ended."""
        self._publish_at = time.monotonic()
        self._notice = ""
        self._keep_record("running")

    def _take_in(self) -> None:
        """Make the index say what the store holds of this plan: a run may have died before the rows were written."""
        undone = {id for id in self.plan.tasks if not self.is_done(id)}
        self.index.forget(undone)
        for id in self.index.missing(self.plan.tasks):
            folder = folder_of(self.store, id)
            if id not in undone:
                try:
                    self.index.record_outcome(folder)
                except Corrupt as found:
                    quarantine(found.folder)
            self.index.record_attempts(folder)
        self.index.flush()
        self.index.damaged.clear()   # taken back before anything runs: what is left to do is found out next

    def repair(self) -> bool:
        """Whether something damaged was found and can be computed again: `todo` then holds it, and what waits for it."""
        self.index.flush()
        found = (*self.hindered, *(folder.name for folder in self.index.damaged))
        again = [id for id in self._looked_at(found) if not self.is_done(id)]
        if not again:
            return False
        self.hindered.clear()
        self.blocked.clear()
        self._take_in()
        failed = {task.id for task in self.plan.tasks.values() if task.address in self.failures}
        missing = self.plan.to_run(self.is_done, [*(self.plan.answers if self.answers is None else self.answers), *again])
        self.given_up |= {id: self.failures[missing[id].address] for id in failed if id in missing}
        self.todo = self._reachable(missing)
        return bool(self.todo)

    def _looked_at(self, ids: Iterable[str]) -> set[str]:
        """These tasks and all that they were made from: an attack looks at that, also where all between is done."""
        found: set[str] = set()
        waiting = list(ids)
        while waiting:
            id = waiting.pop()
            if id in self.plan.tasks and id not in found:
                found.add(id)
                waiting += [need for _, need in self.plan.tasks[id].needs]
        return found

    def is_done(self, id: str) -> bool:
        return is_done(self.store, id)

    def tried(self, id: str) -> int:
        """Attempts of earlier runs."""
        return len(list(folder_of(self.store, id).glob("attempts/*")))

    def record(self, task: Task, outcome: Outcome, attempt: int) -> None:
        """Keep an outcome as rows; what the worker could not write down, because it died, is written here."""
        if outcome.status == "blocked":
            self.blocked[task.id] = outcome.error
            return
        folder = folder_of(self.store, task.id)
        if outcome.status == "done":
            try:
                self.index.record_outcome(folder)
            except Corrupt as found:
                quarantine(found.folder)
                self.hindered[task.id] = str(found)
        elif outcome.error_kind == "corrupt":
            self.hindered[task.id] = outcome.error
        elif not outcome.notes.get("tried_again"):
            self.failures[task.address] = outcome.error
        tried = folder / "attempts" / str(attempt)
        if not (tried / "attempt.json").exists():
            tried.mkdir(parents=True, exist_ok=True)
            write_json(tried / "attempt.json", outcome.attempt())
        self.index.record_attempt(tried)

    def publish_if_due(self) -> str:
        """Publish every few seconds, never for more than a tenth of the time; what the user should hear, or ""."""
        started = time.monotonic()
        if started < self._publish_at:
            return ""
        try:
            self.index.publish(self.target)
        except Unwritable:
            raise
        except SynthcError as error:   # somebody writes to it, its disk is full, …: no reason to stop computing
            self._publish_at = started + 30.0
            said = str(error) if isinstance(error, TargetBusy) else f"{error}; computing goes on meanwhile"
            again, self._notice = said == self._notice, said
            return "" if again else self._notice
        self._publish_at = started + max(5.0, 10 * (time.monotonic() - started))
        return ""

    def close(self, status: str) -> str:
        """Judge the results, write the record's end and publish; what the user should hear, or ""."""
        self.failures |= {self.plan.tasks[id].address: error for id, error in self.hindered.items()}
        self.findings = lint_results(self._results())
        self._keep_record(status)
        try:
            self.index.publish(self.target)
        except TargetBusy as busy:
            return f"{busy}; `synthc db rebuild` publishes later"
        return ""

    @property
    def left(self) -> int:
        """Tasks that what was asked for still lacks."""
        return len(self.plan.to_run(self.is_done, self.answers))

    def _reachable(self, missing: Mapping[str, Task]) -> dict[str, Task]:
        """Without what failed before, and without what waits for that."""
        todo: dict[str, Task] = {}
        for id, task in missing.items():
            if id not in self.given_up and all(need in todo or need not in missing for _, need in task.needs):
                todo[id] = task
        return todo

    def _failed_before(self, missing: Mapping[str, Task]) -> dict[str, str]:
        found = {}
        for id in missing:
            attempts = sorted(folder_of(self.store, id).glob("attempts/*/attempt.json"), key=lambda path: int(path.parent.name))
            if attempts:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    last = json.loads(attempts[-1].read_text())
                    same_code = last["provenance"]["source_digest"] == machine.source_digest()
                    if last["status"] == "failed" and last["error_kind"] in HOPELESS and same_code:
                        found[id] = last["error"]
        return found

    def _results(self) -> Results:
        """What the index says of this study by now, whoever computed it."""
        study, profile = self.plan.header.study, self.plan.profile
        measured = tuple(Measured(*row) for row in self.index.measured(study, profile))
        earlier = tuple(self.index.earlier_headlines(study, profile, self.name))
        return Results(self.plan.header, measured, _headline(self.plan), earlier)

    def _keep_record(self, status: str) -> None:
        """Into the store, which is the truth, and into the index."""
        record = (
            run_record(self.plan)
            | dict(self.origin)
            | {
                "lints": [_lint_record(finding, str(self.origin["spec"])) for finding in (*self.plan.lints, *self.findings)],
                "run": self.name,
                "status": status,
                "started": self.started.isoformat(timespec="seconds"),
                "ended": None if status == "running" else datetime.now(UTC).isoformat(timespec="seconds"),
                "blocked": self.blocked,
                "versions": machine.versions(*self.plan.packages),
                "commit": machine.commit(),
                "source_digest": machine.source_digest(),
            }
        )
        folder = self.store / "runs" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        if status == "running":
            keep(folder, self.plan)
        write_json(folder / "run.json", record)
        self.index.record_run(record)


def run_record(plan: Plan) -> dict[str, Any]:
    """The plan's part of `run.json`: trials and tasks, so that a result can be traced to what asked for it."""
    tasks = [
        {"id": task.id, "kind": task.kind, "operation": task.operation, "address": task.address, "needs": task.needs}
        for task in plan.tasks.values()
    ]
    return {
        "study": plan.header.study,
        "question": plan.header.question,
        "profile": plan.profile,
        "headline": _headline(plan),
        "trials": [_trial_record(planned) for planned in plan.trials],
        "tasks": tasks,
        "claims": [_claim_record(planned) for planned in plan.claims],
    }


def _headline(plan: Plan) -> dict[str, Any]:
    return plan.trials[0].trial.point.audit.headline.model_dump() if plan.trials else {}


def _lint_record(finding: Finding, spec: str) -> dict[str, Any]:
    """A lint as the store keeps it, with the reasons for it and against it; files named from where the spec lies."""
    lint, place = LINTS[finding.code], finding.place
    if place and not place.file.startswith("--"):
        place = replace(place, file=os.path.relpath(place.file, Path(spec).parent))
    return asdict(finding) | {
        "place": str(place) if place else None, "seen_in": "spec" if place else "results",
        "title": lint.title, "because": lint.because, "source": lint.source,
    }


def _claim_record(planned: ClaimPlan) -> dict[str, Any]:
    claim = planned.claim
    return {
        "claim": planned.name, "task": planned.task, "statement": claim.text, "test": claim.test, "metric": claim.metric,
        "margin": claim.margin, "pairs": claim.pairs, "left": planned.left, "right": planned.right,
        "left_selector": claim.left, "right_selector": claim.right,
    }


def _trial_record(planned: TrialPlan) -> dict[str, Any]:
    trial, arm = planned.trial, planned.trial.point.arm
    return {
        "trial": trial.address,
        "arm": trial.arm_name,
        "paradigm": arm.paradigm,
        "method": getattr(arm, "method", arm.paradigm),
        "label": " ".join([trial.arm_name, *(str(value) for _, value in trial.axes)]),
        "axes": dict(trial.axes),
        "replicate": trial.replicate,
        "answer": planned.answer,
        "data": trial.point.data.name,
        "stages": [(stage.task, stage.shadow, stage.name) for stage in planned.stages],
    }
