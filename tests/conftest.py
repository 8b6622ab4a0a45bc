"""Shared fixtures: one small study that is run for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux."""
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 * 2**30:
    # Where pytest makes its temporary folders. The suite's databases take 102 s there, 133 to 155 s on a disk, which they sync.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

ROOT = Path(__file__).resolve().parents[1]

TINY = """\
study: tiny
question: Does the whole road hold?
allow: {L01: a test of the road, L07: a test of the road}
data: {name: digits, test: 360}
audit:
  canaries:
    mislabeled: {kind: mislabeled, count: 24}
    clean: {kind: clean, count: 16}
  z_pool: 40
  shadows: 8
  attacks:
    - {attack: lira, signal: logit, variant: pooled, queries: 1}
    - {attack: threshold, signal: logit, queries: 1}
  fpr: [0.1, 0.001]
  headline: {attack: lira, signal: logit, variant: pooled, queries: 1, canaries: mislabeled, release: final_model, fpr: 0.1}
  resamples: 100
  null_permutations: 20
classifier: {net: small, width: 8, epochs: 3, batch_size: 64, lr: 0.1}
arms:
  undefended: {paradigm: undefended}
  coreset:
    paradigm: coreset
    method: {grid: [random, forgetting]}
    fraction: 0.3
"""
LONG = TINY.replace("epochs: 3", "epochs: 30")
"""The same for minutes, so that something can happen in the middle."""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Records of data files that tests read lie in a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@dataclass(frozen=True)
class Done:
    """A finished run: where it is, and how to ask it."""

    folder: Path
    spec: Path

    @property
    def db(self) -> Path:
        return self.folder / "results.duckdb"

    @property
    def store(self) -> Path:
        return self.folder / ".synthc"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        import duckdb

        with duckdb.connect(str(self.db), read_only=True) as connection:
            return connection.execute(query).fetchall()


def run_study(folder: Path, text: str = TINY, *options: str) -> Done:
    """Run the study `text` in `folder`, in this process."""
    from runtime.cli.main import main

    spec = folder / "study.yaml"
    spec.write_text(text)
    code = main(["run", str(spec), "--engine", "inline", "--db", str(folder / "results.duckdb"), *options])
    assert code == 0
    return Done(folder, spec)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The tiny study, run once. Read it; do not change it."""
    return run_study(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(tiny: Done, tmp_path: Path) -> Done:
    """The tiny study's results in a folder of their own, to be changed."""
    shutil.copytree(tiny.folder, tmp_path / "copy")
    return Done(tmp_path / "copy", tmp_path / "copy" / "study.yaml")


HANG_SECONDS = 600
"""Time after which another process is taken to hang: on a loaded machine Ray's workers, at niceness 15, hardly run."""


def wait_until(condition: Callable[[], object], running: subprocess.Popen[Any]) -> None:
    """Wait for a condition that the running process brings about; fails if the process ends or hangs instead."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "the process hangs"
        time.sleep(0.02)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium, `tests.runtime.present.browser.Browser`."""
    from tests.runtime.present.browser import Browser

    if shutil.which("chromium") is None:
        pytest.skip("needs Debian's package chromium")
    found = Browser(tmp_path / "home")
    yield found
    found.close()
