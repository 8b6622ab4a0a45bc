"""Tables: every cell escaped for its format, figures with intervals, nothing lost on a narrow terminal."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.present import tables
from tests.runtime.present.test_charts import ODD, trial


def test_a_table_escapes_what_its_format_would_read() -> None:
    rows = [trial(0, label=ODD[0]), trial(1, label=ODD[1]), trial(2, leakage=None, null_ok=False)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    assert "<script>" not in tables.render(columns, body, "html")
    latex = tables.render(columns, body, "latex")
    assert r"50\%\_of \& all \$x\textasciicircum{}2\$ \{\textbackslash{}\#\} \textasciitilde{}" in latex
    assert "not resolvable" in latex
    assert "null control failed" in latex


def test_a_table_has_baselines_first_units_in_its_heads_and_figures_on_the_right() -> None:
    rows = [trial(2), trial(1, epsilon=27390.2), trial(0, leakage=None)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    assert [row[1] for row in body] == ["Undefended", "DP-SGD", "Coreset"]
    assert {"test accuracy, %", "leakage, %", "seconds"} <= set(columns)
    assert body[1][columns.index("epsilon")] == "27,390"
    assert r"\begin{tabular}{llrrrrrrr}" in tables.render(columns, body, "latex")


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


def test_the_best_of_a_column_is_marked_only_where_no_other_interval_reaches_it() -> None:
    def bold(rows: list[dict[str, Any]]) -> list[str]:
        columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
        marked = tables.render(columns, body, "markdown").count("**") // 2
        assert marked == tables.render(columns, body, "latex").count("textbf")
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
