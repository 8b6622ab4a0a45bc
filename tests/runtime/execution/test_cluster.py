"""Ray itself: two nodes of which one is lost, a cluster without room, other versions, signals to the whole group."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.execution import cluster, ray_engine
from runtime.execution.driver import Driver, EarlierRuns
from runtime.execution.ray_engine import RayEngine
from runtime.outcome import Outcome
from tests.conftest import HANG_SECONDS, LONG, ROOT, TINY, Done, run_study, wait_until
from tests.runtime.execution.rehearsals import task, todo

pytestmark = pytest.mark.long


ROWS = "SELECT * EXCLUDE (note, origin) FROM result WHERE metric <> 'seconds' ORDER BY ALL"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for that of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster whose head has no room for workers, and two nodes with a core each."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    os.environ["RAY_AUTH_MODE"] = "token"
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
    assert cluster.OF_ONE_MACHINE not in os.environ  # else `ray start` of this process would join no cluster
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


def start_run(folder: Path, *options: str, study: str = TINY, **environment: str) -> subprocess.Popen[str]:
    """`synthc run` of a study in a process of its own; its output, both streams together, is piped."""
    (folder / "study.yaml").write_text(study)
    words = [sys.executable, "-m", "runtime.cli", "run", "study.yaml", *options]
    found = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(words, cwd=folder, env=found, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_cluster_of_our_own_is_for_its_owner_alone_and_leaves_nothing(tmp_path: Path, short_folder: Path) -> None:
    (short_folder / "ray").mkdir()
    (short_folder / "ray" / "ray_current_cluster").write_text("10.77.0.99:6379")  # of a cluster that is no more
    running = start_run(tmp_path, TMPDIR=str(short_folder), RAY_AUTH_MODE="disabled")
    wait_until(lambda: list(tmp_path.glob(".synthc/*/*/outcome.json")), running)
    (folder,) = short_folder.glob("synthc-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    ports = [found.laddr for one in family for found in one.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    assert {port.ip.removeprefix("::ffff:") for port in ports} == {"127.0.0.1"}
    (head,) = [one for one in family if one.name() == "gcs_server"]
    address = f"127.0.0.1:{next(found.laddr.port for found in head.net_connections() if found.status == psutil.CONN_LISTEN)}"
    words = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    # Without the second variable Ray asks at another address of this machine than the one that it is given.
    stranger = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    asked = subprocess.run(words, env=stranger, capture_output=True, text=True, check=False)
    assert "InvalidAuthToken" in asked.stderr
    assert head.environ()["RAY_USAGE_STATS_ENABLED"] == "0"
    said, _ = running.communicate(timeout=HANG_SECONDS)
    assert running.returncode == 0, said
    assert not list(short_folder.glob("synthc-*"))


def test_a_head_that_is_lost_ends_the_run_with_a_sentence_and_the_next_run_goes_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    running = start_run(tmp_path, study=LONG)
    wait_until(lambda: len(list(tmp_path.glob(".synthc/*/*/outcome.json"))) >= 3, running)
    (head,) = [one for one in psutil.Process(running.pid).children() if one.name() == "gcs_server"]
    head.kill()
    killed = time.monotonic()
    said, _ = running.communicate(timeout=HANG_SECONDS)
    assert running.returncode == 2, said
    assert "has not answered for 20 s; what is committed stays: run again to go on" in said
    assert time.monotonic() - killed < 60  # Ray would abort the process then
    done = Done(tmp_path, tmp_path / "study.yaml")
    assert done.rows("SELECT count(*) > 0 FROM task WHERE status = 'done'") == [(True,)]
    again = start_run(tmp_path, "--engine", "inline", study=LONG)
    said, _ = again.communicate(timeout=HANG_SECONDS)
    assert again.returncode == 0, said
    assert done.rows(ROWS) == run_study(tmp_path_factory.mktemp("undisturbed"), LONG).rows(ROWS)


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_that_is_too_long_full_or_read_only_is_named_with_its_variable(
    variable: str, tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(SynthcError, match=rf"{variable}={tmp_path} is too long for Ray's sockets: \d+ .*set RAY_TMPDIR to a short"):
        RayEngine(tmp_path)
    monkeypatch.setenv(variable, "/proc/self")  # nobody can write there, not even root
    with pytest.raises(SynthcError, match=rf"(Ray cannot write to {variable}=/proc|{variable}=/proc/self is full: 0 MiB)"):
        RayEngine(tmp_path)


def test_too_low_a_limit_of_processes_is_a_sentence(tmp_path: Path, short_folder: Path) -> None:
    said = limited(150, f"from pathlib import Path; RayEngine(Path({str(tmp_path)!r}), workers=2)", short_folder)
    assert re.search(
        r"SynthcError: Ray with \d+ workers takes about \d+ threads and processes, and 1?\d\d more can be started; ", said
    )


def test_a_command_that_could_not_start_the_threads_of_its_libraries_does_not_begin(short_folder: Path) -> None:
    said = limited(8, "import sys; sys.exit(main(['check', 'study.yaml']))", short_folder)
    assert re.fullmatch(r"synthc: a command takes about \d+ threads and processes, and \d more can be started; raise .*\n", said)


def limited(threads: int, script: str, folder: Path) -> str:
    """The stderr of a script that an unprivileged user runs with a limit on threads and processes (root has none)."""
    begin = (
        "import os, resource; from runtime.cli.main import main, parser; from runtime.execution.ray_engine import RayEngine\n"
        "parser()\n"  # with the modules of all commands: another user may not read the folder that Python lies in
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({threads}, {threads}))\n"
        "if not os.getuid(): os.setuid(54321)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", begin + script], env=environment, capture_output=True, text=True, check=False)
    return done.stderr


def test_shares_of_gpus_are_rehearsed_on_the_cpu(nodes: Any, tmp_path: Path) -> None:
    nodes.add_node(num_cpus=3, num_gpus=2)
    engine = RayEngine(tmp_path, address=nodes.address, rehearse_gpus=True)
    try:
        found: list[Outcome] = []
        tasks = [task(f"{place}", seconds=0.5) for place in range(6)]
        while engine.slots < 3:
            engine.wait(0.5)
        Driver(todo(tasks), engine, lambda task, outcome, attempt: found.append(outcome)).run()
        assert engine.slots == 3  # two GPUs of 16 GiB, 8 for each worker: four, but there are three cores; none without a GPU
        assert {outcome.provenance.device for outcome in found if outcome.provenance} == {"cpu"}
    finally:
        engine.close()


def test_a_gpu_that_torch_cannot_use_is_a_sentence(nodes: Any, tmp_path: Path) -> None:
    nodes.add_node(num_cpus=1, num_gpus=1)
    with pytest.raises(SynthcError, match=r"torch cannot use the GPU of .*: .*; install a torch that can, .*--rehearse-gpus"):
        RayEngine(tmp_path, address=nodes.address)
