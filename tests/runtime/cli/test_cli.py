"""The command line as a person meets it: help with examples, one-line errors, exit codes, Ctrl-C, a starter that works."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cli.main import main, parser
from tests.conftest import HANG_SECONDS, ROOT, TINY, wait_until

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def commands() -> list[str]:
    (actions,) = [action for action in parser()._actions if action.choices]
    return sorted(str(name) for name in actions.choices or ())


def synthc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli", *words]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands, however deep."""
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_no_help_is_wider_than_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = {found.prog: line for found in parsers(parser()) for line in found.format_help().splitlines() if len(line) > 80}
    assert wide == {}


@pytest.mark.parametrize("command", commands())
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"synthc {command}" in out.split("example", 1)[1]


def test_the_starter_is_a_study_and_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    assert main(["check", "mine.yaml"]) == 0
    assert (tmp_path / "mine.yaml").read_text().count("#") > 5
    (tmp_path / "mine.yaml").write_text("mine")
    assert main(["init", "mine"]) == 2
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("run", "nothing.yaml"), "nothing.yaml:1:1: there is no such file"),
        (("run", "study.yaml", "--db", "file/results.duckdb"), "file"),
        (("run", "study.yaml", "--store", "file/store"), "file"),
        (("run", "study.yaml", "--db", "/proc/synthc/results.duckdb"), "/proc/synthc"),
        (("run", "study.yaml", "--db", "file"), "file: "),
        (("sql", "SELECT 1"), "results.duckdb: there is no such database"),
        (("chart", "tradeof", "-o", "x.svg"), "tradeoff"),
        (("db", "rebuild"), "there is no store"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_line_with_exit_code_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(TINY)
    (tmp_path / "file").write_text("I am no database and no folder")
    assert main([*words, *(("--engine", "inline") if words[0] == "run" else ())]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert "Traceback" not in err
    assert (tmp_path / "file").read_text() == "I am no database and no folder"


def test_ctrl_c_finishes_writing_says_how_to_go_on_and_the_next_run_continues(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    running = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", "run", "study.yaml", "--engine", "inline"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: len(list(tmp_path.glob(".synthc/*/*/outcome.json"))) >= 3, running)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=HANG_SECONDS)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert "run the same" in said
    done = len(list(tmp_path.glob(".synthc/*/*/outcome.json")))
    assert (tmp_path / "results.duckdb").exists()
    again = synthc(tmp_path, "run", "study.yaml", "--engine", "inline")
    assert again.returncode == 0, again.stderr
    assert f"{done} done" in again.stdout + again.stderr


def test_ctrl_c_twice_stops_now(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("epochs: 3", "epochs: 100000"))
    running = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", "run", "study.yaml", "--engine", "inline"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    wait_until(lambda: list(tmp_path.glob(".synthc/*/*/attempts/1/log.txt")), running)
    running.send_signal(signal.SIGINT)
    while "again to stop now" not in running.stderr.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=HANG_SECONDS)  # the task would have taken an hour
    # A shell calls both 130: Python ends itself by the signal where an interrupt that was handled came out of an `exec` of a text,
    # as there are many while torch is still being imported.
    assert running.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    assert "run the same" in said
    assert (tmp_path / "results.duckdb").exists()


def test_what_failed_is_tried_again_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, db = tmp_path / "study.yaml", tmp_path / "results.duckdb"
    spec.write_text(TINY.replace("lr: 0.1", "lr: 1000000.0"))
    words = ["run", str(spec), "--engine", "inline", "--db", str(db), "--only", "arm=undefended"]

    def attempts() -> int:
        return len(list(tmp_path.glob(".synthc/*/*/attempts/*/attempt.json")))

    assert main(words) == 1
    once = attempts()
    assert main(words) == 1
    assert "failed in an earlier run and were not tried again; --retry-failed does" in capsys.readouterr().err
    assert attempts() == once
    assert main([*words, "--retry-failed"]) == 1
    assert attempts() == 2 * once


def test_a_failed_task_gives_exit_code_one_and_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("lr: 0.1", "lr: 1000000.0"))
    ended = synthc(tmp_path, "run", "study.yaml", "--engine", "inline")
    assert ended.returncode == 1, ended.stderr
    assert "log.txt" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
