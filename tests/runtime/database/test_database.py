"""The database's public face: documented views and macros, questions that run on a real study, what it can be taken to."""

from __future__ import annotations

import re
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runtime import machine
from runtime.cli.main import main
from runtime.database.questions import questions
from runtime.database.read import query
from runtime.database.schema import list_public
from tests.conftest import ROOT, Done

VIEWS = [name for name, _ in list_public("view")]
COLUMNS = Path(__file__).parent / "columns.txt"
PAGE = ROOT / "docs" / "results.md"


@pytest.fixture(scope="module")
def again(tiny: Done, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The tiny study and a second run of it: with a replicate, and a headline that is read elsewhere."""
    folder = tmp_path_factory.mktemp("again")
    shutil.copytree(tiny.store, folder / ".synthc")
    done = Done(folder, tiny.spec)
    words = ["--set", "replicates=2", "--set", "audit.headline.fpr=0.05", "--set", "audit.fpr=[0.05]"]
    assert main(["run", str(tiny.spec), "--engine", "inline", "--db", str(done.db), *words]) == 0
    return done


def rows(done: Done, text: str) -> list[dict[str, Any]]:
    columns, found = query(done.db, text)
    return [dict(zip(columns, row, strict=True)) for row in found]


def asked(done: Done, name: str) -> list[dict[str, Any]]:
    return rows(done, questions()[name].text.rstrip(";"))


# Documented, and steady


def test_every_view_and_macro_and_every_column_says_what_it_means(tiny: Done) -> None:
    for kind in ("view", "macro"):
        assert [name for name, comment in list_public(kind) if not comment] == []
    silent = "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal AND comment IS NULL"
    assert query(tiny.db, silent)[1] == []
    assert all(row["meaning"] for view in VIEWS for row in rows(tiny, f"FROM columns_of('{view}')"))


def test_no_meaning_is_of_a_column_that_is_not_there(tiny: Done) -> None:
    shown = "duckdb_columns() AS shown WHERE shown.schema_name = 'main' AND shown.column_name = name"
    orphans = f"SELECT view, name FROM base.meaning WHERE NOT EXISTS (FROM {shown} AND view IN ('', shown.table_name))"
    assert query(tiny.db, orphans)[1] == []


def test_columns_that_users_may_rely_on_are_there_with_their_types(tiny: Done) -> None:
    # A column that is missing here breaks somebody's query. If it must go: raise `schema_version` in schema.sql, then
    # `python -m tests.runtime.database.test_database` writes the file anew. Columns that are added need neither.
    version, *pinned = COLUMNS.read_text().splitlines()
    assert [version] == [f"version {row['v']}" for row in rows(tiny, "SELECT schema_version() AS v")]
    assert set(pinned) <= set(_columns())


def _columns() -> list[str]:
    from runtime.database.schema import SCHEMA

    with duckdb.connect() as connection:
        connection.execute(SCHEMA).fetchall()
        return [
            f"{view} {column} {kind}"
            for view in VIEWS
            for column, kind, _ in connection.execute(f"FROM columns_of('{view}')").fetchall()
        ]


def test_the_page_of_views_macros_and_questions_says_what_the_database_says() -> None:
    # After a change that is meant: `python -m tests.runtime.database.test_database` writes it anew.
    assert PAGE.read_text(encoding="utf-8") == _page()


def _page() -> str:
    """Every view with its columns, every macro and every named question, in Markdown."""
    from runtime.database.schema import create

    parts = [
        "# What `results.duckdb` says\n\n"
        "Views and macros are the public interface; tables in `base` are not. `synthc sql --list` lists them,\n"
        "`synthc sql \"FROM columns_of('comparison')\"` says what a view's columns mean.\n"
        "Views join by `study`, `profile` and `trial`. Shares lie between 0 and 1; what has no value is NULL,\n"
        "and a note says why.\n"
    ]
    with duckdb.connect() as connection:
        create(connection)
        for view, about in sorted(list_public("view"), key=lambda named: named[0] in ("run", "task", "attempt")):
            columns = connection.execute(f"FROM columns_of('{view}')").fetchall()
            lines = [f"| `{column}` | {kind} | {meaning.replace('|', chr(92) + '|')} |" for column, kind, meaning in columns]
            parts.append("\n".join([f"## `{view}`\n\n{about}\n\n| column | type | meaning |\n|---|---|---|", *lines]) + "\n")
        dictionary = connection.execute("FROM metric").fetchall()
    entries = "\n".join(f"| `{name}` | {unit} | {meaning} | {source} |" for name, unit, meaning, source in dictionary)
    what = "What `metric` says; `*` stands for a number or a name. A module is one of this project."
    parts.append(f"## Metrics\n\n{what}\n\n| name | unit | meaning | source |\n|---|---|---|---|\n{entries}\n")
    macros = "\n".join(f"| `{name}` | {about} |" for name, about in list_public("macro"))
    parts.append(f"## Macros\n\n| macro | what it gives |\n|---|---|\n{macros}\n")
    parts.append("## Questions\n\n`synthc sql @NAME` asks one; `--show` prints it, to be changed.\n")
    parts += [f"### `@{name}`\n\n{asked.about}\n\n```sql\n{asked.text}\n```\n" for name, asked in questions().items()]
    return "\n".join(parts)


def test_no_metric_of_any_row_or_of_the_source_lacks_an_entry_in_the_dictionary(tiny: Done, idle: Done) -> None:
    for done in (tiny, idle):
        lacking = "SELECT DISTINCT metric FROM base.metric AS row WHERE NOT EXISTS (FROM metric WHERE row.metric GLOB metric.name)"
        assert query(done.db, lacking)[1] == []
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "runtime").rglob("*.py"))
    written = set(re.findall(r"(?:\bMetric|\.metric)\(\s*\"([^\"{]+)\"", source))
    entries = [name for (name,) in query(tiny.db, "SELECT name FROM metric")[1]]
    assert len(written) > 40
    assert [name for name in written if not any(fnmatchcase(name, entry) for entry in entries)] == []
    assert all(all(row) for row in query(tiny.db, "FROM metric")[1])


def test_every_hyper_parameter_of_a_trial_is_a_row_with_its_defaults(idle: Done) -> None:
    found = dict(idle.rows("SELECT setting, value FROM setting WHERE trial = 'coreset#0'"))
    wanted = {"arm.fraction": "0.3", "arm.method": "random", "classifier.lr": "0.1", "classifier.momentum": "0.9", "seed": "0"}
    assert wanted.items() <= found.items()
    assert found["audit.attacks[0].signal"] == "logit"
    assert found["classifier.ema"] is None


def test_processors_are_told_of_every_task(idle: Done) -> None:
    assert idle.rows("SELECT DISTINCT cpu FROM task WHERE status = 'done'") == [(machine.cpu(),)]
    assert machine.cpu()


def test_the_views_and_questions_that_the_docs_name_exist() -> None:
    text = (ROOT / "docs" / "asking.md").read_text(encoding="utf-8")
    named = set(re.findall(r"synthc sql @(\w+)", text))
    assert named <= set(questions())
    table = re.search(r"\| view \| one row per \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    assert table is not None
    assert set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table[1].splitlines()))) <= set(VIEWS)


# Views and macros


def test_views_of_a_database_join_by_study_profile_and_trial(again: Done) -> None:
    joined = "SELECT trial FROM comparison JOIN result USING (study, profile, trial) WHERE metric = 'headline'"
    assert len(rows(again, joined)) == 6
    assert rows(again, "SELECT DISTINCT profile FROM run") == [{"profile": ""}]


def test_a_band_encloses_its_curve_wherever_it_is_given(tiny: Done) -> None:
    found = rows(tiny, "SELECT *, low <= tpr AND tpr <= high AS inside FROM roc_at('undefended#0', 'lira') WHERE low IS NOT NULL")
    assert len(found) > 20
    assert sum(row["inside"] for row in found) > 0.9 * len(found)  # a percentile interval need not hold its own estimate
    assert all(0 <= row["low"] <= row["high"] <= 1 for row in found)
    ((headline,),) = tiny.rows("SELECT leakage_high - leakage_low FROM comparison WHERE arm = 'undefended'")
    read = max((row for row in found if row["canaries"] == "mislabeled" and row["fpr"] <= 0.1), key=lambda row: row["fpr"])
    assert read["high"] - read["low"] == pytest.approx(headline, abs=0.02)


def test_the_macros_take_their_parameters(again: Done) -> None:
    assert len(rows(again, "FROM matched(0.5, margin := 0.5)")) == 6
    assert rows(again, "FROM matched(0.5, margin := 0.0)") == []
    assert {row["label"] for row in rows(again, "FROM compare('auc')")} == {"undefended", "coreset random", "coreset forgetting"}
    assert {row["canaries"] for row in rows(again, "FROM roc_at('undefended#0', 'lira')")} == {"mislabeled", "clean"}
    first = rows(again, "FROM result_of((SELECT min(run) FROM run)) WHERE metric = 'headline'")
    assert len(first) == 3  # the first run had one replicate


# Questions


@pytest.mark.parametrize("name", questions())
def test_each_question_is_answered_on_a_real_study(again: Done, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["sql", f"@{name}", "--db", str(again.db), "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_trials_are_matched_with_the_baseline_of_like_accuracy_in_the_same_replicate(again: Done) -> None:
    found = asked(again, "matched")
    assert {(row["trial"][-1], row["baseline"]) for row in found} == {("0", "undefended#0"), ("1", "undefended#1")}
    accuracy = dict(again.rows("SELECT trial, test_accuracy FROM comparison"))
    for row in found:
        assert row["baseline_is_more_accurate_by"] == pytest.approx(accuracy[row["baseline"]] - accuracy[row["trial"]])


def test_the_front_in_sql_is_the_front_that_the_chart_draws(again: Done) -> None:
    from runtime.present.charts import look, scatter

    figures = rows(again, "FROM comparison")
    x = scatter.odds_axis("leakage", "Leakage", figures, better=-1)
    y = scatter.share_axis("test_accuracy", "Accuracy", figures, better=1)
    drawn = scatter.find_front([row | {"doubt": look.doubts_of(row)} for row in figures], x, y)
    assert {row["trial"] for row in asked(again, "pareto")} == {row["trial"] for row in drawn}


def test_what_a_paradigm_costs_is_counted_from_undefended_training(again: Done) -> None:
    (undefended,) = [row for row in asked(again, "price") if row["paradigm"] == "undefended"]
    assert (undefended["points_of_accuracy_lost"], undefended["times_as_long"]) == (0.0, 1.0)
    (coreset,) = [row for row in asked(again, "price") if row["paradigm"] == "coreset"]
    ((lost,),) = again.rows(
        "SELECT 100 * (avg(test_accuracy) FILTER (arm = 'undefended') - avg(test_accuracy) FILTER (arm = 'coreset')) "
        "FROM comparison"
    )
    assert coreset["points_of_accuracy_lost"] == pytest.approx(lost)


def test_a_canary_that_leaks_everywhere_is_caught_in_every_trial(again: Done) -> None:
    found = asked(again, "everywhere")
    assert all(row["trials"] == 6 for row in found)
    first = found[0]
    risks = again.rows(f"SELECT tpr FROM canary_risk WHERE canary = {first['canary']} AND attack = 'lira'")
    assert first["caught_at_least"] == min(risk for (risk,) in risks)


def test_what_changed_between_two_runs_tells_new_from_changed_and_the_same(again: Done) -> None:
    found = {(row["trial"], row["metric"]): row for row in asked(again, "changed")}
    assert found["undefended#1", "headline"]["what"] == "new"
    assert found["undefended#0", "headline"]["what"] == "changed"  # read at another rate
    same = found["undefended#0", "test_accuracy"]
    assert (same["what"], same["changed_by"]) == ("same", 0.0)


def test_replicates_are_spread_around_their_mean(again: Done) -> None:
    (found,) = [row for row in asked(again, "stable") if row["label"] == "undefended"]
    leaked = [value for (value,) in again.rows("SELECT leakage FROM comparison WHERE arm = 'undefended'")]
    assert (found["replicates"], found["leakage_range"]) == (2, pytest.approx(max(leaked) - min(leaked)))


# The command, and elsewhere


def test_the_list_names_views_macros_and_questions_without_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sql", "--list"]) == 0
    listed = capsys.readouterr().out
    for name in (*VIEWS, "matched(accuracy, margin)", "@pareto"):
        assert f"  {name} " in listed
    assert main(["sql", "@pareto", "--show"]) == 0
    assert capsys.readouterr().out.strip() == questions()["pareto"].text
    assert main(["sql"]) == 2
    assert main(["sql", "@paretto"]) == 2
    assert "did you mean 'pareto'" in capsys.readouterr().err


def test_a_compatible_copy_has_the_same_rows_and_comments_in_the_older_format(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "older.duckdb"
    assert main(["export", "--compat", str(target), "--db", str(tiny.db)]) == 0
    for text in (*(f"FROM {view} ORDER BY ALL" for view in VIEWS), "FROM matched(0.9, margin := 0.5)", "FROM columns_of('roc')"):
        assert query(target, text) == query(tiny.db, text), text
    # The header's number of the format; that DuckDB 1.2.2 reads the file was seen once, by hand.
    assert int.from_bytes(target.read_bytes()[12:20], "little") < int.from_bytes(tiny.db.read_bytes()[12:20], "little")


def test_a_compatible_copy_overwrites_nothing_that_is_not_ours(tiny: Done, tmp_path: Path) -> None:
    target = tmp_path / "theirs.duckdb"
    target.write_bytes(b"theirs")
    assert main(["export", "--compat", str(target), "--db", str(tiny.db)]) == 2
    assert target.read_bytes() == b"theirs"


if __name__ == "__main__":
    COLUMNS.write_text("\n".join(["version 2", *_columns()]) + "\n")
    PAGE.write_text(_page(), encoding="utf-8")
