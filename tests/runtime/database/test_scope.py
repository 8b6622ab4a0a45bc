"""Whose results commands show: those of this store, of the only other one, or of the one that is named; never of several as one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import duckdb
import pytest

from runtime.cli.main import main
from runtime.database.index import rebuild
from tests.conftest import Done
from tests.runtime.database.test_gather import store_called

Said = tuple[int, str, str]


@pytest.fixture(scope="module")
def both(tiny: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stores `first` and `second` and a database with the rows of both; read it, and do not change it."""
    folder = tmp_path_factory.mktemp("both")
    for name in ("first", "second"):
        rebuild(store_called(tiny, folder, name), folder / "results.duckdb")
    return folder


@pytest.fixture
def gathered(both: Path, tmp_path: Path) -> Path:
    """A database beside the store `first`, with the rows of `first` and `second`."""
    shutil.copytree(both, tmp_path / "gathered")
    return tmp_path / "gathered" / "results.duckdb"


def say(capsys: pytest.CaptureFixture[str], database: Path, store: str, *words: str) -> Said:
    code = main([*words, "--db", str(database), "--store", str(database.parent / store)])
    return code, *capsys.readouterr()


def alter(database: Path, *statements: str) -> None:
    with duckdb.connect(str(database)) as connection:
        for statement in statements:
            connection.execute(statement)


COMMANDS = (
    ("status",),
    ("show", "undefended#0"),
    ("sql", "@pareto"),
    ("table", "comparison"),
    ("chart", "tradeoff", "-o", "{folder}/chart.json"),
    ("report", "-o", "{folder}/report.html"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_commands_show_this_stores_rows_else_the_only_others_else_they_refuse_and_list(
    gathered: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    command = [word.format(folder=gathered.parent) for word in words]
    alter(gathered, "UPDATE base.metric SET value = 0.123456 WHERE origin = 'second' AND metric IN ('test_accuracy', 'headline')")

    def shown(store: str, *options: str) -> str:
        code, out, err = say(capsys, gathered, store, *command, *options)
        assert code == 0, err
        path = gathered.parent / ("chart.json" if words[0] == "chart" else "report.html")
        text = path.read_text() if words[0] in ("chart", "report") else out
        return re.findall(r"<table.*?</table>", text, re.S)[0] if words[0] == "report" else text

    mine, theirs = shown("first"), shown("second")
    assert ("second" in theirs and "first" not in theirs) if words[0] == "status" else mine != theirs
    assert mine == shown("none", "--origin", "first") == shown("second", "--origin", "first")
    code, out, err = say(capsys, gathered, "none", *command)
    assert (code, out) == (2, "")
    assert "several others do: first, second; name one by --origin" in err
    alter(gathered, "DELETE FROM base.run WHERE origin = 'first'")
    assert shown("none") == theirs


@pytest.mark.parametrize(
    "words", [COMMANDS[3], COMMANDS[5], ("chart", "all", "-o", "{folder}/charts", "--format", "json")], ids=lambda words: words[0]
)
def test_of_several_studies_a_table_a_report_and_all_charts_are_of_the_last_one_and_say_so(
    gathered: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    command = [word.format(folder=gathered.parent) for word in words]
    alter(gathered, "UPDATE base.run SET study = 'other' WHERE origin = 'second'")
    for table in ("run", "trial", "stage", "task"):
        alter(gathered, f"UPDATE base.{table} SET run = '3' || run WHERE origin = 'second'")
    what = {"table": "a table", "report": "a report", "chart": "charts"}[words[0]]
    code, _, err = say(capsys, gathered, "none", *command)
    assert (code, err) == (0, f"synthc: {what} of other, which ran last; --study and --profile name tiny\n")
    for option in (["--study", "other"], ["--study", "tiny"]):
        assert say(capsys, gathered, "none", *command, *option)[::2] == (0, "")
    alter(gathered, "UPDATE base.run SET study = 'tiny', profile = 'large' WHERE origin = 'second'")
    assert "of tiny (large), which ran last; --study and --profile name tiny" in say(capsys, gathered, "none", *command)[2]
    assert say(capsys, gathered, "none", *command, "--profile", "")[::2] == (0, "")
    assert "did you mean 'large'" in say(capsys, gathered, "none", *command, "--profile", "larg")[2]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_what_others_published_beside_this_store_s_rows_is_shown_only_by_name(
    gathered: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """As in a clone, whose database holds published studies, after a study of one's own."""
    command = [word.format(folder=gathered.parent) for word in words]
    alter(gathered, "UPDATE base.run SET study = 'other' WHERE origin = 'second'")
    code, out, err = say(capsys, gathered, "first", *command)
    assert (code, err) == (0, "")
    written = {"chart": "chart.json", "report": "report.html"}.get(words[0])
    text = out if written is None else (gathered.parent / written).read_text()
    alter(gathered, "DELETE FROM base.run WHERE origin = 'second'")
    alone = say(capsys, gathered, "first", *command)[1]
    assert text == (alone if written is None else (gathered.parent / written).read_text())


def test_a_query_of_ones_own_sees_all_rows_unless_options_choose(gathered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def origins(*words: str) -> set[str]:
        code, out, err = say(capsys, gathered, "first", "sql", "--format", "json", *words)
        assert code == 0, err
        return {row["origin"] for row in json.loads(out)}

    assert origins("SELECT DISTINCT origin FROM comparison") == {"first", "second"}
    for query in ("FROM comparison", "FROM task", "FROM matched(0.9, margin := 1)", "FROM compare('auc')", "@paper"):
        assert origins(query, "--origin", "second") == {"second"}, query


def test_a_condition_that_leaves_no_row_is_said_and_draws_nothing(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["chart", "tradeoff", "-o", str(tmp_path / "none.svg")], ["table", "comparison"]):
        assert main([*words, "--where", "arm = 'x'", "--db", str(tiny.db)]) == 2
        assert "--where arm = 'x': leaves no row" in capsys.readouterr().err
    assert not (tmp_path / "none.svg").exists()
