"""Ray itself: two nodes of which one is lost, a cluster without room, other versions, signals to the whole group."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.execution import ray_engine
from runtime.execution.driver import Driver, EarlierRuns
from runtime.execution.ray_engine import RayEngine
from runtime.outcome import Outcome
from tests.conftest import HANG_SECONDS, ROOT, TINY, wait_until
from tests.runtime.execution.rehearsals import task, todo

pytestmark = pytest.mark.long


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster whose head has no room for workers, and two nodes with a core each."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    with contextlib.suppress(Exception):
        made.shutdown()


def test_a_study_runs_on_both_nodes_and_ends_when_one_of_them_is_lost(nodes: Any, tmp_path: Path) -> None:
    engine = RayEngine(tmp_path, address=nodes.address)
    tasks = [task(f"{place}", seconds=0.3) for place in range(24)]
    found: list[Outcome] = []
    pids: set[int] = set()

    def record(_: Any, outcome: Outcome, attempt: int) -> None:
        found.append(outcome)
        if outcome.provenance:
            pids.add(outcome.provenance.pid)
        if len(pids) == 2 and nodes.workers:
            nodes.remove_node(nodes.workers.pop(), allow_graceful=False)
            nodes.workers.clear()

    try:
        Driver(todo(tasks), engine, record, earlier=EarlierRuns({"Rehearsal": 9.0})).run()
    finally:
        engine.close()
    assert len(pids) >= 2
    assert {outcome.task for outcome in found if outcome.status == "done"} == {one.id for one in tasks}
    assert all(outcome.notes.get("tried_again") for outcome in found if outcome.status != "done")


def test_a_cluster_without_room_is_an_error_and_no_silent_wait(nodes: Any, tmp_path: Path) -> None:
    for node in nodes.workers:
        nodes.remove_node(node)
    with pytest.raises(SynthcError, match=r"has 0 CPU|has neither CPU nor GPU"):
        RayEngine(tmp_path, address=nodes.address)


def test_a_node_with_other_versions_is_refused(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ray_engine.identity()
    monkeypatch.setattr(ray_engine, "identity", lambda: here | {"torch": "0.0.0"})
    with pytest.raises(SynthcError, match=r"has other versions \(torch .* there, 0\.0\.0 here\); install the same on all nodes"):
        RayEngine(tmp_path, address=nodes.address)


def test_the_doctor_says_whether_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--ray", "--db", str(tmp_path / "results.duckdb")]) == 0
    assert "Ray started, a worker answered and ended" in capsys.readouterr().out
    monkeypatch.setattr(ray_engine, "identity", lambda: {"torch": "0.0.0"})
    assert main(["doctor", "--ray", "--db", str(tmp_path / "results.duckdb")]) == 1
    assert "BAD  workers" in capsys.readouterr().out


def test_a_signal_to_the_whole_process_group_lets_running_tasks_finish_and_publishes(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    words = [sys.executable, "-m", "runtime.cli", "run", "study.yaml", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    wait_until(lambda: len(list(tmp_path.glob(".synthc/*/*/outcome.json"))) >= 3, running)
    os.killpg(running.pid, signal.SIGTERM)  # as a batch system does
    said, _ = running.communicate(timeout=HANG_SECONDS)
    assert running.returncode == 130, said
    assert "run the same command again to go on" in said
    assert (tmp_path / "results.duckdb").exists()
