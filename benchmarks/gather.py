"""Many processes on one database: `python benchmarks/gather.py [--rounds 40] [--readers 30]`.

Each round, at the same time, each in a process of its own and on one `results.duckdb`: a run of one store, a run of another,
`synthc db rebuild` of a third, `synthc db merge` of a database from elsewhere, readers, and a user who writes a table of their own.
One of the publishers is killed (SIGKILL) at a random moment. Afterwards the database must open, hold what is the user's, and, once
each store has published again, all rows of every origin. Prints a line a round, and exits with 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder's `statistics` would hide Python's own
os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads is not to be forked

import duckdb  # noqa: E402

from runtime.cli.main import main as command  # noqa: E402
from runtime.operations import OPERATIONS  # noqa: E402

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


def read(database: str, seconds: float) -> int:
    """Query the database again and again for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with duckdb.connect(database, read_only=True) as connection:
                connection.execute("SELECT count(*), sum(value) FROM result").fetchall()
                connection.execute("FROM comparison").fetchall()
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
        time.sleep(0.05)
    return 0


def write(database: str, first: int) -> int:
    """A user who writes three rows of their own, and prints each that is committed."""
    for number in range(first, first + 3):
        while True:
            try:
                with duckdb.connect(database) as connection:
                    connection.execute("CREATE TABLE IF NOT EXISTS mine (number INTEGER PRIMARY KEY)").fetchall()
                    connection.execute("INSERT INTO mine VALUES (?)", [number]).fetchall()
                break
            except duckdb.IOException:
                time.sleep(0.05)
        print(number, flush=True)
        time.sleep(0.3)
    return 0


class Started:
    """A process forked from this one, which has all modules: importing them took most of a round."""

    def __init__(self, act: Callable[..., int], *arguments: object) -> None:
        self.said = tempfile.TemporaryFile("w+")
        self.words = arguments
        self._process = multiprocessing.get_context("fork").Process(target=self._run, args=(act, *arguments))
        self._process.start()

    def _run(self, act: Callable[..., int], *arguments: object) -> None:
        for stream in (1, 2):
            os.dup2(self.said.fileno(), stream)
        sys.exit(act(*arguments))

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> tuple[int | None, str]:
        """Wait for the process: its exit code (None if it hangs) and its output."""
        self._process.join(300)
        code = self._process.exitcode
        self._process.kill()
        self.said.seek(0)
        return code, self.said.read()


def synthc(*words: str) -> Started:
    return Started(command, words)


def run(folder: Path, study: str, *words: str) -> Started:
    return synthc("run", f"{folder}/{study}.yaml", "--engine", "inline", "--store", f"{folder}/{study}", *words)


def finish(process: Started) -> None:
    code, said = process.wait()
    if code:
        raise RuntimeError(f"{process.words} ended with {code}: {said[-800:]}")


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
    for module in (*OPERATIONS.values(), "runtime.execution.study_run", "runtime.execution.driver", "runtime.database.gather"):
        importlib.import_module(module)
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
                (attack,) = (folder / study).glob("??/*/scores.safetensors")  # without its commit what it needs is needed again
                for file in (attack, *chance.sample(sorted((folder / study).glob("??/*/answers.safetensors")), 2)):
                    file.with_name("outcome.json").unlink()
            db = ["--db", str(target)]
            publishers = [
                *(run(folder, study, *db) for study in ("one", "two")),
                synthc("db", "rebuild", "--store", f"{folder}/three", *db),
                synthc("db", "merge", f"{folder}/elsewhere.duckdb", *db),
            ]
            seconds = chance.uniform(2, 4)
            readers = [Started(read, str(target), seconds) for _ in range(args.readers if target.exists() else 0)]
            writer = Started(write, str(target), 10 * round_) if target.exists() else None
            victim = chance.choice(publishers)
            time.sleep(chance.uniform(0.1, 3))
            victim.kill()
            said = [(one, *one.wait()) for one in (*publishers, *readers)]
            problems = [text[-300:] for one, code, text in said if one is not victim and code]
            if writer is not None:
                written |= {int(line) for line in writer.wait()[1].split()}
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
