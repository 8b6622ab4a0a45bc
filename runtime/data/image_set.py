"""Reads any set of labeled images that a user names: an .npz, a folder of images by class, Parquet, or a known data set.

Folders, .npz and Parquet files are read as one set without splits. Decoded images are kept in memory only.
Not here: records of a study's files for the compiler (`cards`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compiler.data.files import MAX_BYTES_OF_IMAGES, by_class, check_grey, class_count, image_shape, remedy
from compiler.data.records import Array
from compiler.errors import SynthcError, did_you_mean, plural
from compiler.language.data import Data
from compiler.language.datasets import CARDS, Shape
from compiler.plan.lower import dataset_of
from runtime.data.cards import describe_labels
from runtime.data.catalogue import CATALOGUE
from runtime.data.formats import parquet
from runtime.data.formats.npz import checked_arrays, read_arrays, read_headers
from runtime.data.formats.own_files import channels_first, decoded
from runtime.data.images import LabeledImages
from runtime.data.sources import load, read_and_record, resize


@dataclass(frozen=True)
class ImageSet:
    """Images with names of their classes, and of their files, if they come from a folder."""

    name: str
    """The user's name for the set, with which errors begin."""
    data: LabeledImages
    classes: tuple[str, ...]
    """label: name of the class."""
    files: tuple[Path, ...] = ()
    """row: file, for a folder."""
    units: tuple[str, ...] | None = None
    """row: unit that a split keeps together, such as a person; None where each image is a unit."""

    def __len__(self) -> int:
        return len(self.data)

    @property
    def counts(self) -> Tensor:
        """class, int64: number of images, 0 for classes without any."""
        return self.data.labels.bincount(minlength=len(self.classes))

    def image_name(self, row: int) -> str:
        """Name of an image for users: `class/file` for a folder, else `row 12`."""
        return "/".join(self.files[row].parts[-2:]) if self.files else f"row {row}"

    def digests(self) -> list[str]:
        """row: digest of shape and pixels, 32 hexadecimal digits, independent of class and file format."""
        shape = f"{tuple(self.data.images.shape[1:])}".encode()
        return [blake2b(image.tobytes(), digest_size=16, key=shape).hexdigest() for image in self.data.images.contiguous().numpy()]


def read_image_set(name: str, *, image: str = "image", label: str = "label", unit: str | None = None) -> ImageSet:
    """Read the set `name`: a folder, an .npz or .parquet file, else a known data set, of which the official test split is left out,
    and which is decoded and recorded first (`read_and_record`) if its digest is not pinned. Of an .npz only `images`, `labels` and
    units are read. SynthcError, which begins with `name`, for whatever is wrong with it, and one that begins with `--unit` for what
    is wrong with a file of units; OSError where a file of a known set cannot be opened.

    `image`, `label`: columns of Parquet. `unit`: a column of Parquet, an array of an .npz, or a file of lines `image,unit` (image:
    `class/file` of a folder, else the row's number, from 0).
    """
    path = Path(name)
    try:
        if path.is_dir():
            found = _folder(name, path)
        elif path.suffix == ".npz" and path.exists():
            found = _npz(name, path, unit)
        elif path.suffix == ".parquet" and path.exists():
            found = _parquet(name, path, image, label, unit)
        else:
            found = _known(name)
        check_grey(Array("|u1", tuple(found.data.images.shape), highest=float(found.data.images.max())))
    except SynthcError as error:
        raise error if str(error).startswith(name) else SynthcError(f"{name}: {error}") from error
    if unit is not None and found.units is None:
        found = replace(found, units=_units_of_file(found, unit))
    return found


def image_set_of(name: str, arrays: Mapping[str, object], unit: str | None = None) -> ImageSet:
    """An image set from the arrays `images` (uint8, or floats from 0 to 1), `labels` and, if it is among them, the one named by
    `unit`; else each image is a unit. SynthcError, which begins with `name`, where images or labels are missing, an array is not
    valid (as of `image_shape` and `class_count`), or there are further arrays."""
    try:
        return _of_arrays(name, checked_arrays(arrays, ("images", "labels", *([unit] if unit else []))), unit)
    except SynthcError as error:
        raise SynthcError(f"{name}: {error}") from error


def aligned(sets: Sequence[ImageSet]) -> list[ImageSet]:
    """New sets with the images of `sets`, at least one, and a common list of classes; SynthcError where classes, image sizes or
    channels differ.

    The first set is the reference: each other set must have images of exactly its classes. Classes without images are dropped, and
    labels renumbered in the common order: numbers by value, then names.
    """
    first = sets[0]
    wanted = {name for name, count in zip(first.classes, first.counts.tolist(), strict=True) if count}
    order = sorted(wanted, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    shape = tuple(first.data.images.shape[1:])
    made = []
    for one in sets:
        if (other := tuple(one.data.images.shape[1:])) != shape:
            sizes = (f"{height}×{width} in {'colour' if channels == 3 else 'grey'}" for channels, height, width in (other, shape))
            raise SynthcError(f"{one.name}: images of {' and '.join(sizes)} in {first.name}; all sets need one size and one kind")
        held = {name for name, count in zip(one.classes, one.counts.tolist(), strict=True) if count}
        if empty := sorted(wanted - held):
            count = int(first.counts[first.classes.index(empty[0])])
            there = f"{first.name} has {count:,}; leave the class out everywhere, or fill it"
            raise SynthcError(f"{one.name}: no image of class {empty[0]!r}, of which {there}")
        if unknown := sorted(held - wanted):
            raise SynthcError(f"{one.name}: {first.name} has no class {unknown[0]!r}; {did_you_mean(unknown[0], wanted)}")
        place = torch.tensor([order.index(name) if name in wanted else -1 for name in one.classes])
        made.append(replace(one, data=LabeledImages(one.data.images, place[one.data.labels]), classes=tuple(order)))
    return made


def resized(public: ImageSet, shape: Shape) -> ImageSet:
    """The set with images resized to `shape` (channels, height, width), as a study resizes its public set."""
    return replace(public, data=resize(public.data, shape))


def _known(name: str) -> ImageSet:
    if name not in CARDS:
        if Path(name).is_file():
            raise SynthcError(f"neither an .npz, a folder nor a .parquet file; {remedy(Path(name))}")
        known = f"{did_you_mean(name, CARDS)}, or an .npz, a folder of images by class, or a .parquet file"
        raise SynthcError(f"there is no such file or folder, and no data set is called that; {known}")
    if name in CATALOGUE and not CARDS[name].digest:
        read_and_record(name)
    pool = load(dataset_of(Data(name=name))).pool
    return ImageSet(name, pool, tuple(map(str, range(CARDS[name].classes))))


def _folder(name: str, path: Path) -> ImageSet:
    images = by_class(path, path)
    for where in (image.relative_to(path).as_posix() for image, _ in images):
        if where.encode(errors="ignore").decode() != where:  # no record, page or database can hold it
            raise SynthcError(f"{where}: the name is not UTF-8; rename it")
    data = decoded(images, path)
    if (data.images == data.images[:, :1]).all():  # one channel filled three, or all files are grey in colours
        data = LabeledImages(data.images[:, :1].contiguous(), data.labels)
    classes = tuple(dict.fromkeys(image.parent.name for image, _ in images))
    return ImageSet(name, data, classes, tuple(image for image, _ in images))


def _npz(name: str, path: Path, unit: str | None) -> ImageSet:
    wanted = ["images", "labels", *([unit] if unit in read_headers(path) else [])]
    return _of_arrays(name, read_arrays(path, wanted, 5 * MAX_BYTES_OF_IMAGES), unit)


def _of_arrays(name: str, arrays: Mapping[str, np.ndarray], unit: str | None) -> ImageSet:
    for missing in {"images", "labels"} - arrays.keys():
        raise SynthcError(f"no array is called {missing!r}; wanted are images (n × h × w or n × h × w × c) and labels (n)")
    images, labels = _grey_levels(arrays["images"]), arrays["labels"]
    highest = float(images.max()) if images.size and images.dtype.kind in "iuf" else None
    described = {"images": Array(images.dtype.str, images.shape, highest=highest), "labels": Array(labels.dtype.str, labels.shape)}
    if labels.dtype.kind in "iu" and labels.size:
        described["labels"] = describe_labels(labels)
    shape, count = image_shape(described, "images")
    classes = class_count(described, "labels", count)
    data = LabeledImages(torch.from_numpy(channels_first(images, shape)), torch.from_numpy(labels.astype(np.int64)))
    units = None
    if unit is not None and unit in arrays:
        if arrays[unit].shape != (count,):
            raise SynthcError(f"{unit} has the shape {arrays[unit].shape}; it should be one unit for each of {count} images")
        units = tuple(map(str, arrays[unit].tolist()))
    return ImageSet(name, data, tuple(map(str, range(classes))), units=units)


def _grey_levels(images: np.ndarray) -> np.ndarray:
    """Images as uint8: floats from 0 to 1 are scaled to 0..255 and rounded. SynthcError for floats that are outside or not finite;
    other types are returned unchanged."""
    if images.dtype.kind != "f":
        return images
    if not images.size:
        return images.astype(np.uint8)
    bad = ~np.isfinite(images)
    if bad.any():
        place = [int(index) for index in np.argwhere(bad)[0]]
        raise SynthcError(f"images{place} is {images[tuple(place)]}; leave such images out, and look why they were made")
    least, most = float(images.min()), float(images.max())
    if least < 0 or most > 1:
        what = f"images are numbers from {least:.3g} to {most:.3g}"
        raise SynthcError(f"{what}; wanted is uint8, or numbers from 0 to 1: undo a normalisation, clip what is outside")
    return (images * 255).round().astype(np.uint8)


def _parquet(name: str, path: Path, image: str, label: str, unit: str | None) -> ImageSet:
    parquet.check_shards([path])
    inside = unit if unit in parquet.columns_of(path) else None
    images, labels, units = parquet.read(path, image, label, inside)
    classes = sorted(set(labels))
    place = {of: index for index, of in enumerate(classes)}
    numbers = torch.tensor([place[of] for of in labels])
    shape = (images.shape[3] if images.ndim == 4 else 1, *images.shape[1:3])
    data = LabeledImages(torch.from_numpy(channels_first(images, shape)), numbers)
    return ImageSet(name, data, tuple(map(str, classes)), units=tuple(map(str, units)) if inside else None)


def _units_of_file(of: ImageSet, unit: str) -> tuple[str, ...]:
    """row: unit, from a CSV file of lines `image,unit` (image: `class/file` of a folder, else the row's number), of which the last
    about an image holds; lines about other images are ignored. SynthcError, which begins with `--unit`, where an image has no unit,
    a line has not two values, or the file is missing or cannot be read."""
    path = Path(unit)
    if not path.is_file():
        inside = "a file of lines `image,unit`, a column of Parquet or an array of an .npz"
        raise SynthcError(f"--unit {unit}: neither a file nor part of {of.name}; wanted is {inside}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SynthcError(f"--unit {unit}: cannot be read: {error}") from error
    for line, row in rows:
        if len(row) != 2:
            raise SynthcError(f"--unit {unit}:{line}: {plural(len(row), 'value')}; wanted are two, image and unit")
    said = dict(row for _, row in rows)
    names = [of.image_name(row).removeprefix("row ") for row in range(len(of))]
    if missing := [name for name in names if name not in said]:
        example = f"{len(missing):,} images of {of.name} have no unit, the first is {missing[0]!r}"
        raise SynthcError(f"--unit {unit}: {example}; every image needs a line `image,unit`")
    return tuple(said[name] for name in names)
