"""Names and texts from users' files are displayed and never executed: by terminals, browsers, spreadsheets, LaTeX, file systems."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.text import escape
from runtime.cli.main import main
from runtime.data.cards import compile_with_files
from runtime.database.files import export
from runtime.execution.progress import Display
from runtime.execution.worker import TaskRequest
from runtime.outcome import Outcome
from runtime.present import charts
from runtime.present.charts import CHARTS
from runtime.present.charts.gallery import write
from runtime.present.tables import render
from tests.conftest import ROOT, TINY, Done
from tests.runtime.present.browser import Browser

ATTACK = "x</script><script>document.title='run'</script><!--<img src=x onerror=\"document.title='run'\">"
ESC = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\ud800"


def study(folder: Path, arm: str, **more: str) -> Path:
    """The tiny study with an arm of this name, written as YAML (JSON's escapes are YAML's)."""
    text = TINY.replace("  undefended:", f"  {json.dumps(arm)}:")
    for old, new in more.items():
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


# --- what check refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["\\x1b", "\\a", "\\x7f", "\\x9b", "\\u202e", "\\u2028", "\\ud800", "\\uffff", "\\0", "\\n"])
def test_a_letter_that_no_name_needs_is_refused_at_its_place(tmp_path: Path, letter: str) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("  undefended:", f'  "a{letter}b":'))
    with pytest.raises(SpecError, match=r"study\.yaml:20:3: the (letter|name) .*; (leave it out|write it in one) \[letter\]"):
        compile_study(tmp_path / "study.yaml")


def test_half_of_a_surrogate_pair_is_refused_and_letters_of_all_languages_are_not(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("Does the whole road hold?", '"\\ud83d and \\ude00"'))
    with pytest.raises(SpecError, match=r"study\.yaml:2:11: the letter \\ud83d"):
        compile_study(tmp_path / "study.yaml")
    for arm in ("größe", "対照", "عربي", "emoji 😀 👩‍🔬", "zéro", "a b=c"):
        assert compile_study(study(tmp_path, arm)).trials[0].trial.arm_name == arm


def test_a_text_may_have_several_lines_and_a_value_of_set_is_judged_too(tmp_path: Path) -> None:
    spec = study(tmp_path, "undefended", **{"question: Does the whole road hold?": "question: |\n  Does it\n  hold?\t"})
    assert "\n" in compile_study(spec).header.question
    with pytest.raises(SpecError, match=r"the letter \\u001b in"):
        compile_study(spec, None, ['question="a\\x1b[2J"'])


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "x/../../../escaped", "/etc", "a\\\\b", "-a", " ", "a" * 101, "ü" * 51])
def test_a_profile_has_a_name_by_which_files_can_be_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "study.yaml").write_text(f'{TINY}profiles:\n  "{name}": {{seed: 1}}\n')
    with pytest.raises(SpecError, match=r"study\.yaml:26:3: .* cannot be the name of a profile; use letters"):
        compile_study(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text(f"{TINY}profiles:\n  größe.1-b_c: {{seed: 1}}\n")
    assert compile_study(tmp_path / "study.yaml", "größe.1-b_c").profile == "größe.1-b_c"


def test_a_study_has_a_name_that_fits_a_file(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("study: tiny", f"study: {'a' * 300}"))
    with pytest.raises(SpecError, match="at most 100 letters"):
        compile_study(tmp_path / "study.yaml")


# --- terminals -------------------------------------------------------------------------------------------------------------


def test_a_terminal_gets_no_control_character_whatever_is_printed(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(TINY.replace("  undefended:", '  "a\\x1b[2J":'))
    for words in (
        ("check", str(tmp_path / "study.yaml")),
        ("check", f"{tmp_path}/{ESC[:-1]}.yaml"),
        ("sql", "SELECT chr(27) || '[2J' AS a, chr(155) || 'x' AS b, chr(7)", "--db", str(tiny.db)),
        ("sql", "SELECT chr(27) AS a", "--db", str(tiny.db), "--format", "json"),
        ("sql", "SELECT chr(155) AS a, chr(8238)", "--db", str(tiny.db), "--format", "csv"),
        ("show", f"x{ESC[:-1]}", "--db", str(tiny.db)),
        ("audit", f"{tmp_path}/{ESC[:-1]}.npz"),
        ("data", "fetch", ESC[:-1]),
    ):
        main(list(words))
        said = capsys.readouterr()
        assert escape.find_hostile(said.out + said.err) is None, words
        assert said.out + said.err
    main(["sql", "SELECT chr(27) AS a, chr(155)", "--db", str(tiny.db), "--format", "json"])
    assert "\x1b" in json.loads(capsys.readouterr().out)[0].values()  # a code that means the letter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


RICH = re.compile(r"\r|\x1b\[(?!2J|31m)[0-9;?]*[A-Za-z]")
"""Control codes that rich writes itself: moves of the cursor, colours, erased lines. The hostile codes of these tests, `2J` and
`31m`, are not among them."""


def test_no_display_of_a_run_lets_a_control_character_of_a_text_reach_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "study.yaml").write_text(TINY)
    first, *_ = compile_with_files(tmp_path / "study.yaml", None, []).tasks.values()
    task = dataclasses.replace(first, address=f"address {ESC}")
    request = TaskRequest(task.id, task.work, task.needs, task.address, task.text, 1)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", escape.Visible(terminal))
    with Display({task.id: task}) as display:
        display.on_tick({(request,): time.monotonic()})
        display.print_line(f"line {ESC}")
        display.on_outcome(task, Outcome(task.id, "failed", error=f"error {ESC}", error_kind="exception", log=f"log {ESC}"))
        print(f"printed {ESC}", file=sys.stderr)
        print(f"unfinished {ESC}", file=sys.stderr, end="", flush=True)
    said = terminal.getvalue()
    for what in ("address", "line", "error", "log", "printed", "unfinished"):
        assert f"{what} \\u001b[2J" in said, what
    assert escape.find_hostile(RICH.sub("", said)) is None


def test_the_bars_of_a_judgement_are_drawn_and_not_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.cli.judge import _progress

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", escape.Visible(terminal := Terminal()))
    with _progress() as tick:
        tick("classifiers", 1, 2)
    assert "classifiers" in terminal.getvalue()
    assert "\\u001b" not in terminal.getvalue()


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        *(pytest.param({"PYTHONIOENCODING": encoding}, marks=pytest.mark.long) for encoding in ("cp1252", "cp437", "latin-1")),
        pytest.param({"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_an_output_that_is_not_utf8_gets_codes_and_no_traceback(tiny: Done, environment: dict[str, str]) -> None:
    db = ["--db", str(tiny.db)]
    commands = (
        ["plan", str(tiny.spec), *db],
        ["sql", "SELECT 'größe → 対照'", *db],
        ["data", "list"],
        ["table", "comparison", *db],
        ["status", *db],
    )
    script = f"from runtime.cli.main import main\nfor words in {commands!a}:\n    assert main(words) == 0\n"
    env = os.environ | {"PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr
    assert b"\\u5bfe" in done.stdout


# --- pages and pictures ------------------------------------------------------------------------------------------------------

HOSTILE_ROW = {"label": f"{ATTACK}\x1b\x00\ufffe", "trial": ATTACK, "study": "s", "profile": ""}


def rows_of(done: Done, name: str, label: str) -> tuple[list[str], list[list[object]]]:
    """What a chart is drawn from, with a hostile name."""
    from runtime.database.read import query

    columns, rows = query(done.db, CHARTS[name].query)
    hostile = {"label": label, "trial": label, "arm": label, "canaries": label, "note": label}
    return columns, [[hostile.get(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_a_chart_as_a_page_runs_no_script_from_a_name_and_fetches_nothing(tiny: Done, tmp_path: Path) -> None:
    drawn = charts.draw("tradeoff", *rows_of(tiny, "tradeoff", ATTACK))
    charts.save(drawn, tmp_path / "chart.html")
    page = (tmp_path / "chart.html").read_text()
    assert "Content-Security-Policy" in page
    assert "default-src 'none'" in page
    assert ATTACK not in page
    browser = Browser(tmp_path / "home")
    try:
        browser.open(tmp_path / "chart.html", 900, dark=False)
        assert browser.js("document.title") != "run"
        assert browser.js("document.querySelectorAll('#chart svg, #chart canvas').length")
        assert not [event for event in browser.events if event["method"] == "Network.requestWillBeSent" and "http" in str(event)]
    finally:
        browser.close()


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "json", "html"])
def test_a_chart_of_hostile_names_is_drawn_and_well_formed(tiny: Done, tmp_path: Path, ending: str) -> None:
    drawn = charts.draw("tradeoff", *rows_of(tiny, "tradeoff", f"{ATTACK}\x1b\x00\ufffe\ud800"))
    path = tmp_path / f"chart.{ending}"
    charts.save(drawn, path)
    assert path.stat().st_size > 1000
    if ending == "svg":
        ElementTree.parse(path)
    if ending in ("html", "json"):
        assert escape.find_hostile(path.read_text().replace("\u2028", "").replace("\u2029", "")[-20_000:]) is None


def test_html_latex_markdown_dot_and_mermaid_take_a_name_for_text() -> None:
    assert "<" not in escape.html(ATTACK)
    assert escape.latex(r"\input{/etc/passwd}%$&#_^~") == (
        r"\textbackslash{}input\{/etc/passwd\}\%\$\&\#\_\textasciicircum{}\textasciitilde{}"
    )
    assert escape.markdown("a|b <img> [x](javascript:y)") == r"a\|b \<img> [x]\(javascript:y)"
    assert escape.dot('a"]\n\\') == '"a\\"]\\n\\\\"'
    assert escape.mermaid('a"]<b>#') == '"a#quot;]#lt;b#gt;#35;"'
    assert "</" not in escape.script(json.dumps({"a": ATTACK}))
    assert json.loads(escape.script(json.dumps({"a": ATTACK}))) == {"a": ATTACK}
    for function in (escape.html, escape.latex, escape.markdown, escape.csv, escape.dot, escape.mermaid):
        assert escape.find_hostile(function(ESC)) is None


# --- spreadsheets ------------------------------------------------------------------------------------------------------------

FORMULAS = ("=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")')
PLAIN = ("-0.5", "+3", "-1e-5", "a=b", "", "größe")


def test_no_cell_of_a_csv_is_a_formula_and_figures_stay(tiny: Done, tmp_path: Path) -> None:
    rows = [[text, -0.5] for text in FORMULAS + PLAIN]
    lines = list(csv.reader(io.StringIO(render(["=a", "b"], rows, "csv"))))
    listed = [f"('{text.replace(chr(39), chr(39) * 2)}', -0.5)" for text in FORMULAS + PLAIN]
    found = [lines]
    for kind in ("VARCHAR", f"ENUM ({', '.join(one[1:].partition(', -0.5')[0] for one in listed)})", "UNION (t VARCHAR)"):
        asked = f'SELECT a::{kind} AS "=a", b FROM (VALUES {", ".join(listed)}) AS t(a, b)'
        export(tiny.db, asked, tmp_path / "rows.csv")
        found.append(list(csv.reader((tmp_path / "rows.csv").read_text().splitlines())))
    for head, *body in found:
        assert [cell for cell, _ in body] == [*(f"'{text}" for text in FORMULAS), *PLAIN]
        assert {figure for _, figure in body} == {"-0.5"}
        assert head == ["'=a", "b"]


# --- files -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "", "..", "a" * 400, "対" * 200, "a\x00b\n"])
def test_a_file_is_called_after_a_name_and_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"gallery-{escape.file_name(name)}-nearest-private.png"
    path.write_bytes(b"")
    assert path.resolve().parent == tmp_path.resolve()


def test_sheets_of_trials_whose_names_differ_only_in_signs_are_two_files(tmp_path: Path) -> None:
    import numpy as np

    from runtime.present.charts.gallery import Sheet, to_png

    png = to_png(np.zeros((1, 1, 8, 8), dtype=np.uint8), np.zeros((1, 1), dtype=np.int64))
    sheet = Sheet(False, 1, 1, png, None, (0,))
    sets = [({"study": "s", "profile": "", "trial": trial}, sheet) for trial in ("a b#0", "a/b#0", "a-b#0")]
    assert len(set(write(tmp_path, sets))) == 3


def test_a_path_with_a_question_mark_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "what?").mkdir()
    (tmp_path / "study.yaml").write_text(TINY)
    for words in (
        ["--db", str(tmp_path / "a?b.duckdb")],
        ["--store", str(tmp_path / "what?/s"), "--db", str(tmp_path / "r.duckdb")],
    ):
        assert main(["run", str(tmp_path / "study.yaml"), "--engine", "inline", *words]) == 2
        assert "DuckDB keeps no database below a name with `?`; rename it" in capsys.readouterr().err


def test_names_that_are_not_utf8_are_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    (tmp_path / name / "study.yaml").write_text(TINY)
    before = Path.cwd()
    for words in (["check", str(tmp_path / name / "study.yaml")], ["sql", "FROM comparison", "--db", f"{name}.duckdb"]):
        assert main(words) == 2
        assert "the name is not UTF-8; rename it" in capsys.readouterr().err
    try:
        os.chdir(tmp_path / name)
        assert main(["run", "study.yaml"]) == 2
        assert "caf\\udce9: the name is not UTF-8" in capsys.readouterr().err
        os.chdir(tmp_path)
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert main(["check", "study.yaml"]) == 2
        assert "the working directory was deleted; change to another one" in capsys.readouterr().err
    finally:
        os.chdir(before)


def test_an_image_may_have_a_name_that_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from tests.runtime.data import data_files

    images, labels = data_files.pictures(240, 2, (3, 9, 9), seed=1)
    data_files.folders(tmp_path / "set", images, labels, ["a", "b"])
    odd = os.fsencode(tmp_path / "set/a/n0000_0.png")
    os.rename(odd, odd.replace(b"n0000", b"caf\xe9"))
    text = TINY.replace("{name: digits, test: 360}", "{name: files, path: set, test: 60}").replace("width: 8", "width: 4")
    (tmp_path / "study.yaml").write_text(text)
    assert main(["check", str(tmp_path / "study.yaml")]) == 0, capsys.readouterr().err
    assert np.asarray(images).shape
