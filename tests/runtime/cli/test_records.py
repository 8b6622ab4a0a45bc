"""Status, runs, show, logs, export: what the commands say of a study that was really run."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from runtime.cli.main import main
from tests.conftest import Done


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out = capsys.readouterr()
    return code, out.out, out.err


def test_status_names_the_study_and_counts_its_tasks(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "status", "--db", str(tiny.db))
    assert code == 0
    assert "tiny" in out
    assert [line.split()[1:4] for line in out.splitlines() if "synthesize" in line] == [["tiny", "synthesize", "16"]]


def test_runs_are_listed_with_their_spec_newest_first(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "runs", "--db", str(tiny.db))
    assert code == 0
    listed = [line.split()[0] for line in out.splitlines() if "-tiny" in line]
    assert listed == sorted(listed, reverse=True) != []
    assert ".yaml" in out


def test_an_attack_is_shown_with_what_it_was_asked_and_whose_answers_it_needs(
    tiny: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    ((task, needs),) = tiny.rows("SELECT task, json_array_length(needs) FROM task WHERE kind = 'attack' ORDER BY address LIMIT 1")
    _, out, _ = said(capsys, "show", task, "--db", str(tiny.db))
    words = out.split()
    assert "asked" in words
    assert {"headline.fpr:", "population.seed:"} <= set(words)
    found = {word for word in words if len(word) == 16 and set(word) <= set("0123456789abcdef")}
    assert len(found) >= needs


def test_a_trial_is_shown_by_its_address_and_by_its_label(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    by_address, by_label = (said(capsys, "show", name, "--db", str(tiny.db))[1] for name in ("undefended#0", "undefended"))
    assert by_address == by_label
    ((accuracy, low, high, shadows),) = tiny.rows(
        "SELECT test_accuracy, test_accuracy_low, test_accuracy_high, shadows FROM comparison WHERE arm = 'undefended'"
    )
    assert f"test accuracy   {accuracy:.4g} [{low:.4g}, {high:.4g}], n = {shadows}\n" in by_address
    assert "test_accuracy" in by_address


def test_a_task_is_known_by_the_beginning_of_its_id_and_its_log_is_printed(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    ((task,),) = tiny.rows("SELECT task FROM task ORDER BY task LIMIT 1")
    code, out, _ = said(capsys, "show", task[:12], "--db", str(tiny.db))
    assert code == 0
    assert task in out
    assert said(capsys, "logs", task, "--db", str(tiny.db))[0] == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("show", "undefende"), "did you mean 'undefended#0'"),
        (("logs", ""), "begins several tasks"),
        (("export",), "say what to export"),
        (("export", "--scores", "scores.xlsx"), "the ending should be one of .parquet, .csv, .json"),
        (("export", "--view", "comparisons", "x.csv"), "no view is called 'comparisons'; did you mean 'comparison'?"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_two(
    tiny: Done,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = said(capsys, *words, "--db", str(tiny.db))
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_exported_scores_give_every_published_rate_again(tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "scores.parquet"
    assert said(capsys, "export", "--scores", str(target), "--db", str(tiny.db))[0] == 0
    for trial, published in tiny.rows("SELECT trial, leakage FROM comparison"):
        rows = duckdb.sql(
            f"SELECT member, score FROM '{target}' WHERE trial = '{trial}' AND attack = 'lira' AND canaries = 'mislabeled' "
            "ORDER BY score DESC, member"
        ).fetchall()
        outside = sorted((score for member, score in rows if not member), reverse=True)
        allowed = len(outside) // 10
        bar = outside[allowed]  # the first non-member that would be one too many: only scores above it count
        inside = [score for member, score in rows if member]
        assert published == pytest.approx(sum(score > bar for score in inside) / len(inside))
