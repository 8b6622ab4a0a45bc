"""What the command line says to words, numbers and file names that it cannot take."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from compiler.errors import did_you_mean
from compiler.plan.dag import Task
from compiler.text.compose import compose
from compiler.text.nodes import plain
from runtime.cli.main import main
from runtime.data.cards import compile_with_files
from runtime.execution.progress import Display
from runtime.outcome import Outcome
from tests.conftest import TINY, Done


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("stauts",), "none is called 'stauts'; did you mean 'status'?"),
        (("status", "--storre", "x"), "not understood: --storre x; did you mean '--store'?"),
        (("status", "x"), "not understood: x; nothing more is wanted here"),
        (("plan", "study.yaml", "--workers", "-3"), "'-3' is no whole number from 1"),
        (("run", "study.yaml", "--workers", "0"), "'0' is no whole number from 1"),
        (("run", "study.yaml", "--gpu-memory", "-1"), "'-1' is no number above 0"),
        (("run", "study.yaml", "--gpu-memory", "nan"), "'nan' is no number above 0"),
        (("run", "study.yaml", "--timeout", "trian=3"), "did you mean 'train'?"),
        (("run", "study.yaml", "--timeout", "train=-3"), "'-3' is no number above 0"),
        (("logs", "4f", "--attempt", "-1"), "'-1' is no whole number from 1"),
        (("ui", "--port", "70000"), "'70000' is no whole number from 0 to 65535"),
    ],
)
def test_a_word_or_number_that_is_none_is_named_with_what_would_do(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert complaint in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("synthc ")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("report", "-o", "x.pdf"), "-o x.pdf: a report is HTML"),
        (("chart", "tradeoff", "-o", "y.png", "--format", "svg"), "-o y.png: several charts or formats want a folder"),
        (("chart", "all", "-o", "y.png"), "-o y.png: several charts or formats want a folder"),
        (("chart", "tradeoff", "-o", "y", "--format", "svgg"), "no format is called 'svgg'; did you mean 'svg'?"),
        (("chart", "galery", "-o", "y"), "no chart is called 'galery'; did you mean 'gallery'?"),
    ],
)
def test_a_file_of_another_kind_than_it_says_is_never_written(
    words: tuple[str, ...],
    complaint: str,
    tiny: Done,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--db", str(tiny.db)]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_has_no_log_is_told_with_its_tasks(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "undefended#0", "--db", str(tiny.db)]) == 2
    err = capsys.readouterr().err
    assert "'undefended#0' is a trial" in err
    assert "undefended#0/shadow 0/model" in err
    assert "did you mean" not in err


def test_no_hint_suggests_the_word_that_was_said() -> None:
    assert did_you_mean("a", ["a", "b"]) == "there are: a, b"


def test_the_starter_has_a_synthetic_arm_and_an_epsilon_that_means_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    arms = plain(compose(Path("mine.yaml"), None, []))["arms"]
    assert {"distillation", "data_free_kd", "diffusion"} & {arm["paradigm"] for arm in arms.values()}
    assert arms["dp_sgd"]["privacy"]["epsilon"] <= 10


def test_one_failure_of_many_tasks_is_printed_once_with_their_number(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    plan = compile_with_files(tmp_path / "study.yaml", None, [])
    tasks: list[Task] = [task for task in plan.tasks.values() if task.kind == "train"][:8]
    said = io.StringIO()
    with Display({task.id: task for task in tasks}, said) as display:
        for task in tasks:
            display.on_outcome(task, Outcome(task.id, "failed", error="no luck", error_kind="exception", log="log"))
    assert said.getvalue().count("failed:") == 1
    assert "7 more failed so: no luck" in said.getvalue()
