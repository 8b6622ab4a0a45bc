"""Computation lost by killing processes: `python benchmarks/chaos.py [--rounds 50] [--seed 0]`.

Each round runs a small study on Ray and kills something with SIGKILL soon after a random number of commits: the driver, one or both
workers, or the raylet; then the same command again, until a run ends by itself. The database must equal that of an uninterrupted
run, row for row but for times and the store's name. Prints a line for each round and what was lost; exit code 1 if a database
differed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import psutil

ROOT = Path(__file__).resolve().parents[1]
STUDY = """\
study: chaos
question: Does killing change a figure?
allow: {L01: &why nothing is concluded, L03: *why, L07: *why, L09: *why, L23: *why}
data: {name: digits, test: 360}
audit:
  canaries:
    mislabeled: {kind: mislabeled, count: 24}
  shadows: 8
  attacks: [{attack: lira, signal: logit, variant: pooled, queries: 1}]
  fpr: [0.1]
  headline: {attack: lira, signal: logit, variant: pooled, queries: 1, canaries: mislabeled, release: final_model, fpr: 0.1}
  resamples: 100
  null_permutations: 20
classifier: {net: small, width: 8, epochs: 2, batch_size: 64, lr: 0.1}
arms:
  undefended: {paradigm: undefended}
  coreset: {paradigm: coreset, method: forgetting, fraction: 0.3}
"""
ROWS = {
    "result": "SELECT * EXCLUDE (origin, value, low, high), CASE WHEN metric LIKE '%second%' OR metric LIKE '%memory%' THEN NULL "
    "ELSE (value, low, high) END FROM result ORDER BY ALL",
    "canary_risk": "SELECT * EXCLUDE (origin) FROM canary_risk ORDER BY ALL",
    "roc": "SELECT * EXCLUDE (origin) FROM roc ORDER BY ALL",
    "task": "SELECT task, kind, operation, address, status FROM task ORDER BY ALL",
}
MARK = "SYNTHC_CHAOS"
"""In the environment of everything that this process started."""
VICTIMS = ("driver", "worker", "workers", "raylet")


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "runtime.cli", "run", str(folder / "study.yaml"), "--db", str(folder / "results.duckdb")]


def start(folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "log").open("ab")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: str(os.getpid())}
    return subprocess.Popen(command(folder), cwd=ROOT, stdout=log, stderr=log, env=environment)


def rows(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as connection:
        return {view: connection.execute(query).fetchall() for view, query in ROWS.items()}


def kill(driver: subprocess.Popen[bytes], victim: str, rng: random.Random) -> bool:
    """Kill the driver, one raylet, one worker or all workers by SIGKILL; whether such a process was found."""
    if victim == "driver":
        driver.kill()
        return True
    family = psutil.Process(driver.pid).children(recursive=True)
    wanted = "raylet" if victim == "raylet" else "ray::_Worker"
    found = [one for one in family if wanted in (one.name() + " ".join(one.cmdline()[:1]))]
    for process in found if victim == "workers" else rng.sample(found, min(1, len(found))):
        process.kill()
    return bool(found)


def tidy() -> None:
    """End the processes that a killed driver's cluster left, and no others. Without this they end by themselves after some
    seconds."""
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        with contextlib.suppress(psutil.Error):
            if "/ray/" in words and process.ppid() == 1 and process.environ().get(MARK) == str(os.getpid()):
                process.send_signal(signal.SIGKILL)


def commits(folder: Path) -> int:
    return len(list(folder.glob(".synthc/*/*/outcome.json")))


def one_round(folder: Path, rng: random.Random, tasks: int) -> tuple[str, int, int]:
    """Run a study with one kill at a random moment: what was killed, after how many commits, and how many runs it took to
    finish."""
    (folder / "study.yaml").write_text(STUDY)
    victim = rng.choice(VICTIMS)
    driver, runs, done = start(folder), 1, 0
    enough = rng.randrange(tasks)
    while driver.poll() is None and commits(folder) < enough:
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 0.3))
    if driver.poll() is not None:
        victim = f"no {victim} left"
    else:
        done = commits(folder)
        if not kill(driver, victim, rng):
            victim = f"no {victim} yet"
    code = driver.wait(timeout=300)
    while code != 0:
        tidy()
        runs += 1
        code = start(folder).wait(timeout=300)
        if runs > 5:
            raise SystemExit(f"{folder}: five runs did not end it; see {folder / 'log'}")
    return victim, done, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "uninterrupted"
        whole.mkdir()
        (whole / "study.yaml").write_text(STUDY)
        began = time.monotonic()
        assert start(whole).wait(timeout=600) == 0, (whole / "log").read_text()
        expected = rows(whole)
        print(f"uninterrupted: {time.monotonic() - began:.0f} s, {len(expected['task'])} tasks, {len(expected['result'])} results")
        print(f"{'round':>5} {'killed':<14} {'commits':>8} {'runs':>5}  database")
        different = 0
        for number in range(args.rounds):
            folder = Path(place) / str(number)
            folder.mkdir()
            victim, done, runs = one_round(folder, rng, len(expected["task"]))
            found = rows(folder)
            wrong = [view for view in ROWS if found[view] != expected[view]]
            different += bool(wrong)
            verdict = f"differs: {', '.join(wrong)}" if wrong else "equal"
            print(f"{number:>5} {victim:<14} {done:>8} {runs:>5}  {verdict}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{args.rounds} rounds, {different} with another database")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
