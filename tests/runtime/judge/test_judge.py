"""`synthc judge` end to end: copies of digits, a policy, rows, a page, and everything that is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.cli.main import main
from runtime.data.formats import digits
from runtime.judge import nearness
from tests.runtime.judge.image_files import digit_images, save_folder, save_npz

COPIES = 60


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split by coins; a set with noisy copies of the first sixty members, and one of fresh images."""
    folder = tmp_path_factory.mktemp("judge")
    images, labels = digit_images(slice(0, 1500))
    fresh, fresh_labels = digit_images(slice(1500, None))
    save_npz(folder / "data.npz", images, labels)
    assert main(["split", str(folder / "data.npz"), "-o", str(folder / "split"), "--coins", "--test", "100"]) == 0
    members = np.load(folder / "split/members.npz")
    noise = np.random.default_rng(0).normal(0, 8, (COPIES, 8, 8))
    copies = np.clip(members["images"][:COPIES] + noise, 0, 255).astype(np.uint8)
    save_npz(folder / "copied.npz", np.concatenate([copies, fresh]), np.concatenate([members["labels"][:COPIES], fresh_labels]))
    save_npz(folder / "fresh.npz", fresh, fresh_labels)
    return folder


def judge(folder: Path, made: str | Path, *options: str) -> list[str]:
    parts = [f"--{part}" if of else str(folder / f"split/{part}.npz") for part in ("members", "holdout") for of in (True, False)]
    return ["judge", str(folder / made), *parts, *options]


def test_axes_of_features_depend_on_the_public_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearness, "PUBLIC_STEPS", 5)
    public = digits.read()[0][torch.arange(400)]
    one = nearness.public_features(public, "digits")
    torch.rand(7)  # as other code of the process may have drawn
    two = nearness.public_features(public, "digits")
    assert torch.equal(one.axes, two.axes)
    spread = one(public.images).std(0, correction=0)
    assert spread[0] == pytest.approx(1, rel=1e-4)
    assert (spread.diff() <= 1e-5).all()
    assert spread.min() > 0.01


def test_noisy_copies_are_listed_and_close_the_gate(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (case / "policy.yaml").write_text(
        "policy:\n  - {metric: copied_members, end: low, at_most: 0}\n  - {metric: leakage, end: high, at_most: 0.02}\n"
        "  - {metric: use.accuracy, end: low, at_least: {share: 0.5, of: use.accuracy_of_members}}\n"
    )
    options = ["--test", str(case / "split/test.npz"), "--policy", str(case / "policy.yaml"), "--db", str(case / "results.duckdb")]
    page = case / "verdict.html"
    assert main(judge(case, "copied.npz", *options, "--json", "--page", str(page), "--with-private-images")) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "closed"
    listed = [int(look["member"].removeprefix("row ")) for look in said["copied"]["listed"]]
    assert len(set(listed) & set(range(COPIES))) >= 0.95 * COPIES
    assert 0 < said["copied"]["low"] <= COPIES
    assert said["collection"]["auc"]["value"] > 0.5
    assert said["epsilon"]["value"] > 0
    assert [one["holds"] for one in said["policy"]] == [False, False, True]
    assert "a study with shadows" in said["policy"][1]["reason"]
    assert said["blind_spots"]
    assert set(said) >= {"verdict", "p_value", "copied", "phantoms", "epsilon", "power", "use", "policy"}
    text = page.read_text()
    assert "What this cannot see" in text
    assert text.count("<img") >= 2 * 24
    assert "Use, class by class" in text
    assert "; least in class " in text
    assert main(["sql", "FROM comparison", "--db", str(case / "results.duckdb"), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["study"], row["release"], row["method"]) == ("copied", "synthetic_set", "judge")
    assert row["test_accuracy"] == pytest.approx(said["use"]["accuracy"]["value"])


def test_a_fresh_set_is_let_go_and_blind_spots_stand_beside_it(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = case / "fresh.html"
    # 20 copies of some 700 members are more than 2 %: without a policy that is too coarse to tell.
    assert main(judge(case, "fresh.npz", "--page", str(page))) == 4
    said = capsys.readouterr().out
    assert said.startswith("Cannot tell: no copy was found")
    assert "synthc init" in said
    assert "<img" not in page.read_text()
    (case / "mild.yaml").write_text("policy: [{metric: copied_members, end: low, at_most: 0}]")
    assert main(judge(case, "fresh.npz", "--policy", str(case / "mild.yaml"))) == 0
    assert "what this cannot see" in capsys.readouterr().out


def test_members_that_are_in_the_set_pixel_by_pixel_are_told_however_few(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members, fresh = np.load(case / "split/members.npz"), np.load(case / "fresh.npz")
    few = save_npz(case / "few.npz", *(np.concatenate([members[name][:2], fresh[name]]) for name in ("images", "labels")))
    assert main(judge(case, few)) == 3  # by far too few for the list
    assert capsys.readouterr().out.startswith("The policy is closed: the set holds 2 images of members pixel by pixel")


def test_a_set_that_holds_images_of_the_holdout_is_never_let_go(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Members and holdout are as near to it, so that no test finds anything.
    everything = save_npz(case / "everything.npz", *digit_images(slice(0, None)))
    (case / "lenient.yaml").write_text("policy: [{metric: copied_members, end: low, at_most: 0}]")
    assert main(judge(case, everything, "--policy", str(case / "lenient.yaml"))) == 4
    said = capsys.readouterr().out
    assert said.startswith("Cannot tell: the set holds ")
    assert "was not set aside" in said


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "mistake of synthc" not in said
    return said


def test_a_holdout_that_overlaps_the_members_is_refused_with_the_images(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = digit_images(slice(0, 200))
    one, two = save_npz(case / "one.npz", images[:120], labels[:120]), save_npz(case / "two.npz", images[110:], labels[110:])
    said = refused(["judge", str(case / "fresh.npz"), "--members", str(one), "--holdout", str(two)], capsys)
    assert "10 images also in" in said
    assert "row 110 = row 0" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("shape", "images of 8×7 in grey and 8×8 in grey"),
        ("class", "9 of the classes 0 to 9"),
        ("fewer", "no image of class '9'"),
        ("single", "one class alone"),
        ("nan", "is nan; leave such images out"),
        ("range", "undo a normalisation"),
        ("absent", "no such file"),
    ],
)
def test_a_set_that_cannot_be_judged_is_a_sentence(case: Path, wrong: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = digit_images(slice(1500, None))
    grey = images / 255
    match wrong:
        case "shape":
            images = images[:, :, :7]
        case "class":
            images, labels = images[labels != 3], labels[labels != 3]
        case "fewer":
            images, labels = images[labels != 9], labels[labels != 9]
        case "single":
            images, labels = images[:1], labels[:1] * 0
        case "nan":
            grey[5, 2, 3] = np.nan
            images = grey
        case "range":
            images = 2 * grey - 1
    if wrong != "absent":
        save_npz(case / "wrong.npz", images, labels)
    assert said in refused(judge(case, "wrong.npz" if wrong != "absent" else "nowhere.npz"), capsys)


def test_a_split_that_was_drawn_again_is_told(case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", str(case / "data.npz"), "-o", str(tmp_path / "again"), "--holdout", "0.4"]) == 0
    parts = ["--members", str(case / "split/members.npz"), "--holdout", str(tmp_path / "again/holdout.npz")]
    assert "parts of different splits" in refused(["judge", str(case / "fresh.npz"), *parts], capsys)
    old = save_npz(tmp_path / "old.npz", *digit_images(slice(1500, None)))
    os.utime(old, (1, 1))
    parts = ["--members", str(tmp_path / "again/members.npz"), "--holdout", str(tmp_path / "again/holdout.npz")]
    assert "a split drawn again" in refused(["judge", str(old), *parts], capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policy: [{metric: copied_member, at_most: 0}]", ":1:19: nothing measures 'copied_member'; did you mean 'copied_members'"),
        ("policy: [{metric: p_value, at_lest: 0.05}]", "did you mean 'at_least'"),
        ("policy: [{metric: p_value}]", "one limit"),
        ("policy: [{metric: p_value, at_least: {share: 1, of: p_valu}}]", "did you mean 'p_value'"),
        ("policy: []", "is empty"),
        ("polcy: []", "`policy` is missing"),
    ],
)
def test_a_misspelt_policy_is_placed(case: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (case / "wrong.yaml").write_text(text)
    assert said in refused(judge(case, "fresh.npz", "--policy", str(case / "wrong.yaml")), capsys)


def test_a_folder_of_images_is_judged_as_its_arrays_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = digit_images(slice(0, 400))
    folder = save_folder(tmp_path / "photos", images, labels)
    assert main(["split", str(folder), "-o", str(tmp_path / "split"), "--holdout", "0.5", "--test", "0"]) == 0
    made = save_folder(tmp_path / "made", *digit_images(slice(400, 700)))
    capsys.readouterr()
    parts = ["--members", str(tmp_path / "split/members"), "--holdout", str(tmp_path / "split/holdout")]
    code = main(["judge", str(made), *parts, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["verdict"]) in ((4, "cannot tell"), (3, "closed"))
    assert said["epsilon"]["value"] is None
    assert "exact sizes" in said["epsilon"]["reason"]
