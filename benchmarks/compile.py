"""Time of compiling: `python benchmarks/compile.py [--tasks 1000 10000 100000]`.

Two shapes of study: many shadows with a shared proxy (coresets over a grid of fractions), and many small trials that share nothing
but their population (a grid of learning rates). Each is compiled twice in processes of its own; ids, addresses and texts of the two
plans must be the same bytes. Then what it takes to begin: the import of the compiler, and commands from start to end, as processes
that find bytecode, as a user's do from the second time on. Seconds are CPU seconds of one core. Prints two tables; records nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FRESH = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}

HEAD = """\
study: big
allow: {{L01: a benchmark compares nothing, L07: a benchmark attacks nothing, L10: a benchmark compares nothing}}
data: {{name: digits, test: 360}}
audit:
  canaries: {{mislabeled: {{kind: mislabeled, count: 128}}, clean: {{kind: clean, count: 128}}}}
  z_pool: 100
  shadows: {shadows}
  attacks: [{{attack: lira}}, {{attack: threshold}}]
  fpr: [0.1]
  headline: {{fpr: 0.1}}
classifier: {{net: small, width: 16, epochs: 8, lr: {lr}}}
arms:
"""

COMPILE = """\
import resource, sys, time
from hashlib import blake2b
from pathlib import Path
start = time.process_time()
from compiler.compile import compile_study
imported = time.process_time()
plan = compile_study(Path(sys.argv[1]))
ended = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
digest = blake2b()
for task in plan.tasks.values():
    digest.update(f"{task.id} {task.address} {task.needs} {task.text}\\n".encode())
for planned in plan.trials:
    digest.update(f"{planned.trial.address} {planned.answer} {planned.stages}\\n".encode())
print(len(plan.tasks), len(plan.trials), imported - start, ended - imported, peak, digest.hexdigest())
"""


BEGIN = """\
import time
cpu, wall = time.process_time(), time.perf_counter()
{imported}
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
IMPORTS = {
    "import pydantic, ruamel": "from pydantic import BaseModel, Field, TypeAdapter; import ruamel.yaml",
    "import compiler": "from compiler.compile import compile_study",
}
COMMANDS = ("--help", "check specs/full_study.yaml", "plan specs/full_study.yaml")


def grid(count: int) -> str:
    return f"{{grid: [{', '.join(f'{0.9 * (place + 1) / count:.6f}' for place in range(count))}]}}"


def shared_proxy(tasks: int) -> str:
    """Two selections over a grid of fractions: 32 shadows, so about 193 tasks for each fraction."""
    arm = f"  coreset: {{paradigm: coreset, method: {{grid: [random, forgetting]}}, fraction: {grid(max(1, tasks // 193))}}}\n"
    return HEAD.format(shadows=32, lr=0.1) + arm


def small_trials(tasks: int) -> str:
    """Undefended training at many learning rates: 8 shadows, so 17 tasks for each."""
    return HEAD.format(shadows=8, lr=grid(max(1, tasks // 17))) + "  undefended: {paradigm: undefended}\n"


def compiled(spec: Path, seed: int) -> tuple[int, int, float, float, float, str]:
    """Tasks, trials, seconds to import, seconds to compile, peak MB, digest of the plan; in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)}
    done = subprocess.run([sys.executable, "-c", COMPILE, str(spec)], env=environment, capture_output=True, text=True, check=True)
    tasks, trials, imported, took, peak, digest = done.stdout.split()
    return int(tasks), int(trials), float(imported), float(took), float(peak), digest


def imported(what: str) -> tuple[float, float]:
    """CPU and wall seconds of an import in a new process, Python's own start not counted."""
    script = BEGIN.format(imported=what)
    done = subprocess.run([sys.executable, "-c", script], env=FRESH, capture_output=True, text=True, check=True)
    cpu, wall = map(float, done.stdout.split())
    return cpu, wall


def commanded(words: str) -> tuple[float, float]:
    """CPU and wall seconds of a command, from start to end."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "runtime.cli", *words.split()], env=FRESH, cwd=ROOT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - clock


def beginnings(times: int) -> None:
    """Print the least and the median start-up time over several processes, after one that writes the bytecode."""
    print(f"\n{'':<36}", *(f"{head:>11}" for head in ("least CPU s", "median", "least wall", "median")))
    what = {name: partial(imported, text) for name, text in IMPORTS.items()}
    what |= {f"synthc {words}": partial(commanded, words) for words in COMMANDS}
    for name, take in what.items():
        take()
        sides = map(sorted, zip(*(take() for _ in range(times)), strict=True))
        figures = [taken for side in sides for taken in (side[0], side[times // 2])]
        print(f"{name:<36}", *(f"{figure:>11.3f}" for figure in figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--times", type=int, default=14, help="processes of each kind that begin (default 14)")
    args = parser.parse_args()
    heads = ("tasks", "trials", "import s", "compile s", "us per task", "peak MB", "same bytes")
    print(f"{'study':<14}", *(f"{head:>11}" for head in heads))
    for name, write in (("shared proxy", shared_proxy), ("small trials", small_trials)):
        for wanted in args.tasks:
            with tempfile.TemporaryDirectory() as folder:
                spec = Path(folder) / "study.yaml"
                spec.write_text(write(wanted))
                first, again = compiled(spec, 0), compiled(spec, 1)
            tasks, trials, imported, took, peak, digest = first
            figures = (tasks, trials, f"{imported:.2f}", f"{took:.2f}", f"{1e6 * took / tasks:.0f}", f"{peak:.0f}")
            print(f"{name:<14}", *(f"{figure:>11}" for figure in (*figures, "yes" if digest == again[-1] else "NO")), flush=True)
    beginnings(args.times)


if __name__ == "__main__":
    main()
