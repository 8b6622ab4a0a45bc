"""`synthc diff RUN RUN`: what moved between two runs of a study."""

from __future__ import annotations

import json

import pytest

from runtime.cli.main import main
from tests.conftest import Done


def test_two_runs_are_told_apart_by_what_moved_and_by_the_words_that_changed(
    copy: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--db", str(copy.db)]
    words = ["run", str(copy.spec), "--engine", "inline", "--set", "classifier.epochs=1", "--only", "arm=undefended", *where]
    assert main(words) == 0
    first, second = (run for (run,) in copy.rows("SELECT run FROM run ORDER BY run"))
    capsys.readouterr()
    assert main(["diff", first, second, "--json", *where]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["words"] == ["classifier.epochs: 3 → 1"]
    assert found["versions"] == {}
    moved = {(row[0], row[1]) for row in found["moved"]}
    assert ("undefended#0", "test_accuracy") in moved
    assert {trial for trial, _ in moved} == {"undefended#0"}
    assert found["compared"] > len(found["moved"])
    assert main(["diff", first, first, *where]) == 0
    assert "0 figures of" in capsys.readouterr().out


def test_a_name_that_is_no_run_or_several_is_refused(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "19990101", "2", "--db", str(copy.db)]) == 2
    assert "no run is called so" in capsys.readouterr().err
