"""Draws members, holdout and test set at random before anything is trained, and records the draw, so that a second one is noticed.

The random numbers are a keyed digest of the images: the same images always give the same split, so it cannot be redrawn until it
suits. Images of one unit (equal images, all images of one person) are in the same part.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compiler.errors import SynthcError, plural
from runtime.data.image_set import ImageSet
from runtime.store.files import atomic_write

PARTS = ("members", "holdout", "test")
FILE = "split.json"
UNITS = "units.csv"
VERSION = 1


@dataclass(frozen=True)
class Design:
    """How a split is drawn. Sizes are numbers of units, or shares of all units."""

    coins: bool
    """Whether each unit that is not in the test set is a member by an independent fair coin."""
    holdout: Fraction | int
    """Size of the holdout; not used with coins."""
    test: Fraction | int
    stratify: bool = False

    @property
    def as_json(self) -> dict[str, Any]:
        size = {name: str(getattr(self, name)) for name in ("holdout", "test") if not (self.coins and name == "holdout")}
        return {"how": "coins" if self.coins else "exact", **size, "stratify": self.stratify}


@dataclass(frozen=True)
class Units:
    """Groups of images that a split keeps in one part."""

    of: np.ndarray
    """image: index of its unit, 0 to `len(self) - 1`."""
    digests: tuple[str, ...]
    """unit: digest of its images, independent of their order."""
    merged: int
    """Number of images that are equal to an earlier one, and so in its unit."""

    def __len__(self) -> int:
        return len(self.digests)


def units_of(data: ImageSet) -> Units:
    """The units of a set: those of `data.units`, without these single images; units that share an image, equal in shape and pixels
    (its class does not matter), are merged into one."""
    digests = data.digests()
    parent = list(range(len(digests)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    seen: dict[tuple[str, str], int] = {}  # the first row of each unit and of each image
    for row, digest in enumerate(digests):
        parent[root(row)] = root(seen.setdefault(("image", digest), row))
        if data.units is not None:
            parent[root(row)] = root(seen.setdefault(("unit", data.units[row]), row))
    roots, of = np.unique([root(row) for row in range(len(digests))], return_inverse=True)
    held: list[list[str]] = [[] for _ in roots]
    for digest, unit in zip(digests, of.tolist(), strict=True):
        held[unit].append(digest)
    return Units(of, tuple(_digest(sorted(one)) for one in held), len(digests) - len(set(digests)))


def draw(units: Units, strata: np.ndarray, design: Design) -> np.ndarray:
    """unit: index of its part in PARTS, determined by the units' digests and the design. `strata` (unit: integer class) is used
    only if the design is stratified. SynthcError where a size is not from 0 to below the number of units, or members or holdout
    would be empty."""
    key = _digest([*sorted(units.digests), json.dumps(design.as_json)]).encode()
    lots = [blake2b(digest.encode(), key=key, digest_size=8).digest() for digest in units.digests]
    coins = np.array([lot[-1] & 1 for lot in lots])  # the last bit, since the order depends on the first ones
    order = np.array(sorted(range(len(lots)), key=lots.__getitem__))
    total = len(units)
    test = _count(design.test, total, "test")
    holdout = 0 if design.coins else _count(design.holdout, total, "holdout")
    if test + holdout >= total:
        raise SynthcError(
            f"{total:,} units leave no member beside {holdout:,} for the holdout and {test:,} for the test; ask for less"
        )
    if design.stratify:  # classes are interleaved evenly in the order, so that every part has its share of each class
        place = np.empty(total)
        for label in np.unique(strata):
            rows = order[strata[order] == label]
            place[rows] = (np.arange(len(rows)) + _uniform(key, int(label))) / len(rows)
        order = np.argsort(place, kind="stable")
    part = np.zeros(total, np.int64)
    part[order[:test]] = 2
    rest = order[test:]
    if design.coins:
        part[rest] = coins[rest]
    else:
        part[rest[:holdout]] = 1
    for side in (0, 1):
        if not (part == side).any():  # by fair coins alone: exact sizes above leave both some
            raise SynthcError(f"fair coins put none of {plural(len(rest), 'unit')} in {PARTS[side]}; take more images")
    return part


def _uniform(key: bytes, label: int) -> float:
    """A number in [0, 1), determined by key and label."""
    return int.from_bytes(blake2b(str(label).encode(), key=key, digest_size=7).digest(), "big") / 2**56


def _count(size: Fraction | int, total: int, what: str) -> int:
    """Number of units of a size, of which a Fraction is a share of `total`, rounded; SynthcError where the number is not from 0 to
    below `total`, or is 0 for the holdout. `what`: name of the size, `holdout` or `test`."""
    count = size if isinstance(size, int) else round(size * total)
    if not 0 <= count < total or (what == "holdout" and not count):
        raise SynthcError(f"--{what} {size}: of {plural(total, 'unit')} that is {count}; wanted is a part of them")
    return count


@dataclass(frozen=True)
class Split:
    """The record of a split, from its `split.json`."""

    folder: Path
    drawn: datetime
    """In UTC."""
    data: str
    """Name of the set that was split."""
    design: Mapping[str, Any]
    """As of `Design.as_json`."""
    unit: str
    """`image`, or the value of `--unit`."""
    units: Mapping[str, int]
    """Part → number of units."""
    images: Mapping[str, int]
    digests: Mapping[str, str]
    """Part → digest of its images and their classes, independent of order and file format; "" for an empty part."""
    merged: int
    """As of `Units`."""

    @property
    def coins(self) -> bool:
        """Whether membership was drawn by independent fair coins."""
        return self.design["how"] == "coins"

    def units_file(self) -> Path | None:
        """Path of the CSV file of lines `image,unit`, for folders of images whose units are not single images; else None."""
        path = self.folder / UNITS
        return path if path.exists() else None


def part_digest(data: ImageSet) -> str:
    """Digest of images and the names of their classes, independent of order and file format."""
    classes = [data.classes[label] for label in data.data.labels.tolist()]
    return _digest(sorted(f"{digest} {name}" for digest, name in zip(data.digests(), classes, strict=True)))


def write_split(data: ImageSet, design: Design, target: Path, unit: str | None) -> Split:
    """Draw a split and write its parts into the folder `target`, new or empty, and last the record `split.json`, which is returned;
    SynthcError where the folder holds anything or cannot be written, an image of a folder cannot be read, or the split cannot be
    drawn (`draw`).

    A folder of images gives a folder per part, with subfolders by class, and `units.csv` if a unit has several images; other
    formats give an .npz per part, of `images`, `labels` (numbers, not names), `row` (in `data`) and `unit`. An empty part gives
    nothing. `target` gets the permissions 0700. `unit`: what the record says of the units; None for `image`.
    """
    if (target / FILE).exists():
        raise SynthcError(f"{target}: holds a split, drawn {read_split(target).drawn:%Y-%m-%d %H:%M} UTC; nothing is drawn again")
    try:
        if target.exists() and any(target.iterdir()):
            raise SynthcError(f"{target}: is there and not empty; name a new folder")
    except OSError as error:  # a file, or a folder that cannot be listed
        raise SynthcError(f"{target}: cannot be used: {error.strerror}; name a new folder") from error
    units = units_of(data)
    first = np.unique(units.of, return_index=True)[1]
    part = draw(units, data.data.labels.numpy()[first], design)[units.of]
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)  # private images: readable by their owner alone
        os.chmod(target, 0o700)
        digests = {name: _write_part(data, units, np.flatnonzero(part == index), target, name) for index, name in enumerate(PARTS)}
        if data.files and len(units) < len(data):
            rows = [(data.image_name(row), units.of[row]) for row in range(len(data))]
            with (target / UNITS).open("w", newline="", encoding="utf-8") as handle:
                csv.writer(handle).writerows(rows)
        counts = {name: np.flatnonzero(part == index) for index, name in enumerate(PARTS)}
        content = {
            "synthc_split": VERSION, "drawn": datetime.now(UTC).isoformat(timespec="seconds"), "data": data.name,
            "design": design.as_json, "unit": unit or "image", "digests": digests,
            "units": {name: len(np.unique(units.of[rows])) for name, rows in counts.items()},
            "images": {name: len(rows) for name, rows in counts.items()}, "merged": units.merged,
        }  # fmt: skip
        with atomic_write(target / FILE) as beside:  # last, so that an interrupted split is not valid
            beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise SynthcError(f"{target}: cannot be written: {error.strerror}") from error
    return read_split(target)


def _write_part(data: ImageSet, units: Units, rows: np.ndarray, target: Path, name: str) -> str:
    """Write the images `rows` of `data` as the part `name` (see `write_split`) and return the part's digest; for no rows nothing is
    written, and the digest is "". SynthcError for an image of a folder that cannot be read, OSError for what cannot be written."""
    if not len(rows):
        return ""
    if data.files:
        for row in rows.tolist():
            to = target / name / data.image_name(row)
            to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                content = data.files[row].read_bytes()
            except OSError as error:
                raise SynthcError(f"{data.files[row]}: cannot be read: {error.strerror}") from error
            to.write_bytes(content)
        classes = data.classes
    else:
        classes = tuple(map(str, range(len(data.classes))))
        images = data.data.images.numpy()[rows].transpose(0, 2, 3, 1)
        arrays = {"images": images[..., 0] if images.shape[3] == 1 else images, "labels": data.data.labels.numpy()[rows]}
        with atomic_write(target / f"{name}.npz") as beside, beside.open("wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **arrays, row=rows, unit=units.of[rows])
    return part_digest(ImageSet(name, data.data[torch.from_numpy(rows)], classes))


def read_split(folder: Path) -> Split:
    """The record of the split in a folder; SynthcError where the file is missing, cannot be read or parsed, lacks a field, or is of
    another version."""
    path = folder / FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["synthc_split"] != VERSION:
            raise SynthcError(f"{path}: of version {said['synthc_split']}; this synthc reads {VERSION}")
        return Split(folder, datetime.fromisoformat(said["drawn"]), *(said[name] for name in (
            "data", "design", "unit", "units", "images", "digests", "merged")))  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthcError(f"{path}: not what `synthc split` writes ({error}); take it from where the split was drawn") from error


def find_split(paths: Sequence[str]) -> Split | None:
    """The split in whose folder, directly, all of these parts (paths) are; None if none is in a split. SynthcError for parts of
    different splits, if only some are in one, and as of `read_split`."""
    folders = {path: folder for path in paths if ((folder := Path(path).absolute().parent) / FILE).exists()}
    if len(set(folders.values())) > 1 or 0 < len(folders) < len(set(paths)):
        said = ", ".join(f"{path} of {folders.get(path, 'none')}" for path in paths)
        raise SynthcError(f"parts of different splits: {said}; members, holdout and test must have been drawn together")
    return read_split(next(iter(folders.values()))) if folders else None


def check_parts(split: Split, parts: Mapping[str, ImageSet]) -> None:
    """SynthcError if the images of a part, or their classes, differ from the record: some were added, removed or changed, or the
    split was drawn again. `parts`: name in PARTS → set."""
    for name, data in parts.items():
        if part_digest(data) != split.digests.get(name):
            raise SynthcError(
                f"{data.name}: not the {name} that were drawn {split.drawn:%Y-%m-%d %H:%M} UTC ({split.folder / FILE}): images "
                "were added, left out or changed, or the split was drawn again; judge with the parts that the set was made from"
            )


def check_age(split: Split, made: ImageSet) -> None:
    """SynthcError if all files of a set were last modified before the split was drawn: the set was not made from these members. A
    set without files on disk is not checked."""
    files = made.files or ((Path(made.name),) if Path(made.name).exists() else ())
    newest = max((file.stat().st_mtime for file in files), default=None)
    if newest is not None and datetime.fromtimestamp(newest, UTC) < split.drawn:
        raise SynthcError(
            f"{made.name}: older than the split, which was drawn {split.drawn:%Y-%m-%d %H:%M} UTC: a split drawn again after the "
            "set was made says nothing of it; judge with the split that was there before"
        )


def _digest(texts: Sequence[str]) -> str:
    """Digest of lines of text, in their order: sixteen hexadecimal digits."""
    digest = blake2b(digest_size=8)
    for text in texts:
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()
