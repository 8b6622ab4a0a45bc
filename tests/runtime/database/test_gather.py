"""Promise 14: one database gathers several stores; each publisher replaces its own rows and keeps all others."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.database.connect import execute
from runtime.database.gather import LAST_RUNS, OF_HEADLINE, SCORES, export_runs, forget, merge
from runtime.database.index import Index, rebuild
from runtime.database.read import query
from runtime.database.revision import revision
from runtime.database.schema import SCHEMA
from runtime.store.records import read_record, write_record
from tests.conftest import ROOT, Done

ROWS = "SELECT origin, count(*) FROM result GROUP BY ALL ORDER BY ALL"
VERSION_1 = Path(__file__).parent / "results_of_version_1.duckdb.gz"


def store_called(tiny: Done, folder: Path, origin: str, study: str = "tiny") -> Path:
    """A copy of the tiny study's store with another identity, and under another name of the study if asked."""
    store = folder / origin
    shutil.copytree(tiny.store, store)
    for index in store.glob("index.duckdb*"):
        index.unlink()
    for later in sorted((store / "runs").iterdir())[1:]:  # of tests that ran the same study again
        shutil.rmtree(later)
    write_record(store / "store.json", {"version": 1, "origin": origin})
    for record in store.glob("runs/*/run.json"):
        write_record(record, read_record(record) | {"study": study})
    return store


@pytest.fixture
def stores(tiny: Done, tmp_path: Path) -> tuple[Path, Path]:
    return store_called(tiny, tmp_path, "first"), store_called(tiny, tmp_path, "second")


def test_two_stores_publish_into_one_database_and_each_keeps_the_rows_of_the_other(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "results.duckdb"
    rebuild(stores[0], target)
    ((_, rows),) = query(target, ROWS)[1]
    for store in (stores[1], stores[0], stores[1]):
        rebuild(store, target)
        assert query(target, ROWS)[1] == [("first", rows), ("second", rows)]
    assert query(target, "SELECT DISTINCT origin, study FROM comparison ORDER BY ALL")[1] == [("first", "tiny"), ("second", "tiny")]


def test_a_run_that_is_gone_from_its_store_goes_from_the_database_and_no_other_does(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "results.duckdb"
    for store in stores:
        rebuild(store, target)
    shutil.rmtree(stores[0] / "runs")
    rebuild(stores[0], target)
    assert query(target, "SELECT DISTINCT origin FROM run")[1] == [("second",)]
    assert query(target, "SELECT count(*) FROM base.score WHERE origin = 'second'")[1][0][0] > 0


def test_every_view_and_macro_keeps_origins_apart(stores: tuple[Path, Path], tmp_path: Path) -> None:
    alone, both = tmp_path / "alone.duckdb", tmp_path / "both.duckdb"
    rebuild(stores[0], alone)
    for store in stores:
        rebuild(store, both)
    for view in ("run", "attempt", "task", "result", "comparison", "roc", "reading", "canary_risk", "cost", "claim", "lint"):
        mine = query(both, f"FROM {view} WHERE origin = 'first' ORDER BY ALL")[1]
        assert mine == query(alone, f"FROM {view} ORDER BY ALL")[1], view
    for macro in ("compare('auc')", "matched(0.9, margin := 1)", "roc_at('undefended#0', 'lira')"):
        mine = query(both, f"FROM {macro} WHERE origin = 'first' ORDER BY ALL")[1]
        assert mine == query(alone, f"FROM {macro} ORDER BY ALL")[1], macro
        assert mine, macro


def test_merged_twice_is_once(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target, other = tmp_path / "results.duckdb", tmp_path / "other.duckdb"
    rebuild(stores[0], target)
    rebuild(stores[1], other)
    assert merge(target, [other]) == ["second"]
    once = query(target, ROWS)[1]
    merge(target, [other, other])
    assert query(target, ROWS)[1] == once
    assert [origin for origin, _ in once] == ["first", "second"]


def test_what_a_killed_writer_left_in_the_log_of_a_database_is_merged_with_it(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target, other = tmp_path / "results.duckdb", tmp_path / "other.duckdb"
    rebuild(stores[1], other)
    writer = (
        f"import duckdb, os; user = duckdb.connect({str(other)!r})\n"
        "user.execute(\"UPDATE base.run SET question = 'Mine?'\").fetchall(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", writer], check=True)
    log = other.with_name("other.duckdb.wal").read_bytes()
    merge(target, [other])
    assert query(target, "SELECT question FROM run")[1] == [("Mine?",)]
    assert other.with_name("other.duckdb.wal").read_bytes() == log


@pytest.mark.parametrize("content", [None, b"not a database at all", "theirs"])
def test_what_is_no_published_database_is_not_merged_and_the_error_says_so(content: bytes | str | None, tmp_path: Path) -> None:
    other, target = tmp_path / "other.duckdb", tmp_path / "results.duckdb"
    if content == "theirs":
        duckdb.connect(str(other)).close()
    elif isinstance(content, bytes):
        other.write_bytes(content)
    told = "there is no such database" if content is None else "name the results.duckdb of a store, or a bundle"
    with pytest.raises(SynthcError, match=told):
        merge(target, [other])
    assert not target.exists()


def test_a_pipe_and_a_folder_are_no_databases(stores: tuple[Path, Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        for attempt in (lambda: rebuild(stores[0], place), lambda: merge(tmp_path / "results.duckdb", [place])):  # noqa: B023
            with pytest.raises(SynthcError, match="not a file; name a database"):
                attempt()
    with pytest.raises(SynthcError, match="not a file; name a database"):
        query(tmp_path / "pipe", "SELECT 1")


def test_of_a_run_that_both_have_the_later_record_counts(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target, other = tmp_path / "results.duckdb", tmp_path / "other.duckdb"
    rebuild(stores[0], target)
    (record,) = (stores[0] / "runs").glob("*/run.json")
    content = read_record(record)
    write_record(record, content | {"status": "running", "ended": None})
    rebuild(stores[0], other)
    merge(target, [other])
    assert query(target, "SELECT status FROM run")[1] == [("done",)]
    write_record(record, content)
    merge(other, [target])
    assert query(other, "SELECT status FROM run")[1] == [("done",)]


def test_a_study_or_an_origin_is_forgotten_alone(tiny: Done, tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    for origin, study in (("first", "tiny"), ("second", "other")):
        rebuild(store_called(tiny, tmp_path, origin, study), target)
    assert forget(target, "other") == "all runs of the study other"
    assert query(target, "SELECT DISTINCT study FROM comparison")[1] == [("tiny",)]
    assert query(target, "SELECT DISTINCT origin FROM base.score")[1] == [("first",)]
    with pytest.raises(SynthcError, match="no origin and no study is called 'other'; it has: first, tiny"):
        forget(target, "other")
    forget(target, "first")
    assert query(target, ROWS)[1] == []


def test_an_export_has_all_figures_of_last_runs_the_scores_curves_and_risks_that_are_asked_for_and_nothing_of_others(
    tiny: Done, tmp_path: Path
) -> None:
    whole, target = tmp_path / "whole.duckdb", tmp_path / "export.duckdb"
    first = store_called(tiny, tmp_path, "first")
    (record,) = (first / "runs").glob("*/run.json")
    earlier = record.parent.with_name(f"2000{record.parent.name[4:]}")
    shutil.copytree(record.parent, earlier)
    write_record(earlier / "run.json", read_record(record) | {"run": earlier.name})
    for store in (first, store_called(tiny, tmp_path, "secondly", "of_others")):
        rebuild(store, whole)
    export_runs(whole, target, f"origin = 'first' AND {LAST_RUNS}", OF_HEADLINE)
    assert query(target, "SELECT origin, run FROM run")[1] == [("first", record.parent.name)]
    for view in ("result", "comparison", "cost", "task", "training", "reading"):
        own = query(whole, f"FROM {view} WHERE origin = 'first' ORDER BY ALL")[1]
        assert query(target, f"FROM {view} ORDER BY ALL")[1] == own, view
    scores, declared = (
        {tuple(row) for row in query(of, f"SELECT DISTINCT origin, attack, variant, release FROM {what}")[1]}
        for of, what in ((target, "base.score"), (whole, "comparison WHERE origin = 'first'"))
    )
    assert scores == declared
    for view in ("roc", "canary_risk"):
        of_declared = f"{view} SEMI JOIN comparison USING (origin, trial, attack, variant, release) WHERE origin = 'first'"
        assert query(target, f"FROM {view} ORDER BY ALL")[1] == query(whole, f"FROM {of_declared} ORDER BY ALL")[1], view
    assert query(target, "SELECT free_blocks FROM pragma_database_size()")[1] == [(0,)]
    assert b"of_others" in whole.read_bytes()
    assert b"of_others" not in target.read_bytes()
    ((count,),) = query(whole, "SELECT count(*) FROM base.current_trial JOIN base.score USING (origin) WHERE score.task = answer")[
        1
    ]
    assert len(query(whole, SCORES)[1]) == count  # though both stores have tasks of the same ids


def test_what_the_user_keeps_comes_along_whole(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    rebuild(stores[0], target)
    statements = (
        "CREATE SEQUENCE counter START 5",
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE TABLE note (id INTEGER PRIMARY KEY DEFAULT nextval('counter'), mood mood, "
        "points INTEGER DEFAULT 3 CHECK (points > 0))",
        "INSERT INTO note (mood) VALUES ('good'), ('bad')",
        "CREATE INDEX by_points ON note (points)",
        "COMMENT ON TABLE note IS 'mine'",
        "CREATE MACRO more(a, b := 2) AS a + b",
        "CREATE VIEW zebra(p, q) AS SELECT label, leakage FROM comparison",
        "CREATE VIEW ant AS SELECT more(q) AS z FROM zebra",
        'CREATE VIEW "known as" AS SELECT 1 AS x',
        "CREATE TABLE gone (a INTEGER)",
        "CREATE VIEW dangling AS FROM gone",
        "DROP TABLE gone",
        "CREATE TABLE base.theirs AS SELECT 7 AS x",
    )
    with duckdb.connect(str(target)) as user:
        for statement in statements:
            user.execute(statement).fetchall()
    rebuild(stores[1], target)
    rebuild(stores[0], target)
    assert query(target, "FROM note ORDER BY ALL")[1] == [(5, "good", 3), (6, "bad", 3)]
    assert query(target, "SELECT count(z) FROM ant")[1] == [(6,)]
    assert query(target, 'FROM "known as", base.theirs')[1] == [(1, 7)]
    assert query(target, "SELECT more(1)")[1] == [(3,)]
    with duckdb.connect(str(target)) as user:
        user.execute("INSERT INTO note (mood) VALUES ('bad')").fetchall()
        with pytest.raises(duckdb.ConstraintException):
            user.execute("INSERT INTO note (points) VALUES (-1)").fetchall()
        assert user.execute("SELECT comment FROM duckdb_tables() WHERE table_name = 'note'").fetchall() == [("mine",)]
        assert user.execute("SELECT count(*) FROM duckdb_indexes()").fetchall() == [(1,)]


def version_1(folder: Path) -> Path:
    """A database as version 1 of the schema, without origins, published it: the tiny study."""
    path = folder / "version_1.duckdb"
    path.write_bytes(gzip.decompress(VERSION_1.read_bytes()))
    return path


def test_a_database_of_the_schema_before_this_one_is_carried_on(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target = version_1(tmp_path)
    with duckdb.connect(str(target)) as user:
        before = user.execute("SELECT trial, value, low, high FROM result ORDER BY ALL").fetchall()
        user.execute("CREATE MACRO more(a, b := 2) AS a + b").fetchall()
        user.execute("CREATE VIEW mine AS SELECT label FROM comparison").fetchall()
    rebuild(stores[0], target)
    origins = [origin for origin, _ in query(target, ROWS)[1]]
    assert origins[1:] == ["first"]
    assert origins[0].startswith("earlier-")
    carried = query(target, f"SELECT trial, value, low, high FROM result WHERE origin = '{origins[0]}' ORDER BY ALL")[1]
    assert carried == before
    assert query(target, "SELECT more(1), count(*) FROM mine")[1] == [(3, 6)]


def test_what_a_user_made_under_names_of_ours_is_renamed_when_the_schema_changes_and_the_user_is_told(
    tiny: Done, stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = version_1(tmp_path)
    statements = (
        "CREATE SEQUENCE base.counter START 7",
        "CREATE TABLE numbered (id INTEGER DEFAULT nextval('base.counter'), word VARCHAR)",
        "CREATE TABLE base.kept (id INTEGER PRIMARY KEY DEFAULT 3)",
        "CREATE MACRO base.twice(a) AS 2 * a",
        "CREATE VIEW base.over AS SELECT count(*) AS runs FROM base.run",
        "CREATE TABLE metric (name VARCHAR, value INTEGER)",
        "INSERT INTO metric VALUES ('mine', 5)",
        "CREATE UNIQUE INDEX by_name ON metric (name, value)",
        "CREATE VIEW training AS SELECT 42 AS answer",
        "COMMENT ON VIEW training IS 'of mine'",
        "CREATE SCHEMA before",
    )
    with duckdb.connect(str(target)) as user:
        for statement in statements:
            user.execute(statement).fetchall()
    assert main(["db", "rebuild", "--store", str(stores[0]), "--db", str(target)]) == 0
    told = capsys.readouterr().err
    assert "synthc: warning: your table metric is called metric_before now" in told
    assert "synthc: warning: your view training is called training_before now" in told
    with duckdb.connect(str(target)) as user:
        user.execute("INSERT INTO numbered (word) VALUES ('x'); INSERT INTO base.kept DEFAULT VALUES").fetchall()
        with pytest.raises(duckdb.ConstraintException):
            user.execute("INSERT INTO base.kept DEFAULT VALUES").fetchall()
        with pytest.raises(duckdb.ConstraintException):
            user.execute("INSERT INTO metric_before VALUES ('mine', 5)").fetchall()
        found = "SELECT answer, base.twice(2), (SELECT id FROM numbered), (SELECT runs FROM base.over) FROM training_before"
        assert user.execute(found).fetchall() == [(42, 4, 7, 2)]
    assert query(target, "SELECT count(*) > 0 FROM metric")[1] == [(True,)]


def test_a_view_with_a_comment_that_a_user_made_of_ours_stays_when_its_name_becomes_ours(
    stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "results.duckdb"
    rebuild(stores[0], target)
    with duckdb.connect(str(target)) as user:  # as before there was a view `setting` of ours
        user.execute("DROP VIEW setting; UPDATE base.meta SET schema = 'another'").fetchall()
        user.execute("CREATE VIEW setting AS SELECT count(*) AS trials FROM comparison").fetchall()
        user.execute("COMMENT ON VIEW setting IS 'of mine'").fetchall()
    assert main(["db", "rebuild", "--store", str(stores[0]), "--db", str(target)]) == 0
    assert capsys.readouterr().err.count("warning: your ") == 1
    assert query(target, "SELECT trials, (SELECT count(*) > 9 FROM setting) FROM setting_before")[1] == [(3, True)]
    assert query(target, "SELECT count(*) > 0 FROM metric")[1] == [(True,)]


def test_what_this_store_published_before_there_were_origins_is_its_own(tiny: Done, tmp_path: Path) -> None:
    target = version_1(tmp_path)
    with duckdb.connect(str(target)) as connection:
        ((run,),) = connection.execute("SELECT run FROM base.run").fetchall()
    store = store_called(tiny, tmp_path, "mine")
    (folder,) = (store / "runs").iterdir()
    write_record(folder / "run.json", read_record(folder / "run.json") | {"run": run})
    folder.rename(folder.with_name(run))
    rebuild(store, target)
    assert [origin for origin, _ in query(target, ROWS)[1]] == ["mine"]


@pytest.mark.parametrize(("version", "reason"), [(99, "a newer synthc"), (0, "too old to be carried on")])
def test_a_database_of_another_version_is_refused_in_a_sentence(
    stores: tuple[Path, Path], tmp_path: Path, version: int, reason: str
) -> None:
    target = tmp_path / "results.duckdb"
    with duckdb.connect(str(target)) as other:
        other.execute(SCHEMA).fetchall()
        other.execute("INSERT INTO base.meta VALUES ('another', 'synthc')").fetchall()
        other.execute(f"CREATE OR REPLACE MACRO schema_version() AS {version}").fetchall()
    before = target.read_bytes()
    with pytest.raises(SynthcError, match=reason):
        rebuild(stores[0], target)
    assert target.read_bytes() == before


def test_rights_and_links_of_the_file_stay(stores: tuple[Path, Path], tmp_path: Path) -> None:
    real, link = tmp_path / "real.duckdb", tmp_path / "results.duckdb"
    rebuild(stores[0], real)
    real.chmod(0o600)
    link.symlink_to(real)
    with revision(real) as connection:
        execute(connection, "CREATE TABLE published.notes AS SELECT 1 AS one")
        assert [copy.stat().st_mode & 0o777 for copy in tmp_path.glob(".real.duckdb.*next*")] == [0o600], "and no log beside it"
    rebuild(stores[1], link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert len(query(real, ROWS)[1]) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("mode", [0o2775, 0o777])
def test_whoever_may_write_to_the_folder_may_publish_after_another_user(stores: tuple[Path, Path], mode: int) -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, target = Path(shutil.copytree(stores[1], folder / "store")), folder / "results.duckdb"
        for path in (store, *store.rglob("*")):
            os.chown(path, nobody, nobody)
        os.chown(folder, 0, nobody)
        folder.chmod(mode)
        rebuild(stores[0], target)
        os.setegid(nobody)
        os.seteuid(nobody)
        try:
            rebuild(store, target)
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert len(query(target, ROWS)[1]) == 2


def test_the_lock_is_for_its_owner_alone_where_nobody_else_may_write_to_the_folder(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    rebuild(stores[0], tmp_path / "results.duckdb")
    assert (tmp_path / ".results.duckdb.lock").stat().st_mode & 0o777 == 0o600


PUBLISHER = """
import contextlib, sys
from pathlib import Path
from runtime.database.index import Index
store, target, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with contextlib.closing(Index.open(store)) as index:
    for _ in range(times):
        index.publish(target)
"""


def test_publishers_at_the_same_time_wait_for_each_other_and_lose_nothing(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    for store in stores:
        rebuild(store, target)
    with duckdb.connect(str(target)) as user:
        user.execute("CREATE TABLE mine AS SELECT 42 AS answer").fetchall()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [[sys.executable, "-c", PUBLISHER, str(store), str(target), "8"] for store in stores]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in words]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    rows = query(target, ROWS)[1]
    assert [origin for origin, _ in rows] == ["first", "second"]
    assert rows[0][1] == rows[1][1]
    assert query(target, "FROM mine")[1] == [(42,)]
    assert not list(tmp_path.glob(".*.next"))


@pytest.mark.long
def test_runs_rebuilds_merges_readers_and_a_user_on_one_database_lose_nothing_though_some_are_killed() -> None:
    words = [sys.executable, str(ROOT / "benchmarks" / "gather.py"), "--rounds", "5", "--readers", "10"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 of 5 rounds whole" in ended.stdout


def test_an_abandoned_copy_is_cleared_away(stores: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "results.duckdb"
    (tmp_path / ".results.duckdb.4242.next").write_bytes(b"half of a database")
    with contextlib.closing(Index.open(stores[0])) as index:
        index.publish(target)
    assert not list(tmp_path.glob(".*.next"))


def test_databases_are_merged_and_forgotten_from_the_command_line(
    stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, other = tmp_path / "results.duckdb", tmp_path / "other.duckdb"
    rebuild(stores[0], target)
    rebuild(stores[1], other)
    assert main(["db", "merge", str(other), "--db", str(target)]) == 0
    assert [origin for origin, _ in query(target, ROWS)[1]] == ["first", "second"]
    assert main(["db", "forget", "second", "--db", str(target)]) == 0
    assert [origin for origin, _ in query(target, ROWS)[1]] == ["first"]
    capsys.readouterr()
    assert main(["db", "forget", "third", "--db", str(target)]) == 2
    assert "no origin and no study is called 'third'; it has: first, tiny" in capsys.readouterr().err
    assert main(["db", "merge", str(tmp_path / "none.duckdb"), "--db", str(target)]) == 2
    assert "none.duckdb: there is no such database" in capsys.readouterr().err
