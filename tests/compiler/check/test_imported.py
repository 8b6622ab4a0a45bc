"""Paradigm `imported`: what a pipeline elsewhere is told, and what becomes of its answers."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.check.imported_files import file_name, queries
from compiler.data.files import card_of
from compiler.errors import SpecError, SynthcError
from compiler.language.classifier import Recipe
from compiler.plan.dag import Plan
from compiler.work.operations import Private
from runtime.cli.main import main
from runtime.data.cards import compile_with_files
from runtime.data.population.roles import private_set, roles_of
from runtime.store.artifacts import Artifact, folder_of
from runtime.store.records import write_record
from runtime.training.nets import restored
from runtime.training.scoring import logits
from tests.conftest import ROOT, TINY, Done, run_study

STUDY = (
    TINY.split("arms:")[0]
    .replace("queries: 1}\n  fpr", "queries: 1}\n    - {attack: selected}\n    - {attack: nearest}\n  fpr")
    .replace("allow: {", "allow: {L04: a test of the road, ")
    .replace("epochs: 3", "epochs: 1")
    + "arms:\n  undefended: {paradigm: undefended}\n  coreset: {paradigm: coreset, method: random, fraction: 0.3}\n"
)
IMPORTS = """\
  sets: {paradigm: imported, method: sets, path: sets, private_origins: true}
  logits: {paradigm: imported, method: logits, path: logits}
"""
FIGURES = """
SELECT metric, canaries, attack, variant, release, value, low, high, n FROM result WHERE arm = '{}' AND metric NOT LIKE 'seconds%'
AND metric NOT IN ('images_seen', 'train_accuracy') ORDER BY ALL"""


def export(spec: Path, folder: Path, *options: str) -> Path:
    assert main(["export", "--membership", str(folder), "--spec", str(spec), *options]) == 0
    return folder


def numbers(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as held:  # refuses pickles
        return dict(held)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A study run by us, then its sets and logits made again by numpy from what was exported, imported and run."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = run_study(folder, STUDY)
    spec = folder / "study.yaml"
    spec.write_text(STUDY + IMPORTS)
    told = export(spec, folder / "splits", "--images", "--queries")
    images, asked = numbers(told / "images.npz")["images"], numbers(told / "queries.npz")["images"]
    for name in ("sets", "logits"):
        (folder / name).mkdir()
    for file, shadow in zip(sorted((told / "shadows").iterdir()), range(8), strict=True):
        split = numbers(file)
        rows = stage(done, "coreset#0", shadow, "synthesize").arrays("audit")["origins"]
        taken = split["indices"][rows]
        np.savez(folder / "sets" / file.name, images=images[taken], labels=split["labels"][rows], origins=taken)
        weights = stage(done, "undefended#0", shadow, "model").tensors("model")
        net = restored(Recipe(net="small", width=8), DIGITS, weights)
        said = logits(net, torch.from_numpy(asked), DIGITS, torch.device("cpu"))
        np.savez(folder / "logits" / file.name, logits=said.numpy(), seconds=2.0)
    return run_study(folder, STUDY + IMPORTS)


DIGITS = card_of(compile_with_files(ROOT / "specs" / "smoke.yaml").trials[0].trial.point.data)


def stage(done: Done, trial: str, shadow: int, name: str) -> Artifact:
    record = json.loads(max((done.store / "runs").glob("*/run.json")).read_text())
    (stages,) = (found["stages"] for found in record["trials"] if found["trial"] == trial)
    (task,) = (task for task, of, called in stages if (of, called) == (shadow, name))
    return Artifact(folder_of(done.store, task))


# --- the round trip


def test_imported_sets_give_the_figures_of_the_same_sets_made_here(elsewhere: Done) -> None:
    ours, theirs = elsewhere.rows(FIGURES.format("coreset")), elsewhere.rows(FIGURES.format("sets"))
    assert len(ours) > 40
    assert {row[4] for row in ours} == {"", "final_model", "index_list", "synthetic_set"}
    assert theirs == ours


def test_imported_logits_give_the_figures_of_the_model_that_said_them(elsewhere: Done) -> None:
    ours, theirs = elsewhere.rows(FIGURES.format("undefended")), elsewhere.rows(FIGURES.format("logits"))
    assert len(ours) > 20
    assert theirs == ours


def test_time_spent_elsewhere_is_what_its_files_say_or_unknown(elsewhere: Done) -> None:
    spent = dict(elsewhere.rows("SELECT arm, seconds FROM comparison"))
    assert spent["logits"] == 2.0
    assert spent["sets"] is None
    (note,) = elsewhere.rows("SELECT note FROM result WHERE arm = 'sets' AND metric = 'seconds'")
    assert note == ("made elsewhere, by files that do not say `seconds`",)


def test_where_the_files_lie_is_in_no_id_and_each_files_bytes_are_in_those_of_its_shadow(elsewhere: Done, tmp_path: Path) -> None:
    for name in ("sets", "logits"):
        shutil.copytree(elsewhere.folder / name, tmp_path / name)
    (tmp_path / "study.yaml").write_text(STUDY + IMPORTS)
    moved = compile_with_files(tmp_path / "study.yaml")
    assert list(moved.tasks) == list(compile_with_files(elsewhere.spec).tasks)
    file = tmp_path / "sets" / file_name(0, 3)
    np.savez(file, **(numbers(file) | {"labels": numbers(file)["labels"][::-1]}))
    changed = {id: task for id, task in compile_with_files(tmp_path / "study.yaml").tasks.items() if id not in moved.tasks}
    parts = ("import", "model", "query", "query set")
    assert {task.address for task in changed.values()} == {"sets#0", *(f"sets#0/shadow 3/{part}" for part in parts)}


def test_a_gallery_shows_imported_sets_only_if_they_are_not_of_private_images(elsewhere: Done, tmp_path: Path) -> None:
    from runtime.present.charts.gallery import make_sheet

    made = stage(elsewhere, "sets#0", 0, "synthesize").folder
    shown = make_sheet(elsewhere.store, made.name)
    assert shown is not None
    assert (shown.private, shown.png) == (True, None)
    text = json.loads((made / "task.json").read_text())["text"].replace('"private_origins":true', '"private_origins":false')
    copy = folder_of(tmp_path, made.name)
    copy.mkdir(parents=True)
    shutil.copy(made / "set.safetensors", copy)
    write_record(copy / "task.json", {"id": made.name, "text": text})
    shown = make_sheet(tmp_path, made.name)
    assert shown is not None
    assert shown.png is not None


# --- the example


def test_the_examples_pipeline_gives_what_its_study_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = ROOT / "specs" / "examples"
    module = importlib.util.spec_from_file_location("elsewhere", examples / "elsewhere.py")
    assert module is not None
    assert module.loader is not None
    pipeline = importlib.util.module_from_spec(module)
    module.loader.exec_module(pipeline)
    monkeypatch.setattr(pipeline, "PER_CLASS", 2)
    monkeypatch.setattr(pipeline, "TREES", 3)
    spec = tmp_path / "imported.yaml"
    spec.write_text((examples / "imported.yaml").read_text().replace("shadows: 16", "shadows: 8"))
    told = export(spec, tmp_path / "splits", "--images", "--queries")
    pipeline.main(told, tmp_path / "answers")
    plan = compile_with_files(spec)
    assert sum(type(task.work).__name__ == "ImportSet" for task in plan.tasks.values()) == 8
    assert 10 < len(perform(plan, "medoids#0/shadow 7/import").files["audit"]["origins"]) <= 20
    assert perform(plan, "forest#0/shadow 7/import").metrics[0].value > 0.5


# --- what is exported


EVERYONE = """\
study: everyone
replicates: 2
allow: {L01: a test of the road, L07: a test of the road}
data: {name: digits, test: 200, subset: 900}
public: {name: shapes}
audit:
  canaries:
    mislabeled: {kind: mislabeled, count: 12}
    ood: {kind: ood, count: 6}
    twins: {kind: duplicated, count: 5, copies: 3}
    blank: {kind: blank, count: 4}
  z_pool: 20
  shadows: 8
  queries: {shift: 1}
  attacks: [{attack: lira, queries: 9}]
  fpr: [0.1]
  headline: {queries: 9, fpr: 0.1}
arms: {undefended: {paradigm: undefended}}
"""


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """The membership of a study with canaries of every kind, and its plan."""
    folder = tmp_path_factory.mktemp("everyone")
    (folder / "study.yaml").write_text(EVERYONE)
    export(folder / "study.yaml", folder / "splits", "--images", "--queries")
    return folder / "splits", compile_with_files(folder / "study.yaml")


def privates(plan: Plan) -> Iterator[Private]:
    return (task.work.private for task in plan.tasks.values() if task.kind == "train")  # type: ignore[union-attr]


def test_indices_and_labels_are_the_private_set_of_their_shadow(everyone: tuple[Path, Plan]) -> None:
    splits, plan = everyone
    images = numbers(splits / "images.npz")["images"]
    seen = 0
    for private in privates(plan):
        split, data = numbers(splits / "shadows" / file_name(private.replicate, private.shadow)), private_set(private).data
        assert set(split) == {"indices", "labels"}  # and nothing that names a canary
        np.testing.assert_array_equal(images[split["indices"]], data.images.numpy())
        np.testing.assert_array_equal(split["labels"], data.labels.numpy())
        seen += 1
    assert seen == 16 == len(list((splits / "shadows").iterdir()))


def test_indices_count_the_rows_of_the_data_set_as_it_comes(everyone: tuple[Path, Plan]) -> None:
    from sklearn.datasets import load_digits

    splits, _ = everyone
    said = json.loads((splits / "membership.json").read_text())
    split = numbers(splits / "shadows" / file_name(0, 0))
    rows = split["indices"][split["indices"] < said["samples"]]
    assert said["samples"] == 1797
    assert len(rows) > 500
    official = (load_digits().images[rows] * 255 / 16).round()
    np.testing.assert_array_equal(official, numbers(splits / "images.npz")["images"][rows, 0])


def test_without_images_only_those_that_the_data_set_does_not_have_are_written(everyone: tuple[Path, Plan], tmp_path: Path) -> None:
    splits, _ = everyone
    few = export(splits.parent / "study.yaml", tmp_path / "few")
    assert not (few / "images.npz").exists()
    further = numbers(few / "further.npz")["images"]
    assert len(further) == 6 + 5 * 2 + 4
    np.testing.assert_array_equal(further, numbers(splits / "images.npz")["images"][1797:])


def test_canaries_lie_apart_with_who_saw_them(everyone: tuple[Path, Plan]) -> None:
    splits, plan = everyone
    held = numbers(splits / "audit-only" / "canaries.npz")
    parts = roles_of(next(privates(plan)).population)
    images = numbers(splits / "images.npz")["images"]
    np.testing.assert_array_equal(images[held["indices"]], torch.cat([group.images for group in parts.groups]).numpy())
    assert held["group"].tolist() == [group.name for group in parts.groups for _ in range(len(group))]
    for replicate, shadow in np.ndindex(2, 8):
        trained = numbers(splits / "shadows" / file_name(replicate, shadow))["indices"]
        np.testing.assert_array_equal(held["member"][replicate, :, shadow], np.isin(held["indices"], trained))


def test_the_compiler_counts_the_queries_that_are_exported(everyone: tuple[Path, Plan]) -> None:
    splits, plan = everyone
    point = plan.trials[0].trial.point
    assert len(numbers(splits / "queries.npz")["images"]) == queries(point, card_of(point.data)) == (27 + 3 * 20) * 9 + 200


def test_a_folder_keeps_the_membership_of_one_study(everyone: tuple[Path, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    splits, _ = everyone
    spec = str(splits.parent / "study.yaml")
    before = numbers(splits / "shadows" / file_name(0, 0))["indices"]
    assert main(["export", "--membership", str(splits), "--spec", spec, "--set", "seed=1"]) == 2
    assert "the membership of another study" in capsys.readouterr().err
    export(Path(spec), splits, "--set", "audit.shadows=10")  # more shadows extend it
    np.testing.assert_array_equal(numbers(splits / "shadows" / file_name(0, 0))["indices"], before)


def test_arms_with_other_private_sets_are_exported_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(STUDY + "  more: {paradigm: undefended, audit: {shadows: 10}}\n")
    assert main(["export", "--membership", str(tmp_path / "splits"), "--spec", str(spec)]) == 2
    assert "choose by --arm, of coreset, more, undefended" in capsys.readouterr().err
    export(spec, tmp_path / "splits", "--arm", "more")
    assert len(list((tmp_path / "splits" / "shadows").iterdir())) == 10


# --- what comes back wrong

Change = Callable[[dict[str, np.ndarray]], dict[str, Any]]
GREY = np.zeros((3, 1, 8, 8), dtype=np.uint8)
WRONG: dict[str, tuple[str, Change]] = {
    "images have the shape (3, 1, 8, 9) and type '|u1'; they should be n × 1 × 8 × 8": (
        "sets",
        lambda held: held | {"images": np.zeros((3, 1, 8, 9), dtype=np.uint8)},
    ),
    "images have the shape (3, 1, 8, 8) and type '<i8'": ("sets", lambda held: held | {"images": GREY.astype(np.int64)}),
    "images are none": ("sets", lambda held: held | {"images": GREY[:0]}),
    "labels have the shape (5,) and type '<i8'; they should be 3 whole numbers, or 3 × 10 probabilities": (
        "sets",
        lambda held: held | {"images": GREY, "labels": np.arange(5)},
    ),
    "labels hold 10; with 10 classes they go from 0 to 9": (
        "sets",
        lambda held: held | {"labels": held["labels"] + 10 - held["labels"].max()},
    ),
    "no array is called 'origins'": ("sets", lambda held: {name: held[name] for name in ("images", "labels")}),
    "images have the shape (3,) and type '|O'":  # pickled: its header is all that is looked at
    ("sets", lambda held: held | {"images": np.array([None] * 3)}),
    "a row per image of queries.npz": ("logits", lambda held: {"logits": held["logits"][:-1]}),
    "images have entries that are no finite numbers; did the generator diverge?": (
        "sets",
        lambda held: held | {"images": np.where(held["images"] > 200, np.nan, held["images"] / 255)},
    ),
    "images have no finite number at all": ("sets", lambda held: held | {"images": np.full(held["images"].shape, np.nan)}),
    "images are floats from 0 to 255, where black is 0 and white is 1; divide them by 255, or save them as uint8": (
        "sets",
        lambda held: held | {"images": held["images"].astype(np.float32)},
    ),
    "images are floats from -128 to 127": ("sets", lambda held: held | {"images": held["images"].astype(np.float32) - 128}),
    "images go up to grey level 1 of 255, so that all are black; if 1 is white, save images * 255": (
        "sets",
        lambda held: held | {"images": (held["images"] > 127).astype(np.uint8)},
    ),
    "labels have a row that is no probabilities: each from 0 on, together 1": (
        "sets",
        lambda held: held | {"labels": np.eye(10, dtype=np.float32)[held["labels"]] * 5},
    ),
    "a softmax makes them of logits": (
        "sets",
        lambda held: held | {"labels": np.where(np.eye(10)[held["labels"]] == 1, np.nan, 0.1)},
    ),
    "origins hold 1,797; the set has 0 to 1,796, and -1 is for none": (
        "sets",
        lambda held: held | {"origins": np.where(np.arange(len(held["origins"])), held["origins"], 1797)},
    ),
    "origins hold -2": ("sets", lambda held: held | {"origins": held["origins"] * 0 - 2}),
    "seconds are -1": ("logits", lambda held: held | {"seconds": np.array(-1.0)}),
    "seconds are not finite; one number from 0 on is wanted": ("logits", lambda held: held | {"seconds": np.array(np.nan)}),
    "seconds are of type <U4": ("logits", lambda held: held | {"seconds": np.array("soon")}),
    "seconds are (2,)": ("logits", lambda held: held | {"seconds": np.array([1.0, 2.0])}),
    "logits have entries that are no finite numbers; did this model diverge?": (
        "logits",
        lambda held: {"logits": np.where(held["logits"] == held["logits"].max(), np.inf, held["logits"])},
    ),
    "logits have the shape": ("logits", lambda held: {"logits": held["logits"].argmax(1)}),
}


@contextlib.contextmanager
def copied(elsewhere: Done, folder: Path) -> Iterator[Path]:
    for name in ("sets", "logits"):
        shutil.copytree(elsewhere.folder / name, folder / name)
    (folder / "study.yaml").write_text(STUDY + IMPORTS)
    yield folder / "study.yaml"


def complaints(spec: Path) -> str:
    with pytest.raises(SpecError) as caught:
        compile_with_files(spec)
    return str(caught.value).replace(f"{spec.parent}/", "")


@pytest.mark.parametrize("complaint", WRONG)
def test_a_wrong_file_is_found_when_the_study_is_checked(elsewhere: Done, tmp_path: Path, complaint: str) -> None:
    arm, change = WRONG[complaint]
    with copied(elsewhere, tmp_path) as spec:
        file = tmp_path / arm / file_name(0, 2)
        np.savez(file, **change(numbers(file)))
        said = complaints(spec)
    assert complaint in said
    place = {"sets": "study.yaml:24:50", "logits": "study.yaml:25:54"}[arm]
    assert said.startswith(f"{place}: {file.name}: ")


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 2.5), (-0.5, 1.0)])
def test_images_that_leave_the_range_from_black_to_white_are_told_with_it(
    elsewhere: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str], low: float, high: float
) -> None:
    with copied(elsewhere, tmp_path) as spec:
        assert main(["check", str(spec)]) == 0
        assert "its images go" not in capsys.readouterr().err
        file = tmp_path / "sets" / file_name(0, 2)
        held = numbers(file)
        np.savez(file, **(held | {"images": held["images"] / 255 * (high - low) + low}))
        assert main(["check", str(spec)]) == 0
    assert f"sets: its images go from {low:g} to {high:g}, where black is 0 and white is 1" in capsys.readouterr().err


def test_every_folder_of_a_grid_is_looked_at_for_such_images(
    elsewhere: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied(elsewhere, tmp_path) as spec:
        shutil.copytree(tmp_path / "sets", tmp_path / "again")
        file = tmp_path / "sets" / file_name(0, 2)
        held = numbers(file)
        np.savez(file, **(held | {"images": held["images"] / 127.5 - 1}))
        spec.write_text(spec.read_text().replace("path: sets", "path: {grid: [sets, again]}"))
        assert main(["check", str(spec)]) == 0
    assert "sets: its images go from -1 to 1" in capsys.readouterr().err


def test_a_path_that_no_system_takes_is_told_with_its_place(elsewhere: Done, tmp_path: Path) -> None:
    with copied(elsewhere, tmp_path) as spec:
        spec.write_text(spec.read_text().replace("path: sets", f"path: {'x' * 300}"))
        assert complaints(spec).startswith("study.yaml:24:50: there is no folder ")


def test_missing_and_broken_files_are_counted_and_named(elsewhere: Done, tmp_path: Path) -> None:
    with copied(elsewhere, tmp_path) as spec:
        for shadow in (2, 5):
            (tmp_path / "sets" / file_name(0, shadow)).unlink()
        (tmp_path / "logits" / file_name(0, 1)).write_bytes(b"PK\x03\x04 no archive")
        missing, broken = complaints(spec).splitlines()
        shutil.rmtree(tmp_path / "sets")
        assert "there is no folder" in complaints(spec)
    assert "2 of 8 files are missing, the first is replicate-0-shadow-002.npz" in missing
    assert "replicate-0-shadow-001.npz: truncated: it begins as an archive" in broken


def test_every_replicate_has_files_of_its_own(elsewhere: Done, tmp_path: Path) -> None:
    with copied(elsewhere, tmp_path) as spec:
        spec.write_text("replicates: 2\n" + spec.read_text())
        assert "8 of 16 files are missing, the first is replicate-1-shadow-000.npz" in complaints(spec)


def test_origins_that_nobody_declared_are_not_passed_over(elsewhere: Done, tmp_path: Path) -> None:
    with copied(elsewhere, tmp_path) as spec:
        spec.write_text(spec.read_text().replace("private_origins: true", "private_origins: false"))
        assert "it has origins, so its images are, or began as, private ones: say `private_origins: true`" in complaints(spec)


def perform(plan: Plan, address: str) -> Any:
    from runtime.synthesize import imported

    (task,) = (task for task in plan.tasks.values() if task.address == address)
    return imported.perform(task.work, {}, torch.device("cpu"))  # type: ignore[arg-type]


def test_an_origin_that_the_shadow_does_not_hold_is_an_error(elsewhere: Done, tmp_path: Path) -> None:
    with copied(elsewhere, tmp_path) as spec:
        shutil.copy(tmp_path / "sets" / file_name(0, 1), tmp_path / "sets" / file_name(0, 0))  # the complement's
        with pytest.raises(SynthcError, match="which shadow 0 does not hold"):
            perform(compile_with_files(spec), "sets#0/shadow 0/import")


def test_a_file_that_changed_after_the_plan_was_made_is_an_error(elsewhere: Done, tmp_path: Path) -> None:
    with copied(elsewhere, tmp_path) as spec:
        plan = compile_with_files(spec)
        file = tmp_path / "logits" / file_name(0, 0)
        np.savez(file, logits=numbers(file)["logits"] + 1)
        with pytest.raises(SynthcError, match="has changed since the study was compiled"):
            perform(plan, "logits#0/shadow 0/import")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda held: {"logits": np.where(held["logits"] == held["logits"].max(), np.nan, held["logits"])}, "no finite number"),
        (lambda held: held | {"seconds": np.array([1.0, 2.0])}, "one number from 0 on"),
    ],
)
def test_numbers_that_cannot_be_are_an_error_of_their_task(elsewhere: Done, tmp_path: Path, change: Change, complaint: str) -> None:
    with copied(elsewhere, tmp_path) as spec:
        file = tmp_path / "logits" / file_name(0, 0)
        np.savez(file, **change(numbers(file)))
        with pytest.raises(SynthcError, match=complaint):
            perform(compile_with_files(spec), "logits#0/shadow 0/import")


@pytest.mark.parametrize(
    "change",
    [lambda images: images.transpose(0, 2, 3, 1), lambda images: images[:, 0], lambda images: images.astype(np.float32) / 255],
)
def test_images_may_come_with_channels_last_without_channels_or_as_floats(
    elsewhere: Done, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    with copied(elsewhere, tmp_path) as spec:
        file = tmp_path / "sets" / file_name(0, 0)
        held = numbers(file)
        np.savez(file, **(held | {"images": change(held["images"])}))
        made = perform(compile_with_files(spec), "sets#0/shadow 0/import").files["set"]["images"].numpy()
    grey = made if made.dtype == np.uint8 else (made * 255).round()
    np.testing.assert_array_equal(grey, held["images"])
