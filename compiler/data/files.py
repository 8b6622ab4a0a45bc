"""`data: {name: files}`: a card for images of the user's own, from the record of their files.

Identity is the content: a digest of the file's bytes, or of a folder's names and bytes; never the path or a date.
Not here: reading images (`runtime.data.cards`, `runtime.data.formats`).
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

from compiler.data.records import Array, Record, card_here, record_of
from compiler.errors import SynthcError, and_more, plural
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
    """The card of the data set that `data:` names: of a known set, a plug-in, or the record of a user's files, whose path is
    absolute (see `anchored`). SynthcError for files without a path, missing, not read yet, changed since, broken or not valid, and
    for a plug-in whose card is not valid; KeyError for an unknown name."""
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
    """A copy of a mapping in which the text under every key `path` is absolute, in nested mappings too, but not in lists; any other
    node unchanged. Paths are relative to the folder of the spec in which they are written, or to the working folder for `--set`."""
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
    """Absolute paths of users' files that a composed study names, also in grids: of each file or folder of images, whether it
    exists or not, and of the .npz files that are in the folders of imported arms. One that is named twice comes twice."""
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
    """The record of a user's file or folder, given by its absolute path; SynthcError where it is missing, has no valid record (not
    read yet, or changed since), or the record has a fault."""
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
    """Card of a user's .npz or folder from its record, with 0.5 as mean and std of each channel. SynthcError for another file, as
    for `contents`, `image_shape` and `class_count`, for test images of another shape or with further classes, and for more than
    MAX_BYTES_OF_IMAGES bytes of images."""
    if path.suffix != ".npz" and os.path.isfile(path):
        raise SynthcError(f"neither an .npz nor a folder; {remedy(path)}")
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
        held = ", ".join(arrays) or "nothing"
        raise SynthcError(f"no array is called {name!r}; it holds {held}: save each under the name that is wanted")
    return arrays[name]


def image_shape(arrays: Mapping[str, Array], name: str) -> tuple[Shape, int]:
    """Shape of an image (channels × height × width), and number of images. SynthcError unless the array is there, is uint8 and has
    the shape n × h × w, n × h × w × c or n × c × h × w, where c is 1 or 3 and the other axis that could be it is not, with at least
    one image of at most MAX_PIXELS; and as for `check_grey`."""
    array = array_called(arrays, name)
    if array.dtype != "|u1":
        raise SynthcError(
            f"{name} has the type {array.dtype!r}; it should be uint8 grey levels 0 to 255{image_remedy(name, array.dtype)}"
        )
    match array.shape:
        case (count, height, width):
            channels = 1
        case (count, height, width, 1 | 3 as channels) if array.shape[1] not in (1, 3):
            pass
        case (count, 1 | 3 as channels, height, width) if width not in (1, 3):
            pass
        case shape:
            wanted = "n × h × w, n × h × w × c or n × c × h × w, c being 1 or 3"
            raise SynthcError(f"{name} has the shape {shape}; it should be {wanted}{shape_remedy(name, shape)}")
    check_grey(array)
    if not count or not 0 < height * width <= MAX_PIXELS:
        limits = f"at least one image is needed, and at most {MAX_PIXELS:,} pixels each can be read"
        raise SynthcError(f"{name} has the shape {array.shape}; {limits}")
    return (channels, height, width), count


def check_grey(images: Array) -> None:
    """SynthcError for uint8 images whose highest grey level is 1: as white is 255, all of them would be black. Images that are all
    0, or whose range is not known, pass."""
    if images.highest == 1:
        raise SynthcError("images go up to grey level 1 of 255, so that all are black; if 1 is white, save images * 255")


def class_count(arrays: Mapping[str, Array], name: str, images: int) -> int:
    """Number of classes: the largest label plus one. SynthcError unless there is a label, a whole number from 0 to MAX_CLASSES − 1,
    for each image, and, except for labels whose name begins with `test`, at least two classes without a gap."""
    array = array_called(arrays, name)
    if array.dtype[1:] not in WHOLE_NUMBERS or array.shape != (images,) or array.least is None or array.most is None:
        wanted = f"it should be {images} whole numbers{label_remedy(name, array.dtype, array.shape)}"
        raise SynthcError(f"{name} has the shape {array.shape} and type {array.dtype!r}; {wanted}")
    if array.least < 0 or array.most >= MAX_CLASSES:
        wrong = array.least if array.least < 0 else array.most
        raise SynthcError(f"{name} holds {wrong}; labels count classes from 0, at most {MAX_CLASSES:,} of them")
    classes = array.most + 1
    if not name.startswith("test") and (array.distinct != classes or classes < 2):
        found = f"{array.distinct} of the classes 0 to {array.most}" if classes > 1 else "one class alone"
        how = f", as numpy.unique({name}, return_inverse=True)[1] does" if array.distinct > 1 else ""
        raise SynthcError(f"{name} holds {found}; number the classes from 0 without a gap, at least two{how}")
    return classes


def shape_remedy(name: str, shape: tuple[int, ...]) -> str:
    """How to make images of an array with this shape; "" where that is not plain. Begins with a colon."""
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        return f": {name}.reshape(-1, {side}, {side}), if these are the images' rows" if side * side == shape[1] else ""
    if len(shape) == 4 and 4 in (shape[1], shape[3]):
        return f": {name}[..., :3] leaves the transparency out" if shape[3] == 4 else f": {name}[:, :3] leaves the transparency out"
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] in (1, 3):
        return f": which axis is c cannot be told here; give the images another height or width than {shape[1]}"
    if len(shape) == 5 and 1 in shape:
        return f": {name}.squeeze() takes axes of length one away"
    return ""


def label_remedy(name: str, dtype: str, shape: tuple[int, ...]) -> str:
    """How to make whole numbers of labels with this type and shape; "" where that is not plain. Begins with a colon."""
    if dtype == "|b1" and len(shape) == 1:
        return f": say which class is 0 and which 1, as by {name}.astype('uint8')"
    if len(shape) == 2 and shape[1] == 1:
        return f": {name}[:, 0]"
    if len(shape) == 2 and dtype[1] in "fiub":
        return f": {name}.argmax(1), if each row is 1 at its class"
    if len(shape) == 1 and dtype[1] in "USO":
        return f": numpy.unique({name}, return_inverse=True)[1] numbers the names"
    return f": {name}.astype('int64'), if none has a fraction" if len(shape) == 1 and dtype[1] == "f" else ""


def image_remedy(name: str, dtype: str) -> str:
    """How to make grey levels of images with this type; "" where that is not plain. Begins with a colon."""
    if dtype[1] == "f":
        return f": ({name} * 255).round().astype('uint8') if they go from 0 to 1, {name}.astype('uint8') if to 255"
    if dtype == "|b1":
        return f": {name}.astype('uint8') * 255"
    if dtype[1] == "O":
        return ": numpy.stack(list(of_arrays)), if all have one shape"
    return f": {name}.astype('uint8'), if they go from 0 to 255" if dtype[1] in "iu" else ""


# --- the files themselves, as far as their names and bytes go --------------------------------------------------------------

Labelled = list[tuple[Path, int]]
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "val", "valid", "validation", "testing")
UNPACKED = (
    (re.compile(r"(.+)\.(tar(\.\w+)?|tgz|tbz2?|txz)"), "mkdir {to} && tar -xf {file} -C {to}"),
    (re.compile(r"(.+)\.zip"), "unzip {file} -d {to}"),
    (re.compile(r"(.+)\.7z"), "7z x {file} -o{to}"),
    (re.compile(r"(.+)\.rar"), "unrar x {file} {to}/"),
    (re.compile(r"(.+)\.(gz|bz2|xz)"), "gunzip {file}"),
)
"""Names of archives → the command that unpacks one."""
SHARD = re.compile(r"(?P<part>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.parquet")
"""Name of one of several Parquet files of a set, numbered from 0, as `datasets` writes them."""


def remedy(path: Path) -> str:
    """Advice, as text, on how to make a data set of a file or folder that cannot be read as one: what the folder should hold, or a
    command that converts or unpacks. Judged by names; no file is opened."""
    if path.is_dir():
        if found := parquet_files(path):
            return f"it holds Parquet files, of which `{import_command(found)}` makes an .npz"
        return f"{path.name} should hold one folder of images for each class, at least two"
    if path.suffix == ".parquet":
        return f"`{import_command([path])}` makes an .npz of it"
    for pattern, command in UNPACKED:
        if archive := pattern.fullmatch(path.name.lower()):
            to = path.parent / path.name[: archive.end(1)]
            return f"unpack it: {command.format(file=shlex.quote(str(path)), to=shlex.quote(str(to)))}"
    if path.suffix == ".npy":
        return f"it is one array alone: numpy.savez_compressed(file, images=numpy.load({path.name!r}), labels=…) makes an .npz"
    return "numpy.savez_compressed(file, images=…, labels=…) makes an .npz of it"


def parquet_files(folder: Path) -> list[Path]:
    """Parquet files (`*.parquet`) in a folder or directly in its subfolders, sorted."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])


def import_command(files: Iterable[Path]) -> str:
    """The command that makes one .npz of Parquet files, with one pattern for the shards of a set. Those whose name, without the
    number of a shard, is one of TEST_NAMES become the test split, unless all are."""
    given: dict[bool, list[str]] = {False: [], True: []}
    for path in files:
        shard = SHARD.fullmatch(path.name)
        name = f"{shlex.quote(str(path.parent / shard['part']))}-*.parquet" if shard else shlex.quote(str(path))
        of = given[(shard["part"] if shard else path.stem).lower() in TEST_NAMES]
        of += [name] * (name not in of)
    if not given[False]:
        given = {False: given[True], True: []}
    return " ".join(["synthc data import", *given[False], *(["--test", *given[True]] if given[True] else [])])


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
    """Images and labels of pool and test split, as by `by_class`: `<class>/*.png`, or `train/<class>/*.png` and
    `test/<class>/*.png`, where the two may be called by any of TRAIN_NAMES and TEST_NAMES, in any case of letters, and files beside
    them are ignored; a `train` that holds anything but folders is a class. The second is [] without a test split. SynthcError for
    other layouts, as for `by_class`, and where the splits have different classes."""
    folders = [entry for entry in _entries(folder, folder) if entry.is_dir()]
    trains = [of for of in folders if of.name.lower() in TRAIN_NAMES and all(entry.is_dir() for entry in _entries(of, folder))]
    if not trains:  # a class may be called train
        return by_class(folder, folder), []
    tests = [of for of in folders if of.name.lower() in TEST_NAMES]
    if len(trains) != 1 or len(tests) != 1 or len(folders) > 2:
        train, others = trains[0].name, ", ".join(entry.name for entry in folders)
        wanted = f"{train} wants exactly one of {', '.join(TEST_NAMES)} beside it, or lie alone as the folder that is named"
        raise SynthcError(f"holds {others}; {wanted}: move the rest away, or name {folder.name}/{train}")
    pool, test = by_class(trains[0], folder), by_class(tests[0], folder)
    of_pool, of_test = ({image.parent.name for image, _ in of} for of in (pool, test))
    alone = [
        f"{and_more(sorted(names), MAX_NAMED)} in {of.name} alone"
        for of, names in ((trains[0], of_pool - of_test), (tests[0], of_test - of_pool))
        if names
    ]
    if alone:
        names = f"{trains[0].name} and {tests[0].name}"
        raise SynthcError(f"{names} have other classes: {', '.join(alone)}; give both the same folders, with images in each")
    return pool, test


def by_class(folder: Path, root: Path) -> Labelled:
    """Pairs of each image (a file with one of IMAGE_SUFFIXES) in the subfolders of `folder` and its class, the index of the
    subfolder among their sorted names; ordered by class and name. Hidden entries are passed over. `root` is the folder that the
    user named, `folder` itself or one around it. SynthcError for fewer than two subfolders, one without images, any other entry
    than images in them or subfolders beside them, and as for `_entries`."""
    classes = _entries(folder, root)
    others = [entry.name for entry in classes if not entry.is_dir()]
    if others or len(classes) < 2:
        found = f"{others[0]} is no folder" if others else plural(len(classes), "folder")
        raise SynthcError(f"{found}; {_deeper(classes, root) or remedy(folder)}")
    images = [(image, label) for label, of in enumerate(classes) for image in _entries(of, root)]
    if folders := [image.relative_to(root).as_posix() for image, _ in images if image.is_dir()]:
        raise SynthcError(f"{and_more(folders, MAX_NAMED)}: no image but a folder; {_deeper(classes, root) or remedy(folder)}")
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


def _deeper(entries: list[Path], root: Path) -> str:
    """Text: which of these folders should be named instead (at most three), since they hold two folders or more, which may be the
    classes; "" where there is none. SynthcError as for `_entries`."""
    held = {of: _entries(of, root) for of in entries if of.is_dir()}
    inner = [of.relative_to(root.parent).as_posix() for of, below in held.items() if sum(entry.is_dir() for entry in below) > 1]
    return f"the classes lie deeper: name {' or '.join(inner[:3])}" if inner else ""


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
