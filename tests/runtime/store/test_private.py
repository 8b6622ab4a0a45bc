"""A store is for its owner alone, also while workers write into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HANG_SECONDS, ROOT, TINY, wait_until

NOBODY = 65534


def readable(top: Path) -> set[str]:
    """Files below `top` that another user can read now."""
    found = set()
    os.seteuid(NOBODY)
    try:
        for folder, _, names in os.walk(top):
            for path in (Path(folder) / name for name in names):
                with contextlib.suppress(OSError), path.open("rb"):
                    found.add(path.relative_to(top).as_posix())
    finally:
        os.seteuid(0)
    return found


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_beside_a_run_reads_nothing_of_its_store(open_folder: Path) -> None:
    (open_folder / "study.yaml").write_text(TINY)
    words = [sys.executable, "-m", "runtime.cli", "run", "study.yaml", "--engine", "inline", "--only", "arm=undefended"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    with subprocess.Popen(words, cwd=open_folder, env=environment, stderr=subprocess.PIPE, text=True, umask=0o022) as running:
        wait_until(lambda: len(list(open_folder.glob(".synthc/*/*/outcome.json"))) >= 2, running)
        beside = readable(open_folder)
        _, said = running.communicate(timeout=HANG_SECONDS)
    assert running.returncode == 0, said
    assert "study.yaml" in beside
    assert not [path for path in beside | readable(open_folder) if path.startswith(".synthc")]


def test_a_store_that_others_may_enter_is_called_so(tiny: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from runtime.cli.main import main
    from runtime.store.artifacts import lock_store

    store = tmp_path / ".synthc"
    with lock_store(store):
        store.chmod(0o755)
    assert main(["doctor", "--db", str(tmp_path / "results.duckdb")]) == 1
    assert f"chmod 700 {store}" in capsys.readouterr().out
