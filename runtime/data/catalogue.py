"""Where the files of known data sets may lie, how they are read, where they are published and with which checksums.

URLs and md5 of MNIST, Fashion-MNIST, CIFAR and SVHN are those of torchvision 0.29.1 (`torchvision/datasets/{mnist,cifar,svhn}.py`).
CINIC-10 (Darlow et al. 2018, doi 10.7488/ds/2448): URL and md5 of the archive as nine public loaders give them, all alike.
Not here: downloading (`fetch`), the formats (`runtime.data.formats`), cards (`compiler.language.datasets`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import file_digest, md5
from pathlib import Path

from compiler.data.files import by_class
from compiler.data.records import data_root
from compiler.errors import SynthcError
from runtime.data.formats import cifar, idx, svhn
from runtime.data.formats.own_files import decoded
from runtime.data.images import LabeledImages

DEBIAN = Path("/usr/share/datasets")
"""Where Debian's packages `dataset-*` put their files."""

Splits = tuple[LabeledImages, LabeledImages | None]


@dataclass(frozen=True)
class Remote:
    """A published file."""

    urls: tuple[str, ...]
    """The same file at several places, the first that answers is taken."""
    md5: str
    into: str
    """Folder below the data root."""
    unpacks: tuple[str, ...] = ()
    """Of an archive: what it holds that is wanted, files or folders relative to `into`; () for a file that is used as it is."""

    @property
    def name(self) -> str:
        return self.urls[0].rsplit("/", 1)[1]


@dataclass(frozen=True)
class Form:
    """One form in which a set is found: names of its files (or folders of images) in one folder."""

    folders: tuple[str, ...]
    """Below a root; a download goes to the first, which is torchvision's or the archive's own."""
    files: tuple[str, ...]
    read: Callable[[Path], Splits]
    md5: Mapping[str, str] = field(default_factory=dict)
    """File → what its publisher says of it."""
    zipped: bool = False
    """Whether a file may also lie there as `<name>.gz`."""

    def present(self, folder: Path, file: str) -> Path | None:
        """Where `file` is; None if it is absent."""
        names = (file, f"{file}.gz") if self.zipped else (file,)
        return next((folder / name for name in names if (folder / name).exists()), None)


@dataclass(frozen=True)
class Entry:
    """What is known of a set's files."""

    forms: tuple[Form, ...]
    remotes: tuple[Remote, ...] = ()


def _idx(folders: tuple[str, ...], places: tuple[str, ...], checksums: tuple[str, ...]) -> Entry:
    of = {f"{name}.gz": checksum for name, checksum in zip(idx.FILES, checksums, strict=True)}
    remotes = (Remote(tuple(place + name for place in places), checksum, folders[0]) for name, checksum in of.items())
    return Entry((Form(folders, idx.FILES, idx.read, of, zipped=True),), tuple(remotes))


def _cifar(
    name: str,
    folder: str,
    binary: str,
    pool: tuple[str, ...],
    test: tuple[str],
    key: str,
    archive: Remote,
    checksums: tuple[str, ...],
) -> Entry:
    files = (*pool, *test)
    as_bytes = [tuple(f"{file}.bin" for file in split) for split in (pool, test)]
    published = dict(zip(files, checksums, strict=True))
    pickles = partial(cifar.read_pickles, pool=pool, test=test, key=key, checksums=published)
    records = partial(cifar.read_binary, pool=as_bytes[0], test=as_bytes[1], labels=2 if key == "fine_labels" else 1)
    forms = (Form((folder, name), files, pickles, published), Form((binary, name), (*as_bytes[0], *as_bytes[1]), records))
    return Entry(forms, (replace(archive, unpacks=tuple(f"{folder}/{file}" for file in files)),))


def _cinic(folder: Path) -> Splits:
    """ImageNet's images (`n…_….png`) of the `train` and `test` folders; `valid` is left alone. The 60,000 images of CIFAR-10 among
    them would make the private images of a study of CIFAR-10 public."""
    pool, test = (
        decoded([image for image in by_class(folder / split, folder) if IMAGENET.match(image[0].name)], (3, 32, 32))
        for split in ("train", "test")
    )
    return pool, test


IMAGENET = re.compile(r"n\d+_")

SVHN_MD5 = dict(zip(svhn.FILES, ("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"), strict=True))

CATALOGUE: dict[str, Entry] = {
    "mnist": _idx(
        ("MNIST/raw", "mnist"),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion_mnist": _idx(
        ("FashionMNIST/raw", "fashion_mnist", "fashion-mnist"),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "cifar10": _cifar(
        "cifar10",
        "cifar-10-batches-py",
        "cifar-10-batches-bin",
        ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
        ("test_batch",),
        "labels",
        Remote(("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",), "c58f30108f718f92721af3b95e74349a", ""),
        (
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
    ),
    "cifar100": _cifar(
        "cifar100",
        "cifar-100-python",
        "cifar-100-binary",
        ("train",),
        ("test",),
        "fine_labels",
        Remote(("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",), "eb9058c3a382ffc7106e4002c42a8d85", ""),
        ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
    "svhn": Entry(
        # torchvision leaves the files in the root itself
        (Form(("svhn", "SVHN", ""), svhn.FILES, partial(svhn.read, checksums=SVHN_MD5), SVHN_MD5),),
        tuple(Remote((f"http://ufldl.stanford.edu/housenumbers/{file}",), md5, "svhn") for file, md5 in SVHN_MD5.items()),
    ),
    "cinic10": Entry(
        (Form(("CINIC-10", "cinic-10", "CINIC10", "cinic10"), ("train", "test"), _cinic),),
        (
            Remote(
                ("https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",),
                "6ee4d0c996905fe93221de577967a372",
                "CINIC-10",
                ("train", "test"),
            ),
        ),
    ),
}
"""Sets that lie in files; `digits` comes with scikit-learn and `shapes` are drawn."""


@dataclass(frozen=True)
class Found:
    """A set's files on this machine."""

    form: Form
    folder: Path

    @property
    def files(self) -> list[Path]:
        """The files, each as it is found; for a folder of images the folders of its classes, which change with what they hold."""
        paths = [path for name in self.form.files if (path := self.form.present(self.folder, name)) is not None]
        return [part for path in paths for part in (sorted(path.iterdir()) if path.is_dir() else [path])]

    def checked(self) -> list[tuple[Path, bool | None]]:
        """Whether each file is the published one; None where its publisher gives no checksum of it."""
        of = self.form.md5
        return [(path, None if path.name not in of else md5_of(path) == of[path.name]) for path in self.files]


def find(name: str) -> Found:
    """The first complete form of the set in `$SYNTHC_DATA` (or its default) or Debian's place; SynthcError if there is none."""
    entry = CATALOGUE[name]
    incomplete = []
    for root in (data_root(), DEBIAN):
        for form in entry.forms:
            for folder in (root / below for below in form.folders):
                missing = [file for file in form.files if form.present(folder, file) is None]
                if not missing:
                    return Found(form, folder)
                if len(missing) < len(form.files):
                    incomplete.append(f"{folder} lacks {', '.join(missing)}")
    if incomplete:
        raise SynthcError(f"{name}: {incomplete[0]}; put it there, or run `synthc data fetch {name}`")
    wanted, into = entry.forms[0], data_root() / entry.forms[0].folders[0]
    raise SynthcError(
        f"{name}: not on this machine; run `synthc data fetch {name}`, or put {', '.join(wanted.files)} into {into} "
        "(SYNTHC_DATA names another root)"
    )


def md5_of(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    # What publishers give. It tells damage; and although two files of one md5 can be made, another one of a given md5 cannot.
    with path.open("rb") as handle:
        return file_digest(handle, partial(md5, usedforsecurity=False)).hexdigest()
