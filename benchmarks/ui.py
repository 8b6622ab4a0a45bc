"""CPU time of an open page: `python benchmarks/ui.py [--trials 17 200] [--follow 300] [--epochs 60] [--runs 1]`.

Needs Chromium. The server's start (libraries, scripts) is not counted. First, for databases of so many trials (16 shadows, 200
metrics each): when the page is first painted and when its rows are there, how long after a publication the new figure stands on
it, and the server's CPU seconds for each; and the server's share of a core while the database is published every five seconds, as
a run does. Then beside a run: CPU seconds of the server over the run's wall-clock seconds, and the run's time with and without a
page. The last alone, on a machine of two cores or more that is idle otherwise:

    python benchmarks/ui.py --trials --epochs 60 --runs 3
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
from database import FILL

from runtime.database.connect import execute
from runtime.database.index import Index
from tests.runtime.present.browser import Browser

ROOT = Path(__file__).resolve().parents[1]
UPDATES = 3
EACH_SHADOW = """
UPDATE base.run SET headline = '{"attack": "lira", "signal": "logit", "variant": "pooled", "queries": 1, "canaries": "mislabeled",
  "release": "final_model", "fpr": 0.01}', spec_text = 'study: s0';
DELETE FROM base.task WHERE kind = 'train';
UPDATE base.stage SET task = task || shadow;
INSERT INTO base.task SELECT origin, run, task, 'train', 'TrainClassifier', trial || ' ' || shadow, '[]', NULL FROM base.stage;
INSERT INTO base.outcome BY NAME SELECT origin, task, TIMESTAMP '2026-01-01' AS started, 1.5 AS seconds, 'h' AS host,
  'cpu' AS device, true AS null_ok, '' AS flags, '{}' AS notes FROM base.stage;
"""
STUDY = """\
study: beside
question: What does a page beside a run cost?
allow: {L01: a benchmark, L07: a benchmark}
data: {name: digits, test: 360}
audit:
  canaries: {mislabeled: {kind: mislabeled, count: 24}}
  z_pool: 40
  shadows: 16
  attacks: [{attack: lira, signal: logit, variant: pooled, queries: 1}]
  fpr: [0.1]
  headline: {attack: lira, signal: logit, variant: pooled, queries: 1, canaries: mislabeled, release: final_model, fpr: 0.1}
classifier: {net: small, width: 8, epochs: %d, batch_size: 64, lr: 0.1}
arms:
  undefended: {paradigm: undefended}
  coreset: {paradigm: coreset, method: {grid: [random, forgetting]}, fraction: {grid: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}}
"""
"""17 trials."""


def fill(folder: Path, trials: int) -> Path:
    """A published database of one study of so many trials."""
    store, database = folder / ".synthc", folder / "results.duckdb"
    store.mkdir()
    with contextlib.closing(Index.open(store)) as index:
        filled = FILL.format(origin=index.origin, studies=1, runs=1, shadows=16, trials=trials, metrics=200, scores=2000)
    with duckdb.connect(str(store / "index.duckdb")) as connection:
        execute(connection, filled)
        execute(connection, EACH_SHADOW)
    with contextlib.closing(Index.open(store)) as index:
        index.publish(database)
    return database


@contextlib.contextmanager
def serving(database: Path):
    """Start `synthc ui` on a database; give its process and the address of its page, and end it afterwards."""
    command = [sys.executable, "-m", "synthc", "ui", "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}) as server:
        try:
            yield server, server.stdout.readline().strip()
        finally:
            server.terminate()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(browser: Browser, address: str) -> tuple[float, float]:
    """Seconds from the request to the first paint with content, and to the table of results."""
    browser.call("Emulation.setDeviceMetricsOverride", width=1600, height=900, deviceScaleFactor=1, mobile=False)
    browser.call("Page.navigate", url=address)
    browser.wait("document.documentElement?.dataset.ready === 'true'")
    times = "['first-contentful-paint', 'ready'].map(name => performance.getEntriesByName(name)[0]?.startTime)"
    browser.wait(f"({times}).every(Number.isFinite)")
    return tuple(value / 1000 for value in browser.js(times))


def publish_anew(database: Path, label: str) -> None:
    """Replace the database by one in which the first trial has another name, as publishing does."""
    beside = database.with_name("next.duckdb")
    beside.write_bytes(database.read_bytes())
    with duckdb.connect(str(beside)) as connection:
        connection.execute("UPDATE base.trial SET label = ? WHERE label = (SELECT min(label) FROM base.trial)", [label])
    beside.replace(database)


def measure_speed(folder: Path, browser: Browser, trials: int) -> None:
    database = fill(folder, trials)
    with serving(database) as (server, address):
        cold = show(browser, address)
        warm = [show(browser, address) for _ in range(UPDATES)]
        took, busy = [], []
        for number in range(UPDATES):
            time.sleep(4)  # as a run publishes: not at once after what was published before
            label, before = f"Anew {number}", cpu_seconds(server.pid)
            publish_anew(database, label)
            begun = time.perf_counter()
            there = f"[...document.querySelectorAll('#comparison th')].some(cell => cell.textContent === '{label}')"
            browser.js(f"new Promise(done => {{ const look = () => {there} ? done() : setTimeout(look, 10); look(); }})")
            took.append(time.perf_counter() - begun)
            browser.wait("document.documentElement.dataset.drawn")
            time.sleep(1)
            busy.append(cpu_seconds(server.pid) - before)
    warm_paint, warm_rows = (statistics.median(values) for values in zip(*warm, strict=True))
    print(f"{trials} trials: first paint {cold[0]:.2f} s, rows {cold[1]:.2f} s; again {warm_paint:.2f} and {warm_rows:.2f} s")
    print(
        f"  publication to page {statistics.median(took):.2f} s (most {max(took):.2f}), server {statistics.median(busy):.3f} CPU s"
    )


def follow(folder: Path, trials: int, seconds: float, results: bool) -> None:
    """Publications every five seconds for so long, each with another result or none, and a client that asks what the page would."""
    database = fill(folder, trials)
    updates: list[float] = []
    charts: list[float] = []
    published = [0.0]

    def ask(path: str) -> bytes:
        with urllib.request.urlopen(address + path) as answer:
            return answer.read()

    def listen() -> None:
        """Follow the server until it ends."""
        kind, run = "", json.loads(ask("state"))["run"]["run"]
        with contextlib.suppress(OSError, HTTPException), urllib.request.urlopen(address + "events") as events:
            for line in events:
                if line.startswith(b"event:"):
                    kind = line
                elif line.startswith(b"data:") and not kind:
                    ask("state?update=1")
                    updates.append(time.monotonic() - published[0])
                elif line.startswith(b"data:"):
                    ask(f"chart?name=tradeoff&run={run}&update=1")
                    charts.append(time.monotonic() - published[0])
                    kind = ""

    listener = threading.Thread(target=listen)
    with serving(database) as (server, address):
        wait_until_started(address)
        listener.start()
        time.sleep(5)
        begun, at_start = time.monotonic(), cpu_seconds(server.pid)
        updates.clear(), charts.clear()
        publications = 0
        while time.monotonic() < begun + seconds:
            if results or not publications:
                publish_anew(database, f"Anew {publications}")
            else:
                database.touch()  # tasks ended, and no trial
            published[0] = time.monotonic()
            publications += 1
            time.sleep(5)
        share = (cpu_seconds(server.pid) - at_start) / (time.monotonic() - begun)
        what = "new results" if results else "no new result"
        middle = f"{statistics.median(updates):.2f} s, most {max(updates):.2f}" if updates else "never"
        print(
            f"{trials} trials, {what} every 5 s for {seconds:.0f} s: server {share:.2%} of a core, {len(updates)} of {publications}"
            f" updates, {middle} after their publication, {len(charts)} charts",
            flush=True,
        )
    listener.join()


def wait_until_started(address: str) -> None:
    """Wait for the script of charts: until it is made the server is busy."""
    with urllib.request.urlopen(address + "vega.js") as answer:
        answer.read()


def compare_runs(folder: Path, epochs: int, pairs: int, browser: Browser) -> None:
    """Runs the study in `pairs` pairs, alone and beside an open page, in alternating order; prints the ratio of the seconds and the
    share of a core that the page's server took."""
    walls: dict[bool, list[float]] = {True: [], False: []}
    shares = []
    for number in range(pairs):
        for beside in (False, True) if number % 2 else (True, False):
            wall, used, server = run_study(folder / f"run-{number}-{beside}", epochs, browser if beside else None)
            walls[beside].append(wall)
            shares += [server / wall] if beside else []
            kind = f"with a page: server {server:.1f} CPU s, {server / wall:.2%} of a core" if beside else "alone"
            print(f"run {wall:.0f} s, {used:.1f} CPU s, {kind}", flush=True)
    ratios = [page / alone for page, alone in zip(walls[True], walls[False], strict=True)]
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    print(f"{pairs} pairs: server {statistics.mean(shares):.2%} of a core; time with a page over time without {spread}")


def run_study(folder: Path, epochs: int, browser: Browser | None) -> tuple[float, float, float]:
    """Wall-clock and CPU seconds of a run, and CPU seconds of a page's server beside it."""
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY % epochs)
    database = folder / "results.duckdb"
    words = [sys.executable, "-m", "synthc", "run", str(folder / "study.yaml"), "--db", str(database), "--engine", "inline"]
    with contextlib.ExitStack() as stack:
        server = None
        if browser is not None:
            server, address = stack.enter_context(serving(database))
            browser.call("Page.navigate", url=address)
            wait_until_started(address)
        at_start, begun = cpu_seconds(server.pid) if server else 0.0, time.perf_counter()
        with subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL) as run:
            _, status, used = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            raise SystemExit(f"the run ended with {run.returncode}")
        wall = time.perf_counter() - begun
        return wall, used.ru_utime + used.ru_stime, cpu_seconds(server.pid) - at_start if server else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[17, 200])
    parser.add_argument("--follow", type=float, default=300, metavar="SECONDS", help="of publications without a run (0: none)")
    parser.add_argument("--epochs", type=int, default=60, help="of each shadow of the run: how long it takes (0: no run)")
    parser.add_argument("--runs", type=int, default=1, metavar="PAIRS", help="of a run alone and a run with a page")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.closing(Browser(Path(name) / "chromium")) as browser:
        for trials in args.trials:
            (folder := Path(name) / str(trials)).mkdir()
            measure_speed(folder, browser, trials)
            for results in (True, False) if args.follow else ():
                (folder := Path(name) / f"follow-{trials}-{results}").mkdir()
                follow(folder, trials, args.follow, results)
        if args.epochs:
            compare_runs(Path(name), args.epochs, args.runs, browser)


if __name__ == "__main__":
    main()
