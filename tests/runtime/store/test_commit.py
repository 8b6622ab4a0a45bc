"""The commit of a task: wherever it is cut off, what it made is whole or was never there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.execution.driver import Driver, EarlierRuns
from runtime.execution.engine import InlineEngine
from runtime.execution.worker import TaskRequest, compute, read_committed
from runtime.outcome import Metric, Outcome, Provenance
from runtime.store.artifacts import Artifact, is_done, lock_store
from runtime.store.commit import stage
from tests.runtime.execution.rehearsals import task, todo

ID = "0123456789abcdef"
FILES = {"model": {"weight": torch.arange(6.0)}, "scores": {"score": torch.tensor([0.5])}}


class Killed(BaseException):
    """Raised where a SIGKILL would end the process; the code under test does not catch it."""


def outcome() -> Outcome:
    where = Provenance("host", 1, "cpu", 1, "2026-01-01T00:00:00+00:00", 0.1, 1.0, {"torch": "2"}, "", "")
    return Outcome(ID, "done", (Metric("auc", 0.5, n=6),), provenance=where)


class Cut:
    """Performs what a commit asks of the disk, until `left` bytes and steps are used up."""

    def __init__(self, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.steps = left, []
        write, replace, sync = Path.write_bytes, os.replace, os.fsync

        def writing(path: Path, content: bytes) -> int:
            whole = self.left >= len(content)
            write(path, content if whole else content[: self.left])
            return self.step(len(content), ("write", path.name))

        def renaming(path: Path, target: Path) -> None:
            self.step(1, ("rename", target.name))
            replace(path, target)

        def syncing(handle: int) -> None:
            self.step(1, ("sync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
            sync(handle)

        monkeypatch.setattr(Path, "write_bytes", writing)
        monkeypatch.setattr(os, "replace", renaming)
        monkeypatch.setattr(os, "fsync", syncing)
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)

    def step(self, cost: int, what: tuple[str, str]) -> int:
        if self.left < cost:
            raise Killed
        self.left -= cost
        self.steps.append(what)
        return cost


def folder_in(store: Path) -> Path:
    folder = store / ID[:2] / ID
    (folder / "attempts" / "1").mkdir(parents=True)
    (folder / "task.json").touch()
    return folder


def test_a_commit_that_is_cut_off_at_any_byte_or_step_is_none_or_whole(tmp_path: Path) -> None:
    seen = set()
    for left in range(2000):
        store = tmp_path / str(left)
        folder = folder_in(store)
        with pytest.MonkeyPatch.context() as patch:
            cut = Cut(left, patch)
            try:
                stage(folder, 1, FILES, outcome()).commit()
                ended = True
            except Killed:
                ended = False
        found = read_committed(folder)
        assert (found is not None) == is_done(store, ID)
        if found is not None:
            artifact = Artifact(folder)
            assert torch.equal(artifact.tensors("model")["weight"], FILES["model"]["weight"])
            assert torch.equal(artifact.tensors("scores")["score"], FILES["scores"]["score"])
        seen.add((found is not None, ended))
        if ended:
            break
    assert seen == {(False, False), (True, False), (True, True)}
    assert cut.steps[-1] == ("rename", "attempt.json")


def test_nothing_takes_its_name_before_all_of_it_is_on_disk_and_the_outcome_comes_last(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        cut = Cut(10_000, patch)
        stage(folder, 1, FILES, outcome()).commit()
    whats = [what for what, _ in cut.steps]
    first = whats.index("rename")
    assert {Path(name).name.split(".")[1] for what, name in cut.steps[:first] if what == "sync"} == {
        "model",
        "scores",
        "outcome",
        "json",
    }
    renamed = [name for what, name in cut.steps[first:] if what == "rename"]
    assert renamed == ["model.safetensors", "scores.safetensors", "outcome.json", "attempt.json"]


def test_what_an_earlier_worker_left_half_written_does_not_hinder_the_next(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    (folder / ".model.safetensors.1.part").write_bytes(b"half")
    (folder / "model.safetensors").write_bytes(b"of a commit that never came")
    stage(folder, 1, FILES, outcome()).commit()
    assert torch.equal(Artifact(folder).tensors("model")["weight"], FILES["model"]["weight"])


@pytest.mark.parametrize("together", [1, 3])
def test_a_disk_that_is_full_when_it_syncs_is_said_to_be_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    tasks = [task(f"{place}") for place in range(together)]
    requests = tuple(TaskRequest(one.id, one.work, one.needs, one.address, one.text, 1) for one in tasks)
    monkeypatch.setattr(os, "fsync", full)
    outcomes = compute(requests, tmp_path)
    assert [(one.status, one.error_kind) for one in outcomes] == [("failed", "storage")] * together
    assert list(tmp_path.rglob("*.part")) == []
    assert list(tmp_path.rglob("outcome.json")) == []


def test_tasks_of_one_dispatch_are_all_committed_when_their_outcomes_are_heard_of(tmp_path: Path) -> None:
    tasks = [task(f"{place}") for place in range(20)]
    heard = []

    def record(one: Any, outcome: Outcome, attempt: int) -> None:
        heard.append(len(list(tmp_path.glob("??/*/outcome.json"))))

    Driver(todo(tasks), InlineEngine(tmp_path), record, earlier=EarlierRuns({"Rehearsal": 0.001})).run()
    assert heard == [20] * 20


def test_a_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with lock_store(tmp_path / "there" / "store"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "there" / "store").stat().st_mode & 0o777 == 0o700
