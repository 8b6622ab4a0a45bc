"""Why a task would run: every reason, from plans and stores that are really so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compiler.inspect.explain import differences
from runtime.cli.main import main
from runtime.store.records import read_record, write_record
from runtime.store.runs import PLAN_FILE, load_last_run
from tests.conftest import TINY, Done


@pytest.fixture
def copy(tiny: Done, tmp_path: Path) -> Done:
    """The finished study, to be damaged."""
    shutil.copytree(tiny.store, tmp_path / ".synthc")
    (tmp_path / "study.yaml").write_text(TINY)
    return Done(tmp_path, tmp_path / "study.yaml")


def why(done: Done, capsys: pytest.CaptureFixture[str], address: str, *options: str) -> list[dict[str, Any]]:
    assert main(["explain", str(done.spec), address, "--db", str(done.db), "--json", *options]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def one(done: Done, capsys: pytest.CaptureFixture[str], address: str, *options: str) -> tuple[str, list[str]]:
    (found,) = why(done, capsys, address, *options)
    return found["reason"], found["lines"]


MODEL = "coreset[method=forgetting]#0/shadow 3/model"


def test_what_is_done_would_not_run(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert why(tiny, capsys, MODEL)[0]["would_run"] is False
    assert one(tiny, capsys, MODEL)[0] == "done"


def test_a_changed_parameter_is_said_from_what_to_what_and_a_changed_parent_by_its_role(
    tiny: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    assert one(tiny, capsys, MODEL, "--set", "classifier.lr=0.05") == ("changed", ["recipe.lr: 0.1 → 0.05", "parent `set` changed"])
    assert one(tiny, capsys, MODEL, "--set", "arms.coreset.fraction=0.2") == ("parent", ["parent `set` changed"])
    made = "coreset[method=forgetting]#0/shadow 3/synthesize"
    assert one(tiny, capsys, made, "--set", "arms.coreset.fraction=0.2") == ("changed", ["how.fraction: 0.3 → 0.2"])


def test_a_raised_revision_is_the_reason(tiny: Done, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from compiler.work.operations import TrainClassifier

    now = TrainClassifier.revision
    monkeypatch.setattr(TrainClassifier, "revision", now + 1)
    assert one(tiny, capsys, "undefended#0/shadow 0/model") == ("changed", [f"revision: [{now}] → [{now + 1}]"])


def test_further_shadows_are_new_and_the_attack_says_so(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--set", "audit.shadows=10")
    assert one(tiny, capsys, "undefended#0/shadow 9/model", *more)[0] == "new"
    assert one(tiny, capsys, "undefended#0/shadow 7/model", *more)[0] == "done"
    code, lines = one(tiny, capsys, "undefended#0", *more)
    assert code == "changed"
    assert lines[0] == "shadows: 8 → 10"
    assert "parent `model` is new (×2)" in lines


def test_a_trial_whose_axes_changed_is_compared_with_the_one_it_replaces(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    address = "coreset[method=random,fraction=0.2]#0/shadow 0/synthesize"
    (found,) = why(tiny, capsys, address, "--set", "arms.coreset.fraction={grid: [0.2]}")
    assert found["lines"] == ["how.fraction: 0.3 → 0.2"]
    assert found["compared_with"] == "coreset[method=random]#0/shadow 0/synthesize"


def test_a_point_that_a_grid_gained_is_new(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    grid = "arms.coreset.method={grid: [random, forgetting, aum]}"
    assert one(tiny, capsys, "coreset[method=aum]#0/shadow 0/synthesize", "--set", grid)[0] == "new"


def test_what_failed_is_gone_or_damaged_is_said(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {found["address"]: found["id"] for found in why(copy, capsys, "undefended#0*")}
    attack = ids["undefended#0"]
    (copy.store / attack[:2] / attack / "outcome.json").unlink()  # so that what it needs is needed
    gone, damaged, failed, never = (ids[f"undefended#0/shadow {shadow}/query"] for shadow in range(4))
    folder = {id: copy.store / id[:2] / id for id in (gone, damaged, failed, never)}
    (folder[gone] / "outcome.json").unlink()
    (folder[damaged] / "outcome.json").rename(folder[damaged] / "outcome.json.corrupt")
    (folder[failed] / "outcome.json").unlink()
    attempt = folder[failed] / "attempts" / "1" / "attempt.json"
    said = {"status": "failed", "error": "out of luck", "error_kind": "exception"}
    write_record(attempt, {name: value for name, value in read_record(attempt).items() if name != "digest"} | said)
    shutil.rmtree(folder[never])
    reasons = {found["id"]: found for found in why(copy, capsys, "undefended#0/*")}
    assert {id: reasons[id]["reason"] for id in folder} == {
        gone: "missing",
        damaged: "damaged",
        failed: "failed",
        never: "not computed",
    }
    assert "out of luck" in reasons[failed]["lines"][0]
    assert "--retry-failed" in reasons[failed]["lines"][0]


def test_what_is_forced_runs_again_with_all_that_rests_on_it(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    force = ("--force", "undefended#0/shadow 3/model")
    reasons = {found["address"]: found["reason"] for found in why(copy, capsys, "*", *force)}
    again = {address for address, reason in reasons.items() if reason == "forced"}
    assert again == {"undefended#0/shadow 3/model", "undefended#0/shadow 3/query", "undefended#0"}
    assert set(reasons.values()) == {"forced", "done"}
    assert main(["run", str(copy.spec), "--engine", "inline", "--db", str(copy.db), *force]) == 0
    assert "computed 3 tasks" in capsys.readouterr().err
    attempts = copy.rows("SELECT address FROM attempt JOIN task USING (task) GROUP BY ALL HAVING count(DISTINCT attempt) = 2")
    assert {address for (address,) in attempts} == again


def test_without_an_earlier_run_everything_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    done = Done(tmp_path, tmp_path / "study.yaml")
    assert {found["reason"] for found in why(done, capsys, "*")} == {"new"}


def test_the_overview_says_each_reason_once_and_causes_before_consequences(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tiny.spec), "--db", str(tiny.db), "--set", "arms.coreset.fraction=0.2"]) == 0
    out = capsys.readouterr().out
    assert "50 of 75 tasks would run" in out
    assert out.count("how.fraction: 0.3 → 0.2") == 1
    assert "8  coreset[method=random]#0/shadow */synthesize" in out
    assert out.index("how.fraction") < out.index("parent `set` changed")


def test_one_task_is_told_in_full(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tiny.spec), MODEL, "--db", str(tiny.db), "--set", "arms.coreset.fraction=0.2"]) == 0
    out = capsys.readouterr().out
    for words in (MODEL, "TrainClassifier (train)", "would run: parent `set` changed", "needs:", "(to run)"):
        assert words in out


def test_an_unknown_address_gets_the_nearest(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tiny.spec), "undefined#0", "--db", str(tiny.db)]) == 2
    assert "did you mean 'undefended#0'" in capsys.readouterr().err


def test_fields_differ_by_path() -> None:
    was = {"": "A", "a": 1, "b": {"": "B", "c": [1, {"d": 2}]}, "gone": None}
    now = {"": "A", "a": 1.0, "b": {"": "B2", "c": [1, {"d": 3}]}, "new": True}
    assert list(differences(was, now)) == ['b: "B" → "B2"', "b.c[1].d: 2 → 3", "gone: null is gone", "new: true is new"]


# Plans are kept


def test_a_run_keeps_its_plan_its_texts_and_what_made_it(tiny: Done) -> None:
    from compiler.compile import compile_study

    kept = load_last_run(tiny.store, "tiny", None)
    assert kept is not None
    plan = compile_study(tiny.spec)
    assert kept.texts == {id: task.text for id, task in plan.tasks.items()}
    assert kept.record["texts"] == {str(tiny.spec): TINY}
    assert kept.record["source_digest"]
    assert kept.record["versions"]["torch"]
    assert kept.stages["undefended#0", None, "attack"] == plan.trials[0].answer


def test_the_text_of_what_a_study_extends_is_kept_too(tmp_path: Path) -> None:
    from compiler.text.compose import sources

    (tmp_path / "base.yaml").write_text(TINY)
    (tmp_path / "study.yaml").write_text("extends: base.yaml\nseed: 3\n")
    assert sources(tmp_path / "study.yaml") == {
        str(tmp_path / "study.yaml"): "extends: base.yaml\nseed: 3\n",
        str(tmp_path / "base.yaml"): TINY,
    }


def test_a_plan_that_was_damaged_explains_what_it_still_can(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    for path in copy.store.glob(f"runs/*/{PLAN_FILE}"):
        path.write_bytes(path.read_bytes()[:40])
    assert one(copy, capsys, MODEL, "--set", "classifier.lr=0.05")[0] == "changed"
