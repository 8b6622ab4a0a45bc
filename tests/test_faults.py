"""Damage: torn writes, changed and missing files, a mangled index. Nothing half-written counts, nothing damaged is believed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from runtime.artifacts import Corrupt, is_done, written
from runtime.cli import main
from runtime.store import Index
from runtime.worker import committed
from tests.conftest import Done, run_study

ROWS = "SELECT * EXCLUDE (note) FROM result WHERE metric <> 'seconds' ORDER BY ALL"


@pytest.fixture
def copy(tiny: Done, tmp_path: Path) -> Done:
    """The tiny study's results in a folder of their own, to be damaged."""
    shutil.copytree(tiny.folder, tmp_path / "copy")
    return Done(tmp_path / "copy", tmp_path / "copy" / "study.yaml")


def run(done: Done) -> int:
    return main(["run", str(done.spec), "--engine", "inline", "--db", str(done.db)])


def task(done: Done, where: str) -> Path:
    ((id,),) = done.rows(f"SELECT task FROM task WHERE {where} ORDER BY task LIMIT 1")
    return done.store / id[:2] / id


def same(done: Done, tiny: Done) -> None:
    assert done.rows(ROWS) == tiny.rows(ROWS)
    assert done.rows("SELECT count(*) FROM task WHERE status <> 'done'") == [(0,)]


def test_a_commit_torn_at_any_byte_is_no_commit(copy: Done) -> None:
    folder = task(copy, "operation = 'QueryClassifier'")
    content = (folder / "outcome.json").read_bytes()
    with written(folder / "outcome.json", synced=False) as beside:   # the name that a killed worker leaves behind
        beside.write_bytes(content)
    (folder / "outcome.json").unlink()
    for end in range(len(content)):
        beside.write_bytes(content[:end])
        assert not is_done(copy.store, folder.name)
        assert committed(folder) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "outcome.json"
    target.write_text("old")

    def torn() -> None:
        with written(target) as beside:
            beside.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        torn()
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("damage", ["truncated", "one bit", "gone", "empty"])
def test_a_damaged_artifact_is_computed_again_in_the_same_run_and_the_rows_are_equal(
    copy: Done, tiny: Done, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = task(copy, "operation = 'TrainClassifier' AND address LIKE 'undefended%'") / "model.safetensors"
    content = model.read_bytes()
    match damage:
        case "truncated":
            model.write_bytes(content[: len(content) // 2])
        case "one bit":
            model.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "gone":
            model.unlink()
        case "empty":
            model.write_bytes(b"")
    # Something must want to read it: its query is missing, and so is the attack.
    for (id,) in copy.rows("SELECT task FROM task WHERE kind IN ('query', 'attack') AND address LIKE 'undefended%'"):
        shutil.rmtree(copy.store / id[:2] / id)
    assert run(copy) == 0
    assert "damaged" in capsys.readouterr().err
    assert (model.parent / "outcome.json.corrupt").exists()
    same(copy, tiny)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"task": "0000000000000000"}', b"[" * 5000])
def test_a_damaged_commit_counts_as_never_made(copy: Done, tiny: Done, content: bytes) -> None:
    folder = task(copy, "kind = 'attack'")
    (folder / "outcome.json").write_bytes(content)
    (copy.store / "index.duckdb").unlink()   # so that the commit is read again
    assert run(copy) == 0
    same(copy, tiny)


def test_a_commit_with_random_bytes_changed_is_whole_or_corrupt_and_nothing_else(copy: Done, tmp_path: Path) -> None:
    folder, rng = task(copy, "kind = 'attack'"), random.Random(0)
    content = (folder / "outcome.json").read_bytes()
    (tmp_path / "store").mkdir()
    index = Index.open(tmp_path / "store")
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (folder / "outcome.json").write_bytes(damaged)
        try:
            index.record_outcome(folder)
            index.forget([folder.name])
        except Corrupt:
            pass
        outcome = committed(folder)
        assert (outcome is None) == (folder / "outcome.json.corrupt").exists()
        (folder / "outcome.json.corrupt").unlink(missing_ok=True)


@pytest.mark.parametrize("garbage", [b"", b"not a database", b"\0" * 8192])
def test_a_mangled_index_is_made_again_without_being_asked(copy: Done, tiny: Done, garbage: bytes) -> None:
    (copy.store / "index.duckdb").write_bytes(garbage)
    assert run(copy) == 0
    same(copy, tiny)


def test_rebuilding_passes_over_what_is_damaged(copy: Done) -> None:
    (task(copy, "kind = 'attack' AND address LIKE 'undefended%'") / "outcome.json").write_text("{")
    for record in copy.store.glob("runs/*/attempt.json"):
        record.write_text("{")
    assert main(["db", "rebuild", "--db", str(copy.db)]) == 0
    assert copy.rows("SELECT count(*) FROM comparison WHERE leakage IS NULL AND test_accuracy IS NULL") == [(1,)]


def test_a_task_folder_that_was_removed_takes_its_rows_along(copy: Done, tiny: Done) -> None:
    folder = task(copy, "kind = 'attack' AND address LIKE 'undefended%'")
    shutil.rmtree(folder)
    assert run(copy) == 0
    same(copy, tiny)
    (twice,) = copy.rows(f"SELECT count(*) FROM base.outcome WHERE task = '{folder.name}'")[0]
    assert twice == 1


def test_a_run_whose_clock_jumped_back_is_still_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    real, jumps = time.time, iter([0.0, -86_400.0, 3600.0, -7200.0] * 100_000)
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    done = run_study(tmp_path)
    assert done.rows("SELECT count(*) FROM task WHERE status <> 'done'") == [(0,)]


def test_what_a_worker_writes_is_json_that_any_reader_takes(tiny: Done) -> None:
    def refuse(token: str) -> Any:
        raise AssertionError(f"{token} is no JSON")

    for path in tiny.store.glob("??/*/*.json"):
        json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.long
@pytest.mark.parametrize("pattern", ["??/*/task.json", "??/*/attempts/*/attempt.json", "runs/*/run.json", "store.json"])
def test_no_file_of_a_store_can_be_damaged_into_a_traceback(copy: Done, pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(pattern)
    paths = sorted(copy.store.glob(pattern))
    page = str(copy.folder / "report.html")
    commands = (["run", str(copy.spec), "--engine", "inline"], ["gc"], ["db", "rebuild"], ["report", "-o", page])
    for turn in range(40):
        path = rng.choice(paths)
        content = path.read_bytes()
        damaged = bytearray(content[: rng.randrange(len(content) + 1)] if turn % 3 == 0 else content)
        for _ in range(rng.randint(1, 4) if damaged else 0):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        words = commands[turn % len(commands)]
        assert main([*words, "--db", str(copy.db)]) in (0, 1, 2), (words, path, bytes(damaged))
        path.write_bytes(content)
    capsys.readouterr()
