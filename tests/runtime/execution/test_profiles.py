"""Profiles of the full study: they plan anywhere, and run to the end on small data in the real formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.inspect.data_notices import unseen
from runtime.cli.main import main
from runtime.data.catalogue import DEBIAN
from tests.conftest import ROOT, TINY, Done, run_study
from tests.runtime.data import data_files

SPEC = ROOT / "specs/full_study.yaml"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

SMALL = {
    "audit.shadows": 8,
    "audit.canaries.mislabeled.count": 20,
    "audit.canaries.clean.count": 20,
    "audit.canaries.ood.count": 20,
    "audit.z_pool": 30,
    "data.validation": 20,
    "audit.headline.fpr": 0.1,
    "audit.null_permutations": 20,
    "classifier.epochs": 1,
    "classifier.batch_size": 32,
    "arms.dp_sgd_vacuous.classifier": "{norm: group, width: 16, epochs: 1, batch_size: 32, lr: 0.1, momentum: 0.0}",
    "arms.dp_sgd.classifier": "{norm: group, width: 16, epochs: 1, batch_size: 32, lr: 0.1, momentum: 0.0}",
    "arms.dp_sgd_3.classifier": "{net: small, norm: group, width: 16, epochs: 1, batch_size: 32, lr: 0.1, momentum: 0.0}",
    "arms.dp_sgd_strict.classifier": "{net: small, norm: group, width: 16, epochs: 1, batch_size: 32, lr: 0.1, momentum: 0.0}",
    "arms.random_set.per_class": 2,
    "arms.dm.images_per_class": 2,
    "arms.dm.steps": 3,
    "arms.dm.width": 8,
    "arms.dm.batch_real": 8,
    "arms.dfq.batch_size": 16,
    "arms.dfq.rounds": 3,
    "arms.dfq.student_steps": 2,
    "arms.dfq.width": 8,
    "arms.dfq.latent": 8,
    **{
        f"arms.{arm}.{word}": value
        for arm in ("diffusion", "text_to_image", "image_to_image", "untuned")
        for word, value in (
            ("denoiser.width", 16),
            ("denoiser.blocks", 2),
            ("denoiser.batch_size", 64),
            ("steps", 5),
            ("multiple", 0.3),
            *([("denoiser.epochs", 1)] if arm != "untuned" else []),
            *([("denoiser.base.epochs", 1)] if arm != "diffusion" else []),
        )
    },
}
"""What makes a profile one of minutes: less of everything, nothing else."""
SMALLER = SMALL | {
    "data.subset": 320,
    "data.test": 60,
    "audit.canaries.mislabeled.count": 12,
    "audit.canaries.clean.count": 12,
    "audit.canaries.ood.count": 12,
    "audit.z_pool": 20,
    "audit.resamples": 100,
    "audit.null_permutations": 5,
    "classifier.width": 4,
    "arms.dp_sgd.classifier": "{norm: group, width: 8, epochs: 1, batch_size: 32, lr: 0.1, momentum: 0.0}",
}
"""And one of seconds."""


def reduced(folder: Path, profile: str, less: dict[str, object], *options: str) -> Done:
    sets = [word for path, value in less.items() for word in ("--set", f"{path}={value}")]
    done = Done(folder, SPEC)
    assert main(["run", str(SPEC), "--profile", profile, "--engine", "inline", "--db", str(done.db), *sets, *options]) == 0
    return done


def asked(profile: str, less: dict[str, object]) -> tuple[int, int]:
    """Trials and claims of a reduced profile."""
    plan = compile_study(SPEC, profile, tuple(f"{path}={value}" for path, value in less.items()))
    return len(plan.trials), len(plan.claims)


def answered(done: Done) -> tuple[int, int]:
    """Trials that have their figures, and claims that have a verdict."""
    ((trials,),) = done.rows("SELECT count(*) FROM comparison WHERE test_accuracy IS NOT NULL AND leakage IS NOT NULL")
    ((claims,),) = done.rows("SELECT count(*) FROM claim WHERE verdict IS NOT NULL")
    return trials, claims


def tiny_cifar10(root: Path) -> None:
    """CIFAR-10 and CINIC-10 in their own formats, of 400 and 100 images."""
    data_files.cifar10(root, 400, 40)
    images, labels = data_files.pictures(100, 10, seed=1)
    for split in ("train", "test"):
        data_files.folders(root / "CINIC-10" / split, images, labels, CLASSES)


@pytest.mark.parametrize(("profile", "absent"), [("fashion_mnist", []), ("cifar10", ["cifar10", "cinic10"]), ("complete", [])])
def test_every_profile_plans_where_none_of_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, absent: list[str]
) -> None:
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path))
    monkeypatch.setattr("runtime.data.catalogue.DEBIAN", tmp_path / "none")
    assert unseen(trial.trial for trial in compile_study(SPEC, profile).trials) == absent


def test_a_study_runs_to_the_end_on_a_tiny_file_set_in_cifars_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "data"))
    tiny_cifar10(tmp_path / "data")
    study = TINY[: TINY.index("  coreset:")].replace("epochs: 3", "epochs: 2")
    study = study.replace("{name: digits, test: 360}", "{name: cifar10}\npublic: {name: cinic10}")
    done = run_study(tmp_path, study.replace("clean: {kind: clean, count: 16}", "ood: {kind: ood, count: 16}"))
    assert "cifar10: 400 + 40 images, identified by their content" in capsys.readouterr().err
    assert done.rows("SELECT count(*) FROM comparison WHERE test_accuracy IS NOT NULL AND leakage IS NOT NULL") == [(1,)]


@pytest.mark.long
def test_an_arm_of_each_paradigm_of_the_profile_fashion_mnist_runs_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = dict(SMALLER)
    if not (DEBIAN / "fashion-mnist").is_dir():  # its digest is pinned, so other images in its format go by another name
        monkeypatch.setenv("SYNTHC_DATA", str(tmp_path))
        data_files.mnist(tmp_path / "MNIST/raw", 400, 40)
        less["data.name"] = "mnist"
    arms = ("undefended", "dp_sgd", "random_set", "dm", "dfq", "text_to_image")
    done = reduced(tmp_path, "fashion_mnist", less, "--only", f"arm=[{', '.join(arms)}]")
    with_figures = "SELECT DISTINCT arm FROM comparison WHERE test_accuracy IS NOT NULL AND leakage IS NOT NULL"
    assert {arm for (arm,) in done.rows(with_figures)} == set(arms)


@pytest.mark.long
def test_the_profile_cifar10_runs_to_the_end_on_a_tiny_file_set_in_cifars_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "data"))
    tiny_cifar10(tmp_path / "data")
    more = {"classifier.width": 8, "classifier.depth": 10}
    more |= {
        "arms.dsa.images_per_class": 2,
        "arms.dsa.nets": 1,
        "arms.dsa.net_steps": 1,
        "arms.dsa.width": 8,
        "arms.dsa.batch_real": 8,
    }
    more |= {f"arms.inversion.{word}": 8 for word in ("batch_size", "width", "latent")}
    more |= {"arms.inversion.rounds": 3, "arms.inversion.student_steps": 2, "arms.inversion.warm_up": 1}
    for arm in ("latent", "latent_dp"):
        of_denoiser = {"width": 16, "blocks": 2, "rank": 2, "epochs": 1, "batch_size": 64, "base.epochs": 1, "base.batch_size": 64}
        more |= {f"arms.{arm}.denoiser.{word}": value for word, value in of_denoiser.items()}
        more |= {f"arms.{arm}.denoiser.base.autoencoder_epochs": 1, f"arms.{arm}.steps": 5, f"arms.{arm}.multiple": 0.3}
    more |= {f"arms.{arm}.privacy.multiplicity": 2 for arm in ("dp_sgd", "dp_sgd_vacuous", "dp_sgd_3", "dp_sgd_strict")}
    less = {path: value for path, value in SMALLER.items() if path.split(".")[0] != "data"} | more
    done = reduced(tmp_path, "cifar10", less)
    assert answered(done) == asked("cifar10", less)


@pytest.mark.long
@pytest.mark.skipif(not (DEBIAN / "fashion-mnist").is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_profile_fashion_mnist_runs_to_the_end_on_a_part_of_the_real_images(tmp_path: Path) -> None:
    less = SMALL | {"data.subset": 1000, "data.test": 200}
    done = reduced(tmp_path, "fashion_mnist", less)
    assert answered(done) == asked("fashion_mnist", less)
