"""Files as people have them: turned, damaged, in other layouts, types and scales. Each is taken as meant, or told what would do."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.errors import SpecError, SynthcError
from compiler.language.data import Data
from compiler.plan.lower import dataset_of
from runtime.audit.external.evidence import read_evidence
from runtime.cli.main import main
from runtime.data import cards
from runtime.data.cards import compile_with_files
from runtime.data.image_set import read_image_set
from runtime.data.sources import load
from tests.conftest import ROOT, TINY
from tests.runtime.data import data_files


def study(folder: Path, path: str, **changes: str) -> Path:
    """The tiny study on the files at `path`, with some of its text replaced."""
    text = TINY.replace("{name: digits, test: 360}", f"{{name: files, path: '{path}', test: 60}}")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def complaint(folder: Path, path: str) -> str:
    """What `check` says of a study on the files at `path`."""
    with pytest.raises(SpecError) as raised:
        compile_with_files(study(folder, path))
    return str(raised.value)


def said_by(command: str, path: Path, folder: Path) -> str:
    """What a command that reads one set of images says of the one at `path`; it must be refused."""
    if command == "check":
        return complaint(folder, str(path))
    if command == "import":
        with pytest.raises(SynthcError) as raised:
            read_parquet(path, folder / "new.npz")
        return str(raised.value)
    with pytest.raises(SynthcError) as raised:  # `split` and `judge` read their sets by it
        read_image_set(str(path))
    return str(raised.value)


def read_parquet(path: Path, target: Path) -> Path:
    from runtime.data.formats.parquet import converted

    converted([path], [], target, "image", "label")
    return target


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.fromarray(pixels).save(to, kind, **options)
    return to.getvalue()


def blank(mode: str, kind: str, **options: Any) -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.new(mode, (8, 8)).save(to, kind, **options)
    return to.getvalue()


def write_folder(folder: Path, images: list[tuple[str, bytes]]) -> Path:
    """A folder of images by class from pairs of class and bytes, named by place."""
    for place, (label, content) in enumerate(images):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{place:04}.png").write_bytes(content)
    return folder


def write_parquet(path: Path, images: list[tuple[str, bytes]], columns: str = "image BLOB, label VARCHAR") -> Path:
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({columns})")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(content, label) for label, content in images])
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


def good(count: int = 300, shape: tuple[int, int, int] = (3, 8, 8)) -> list[tuple[str, bytes]]:
    images, labels = data_files.pictures(count, 2, shape)
    return [("ab"[label], encoded(image.transpose(1, 2, 0))) for image, label in zip(images, labels, strict=True)]


# --- images that viewers turn ------------------------------------------------------------------------------------------------


def turned(rows: int = 300, size: tuple[int, int] = (8, 12)) -> tuple[list[tuple[str, bytes]], np.ndarray]:
    """Images of `size` (height × width), each of which is stored turned by a quarter in a way that its EXIF tag takes back, and
    what a viewer shows of them."""
    from PIL import Image

    draws = np.random.default_rng(0)
    upright = draws.integers(0, 255, (rows, *size, 3), dtype=np.uint8)
    kept = []
    for place, image in enumerate(upright):
        orientation = (1, 6, 8, 3)[place % 4]
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.rot90(image, {1: 0, 6: 1, 8: -1, 3: 2}[orientation])
        kept.append(("ab"[place // (rows // 2)], encoded(np.ascontiguousarray(stored), exif=exif)))
    return kept, upright


@pytest.mark.parametrize("form", ["folder", "parquet", "split", "study"])
@pytest.mark.parametrize("size", [(8, 12), (12, 8), (8, 8)])
def test_turned_images_are_upright_wherever_they_are_read(tmp_path: Path, form: str, size: tuple[int, int]) -> None:
    images, upright = turned(size=size)
    folder = write_folder(tmp_path / "set", images)
    if form == "folder":
        found = read_image_set(str(folder)).data.images
    elif form == "parquet":
        found = read_image_set(str(write_parquet(tmp_path / "set.parquet", images))).data.images
    elif form == "study":
        point = compile_with_files(study(tmp_path, "set")).trials[0].trial.point
        found = load(dataset_of(point.data)).pool.images
    else:
        assert main(["split", str(folder), "-o", str(tmp_path / "parts"), "--test", "0"]) == 0
        held = [read_image_set(str(tmp_path / "parts" / part)).data.images for part in ("members", "holdout")]
        found = np.concatenate(held)
    pixels = np.asarray(found).transpose(0, 2, 3, 1)
    wanted = sorted(image.tobytes() for image in upright)
    assert pixels.shape == upright.shape
    assert sorted(image.tobytes() for image in pixels) == wanted


def test_a_card_says_the_size_that_viewers_show(tmp_path: Path) -> None:
    images, _ = turned(size=(8, 12))
    found = cards.read(write_folder(tmp_path / "set", images))
    assert found.arrays["images"].shape == (300, 8, 12, 3)


@pytest.mark.parametrize("form", ["check", "split", "import"])
def test_images_that_lie_and_images_that_stand_are_two_sizes(tmp_path: Path, form: str) -> None:
    images = [*good(20, (3, 12, 8)), *good(5, (3, 8, 12))]
    lying = write_folder(tmp_path / "set", images)
    said = said_by(form, write_parquet(tmp_path / "set.parquet", images) if form == "import" else lying, tmp_path)
    assert "12×8 (20 images" in said
    assert "8×12 (5 images" in said


# --- images that cannot be used ----------------------------------------------------------------------------------------------


def animated(kind: str) -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.new("RGB", (8, 8)).save(to, kind, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    return to.getvalue()


def palette(**options: Any) -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.new("P", (8, 8)).save(to, "PNG", **options)
    return to.getvalue()


NOISE = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
BAD = {
    "empty": (b"", "empty"),
    "a page": (b"<!DOCTYPE html><html>", "a page or drawing of the web"),
    "a page with a mark": (b"\xef\xbb\xbf<html>", "a page or drawing of the web"),
    "an error": (b'{"error": 404}', "JSON, perhaps an error"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "cut PNG": (encoded(NOISE)[:120], "cannot be decoded"),
    "cut JPEG": (encoded(NOISE, "JPEG")[:-200], "cannot be decoded"),
    "CMYK": (blank("CMYK", "JPEG"), "its colours are CMYK"),
    "16 bits": (blank("I;16", "PNG"), "16 bits or more"),
    "alpha": (blank("RGBA", "PNG"), "transparency (alpha)"),
    "grey with alpha": (blank("LA", "PNG"), "transparency (alpha)"),
    "palette with alpha": (palette(transparency=0), "transparency (alpha)"),
    "palette with alphas": (palette(transparency=bytes(range(100))), "transparency (alpha)"),
    "TIFF": (blank("RGB", "TIFF"), "a TIFF"),
    "WebP": (blank("RGB", "WEBP"), "a WebP"),
    "GIF": (blank("P", "GIF"), "a GIF"),
    "animated GIF": (animated("GIF"), "a GIF"),
    "animated PNG": (animated("PNG"), "animated"),
}


@pytest.mark.parametrize("form", ["check", "split", "import"])
@pytest.mark.parametrize("bad", BAD)
def test_an_image_that_cannot_be_used_is_named_with_its_fault_by_whatever_reads_it(tmp_path: Path, form: str, bad: str) -> None:
    content, fault = BAD[bad]
    images = [*good(6), ("a", content), *good(4)]
    folder = write_folder(tmp_path / "set", images)
    said = said_by(form, write_parquet(tmp_path / "set.parquet", images) if form == "import" else folder, tmp_path)
    assert ("row 6: " if form == "import" else "a/0006.png: ") in said
    assert fault in said


@pytest.mark.parametrize("form", ["check", "split", "import"])
def test_all_images_that_cannot_be_used_are_counted_at_once(tmp_path: Path, form: str) -> None:
    chosen = ("empty", "a page", "CMYK", "alpha", "cut PNG", "animated PNG")
    images = [*good(10), *(("b", BAD[name][0]) for name in chosen), *(("a", BAD["GIF"][0]) for _ in range(8))]
    folder = write_folder(tmp_path / "set", images)
    said = said_by(form, write_parquet(tmp_path / "set.parquet", images) if form == "import" else folder, tmp_path)
    assert "14 images cannot be used" in said
    assert all(BAD[name][1] in said for name in chosen)
    assert "row 20 and 3 more: a GIF" in said or "a/0020.png and 3 more: a GIF" in said


def test_cells_of_a_table_without_an_image_or_a_label_are_told_with_their_rows(tmp_path: Path) -> None:
    images: list[Any] = [*good(4), ("a", None), (None, good(1)[0][1])]
    said = said_by("import", write_parquet(tmp_path / "set.parquet", images), tmp_path)
    assert "2 images cannot be used: row 4: empty" in said
    assert "row 5: the label None is neither" in said


# --- layouts of folders ------------------------------------------------------------------------------------------------------

LETTERS = ["a", "b"]


def tree(root: Path, *parts: str, **classes: list[str]) -> Path:
    """Folders of images by class below each part."""
    for part in parts:
        of = classes.get(part, LETTERS)
        images, labels = data_files.pictures(12 * len(of), len(of), (3, 8, 8))
        data_files.folders(root / part, images, labels, of)
    return root


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("train", "val", "test"), "holds test, train, val; train wants exactly one of"),
        (("train", "Train", "test"), "holds Train, test, train; Train wants exactly one of"),
        (("train", "test", "Test"), "holds Test, test, train; train wants exactly one of"),
        (("train", "training", "test"), "train wants exactly one of"),
        (("train",), "name set/train"),
        (("train", "dev"), "move the rest away, or name set/train"),
        (("photos",), "1 folder; the classes lie deeper: name set/photos"),
        (("v1", "v2"), "v1/a, v1/b, v2/a, v2/b: no image but a folder; the classes lie deeper: name set/v1 or set/v2"),
        (("a/x", "b/x"), "a/x, b/x: no image but a folder"),
        ((), "0 folders; set should hold one folder of images for each class, at least two"),
    ],
)
def test_a_layout_that_is_none_says_what_to_name_or_to_move(tmp_path: Path, parts: tuple[str, ...], said: str) -> None:
    tree(tmp_path / "set", *parts).mkdir(exist_ok=True)
    if parts in (("a/x", "b/x"),):
        for part in parts:
            shutil.rmtree(tmp_path / "set" / part / "b")
    assert said in complaint(tmp_path, "set")


@pytest.mark.parametrize("pair", [("training", "testing"), ("TRAIN", "Test"), ("Train", "VALID"), ("training", "val")])
def test_two_folders_with_the_plain_names_of_a_split_are_one(tmp_path: Path, pair: tuple[str, str]) -> None:
    found = cards.read(tree(tmp_path / "set", *pair))
    assert not found.fault
    assert found.arrays["test_images"].shape == (24, 8, 8, 3)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({"train": ["a", "b", "c"]}, "c in train alone"),
        ({"test": ["a", "b", "c"]}, "c in test alone"),
        ({"test": ["A", "B"]}, "a, b in train alone, A, B in test alone"),
        ({"train": ["a", "c"]}, "c in train alone, b in test alone"),
    ],
)
def test_a_class_of_one_half_alone_is_named_with_that_half(tmp_path: Path, classes: dict[str, list[str]], said: str) -> None:
    tree(tmp_path / "set", "train", "test", **classes)
    assert said in complaint(tmp_path, "set")


@pytest.mark.parametrize("pair", [("train", "test"), ("Train", "val")])
def test_a_split_by_folders_is_told_to_be_named_by_its_halves_where_one_set_is_wanted(
    tmp_path: Path, pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tree(tmp_path / "set", *pair)
    assert main(["split", str(folder), "-o", str(tmp_path / "parts")]) == 2
    assert all(f"set/{part}" in capsys.readouterr().err for part in pair[:1])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("set.zip", "unzip {path} -d {stem}"),
        ("set.tar.gz", "mkdir {stem} && tar -xf {path} -C {stem}"),
        ("set.tgz", "mkdir {stem} && tar -xf {path} -C {stem}"),
        ("set.tar", "mkdir {stem} && tar -xf {path} -C {stem}"),
        ("set.7z", "7z x {path} -o{stem}"),
        ("my set.zip", "unzip '{path}' -d '{stem}'"),
        ("set.npy", "numpy.load('set.npy')"),
        ("set.h5", "numpy.savez_compressed(file, images=…, labels=…) makes an .npz of it"),
    ],
)
@pytest.mark.parametrize("form", ["check", "split"])
def test_a_file_that_is_no_set_is_told_the_command_that_makes_one(tmp_path: Path, name: str, said: str, form: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\3\4")
    stem = tmp_path / name.partition(".")[0]
    assert said.format(path=path, stem=stem) in said_by(form, path, tmp_path)


# --- tables in several files -------------------------------------------------------------------------------------------------


def shards(folder: Path) -> Path:
    """A set as `datasets` writes it: two files of training images and one of test images."""
    images = good()
    write_parquet(folder / "data/train-00000-of-00002.parquet", images[:150])
    write_parquet(folder / "data/train-00001-of-00002.parquet", images[150:])
    write_parquet(folder / "data/test-00000-of-00001.parquet", images[:60])
    (folder / "README.md").write_text("a card")
    return folder


@pytest.mark.parametrize("form", ["check", "split", "import"])
@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_of_tables_is_told_the_command_that_takes_them_all(tmp_path: Path, form: str, below: str) -> None:
    data = shards(tmp_path / "hf") / "data"
    command = f"synthc data import {data}/train-*.parquet --test {data}/test-*.parquet"
    assert command in said_by(form, tmp_path / "hf" / below, tmp_path)


@pytest.mark.parametrize("form", ["check", "split", "import"])
def test_one_of_several_tables_is_not_taken_for_the_set(tmp_path: Path, form: str) -> None:
    first = shards(tmp_path / "hf") / "data/train-00000-of-00002.parquet"
    assert f"`synthc data import {first.parent}/train-*.parquet`" in said_by(form, first, tmp_path)


def test_a_table_that_lacks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shards(tmp_path / "hf") / "data"
    (data / "train-00001-of-00002.parquet").unlink()
    assert main(["data", "import", str(data / "train-00000-of-00002.parquet"), "-o", str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert "one of 2 files of a set, 1 of which are not given; get train-00001-of-00002.parquet" in said
    assert not (tmp_path / "x.npz").exists()


def test_all_tables_together_are_the_set_and_one_is_not_taken_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shards(tmp_path / "hf") / "data"
    names = ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")
    first, second, test = (str(data / f"{name}.parquet") for name in names)
    assert main(["data", "import", first, second, "--test", test, "-o", str(tmp_path / "x.npz")]) == 0
    assert "300 images and 60 test images of 2 classes" in capsys.readouterr().out
    assert main(["data", "import", first, second, first, "-o", str(tmp_path / "y.npz")]) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "label", "said"),
    [
        ("picture BLOB, label VARCHAR", "a", "no column is called 'image'; --image names it"),
        ("image BLOB, kind VARCHAR", "a", "no column is called 'label'; --label names it"),
        ("image BLOB, label BIGINT", 1, "labels are of the types int and str; make them one"),
        ("image BLOB, label DOUBLE", 0.5, "the label 0.5 is neither a whole number nor a name"),
    ],
)
def test_tables_of_different_columns_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: str, label: Any, said: str
) -> None:
    one = write_parquet(tmp_path / "one.parquet", good(10))
    two = write_parquet(tmp_path / "two.parquet", [(label, content) for _, content in good(10)], columns)
    assert main(["data", "import", str(one), str(two), "-o", str(tmp_path / "x.npz")]) == 2
    found = capsys.readouterr().err
    assert said in found
    assert "two.parquet" in found


# --- types of arrays ---------------------------------------------------------------------------------------------------------

IMAGES, LABELS = data_files.pictures(300, 2, (8, 8))


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ((IMAGES / 255).astype("f4"), LABELS, "(images * 255).round().astype('uint8') if they go from 0 to 1"),
        (IMAGES.astype(np.longdouble), LABELS, "uint8 grey levels 0 to 255: (images * 255)"),
        (IMAGES.astype("f2"), LABELS, "uint8 grey levels 0 to 255: (images * 255)"),
        (IMAGES.astype(complex), LABELS, "images has the type '<c16'; it should be uint8"),
        (IMAGES.astype(object), LABELS, "numpy.stack(list(of_arrays))"),
        (IMAGES.astype(">u2"), LABELS, "images.astype('uint8'), if they go from 0 to 255"),
        (IMAGES > 100, LABELS, "images.astype('uint8') * 255"),
        (np.zeros((300, 8, 8, 4), "u1"), LABELS, "images[..., :3] leaves the transparency out"),
        (np.zeros((300, 4, 8, 8), "u1"), LABELS, "images[:, :3] leaves the transparency out"),
        (IMAGES.reshape(300, 64), LABELS, "images.reshape(-1, 8, 8)"),
        (IMAGES[:, None, None], LABELS, "images.squeeze()"),
        (np.zeros((300, 3, 64, 3), "u1"), LABELS, "which axis is c cannot be told here"),
        (np.zeros((300, 2, 8, 8), "u1"), LABELS, "c being 1 or 3"),
        (IMAGES, LABELS == 1, "say which class is 0 and which 1"),
        (IMAGES, np.array(["cat", "dog"])[LABELS], "numpy.unique(labels, return_inverse=True)[1] numbers the names"),
        (IMAGES, np.array(["cat", "dog"], object)[LABELS], "numpy.unique(labels, return_inverse=True)[1] numbers the names"),
        (IMAGES, np.array([b"cat", b"dog"])[LABELS], "numpy.unique(labels, return_inverse=True)[1] numbers the names"),
        (IMAGES, np.eye(2)[LABELS], "labels.argmax(1), if each row is 1 at its class"),
        (IMAGES, np.eye(2, dtype=int)[LABELS], "labels.argmax(1), if each row is 1 at its class"),
        (IMAGES, LABELS[:, None], "300 whole numbers: labels[:, 0]"),
        (IMAGES, LABELS.astype("f4"), "labels.astype('int64'), if none has a fraction"),
        (IMAGES, LABELS + 1, "numpy.unique(labels, return_inverse=True)[1] does"),
        (IMAGES, LABELS[:200], "labels has the shape (200,)"),
    ],
)
def test_arrays_of_another_type_or_shape_are_told_what_makes_them_a_set(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, said: str
) -> None:
    np.savez(tmp_path / "set.npz", allow_pickle=True, images=images, labels=labels)
    assert said in complaint(tmp_path, "set.npz")


def test_the_order_of_bytes_and_axes_changes_nothing(tmp_path: Path) -> None:
    found = []
    for name, images, labels in (("one", IMAGES, LABELS), ("two", np.asfortranarray(IMAGES), LABELS.astype(">i4"))):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
        cards.write_record(str(tmp_path / f"{name}.npz"), cards.read(tmp_path / f"{name}.npz"))
        found.append(load(dataset_of(Data(name="files", path=str(tmp_path / f"{name}.npz")))).pool)
    assert (found[0].images == found[1].images).all()
    assert (found[0].labels == found[1].labels).all()


def npy() -> bytes:
    to = io.BytesIO()
    np.save(to, IMAGES)
    return to.getvalue()


def npz() -> bytes:
    to = io.BytesIO()
    np.savez(to, images=IMAGES, labels=LABELS)
    return to.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy(), "not an .npz archive but one array (.npy); numpy.savez(file, name=numpy.load(…))"),
        (npz()[: len(npz()) // 2], "truncated: it begins as an archive and has no end"),
        (npz()[:-1], "truncated"),
        (gzip.compress(npz()), "a file that gzip packed; gunzip unpacks it"),
        (b"<!DOCTYPE html>", "a page of the web"),
        (b"", "empty; copy or write it again"),
        (b"\x80\x04.", "a pickle, which is never opened"),
        (b"text", "not an .npz archive; numpy.savez(file, name=array, …) writes one"),
    ],
    ids=["npy", "half", "last byte", "gzip", "page", "empty", "pickle", "text"],
)
@pytest.mark.parametrize("form", ["check", "split", "audit"])
def test_an_npz_that_is_none_is_told_what_it_is(tmp_path: Path, content: bytes, said: str, form: str) -> None:
    (tmp_path / "set.npz").write_bytes(content)
    if form == "audit":
        with pytest.raises(SynthcError) as raised:
            read_evidence(tmp_path / "set.npz")
        assert said in str(raised.value)
    else:
        assert said in said_by(form, tmp_path / "set.npz", tmp_path)


LOGITS = np.random.default_rng(0).normal(size=(8, 40, 2, 3))
MEMBER = np.random.default_rng(1).random((8, 40)) < 0.5
CLASSES = np.arange(40) % 3


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"logits": LOGITS[:, :, 0]}, "if of one view, save logits[:, :, None]"),
        ({"logits": LOGITS[0, :, 0]}, "if they are of one shadow and one view, save logits[None, :, None]"),
        ({"logits": LOGITS[0, :, 0, 0]}, "wanted is shadows × samples × views × classes"),
        ({"logits": LOGITS[None]}, "logits.squeeze() takes axes of length one away"),
        ({"logits": LOGITS.astype(np.longdouble)}, ".astype('float64') makes it one"),
        ({"logits": LOGITS.astype(complex)}, ".real or abs(…) makes it one"),
        ({"logits": LOGITS.astype(object)}, "numpy.array(list(…)) makes numbers of it"),
        ({"labels": CLASSES == 1}, "say which class is 0 and which 1"),
        ({"labels": np.eye(3)[CLASSES]}, "labels.argmax(1), if each row is 1 at its class"),
        ({"labels": CLASSES.astype(float)}, "labels.astype('int64'), if none has a fraction"),
        ({"labels": np.array(["a", "b", "c"])[CLASSES]}, "numpy.unique(…, return_inverse=True)[1] numbers names"),
        ({"member": MEMBER.T}, "save member.T"),
        ({"member": np.where(MEMBER, "in", "out")}, "wanted are numbers or booleans"),
    ],
)
def test_an_audits_arrays_of_another_type_or_shape_are_told_what_makes_them_fit(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "audit.npz", allow_pickle=True, **{"logits": LOGITS, "member": MEMBER, "labels": CLASSES} | arrays)
    with pytest.raises(SynthcError) as raised:
        read_evidence(tmp_path / "audit.npz")
    assert said in str(raised.value)


@pytest.mark.parametrize("kind", ["<f2", ">f4", ">f8", "<i2", ">i8"])
def test_an_audits_numbers_of_any_width_and_order_are_taken(tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "audit.npz", logits=(LOGITS * 8).astype(kind), member=MEMBER.astype(kind), labels=CLASSES.astype(">i2"))
    found = read_evidence(tmp_path / "audit.npz")
    assert np.allclose(found.values, (LOGITS * 8).astype(kind))
    assert (found.member == MEMBER.T).all()


# --- scales of images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npz", "folder", "parquet"])
@pytest.mark.parametrize("command", ["check", "split"])
def test_images_whose_white_is_one_of_255_are_not_taken_for_black_ones(tmp_path: Path, form: str, command: str) -> None:
    dark = (IMAGES > 100).astype(np.uint8)
    images = [("ab"[label], encoded(image)) for image, label in zip(dark, LABELS, strict=True)]
    if form == "folder":
        path = write_folder(tmp_path / "set", images)
    elif form == "parquet":
        path = write_parquet(tmp_path / "set.parquet", images)
        path = read_parquet(path, tmp_path / "set.npz") if command == "check" else path
    else:
        path = tmp_path / "set.npz"
        np.savez(path, images=dark, labels=LABELS)
    assert "images go up to grey level 1 of 255, so that all are black; if 1 is white, save images * 255" in said_by(
        command, path, tmp_path
    )


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (IMAGES / 127.5 - 1, "images are numbers from -1 to"),
        (IMAGES.astype("f4"), "images are numbers from 0 to 2"),
        (np.where(IMAGES > 200, np.nan, IMAGES / 255), "is nan; leave such images out"),
        (np.where(IMAGES > 200, np.inf, IMAGES / 255), "is inf; leave such images out"),
        ((IMAGES > 100).astype("u1"), "images go up to grey level 1 of 255"),
        (np.empty((0, 8, 8)), "images has the shape (0, 8, 8); at least one image is needed"),
    ],
    ids=["tanh", "to 255", "nan", "inf", "0 and 1", "none"],
)
def test_a_released_set_of_another_scale_is_never_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], images: np.ndarray, said: str
) -> None:
    np.savez(tmp_path / "made.npz", images=images, labels=LABELS)
    np.savez(tmp_path / "real.npz", images=IMAGES, labels=LABELS)
    real = str(tmp_path / "real.npz")
    assert main(["judge", str(tmp_path / "made.npz"), "--members", real, "--holdout", real]) == 2
    assert said in capsys.readouterr().err


def test_grey_levels_as_floats_from_0_to_1_are_the_same_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "floats.npz", images=(IMAGES / 255).astype("f2").astype("f8"), labels=LABELS)
    np.savez(tmp_path / "bytes.npz", images=IMAGES, labels=LABELS)
    one, two = (read_image_set(str(tmp_path / f"{name}.npz")).data.images for name in ("floats", "bytes"))
    assert (one == two).all()


# --- sizes of images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (1, 1), (2, 2), (3, 3), (2, 64), (1, 2), (4, 4)], ids=str)
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("net", ["small", "convnet", "mlp", "resnet9", "resnet18", "wrn"])
def test_a_net_that_check_lets_pass_takes_images_of_that_size(
    tmp_path: Path, shape: tuple[int, int], colours: int, net: str
) -> None:
    import torch

    from compiler.data.files import card_of
    from runtime.training.nets import build

    images = np.random.default_rng(0).integers(0, 255, (400, *shape, colours), np.uint8)
    np.savez(tmp_path / "set.npz", images=images[..., 0] if colours == 1 else images, labels=np.arange(400) % 2)
    for norm in ("batch", "group", "instance", "none"):
        path = study(tmp_path, "set.npz", **{"net: small": f"net: {net}, norm: {norm}"})
        try:
            point = compile_with_files(path).trials[0].trial.point
        except SpecError:
            continue
        made = build(point.classifier, card_of(point.data), torch.Generator().manual_seed(0))
        out = made(torch.rand(4, colours, *shape))
        out.sum().backward()
        assert out.shape == (4, 2)
        assert out.isfinite().all()


# --- the starter -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "mine",
        "my study",
        "mine.yaml",
        "Größe",
        "日本",
        "it's",
        'so "called"',
        "a #1",
        "x: y",
        "1e3",
        "null",
        "-x",
        "yes",
        "~",
        "[a]",
        "a&b",
    ],
)
def test_the_starter_passes_check_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["init", "--", name] if name.startswith("-") else ["init", name]
    assert main(words) == 0
    (written,) = tmp_path.glob("*.yaml")
    assert main(["check", str(written)]) == 0
    assert "no mistakes" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["npz", "folder", "split", "parquet"])
@pytest.mark.parametrize("name", ["set", "my set", "it's #1", 'so "called"'])
def test_the_starter_on_files_of_ones_own_passes_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = data_files.pictures(1200, 3, (8, 8))
    kept = [("abc"[label], encoded(image)) for image, label in zip(images, labels, strict=True)]
    if form in ("folder", "split"):
        path = tmp_path / name
        for part in ("train", "val") if form == "split" else ("",):
            write_folder(path / part, kept)
    else:
        path = tmp_path / f"{name}.npz"
        if form == "npz":
            np.savez(path, images=images, labels=labels)
        else:
            read_parquet(write_parquet(tmp_path / "set.parquet", kept).rename(tmp_path / f"{name}.parquet"), path)
    assert main(["init", "mine"]) == 0
    data = ["--set", "data.name=files", "--set", f"data.path={path.name}"]
    assert main(["check", "mine.yaml", *data]) == 0
    assert "no mistakes" in capsys.readouterr().out


@pytest.mark.parametrize("per_class", [3, 20])
def test_the_starter_on_too_few_images_is_told_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], per_class: int
) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = data_files.pictures(2 * per_class, 2, (8, 8))
    np.savez("set.npz", images=images, labels=labels)
    assert main(["init", "mine"]) == 0
    assert main(["check", "mine.yaml", "--set", "data.name=files", "--set", "data.path=set.npz"]) == 2
    assert "mine.yaml:" in capsys.readouterr().err


# --- places and letters ------------------------------------------------------------------------------------------------------

ASCII_NAMES = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}


def synthc(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code and error output of a command in an environment."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder), "HOME": str(folder), **environment}
    done = subprocess.run([sys.executable, "-m", "runtime.cli", *words], cwd=folder, env=env, capture_output=True)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", errors="replace")


@pytest.mark.parametrize("words", [("init", "日本"), ("check", "größe.yaml"), ("split", "日本", "-o", "x"), ("audit", "größe.npz")])
def test_a_name_that_the_locale_cannot_hold_is_told_what_to_set(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, said = synthc(tmp_path, *words, **ASCII_NAMES)
    assert code == 2
    assert "set PYTHONUTF8=1, or LC_ALL=C.UTF-8" in said
    assert "Traceback" not in said


def test_a_path_in_a_study_that_the_locale_cannot_hold_is_a_sentence(tmp_path: Path) -> None:
    study(tmp_path, "größe.npz")
    code, said = synthc(tmp_path, "check", "study.yaml", **ASCII_NAMES)
    assert code == 2
    assert "mistake of synthc" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("encoding", ["ascii", "shift_jis:strict"])  # what single bytes hold beyond ASCII differs; all hold ASCII
@pytest.mark.parametrize(
    "words", [("--help",), ("check", "→日.yaml"), ("data", "list"), ("check", "--explain", "L05"), ("nonsense→",)]
)
def test_help_and_errors_are_written_in_any_encoding(tmp_path: Path, encoding: str, words: tuple[str, ...]) -> None:
    code, said = synthc(tmp_path, *words, PYTHONIOENCODING=encoding)
    assert code in (0, 2)
    assert "Traceback" not in said
    assert "mistake of synthc" not in said


@pytest.mark.parametrize(
    "command",
    [
        "check study.yaml",
        "sql x",
        "data list",
        "init mine",
        "split digits -o x",
        "audit x.npz",
        "status",
        "schema",
        "run study.yaml",
    ],
)
def test_a_working_directory_that_is_gone_is_a_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "gone").mkdir()
    script = "import os, sys; os.rmdir(os.getcwd()); from runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script, *command.split(" ")], cwd=tmp_path / "gone", env=env, capture_output=True)
    assert done.returncode == 2
    assert b"the working directory was deleted; change to another one" in done.stderr
    assert b"Traceback" not in done.stderr
