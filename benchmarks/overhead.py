"""What the runtime adds to a task: `python benchmarks/overhead.py [--tasks 10000] [--engine ray|inline] [--rivals VENV]`.

Tasks that do nothing go the whole way: queue, dispatch, worker, artifact with fsync, commit, index, publish. Beside it raw
Ray round trips of the same number on the same cluster, so that the difference is ours. With `--rivals`, a virtual environment
that has snakemake and redun, 500 jobs of each beside 500 of ours, from nothing to the end. Prints tables; records nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compiler.fingerprint import canonical_text, digest_of
from compiler.plan import Task
from compiler.work import Rehearsal
from runtime.artifacts import folder_of, is_done
from runtime.cluster import RayEngine
from runtime.outcome import Outcome
from runtime.schedule import Driver, InlineEngine
from runtime.store import Index


def plan(count: int) -> dict[str, Task]:
    """`count` tasks in chains of ten."""
    tasks: dict[str, Task] = {}
    last = ""
    for place in range(count):
        work, needs = Rehearsal(f"task {place}"), (("before", last),) if place % 10 else ()
        text = canonical_text("task", work, needs)
        last = digest_of(text)
        tasks[last] = Task(last, work, needs, f"chain {place // 10}/{place % 10}", text)
    return tasks


def measure(count: int, kind: str, seconds: dict[str, float]) -> dict[str, float]:
    """Seconds per task of one whole run, and of finding it done."""
    tasks = plan(count)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        engine = RayEngine(store) if kind == "ray" else InlineEngine(store)
        raw = _raw(engine, min(count, 2000)) if isinstance(engine, RayEngine) else 0.0
        store.mkdir(exist_ok=True)
        with contextlib.closing(Index.open(store)) as index:

            def record(task: Task, outcome: Outcome, attempt: int) -> None:
                index.record_outcome(folder_of(store, task.id))
                index.record_attempt(folder_of(store, task.id) / "attempts" / str(attempt))

            start = time.perf_counter()
            Driver(tasks, engine, record, seconds=seconds).run()
            ran = time.perf_counter() - start
            start = time.perf_counter()
            index.publish(Path(folder) / "results.duckdb")
            published = time.perf_counter() - start
        engine.close()
        start = time.perf_counter()
        assert all(is_done(store, id) for id in tasks)
        found = time.perf_counter() - start
    return {"run": ran / count, "raw": raw, "publish": published, "found done": found}


def _raw(engine: RayEngine, count: int) -> float:
    """Seconds per task of Ray alone, two resident actors kept busy in the same way."""
    ray = engine._ray

    @ray.remote
    class Idle:
        def nothing(self) -> int:
            return 0

    actors = [Idle.options(num_cpus=0).remote() for _ in range(engine.slots)]
    ray.get([actor.nothing.remote() for actor in actors])
    start = time.perf_counter()
    flying = {actor.nothing.remote(): actor for actor in actors}
    for _ in range(count - len(actors)):
        (landed,), _ = ray.wait(list(flying), num_returns=1)
        ray.get(landed)
        actor = flying.pop(landed)
        flying[actor.nothing.remote()] = actor
    ray.get(list(flying))
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
    """What a run does: find what is missing, start Ray if something is, compute, record, publish."""
    tasks = {id: task for id, task in plan(count).items() if not is_done(store, id)}
    store.mkdir(exist_ok=True)
    with contextlib.closing(Index.open(store)) as index:
        if tasks:
            engine = RayEngine(store)
            Driver(tasks, engine, lambda task, outcome, attempt: index.record_outcome(folder_of(store, task.id))).run()
            engine.close()
        index.publish(store.parent / "results.duckdb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray")
    parser.add_argument("--rivals", type=Path, metavar="VENV", help="also run snakemake and redun from this environment")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        alone(args.alone, args.store)
        return
    print(f"{args.tasks} tasks that do nothing, engine {args.engine}")
    heads = ("ms per task", "raw Ray", "added", "publish s", "found done s", "driver MB")
    print(f"{'dispatch':<12}", *(f"{head:>12}" for head in heads))
    for name, seconds in (("one by one", {"Rehearsal": 10.0}), ("grouped", {"Rehearsal": 0.01})):
        took = measure(args.tasks, args.engine, seconds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        run, raw = 1e3 * took["run"], 1e3 * took["raw"]
        figures = (run, raw, run - raw, took["publish"], took["found done"], peak)
        print(f"{name:<12}", *(f"{figure:>12.2f}" for figure in figures))
    if args.rivals:
        rivals(args.rivals)


if __name__ == "__main__":
    main()
