"""`synthc gc` and `doctor`: which files are kept, which are deleted, and which faults are reported."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from compiler.work.operations import JudgeSet
from runtime import machine
from runtime.cli.main import main
from runtime.cli.store_audit import StoredResult, store_result
from runtime.outcome import Product
from runtime.store.garbage import find_damage
from tests.conftest import TINY, Done


def tasks(done: Done) -> set[str]:
    return {path.parent.name for path in done.store.glob("??/*/outcome.json")}


def test_nothing_of_a_kept_study_goes_and_its_rows_stay(copy: Done) -> None:
    before, rows = tasks(copy), copy.rows("FROM comparison")
    (copy.store / "ab" / ".outcome.json.123.part").parent.mkdir(exist_ok=True)
    (copy.store / "ab" / ".outcome.json.123.part").write_text("{")
    assert main(["gc", "--delete", "--db", str(copy.db)]) == 0
    assert tasks(copy) == before
    assert copy.rows("FROM comparison") == rows
    assert not list(copy.store.rglob("*.part"))


def test_without_delete_nothing_goes_and_the_size_is_said(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    before = tasks(copy)
    assert main(["gc", "--drop", "tiny", "--db", str(copy.db)]) == 0
    out = capsys.readouterr().out
    assert f"{len(before)} tasks" in out
    assert "--delete" in out
    assert tasks(copy) == before


def test_a_checkpoint_of_an_unfinished_task_stays_unless_other_code_wrote_it_or_its_study_is_dropped(
    copy: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, other = sorted(copy.store.glob("??/*/outcome.json"))[:2]
    outcome.unlink()
    name = f"checkpoint-classifier-1-{machine.source_digest()}"
    resumed, stale, done = outcome.with_name(name), outcome.with_name("checkpoint-classifier-1-before"), other.with_name(name)
    for path in (resumed, stale, done):
        path.touch()
    assert main(["gc", "--delete", "--db", str(copy.db)]) == 0
    assert "checkpoints of 1 task, from which `synthc run` goes on; --drop STUDY drops them" in capsys.readouterr().out
    assert [path.exists() for path in (resumed, stale, done)] == [True, False, False]
    assert main(["gc", "--drop", "tiny", "--delete", "--db", str(copy.db)]) == 0
    assert "checkpoints" not in capsys.readouterr().out
    assert not resumed.exists()


def test_what_an_earlier_form_of_a_study_alone_needed_goes(copy: Done) -> None:
    copy.spec.write_text(TINY.replace("    method: {grid: [random, forgetting]}", "    method: random"))
    assert main(["run", str(copy.spec), "--engine", "inline", "--db", str(copy.db)]) == 0
    before = tasks(copy)
    assert main(["gc", "--delete", "--db", str(copy.db)]) == 0
    gone = before - tasks(copy)
    assert gone
    assert copy.rows("SELECT count(*) FROM task WHERE status <> 'done'") == [(0,)]
    assert len(copy.rows("FROM comparison")) == 2


def test_a_dropped_study_goes_whole_and_an_unknown_one_is_refused(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gc", "--drop", "tyni", "--delete", "--db", str(copy.db)]) == 2
    assert "there are: tiny" in capsys.readouterr().err
    assert main(["gc", "--drop", "tiny", "--delete", "--db", str(copy.db)]) == 0
    assert tasks(copy) == set()
    assert copy.rows("FROM comparison") == []


@pytest.mark.parametrize("damage", ["a file", "a loop"])
@pytest.mark.parametrize("place", ["a task", "tasks"])
def test_what_lies_where_a_task_folder_should_be_is_named_and_what_would_do(
    copy: Done, damage: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ((id,),) = copy.rows("SELECT min(task) FROM task WHERE kind = 'attack'")
    folder = copy.store / id[:2] / id
    folder = folder if place == "a task" else folder.parent
    shutil.rmtree(folder)
    folder.touch() if damage == "a file" else folder.symlink_to(folder.name)
    words = ["run", str(copy.spec), "--engine", "inline", "--db", str(copy.db)]
    assert main(words) != 0
    said = capsys.readouterr().err
    assert "mistake" not in said
    assert str(folder) in said
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 1
    assert f"{folder}: is no folder of {place}; move it away" in capsys.readouterr().out
    folder.unlink()  # what the sentence says
    assert main([*words, "--retry-failed"]) == 0


def test_a_run_that_no_later_name_can_follow_is_a_sentence(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    (copy.store / "runs/99991231T235959.999999-tiny").mkdir()
    assert main(["run", str(copy.spec), "--engine", "inline", "--db", str(copy.db)]) == 2
    assert "no run can come after that of 99991231T235959.999999: move its folder away" in capsys.readouterr().err


def test_a_sound_place_is_called_sound_and_a_damaged_one_is_not(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 0
    assert "BAD" not in capsys.readouterr().out
    next(copy.store.glob("??/*/model.safetensors")).write_bytes(b"")
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 1
    out = capsys.readouterr().out
    assert "model.safetensors is not what the task wrote" in out
    copy.db.write_text("not a database")
    assert main(["doctor", "--db", str(copy.db)]) == 1


def test_a_stored_audit_or_judgement_is_sound_without_a_plan_a_study_is_not(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(copy.folder / "outside.npz", scores=rng.normal(size=(1, 40)), member=rng.random((1, 40)) < 0.5)
    quick = ["--resamples", "100", "--redraws", "10", "--fpr", "0.1"]
    assert main(["audit", str(copy.folder / "outside.npz"), *quick, "--db", str(copy.db)]) == 0
    judged = StoredResult(
        study="judged", method="judge", question="May this set be released?", spec="set.npz", command="judge",
        work=JudgeSet("a", "b", "c", "", "", "d"), product=Product(), headline={}, started=datetime.now(UTC), seconds=1.0,
    )  # fmt: skip
    store_result(judged, argv=["judge", "set.npz"], store=copy.store, target=copy.db)
    assert main(["doctor", "--deep", "--db", str(copy.db)]) == 0
    assert "BAD" not in capsys.readouterr().out
    (plan,) = copy.store.glob("runs/*/plan.jsonl.gz")
    plan.write_bytes(plan.read_bytes()[:50])
    assert [str(plan) in said for said in find_damage(copy.store).sentences] == [True]
    plan.unlink()
    assert [str(plan) in said for said in find_damage(copy.store).sentences] == [True]
    (audit,) = copy.store.glob("runs/*-outside/run.json")
    audit.write_bytes(audit.read_bytes()[:50])
    assert any(f"{audit.parent}: run.json" in said for said in find_damage(copy.store).sentences)
