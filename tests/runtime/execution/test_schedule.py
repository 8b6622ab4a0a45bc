"""The driver: order, failure, retries, interruption; the same promises on both engines."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.errors import SynthcError
from compiler.inspect.cost.guess import cost
from compiler.plan.dag import Task
from runtime.execution.driver import Driver, EarlierRuns, Interrupt, Policy
from runtime.execution.engine import Engine, InlineEngine
from runtime.execution.ray_engine import RayEngine, workers_per_gpu
from runtime.execution.ready_queue import DurationEstimate, ReadyQueue
from runtime.outcome import Outcome
from runtime.store.artifacts import Artifact, folder_of, is_done, lock_store
from tests.conftest import ROOT
from tests.runtime.execution.rehearsals import OPERATIONS, task, todo


@pytest.fixture(scope="module")
def ray_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def shared_engine(ray_store: Path) -> Iterator[RayEngine]:
    engine = RayEngine(ray_store, workers=2, operations=OPERATIONS)
    yield engine
    engine.close()


@pytest.fixture
def ray_engine(shared_engine: RayEngine) -> RayEngine:
    """The shared engine, with both workers running whatever an earlier test did to them."""
    while shared_engine.slots < 2:
        shared_engine.wait(0.1)
    return shared_engine


@pytest.fixture(params=["inline", "ray"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return InlineEngine(tmp_path) if request.param == "inline" else request.getfixturevalue("ray_engine")


def drive(tasks: list, engine: Engine, **options: object) -> list[tuple[str, Outcome, int]]:
    """All outcomes that the driver reports, in order."""
    found: list[tuple[str, Outcome, int]] = []
    Driver(todo(tasks), engine, lambda task, outcome, attempt: found.append((task.address, outcome, attempt)), **options).run()
    return found


def test_a_task_starts_only_when_all_its_needs_are_committed(engine: Engine) -> None:
    leaves = [task(f"leaf {i}") for i in range(6)]
    middle = [task("left", *leaves[:3]), task("right", *leaves[3:])]
    top = task("top", *middle)
    outcomes = {address: outcome for address, outcome, _ in drive([*leaves, *middle, top], engine)}
    assert len(outcomes) == 9
    assert all(outcome.status == "done" for outcome in outcomes.values())
    # Every need left one metric, read from its committed outcome: two needs, two metrics.
    assert outcomes["top"].metrics[0].value == 2.0


def test_a_failed_task_is_one_record_and_what_needs_it_is_blocked_while_the_rest_goes_on(engine: Engine) -> None:
    bad = task("bad", ending="exception")
    users = [task("user", bad), task("bystander")]
    grandchild = task("grandchild", users[0])
    found = drive([bad, *users, grandchild], engine)
    status = {address: outcome.status for address, outcome, _ in found}
    assert status == {"bad": "failed", "user": "blocked", "grandchild": "blocked", "bystander": "done"}
    error = next(outcome for address, outcome, _ in found if address == "bad")
    assert error.error == "TwoPartError: rehearsed at the end"  # an exception that pickle cannot carry keeps its text
    assert len(found) == 4


@pytest.mark.parametrize("ending", ["exit", "interrupt", "disk elsewhere"])
def test_whatever_a_tasks_code_raises_is_the_failure_of_that_task_alone(engine: Engine, ending: str) -> None:
    found = drive([task("ends all", ending=ending), task("bystander")], engine)
    assert sorted((address, outcome.status, attempt) for address, outcome, attempt in found) == [
        ("bystander", "done", 1),
        ("ends all", "failed", 1),
    ]
    (error,) = (outcome.error for _, outcome, _ in found if outcome.error)
    assert error.split(":")[0] in ("SystemExit", "KeyboardInterrupt", "OSError")


def test_divergence_is_told_apart_and_not_tried_again(engine: Engine) -> None:
    ((_, outcome, attempt),) = drive([task("nan", ending="diverged")], engine)
    assert (outcome.error_kind, attempt) == ("diverged", 1)


def test_lack_of_memory_is_tried_once_more_alone(engine: Engine) -> None:
    found = drive([task("greedy", ending="out_of_memory"), task("modest")], engine)
    attempts = [(attempt, outcome.notes.get("tried_again", False)) for address, outcome, attempt in found if address == "greedy"]
    assert attempts == [(1, True), (2, False)]


def test_a_worker_that_dies_is_replaced_and_its_task_tried_again(
    ray_engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = drive([task("deadly", ending="crash"), *(task(f"after {i}") for i in range(4))], ray_engine)
    deadly = [(attempt, outcome.error_kind) for address, outcome, attempt in found if address == "deadly"]
    assert deadly == [(1, "crash"), (2, "crash"), (3, "crash")]
    assert sum(outcome.status == "done" for _, outcome, _ in found) == 4


def test_a_task_over_its_time_limit_fails_as_a_timeout(ray_engine: RayEngine) -> None:
    ((_, outcome, _),) = drive([task("sleeper", seconds=60)], ray_engine, policy=Policy(timeouts={"train": 0.5}))
    assert outcome.error_kind == "timeout"


def test_a_worker_without_a_share_of_a_gpu_sees_none(ray_engine: RayEngine, ray_store: Path) -> None:
    ((_, outcome, _),) = drive([task("sees")], ray_engine)
    assert "visible GPUs: ''\n" in (ray_store / outcome.log).read_text()


def test_what_is_committed_is_not_computed_again(tmp_path: Path) -> None:
    once = task("once")
    drive([once], InlineEngine(tmp_path))
    written = (folder_of(tmp_path, once.id) / "outcome.json").stat().st_mtime_ns
    ((_, outcome, _),) = drive([once], InlineEngine(tmp_path))
    assert outcome.status == "done"
    assert (folder_of(tmp_path, once.id) / "outcome.json").stat().st_mtime_ns == written


def test_the_first_interrupt_lets_running_tasks_finish_and_hands_out_no_more(ray_engine: RayEngine) -> None:
    interrupt = Interrupt()
    tasks = [task(f"slow {i}", seconds=1.0) for i in range(8)]
    found = drive(tasks, ray_engine, interrupt=interrupt, on_tick=lambda in_flight: setattr(interrupt, "count", 1))
    assert len(found) == 2  # those in flight at the first tick
    assert all(outcome.status == "done" for _, outcome, _ in found)


def test_fail_fast_hands_out_nothing_after_a_failure(tmp_path: Path) -> None:
    chain = [task("bad", ending="exception"), *(task(f"other {i}") for i in range(3))]
    found = drive(chain, InlineEngine(tmp_path), policy=Policy(fail_fast=True), earlier=EarlierRuns({"Rehearsal": 9.0}))
    after = [address for address, outcome, _ in found][[address for address, *_ in found].index("bad") + 1 :]
    assert after == []


def test_a_store_that_cannot_be_written_stops_the_run_with_a_sentence(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder can be made here")
    with pytest.raises(SynthcError, match=r"cannot be written: .*file.*: Not a directory; a file lies where a folder should be"):
        drive([task("x")], InlineEngine(in_the_way))


def test_the_most_urgent_task_is_the_one_with_the_longest_way_to_the_end() -> None:
    short = task("short", seconds=1.0)
    long = task("long", seconds=1.0)
    after = task("after", long, seconds=1.0)
    queue = ReadyQueue(todo([short, long, after]), DurationEstimate({}))
    assert [taken.address for taken in queue.take(1)] == ["long"]


class LongestFirst(ReadyQueue):
    """A queue ordered by rank alone: it finishes soonest, and its first result comes late."""

    def take(self, limit: int, unbatched: Collection[str] = (), slots: int = 1) -> list[Task]:
        self._seconds_left = 0.0
        return super().take(limit, unbatched, slots)


def simulated(queue: ReadyQueue, seconds: Mapping[str, float], slots: int) -> dict[str, float]:
    """Task → when it ends on so many slots, as the driver submits."""
    now, running, ended = 0.0, list[tuple[float, int, list[Task]]](), dict[str, float]()
    tie = itertools.count()
    while len(queue) or running:
        while len(queue) and len(running) < slots:
            batch = queue.take(max(1, len(queue) // slots), (), slots)
            heapq.heappush(running, (now + sum(seconds[one.id] for one in batch), next(tie), batch))
        now, _, batch = heapq.heappop(running)
        for one in batch:
            ended[one.id] = now
            queue.durations.update(one.operation, seconds[one.id])
            queue.mark_done(one.id)
    return ended


@pytest.mark.parametrize("slots", [2, 8])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_trials_of_the_full_study_end_one_after_another_and_the_whole_no_later(spread: float, slots: int) -> None:
    plan, draws = compile_study(ROOT / "specs" / "full_study.yaml"), random.Random(0)
    guessed = {id: cost(one.work).seconds for id, one in plan.tasks.items()}
    kinds = {id: (one.operation, guessed[id]) for id, one in plan.tasks.items()}
    wrong_by = {kind: math.exp(draws.gauss(0.0, spread)) for kind in dict.fromkeys(kinds.values())}
    seconds = {id: guessed[id] * wrong_by[kind] for id, kind in kinds.items()}
    ends, ends_last = (simulated(kind(plan.tasks, DurationEstimate({})), seconds, slots) for kind in (ReadyQueue, LongestFirst))
    whole = max(ends.values())
    assert ends.keys() == plan.tasks.keys()
    assert whole <= 1.03 * max(ends_last.values())
    answered = sorted(ends[planned.answer] for planned in plan.trials)
    assert answered[0] <= 0.12 * whole
    assert answered[len(answered) // 4] <= 0.35 * whole
    assert answered[len(answered) // 2] <= 0.6 * whole
    assert min(ends_last[planned.answer] for planned in plan.trials) > 0.5 * whole  # or nothing was to be won


def test_only_short_tasks_of_one_operation_travel_together() -> None:
    many = todo(task(f"{i}") for i in range(10))
    assert len(ReadyQueue(many, DurationEstimate({"Rehearsal": 0.1})).take(limit=10)) == 5  # 0.5 s together
    assert len(ReadyQueue(many, DurationEstimate({"Rehearsal": 2.0})).take(limit=10)) == 1
    assert len(ReadyQueue(many, DurationEstimate({"Rehearsal": 0.001})).take(limit=3)) == 3


def test_an_artifact_reads_back_what_the_task_wrote(tmp_path: Path) -> None:
    one = task("one")
    drive([one], InlineEngine(tmp_path))
    assert is_done(tmp_path, one.id)
    artifact = Artifact(folder_of(tmp_path, one.id))
    assert artifact.tensors("out")["seen"].tolist() == [0]
    assert "rehearsed one" in (tmp_path / artifact.outcome["log"]).read_text()
    with pytest.raises(KeyError, match=r"left no weights\.safetensors; it has: out"):
        artifact.tensors("weights")


def test_no_id_can_leave_the_store(tmp_path: Path) -> None:
    for id in ("../../../../etc", "ABCDEF0123456789", "", "0123456789abcdef/.."):
        with pytest.raises(ValueError, match="is no task id"):
            folder_of(tmp_path, id)


def test_a_run_finds_the_store_held_by_another(tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from runtime.store.artifacts import lock_store\n"
        f"with lock_store(Path({str(tmp_path)!r})): print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(SynthcError, match=f"another run is using this store \\(pid {other.pid} on "), lock_store(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with lock_store(tmp_path):  # a killed owner holds nothing
        pass


@pytest.mark.parametrize(("memory", "needed", "workers"), [(80, 8, 8), (24, 8, 2), (24, 5, 4), (8, 8, 1), (80, 0.5, 8)])
def test_as_many_workers_share_a_gpu_as_its_memory_holds(memory: float, needed: float, workers: int) -> None:
    assert workers_per_gpu(memory, needed) == workers


def test_a_gpu_that_is_too_small_for_one_worker_is_said_to_be_so() -> None:
    with pytest.raises(SynthcError, match="may need 16 GiB of GPU memory and a GPU here has 8; lower --gpu-memory"):
        workers_per_gpu(8, 16)
