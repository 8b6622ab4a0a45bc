"""Overhead of the runtime per task: `python benchmarks/overhead.py [--tasks N ...] [--engine ray|inline] [--cached] [--rivals
VENV]`

Tasks that do nothing go the whole way: compile, queue, dispatch, worker, artifact and outcome synced to disk, index, publish.
They run in rounds, each right after as many round trips of raw Ray to two actors of the same cluster, so that load meets both;
what is added is the median over rounds, with the least and the most. One by one every task is a dispatch; grouped they travel
as short tasks do, half a second of expected work together. Several sizes show how time and memory grow. With `--cached`, a study
of ten thousand tasks that all are done, as a user runs it, process start included. With `--rivals`, a virtual environment that has
snakemake and redun, 500 jobs of each beside 500 of ours, from nothing to the end. Prints tables; records nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.pop(0)  # this folder: its `statistics` would hide Python's own
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from compiler.compile import compile_study
from compiler.fingerprint import canonical_text, digest_of
from compiler.plan.dag import Task
from compiler.work.operations import Rehearsal
from runtime.database.index import Index
from runtime.execution import ready_queue
from runtime.execution.driver import Driver, EarlierRuns
from runtime.execution.engine import InlineEngine
from runtime.execution.ray_engine import RayEngine
from runtime.execution.worker import TaskRequest, commit_product
from runtime.outcome import Metric, Outcome, Product
from runtime.store.artifacts import folder_of, is_done

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5


def plan(count: int, label: str = "task") -> dict[str, Task]:
    """`count` tasks in chains of ten."""
    tasks: dict[str, Task] = {}
    last = ""
    for place in range(count):
        work, needs = Rehearsal(f"{label} {place}"), (("before", last),) if place % 10 else ()
        text = canonical_text("task", work, needs)
        last = digest_of(text)
        tasks[last] = Task(last, work, needs, f"chain {place // 10}/{place % 10}", text)
    return tasks


@dataclass
class Took:
    """What one size and one way of dispatching took."""

    added: list[float] = field(default_factory=list)
    """ms per task beyond raw Ray, by round."""
    raw: list[float] = field(default_factory=list)
    """ms per round trip of raw Ray, by round."""
    compile: float = 0.0
    publish: float = 0.0
    found: float = 0.0
    """Seconds to find everything done."""


def measure(count: int, kind: str, grouped: bool, folder: Path) -> Took:
    """One whole run of `count` tasks in the new folder, in rounds."""
    ready_queue.MAX_BATCH_SECONDS = 0.5 if grouped else 0.0
    earlier = EarlierRuns({"Rehearsal": 0.01})
    took, start = Took(), time.perf_counter()
    tasks = plan(count)
    took.compile = time.perf_counter() - start
    listed, share = list(tasks.items()), count // ROUNDS
    store = folder / "store"
    store.mkdir(parents=True)
    engine = RayEngine(store) if kind == "ray" else InlineEngine(store)
    with contextlib.closing(Index.open(store)) as index:

        def record(task: Task, outcome: Outcome, attempt: int) -> None:
            index.record_outcome(folder_of(store, task.id))
            index.record_attempt(folder_of(store, task.id) / "attempts" / str(attempt))

        Driver(plan(40, "warm"), engine, record, earlier=earlier).run()  # a worker's first task loads torch's parts
        for place in range(ROUNDS):
            raw = _raw(engine.slots, share) if isinstance(engine, RayEngine) else 0.0
            start = time.perf_counter()
            Driver(dict(listed[place * share : (place + 1) * share]), engine, record, earlier=earlier).run()
            index.flush()
            took.raw.append(1e3 * raw)
            took.added.append(1e3 * ((time.perf_counter() - start) / share - raw))
        start = time.perf_counter()
        index.publish(folder / "results.duckdb")
        took.publish = time.perf_counter() - start
    engine.close()
    start = time.perf_counter()
    assert all(is_done(store, id) for id in tasks)
    took.found = time.perf_counter() - start
    took.added = [added + 1e3 * (took.compile + took.publish) / count for added in took.added]
    return took


def _raw(slots: int, count: int) -> float:
    """Seconds per task of Ray alone, with `slots` resident actors that are kept busy as a run keeps its workers."""
    import ray

    @ray.remote
    class Idle:
        def nothing(self) -> int:
            return 0

    actors = [Idle.options(num_cpus=0).remote() for _ in range(slots)]
    ray.get([actor.nothing.remote() for actor in actors])
    start = time.perf_counter()
    in_flight = {actor.nothing.remote(): actor for actor in actors}
    for _ in range(count - len(actors)):
        (ready,), _ = ray.wait(list(in_flight), num_returns=1)
        ray.get(ready)
        actor = in_flight.pop(ready)
        in_flight[actor.nothing.remote()] = actor
    ray.get(list(in_flight))
    took = time.perf_counter() - start
    for actor in actors:
        ray.kill(actor)
    return took / count


SNAKEFILE = """\
rule all:
    input: expand("out/{i}", i=range(%d))
rule one:
    output: "out/{i}"
    shell: "echo {wildcards.i} > {output}"
"""
REDUN = """\
from redun import task
redun_namespace = "overhead"
@task()
def one(place: int) -> int:
    return place
@task()
def main(count: int = %d) -> list[int]:
    return [one(place) for place in range(count)]
"""


def rivals(venv: Path, count: int = 500) -> None:
    """Seconds of `count` jobs that do nothing, from starting the tool to its end, on two workers; and of finding them done."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "Snakefile").write_text(SNAKEFILE % count)
        (folder / "jobs.py").write_text(REDUN % count)
        commands = {
            "snakemake": [str(venv / "bin/snakemake"), "--cores", "2", "--quiet", "all"],
            "redun": [str(venv / "bin/redun"), "run", "jobs.py", "main"],
            "synthc": [sys.executable, __file__, "--alone", str(count), "--store", str(folder / "store")],
        }
        print(f"\n{count} jobs that do nothing, process start included")
        print(f"{'tool':<12} {'seconds':>9} {'ms a job':>9} {'again, s':>9}")
        for name, command in commands.items():
            took = []
            for _ in range(2):
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                took.append(time.perf_counter() - start)
            print(f"{name:<12} {took[0]:>9.1f} {1e3 * took[0] / count:>9.1f} {took[1]:>9.1f}", flush=True)


def alone(count: int, store: Path) -> None:
    """Does what a run does: finds missing tasks, starts Ray if there are any, computes, records, publishes."""
    tasks = {id: task for id, task in plan(count).items() if not is_done(store, id)}
    store.mkdir(exist_ok=True)
    with contextlib.closing(Index.open(store)) as index:
        if tasks:
            engine = RayEngine(store)
            Driver(tasks, engine, lambda task, outcome, attempt: index.record_outcome(folder_of(store, task.id))).run()
            engine.close()
        index.publish(store.parent / "results.duckdb")


CACHED = """\
study: cached
allow: {L01: a benchmark compares nothing, L07: a benchmark attacks nothing, L10: a benchmark compares nothing}
data: {name: digits, test: 360}
audit:
  canaries: {mislabeled: {kind: mislabeled, count: 128}, clean: {kind: clean, count: 128}}
  z_pool: 100
  shadows: 32
  attacks: [{attack: lira}, {attack: threshold}]
  fpr: [0.1]
  headline: {fpr: 0.1}
classifier: {net: small, width: 16, epochs: 8, lr: 0.1}
arms:
  undefended: {paradigm: undefended}
  coreset:
    paradigm: coreset
    method: random
    fraction: {grid: [%s]}
"""


def cached(folder: Path) -> None:
    """Times runs of a study whose tasks are all done: the first indexes them, later ones find them indexed."""
    spec = folder / "study.yaml"
    spec.write_text(CACHED % ", ".join(f"{0.1 + 0.005 * place:.3f}" for place in range(105)))
    compiled = compile_study(spec)
    now = datetime.now(UTC)
    for task in compiled.tasks.values():
        request = TaskRequest(task.id, task.work, task.needs, task.address, task.text, 1)
        commit_product(request, Product(metrics=(Metric("seconds", 0.0),)), now, 0.0, folder / ".synthc")
    print(f"\na study of {len(compiled.tasks)} tasks, all done, process start included")
    print(f"{'run':<12} {'seconds':>9} {'peak MB':>9}")
    for name in ("first", "again", "again", "again"):
        words, environment = [sys.executable, "-m", "runtime.cli", "run", "study.yaml"], os.environ | {"PYTHONPATH": str(ROOT)}
        start = time.perf_counter()
        with (folder / "said").open("w") as said:
            running = subprocess.Popen(words, cwd=folder, env=environment, stdout=said, stderr=said)
            _, _, used = os.wait4(running.pid, 0)  # of this process alone: `getrusage` knows the largest of all
        took, text = time.perf_counter() - start, (folder / "said").read_text()
        assert "everything was done before" in text, text
        print(f"{name:<12} {took:>9.2f} {used.ru_maxrss / 1e3:>9.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000], metavar="N")
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray")
    parser.add_argument("--cached", action="store_true", help="also a study of ten thousand tasks that are all done")
    parser.add_argument("--rivals", type=Path, metavar="VENV", help="also run snakemake and redun from this environment")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        alone(args.alone, args.store)
        return
    print(f"tasks that do nothing, engine {args.engine}, {ROUNDS} rounds; ms per task, driver's peak MB so far")
    heads = ("raw Ray", "added", "least", "most", "compile", "publish s", "found done s", "driver MB")
    print(f"{'tasks':>6} {'dispatch':<12}", *(f"{head:>12}" for head in heads))
    with tempfile.TemporaryDirectory() as place:  # until all is printed: to delete a store takes longer than to fill it
        for count in args.tasks:
            for name in ("one by one", "grouped"):
                took = measure(count, args.engine, name == "grouped", Path(place) / f"{count} {name}")
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
                added = np.median(took.added), min(took.added), max(took.added)
                figures = (np.median(took.raw), *added, 1e3 * took.compile / count, took.publish, took.found, peak)
                print(f"{count:>6} {name:<12}", *(f"{figure:>12.2f}" for figure in figures), flush=True)
        if args.cached:
            cached(Path(place))
    if args.rivals:
        rivals(args.rivals)


if __name__ == "__main__":
    main()
