"""How long a run still takes, told from what remains of its plan by measured rates: a simulated run knows the truth."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from compiler.inspect.cost.estimate import expect, span
from compiler.plan.dag import Plan
from runtime.data.cards import compile_with_files
from runtime.execution.time_left import TimeLeft

STARTER = Path(__file__).resolve().parents[3] / "runtime/cli/starter.yaml"
POINTS = (0.15, 0.3, 0.5, 0.7)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    spec = tmp_path_factory.mktemp("starter") / "mine.yaml"
    spec.write_text(STARTER.read_text().replace("STUDY", "mine"))
    return compile_with_files(spec, None, [])


def simulate(plan: Plan, workers: int, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """(seconds that had passed, seconds that were said to be left) of a run whose tasks take other than what was guessed.

    Each kind of task is up to three times as slow or as quick as its guess, each task a fifth, and handing one out takes time.
    """
    rates = {task.operation: 3.0 ** rng.uniform(-1, 1) for task in plan.tasks.values()}
    seconds = {
        id: cost.seconds * rates[plan.tasks[id].operation] * max(0.5, rng.normal(1, 0.2))
        for id, cost in expect(plan.tasks, {}).items()
    }
    told = TimeLeft(plan.tasks)
    waits = {id: {need for _, need in task.needs if need in plan.tasks} for id, task in plan.tasks.items()}
    running: list[tuple[float, str]] = []
    in_flight: dict[tuple[str, ...], float] = {}
    now = 100.0
    while waits or running:
        ready = [id for id, needs in waits.items() if not needs]
        for id in ready[: workers - len(running)]:
            del waits[id]
            heapq.heappush(running, (now + seconds[id] + 0.05, id))
            in_flight[(id,)] = now
        yield now - 100.0, told.estimate(in_flight, now)
        now, ended = heapq.heappop(running)
        del in_flight[(ended,)]
        told.end(ended, seconds[ended])
        for needs in waits.values():
            needs.discard(ended)
    yield now - 100.0, 0.0


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_the_time_left_is_near_the_truth_whatever_was_guessed(plan: Plan, workers: int) -> None:
    errors = []
    for seed in range(8):
        said = list(simulate(plan, workers, np.random.default_rng(seed)))
        whole = said[-1][0]
        for point in POINTS:
            passed, left = next((passed, left) for passed, left in said if passed >= point * whole)
            errors.append(abs(left - (whole - passed)) / (whole - passed))
    assert median(errors) <= 0.25, errors


def test_the_first_task_of_a_worker_which_loads_what_others_find_loaded_sets_no_rate(plan: Plan) -> None:
    told = TimeLeft(plan.tasks)
    trains = [id for id, task in plan.tasks.items() if task.operation == "TrainClassifier"]
    told.end(trains[0], 500.0, worker="a")
    slow = told.estimate({}, 1.0)
    told.end(trains[1], 1.0, worker="a")
    assert told.estimate({}, 3.0) < slow / 10


def test_short_tasks_that_were_quick_say_nothing_of_the_long_ones_that_are_still_to_come(plan: Plan) -> None:
    told = TimeLeft(plan.tasks)
    guessed = {id: cost.seconds for id, cost in expect(plan.tasks, {}).items()}
    quick = {id: guessed[id] / 10 for id, task in plan.tasks.items() if guessed[id] < 0.1}
    took = quick | {id: guessed[id] for id, task in plan.tasks.items() if task.operation == "TrainClassifier"}
    for id, seconds in took.items():
        told.end(id, seconds)
    left = {id: task for id, task in plan.tasks.items() if id not in took}
    assert "Synthesize dm" in {task.operation for task in left.values()}
    assert told.estimate({}, 1.0) > 0.6 * span(left, guessed, 1)


def test_before_anything_is_measured_the_guess_is_told_and_failures_leave_nothing_to_wait_for(plan: Plan) -> None:
    told = TimeLeft(plan.tasks)
    guessed = sum(cost.seconds for cost in expect(plan.tasks, {}).values())
    assert not told.measured
    assert told.estimate({}, 1.0) == pytest.approx(guessed)
    assert told.estimate({}, 1.5) == pytest.approx(guessed - 0.5)
    for id in plan.tasks:
        told.end(id, None)
    assert told.estimate({}, 9.0) == 0.0
