"""Promise 9: readers never block a run, a run never blocks readers, and what is the user's stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.database.connect import connect, execute
from runtime.database.files import export
from runtime.database.index import Index, rebuild
from runtime.database.read import query
from runtime.database.revision import TargetBusy, check_target
from runtime.execution.study_run import StudyRun
from tests.conftest import HANG_SECONDS, Done


@pytest.fixture
def index(tiny: Done, tmp_path: Path) -> Iterator[Index]:
    """An index of a copy of the tiny study's store."""
    store = tmp_path / "store"
    shutil.copytree(tiny.store, store)
    with contextlib.closing(Index.open(store)) as opened:
        yield opened


COUNT = "SELECT count(*) FROM comparison"
CHANGED = "SELECT (SELECT count(*) FROM run), (SELECT list(DISTINCT fpr) FROM comparison), (SELECT sum(tpr) FROM roc)"
"""What another run changes, in part in blocks that a reader has not read before."""


@contextlib.contextmanager
def holding(target: Path, read_only: bool, then: str = "", later: str = COUNT) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open after running `then`; on a line of input it runs the query `later`."""
    script = (
        f"import duckdb, sys, time; c = duckdb.connect({str(target)!r}, read_only={read_only})\n"
        f"{then}\nprint(c.execute({COUNT!r}).fetchall(), flush=True)\n"
        f"sys.stdin.readline()\nprint(c.execute({later!r}).fetchall(), flush=True)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "[(3,)]\n"
    try:
        yield other
    finally:
        other.kill()
        other.wait()


def test_a_reader_that_holds_the_database_neither_blocks_publishing_nor_loses_its_view(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    index.publish(target)
    with holding(target, read_only=True) as reader:
        index.publish(target)
        out, _ = reader.communicate("go on\n", timeout=HANG_SECONDS)
        assert out == "[(3,)]\n"
    assert query(target, "SELECT count(*) FROM comparison")[1] == [(3,)]


def test_a_reader_held_open_through_a_whole_run_disturbs_nothing_and_every_snapshot_is_whole(
    tiny: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny.store, tmp_path / ".synthc")
    target = tmp_path / "results.duckdb"
    shutil.copyfile(tiny.db, target)
    before = query(target, CHANGED)[1]
    seen = []

    def publish_now(study: StudyRun, progress: object) -> str:
        study.index.publish(target)
        # Rows of a task come and go together, so a trial has either all of its figures or none.
        seen.append(query(target, "SELECT count(attack), count(leakage), count(test_accuracy), count(null_ok) FROM comparison")[1])
        return ""

    monkeypatch.setattr(StudyRun, "publish_if_due", publish_now)
    words = ["--set", "audit.headline.fpr=0.05", "--set", "audit.fpr=[0.05]"]
    with holding(target, read_only=True, later=CHANGED) as reader:
        assert main(["run", str(tiny.spec), "--engine", "inline", "--db", str(target), *words]) == 0
        out, _ = reader.communicate("go on\n", timeout=HANG_SECONDS)
        assert out == f"{before}\n"  # as it was when it began, what it had not read before included
    assert query(target, CHANGED)[1] != before
    assert all(len({*counts}) == 1 for ((*counts,),) in seen)
    assert seen[-1][0][0] == 3
    assert query(target, "SELECT DISTINCT fpr FROM comparison")[1] == [(0.05,)]


def test_a_writer_is_named_and_loses_nothing(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    index.publish(target)
    note = "c.execute(\"CREATE TABLE notes AS SELECT 'mine' AS what\").fetchall()"
    with holding(target, read_only=False, then=note) as writer:
        with pytest.raises(TargetBusy, match=f"open for writing in .* \\(pid {writer.pid}\\), so publishing waits"):
            index.publish(target)
        writer.communicate("go on\n", timeout=HANG_SECONDS)
    index.publish(target)
    assert query(target, "FROM notes")[1] == [("mine",)]
    assert query(target, "SELECT count(*) FROM comparison")[1] == [(3,)]


def test_a_query_waits_for_a_writer_that_is_soon_done(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    index.publish(target)
    with holding(target, read_only=False) as writer:
        threading.Timer(0.5, writer.kill).start()
        assert query(target, COUNT)[1] == [(3,)]


def test_rows_of_a_writer_that_was_killed_are_taken_in_from_its_log(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    index.publish(target)
    note = "c.execute(\"CREATE TABLE notes AS SELECT 'mine' AS what\").fetchall()"
    with holding(target, read_only=False, then=note) as writer:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert target.with_name("results.duckdb.wal").exists()
    index.publish(target)
    assert query(target, "FROM notes")[1] == [("mine",)]
    assert not target.with_name("results.duckdb.wal").exists()


def test_tables_and_views_of_the_user_survive_publishing(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    index.publish(target)
    with duckdb.connect(str(target)) as user:
        user.execute("CREATE SCHEMA paper").fetchall()
        user.execute("CREATE TABLE paper.notes AS SELECT 42 AS answer").fetchall()
        user.execute('CREATE VIEW "my view" AS SELECT label, leakage FROM comparison').fetchall()
    index.publish(target)
    index.publish(target)
    assert query(target, "FROM paper.notes")[1] == [(42,)]
    assert len(query(target, 'FROM "my view"')[1]) == 3


@pytest.mark.parametrize("content", [b"", b"not a database at all", None])
def test_a_file_that_is_not_ours_is_never_overwritten(index: Index, tmp_path: Path, content: bytes | None) -> None:
    target = tmp_path / "theirs.duckdb"
    if content is None:
        with duckdb.connect(str(target)) as theirs:
            theirs.execute("CREATE TABLE treasure AS SELECT 1 AS coin").fetchall()
        content = target.read_bytes()
    else:
        target.write_bytes(content)
    for attempt in (lambda: check_target(target), lambda: index.publish(target)):
        with pytest.raises(SynthcError, match="move it away, or name another --db"):
            attempt()
    assert target.read_bytes() == content


@pytest.mark.parametrize("damage", ["a block", "all"])
def test_a_damaged_database_or_none_is_refused_at_once_whatever_its_folder_is_called(
    tiny: Done, index: Index, tmp_path: Path, damage: str
) -> None:
    target = tmp_path / "blocks held in sh (PID 1)" / "results.duckdb"
    target.parent.mkdir()
    content = bytearray(tiny.db.read_bytes() if damage == "a block" else b"not a database at all")
    content[8] ^= 255
    target.write_bytes(content)
    for attempt in (lambda: check_target(target), lambda: index.publish(target)):
        with pytest.raises(SynthcError, match=r"not a database .*; move it away, or name another --db") as told:
            attempt()
        assert not isinstance(told.value, TargetBusy)
    assert target.read_bytes() == content


def test_a_damaged_index_is_made_again(tiny: Done, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny.store, store)
    (store / "index.duckdb").write_bytes(b"\0" * 5000)
    with contextlib.closing(Index.open(store)) as index:
        index.publish(tmp_path / "results.duckdb")
    assert query(tmp_path / "results.duckdb", "SELECT count(*) FROM comparison")[1] == [(3,)]


def test_a_query_that_meets_a_damaged_block_names_the_file_and_what_would_do(tiny: Done, tmp_path: Path) -> None:
    target, told = tmp_path / "results.duckdb", []
    whole = tiny.db.read_bytes()
    for at in range(20_000, len(whole), 2**18):  # a byte of each block
        target.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        for table in ("metric", "score", "canary"):
            try:
                query(target, f"SELECT bit_xor(hash(COLUMNS(*))) FROM base.{table}")
            except SynthcError as error:
                told.append(str(error))
    assert any("cannot be read" in said and "`synthc db rebuild` makes it anew" in said for said in told), told
    assert all(str(target) in said for said in told), told


def test_a_store_of_a_newer_version_is_refused(tiny: Done, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny.store, store)
    (store / "store.json").write_text('{"version": 99}')
    with pytest.raises(SynthcError, match=r"made by a newer synthc \(its version is 99"):
        Index.open(store)


def test_queries_are_read_only_and_reach_no_file(tiny: Done, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    for text in (
        f"FROM '{secret}'",
        f"COPY comparison TO '{tmp_path / 'out.csv'}'",
        "DROP VIEW comparison",
        "CREATE TABLE t (a INT)",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        f"ATTACH '{tmp_path / 'x.duckdb'}'",
    ):
        with pytest.raises(SynthcError, match="the query failed"):
            query(tiny.db, text)
    assert {path.name for path in tmp_path.iterdir()} == {"secret.csv"}


def test_an_export_reaches_no_file_but_the_one_that_it_writes(tiny: Done, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    for text in (f"FROM '{secret}'", f"SELECT * FROM read_text('{secret}')"):
        with pytest.raises(SynthcError, match="the query failed: Permission Error"):
            export(tiny.db, text, tmp_path / "rows.csv")
    export(tiny.db, "SELECT label FROM comparison", tmp_path / "rows.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"secret.csv", "rows.csv"}


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
@pytest.mark.parametrize("text", ["FROM nothing", "SELECT nothing FROM comparison", "SELEC 1", ""])
def test_of_a_query_that_is_wrong_an_export_says_so_and_does_not_blame_the_file(
    tiny: Done, tmp_path: Path, text: str, suffix: str
) -> None:
    with pytest.raises(SynthcError, match=r"^the query (failed: |is empty)"):
        export(tiny.db, text, tmp_path / f"rows.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_where_the_database_lies_is_said_once_and_stops_no_run(
    copy: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = copy.db
    words = ["run", str(copy.spec), "--engine", "inline", "--db", str(target), "--set", "audit.headline.fpr=0.05",
             "--set", "audit.fpr=[0.05]"]  # fmt: skip
    before = target.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("runtime.database.revision.os.sendfile", full)
        assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("No space left on device; free some space, or name another --db; computing goes on meanwhile") == 1
    assert target.read_bytes() == before
    assert main(words) == 0
    assert "everything was done before" in capsys.readouterr().err
    assert query(target, "SELECT DISTINCT fpr FROM comparison")[1] == [(0.05,)]


def test_rebuilding_needs_only_the_store(tiny: Done, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny.store, store)
    rebuild(store, tmp_path / "results.duckdb")
    for view in ("comparison", "result", "roc", "canary_risk", "cost", "task", "attempt"):
        again = query(tmp_path / "results.duckdb", f"FROM {view} ORDER BY ALL")[1]
        assert again == query(tiny.db, f"FROM {view} ORDER BY ALL")[1], view
        assert again, view


def test_a_file_of_another_database_loads_no_extension(tmp_path: Path) -> None:
    target = tmp_path / "theirs.sqlite"
    target.write_bytes(b"SQLite format 3\0" + b"\0" * 84)
    with pytest.raises(SynthcError, match="move it away, or name another --db"):
        check_target(target)
    with contextlib.closing(connect()) as connection:
        settings = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%extensions'"
        assert {value for _, value in execute(connection, settings)} == {"false"}
