"""docs/clusters.md through the command line: a head and nodes in network namespaces; one is lost, one comes late."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONG, ROOT, Done, run_study, wait_until
from tests.runtime.execution.machines import NETWORK, Machines, why_not

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(reason := why_not()), reason=reason)]

HEAD = f"{NETWORK}.1:6379"
ROWS = "SELECT * EXCLUDE (note, origin) FROM result WHERE metric <> 'seconds' ORDER BY ALL"


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A head without cores for workers, two nodes with a core each, and two more machines on which nothing runs."""
    folder = tempfile.mkdtemp(prefix="n", dir="/tmp")  # short, for Ray's sockets
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": folder,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    made = Machines("head", "one", "two", "late", "open", environment=environment)
    try:
        assert start_ray(made, "head", "--head", "--port=6379", "--num-cpus=0") == 0
        for name in ("one", "two"):
            assert start_ray(made, name, f"--address={HEAD}", "--num-cpus=1") == 0
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def start_ray(machines: Machines, name: str, *words: str, **environment: str) -> int:
    """Run `ray start` on a machine; its exit code. Only the command itself is waited for, since its daemons keep its output
    open."""
    return machines.start(name, str(Path(sys.executable).with_name("ray")), "start", *words, **environment).wait(timeout=300)


def synthc(folder: Path, *words: str) -> list[str]:
    (folder / "study.yaml").write_text(LONG)
    database, spec = str(folder / "results.duckdb"), str(folder / "study.yaml")
    return [sys.executable, "-m", "runtime.cli", "run", spec, "--db", database, *words]


@pytest.mark.parametrize(
    ("address", "token", "complaint"),
    [
        (HEAD, "", "asks for its token, and RAY_AUTH_TOKEN is not set; set it to the one that its nodes have"),
        (HEAD, "00112233445566778899aabbccddeeff", "asks for its token, and RAY_AUTH_TOKEN is another"),
        (f"{NETWORK}.1:6399", None, "no cluster answers at 10.77.0.1:6399; start a Ray cluster there, or leave out --address"),
        (f"{NETWORK}.99:6379", None, "no cluster answers at 10.77.0.99:6379"),
        (f"ray://{HEAD}", None, "name the head as HOST:PORT, without ://"),
    ],
)
def test_an_address_that_cannot_be_joined_is_a_sentence_within_thirty_seconds(
    machines: Machines, tmp_path: Path, address: str, token: str | None, complaint: str
) -> None:
    environment = {} if token is None else {"RAY_AUTH_TOKEN": token, "HOME": str(tmp_path)}
    started = time.monotonic()
    code, said = machines.run("head", *synthc(tmp_path, "--address", address), **environment)
    assert time.monotonic() - started < 60  # 30 s, and what it takes a loaded machine to compile the study
    assert (code, complaint in said, "Traceback" in said) == (2, True, False), said


def test_a_cluster_that_asks_for_no_token_is_joined_only_with_no_token(machines: Machines, tmp_path: Path) -> None:
    address = f"{NETWORK}.5:6379"
    open_to_all = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}
    assert start_ray(machines, "open", "--head", "--port=6379", "--num-cpus=0", **open_to_all) == 0
    code, said = machines.run("open", *synthc(tmp_path, "--address", address))
    assert code == 2, said
    assert "asks for no token: who reaches it can run code on its nodes" in said
    code, said = machines.run("open", *synthc(tmp_path, "--address", address, "--no-token"))
    assert "has neither CPU nor GPU, no room for a worker" in said  # joined: it has none by intent
    machines.kill("open")


def test_without_an_address_a_run_starts_its_own_cluster_beside_another(machines: Machines, tmp_path: Path) -> None:
    spec = synthc(tmp_path, "--workers", "1", "--only", "arm=undefended", "--set", "classifier.epochs=1")
    code, said = machines.run("head", *spec)
    assert code == 0, said
    assert "joined" not in said


def test_a_lost_node_changes_no_row_and_a_late_one_of_another_version_is_left_out(
    machines: Machines, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path / "elsewhere" / "torch-0.0.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.0.0\n")
    running = machines.start("head", *synthc(tmp_path), RAY_ADDRESS=HEAD, RAY_AUTH_MODE="")  # unset: the run sets its own
    wait_until(lambda: len(list(tmp_path.glob(".synthc/*/*/outcome.json"))) >= 3, running)
    machines.kill("one")
    other_path = f"{other.parent}:{ROOT}"
    assert start_ray(machines, "late", f"--address={HEAD}", "--num-cpus=1", PYTHONPATH=other_path) == 0
    said, _ = running.communicate(timeout=900)
    assert running.returncode == 0, said
    assert f"joined the Ray cluster at {HEAD}: 3 nodes, 2 CPU" in said
    assert "the node machine-late has other versions (torch 0.0.0 there" in said
    assert "computing goes on without it" in said
    undisturbed = run_study(tmp_path_factory.mktemp("undisturbed"), LONG)
    assert Done(tmp_path, tmp_path / "study.yaml").rows(ROWS) == undisturbed.rows(ROWS)
