"""`charts:` in a spec: drawn when a run ends, from that study's rows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from compiler.language.charts import ChartName, Format, Theme
from runtime.cli.main import main
from runtime.present import charts
from runtime.present.charts import look
from runtime.present.spec_charts import LAYOUT_OF_THEME
from tests.conftest import TINY, Done
from tests.runtime.present.test_charts import data_of


def test_the_language_names_the_charts_formats_and_themes_that_there_are() -> None:
    assert get_args(ChartName) == (*charts.CHARTS, "gallery")
    assert set(get_args(Format)) == set(charts.FORMATS)
    assert {*get_args(Theme)} == {*LAYOUT_OF_THEME}
    assert {*LAYOUT_OF_THEME.values()} <= {*look.LAYOUTS}


@pytest.fixture
def copy(tiny: Done, tmp_path: Path) -> Done:
    """A folder with the finished store of the tiny study, in which `run` writes specs that ask for charts."""
    shutil.copytree(tiny.store, tmp_path / ".synthc")
    return Done(tmp_path, tmp_path / "study.yaml")


def run(done: Done, wanted: str) -> int:
    done.spec.write_text(f"{TINY}charts: {wanted}\n")
    return main(["run", str(done.spec), "--engine", "inline", "--db", str(done.db)])


def test_a_run_draws_what_its_spec_asks_for_and_once(copy: Done, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = "[tradeoff, {chart: cost, name: price, of: {arm: coreset, method: [random]}, format: [json], theme: screen}, gallery]"
    assert run(copy, wanted) == 0
    folder = copy.folder / "figures" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["price.json", "tradeoff.svg"]  # its only sets are private images
    drawn = json.dumps(json.loads((folder / "price.json").read_text()))
    assert "coreset random" in drawn
    assert "undefended" not in drawn
    assert "coreset forgetting" not in drawn
    capsys.readouterr()
    assert run(copy, wanted) == 0
    assert "drew" not in capsys.readouterr().err
    (folder / "price.json").unlink()
    assert run(copy, wanted) == 0
    assert (folder / "price.json").exists()


def test_charts_of_a_study_leave_the_rows_of_other_studies_out(copy: Done) -> None:
    other = copy.folder / "other.yaml"
    other.write_text(TINY.replace("study: tiny", "study: other"))
    assert main(["run", str(other), "--engine", "inline", "--db", str(copy.db)]) == 0  # the same tasks under another name
    assert run(copy, "[{chart: tradeoff, format: [json]}]") == 0
    drawn = json.loads((copy.folder / "figures" / "tiny" / "tradeoff.json").read_text())
    names = {row["name"] for row in data_of(drawn) if "leakage_n" in row}
    assert names == {"undefended", "coreset random", "coreset forgetting"}


def test_where_keeps_only_its_rows_of_a_chart_and_of_a_table(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_one = ["--where", "arm = 'undefended'", "--db", str(tiny.db)]
    assert main(["chart", "tradeoff", "-o", str(tmp_path / "one.json"), *of_one]) == 0
    drawn = (tmp_path / "one.json").read_text()
    assert "undefended" in drawn
    assert "coreset" not in drawn
    capsys.readouterr()
    assert main(["table", "comparison", *of_one]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["table", "comparison", "--where", "arms = 'x'", "--db", str(tiny.db)]) == 2
    assert "arms" in capsys.readouterr().err


def test_a_chart_has_the_width_that_was_asked_for_and_no_title_where_none_is_wanted(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(name: str, *options: str) -> int:
        return main(["chart", "tradeoff", "-o", str(tmp_path / name), "--db", str(tiny.db), *options])

    assert draw("wide.pdf", "--width", "full") == 0
    (wide,) = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+)", (tmp_path / "wide.pdf").read_bytes())
    assert float(wide) == pytest.approx(490, abs=1)
    assert draw("narrow.svg", "--width", "84mm", "--no-title") == 0
    narrow = (tmp_path / "narrow.svg").read_text()
    assert float(re.search(r'width="([\d.]+)pt"', narrow)[1]) == pytest.approx(84 / 25.4 * 72, abs=0.1)  # type: ignore[index]
    assert "Accuracy against leakage" not in narrow
    capsys.readouterr()
    assert draw("tiny.svg", "--width", "1in") == 2
    assert "letters would be smaller than 7 points" in capsys.readouterr().err
    assert draw("none.json", "--width", "column") == 2
    with pytest.raises(SystemExit, match="2"):
        draw("none.svg", "--width", "wide")
    assert "'wide' is no width: column, full, or a length" in capsys.readouterr().err
    assert draw("page.html") == 0
    assert "svg.marks { width: calc(100vw" in (tmp_path / "page.html").read_text()
