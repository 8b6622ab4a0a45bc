"""Records with digests: a changed record is detected, named, not used and not deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import synthc
from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.database.index import Index
from runtime.store.artifacts import is_done
from runtime.store.records import Corrupt, parse_record, read_record, write_record
from tests.conftest import Done
from tests.runtime.execution.test_faults import run, same, task

RECORDS = ("??/*/outcome.json", "??/*/task.json", "??/*/attempts/*/attempt.json", "runs/*/run.json", "store.json")


def strip_digests(store: Path) -> int:
    """Make a store's records what versions before this one wrote; their number."""
    paths = [path for pattern in RECORDS for path in store.glob(pattern)]
    for path in paths:
        path.write_text(json.dumps(read_record(path)))
    return len(paths)


def change_a_figure(folder: Path) -> None:
    """By hand: one TPR of an attack becomes 0.123."""
    text = (folder / "outcome.json").read_text()
    at = text.index('"value": ', text.index('"name": "headline"')) + len('"value": ')
    (folder / "outcome.json").write_text(text[:at] + "0.123" + text[text.index(",", at) :])


def test_every_record_of_a_store_has_its_digest(tiny: Done) -> None:
    for pattern in RECORDS:
        paths = list(tiny.store.glob(pattern))
        assert paths, pattern
        assert all(parse_record(path)[1] for path in paths), pattern


def test_a_figure_changed_by_hand_is_named_and_not_believed_and_the_next_run_computes_it_again(
    copy: Done, tiny: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = task(copy, "kind = 'attack' AND address LIKE 'undefended%'")
    change_a_figure(folder)
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 1
    out = capsys.readouterr().out
    assert f"{folder}: outcome.json is not what was written" in out
    assert f"--force {folder.name}` computes it again" in out
    assert main(["db", "rebuild", "--db", str(copy.db)]) == 1
    assert f"{folder}: outcome.json is not what was written" in capsys.readouterr().err
    assert copy.rows("SELECT value FROM result WHERE value = 0.123") == []
    assert run(copy) == 0
    same(copy, tiny)


@pytest.mark.parametrize("name", ["outcome.json", "task.json", "run.json", "attempt.json", "store.json"])
def test_a_record_with_any_byte_changed_is_known_to_be(tiny: Done, tmp_path: Path, name: str) -> None:
    source = next(path for pattern in RECORDS for path in tiny.store.glob(pattern) if path.name == name)
    content, path = source.read_bytes(), tmp_path / name
    for place in [*range(40), *range(40, len(content), max(1, len(content) // 200)), len(content) - 1]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(Corrupt):
            read_record(path)


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": "all"},
        {"tasks": [{}]},
        {"trials": [{}]},
        {"study": 3},
        {"headline": None},
        {"headline": {"fpr": "low"}},
        {"claims": None},
        {"claims": [{}]},
        {"lints": [{}]},
        {"started": "yesterday"},
        {"surprise": 1},
        {"digest": ""},
    ],
)
def test_a_record_of_before_is_taken_only_in_the_form_of_one(tiny: Done, tmp_path: Path, change: dict[str, object]) -> None:
    (source,) = list(tiny.store.glob("runs/*/run.json"))[:1]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(read_record(source)))
    assert read_record(path) == read_record(source)
    path.write_text(json.dumps(read_record(source) | change))
    with pytest.raises(Corrupt, match=r"run\.json"):
        read_record(path)


@pytest.mark.parametrize("field", ["claims", "tasks"])
def test_a_damaged_record_of_before_is_named_by_run_explain_and_gc_with_what_would_do(
    copy: Done, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = copy.store.glob("runs/*/run.json")
    path.write_text(json.dumps(read_record(path) | {field: [{}]}))
    codes = {"gc": 2, "explain": 0, "run": 0}
    for command, code in codes.items():
        spec = [] if command == "gc" else [str(copy.spec)]
        assert main([command, *spec, "--db", str(copy.db), *(["--engine", "inline"] if command == "run" else [])]) == code
        said = capsys.readouterr().err
        assert f"{path.parent}: run.json cannot be read: {field}.0." in said
        assert f"bring {path.parent} back from a backup, or delete it" in said
        assert "mistake" not in said
        assert said.count("back from a backup") == 1


def test_python_warns_of_a_record_that_cannot_be_read_and_goes_on(copy: Done) -> None:
    (path,) = copy.store.glob("runs/*/run.json")
    path.write_text("{")
    with pytest.warns(synthc.SynthcWarning, match=f"{path.parent}: run.json cannot be read.*it is left out") as warned:
        results = synthc.run(copy.spec, engine="inline", db=copy.db)
    assert len(warned) == 1
    assert len(results.comparison.fetchall()) == 3


def test_an_index_that_is_made_again_warns_of_what_it_leaves_out_whoever_opens_it(copy: Done) -> None:
    (path,) = copy.store.glob("runs/*/run.json")
    path.write_text("{")
    (copy.store / "index.duckdb").unlink()
    with pytest.warns(synthc.SynthcWarning, match="its rows are left out"), IndexOf(copy):
        pass


def test_a_store_of_before_is_carried_on_and_what_has_no_digest_is_counted(
    copy: Done, tiny: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    count = strip_digests(copy.store)
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 0
    assert f"{count} of {count} records, of a version that wrote none, are taken as they are" in capsys.readouterr().out
    assert main(["db", "rebuild", "--db", str(copy.db)]) == 0
    same(copy, tiny)
    assert run(copy) == 0
    assert "everything was done before" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "a folder", "another study"])
def test_gc_refuses_what_it_cannot_read_and_names_it(copy: Done, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = max(copy.store.glob("runs/*/run.json"))
    content, before = record.read_bytes(), sorted(copy.store.glob("??/*/outcome.json"))
    record.unlink()
    match damage:
        case "empty":
            record.touch()
        case "cut":
            record.write_bytes(content[:-100])
        case "a folder":
            record.mkdir()
        case "another study":
            record.write_bytes(content.replace(b'"study": "tiny"', b'"study": "ting"'))
    assert main(["gc", "--delete", "--db", str(copy.db)]) == 2
    said = capsys.readouterr().err
    assert str(record.parent) in said
    assert "from a backup, or delete it" in said
    assert sorted(copy.store.glob("??/*/outcome.json")) == before
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 1
    assert str(record.parent) in capsys.readouterr().out


def test_a_store_that_lost_its_mark_is_known_by_its_runs(copy: Done, tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    mark = copy.store / "store.json"
    before = read_record(mark)
    mark.unlink()
    assert run(copy) == 0
    assert read_record(mark) == before
    mark.write_bytes(b"")
    assert run(copy) == 2
    said = capsys.readouterr().err
    mark.write_text(said[said.index("{") : said.index("}") + 1])  # what the sentence says to write
    assert run(copy) == 0
    assert copy.rows("SELECT DISTINCT origin FROM run") == tiny.rows("SELECT DISTINCT origin FROM run")


def test_a_rebuild_that_is_broken_off_leaves_the_rows_of_before(copy: Done, tiny: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    record, left = Index.record_outcome, [3]

    def breaking(index: Index, folder: Path, **how: bool) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        record(index, folder, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Index, "record_outcome", breaking)
        assert main(["db", "rebuild", "--db", str(copy.db)]) == 130
    with IndexOf(copy) as index:
        index.publish(copy.db)
    same(copy, tiny)
    for name in ("index.duckdb", "index.duckdb.wal"):
        (copy.store / name).unlink(missing_ok=True)
    assert run(copy) == 0
    same(copy, tiny)


class IndexOf:
    def __init__(self, done: Done) -> None:
        self.index = Index.open(done.store)

    def __enter__(self) -> Index:
        return self.index

    def __exit__(self, *error: object) -> None:
        self.index.close()


def test_what_is_forced_is_taken_back_only_when_it_is_handed_out(
    copy: Done, tiny: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*args: object) -> None:
        raise SynthcError("Ray did not start")

    words = ["run", str(copy.spec), "--engine", "inline", "--force", "undefended*", "--db", str(copy.db)]
    asked = "SELECT task, started FROM task WHERE address LIKE 'undefended%' ORDER BY task"
    ids = {id for id, _ in copy.rows(asked)}
    with monkeypatch.context() as patch:
        patch.setattr("runtime.cli.run._start_engine", start)
        assert main(words) == 2
    assert all(is_done(copy.store, id) for id in ids)
    same(copy, tiny)
    before = copy.rows(asked)
    assert main(words) == 0
    assert f"computed {len(ids)} tasks" in capsys.readouterr().err
    after = copy.rows(asked)
    assert [id for id, _ in after] == [id for id, _ in before]
    assert all(later > earlier for (_, later), (_, earlier) in zip(after, before, strict=True))
    same(copy, tiny)


def test_a_killed_run_is_said_to_be_killed(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    record = max(copy.store.glob("runs/*/run.json"))
    write_record(record, read_record(record) | {"status": "running", "ended": None})
    with IndexOf(copy) as index:
        index.record_run(read_record(record))
        index.publish(copy.db)
    assert copy.rows("SELECT status FROM run ORDER BY run DESC LIMIT 1") == [("running",)]
    (copy.store / "lock").write_text(f"pid 4194304 on {os.uname().nodename}, since long ago")
    for command in ("runs", "status"):
        main([command, "--db", str(copy.db)])
        assert "killed" in capsys.readouterr().out
    assert main(["db", "rebuild", "--db", str(copy.db)]) == 0
    assert copy.rows("SELECT status FROM run ORDER BY run DESC LIMIT 1") == [("killed",)]
    assert read_record(record)["status"] == "killed"
