"""Data sets: every format is read right, whatever is broken or hostile costs a sentence, and identity is content."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.compile import compile_study
from compiler.data import records
from compiler.data.files import card_of, file_digest
from compiler.data.records import record_of
from compiler.errors import SpecError, SynthcError
from compiler.inspect.data_notices import notices, unseen
from compiler.language.data import Data
from compiler.language.datasets import CARDS
from compiler.plan.lower import dataset_of
from compiler.work.operations import Dataset
from runtime.cli.main import main
from runtime.data import cards, sources
from runtime.data.catalogue import CATALOGUE, DEBIAN, find, md5_of
from runtime.data.formats import cifar, idx, svhn
from runtime.data.sources import load, read_and_record
from tests.conftest import TINY
from tests.runtime.data import data_files
from tests.test_layers import passes


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root, an empty cache, and no Debian packages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("runtime.data.catalogue.DEBIAN", tmp_path / "none")
    return tmp_path / "data"


def loaded(name: str, **more: object) -> sources.Loaded:
    read_and_record(name)
    return load(dataset_of(Data(name=name, **more)))  # type: ignore[arg-type]


# --- each format ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_zipped_or_not(root: Path, zipped: bool) -> None:
    data_files.mnist(root / "MNIST/raw", 40, 20, zipped)
    images, labels = data_files.pictures(40, 10, (28, 28), seed=40)
    found = loaded("mnist")
    assert torch.equal(found.pool.images[:, 0], torch.from_numpy(images))
    assert found.pool.labels.tolist() == labels.tolist()
    assert found.test is not None
    assert len(found.test) == 20


def published_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six small pickles, taken for the published ones."""
    data_files.cifar10(root, 50, 20, binary=False)
    checksums = CATALOGUE["cifar10"].forms[0].md5
    for path in (root / "cifar-10-batches-py").iterdir():
        monkeypatch.setitem(checksums, path.name, md5_of(path))  # type: ignore[arg-type]


@pytest.mark.parametrize("binary", [False, True])
def test_cifar10_is_read_from_its_pickles_and_from_its_binary_version(
    root: Path, monkeypatch: pytest.MonkeyPatch, binary: bool
) -> None:
    data_files.cifar10(root, 50, 20) if binary else published_cifar10(root, monkeypatch)
    images, labels = data_files.pictures(70, 10)
    found = loaded("cifar10")
    assert found.test is not None
    assert torch.equal(torch.cat([found.pool.images, found.test.images]), torch.from_numpy(images))
    assert torch.cat([found.pool.labels, found.test.labels]).tolist() == labels.tolist()


def test_both_versions_of_cifar10_are_one_data_set(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published_cifar10(root, monkeypatch)
    first = read_and_record("cifar10").digest
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "other"))
    data_files.cifar10(tmp_path / "other", 50, 20)
    assert read_and_record("cifar10").digest == first


def test_cifar100_takes_the_fine_labels_of_both_versions(tmp_path: Path) -> None:
    images, labels = data_files.pictures(100, 100)
    (tmp_path / "train").write_bytes(data_files.python2_pickle(images, labels.tolist(), "fine_labels"))
    python, _ = cifar.read_pickles(tmp_path, ["train"], ["train"], "fine_labels", {"train": md5_of(tmp_path / "train")})
    assert python.labels.tolist() == labels.tolist()
    coarse = np.concatenate([labels[:, None] % 20, labels[:, None], images.reshape(100, -1)], axis=1).astype(np.uint8)
    (tmp_path / "train.bin").write_bytes(coarse.tobytes())
    binary, _ = cifar.read_binary(tmp_path, ["train.bin"], ["train.bin"], labels=2)
    assert torch.equal(binary.images, python.images)
    assert torch.equal(binary.labels, python.labels)


def published_svhn(root: Path, monkeypatch: pytest.MonkeyPatch, test: int = 20) -> None:
    """Two small files, taken for the published ones."""
    data_files.svhn(root / "svhn", 30, test)
    for name in svhn.FILES:
        monkeypatch.setitem(CATALOGUE["svhn"].forms[0].md5, name, md5_of(root / "svhn" / name))


def test_svhn_is_read_as_scipy_reads_it_and_ten_is_the_digit_zero(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import loadmat

    published_svhn(root, monkeypatch)
    found = loaded("svhn")
    said = loadmat(root / "svhn/train_32x32.mat")
    assert torch.equal(found.pool.images, torch.from_numpy(said["X"].transpose(3, 2, 0, 1).copy()))
    assert found.pool.labels.tolist() == (said["y"][:, 0] % 10).tolist()
    assert set(found.pool.labels.tolist()) == set(range(10))


def test_cinic10_is_read_from_its_folders_without_the_images_of_cifar10(root: Path) -> None:
    from PIL import Image

    images, labels = data_files.pictures(20, 10)
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    for split in ("train", "test"):
        data_files.folders(root / "CINIC-10" / split, images, labels, classes)
        # In a study of CIFAR-10 these are the private images: as a public set they would show them.
        Image.fromarray(images[3, 0]).save(root / "CINIC-10" / split / "cat/cifar10-train-21103.png")
    Image.fromarray(images[0, 0]).save(root / "CINIC-10/train/airplane/n0000_0.png")
    found = loaded("cinic10").pool
    order = np.argsort(labels, kind="stable")
    assert torch.equal(found.images[1:], torch.from_numpy(images[order][1:]))
    assert torch.equal(found.images[0], torch.from_numpy(images[0, :1]).expand(3, -1, -1))  # grey among colours
    assert found.labels.tolist() == labels[order].tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_of_cinic10_without_an_image_of_imagenet_is_named(root: Path, split: str) -> None:
    images, labels = data_files.pictures(4, 2)
    for part in ("train", "test"):
        data_files.folders(root / "CINIC-10" / part, images, labels, ["airplane", "cat"])
    for image in (root / "CINIC-10" / split).rglob("*.png"):
        image.rename(image.with_name(f"cifar10-{image.name}"))
    with pytest.raises(SynthcError, match=rf"CINIC-10/{split}: no image of ImageNet; wanted are its n…_….png by class"):
        read_and_record("cinic10")


@pytest.mark.skipif(not (DEBIAN / "fashion-mnist").is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_what_its_pinned_digest_says() -> None:
    found = load(dataset_of(Data(name="fashion_mnist")))
    assert found.test is not None
    assert (len(found.pool), len(found.test)) == (60_000, 10_000)
    assert found.pool.labels.bincount().tolist() == [6_000] * 10


# --- the user's own ------------------------------------------------------------------------------------------------------


def planned_own(path: Path) -> Dataset:
    cards.write_record(str(path), cards.read(path))
    return dataset_of(Data(name="files", path=str(path)))


def own(path: Path) -> sources.Loaded:
    return load(planned_own(path))


def test_an_npz_in_every_layout_gives_the_same_images(tmp_path: Path) -> None:
    images, labels = data_files.pictures(24, 4, (3, 10, 10))
    for name, layout in (("first", images), ("last", images.transpose(0, 2, 3, 1))):
        np.savez_compressed(tmp_path / f"{name}.npz", images=layout, labels=labels, test_images=layout[:8], test_labels=labels[:8])
        found = own(tmp_path / f"{name}.npz")
        assert torch.equal(found.pool.images, torch.from_numpy(images))
        assert found.pool.labels.tolist() == labels.tolist()
        assert found.test is not None
        assert len(found.test) == 8
        assert found.classes == 4
    np.savez(tmp_path / "grey.npz", images=images[:, 0], labels=labels.astype(np.uint8))
    assert torch.equal(own(tmp_path / "grey.npz").pool.images[:, 0], torch.from_numpy(images[:, 0]))


def test_a_folder_of_images_by_class_is_read_with_its_splits(tmp_path: Path) -> None:
    images, labels = data_files.pictures(24, 4, (3, 10, 10))
    order = np.argsort(labels, kind="stable")
    for split in ("train", "test"):
        data_files.folders(tmp_path / "set" / split, images, labels, ["a", "b", "c", "d"])
    found = own(tmp_path / "set")
    assert torch.equal(found.pool.images, torch.from_numpy(images[order]))
    assert found.test is not None
    assert torch.equal(found.test.labels, found.pool.labels)


def test_own_images_that_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    images, labels = data_files.pictures(24, 4, (3, 10, 10))
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    planned = planned_own(tmp_path / "set.npz")
    np.savez(tmp_path / "set.npz", images=images[::-1], labels=labels)
    with pytest.raises(SynthcError, match=r"set\.npz: its content has changed since the study was planned"):
        load(planned)


def test_images_of_the_users_own_are_written_nowhere_and_their_record_is_for_their_owner_alone(tmp_path: Path, root: Path) -> None:
    images, labels = data_files.pictures(24, 4, (3, 10, 10))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b", "c", "d"])
    own(tmp_path / "set")
    assert not root.exists()
    (record,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert record.stat().st_mode & 0o077 == 0
    assert record.stat().st_size < 2_000  # counts and digests
    assert "n0000_0.png" not in record.read_text()


def test_parquet_with_image_bytes_becomes_an_npz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import duckdb

    images, labels = data_files.pictures(12, 3, (3, 9, 9))
    rows = [(png(image), f"class {label}") for image, label in zip(images, labels, strict=True)]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE plain (image BLOB, label VARCHAR)")
        connection.executemany("INSERT INTO plain VALUES (?, ?)", rows)
        connection.execute(f"COPY plain TO '{tmp_path}/plain.parquet'")
        packed = "SELECT {bytes: image, path: NULL::VARCHAR} AS img, right(label, 1)::BIGINT AS fine FROM plain"
        connection.execute(f"COPY ({packed}) TO '{tmp_path}/packed.parquet'")
    assert main(["data", "import", str(tmp_path / "plain.parquet"), "--test", str(tmp_path / "plain.parquet")]) == 0
    assert "12 images and 12 test images of 3 classes" in (out := capsys.readouterr().out)
    assert "0 class 0, 1 class 1, 2 class 2" in out
    words = ["--image", "img", "--label", "fine", "-o", str(tmp_path / "packed.npz")]
    assert main(["data", "import", str(tmp_path / "packed.parquet"), *words]) == 0
    for name in ("plain", "packed"):
        found = own(tmp_path / f"{name}.npz")
        assert torch.equal(found.pool.images, torch.from_numpy(images))
        assert found.pool.labels.tolist() == labels.tolist()
    assert main(["data", "import", str(tmp_path / "plain.parquet")]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def png(image: np.ndarray) -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(to, "PNG")
    return to.getvalue()


# --- broken and hostile files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it starts with nothing"),
        (b"\0\0\x0d\x01" + b"\0" * 8, "not an IDX file of unsigned bytes"),
        (data_files.idx(np.zeros((5, 28, 28)))[:-9], "truncated"),
        (data_files.idx(np.zeros((5, 28, 28))) + b"more", "longer where the header states 3,920 bytes"),
        (b"\0\0\x08\x03" + struct.pack(">3I", 1 << 20, 1 << 10, 1 << 10), "at most 1,073,741,824 bytes can be read"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_broken_idx_file_costs_a_sentence(tmp_path: Path, content: bytes, complaint: str, zipped: bool) -> None:
    path = tmp_path / ("broken.gz" if zipped else "broken")
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(SynthcError, match=complaint):
        idx.read_array(path)


def test_a_gzip_bomb_is_inflated_no_further_than_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(data_files.idx(np.zeros(10)) + bytes(1 << 24)))
    with pytest.raises(SynthcError, match="longer"):
        idx.read_array(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SynthcError, match="longer"):  # the end was never looked at
        idx.read_array(path)


@pytest.mark.parametrize("damage", [lambda content: b"\x80\x02cos\nsystem\nU\x05touch\x85R.", lambda content: content + b"."])
def test_a_pickle_that_was_not_published_is_never_unpickled(
    root: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    published_cifar10(root, monkeypatch)
    monkeypatch.setattr("pickle.loads", lambda *_, **__: pytest.fail("unpickled"))
    batch = root / "cifar-10-batches-py/data_batch_1"
    batch.write_bytes(damage(batch.read_bytes()))
    with pytest.raises(SynthcError, match=r"data_batch_1: not the published file .* no other is opened; fetch it again"):
        read_and_record("cifar10")


def test_a_binary_file_of_half_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "batch.bin").write_bytes(bytes(3073 + 100))
    with pytest.raises(SynthcError, match=r"batch\.bin: 3,173 bytes are no whole number of records of 3,073"):
        cifar.read_binary(tmp_path, ["batch.bin"], ["batch.bin"], labels=1)


def test_a_matlab_file_that_was_not_published_never_reaches_the_library_that_reads_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A forged file of 261 kB became 268 MB in `scipy.io.loadmat` before it was refused.
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("opened"))
    published_svhn(root, monkeypatch)
    train = root / "svhn/train_32x32.mat"
    train.write_bytes(train.read_bytes() + b"\0")
    with pytest.raises(SynthcError, match=r"train_32x32\.mat: not the published file .* fetch it again"):
        read_and_record("svhn")
    assert main(["data", "verify", "svhn"]) == 2


def test_labels_out_of_range_and_other_shapes_are_refused(root: Path) -> None:
    data_files.mnist(root / "MNIST/raw", 40, 20)
    labels = root / "MNIST/raw/train-labels-idx1-ubyte.gz"
    good = labels.read_bytes()
    labels.write_bytes(gzip.compress(data_files.idx(np.arange(40))))
    with pytest.raises(SynthcError, match=r"mnist: labels\[10\] is 10; from 0 to 9 is wanted; fetch it again"):
        read_and_record("mnist")
    labels.write_bytes(good)
    (root / "MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(data_files.idx(np.zeros((40, 20, 20)))))
    with pytest.raises(SynthcError, match=r"images have the shape \(40, 1, 20, 20\); it should be n × 1 × 28 × 28"):
        read_and_record("mnist")


def test_a_known_set_with_an_empty_split_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published_svhn(root, monkeypatch, test=0)
    with pytest.raises(SynthcError, match=r"svhn: images have the shape \(0, 3, 32, 32\); .*, n at least 1; fetch it again"):
        read_and_record("svhn")


def broken_png(folder: Path) -> None:
    path = folder / "a/n0000_0.png"
    path.write_bytes(path.read_bytes()[:60])


def larger_inside(folder: Path) -> None:
    """A second header further on that states another size, with a valid checksum."""
    path = folder / "a/n0000_0.png"
    content = path.read_bytes()
    second = b"IHDR" + struct.pack(">IIBBBBB", 3000, 3000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + second + struct.pack(">I", zlib.crc32(second))
    path.write_bytes(content[:33] + chunk + content[33:])


@pytest.mark.parametrize(
    ("damage", "complaint"), [(broken_png, "cannot be decoded"), (larger_inside, "3000×3000 pixels; at most 1,048,576 can be read")]
)
def test_a_damaged_image_of_a_folder_costs_a_sentence_that_names_it(tmp_path: Path, damage: object, complaint: str) -> None:
    images, labels = data_files.pictures(8, 2, (3, 10, 10))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b"])
    damage(tmp_path / "set")  # type: ignore[operator]
    with pytest.raises(SynthcError, match=rf"n0000_0\.png: {complaint}"):
        own(tmp_path / "set")


def test_an_image_that_would_inflate_to_gigabytes_is_not_decoded(tmp_path: Path) -> None:
    images, labels = data_files.pictures(8, 2, (3, 10, 10))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b"])
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(1 << 20)))
    bomb = b"".join(struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    (tmp_path / "set/a/n0000_0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    with pytest.raises(SynthcError, match=r"set: a/n0000_0\.png: .*3600000000 pixels"):
        own(tmp_path / "set")


def test_no_link_leads_out_of_a_folder_of_images(tmp_path: Path) -> None:
    images, labels = data_files.pictures(8, 2, (3, 10, 10))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b"])
    (tmp_path / "secret.png").write_bytes((tmp_path / "set/a/n0000_0.png").read_bytes())
    (tmp_path / "set/a/link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SynthcError, match=r"a/link\.png: a link that leads out of set"):
        own(tmp_path / "set")


@pytest.mark.parametrize("kind", ["image", "class", "link to a link"])
def test_links_lead_where_they_are_allowed_to_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    images, labels = data_files.pictures(8, 2, (3, 10, 10))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b"])
    digest = file_digest(tmp_path / "set")
    moved, place = (tmp_path / "kept" / "a", tmp_path / "set/a") if kind == "class" else (
        tmp_path / "kept" / "0.png", tmp_path / "set/a/n0000_0.png")  # fmt: skip
    moved.parent.mkdir()
    place.rename(moved)
    if kind == "link to a link":
        (tmp_path / "between").symlink_to(moved)
    place.symlink_to(tmp_path / "between" if kind == "link to a link" else moved)
    for allowed in ("", str(tmp_path / "elsewhere"), str(tmp_path / "kept" / "b")):
        monkeypatch.setenv("SYNTHC_LINKS", allowed)
        with pytest.raises(SynthcError, match="a link that leads out of set; copy what it points to, or name the folder"):
            own(tmp_path / "set")
    monkeypatch.setenv("SYNTHC_LINKS", f"/nowhere:{tmp_path / 'kept'}")
    assert len(own(tmp_path / "set").pool) == 8
    assert file_digest(tmp_path / "set") == digest  # what a link points to counts, not that it is one


def test_an_npz_with_an_object_in_it_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.array([Path("x")] * 3, dtype=object), labels=np.arange(3), allow_pickle=True)
    with pytest.raises(SynthcError, match="uint8"):
        own(tmp_path / "set.npz")


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet PAR1", b"PAR1"])
def test_broken_parquet_costs_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    assert main(["data", "import", str(tmp_path / "x.parquet")]) == 2
    assert "x.parquet: cannot be read as Parquet" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT 1 AS label, 'text' AS image", "the image column holds str"),
        ("SELECT 1 AS label, 'text'::BLOB AS image", "row 0: another file, no PNG or JPEG"),
        ("SELECT 1 AS label, 2 AS picture", "no column is called 'image'"),
        ("SELECT 1 AS label, NULL::BLOB AS image", "row 0: empty, no PNG or JPEG"),
        ("SELECT 1 AS label, 'x'::BLOB AS image WHERE false", "no row"),
    ],
)
def test_parquet_without_images_costs_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], query: str, complaint: str
) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{tmp_path}/x.parquet' (FORMAT parquet)")
    assert main(["data", "import", str(tmp_path / "x.parquet")]) == 2
    assert complaint in capsys.readouterr().err


# --- the record of the user's own files ----------------------------------------------------------------------------------

OWN_STUDY = TINY.replace("{name: digits, test: 360}", "{name: files, path: set, test: 60}").replace("z_pool: 40", "z_pool: 20")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """200 images by class, and the study of them."""
    images, labels = data_files.pictures(200, 4, (3, 8, 8))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b", "c", "d"])
    (tmp_path / "study.yaml").write_text(OWN_STUDY)
    return tmp_path / "set"


def test_a_command_reads_the_users_own_files_once_and_then_rests_on_their_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = folder.parent / "study.yaml"
    with pytest.raises(SpecError, match=r"study\.yaml:4:27: .*set: not read yet, or changed since; `synthc check` reads it"):
        compile_study(spec)
    assert main(["check", str(spec)]) == 0
    before = sorted(compile_study(spec).tasks)
    with monkeypatch.context() as patch:
        patch.setattr(cards, "read", lambda path: pytest.fail("read again"))
        assert main(["check", str(spec)]) == 0
        assert main(["diff", str(spec), str(spec)]) == 0
    image = folder / "b/n0001_0.png"
    image.write_bytes((folder / "b/n0005_0.png").read_bytes())  # changed in its place: the folder shows nothing of it
    assert not set(cards.compile_with_files(spec).tasks) & set(before)
    image.write_bytes(b"GIF89a")
    assert main(["check", str(spec)]) == 2
    assert "study.yaml:4:27: " in (said := capsys.readouterr().err)
    assert "b/n0001_0.png: a GIF, no PNG or JPEG" in said


def test_a_record_of_another_reader_or_that_somebody_changed_does_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = cards.read(folder)
    cards.write_record(str(folder), record)
    assert record_of(str(folder)) == record
    cards.write_record(str(folder), replace(record, revision=0))
    assert record_of(str(folder)) is None
    (file,) = records.record_files(str(folder))
    file.write_text("{}")
    assert record_of(str(folder)) is None


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "file"))  # a folder that nobody can make
    assert main(["check", str(folder.parent / "study.yaml")]) == 0


@pytest.mark.parametrize("path", ["\\0.npz", "a" * 300, "study.yaml/set", "/proc/1/root/set"])
def test_a_path_that_cannot_be_looked_at_is_a_complaint(folder: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    spec = folder.parent / "study.yaml"
    imported = f'  elsewhere: {{paradigm: imported, method: logits, path: "{path}"}}\n'
    spec.write_text(OWN_STUDY.replace("path: set", f'path: "{path}"') + imported)
    assert main(["check", str(spec)]) == 2
    assert "study.yaml:4:27: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("link", "target", "said"),
    [
        ("a/lost.png", "nowhere.png", "a/lost.png: not an image"),
        ("lost", "nowhere", "lost is no folder"),
        ("a/round.png", "round.png", "cannot be read: Symlink loop"),
        ("round", "round", "cannot be read: Symlink loop"),
        (".round", ".round", ""),  # what is hidden is passed over
    ],
)
def test_a_link_that_leads_nowhere_or_in_a_circle_is_a_complaint(
    folder: Path, capsys: pytest.CaptureFixture[str], link: str, target: str, said: str
) -> None:
    (folder / link).symlink_to(target)
    assert main(["check", str(folder.parent / "study.yaml")]) == (2 if said else 0)
    assert not said or ("study.yaml:4:27: " in (err := capsys.readouterr().err) and said in err)


def test_a_folder_that_cannot_be_listed_is_a_complaint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    def refusing(known: Callable[[object], object]) -> Callable[[object], object]:
        def opened(path: object = ".") -> object:
            if str(path) == str(folder / "b"):
                raise PermissionError(13, "Permission denied", str(path))
            return known(path)

        return opened

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    assert main(["check", str(folder.parent / "study.yaml")]) == 2
    assert "study.yaml:4:27: " in (said := capsys.readouterr().err)
    assert "set: b: cannot be read: [Errno 13] Permission denied" in said
    monkeypatch.undo()
    assert main(["check", str(folder.parent / "study.yaml")]) == 0


def test_files_in_grids_and_of_the_public_set_are_read_too(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        images, labels = data_files.pictures(200, 4, (3, 8, 8), seed=len(name))
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    data = "data: {name: files, test: 60, path: {grid: [one.npz, two.npz]}}\n"
    data += "public: {grid: [{name: files, path: three.npz}, {name: shapes}]}"
    (tmp_path / "study.yaml").write_text(OWN_STUDY.replace("data: {name: files, path: set, test: 60}", data))
    assert len(cards.compile_with_files(tmp_path / "study.yaml").trials) == 4 * 3


def test_checking_a_study_of_the_users_own_files_needs_no_torch(folder: Path) -> None:
    script = (
        "import sys; from runtime.cli.main import main\n"
        f"code = main(['check', {str(folder.parent / 'study.yaml')!r}])\n"
        "heavy = {'torch', 'ray', 'duckdb', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    passes(script)


# --- identity ------------------------------------------------------------------------------------------------------------

STUDY = (
    TINY.replace("{name: digits, test: 360}", "{name: cifar10}")
    .replace("z_pool: 40", "z_pool: 20")
    .replace("batch_size: 64", "batch_size: 16")
)


def planned(tmp_path: Path) -> list[str]:
    (tmp_path / "study.yaml").write_text(STUDY)
    return sorted(compile_study(tmp_path / "study.yaml").tasks)


def test_a_set_that_is_not_here_can_be_planned_and_says_so_and_cannot_be_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    plan = compile_study(tmp_path / "study.yaml")
    assert unseen(trial.trial for trial in plan.trials) == ["cifar10"]
    assert "ids are provisional" in notices(plan)[0]
    assert main(["plan", str(tmp_path / "study.yaml"), "--db", str(tmp_path / "results.duckdb")]) == 0
    assert "synthc data fetch cifar10" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "study.yaml"), "--engine", "inline", "--db", str(tmp_path / "results.duckdb")]) == 2
    said = capsys.readouterr().err
    assert f"put data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch into {root}" in said
    assert not list(tmp_path.glob(".synthc/??/*"))


@pytest.mark.parametrize("command", ["tune --engine inline --db results.duckdb", "export --membership splits --spec"])
def test_a_set_put_in_by_hand_is_identified_by_whichever_command_is_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data_files.cifar10(root, 200, 20)
    tries = "tune: {shadows: 2, arms: {undefended: {classifier: {epochs: 0.1}}}}\n"
    text = STUDY.replace("{name: cifar10}", "{name: cifar10, validation: 20}")
    Path("study.yaml").write_text(text + tries)
    assert main([*command.split(), "study.yaml"]) == 0
    assert record_of("cifar10") is not None


def test_two_contents_never_share_an_id_and_one_content_has_one_wherever_it_lies(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provisional = planned(tmp_path)
    data_files.cifar10(root, 100, 20)
    read_and_record("cifar10")
    first = planned(tmp_path)
    assert not set(first) & set(provisional)
    batch = root / "cifar-10-batches-bin/data_batch_3.bin"
    content = bytearray(batch.read_bytes())
    content[-100] ^= 1  # one bit of one pixel
    batch.write_bytes(content)
    assert planned(tmp_path) == provisional  # changed since it was seen: no longer believed
    read_and_record("cifar10")
    assert not set(planned(tmp_path)) & {*first, *provisional}
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "elsewhere"))
    data_files.cifar10(tmp_path / "elsewhere", 100, 20)
    read_and_record("cifar10")
    assert planned(tmp_path) == first


def test_counts_are_those_of_the_files_that_were_seen(root: Path) -> None:
    assert card_of(Data(name="cifar10")).samples == 50_000
    data_files.cifar10(root, 100, 20)
    read_and_record("cifar10")
    assert (card_of(Data(name="cifar10")).samples, card_of(Data(name="cifar10")).test_samples) == (100, 20)


def test_files_that_changed_after_the_plan_are_refused(root: Path) -> None:
    data_files.mnist(root / "MNIST/raw", 40, 20)
    read_and_record("mnist")
    planned_for = dataset_of(Data(name="mnist"))
    for path in (root / "arrays").iterdir():
        path.unlink()
    images, _ = data_files.pictures(40, 10, (28, 28), seed=7)
    (root / "MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(data_files.idx(images)))
    with pytest.raises(SynthcError, match=r"mnist: these images have the digest .*, the study was made for"):
        load(planned_for)


def test_an_altered_copy_of_a_pinned_set_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_files.mnist(root / "FashionMNIST/raw", 40, 20)
    with pytest.raises(SynthcError, match=f"made for {CARDS['fashion_mnist'].digest}"):
        load(dataset_of(Data(name="fashion_mnist")))
    assert main(["data", "verify"]) == 1
    assert "which is pinned: no study can use it" in capsys.readouterr().out


def test_decoded_arrays_are_mapped_by_the_next_process_and_compared_with_their_digest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_svhn(root, monkeypatch)
    read_and_record("svhn")
    dataset = dataset_of(Data(name="svhn"))
    (mapped,) = (root / "arrays").iterdir()
    (root / "svhn").rename(root / "away")  # nothing is decoded again
    first = load(dataset)
    assert str(mapped) in Path("/proc/self/maps").read_text()
    load.cache_clear()
    (root / "away").rename(root / "svhn")
    content = bytearray(mapped.read_bytes())
    content[-5000] ^= 1
    mapped.write_bytes(content)
    again = load(dataset)
    assert torch.equal(first.pool.images, again.pool.images)
    assert sources.content_digest(again.pool, again.test) == dataset.digest


def test_a_data_root_that_cannot_be_written_is_used_all_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_files.mnist(root / "MNIST/raw", 40, 20)
    mkdir = Path.mkdir

    def no_folder(path: Path, *words: object, **more: object) -> None:
        if path.parent == root:
            raise PermissionError(13, "Permission denied")
        mkdir(path, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", no_folder)
    record = read_and_record("mnist")
    assert sorted(path.name for path in root.iterdir()) == ["MNIST"]
    assert record_of("mnist") == record
    assert sources.mapped_arrays(record.digest) is not None
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "other"))
    assert record_of("mnist") is None  # what was seen elsewhere says nothing of this root


def test_a_class_balanced_part_is_balanced_and_lies_within_a_larger_one(root: Path) -> None:
    data_files.cifar10(root, 200, 20)
    small, large = loaded("cifar10", subset=50), loaded("cifar10", subset=103)
    assert small.pool.labels.bincount().tolist() == [5] * 10
    assert sorted(large.pool.labels.bincount().tolist()) == [10] * 7 + [11] * 3
    rows = {tuple(image.flatten().tolist()) for image in large.pool.images}
    assert all(tuple(image.flatten().tolist()) in rows for image in small.pool.images)


def test_another_size_is_the_same_whatever_else_is_resized_with_it(root: Path) -> None:
    images, labels = data_files.pictures(6, 3)
    data = sources.LabeledImages(torch.from_numpy(images), torch.from_numpy(labels))
    whole = sources.resize(data, (1, 28, 28))
    alone = torch.cat([sources.resize(data[torch.tensor([row])], (1, 28, 28)).images for row in range(6)])
    assert torch.equal(whole.images, alone)
    assert whole.images.shape == (6, 1, 28, 28)


# --- listing and checking ------------------------------------------------------------------------------------------------


def test_the_list_says_of_every_set_where_it_is_and_whether_it_was_verified(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_files.cifar10(root, 50, 20)
    data_files.mnist(root / "MNIST/raw", 40, 20)
    (root / "svhn").mkdir()
    (root / "svhn/train_32x32.mat").write_bytes(b"")

    def lines() -> dict[str, str]:
        assert main(["data", "list"]) == 0
        return {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}

    said = lines()
    assert set(CARDS) <= set(said)
    assert "unverified until it is read: synthc data verify cifar10" in said["cifar10"]
    assert "not here; synthc data fetch cinic10" in said["cinic10"]
    assert "lacks test_32x32.mat" in said["svhn"]
    assert main(["data", "verify", "mnist"]) == 1  # tiny files are not the published ones
    assert "train-images-idx3-ubyte.gz: not the published file" in capsys.readouterr().out
    record = record_of("mnist")
    assert record is not None
    assert record.digest in lines()["mnist"]
    assert "NOT the published files" in lines()["mnist"]


def test_files_for_which_nothing_is_published_are_said_to_be_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_files.cifar10(root, 50, 20)
    assert main(["data", "verify", "cifar10"]) == 0
    assert "no checksums are published for this form" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["data verify mnist", "split mnist -o parts --coins"])
def test_a_file_of_a_known_set_that_cannot_be_read_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    data_files.mnist(root / "MNIST/raw", 40, 20)
    opened = Path.open

    def refusing(path: Path, *words: str, **more: str) -> object:
        if path.name == "train-labels-idx1-ubyte.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *words, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refusing)
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert "train-labels-idx1-ubyte.gz: cannot be read: Permission denied" in said
    assert "details" not in said


def test_a_root_with_one_file_missing_says_which(root: Path) -> None:
    data_files.cifar10(root, 50, 20)
    (root / "cifar-10-batches-bin/data_batch_4.bin").unlink()
    with pytest.raises(SynthcError, match=r"cifar-10-batches-bin lacks data_batch_4\.bin; put it there"):
        find("cifar10")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("fetch", "cifar11"), "did you mean 'cifar10'"),
        (("fetch", "digits"), "'digits' needs no files"),
        (("verify", "mnist"), "mnist: not on this machine"),
        (("verify",), "no data set lies in"),
    ],
)
def test_a_name_that_cannot_be_had_is_said_with_exit_code_two(
    root: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert main(["data", *words]) == 2
    assert complaint in capsys.readouterr().err
