"""Tables: every cell escaped for its format, figures with intervals, nothing lost on a narrow terminal."""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runtime.cli.main import main
from runtime.cli.results import COLUMNS_OF_PAPER
from runtime.present import tables
from runtime.present.numbers import format_epsilon
from runtime.present.paradigms import PARADIGMS
from tests.conftest import Done
from tests.runtime.present.test_charts import ODD, claim, trial


def test_a_table_escapes_what_its_format_would_read() -> None:
    rows = [trial(0, label=ODD[0]), trial(1, label=ODD[1]), trial(2, leakage=None, null_ok=False)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    assert "<script>" not in tables.render(columns, body, "html")
    latex = tables.latex_table(columns, body, "of 5 %", full=True)
    assert r"\caption{of 5 \%}" in latex
    assert r"50\%\_of \& all \$x\textasciicircum{}2\$ \{\textbackslash{}\#\} \textasciitilde{}" in latex
    assert "not resolvable" in latex
    assert "null control failed" in latex


def test_a_table_has_baselines_first_units_in_its_heads_and_figures_on_the_right() -> None:
    assert [format_epsilon(value) for value in (999.4, 999.5, 999.97, 1000)] == ["999", "1,000", "1,000", "1,000"]
    rows = [trial(2), trial(1, epsilon=27390.2), trial(0, leakage=None)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    assert [row[1] for row in body] == ["Undefended", "DP-SGD", "Coreset"]
    assert {"test accuracy, %", "leakage, %", "seconds"} <= set(columns)
    assert body[1][columns.index("epsilon")] == "27,390"
    assert r"{@{}>{\raggedright\arraybackslash}Xlrrrrrrr@{}}" in tables.latex_table(columns, body, "", full=True)
    assert r"{@{}>{\raggedright\arraybackslash}Xrl@{}}" in tables.latex_table("abc", ["-1-", "-2-"], "", full=True)
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows], ("trial", "leakage"))
    assert columns == ["trial", "leakage, %"]
    assert {len(row) for row in body} == {2}


def test_what_is_missing_is_said_and_an_epsilon_that_is_not_known_is_not_none() -> None:
    absent = {"leakage": None, "auc": None, "test_accuracy": None, "seconds": None, "epsilon": None, "attack": None}
    rows = [trial(0), trial(1, **absent), trial(2, leakage=None, epsilon=None)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    cells = [dict(zip(columns, row, strict=True)) for row in body]
    assert [row["epsilon"] for row in cells] == ["none", "not measured", "none"]
    assert [row["leakage, %"] for row in cells][1:] == ["not measured", "not resolvable"]


def test_a_caption_says_what_leakage_and_bold_are_and_what_stands_behind_the_figures() -> None:
    said = tables.describe_comparison([trial(0), trial(1)])
    for words in (
        "share of member canaries (mislabeled)",
        "wrongly accuses 1\u00a0%",
        "Bold: better",
        "16 models and 1024 non-member",
    ):
        assert words in said


@pytest.mark.parametrize("name", ["comparison", "claims"])
def test_csv_has_a_column_for_each_figure_and_end_of_an_interval(name: str, tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", name, "--format", "csv", "--db", str(tiny.db)]) == 0
    head, *_ = csv.reader(io.StringIO(capsys.readouterr().out))
    wanted = {"comparison": {"leakage", "leakage_low", "leakage_high"}, "claims": {"effect", "low", "high", "verdict"}}[name]
    assert wanted <= set(head)
    assert main(["table", name, "--format", "csv", "--columns", "verdit,leakag", "--db", str(tiny.db)]) == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs Debian's texlive-latex-extra")
@pytest.mark.parametrize(
    ("options", "textwidth", "full"), [(",twocolumn", "6.8in", False), (",twocolumn", "6.8in", True), ("", "5.5in", True)]
)
def test_latex_fits_one_and_two_columns(options: str, textwidth: str, full: bool, tmp_path: Path) -> None:
    rows = [
        trial(place, label=f"{PARADIGMS[place % 6]} method {place} 0.3", epsilon=8.0, seconds_high=1234.5) for place in range(12)
    ]
    rows += [trial(12, attack=None, leakage=None, test_accuracy=None, seconds=None, label="absent")]
    only = COLUMNS_OF_PAPER["full" if full else "column"]
    comparison = tables.comparison(list(rows[0]), [list(row.values()) for row in rows], only)
    told = [
        claim(place, statement="Students of it leak more than their teachers. " * (place + 1), study_verdict="not tested")
        for place in range(3)
    ]
    heads, body = tables.claims(told, [], {})
    floats = [
        tables.latex_table(*comparison, tables.describe_comparison(rows), full),
        tables.latex_table(heads[: 4 if full else 3], [row[: 4 if full else 3] for row in body], "Claims", full, broken=(0, 1)),
    ]
    text = (
        rf"\documentclass[10pt{options}]{{article}}\usepackage[T1]{{fontenc}}\usepackage[utf8]{{inputenc}}"
        rf"\usepackage[textwidth={textwidth},columnsep=0.2in]{{geometry}}\usepackage{{booktabs,tabularx}}\begin{{document}}"
    )
    (tmp_path / "paper.tex").write_text("\n".join([text, *floats, "text", r"\end{document}"]))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "paper"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_on_a_narrow_terminal_columns_go_on_in_blocks_that_name_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["study", "trial", *(f"figure {place}" for place in range(8))]
    rows = [["s", f"{name}#0", *range(1000, 1008)] for name in ("one", "two")]
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = tables.render(columns, rows, "table").splitlines()
    assert max(map(len, lines)) <= 40
    of_one = [line.split("one#0")[1].split() for line in lines if "one#0" in line]
    assert len(of_one) > 1
    assert [figure for figures in of_one for figure in figures] == [*map(str, range(1000, 1008))]
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert len(tables.render(columns, rows, "table").splitlines()) == 5  # for programs a row stays one line


@pytest.mark.parametrize("key", range(5))
def test_every_block_of_columns_names_its_rows_once_and_no_column_is_lost(key: int) -> None:
    for widths in itertools.product((5, 30), repeat=5):
        first, *others = tables._split(widths, key, 66)
        assert all(block[0] == key and block.count(key) == 1 for block in others)
        assert {at for block in (first, *others) for at in block} == set(range(5))
        assert len(first) == len(set(first))


def test_columns_of_one_name_are_all_in_json() -> None:
    assert json.loads(tables.render(["a", "a", "a_1", "b"], [[1, 2, 3, 4]], "json")) == [{"a": 1, "a_2": 2, "a_1": 3, "b": 4}]


def test_the_best_of_a_column_is_marked_only_where_no_other_interval_reaches_it() -> None:
    def bold(rows: list[dict[str, Any]]) -> list[str]:
        columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
        marked = tables.render(columns, body, "markdown").count("**") // 2
        assert marked == tables.latex_table(columns, body, "", full=True).count("textbf")
        return [
            f"{row[0]}: {head}" for row in body for head, cell in zip(columns, row, strict=True) if isinstance(cell, tables.Best)
        ]

    apart = {"auc_low": 0.1, "auc_high": 0.9, "seconds_low": 1.0, "seconds_high": 9.0}
    low, high = (
        {"leakage": 0.1, "leakage_low": 0.05, "leakage_high": 0.2},
        {"leakage": 0.4, "leakage_low": 0.3, "leakage_high": 0.5},
    )
    same = {"test_accuracy_low": 0.5, "test_accuracy_high": 1.0}
    assert bold([trial(0, **low, **apart, **same), trial(1, **high, **apart, **same)]) == ["arm0: leakage, %"]
    assert bold([trial(0, **(low | {"leakage_high": 0.31}), **apart, **same), trial(1, **high, **apart, **same)]) == []
    assert bold([trial(0, **low, **apart, **same, null_ok=False), trial(1, **high, **apart, **same)]) == []
    assert bold([trial(0)]) == []


def test_what_learned_nothing_and_controls_are_named_and_never_bold() -> None:
    low = {"leakage": 0.01, "leakage_low": 0.0, "leakage_high": 0.02, "test_accuracy": 0.1, "test_accuracy_low": 0.09}
    high = {"leakage": 0.4, "leakage_low": 0.3, "leakage_high": 0.5, "test_accuracy_high": 0.99}
    for why, said in (({"learned": False}, "(learned next to nothing)"), ({"control": True, "learned": False}, "(control)")):
        rows = [trial(0, **high), trial(1, **low, test_accuracy_high=0.11) | why]
        _, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
        assert [row[0] for row in body if said in row[0]] == [f"arm1 {said}"]
        assert not [cell for row in body if said in row[0] for cell in row if isinstance(cell, tables.Best)]
