"""Many processes on one database: `python benchmarks/gather.py [--rounds 40] [--readers 30]`.

Each round, at the same time and on one `results.duckdb`: a run of one store, a run of another, `synthc db rebuild` of a third,
`synthc db merge` of a database from elsewhere, readers, and a user who writes a table of their own. One of the publishers is
killed (SIGKILL) at a random moment. Afterwards the database must open, hold what is the user's, and, once each store has published
again, all rows of every origin. Prints a line a round, and exits with 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder's `statistics` would hide Python's own

import duckdb  # noqa: E402

SPEC = """\
study: {study}
allow: {{L01: &why nothing is concluded, L05: *why, L07: *why, L17: *why, L23: *why}}
data: {{name: digits, subset: 400, test: 100}}
audit:
  canaries: {{mislabeled: {{kind: mislabeled, count: 20}}}}
  shadows: 8
  attacks: [{{attack: lira}}, {{attack: threshold}}]
  fpr: [0.1]
  headline: {{fpr: 0.1}}
  resamples: 100
  null_permutations: 20
classifier: {{net: mlp, width: 8, epochs: 2, batch_size: 64, lr: 0.1}}
arms: {{undefended: {{paradigm: undefended}}}}
"""
READER = """
import sys, time, duckdb
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as c:
            c.execute("SELECT count(*), sum(value) FROM result").fetchall()
            c.execute("FROM comparison").fetchall()
    except duckdb.IOException as error:
        if "lock" not in str(error).lower():
            raise
    time.sleep(0.05)
"""
WRITER = """
import sys, time, duckdb
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 3):
    while True:
        try:
            with duckdb.connect(sys.argv[1]) as c:
                c.execute("CREATE TABLE IF NOT EXISTS mine (number INTEGER PRIMARY KEY)").fetchall()
                c.execute("INSERT INTO mine VALUES (?)", [number]).fetchall()
            break
        except duckdb.IOException:
            time.sleep(0.05)
    print(number, flush=True)
    time.sleep(0.3)
"""


def start(*words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def synthc(*words: str) -> subprocess.Popen[str]:
    return start("-m", "runtime.cli", *words)


def run(folder: Path, study: str, *words: str) -> subprocess.Popen[str]:
    return synthc("run", f"{folder}/{study}.yaml", "--engine", "inline", "--store", f"{folder}/{study}", *words)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}: {err[-800:]}")
    return out


def rows_of(database: Path) -> dict[str, int]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return dict(connection.execute("SELECT origin, count(*) FROM result GROUP BY ALL").fetchall())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--readers", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {}
        for study in ("one", "two", "three", "elsewhere"):
            (folder / f"{study}.yaml").write_text(SPEC.format(study=study))
            if stores:  # the same tasks, with an identity of its own
                shutil.copytree(
                    folder / "one", folder / study, ignore=shutil.ignore_patterns("store.json", "index.duckdb*", "runs")
                )
            finish(run(folder, study, "--db", f"{folder}/{study}.duckdb"))
            stores[study] = json.loads((folder / study / "store.json").read_text())["origin"]
        wanted = {origin: sum(rows_of(folder / f"{study}.duckdb").values()) for study, origin in stores.items()}
        target, written = folder / "results.duckdb", set()
        for round_ in range(args.rounds):
            for study in ("one", "two"):  # something to compute in this round
                for outcome in chance.sample(sorted((folder / study).glob("??/*/outcome.json")), 3):
                    outcome.unlink()
            db = ["--db", str(target)]
            publishers = [
                *(run(folder, study, *db) for study in ("one", "two")),
                synthc("db", "rebuild", "--store", f"{folder}/three", *db),
                synthc("db", "merge", f"{folder}/elsewhere.duckdb", *db),
            ]
            seconds = str(chance.uniform(2, 4))
            readers = [start("-c", READER, str(target), seconds) for _ in range(args.readers if target.exists() else 0)]
            writer = start("-c", WRITER, str(target), str(10 * round_)) if target.exists() else None
            victim = chance.choice(publishers)
            time.sleep(chance.uniform(0.2, 4))
            victim.send_signal(signal.SIGKILL)
            said = [(one, *one.communicate(timeout=300)) for one in publishers]
            problems = [err[-300:] for one, _, err in said if one is not victim and one.returncode]
            problems += [err[-300:] for one in readers for _, err in [one.communicate(timeout=300)] if one.returncode]
            if writer is not None:
                written |= {int(line) for line in writer.communicate(timeout=300)[0].split()}
            for study in ("one", "two"):
                finish(run(folder, study, *db))
            finish(synthc("db", "rebuild", "--store", f"{folder}/three", *db))
            finish(synthc("db", "merge", f"{folder}/elsewhere.duckdb", *db))
            if rows_of(target) != wanted:
                problems.append(f"rows {rows_of(target)}, wanted {wanted}")
            with duckdb.connect(str(target), read_only=True) as connection:
                mine = {number for (number,) in connection.execute("FROM mine").fetchall()} if written else set()
            if not written <= mine:
                problems.append(f"of the user's rows {sorted(written - mine)} are lost")
            failures += bool(problems)
            print(f"round {round_ + 1}: {'; '.join(problems) or 'whole'}", flush=True)
    print(f"{args.rounds - failures} of {args.rounds} rounds whole")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
