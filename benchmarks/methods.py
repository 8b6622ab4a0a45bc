"""Cost of a shadow by method: `OMP_NUM_THREADS=1 python benchmarks/methods.py [--only NAME …] [--set PATH=VALUE …]`.

The whole pipeline of one shadow of every trial of a study (digits, every method: `specs/full_study.yaml`, profile complete), in
this process and on one thread: CPU seconds of what the method needs (a proxy, teacher or generator, which arms share in a
study), of the set itself, and of the classifier trained on it. Accuracy is of the shadows that ran, on the study's test set.
Prints one table; records nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)  # this folder: its `statistics` would hide Python's own
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import tempfile
import time
from dataclasses import dataclass, field

from compiler.compile import compile_study
from compiler.plan.dag import Plan, Task, TrialPlan
from runtime.execution.worker import TaskRequest, compute, prepare_worker
from runtime.operations import OPERATIONS
from runtime.outcome import Outcome

LIMITS = {"coreset": 10.0, "dm": 20.0, "dc": 20.0, "dsa": 20.0, "mtt": 60.0, "datm": 60.0}
"""CPU seconds a shadow, by method or paradigm."""


@dataclass
class Cost:
    """CPU seconds by part, and what came of them."""

    source: float = 0.0
    made: float = 0.0
    classifier: float = 0.0
    accuracy: list[float] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)
    failed: str = ""

    @property
    def total(self) -> float:
        return self.source + self.made + self.classifier


class Bench:
    """Runs tasks once, and remembers what each took."""

    def __init__(self, plan: Plan, store: Path) -> None:
        self.plan, self.store = plan, store
        self.took: dict[str, float] = {}
        self.outcomes: dict[str, Outcome] = {}

    def run(self, id: str) -> None:
        if id in self.took:
            return
        task: Task = self.plan.tasks[id]
        for _, need in task.needs:
            self.run(need)
        started = time.process_time()
        request = TaskRequest(id, task.work, task.needs, task.address, task.text, 0)
        (self.outcomes[id],) = compute([request], self.store, operations=OPERATIONS)
        self.took[id] = time.process_time() - started

    def cost(self, trial: TrialPlan, shadows: int) -> Cost:
        """The mean over the first shadows."""
        found = Cost()
        for stage in trial.stages:
            source = stage.name.startswith("train ")
            if stage.shadow >= shadows or not (source or stage.name in ("synthesize", "model")):
                continue
            trained_before = stage.task in found.stages  # a method that trains the student itself makes set and model in one task
            found.stages.add(stage.task)
            self.run(stage.task)
            outcome, seconds = self.outcomes[stage.task], self.took[stage.task] / shadows
            found.failed = found.failed or outcome.error
            if source:
                found.source += seconds
            elif stage.name == "synthesize":
                found.made += seconds
            elif not trained_before:
                found.classifier += seconds
            if stage.name == "model":
                found.accuracy += [one.value for one in outcome.metrics if one.name == "test_accuracy" and one.value is not None]
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", type=Path, default=Path(__file__).resolve().parents[1] / "specs/full_study.yaml")
    parser.add_argument("--profile", default="complete", help="of the study; '' for none (default: complete)")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="change a field, as `synthc run` does")
    parser.add_argument("--only", nargs="+", help="trials whose name begins with one of these")
    parser.add_argument("--shadows", type=int, default=1, help="the mean over so many (default: 1)")
    args = parser.parse_args()

    plan = compile_study(args.spec, args.profile or None, args.set)
    prepare_worker()
    print(f"{'trial':<34} {'source':>7} {'set':>7} {'classifier':>10} {'CPU s':>7}  {'wanted':<12} accuracy", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(plan, Path(folder))
        for planned in plan.trials:
            trial = planned.trial
            if args.only and not trial.address.startswith(tuple(args.only)):
                continue
            cost = bench.cost(planned, args.shadows)
            arm = trial.point.arm
            limit = LIMITS.get(getattr(arm, "method", ""), LIMITS.get(arm.paradigm))
            verdict = "" if limit is None else f"≤ {limit:g}: {'met' if cost.total <= limit else 'missed'}"
            accuracy = cost.failed or f"{100 * sum(cost.accuracy) / max(1, len(cost.accuracy)):.1f}"
            parts = f"{cost.source:>7.1f} {cost.made:>7.1f} {cost.classifier:>10.1f} {cost.total:>7.1f}"
            print(f"{trial.address:<34} {parts}  {verdict:<12} {accuracy}", flush=True)


if __name__ == "__main__":
    main()
