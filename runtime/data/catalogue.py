"""Known data sets: where their files may be on this machine and how they are read. `catalogue.toml` has where they are published.

Not here: downloading (`fetch`), the formats (`runtime.data.formats`), cards (`compiler.language.datasets`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import file_digest, md5
from pathlib import Path
from typing import Any

from compiler.data.files import by_class
from compiler.data.records import data_root
from compiler.errors import SynthcError
from runtime.data.formats import cifar, idx, svhn
from runtime.data.formats.own_files import decoded
from runtime.data.images import LabeledImages

DEBIAN = Path("/usr/share/datasets")
"""Folder of Debian's packages `dataset-*`."""

Splits = tuple[LabeledImages, LabeledImages | None]


@dataclass(frozen=True)
class Remote:
    """A published file."""

    urls: tuple[str, ...]
    """URLs of the same file, tried in order."""
    md5: str
    into: str
    """Folder below the data root."""
    unpacks: tuple[str, ...] = ()
    """Of an archive: files or folders in it to unpack, relative to `into`; () for a file that is used as it is."""

    @property
    def name(self) -> str:
        return self.urls[0].rsplit("/", 1)[1]


@dataclass(frozen=True)
class Form:
    """One layout of a set on disk: names of its files (or folders of images) in one folder."""

    folders: tuple[str, ...]
    """Possible folders below a root; downloads go to the first, which is torchvision's or the archive's."""
    files: tuple[str, ...]
    read: Callable[[Path], Splits]
    md5: Mapping[str, str] = field(default_factory=dict)
    """File → its published MD5."""
    zipped: bool = False
    """Whether a file may also be there as `<name>.gz`."""

    def present(self, folder: Path, file: str) -> Path | None:
        """Path of `file` in a folder, or, if `zipped`, of `file.gz` where that alone is there; None if it is absent."""
        names = (file, f"{file}.gz") if self.zipped else (file,)
        return next((folder / name for name in names if (folder / name).exists()), None)


@dataclass(frozen=True)
class Entry:
    """Layouts and downloads of a set."""

    forms: tuple[Form, ...]
    remotes: tuple[Remote, ...] = ()


Words = Mapping[str, Any]
"""One set's table in `catalogue.toml`."""


def _idx(words: Words) -> Entry:
    form = Form(words["folders"], idx.FILES, idx.read, words["md5"], zipped=True)
    return Entry((form,), _list_remotes(words))


def _svhn(words: Words) -> Entry:
    read = partial(svhn.read, checksums=words["md5"])
    return Entry((Form(words["folders"], svhn.FILES, read, words["md5"]),), _list_remotes(words))


def _list_remotes(words: Words) -> tuple[Remote, ...]:
    """The downloads of a set whose files are published one by one, each at all `places`, in the order of `md5`; they go to the
    first of `folders`."""
    places, into = words["places"], words["folders"][0]
    return tuple(Remote(tuple(place + name for place in places), checksum, into) for name, checksum in words["md5"].items())


def _cifar(words: Words) -> Entry:
    """CIFAR's entry: forms of the Python version (pickles) and of the binary version, and the archive of the former to download."""
    files, test, key = tuple(words["md5"]), (words["test"],), words["labels"]
    pool = tuple(file for file in files if file not in test)
    as_bytes: dict[str, Any] = {part: tuple(f"{file}.bin" for file in of) for part, of in (("pool", pool), ("test", test))}
    pickles = partial(cifar.read_pickles, pool=pool, test=test, key=key, checksums=words["md5"])
    records = partial(cifar.read_binary, **as_bytes, labels=2 if key == "fine_labels" else 1)
    forms = (
        Form(words["folders"], files, pickles, words["md5"]),
        Form(tuple(words["binary_folders"]), (*as_bytes["pool"], *as_bytes["test"]), records),
    )
    (url, checksum), folder = words["archive"], words["folders"][0]
    return Entry(forms, (Remote((url,), checksum, "", tuple(f"{folder}/{file}" for file in files)),))


def _cinic(words: Words) -> Entry:
    (url, checksum), folders = words["archive"], ("train", "test")
    return Entry((Form(words["folders"], folders, _read_cinic),), (Remote((url,), checksum, words["folders"][0], folders),))


def _read_cinic(folder: Path) -> Splits:
    """Pool and test split: ImageNet's images (`n…_….png`) of the `train` and `test` folders. The images of CIFAR-10 in the set are
    left out, since they would make the private images of a study on CIFAR-10 public; `valid` is not read. SynthcError where the
    folders are missing, hold anything but classes of images of 32×32 pixels, or none of ImageNet."""
    pool, test = (decoded(_imagenets(folder / split, folder), folder, (3, 32, 32)) for split in ("train", "test"))
    return pool, test


def _imagenets(split: Path, folder: Path) -> list[tuple[Path, int]]:
    """ImageNet's images in a split, at least one, as by `by_class`; errors as of `_read_cinic`."""
    images = [image for image in by_class(split, folder) if IMAGENET.match(image[0].name)]
    if not images:
        wanted = "wanted are its n…_….png by class, beside those of CIFAR-10, which are not read"
        raise SynthcError(f"{split}: no image of ImageNet; {wanted}; fetch it again")
    return images


IMAGENET = re.compile(r"n\d+_")

FORMATS: dict[str, Callable[[Words], Entry]] = {"idx": _idx, "cifar": _cifar, "svhn": _svhn, "cinic": _cinic}
CATALOGUE = {
    name: FORMATS[words["format"]](words | {"folders": tuple(words["folders"])})
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items()
}
"""Sets that are read from files; `digits` comes with scikit-learn and `shapes` is generated."""


@dataclass(frozen=True)
class Found:
    """A set's files on this machine."""

    form: Form
    folder: Path

    @property
    def files(self) -> list[Path]:
        """Paths of the files that are there; for a folder of images those of its classes' folders, whose times change with their
        content. OSError where a folder cannot be read."""
        paths = [path for name in self.form.files if (path := self.form.present(self.folder, name)) is not None]
        return [part for path in paths for part in (sorted(path.iterdir()) if path.is_dir() else [path])]

    def checked(self) -> list[tuple[Path, bool | None]]:
        """Pairs of each of `files` and whether its MD5 is the published one; None where none is published under its name, as for
        unpacked files of a set that is published gzipped. OSError where one cannot be read."""
        of = self.form.md5
        return [(path, None if path.name not in of else md5_of(path) == of[path.name]) for path in self.files]


def find(name: str) -> Found:
    """The first layout of the set, one of CATALOGUE, of which all files are there (their content is not looked at): in the data
    root, then in Debian's folder. SynthcError if there is none."""
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
    """MD5 of a file, in hexadecimal digits."""
    # MD5, since publishers give it: it detects damage, and although collisions can be made, a second preimage cannot.
    with path.open("rb") as handle:
        return file_digest(handle, partial(md5, usedforsecurity=False)).hexdigest()
