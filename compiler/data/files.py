"""`data: {name: files}`: a card for images of the user's own, by the standard library alone.

Ids, counts and shapes are known before anything is decoded: an .npz says them in the headers of its arrays (only the labels are
read), a PNG or JPEG in its first bytes. What is broken, too large or outside its folder is found here, when a study is checked.
Identity is the content: a digest of the file's bytes, or of a folder's names and bytes; never the path or a date.
Not here: decoding images (`runtime.data.formats.own_files`).
"""

from __future__ import annotations

import ast
import math
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import IO

from compiler.data.seen import card_here
from compiler.errors import SynthcError
from compiler.language.data import Data
from compiler.language.datasets import OWN, Card
from compiler.language.plugins import PluginData, checked_card
from compiler.text.nodes import Mapping, Node, Scalar

LARGEST = 1 << 33
"""Bytes of all images of a set, decoded: they are held in memory."""
MOST_PIXELS = 1 << 20
"""Of one image: nets here are for small ones, and a few bytes of a PNG can stand for gigabytes."""
MOST_CLASSES = 10_000
IMAGES = {".png", ".jpg", ".jpeg"}


def card_of(data: Data) -> Card:
    """The card of what `data:` names; SynthcError for files that are missing, broken, too large or not what they should be."""
    if isinstance(data, PluginData):
        return checked_card(data)
    if data.name != OWN:
        return card_here(data.name)
    if data.path is None:
        raise SynthcError("`name: files` without a path; give one, such as path: images.npz")
    path = Path(data.path)
    return _card(path, stamp(path))


def anchored(node: Node) -> Node:
    """`data:` with its path made absolute: relative to the file that it was written in, or to here if it came with `--set`."""
    path = node.get("path") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(path, Scalar) or not isinstance(path.value, str):
        return node
    beside = Path() if path.location.file.startswith("--set ") else Path(path.location.file).parent
    absolute = Scalar(os.path.abspath(beside / path.value), path.location)
    return Mapping(node.items | {"path": absolute}, node.keys, node.location)


def stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does: what a cache of cards may rest on, and nothing else."""
    try:
        status = path.stat()
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}; a path is relative to the spec it stands in") from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=16)
def _card(path: Path, stamped: tuple[int, int]) -> Card:
    if path.is_dir():
        pool, test = splits(path)
        channels, height, width = _common_shape([image for image, _ in (*pool, *test)])
        counts, classes = (len(pool), len(test)), len({label for _, label in pool})
    elif path.suffix == ".npz":
        arrays = npz(path)
        counts, classes = (arrays.samples, arrays.test_samples), arrays.classes
        channels, height, width = arrays.shape
    else:
        how = f"`synthc data import {path.name}`" if path.suffix == ".parquet" else "numpy.savez_compressed"
        raise SynthcError(f"{path.name}: neither an .npz nor a folder; {how} makes an .npz of it")
    if sum(counts) * channels * height * width > LARGEST:
        raise SynthcError(f"{path.name}: {sum(counts):,} images of {height}×{width} are over {LARGEST:,} bytes; use fewer")
    middle = (0.5,) * channels
    return Card(OWN, *counts, classes, (channels, height, width), middle, middle, file_digest(path), f"images of {path.name}")


def file_digest(path: Path) -> str:
    """Sixteen hexadecimal digits of a file's bytes, or of the names and bytes of a folder's images."""
    digest = blake2b(digest_size=8)
    try:
        for image in sorted(image for split in splits(path) for image, _ in split) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(f"{image.relative_to(path).as_posix()}\0{image.stat().st_size}\0".encode())
            with image.open("rb") as handle:
                while part := handle.read(1 << 20):
                    digest.update(part)
    except OSError as error:
        raise SynthcError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


# --- a folder of images by class -------------------------------------------------------------------------------------

Labelled = list[tuple[Path, int]]


def splits(folder: Path) -> tuple[Labelled, Labelled]:
    """Images and labels of pool and test split: `<class>/*.png`, or `train/<class>/*.png` and `test/<class>/*.png`."""
    names = [entry.name for entry in _entries(folder, folder)]
    if sorted(names) != ["test", "train"]:
        return by_class(folder, folder), []
    pool, test = by_class(folder / "train", folder), by_class(folder / "test", folder)
    of_pool, of_test = ({image.parent.name for image, _ in of} for of in (pool, test))
    if of_pool != of_test:
        raise SynthcError(f"{folder.name}: train and test have other classes: {', '.join(sorted(of_pool ^ of_test))} in one alone")
    return pool, test


def by_class(folder: Path, root: Path) -> Labelled:
    """Every image of `folder` with the place of its class among the sorted names; nothing outside `root`."""
    classes = _entries(folder, root)
    strangers = [entry.name for entry in classes if not entry.is_dir()]
    if strangers or len(classes) < 2:
        found = f"{strangers[0]} is no folder" if strangers else f"{len(classes)} folders"
        raise SynthcError(f"{folder.name}: {found}; it should hold one folder of images for each class, at least two")
    images = [(image, label) for label, of in enumerate(classes) for image in _entries(of, root)]
    empty = set(range(len(classes))) - {label for _, label in images}
    if empty:
        raise SynthcError(f"{folder.name}/{classes[min(empty)].name}: no image; remove the folder, or fill it")
    for image, _ in images:
        if image.suffix.lower() not in IMAGES or not image.is_file():
            raise SynthcError(f"{image.relative_to(root)}: not an image; a class holds {', '.join(sorted(IMAGES))} files alone")
    return images


def _entries(folder: Path, root: Path) -> list[Path]:
    """What lies in `folder`, hidden files apart, sorted; SynthcError for what leads out of `root`."""
    inside = root.resolve()
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        for entry in entries:
            if entry.is_symlink() and not entry.resolve().is_relative_to(inside):
                raise SynthcError(f"{entry.relative_to(root)}: a link that leads out of {root.name}; copy what it points to")
    except (OSError, RuntimeError) as error:   # RuntimeError: links in a circle
        raise SynthcError(f"{folder}: cannot be read: {error}") from error
    return entries


def _common_shape(images: list[Path]) -> tuple[int, int, int]:
    """Channels, height and width; images of one size, in colour if one of them is."""
    shapes = {image_shape(image): image for image in images}
    sizes = {shape[1:]: image for shape, image in shapes.items()}
    if len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        told = f"{first.name} has {one[0]}×{one[1]} pixels and {second.name} {two[0]}×{two[1]}"
        raise SynthcError(f"{told}; images of a set must have one size")
    ((height, width),) = sizes
    return max(channels for channels, _, _ in shapes), height, width


def image_shape(path: Path) -> tuple[int, int, int]:
    """Channels, height and width as the first bytes of a PNG or JPEG say them; SynthcError for others and for too large ones."""
    try:
        with path.open("rb") as handle:
            return shape_said(handle, path.name)
    except OSError as error:
        raise SynthcError(f"{path.name}: cannot be read: {error.strerror}") from error


def shape_said(handle: IO[bytes], name: str) -> tuple[int, int, int]:
    """The same of an open file, or of bytes in memory; `name` is for complaints."""
    try:
        head = handle.read(2)
        found = _jpeg(handle) if head == b"\xff\xd8" else _png(head + handle.read(24))
    except (OSError, struct.error) as error:
        raise SynthcError(f"{name}: cannot be read as an image: {error}") from error
    if found is None:
        raise SynthcError(f"{name}: not a PNG or JPEG of 8 bits, grey or in colour, without transparency; convert it")
    if not 0 < found[1] * found[2] <= MOST_PIXELS:
        raise SynthcError(f"{name}: {found[1]}×{found[2]} pixels; at most {MOST_PIXELS:,} can be read: make it smaller")
    return found


def _png(head: bytes) -> tuple[int, int, int] | None:
    if len(head) < 26 or not head.startswith(b"\x89PNG\r\n\x1a\n") or head[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack(">16xIIBB", head)
    channels = {0: 1, 2: 3, 3: 3}.get(colour)   # grey, colour, palette; 4 and 6 have transparency
    if channels is None or depth > 8:
        return None
    return channels, height, width


def _jpeg(handle: IO[bytes]) -> tuple[int, int, int] | None:
    """Walks over the segments to the frame header (ITU-T T.81, B.2.2)."""
    while True:
        marker, length = struct.unpack(">HH", handle.read(4))
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            depth, height, width, channels = struct.unpack(">BHHB", handle.read(6))
            return (channels, height, width) if depth == 8 and channels in (1, 3) else None
        if marker < 0xFFC0 or length < 2:
            return None
        handle.seek(length - 2, os.SEEK_CUR)


# --- an .npz ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Npz:
    """What the headers of an .npz say."""

    samples: int
    test_samples: int
    classes: int
    shape: tuple[int, int, int]
    """Channels, height, width."""
    channels_last: bool


def npz(path: Path) -> Npz:
    """Counts, classes and shape of `images`, `labels` and perhaps `test_images`, `test_labels`; SynthcError if they do not fit."""
    try:
        with zipfile.ZipFile(path) as archive:
            split = "test_images.npy" in archive.namelist()
            shape, last, samples = _images(archive, "images")
            highest = _highest_label(archive, "labels", samples)
            test_samples = 0
            if split:
                test_shape, _, test_samples = _images(archive, "test_images")
                if test_shape != shape:
                    raise SynthcError(f"test_images are of another shape than images: {test_shape} and {shape}")
                if (of_test := _highest_label(archive, "test_labels", test_samples)) > highest:
                    raise SynthcError(f"test_labels go up to {of_test}, labels to {highest} alone; train on all classes")
    except SynthcError as error:
        raise SynthcError(f"{path.name}: {error}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError) as error:
        raise SynthcError(f"{path.name}: cannot be read: {error}; write it again with numpy.savez_compressed") from error
    return Npz(samples, test_samples, highest + 1, shape, last)


def _images(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, int, int], bool, int]:
    """Channels × height × width, whether channels come last, and how many."""
    with member(archive, name) as handle:
        kind, extents, _ = header(handle, name)
    if kind != "|u1":
        raise SynthcError(f"{name} has the type {kind!r}; it should be uint8 grey levels 0 to 255")
    if len(extents) == 3:
        extents, last = (*extents, 1), True
    elif len(extents) == 4 and (extents[3] in (1, 3)) != (extents[1] in (1, 3)):
        last = extents[3] in (1, 3)
    else:
        raise SynthcError(f"{name} has the shape {extents}; it should be n × h × w, n × h × w × c or n × c × h × w, c being 1 or 3")
    count, *sides = extents
    height, width, channels = sides if last else (sides[1], sides[2], sides[0])
    if not count or not 0 < height * width <= MOST_PIXELS or math.prod(extents) > LARGEST:
        raise SynthcError(f"{name} has the shape {extents}; at most {MOST_PIXELS:,} pixels each and {LARGEST:,} bytes can be read")
    return (channels, height, width), last, count


def _highest_label(archive: zipfile.ZipFile, name: str, expected: int) -> int:
    """The largest of the labels, all of which were read and are classes."""
    with member(archive, name) as handle:
        kind, extents, order = header(handle, name)
        if kind[1:] not in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8") or extents != (expected,):
            raise SynthcError(f"{name} has the shape {extents} and type {kind!r}; it should be {expected} whole numbers")
        size = int(kind[2:])
        content = handle.read(expected * size + 1)
    if len(content) != expected * size:
        raise SynthcError(f"{name} is truncated, or longer than its header says")
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
    labels = struct.unpack(f"{order}{expected}{code.upper() if kind[1] == 'u' else code}", content)
    if min(labels) < 0 or max(labels) >= MOST_CLASSES:
        wrong = min(labels) if min(labels) < 0 else max(labels)
        raise SynthcError(f"{name} holds {wrong}; labels count classes from 0, at most {MOST_CLASSES:,} of them")
    absent = set(range(max(labels) + 1)) - set(labels)
    if not name.startswith("test") and (absent or max(labels) == 0):
        told = f"no sample of class {min(absent)}" if absent else "one class alone"
        raise SynthcError(f"{name} holds {told}; number the classes from 0 without a gap, at least two")
    return max(labels)


def member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return archive.open(f"{name}.npy")
    except KeyError:
        there = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist()) or "nothing"
        raise SynthcError(f"no array is called {name!r}; it holds {there}") from None


def header(handle: IO[bytes], name: str) -> tuple[str, tuple[int, ...], str]:
    """Type, shape and struct's word for the byte order (NEP 1: magic, version, length, a Python literal)."""
    magic, major = struct.unpack("<6sBx", handle.read(8))
    if magic != b"\x93NUMPY" or major not in (1, 2, 3):
        raise SynthcError(f"{name} is no array; write the file with numpy.savez_compressed")
    (length,) = struct.unpack("<H", handle.read(2)) if major == 1 else struct.unpack("<I", handle.read(4))
    try:
        said = ast.literal_eval(handle.read(min(length, 10_000)).decode("latin-1"))
        kind, extents = str(said["descr"]), tuple(said["shape"])
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise SynthcError(f"{name} has a header that cannot be read; write the file with numpy.savez_compressed") from error
    if not all(type(extent) is int and extent >= 0 for extent in extents):
        raise SynthcError(f"{name} has the shape {extents}; write the file with numpy.savez_compressed")
    return kind, extents, ">" if kind.startswith(">") else "<"
