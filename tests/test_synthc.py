"""`import synthc`: the same words as the command line, wherever it is imported, whatever lies beside it."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import synthc
from tests.conftest import ROOT, Done

HOSTILE = ("compiler", "runtime")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working folder with packages of the user's own, which have our packages' names."""
    for name in HOSTILE:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    return tmp_path


def python(folder: Path, code: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `code` in `folder`, which comes first on its path, as in a notebook; `path` is where synthc is."""
    script = f"import sys; sys.path[:0] = ['', {str(path)!r}]\n{code}"
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def test_every_documented_function_has_an_example_and_the_example_is_true(copy: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.folder)
    tests = [test for test in doctest.DocTestFinder().find(synthc, "synthc") if "Answer" not in test.name]
    public = {f"synthc.{name}" for name in ("check", "plan", "run", "open", "audit", "judge")}
    public |= {
        f"synthc.Results.{name}" for name, value in vars(synthc.Results).items() if not name.startswith("_") and value.__doc__
    }
    assert public - {test.name for test in tests if test.examples} - {"synthc.Results.close"} == set()
    results = synthc.open()
    for test in tests:
        test.globs = {"synthc": synthc, "results": results}
        if test.name != "synthc":  # the module's own example is the notebook's
            assert not doctest.DocTestRunner(verbose=False).run(test).failed, test.name


def test_folders_of_our_packages_names_in_the_working_folder_change_nothing(hostile: Path, copy: Done) -> None:
    code = f"import synthc; print(synthc.open({str(copy.db)!r})); import runtime.machine; print(runtime.machine.__file__)"
    done = python(hostile, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["<results of results.duckdb: tiny: 3 trials>", str(ROOT / "runtime" / "machine.py")]


def test_a_package_of_that_name_that_was_imported_before_is_told_of(hostile: Path) -> None:
    done = python(hostile, "import runtime\nimport synthc")
    assert done.stderr.strip().endswith("was imported under that name; import synthc first")


def test_results_stay_as_they_were_opened_and_are_opened_anew(copy: Done) -> None:
    import duckdb

    before = synthc.open(copy.db)
    beside = copy.db.with_name("next.duckdb")
    beside.write_bytes(copy.db.read_bytes())
    with duckdb.connect(str(beside)) as connection:
        connection.execute("DELETE FROM base.trial WHERE arm = 'coreset'")
    beside.replace(copy.db)  # as publishing does
    after = synthc.open(copy.db)
    counts = [results.sql("SELECT count(*) FROM comparison").fetchall() for results in (before, after)]
    assert counts == [[(3,)], [(1,)]]


def test_what_cannot_be_asked_is_said_in_a_sentence(copy: Done, tmp_path: Path) -> None:
    results = synthc.open(copy.db)
    with pytest.raises(AttributeError, match="results have no 'comparisson'; did you mean 'comparison'"):
        _ = results.comparisson
    with pytest.raises(synthc.SynthcError, match="no such database"):
        synthc.open(tmp_path / "none.duckdb")
    with pytest.raises(synthc.SynthcError, match="file system operations are disabled"):
        results.sql("FROM read_csv('/etc/hostname')")
    with pytest.raises(synthc.SynthcError, match="read-only mode"):
        results.sql("DELETE FROM base.run")
    with pytest.raises(synthc.SynthcError, match="no theme is called 'papier'; did you mean 'paper'"):
        results.chart("tradeoff", theme="papier")
    with pytest.raises(synthc.SynthcError, match=r"the query failed: Conversion Error: .*'coreset'"):
        results.chart("tradeoff", where="paradigm::INT = 1")  # binds, and fails while it is computed
    with pytest.raises(synthc.SynthcError, match="the query is empty"):
        results.sql("-- nothing")


def models() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    member = rng.random((8, 60)) < 0.5
    return {"signal": rng.normal(size=(8, 60)) + 2 * member, "member": member}


def test_arrays_and_a_file_of_them_are_audited_alike_and_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    arrays, few = models(), {"resamples": 100, "redraws": 20}
    np.savez(tmp_path / "models.npz", **arrays)
    of_file = synthc.audit(tmp_path / "models.npz", attack=["threshold"], fpr=[0.1], **few)  # type: ignore[arg-type]
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    db = tmp_path / "results.duckdb"
    of_arrays = synthc.audit(tensors, attack=["threshold"], fpr=[0.1], db=db, study="mine", **few)  # type: ignore[arg-type]
    assert of_arrays.json == of_file.json
    assert list(of_arrays.json["attacks"]) == ["threshold"]
    assert "8 shadows × 60 samples" in repr(of_arrays)
    assert synthc.open(db).comparison.project("study").fetchall() == [("mine",)]


@pytest.mark.parametrize(
    ("arrays", "options", "sentence"),
    [
        ({"signl": [[1.0]]}, {}, "nothing is called 'signl'; did you mean 'signal'"),
        ({"signal": [["a"]], "member": [[1]]}, {}, "'signal' is of type"),
        ({"signal": [[1.0, 2.0], [1.0]], "member": [[1]]}, {}, "'signal' cannot be made an array"),
        ({"signal": [[1.0, 2.0]]}, {}, "arrays: has no member"),
        (models(), {"db": "results.duckdb"}, "give study="),
        (models(), {"attack": ["lyra"]}, "--attack lyra: did you mean 'lira'"),
        (models(), {"designs": "pairs"}, "not understood"),
        ("none.npz", {}, "none.npz: there is no such file"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_audited_are_refused_in_a_sentence(arrays: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(synthc.SynthcError) as refused:
        synthc.audit(arrays, **options)
    assert sentence in str(refused.value)


def test_sets_and_policies_that_cannot_be_judged_are_refused_in_a_sentence() -> None:
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    one, other = {"images": images, "labels": [0, 0, 1, 1]}, {"images": 255 - images, "labels": [0, 0, 1, 1]}
    for sets, options, sentence in (
        ((one, one, one), {}, "holdout (arrays): 4 images also in members (arrays)"),
        ((one, one, {"image": images}), {}, "holdout (arrays): nothing is called 'image'; did you mean 'images'"),
        ((one, one, "none.npz"), {}, "none.npz: there is no such file or folder"),
        ((one, one, other), {"policy": [{"metric": "copied", "at_most": 0}]}, "nothing measures 'copied'"),
        ((one, one, other), {"with_private_images": True}, "give --page FILE"),
    ):
        released, members, holdout = sets
        with pytest.raises(synthc.SynthcError) as refused:
            synthc.judge(released, members=members, holdout=holdout, **options)  # type: ignore[arg-type]
        assert sentence in str(refused.value)


@pytest.mark.parametrize(("command", "options"), [("audit", synthc.AuditOptions), ("judge", synthc.JudgeOptions)])
def test_every_option_of_the_command_is_one_of_the_function(command: str, options: Any) -> None:
    from runtime.cli.main import parser

    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    of_command = {action.dest for action in commands[command]._actions} - {"help", "file", "set", "json"}
    parameters = set(inspect.signature(getattr(synthc, command)).parameters) - {"models", "released", "options"}
    assert set(options.__annotations__) | set(synthc.KeepOptions.__annotations__) | parameters == of_command


def test_a_module_of_words_that_imports_from_synthc_imports_no_torch() -> None:
    code = "from synthc.plugin import PluginMethod, Cost, Sizes, Card\nimport sys; sys.exit('torch' in sys.modules)"
    assert python(ROOT, code).returncode == 0


@pytest.mark.long
def test_a_wheel_in_an_empty_folder_runs_the_starter_beside_hostile_folders(
    hostile: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = place / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run([*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(place)], check=True)
    (wheel,) = place.glob("synthc-*.whl")
    installed = place / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True)
    checked = f"import sys, synthc; assert synthc.__file__.startswith({str(installed)!r})"
    options = "--engine inline --set audit.shadows=8 --db out/results.duckdb"
    for words in ("init mine", f"run mine.yaml {options}", "sql @pareto --db out/results.duckdb"):
        done = python(hostile, f"{checked}; sys.argv[1:] = {words.split()!r}; sys.exit(synthc.main())", installed)
        assert done.returncode == 0, (words, done.stderr[-2000:])


@pytest.mark.long
def test_the_notebook_of_the_docs_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert {kind for output in shown for kind in output["data"]} >= {"text/html", "image/svg+xml", "image/png"}
