"""`synthc bundle` and `synthc db merge FILE.zip`: results that travel."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import duckdb
import pandas
import pytest

from runtime.cli.main import main
from tests.conftest import Done


def command(*words: object) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        code = main(list(map(str, words)))
    return code, out.getvalue()


@pytest.fixture(scope="module")
def made(tiny: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study's bundle with trials; read it, and do not change it."""
    folder = tmp_path_factory.mktemp("bundle") / "copy"
    shutil.copytree(tiny.folder, folder)
    with duckdb.connect(str(folder / "results.duckdb")) as connection:
        connection.execute("CREATE TABLE secret AS SELECT 1 AS mine")
    code, out = command("bundle", "-o", folder / "tiny.zip", "--trials", "--db", folder / "results.duckdb")
    assert code == 0, out
    return folder / "tiny.zip"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "tiny.zip"))


def test_a_bundle_is_read_by_duckdb_and_pandas_alone(bundle: Path, copy: Done, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "out")
    wanted = copy.rows("SELECT trial, test_accuracy, leakage, leakage_low, leakage_high FROM comparison ORDER BY trial")
    with duckdb.connect(str(tmp_path / "out/results.duckdb"), read_only=True) as connection:
        query = "SELECT trial, test_accuracy, leakage, leakage_low, leakage_high FROM comparison ORDER BY trial"
        assert connection.execute(query).fetchall() == wanted
        assert connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'secret'").fetchall() == [(0,)]
    frame = pandas.read_parquet(tmp_path / "out/views/comparison.parquet").sort_values("trial")
    assert frame["leakage"].tolist() == [row[2] for row in wanted]
    assert len(pandas.read_parquet(tmp_path / "out/views/scores.parquet")) == copy.rows("SELECT count(*) FROM base.score")[0][0]
    assert "arms:" in (tmp_path / "out/study.yaml").read_text()


def test_every_figure_of_the_report_s_tables_is_found_again_in_the_views(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        report = archive.read("report.html").decode()
        compared, long = (
            pandas.read_parquet(io.BytesIO(archive.read(f"views/{name}.parquet"))) for name in ("comparison", "result")
        )
    rows = re.findall(r'<tr data-paradigm="[^"]*"[^>]*>\s*<th scope="row">(.*?)</th>(.*?)</tr>', report, re.DOTALL)
    assert len(rows) >= len(compared) == 3
    found = 0
    for label, cells in rows:
        of = [frame[frame["label"] == html.unescape(label)].select_dtypes("number") for frame in (compared, long)]
        own = {value for frame in of for value in frame.to_numpy().ravel().tolist() if value == value}
        for cell in re.findall(r'<td class="figure">(.*?)</td>', cells, re.DOTALL):
            for text in re.findall(r"-?\d[\d,]*(?:\.\d+)?", re.sub(r"<[^>]*>", " ", cell).replace("&nbsp;", " ")):
                digits = len(text.partition(".")[2])
                assert text in {f"{value * scale:,.{digits}f}" for value in own for scale in (1, 100)}, (label, cell)
                found += 1
    assert found > 30


def test_of_a_database_of_another_version_one_sentence_says_what_would_do_and_that_does(
    copy: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with duckdb.connect(str(copy.db)) as connection:
        connection.execute("DROP VIEW training; UPDATE base.meta SET schema = 'old'")
    for words in (["bundle", "-o", str(tmp_path / "old.zip")], ["chart", "training", "-o", str(tmp_path / "a.svg")]):
        assert main([*words, "--db", str(copy.db)]) == 2
        said = capsys.readouterr().err.strip()
        assert "\n" not in said
        assert "synthc db merge FILE --db NEW" in said
    assert main(["db", "merge", str(copy.db), "--db", str(tmp_path / "new.duckdb")]) == 0
    assert main(["chart", "training", "-o", str(tmp_path / "a.svg"), "--db", str(tmp_path / "new.duckdb")]) == 0


def test_no_image_of_a_store_is_in_a_bundle(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        report = archive.read("report.html").decode()
    assert not [name for name in names if Path(name).name in ("set.safetensors", "pairs.safetensors", "model.safetensors")]
    assert "Private images are left out" in report or "withheld" in report


def test_trials_of_a_bundle_count_as_done_in_a_fresh_store_and_claims_are_computed_from_them(
    bundle: Path, copy: Done, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh" / "results.duckdb"
    fresh.parent.mkdir()
    code, out = command("db", "merge", bundle, "--db", fresh)
    assert (code, "has 3 trials more that count as done" in out) == (0, True)
    spec = tmp_path / "study.yaml"
    claim = (
        "{text: It leaks more., test: difference, metric: leakage, left: {arm: undefended}, right: {arm: coreset}, margin: 0.01}"
    )
    spec.write_text(copy.spec.read_text() + f"claims:\n  leaks: {claim}\n")
    code, out = command("run", spec, "--engine", "inline", "--db", fresh)
    assert code == 0, out
    with duckdb.connect(str(fresh), read_only=True) as connection:
        assert connection.execute("SELECT verdict <> 'not tested' FROM claim WHERE claim = 'leaks'").fetchall() == [(True,)]
        own = "origin = (SELECT max_by(origin, run) FROM run)"
        for view in ("comparison", "result", "roc", "canary_risk", "reading", "cost", "training", "setting"):
            mine, theirs = (f"SELECT * EXCLUDE (origin) FROM {view} WHERE {which}" for which in (own, f"NOT {own}"))
            assert connection.execute(f"SELECT count(*) > 0 FROM ({mine})").fetchall() == [(True,)], view
            assert connection.execute(f"{mine} EXCEPT ({theirs})").fetchall() == [], view
            assert connection.execute(f"{theirs} EXCEPT ({mine})").fetchall() == [], view
    computed = {path.parent.name for path in (fresh.parent / ".synthc").glob("??/*/attempts")}
    with duckdb.connect(str(fresh), read_only=True) as connection:
        kinds = {kind for task, kind in connection.execute("SELECT task, kind FROM task").fetchall() if task in computed}
    assert kinds == {"compare"}
    code, out = command("db", "rebuild", "--db", fresh)
    assert code == 0, out
    with duckdb.connect(str(fresh), read_only=True) as connection:
        assert connection.execute(f"SELECT count(*) > 0 FROM cost WHERE {own}").fetchall() == [(True,)]
    again = command("db", "merge", bundle, "--db", fresh)
    assert "has 0 trials more" in again[1]


@pytest.mark.parametrize("harm", ["digit", "file", "place", "no database"])
def test_what_is_no_bundle_of_ours_is_refused_and_nothing_is_taken_in(harm: str, bundle: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.zip"
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(wrong, "w") as new:
        for member in old.infolist():
            content, name = old.read(member), member.filename
            if harm == "no database" and name == "results.duckdb":
                continue
            if harm == "digit" and name.endswith("scores.safetensors"):
                content = content[:-1] + bytes([content[-1] ^ 1])
            if harm == "file" and name.endswith("outcome.json"):
                content = json.dumps({"files": None}).encode()
            if harm == "place" and name.startswith("trials/"):
                name = name.replace("trials/", "trials/../../")
            new.writestr(name, content)
    target = tmp_path / "fresh" / "results.duckdb"
    target.parent.mkdir()
    code, out = command("db", "merge", wrong, "--db", target)
    assert not list((tmp_path / "fresh").rglob("outcome.json"))
    assert not list(tmp_path.glob("[0-9a-f][0-9a-f]"))
    assert (code == 2) == (harm != "place"), out  # names that are none of ours are not looked at


@pytest.mark.parametrize(
    "name", ["results.duckdb", "scores.safetensors", "directory"], ids=["its database", "a trial", "its list of files"]
)
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_of_a_damaged_bundle_the_error_names_the_file_and_no_trial_is_taken_in(
    name: str, packing: int, bundle: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(damaged, "w", packing) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        start = next((member.header_offset for member in new.infolist() if member.filename.endswith(name)), new.start_dir)
    content = bytearray(damaged.read_bytes())
    for at in range(start + (0 if name == "directory" else 200), start + 220):
        content[at] ^= 255
    damaged.write_bytes(content)
    target = tmp_path / "fresh" / "results.duckdb"
    target.parent.mkdir()
    code, out = command("db", "merge", damaged, "--db", target)
    assert (code, f"{damaged}: not a bundle of synthc, or a damaged one: " in out) == (2, True), out
    assert not list((tmp_path / "fresh").rglob("outcome.json"))


def test_damaged_figures_of_another_store_are_set_aside_once_and_come_back_with_their_bundle(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "fresh" / "results.duckdb"
    target.parent.mkdir()
    assert command("db", "merge", bundle, "--db", target)[0] == 0
    figures = min(target.parent.glob(".synthc/??/*/figures.json"))
    content = figures.read_bytes()
    figures.write_bytes(content[:-9])
    code, out = command("db", "rebuild", "--db", target)
    assert code == 1
    assert f"{figures.parent}: figures.json " in out
    assert "it is set aside; merge the bundle again that it came with" in out
    assert not figures.exists()
    assert command("db", "rebuild", "--db", target)[0] == 0
    assert command("db", "merge", bundle, "--db", target)[0] == 0
    assert figures.read_bytes() == content
