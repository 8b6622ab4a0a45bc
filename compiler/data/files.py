"""`data: {name: files}`: a card for images of the user's own, from the record of their files.

Identity is the content: a digest of the file's bytes, or of a folder's names and bytes; never the path or a date.
Not here: reading images (`runtime.data.cards`, `runtime.data.formats`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from compiler.data.records import Array, Record, card_here, record_of
from compiler.errors import SynthcError, and_more
from compiler.language.data import Data
from compiler.language.datasets import OWN, Card, Shape
from compiler.language.plugins import PluginData, checked_card
from compiler.text import nodes
from compiler.text.nodes import Node, Scalar, Sequence

MAX_BYTES_OF_IMAGES = 1 << 33
"""Most bytes of a set's decoded images, which are kept in memory."""
MAX_PIXELS = 1 << 20
"""Most pixels of one image: nets here are for small ones, and a few bytes of PNG can decode to gigabytes."""
MAX_CLASSES = 10_000
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
WHOLE_NUMBERS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
"""Types of arrays, without their byte order."""


def card_of(data: Data) -> Card:
    """The card of the data set that `data:` names; SynthcError for files that are missing, not read yet, broken or not valid;
    KeyError for an unknown name."""
    if isinstance(data, PluginData):
        return checked_card(data)
    if data.name != OWN:
        return card_here(data.name)
    if data.path is None:
        raise SynthcError("`name: files` without a path; give one, such as path: images.npz")
    path = Path(data.path)
    try:
        return _card(path)
    except SynthcError as error:
        raise SynthcError(f"{path}: {error}") from None


def anchored(node: Node) -> Node:
    """The node with the text under every key `path` made absolute, in nested mappings too, but not in lists."""
    if not isinstance(node, nodes.Mapping):
        return node
    items = {name: anchored(child) for name, child in node.items.items()}
    path = items.get("path")
    if isinstance(path, Scalar) and isinstance(path.value, str):
        items["path"] = Scalar(_absolute(path), path.location)
    return nodes.Mapping(items, node.keys, node.location)


def _absolute(path: Scalar) -> str:
    """Absolute path, relative to the folder of the spec in which it is written, or the working folder for `--set`."""
    beside = Path() if path.location.file.startswith("--set ") else Path(path.location.file).parent
    return os.path.abspath(beside / str(path.value))


def user_files(node: Node) -> Iterator[Path]:
    """Users' files and folders that a composed study names, also in grids: images, and files of imported arms."""
    if isinstance(node, Scalar):
        return
    if isinstance(node, nodes.Mapping) and "path" in node.items:
        named = {scalar.value for word in ("name", "paradigm") if word in node.items for scalar in _scalars(node.items[word])}
        paths = [Path(_absolute(scalar)) for scalar in _scalars(node.items["path"]) if isinstance(scalar.value, str)]
        if OWN in named:
            yield from paths
        if "imported" in named:
            yield from (file for folder in paths if os.path.isdir(folder) for file in sorted(folder.glob("*.npz")))
    for child in node.items if isinstance(node, Sequence) else node.items.values():
        yield from user_files(child)


def _scalars(node: Node) -> Iterator[Scalar]:
    """All scalars in a node, itself included."""
    if isinstance(node, Scalar):
        yield node
    else:
        for child in node.items if isinstance(node, Sequence) else node.items.values():
            yield from _scalars(child)


def contents(path: Path) -> Record:
    """The record of a user's file or folder; SynthcError where it is missing, not read yet, or broken."""
    try:
        path.stat()
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        reason = getattr(error, "strerror", error)
        raise SynthcError(f"cannot be read: {reason}; a path is relative to the spec it stands in") from error
    record = record_of(str(path))
    if record is None:
        raise SynthcError("not read yet, or changed since; `synthc check` reads it (from Python: `compile_with_files`)")
    if record.fault:
        raise SynthcError(record.fault)
    return record


def _card(path: Path) -> Card:
    """Card of a user's .npz or folder from its record; SynthcError for another file and for arrays that are not valid."""
    if path.suffix != ".npz" and os.path.isfile(path):
        how = f"`synthc data import {path.name}`" if path.suffix == ".parquet" else "numpy.savez_compressed"
        raise SynthcError(f"neither an .npz nor a folder; {how} makes an .npz of it")
    record = contents(path)
    shape, samples = image_shape(record.arrays, "images")
    classes = class_count(record.arrays, "labels", samples)
    test_samples = 0
    if "test_images" in record.arrays:
        test_shape, test_samples = image_shape(record.arrays, "test_images")
        if test_shape != shape:
            raise SynthcError(f"test_images are of another shape than images: {test_shape} and {shape}")
        if (of_test := class_count(record.arrays, "test_labels", test_samples)) > classes:
            raise SynthcError(f"test_labels go up to {of_test - 1}, labels to {classes - 1} alone; train on all classes")
    if (count := samples + test_samples) * math.prod(shape) > MAX_BYTES_OF_IMAGES:
        raise SynthcError(f"{count:,} images of {shape[1]}×{shape[2]} are over {MAX_BYTES_OF_IMAGES:,} bytes; use fewer")
    middle = (0.5,) * shape[0]
    return Card(OWN, samples, test_samples, classes, shape, middle, middle, record.digest, f"images of {path.name}")


def array_called(arrays: Mapping[str, Array], name: str) -> Array:
    """The array of this name; SynthcError that lists the others if there is none."""
    if name not in arrays:
        raise SynthcError(f"no array is called {name!r}; it holds {', '.join(arrays) or 'nothing'}")
    return arrays[name]


def image_shape(arrays: Mapping[str, Array], name: str) -> tuple[Shape, int]:
    """Shape of an image (channels × height × width), and number of images; SynthcError for an array that is missing or not
    valid."""
    array = array_called(arrays, name)
    if array.dtype != "|u1":
        raise SynthcError(f"{name} has the type {array.dtype!r}; it should be uint8 grey levels 0 to 255")
    match array.shape:
        case (count, height, width):
            channels = 1
        case (count, height, width, 1 | 3 as channels) if array.shape[1] not in (1, 3):
            pass
        case (count, 1 | 3 as channels, height, width) if width not in (1, 3):
            pass
        case shape:
            wanted = "n × h × w, n × h × w × c or n × c × h × w, c being 1 or 3"
            raise SynthcError(f"{name} has the shape {shape}; it should be {wanted}")
    if not count or not 0 < height * width <= MAX_PIXELS:
        limits = f"at least one image is needed, and at most {MAX_PIXELS:,} pixels each can be read"
        raise SynthcError(f"{name} has the shape {array.shape}; {limits}")
    return (channels, height, width), count


def class_count(arrays: Mapping[str, Array], name: str, images: int) -> int:
    """Number of classes: the largest label plus one. SynthcError unless there is a label, a whole number from 0 to MAX_CLASSES − 1,
    for each image, and, except for labels whose name begins with `test`, at least two classes without a gap."""
    array = array_called(arrays, name)
    if array.dtype == "|b1" and array.shape == (images,):
        raise SynthcError(f"{name} are true and false; say which class is 0 and which 1: {name}.astype('uint8')")
    if array.dtype[1:] not in WHOLE_NUMBERS or array.shape != (images,) or array.least is None or array.most is None:
        raise SynthcError(f"{name} has the shape {array.shape} and type {array.dtype!r}; it should be {images} whole numbers")
    if array.least < 0 or array.most >= MAX_CLASSES:
        wrong = array.least if array.least < 0 else array.most
        raise SynthcError(f"{name} holds {wrong}; labels count classes from 0, at most {MAX_CLASSES:,} of them")
    classes = array.most + 1
    if not name.startswith("test") and (array.distinct != classes or classes < 2):
        found = f"{array.distinct} of the classes 0 to {array.most}" if classes > 1 else "one class alone"
        raise SynthcError(f"{name} holds {found}; number the classes from 0 without a gap, at least two")
    return classes


# --- the files themselves, as far as their names and bytes go --------------------------------------------------------------

Labelled = list[tuple[Path, int]]
TEST_NAMES = ("test", "val", "valid", "validation")


def file_digest(path: Path) -> str:
    """Digest of a file's bytes, or of the names, sizes and bytes of a folder's images and whether any has EXIF data: sixteen
    hexadecimal digits. SynthcError for a path that cannot be read, or a folder that `splits` refuses."""
    digest, turned = blake2b(digest_size=8), False
    try:
        for image in sorted(image for split in splits(path) for image, _ in split) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(os.fsencode(f"{image.relative_to(path).as_posix()}\0{image.stat().st_size}\0"))
            with image.open("rb") as handle:
                while part := handle.read(1 << 20):
                    digest.update(part)
                    turned |= path.is_dir() and (b"Exif\0\0" in part or b"eXIf" in part)
    except OSError as error:
        raise SynthcError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if turned:  # such images are read upright, which they were not before: what was made of them then has another id
        digest.update(b"upright")
    return digest.hexdigest()


def splits(folder: Path) -> tuple[Labelled, Labelled]:
    """Images and labels of pool and test split: `<class>/*.png`, or `train/<class>/*.png` and `test/<class>/*.png`, where `test`
    may also be called `val`, `valid` or `validation`, in any case of letters. [] without a test split. SynthcError for other
    layouts, and where the splits have different classes."""
    found = {entry.name.lower(): entry for entry in _entries(folder, folder) if entry.is_dir()}
    kept = [found[name] for name in TEST_NAMES if name in found]
    train = found.get("train")
    if train is None or any(not entry.is_dir() for entry in _entries(train, folder)):  # a class may be called train
        return by_class(folder, folder), []
    if not kept or len(found) > 2:
        others = ", ".join(sorted(entry.name for entry in found.values()))
        wanted = f"{train.name} wants exactly one of {', '.join(TEST_NAMES)} beside it, or lie alone as the folder that is named"
        raise SynthcError(f"holds {others}; {wanted}: move the rest away, or name {folder.name}/{train.name}")
    pool, test = by_class(train, folder), by_class(kept[0], folder)
    of_pool, of_test = ({image.parent.name for image, _ in of} for of in (pool, test))
    if of_pool != of_test:
        names = f"{train.name} and {kept[0].name}"
        raise SynthcError(f"{names} have other classes: {', '.join(sorted(of_pool ^ of_test))} in one alone")
    return pool, test


def by_class(folder: Path, root: Path) -> Labelled:
    """Pairs of each image in the subfolders of `folder` and its class, the index among sorted names. SynthcError for fewer than
    two subfolders, one without images, anything but images, and links that lead out of `root` and not into a folder of LINKS."""
    classes = _entries(folder, root)
    others = [entry.name for entry in classes if not entry.is_dir()]
    if others or len(classes) < 2:
        found = f"{others[0]} is no folder" if others else f"{len(classes)} folders"
        raise SynthcError(f"{found}; {folder.name} should hold one folder of images for each class, at least two")
    images = [(image, label) for label, of in enumerate(classes) for image in _entries(of, root)]
    empty = set(range(len(classes))) - {label for _, label in images}
    if empty:
        raise SynthcError(f"{folder.name}/{classes[min(empty)].name}: no image; remove the folder, or fill it")
    others = [
        str(image.relative_to(root)) for image, _ in images if image.suffix.lower() not in IMAGE_SUFFIXES or not image.is_file()
    ]
    if others:
        wanted = f"a class holds {', '.join(sorted(IMAGE_SUFFIXES))} files alone"
        raise SynthcError(f"{and_more(others, MAX_NAMED)}: not an image; {wanted}")
    return images


LINKS = "SYNTHC_LINKS"
"""Environment variable: folders, separated as in PATH, to which links in a folder of images may lead."""
MAX_NAMED = 5
"""Most wrong files that a message names."""


def _entries(folder: Path, root: Path) -> list[Path]:
    """Sorted entries of `folder` without hidden ones; SynthcError if it cannot be read, and for links that lead out of `root` and
    not into a folder of LINKS."""
    inside = [root.resolve(), *(Path(name).resolve() for name in os.environ.get(LINKS, "").split(os.pathsep) if name)]
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        for entry in entries:
            if entry.is_symlink() and not any(entry.resolve().is_relative_to(folder) for folder in inside):
                what = f"{entry.relative_to(root)}: a link that leads out of {root.name}"
                raise SynthcError(
                    f"{what}; copy what it points to, or name the folder that it may lead to: {LINKS}=/folder synthc …"
                )
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise SynthcError(f"{folder}: cannot be read: {error}") from error
    return entries
