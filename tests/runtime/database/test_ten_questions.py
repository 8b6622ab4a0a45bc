"""Ten questions that every reader of a study asks: `docs/asking.md` leads to a query, and the query answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from runtime.cli.main import main
from runtime.database.questions import questions
from runtime.database.read import query
from tests.conftest import ROOT, Done

PAGE = (ROOT / "docs" / "asking.md").read_text(encoding="utf-8").split("## Ten questions")[1]
ASKED = re.findall(r"^\d+\. \*\*(.+?)\*\*(.*?)(?=^\d+\. \*\*|^\*Leakage\*)", PAGE, flags=re.MULTILINE | re.DOTALL)


def text_of(question: str) -> str:
    """The query that the page gives, or the one that it names."""
    (answer,) = (answer for asked, answer in ASKED if question in asked)
    found = re.search(r"```sql\n(.*?)```", answer, flags=re.DOTALL)
    return found[1] if found else questions()[re.findall(r"@(\w+)", answer)[0]].text.rstrip(";")


def ask(done: Done, question: str) -> list[dict[str, Any]]:
    columns, rows = query(done.db, text_of(question))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_the_page_has_ten() -> None:
    assert len(ASKED) == 10


def test_which_arm_leaks_least_at_the_accuracy_of_dp_sgd(idle: Done) -> None:
    (found,) = ask(idle, "Which arm leaks least")
    assert found["dp_sgd"] == "private#0"
    able = idle.rows(
        f"SELECT trial FROM comparison WHERE test_accuracy >= {found['its_accuracy'] - 0.02} AND learned AND NOT control "
        "ORDER BY leakage, trial"
    )
    assert found["leaks_least"] == able[0][0]
    assert found["leakage"] <= found["its_leakage"]


def test_how_many_false_positives_stand_behind_a_figure(idle: Done) -> None:
    for row in ask(idle, "How many false positives"):
        assert row["non_members"] == 24 * 8 / 2
        assert row["false_positives"] <= row["allowed"] == 9
        assert row["realised_fpr"] == row["false_positives"] / 96


def test_which_canaries_leak_everywhere(idle: Done) -> None:
    found = ask(idle, "Which canaries leak everywhere")
    headline = "SELECT canary, min(tpr) FROM canary_risk WHERE attack = 'lira' AND canaries = 'mislabeled' AND arm <> 'untuned' "
    least = dict(idle.rows(headline + "AND release = 'final_model' GROUP BY canary"))
    assert {row["canary"]: row["caught_at_least"] for row in found} == {at: tpr for at, tpr in least.items() if tpr >= 0.5}


def test_was_a_claim_declared_before_results(idle: Done) -> None:
    (found,) = ask(idle, "Was a claim declared")
    assert (found["claim"], found["in_advance"], found["outcomes_before"]) == ("c", True, 0)


def test_what_an_arm_saw_of_private_images(idle: Done) -> None:
    found = {(row["trial"], row["stage"]): row for row in ask(idle, "What did an arm see")}
    assert {trial: row["private"] for (trial, stage), row in found.items() if stage == "model"} == {
        "undefended#0": True,
        "private#0": True,
        "coreset#0": False,
        "noise#0": False,
        "untuned#0": False,
    }
    chosen = found["coreset#0", "synthesize"]
    assert chosen["private"]
    assert chosen["share_of_private_images_chosen"] == pytest.approx(0.3, abs=0.01)
    assert found["private#0", "model"]["epsilon"] > 0
    assert not any(row["private"] for (trial, stage), row in found.items() if trial == "untuned#0" and stage != "synthesize")


def test_what_tuning_cost(tmp_path: Any, idle: Done) -> None:
    spec = tmp_path / "study.yaml"
    tried = "tune: {shadows: 2, arms: {undefended: {classifier: {lr: {grid: [0.05, 0.2]}}}}}\n"
    spec.write_text(idle.spec.read_text().replace("test: 360", "test: 360, validation: 100") + tried)
    assert main(["tune", str(spec), "--engine", "inline", "--db", str(tmp_path / "results.duckdb")]) == 0
    columns, rows = query(tmp_path / ".synthc.tune" / "tune.duckdb", text_of("What did tuning cost"))
    ((arm, tries, seconds),) = rows
    assert (columns, arm, tries) == (["arm", "trials_tried", "seconds"], "undefended", 2)
    assert seconds > 0


def test_which_figures_are_not_resolvable_and_why(idle: Done) -> None:
    found = ask(idle, "Which figures are not resolvable")
    assert {row["metric"] for row in found} >= {"tpr@fpr=0.001"}
    assert all(row["note"] for row in found)
    assert "not resolvable: 96 non-member scores allow no false positive at 0.001" in {row["note"] for row in found}


def test_what_changed_since_the_last_run(idle: Done, tmp_path: Any) -> None:
    done = Done(tmp_path, idle.spec)
    words = ["run", str(idle.spec), "--engine", "inline", "--db", str(done.db), "--store", str(tmp_path / "s"), "--only"]
    assert main([*words, "arm=undefended"]) == 0
    assert main([*words, "arm=undefended", "--set", "classifier.epochs=1"]) == 0
    found = {(row["trial"], row["metric"]): row for row in ask(done, "What changed")}
    accuracy = found["undefended#0", "test_accuracy"]
    assert (accuracy["what"], accuracy["changed_by"] < 0) == ("changed", True)


def test_what_64_shadows_would_resolve(idle: Done) -> None:
    found = {(row["trial"], row["fpr"]): row for row in ask(idle, "What would 64 shadows")}
    coarse, fine = found["undefended#0", 0.001], found["undefended#0", 0.1]
    assert (coarse["allowed"], coarse["non_members_then"], coarse["allowed_then"], coarse["then_it_is"]) == (
        0,
        768,
        0,
        "not resolvable",
    )
    assert (fine["allowed"], fine["allowed_then"], fine["then_it_is"]) == (9, 76, "resolved")


def test_who_drew_the_membership_and_how(idle: Done) -> None:
    for row in ask(idle, "Who drew the membership"):
        assert (row["seed"], row["design"], row["shadows"], row["drawn_by_synthc"]) == ("0", "pairs", "8", True)
