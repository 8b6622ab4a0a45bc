"""Damage: torn writes, changed and missing files, a mangled index. Nothing half-written counts, nothing damaged is believed."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import random
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runtime.cli.main import main
from runtime.database.index import Index
from runtime.execution.worker import read_committed
from runtime.operations import OPERATIONS
from runtime.store.artifacts import Artifact, is_done
from runtime.store.files import atomic_write
from runtime.store.records import Corrupt, read_record, write_record
from tests.conftest import TINY, Done

ROWS = "SELECT * EXCLUDE (origin, note) FROM result WHERE metric <> 'seconds' ORDER BY ALL"


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
    with atomic_write(folder / "outcome.json", synced=False) as beside:  # the name that a killed worker leaves behind
        beside.write_bytes(content)
    (folder / "outcome.json").unlink()
    for end in range(len(content)):
        beside.write_bytes(content[:end])
        assert not is_done(copy.store, folder.name)
        assert read_committed(folder) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "outcome.json"
    target.write_text("old")

    def torn() -> None:
        with atomic_write(target) as beside:
            beside.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        torn()
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    "damage", ["one bit", *(pytest.param(how, marks=pytest.mark.long) for how in ("truncated", "gone", "empty"))]
)
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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"task": "0000000000000000"}',
        *(pytest.param(text, marks=pytest.mark.long) for text in (b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 5000)),
    ],
)
def test_a_damaged_commit_counts_as_never_made(copy: Done, tiny: Done, content: bytes) -> None:
    folder = task(copy, "kind = 'attack'")
    (folder / "outcome.json").write_bytes(content)
    (copy.store / "index.duckdb").unlink()  # so that the commit is read again
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
        outcome = read_committed(folder)
        assert (outcome is None) == (folder / "outcome.json.corrupt").exists()
        (folder / "outcome.json.corrupt").unlink(missing_ok=True)


@pytest.mark.parametrize("garbage", [b"", b"not a database", b"\0" * 8192])
def test_a_mangled_index_is_made_again_without_being_asked(copy: Done, tiny: Done, garbage: bytes) -> None:
    (copy.store / "index.duckdb").write_bytes(garbage)
    assert run(copy) == 0
    same(copy, tiny)


@pytest.mark.parametrize("seed", range(6))
def test_an_index_with_a_flipped_bit_is_made_again_or_whole(copy: Done, tiny: Done, seed: int) -> None:
    path, rng = copy.store / "index.duckdb", random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(4):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    with contextlib.closing(Index.open(copy.store)) as index:
        index.publish(copy.db)
    same(copy, tiny)


def test_rebuilding_passes_over_what_is_damaged(copy: Done) -> None:
    (task(copy, "kind = 'attack' AND address LIKE 'undefended%'") / "outcome.json").write_text("{")
    for record in copy.store.glob("runs/*/attempt.json"):
        record.write_text("{")
    assert main(["db", "rebuild", "--db", str(copy.db)]) == 1  # and says what it passed over
    assert copy.rows("SELECT count(*) FROM comparison WHERE leakage IS NULL AND test_accuracy IS NULL") == [(1,)]


def test_a_task_folder_that_was_removed_takes_its_rows_along(copy: Done, tiny: Done) -> None:
    folder = task(copy, "kind = 'attack' AND address LIKE 'undefended%'")
    shutil.rmtree(folder)
    assert run(copy) == 0
    same(copy, tiny)
    (twice,) = copy.rows(f"SELECT count(*) FROM base.outcome WHERE task = '{folder.name}'")[0]
    assert twice == 1


def test_the_run_that_counts_is_the_last_one_also_when_the_clock_was_set_back(copy: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    class Behind(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(days=400)

    copy.spec.write_text(TINY.replace("method: {grid: [random, forgetting]}", "method: random"))
    monkeypatch.setattr("runtime.execution.study_run.datetime", Behind)
    assert run(copy) == 0
    assert copy.rows("SELECT label FROM comparison ORDER BY label") == [("coreset",), ("undefended",)]
    copy.spec.write_text(TINY)
    assert run(copy) == 0  # twice back: its name is after that of the one before
    assert len(copy.rows("FROM comparison")) == 3


@pytest.mark.long
def test_a_commit_that_is_damaged_as_soon_as_it_was_made_is_made_again_in_the_same_run(
    copy: Done, tiny: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "address LIKE 'undefended%' AND operation IN ('TrainClassifier', 'AttackTrial')"
    folders = {copy.store / id[:2] / id for (id,) in copy.rows(f"SELECT task FROM task WHERE {asked}")}
    for folder in folders:
        shutil.rmtree(folder)
    record, damaged = Index.record_outcome, set(folders)

    def recorded(index: Index, folder: Path, **options: Any) -> None:
        if folder in damaged:
            damaged.discard(folder)
            (folder / "outcome.json").write_text("{")
        record(index, folder, **options)

    monkeypatch.setattr(Index, "record_outcome", recorded)
    assert run(copy) == 0
    assert not damaged
    same(copy, tiny)


def test_what_an_attack_looks_back_at_is_made_again_though_all_that_was_made_from_it_is_done(copy: Done, tiny: Done) -> None:
    asked = "address LIKE 'coreset%' AND (kind = 'attack' OR operation = 'TrainClassifier')"
    for (id,) in copy.rows(f"SELECT task FROM task WHERE {asked}"):
        shutil.rmtree(copy.store / id[:2] / id)  # of the models that chose the sets, too; the sets stay
    assert run(copy) == 0
    same(copy, tiny)


def test_damage_that_does_not_mend_is_a_failure(
    copy: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(artifact: Artifact, stem: str) -> Any:
        raise Corrupt(artifact.folder, "the disk lies")

    shutil.rmtree(task(copy, "kind = 'attack' AND address LIKE 'undefended%'"))
    monkeypatch.setattr(Artifact, "content", broken)
    assert run(copy) == 1
    assert "the disk lies" in capsys.readouterr().err


def test_values_that_no_column_takes_take_back_their_own_commit_and_no_other(copy: Done, tmp_path: Path) -> None:
    folder = task(copy, "kind = 'attack'")
    content = read_record(folder / "outcome.json")
    content["metrics"][0]["n"] = "many"
    write_record(folder / "outcome.json", content)
    (tmp_path / "store").mkdir()
    with contextlib.closing(Index.open(tmp_path / "store")) as index:
        for outcome in sorted(copy.store.glob("??/*/outcome.json")):
            index.record_outcome(outcome.parent)
        index.flush()
        assert index.damaged == [folder]
        assert index.missing([path.name for path in copy.store.glob("??/*") if (path / "task.json").exists()]) == [folder.name]
    assert not is_done(copy.store, folder.name)


def test_attempts_that_a_killed_driver_did_not_write_down_become_rows_in_the_next_run(copy: Done, tiny: Done) -> None:
    folder = task(copy, "kind = 'attack'")
    (folder / "outcome.json").unlink()  # killed when its first attempt had failed
    with duckdb.connect(str(copy.store / "index.duckdb")) as index:
        for table in ("outcome", "metric", "roc", "canary", "risk", "score", "attempt"):
            index.execute(f"DELETE FROM base.{table} WHERE task = '{folder.name}'").fetchall()
    assert run(copy) == 0
    assert copy.rows(f"SELECT attempt FROM attempt WHERE task = '{folder.name}' ORDER BY attempt") == [(1,), (2,)]
    same(copy, tiny)


def test_attempts_that_are_tried_again_go_on_from_the_last_number_one_by_one(copy: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = task(copy, "kind = 'attack'")
    module = importlib.import_module(OPERATIONS["AttackTrial"])
    perform = module.perform

    def scarce(*words: Any) -> Any:
        if next(turns) % 2:
            raise MemoryError
        return perform(*words)

    for last in (1, 7):
        (folder / "outcome.json").unlink()
        (folder / "attempts" / str(last)).mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            turns = itertools.count(1)
            patch.setattr(module, "perform", scarce)
            assert run(copy) == 0
        wanted = [(last + 1, "failed"), (last + 2, "done")]
        found = f"SELECT attempt, status FROM attempt WHERE task = '{folder.name}' AND attempt > {last} ORDER BY attempt"
        assert copy.rows(found) == wanted
        assert copy.rows(f"SELECT attempts FROM task WHERE task = '{folder.name}'") == [(last + 2,)]


def test_attempts_of_a_folder_that_was_removed_are_no_rows(copy: Done) -> None:
    folder = task(copy, "kind = 'attack'")
    shutil.rmtree(folder)
    assert run(copy) == 0
    assert copy.rows(f"SELECT attempt FROM attempt WHERE task = '{folder.name}'") == [(1,)]


def test_a_damaged_record_of_what_a_task_was_is_made_again_when_somebody_needs_it(
    copy: Done, tiny: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    model = task(copy, "operation = 'TrainClassifier' AND address LIKE 'undefended%'")
    (model / "task.json").write_text('{"id": ')
    shutil.rmtree(task(copy, "kind = 'attack' AND address LIKE 'undefended%'"))
    assert run(copy) == 0
    assert "damaged" in capsys.readouterr().err
    same(copy, tiny)


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


@pytest.mark.long
@pytest.mark.parametrize("kilobytes", [1950, 3000, 6000])  # while publishing, while computing, when all was computed
def test_a_full_disk_stops_a_run_with_a_sentence_and_the_next_one_goes_on(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str], kilobytes: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = Done(tmp_path, tmp_path / "study.yaml")
    done.spec.write_text(TINY)
    words = ["run", str(done.spec), "--engine", "inline", "--db", str(done.db), "--store", str(disk / "store")]
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "No space left on device" in said
        assert "what is committed stays" in said
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert main(words) == 0
        same(done, tiny)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
