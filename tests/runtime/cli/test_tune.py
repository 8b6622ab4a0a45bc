"""Settings are chosen on images that are set aside for it, as many tries for every arm, and never on the judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.plan.lower import population_of
from compiler.plan.tuning import tune
from compiler.text.compose import compose
from runtime.cli.main import main
from runtime.data.population.roles import roles_of
from runtime.store.artifacts import Artifact, folder_of
from tests.conftest import TINY

TUNED = (
    TINY.replace("test: 360", "test: 360, validation: 100")
    + """\
tune:
  shadows: 2
  arms:
    undefended: {classifier: {lr: {grid: [0.0001, 0.2]}}}
    coreset: {classifier: {grid: [{lr: 0.2, epochs: 4}, {lr: 0.0001}]}}
"""
)


def written(folder: Path, text: str = TUNED) -> Path:
    spec = folder / "study.yaml"
    spec.write_text(text)
    return spec


def test_validation_images_are_in_no_other_role_and_move_none(tmp_path: Path) -> None:
    without = population_of(compile_study(written(tmp_path, TINY)).trials[0].trial)
    aside = population_of(compile_study(written(tmp_path)).trials[0].trial)
    judged = population_of(tune(compose(written(tmp_path))).plan.trials[0].trial)
    before, after, tuned = (roles_of(population) for population in (without, aside, judged))
    assert torch.equal(before.test.images, after.test.images)
    for one, other in zip(before.groups, after.groups, strict=True):
        assert torch.equal(one.samples, other.samples)
        assert torch.equal(one.z_images, other.z_images)
    assert len(before.fixed) - len(after.fixed) == len(tuned.test) == 100
    assert torch.equal(after.fixed_samples, tuned.fixed_samples)
    taken = set(before.fixed_samples.tolist()) - set(after.fixed_samples.tolist())
    assert len(taken) == 100


def test_every_arm_gets_as_many_tries_and_tries_need_images_set_aside(tmp_path: Path) -> None:
    for wrong, said in (
        (("[0.0001, 0.2]", "[0.1]"), "unequal numbers of tries: undefended 1, coreset 2"),
        ((", validation: 100", ""), "no images are set aside to choose settings by"),
        (("    undefended: {cl", "    undefended_: {cl"), "no arm is called 'undefended_'"),
        (("tune:\n  shadows: 2\n  arms:", "x:"), ""),
    ):
        with pytest.raises(SpecError) as caught:
            tune(compose(written(tmp_path, TUNED.replace(*wrong))))
        assert said in str(caught.value)


def test_the_best_of_each_arm_on_the_validation_images_is_written_and_nothing_else_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, db = written(tmp_path), tmp_path / "results.duckdb"
    assert main(["tune", str(spec), "--engine", "inline", "--db", str(db)]) == 0
    table = capsys.readouterr().out
    assert not db.exists()
    assert not (tmp_path / ".synthc").exists()
    plan = compile_study(tmp_path / "study.tuned.yaml")
    assert [planned.trial.point.classifier.lr for planned in plan.trials] == [0.2, 0.2, 0.2]
    assert plan.trials[1].trial.point.classifier.epochs == 4
    assert plan.trials[0].trial.point.data.judged_on is None
    # The printed score is the mean over trials and shadows, and nothing of it was attacked.
    tuning = tune(compose(spec))
    tried = next(one for one in tuning.tries if one.arm == "coreset")
    values = [Artifact(folder_of(tmp_path / ".synthc.tune", task)).metric("test_accuracy") for task in tried.tasks]
    assert len(values) == 2 * 2
    assert f"{sum(filter(None, values)) / 4:.2%}" in table
    assert {tuning.plan.tasks[task].kind for task in tuning.answers} == {"query"}
    (tmp_path / "study.tuned.yaml").write_text("study: mine\n")
    assert main(["tune", str(spec), "--engine", "inline", "--db", str(db)]) == 2
    assert "was not written by `synthc tune`" in capsys.readouterr().err


def test_where_every_try_failed_a_sentence_says_why_each_time_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        TUNED.replace("[0.0001, 0.2]", "[1.0e+8, 1.0e+9]")
        .replace("lr: 0.2, epochs: 4", "lr: 1.0e+8")
        .replace("lr: 0.0001", "lr: 1.0e+9")
    )
    spec = written(tmp_path, text)
    for _ in range(2):
        assert main(["tune", str(spec), "--engine", "inline", "--db", str(tmp_path / "results.duckdb")]) == 1
        said = capsys.readouterr().err
        assert "undefended.0#0/shadow 0/model" in said
        assert "every try of undefended diverged; lower its rates" in said
        assert "mistake" not in said
    assert not (tmp_path / "study.tuned.yaml").exists()


def test_a_try_that_diverges_is_the_worst_of_its_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = TUNED[: TUNED.index("    coreset: {")].replace("[0.0001, 0.2]", "[1.0e+9, 0.2]")
    spec = written(tmp_path, tuned)
    for _ in range(2):  # the second time, all that diverged is known
        assert main(["tune", str(spec), "--engine", "inline", "--db", str(tmp_path / "results.duckdb")]) == 0
        assert "diverged" in capsys.readouterr().out
        assert compile_study(tmp_path / "study.tuned.yaml").trials[0].trial.point.classifier.lr == 0.2
