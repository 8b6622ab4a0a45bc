"""The command line as a person meets it: help with examples, one-line errors, exit codes, Ctrl-C, a starter that works."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from compiler.errors import sentence_of
from runtime.cli.main import EXIT_CODES, main, parser
from tests.conftest import HANG_SECONDS, ROOT, TINY, Done, wait_until

STOPS = [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGHUP, 1), (signal.SIGINT, 12)]
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
    ("name", "file"), [("study_v1.2", "study_v1.2.yaml"), ("v1.2.yaml", "v1.2.yaml"), ("mine.yml", "mine.yaml")]
)
def test_the_starter_is_called_as_asked_and_only_a_suffix_of_yaml_is_no_part_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", name]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert main(["check", file]) == 0
    assert f"{file}: {file.removesuffix('.yaml')}: " in capsys.readouterr().out


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


@pytest.mark.long
@pytest.mark.parametrize(("number", "times"), STOPS)
def test_ctrl_c_finishes_writing_says_how_to_go_on_and_the_next_run_continues(tmp_path: Path, number: int, times: int) -> None:
    (tmp_path / "study.yaml").write_text(TINY.partition("  coreset:")[0])
    command = ("run", "study.yaml", "--engine", "inline")
    running = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", *command],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: len(list(tmp_path.glob(".synthc/*/*/outcome.json"))) >= 3, running)
    for _ in range(times):
        running.send_signal(number)
        time.sleep(0.05)
    said, _ = running.communicate(timeout=HANG_SECONDS)
    assert running.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    assert "run the same" in said
    done = len(list(tmp_path.glob(".synthc/*/*/outcome.json")))
    assert (tmp_path / "results.duckdb").exists()
    again = synthc(tmp_path, *command)
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
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored where a shell began the tests behind itself
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


@pytest.mark.long
def test_a_run_goes_on_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    command = [sys.executable, "-m", "runtime.cli", "run", "study.yaml", "--engine", "inline"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.wait(HANG_SECONDS) == 0
    assert "everything was done before" in synthc(tmp_path, "run", "study.yaml", "--engine", "inline").stderr


def test_output_that_is_closed_or_knows_ascii_alone_stops_nothing(tiny: Done) -> None:
    words = [sys.executable, "-m", "runtime.cli", "table", "comparison", "--db", str(tiny.db)]
    for shut in ("exec >&-", "exec 2>&-", "exec >&- 2>&-", "export PYTHONIOENCODING=ascii PYTHONUTF8=0 LC_ALL=C"):
        ended = subprocess.run(["sh", "-c", f'{shut}; exec "$@"', "sh", *words], env=ENVIRONMENT, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, ""), shut


def test_a_reader_who_leaves_stops_nothing_and_is_no_error(tiny: Done) -> None:
    words = [sys.executable, "-m", "runtime.cli", "sql", "FROM base.score", "--format", "csv", "--db", str(tiny.db)]
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert (running.wait(HANG_SECONDS), running.stderr.read()) == (0, b"")


def test_an_error_of_the_system_is_a_sentence_and_its_details_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for raised, sentence in (
        (
            OSError(errno.ELOOP, "Too many levels of symbolic links", str(tmp_path / "loop")),
            "Too many levels of symbolic links; links",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space"),
        (RuntimeError("not foreseen"), "a mistake of synthc's: RuntimeError: not foreseen"),
        (MemoryError(), "the memory does not suffice"),
        (SystemExit(0), "the code of a package ended the program (0)"),
    ):

        def broken(*args: object, error: BaseException = raised) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("runtime.cli.check.compile_study_of", broken)
            assert main(["check", str(tmp_path / "study.yaml")]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
        details = Path(said.split("(details: ")[1].rstrip(")\n"))
        assert "Traceback" in details.read_text()
        assert details.stat().st_mode & 0o777 == 0o600
        details.unlink()


def test_only_a_full_disk_asks_for_space() -> None:
    asking = {number for number in errno.errorcode if "free some space" in sentence_of(OSError(number, "x"))}
    assert asking == {errno.ENOSPC, errno.EDQUOT}


def test_a_file_system_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "study.yaml").write_text(TINY)
    monkeypatch.setattr("runtime.store.files.fcntl.flock", refuse)
    assert main(["run", str(tmp_path / "study.yaml"), "--engine", "inline", "--db", str(tmp_path / "results.duckdb")]) == 2
    assert "lock: the file system has no locks (flock: No locks available); mount it with locks" in capsys.readouterr().err


def test_the_table_of_exit_codes_is_the_same_in_the_docs_and_in_help() -> None:
    assert EXIT_CODES in (ROOT / "docs" / "studies.md").read_text()
    assert EXIT_CODES in parser().format_help()


def test_what_failed_is_tried_again_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, db = tmp_path / "study.yaml", tmp_path / "results.duckdb"
    spec.write_text(TINY.replace("lr: 0.1", "lr: 1000000.0"))
    words = ["run", str(spec), "--engine", "inline", "--db", str(db), "--only", "arm=undefended"]

    def attempts() -> int:
        return len(list(tmp_path.glob(".synthc/*/*/attempts/*/attempt.json")))

    assert main(words) == 1
    once = attempts()
    assert main(words) == 1
    assert "failed in an earlier run; --retry-failed tries again" in capsys.readouterr().err
    assert attempts() == once
    assert main([*words, "--retry-failed"]) == 1
    assert attempts() == 2 * once


def test_a_run_that_lacks_what_was_asked_for_is_failed_or_incomplete_and_never_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, db = tmp_path / "study.yaml", tmp_path / "results.duckdb"
    spec.write_text(TINY.replace("{paradigm: undefended}", "{paradigm: undefended, classifier: {lr: 1000000.0}}"))
    words = ["run", str(spec), "--engine", "inline", "--db", str(db), "--only"]
    asked = ("arm=undefended", "arm=undefended", "method=random")
    assert [main([*words, what]) for what in asked] == [1, 1, 0]
    done = Done(tmp_path, spec)
    assert done.rows("SELECT status FROM run ORDER BY run") == [("failed",), ("incomplete",), ("done",)]
    capsys.readouterr()
    assert main(["runs", "--db", str(db), "--store", str(done.store)]) == 0
    assert [word for word in capsys.readouterr().out.split() if word in ("failed", "incomplete", "done")] == [
        "done",
        "incomplete",
        "failed",
    ]
    main(["status", "--db", str(db), "--store", str(done.store)])
    assert "done" in capsys.readouterr().out


def test_a_failed_task_gives_exit_code_one_and_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(TINY.replace("lr: 0.1", "lr: 1000000.0"))
    assert main(["run", "study.yaml", "--engine", "inline", "--only", "arm=undefended"]) == 1
    said = "".join(capfd.readouterr())
    assert "log.txt" in said
    assert "Traceback" not in said
