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

from runtime.cli.main import main
from runtime.store.artifacts import lock_store
from tests.conftest import HANG_SECONDS, ROOT, TINY, Done, wait_until

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


@pytest.mark.long
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


def test_an_empty_folder_becomes_a_store_for_its_owner_alone_and_one_that_is_shared_stays_so(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o755)
    for mode in (0o700, 0o750):
        with lock_store(store):
            assert store.stat().st_mode & 0o777 == mode
        store.chmod(0o750)


def test_a_folder_that_holds_something_else_stays_open(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/notes.txt").touch()
    (tmp_path / "shared").chmod(0o755)
    with lock_store(tmp_path / "shared"):
        assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755


def test_a_run_warns_once_of_a_store_that_others_may_enter_and_of_no_other(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(copy.spec), "--engine", "inline", "--db", str(copy.db)]
    assert main(words) == 0
    assert "other users" not in capsys.readouterr().err
    copy.store.chmod(0o750)
    assert main(words) == 0
    said = capsys.readouterr().err
    assert said.count("other users of this machine may read private images in it") == 1
    assert f"`chmod 700 {copy.store}`" in said


def test_a_store_that_others_may_enter_is_called_so(tiny: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / ".synthc"
    with lock_store(store):
        store.chmod(0o755)
    assert main(["doctor", "--db", str(tmp_path / "results.duckdb")]) == 1
    assert f"chmod 700 {store}" in capsys.readouterr().out
