"""`synthc split`: the lot, what stays together, what is kept of it, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.data.image_set import ImageSet, image_set_of, read_image_set
from runtime.judge.judging import Sets, read_sets
from runtime.judge.split import PARTS, Design, Units, check_parts, draw, find_split, read_split, units_of, write_split
from tests.runtime.judge.image_files import digit_images, save_folder, save_npz

EXACT = Design(False, Fraction(3, 10), Fraction(1, 10))
COINS = Design(True, 0, Fraction(1, 10))


def numbered(count: int, of: int) -> Units:
    return Units(np.arange(count), tuple(f"{of}/{row}" for row in range(count)), 0)


def test_coins_are_fair_and_independent_and_exact_sizes_are_exact() -> None:
    members = np.array([(draw(numbered(200, of), np.zeros(200), COINS) == 0).sum() for of in range(400)])
    assert abs(members.mean() - 90) < 3 * np.sqrt(45 / 400)
    assert members.var() == pytest.approx(45, rel=0.3)  # of 180 independent fair coins
    exact = draw(numbered(200, 0), np.zeros(200), EXACT)
    assert np.bincount(exact).tolist() == [120, 60, 20]


def test_coins_that_leave_a_part_empty_name_that_part() -> None:
    two = Design(True, 0, 0)
    said = set()
    for of in range(20):
        try:
            draw(numbered(2, of), np.zeros(2), two)
        except SynthcError as error:
            said.add(str(error))
    assert said == {f"fair coins put none of 2 units in {part}; take more images" for part in ("members", "holdout")}


def test_each_unit_is_as_likely_as_any_other_to_be_set_aside() -> None:
    share = np.mean([draw(numbered(40, of), np.zeros(40), EXACT) == 1 for of in range(2000)], axis=0)
    # 2,000 draws of the same places under other names: five standard errors
    assert np.abs(share - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_a_stratified_split_gives_each_part_its_share_of_each_class() -> None:
    strata = np.repeat([0, 1, 2], [100, 60, 40])
    part = draw(numbered(200, 1), strata, Design(False, Fraction(3, 10), Fraction(1, 10), stratify=True))
    table = np.array([[((part == side) & (strata == label)).sum() for side in range(3)] for label in range(3)])
    assert np.abs(table - np.outer([100, 60, 40], [0.6, 0.3, 0.1])).max() <= 1
    assert table.sum(0).tolist() == [120, 60, 20]


def test_the_lot_depends_on_the_images_alone(tmp_path: Path) -> None:
    images, labels = digit_images(slice(0, 300))
    turn = np.random.default_rng(0).permutation(300)
    one = write_split(read_image_set(str(save_npz(tmp_path / "a.npz", images, labels))), EXACT, tmp_path / "a", None)
    two = write_split(read_image_set(str(save_npz(tmp_path / "b.npz", images[turn], labels[turn]))), EXACT, tmp_path / "b", None)
    assert one.digests == two.digests
    folder = save_folder(tmp_path / "c", images, labels)
    three = write_split(read_image_set(str(folder)), EXACT, tmp_path / "d", None)
    held = {name: set(read_image_set(str(tmp_path / "d" / name)).digests()) for name in PARTS}
    assert held == {name: set(read_image_set(str(tmp_path / "a" / f"{name}.npz")).digests()) for name in PARTS}
    assert three.images == one.images


def test_units_and_equal_images_never_stand_on_both_sides(tmp_path: Path) -> None:
    images, labels = digit_images(slice(0, 200))
    images[150:160], labels[150:160] = images[0:10], labels[0:10]
    person = np.arange(200) // 4
    path = save_npz(tmp_path / "scans.npz", images, labels, person=person)
    data = read_image_set(str(path), unit="person")
    units = units_of(data)
    assert units.merged == 10
    assert len(units) == 45  # of fifty people, six were joined by equal images
    split = write_split(data, COINS, tmp_path / "split", "person")
    rows = {name: np.load(tmp_path / "split" / f"{name}.npz")["row"] for name in PARTS}
    sides = {int(row): name for name, of in rows.items() for row in of}
    assert len(sides) == 200
    assert all(sides[row] == sides[row - row % 4] for row in range(200))
    assert all(sides[row] == sides[row - 150] for row in range(150, 160))
    assert split.coins
    assert sum(split.units.values()) == 45


def test_each_part_of_a_split_has_the_units_of_its_own_file_and_one_side_alone_has_none(tmp_path: Path) -> None:
    images, labels = digit_images(slice(0, 400))
    save_npz(tmp_path / "data.npz", images, labels, person=np.arange(400) // 4)
    names = [str(tmp_path / f"split/{part}.npz") for part in PARTS]

    def read(members: ImageSet, *others: str) -> Sets:
        return read_sets(names[0], members, *others, None, unit=None, image="image", label="label")

    for unit in ("person", None):
        shutil.rmtree(tmp_path / "split", ignore_errors=True)
        write_split(read_image_set(str(tmp_path / "data.npz"), unit=unit), EXACT, tmp_path / "split", unit)
        members, holdout, test = (dict(np.load(name)) for name in names)
        single = image_set_of("members (arrays)", {name: members[name] for name in ("images", "labels")})
        joined = image_set_of("arrays", {name: members[name] for name in ("images", "labels", "unit")}, "unit")
        sets = read(joined if unit else single, *names[1:])
        assert sets.holdout.units == tuple(map(str, holdout["unit"]))
        assert sets.test is not None
        assert sets.test.units == tuple(map(str, test["unit"]))
        if unit:
            with pytest.raises(
                SynthcError, match=r"^members \(arrays\): without units, of which .*holdout.npz has some of several"
            ):
                read(single, *names[1:])


def test_units_of_a_folder_come_from_lines_of_a_file(tmp_path: Path) -> None:
    images, labels = digit_images(slice(0, 60))
    folder = save_folder(tmp_path / "photos", images, labels)
    lines = [f"class {label}/{row:04}.png,{row // 3}" for row, label in enumerate(labels)]
    (tmp_path / "who.csv").write_text("\n".join(lines))
    data = read_image_set(str(folder), unit=str(tmp_path / "who.csv"))
    write_split(data, EXACT, tmp_path / "split", "who.csv")
    again = read_image_set(str(tmp_path / "split" / "members"), unit=str(tmp_path / "split" / "units.csv"))
    assert again.units is not None
    assert np.unique(again.units, return_counts=True)[1].tolist() == [3] * 12
    (tmp_path / "who.csv").write_text("\n".join(lines[1:]))
    with pytest.raises(SynthcError, match=r"1 images of .* have no unit"):
        read_image_set(str(folder), unit=str(tmp_path / "who.csv"))


def test_a_line_of_units_that_is_wrong_is_named_by_its_place_in_the_file(tmp_path: Path) -> None:
    data = save_npz(tmp_path / "a.npz", *digit_images(slice(0, 60)))
    (tmp_path / "who.csv").write_text('0,ann\n\n"1","of two\nlines"\n2\n')
    with pytest.raises(SynthcError, match=r"who.csv:5: 1 value; wanted are two"):
        read_image_set(str(data), unit=str(tmp_path / "who.csv"))


def test_what_was_drawn_is_kept_and_nothing_is_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", "digits", "-o", str(tmp_path / "one"), "--coins"]) == 0
    before = json.loads((tmp_path / "one/split.json").read_text())
    assert main(["split", "digits", "-o", str(tmp_path / "one")]) == 2
    assert "nothing is drawn again" in capsys.readouterr().err
    assert json.loads((tmp_path / "one/split.json").read_text()) == before
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0


def test_parts_that_were_not_drawn_together_are_told(tmp_path: Path) -> None:
    images, labels = digit_images(slice(0, 300))
    data = read_image_set(str(save_npz(tmp_path / "a.npz", images, labels)))
    split = write_split(data, EXACT, tmp_path / "one", None)
    write_split(data, COINS, tmp_path / "two", None)
    names = [str(tmp_path / "one/members.npz"), str(tmp_path / "two/holdout.npz")]
    with pytest.raises(SynthcError, match="parts of different splits"):
        find_split(names)
    with pytest.raises(SynthcError, match=r"members.npz: not the holdout that were drawn"):
        read_sets(names[0], names[0], names[0], None, None, unit=None, image="image", label="label")  # one part named twice
    shutil.copy(names[1], tmp_path / "one/holdout.npz")
    found = find_split([names[0], str(tmp_path / "one/holdout.npz")])
    assert found == split == read_split(tmp_path / "one")
    with pytest.raises(SynthcError, match=r"not the holdout that were drawn .* drawn again"):
        check_parts(found, {"holdout": read_image_set(str(tmp_path / "one/holdout.npz"))})


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    images, labels = digit_images(slice(0, 60))
    data = read_image_set(str(save_folder(tmp_path / "photos", images, labels)))
    (tmp_path / "file").touch()
    with pytest.raises(SynthcError, match=r"file: cannot be used: Not a directory; name a new folder"):
        write_split(data, EXACT, tmp_path / "file", None)
    with pytest.raises(SynthcError, match=r"file/below: cannot be written: Not a directory"):
        write_split(data, EXACT, tmp_path / "file" / "below", None)
    data.files[7].unlink()
    with pytest.raises(SynthcError, match=rf"{data.files[7]}: cannot be read: No such file"):
        write_split(data, EXACT, tmp_path / "split", None)
    assert not (tmp_path / "split" / "split.json").exists()


@pytest.mark.parametrize("name", ["class 1", "class 1/0001.png"])
def test_names_that_are_not_utf8_are_refused_before_anything_is_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = save_folder(tmp_path / "photos", *digit_images(slice(0, 60))) / name
    old.rename(old.with_name(os.fsdecode(b"\xff") + old.suffix))
    assert main(["split", str(tmp_path / "photos"), "-o", str(tmp_path / "split")]) == 2
    said = capsys.readouterr().err
    assert r"\udcff" in said
    assert "the name is not UTF-8; rename it" in said
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--holdout 0.3 --coins", "give one of them"),
        ("--holdout 2.5", "a share between 0 and 1"),
        ("--holdout 5000", "of 1,797 units that is 5000"),
        ("--test 1700", "leave no member"),
        ("--unit nobody.csv", "neither a file nor part of"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(options: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", "digits", "-o", str(tmp_path / "s"), *options.split()]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "s" / "split.json").exists()
