"""Reads users' files once and records what the compiler needs of them: counts, shapes, labels, faults, digest.

Commands do so before they compile (`compile_with_files`), so that ids are known before anything runs. Records are private files in
the user's cache, without pixels and names of images.
Not here: the form of a record and whether it is still valid (`compiler.data.records`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.check.imported_files import FLOATS, MAX_SUM_ERROR
from compiler.compile import compile_tree
from compiler.data.files import WHOLE_NUMBERS, file_digest, splits, user_files
from compiler.data.records import Array, Record, folder_stamp, record_files, record_of, record_type, stamp_of, unwritten
from compiler.errors import SynthcError
from compiler.language.datasets import CARDS
from compiler.plan.dag import Plan
from compiler.text.compose import compose
from compiler.text.nodes import Mapping
from runtime.store.files import atomic_write

if TYPE_CHECKING:
    import numpy as np

MAX_LABEL_BYTES = 1 << 28
"""Most bytes of an array whose values, and not its header alone, are read when a study is checked."""


def compile_with_files(path: Path, profile: str | None = None, sets: Sequence[str] = ()) -> Plan:
    """The plan of the study in the file `path`, with arguments and errors as of `compiler.compile.compile_study`, after
    `make_cards` has read and recorded the user's files that it names (OSError as there)."""
    tree = compose(path, profile, sets)
    make_cards(tree)
    return compile_tree(tree, profile)


def make_cards(tree: Mapping) -> None:
    """Read and record the user's files and folders that a composed study names, after the cache of `folder_stamp` is cleared.
    Skipped are those that do not exist, and those with a valid record without a fault. What is wrong with a file is in its record;
    OSError for one that was removed meanwhile."""
    folder_stamp.cache_clear()  # an image may change without a change of its folder's time
    for path in filter(os.path.exists, user_files(tree)):
        record = record_of(str(path))
        if record is None or record.fault:  # a fault may be gone although no file changed: a permission, a mounted disk
            write_record(str(path), read(path))


def read(path: Path) -> Record:
    """The record of a user's file or folder, not stored; if it is not valid, the record has the fault and no arrays. OSError where
    it is missing."""
    files, levels = (str(path),), 3 if path.is_dir() else 0  # train, class, image
    stamp = stamp_of(files, levels)  # before reading, so that a change meanwhile makes the record invalid
    try:
        arrays = _folder(path) if path.is_dir() else _npz(path)
        return Record(files, levels, stamp, file_digest(path), arrays)
    except SynthcError as error:
        return Record(files, levels, stamp, fault=str(error).removeprefix(f"{path}/").removeprefix(f"{path}: "))


def _npz(path: Path) -> dict[str, Array]:
    """Name → description of each array from its header. `labels` and `test_labels` that are vectors of whole numbers, not empty,
    also have range and counts; integers or floats among NUMBERS, not empty and of at most MAX_LABEL_BYTES, what `describe_numbers`
    adds (the task that imports larger ones looks). SynthcError for a broken file, and for such labels of over MAX_LABEL_BYTES."""
    from runtime.data.formats.npz import read_arrays, read_headers

    headers = read_headers(path)
    arrays = {name: Array(header.dtype.str, header.shape) for name, header in headers.items()}
    for name in {"labels", "test_labels"} & arrays.keys():
        kind, shape = arrays[name].dtype, arrays[name].shape
        if kind[1:] in WHOLE_NUMBERS and len(shape) == 1 and shape[0]:
            arrays[name] = describe_labels(read_arrays(path, (name,), MAX_LABEL_BYTES)[name])
    for name in NUMBERS & arrays.keys():
        if arrays[name].dtype[1:] in (*FLOATS, *WHOLE_NUMBERS) and 0 < headers[name].nbytes <= MAX_LABEL_BYTES:
            arrays[name] = describe_numbers(arrays[name], read_arrays(path, (name,), MAX_LABEL_BYTES)[name])
    return arrays


NUMBERS = {"images", "labels", "logits", "origins", "seconds"}
"""Arrays of which `describe_numbers` tells more than the header."""


def describe_numbers(array: Array, values: np.ndarray) -> Array:
    """A copy of the description `array` with the range of its `values`, at least one number; for floats that of the finite ones
    (None without any), whether all are finite, and whether none is negative and, of two dimensions, each row sums to 1 within
    MAX_SUM_ERROR (`probabilities`)."""
    import numpy as np

    if values.dtype.kind != "f":
        return replace(array, lowest=float(values.min()), highest=float(values.max()))
    right = np.isfinite(values)
    least, most = (float(values.min(where=right, initial=np.inf)), float(values.max(where=right, initial=-np.inf)))
    low, high = (least, most) if least <= most else (None, None)
    sums = values.sum(-1, dtype=np.float64) if values.ndim == 2 else np.ones(1)
    fine = bool(least >= 0 and (np.abs(sums - 1) < MAX_SUM_ERROR).all())
    return replace(array, finite=bool(right.all()), lowest=low, highest=high, probabilities=fine)


def describe_labels(labels: np.ndarray) -> Array:
    """The description of labels (n integers, n at least 1): type and shape, range, number of distinct labels, and size of the
    smallest class that has any."""
    import numpy as np

    values, counts = np.unique(labels, return_counts=True)
    return Array(labels.dtype.str, labels.shape, int(values[0]), int(values[-1]), len(values), int(counts.min()))


def _folder(path: Path) -> dict[str, Array]:
    """Name → description of the arrays that a folder of images gives: images and labels, and those of the test split, of which
    without one there are only labels, empty. Every image is decoded, so that broken ones are found before a study runs; SynthcError
    for images that cannot be used or differ in size, and for a layout that `splits` refuses."""
    from runtime.data.formats.image_file import decode_all

    arrays: dict[str, Array] = {}
    parts = splits(path)
    for split, images in zip(("", "test_"), parts, strict=True):
        labels = Counter(label for _, label in images)
        fewest = min(labels.values(), default=0)
        arrays[f"{split}labels"] = Array("<i8", (len(images),), min(labels, default=0), max(labels, default=0), len(labels), fewest)
    shapes: set[tuple[int, ...]] = set()
    highest = 0
    for pixels in decode_all((image.relative_to(path).as_posix(), image) for of in parts for image, _ in of):
        shapes.add(pixels.shape)
        highest = max(highest, int(pixels.max()))
    size = next(iter(shapes))[:2]
    colour = any(len(shape) == 3 for shape in shapes)
    for split in ("", "test_") if arrays["test_labels"].shape[0] else ("",):
        arrays[f"{split}images"] = Array(
            "|u1", (*arrays[f"{split}labels"].shape, *size, *((3,) if colour else ())), highest=highest
        )
    return arrays


def write_record(key: str, record: Record) -> None:
    """Store the record of `key` (a known set's name, or the absolute path of a user's file or folder, whose record the owner alone
    can read) for `record_of`, in the first of `record_files` that can be written, in place of an older one; where none can, it is
    kept for this process alone."""
    for path in record_files(key):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, synced=False) as beside:
                beside.touch(mode=0o644 if key in CARDS else 0o600)
                beside.write_bytes(record_type().dump_json(record, indent=1))
            return
        except (OSError, ValueError):  # ValueError: characters that JSON cannot hold, as in an image's name
            continue
    unwritten[key] = record
