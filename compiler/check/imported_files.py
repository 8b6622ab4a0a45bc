"""Files of paradigm `imported`, judged when a study is checked: which there must be, what their headers say, what they hold.

One .npz per shadow and replicate, named as `synthc export --membership` names the shadow's own file. Shapes and types stand in
the headers; the labels alone are read, by the standard library. Identity is the bytes of each file.
Not here: reading images and logits (`runtime.synthesize.imported`).
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from compiler.data.files import card_of, file_digest, header, member, stamp
from compiler.errors import Diagnostic, SynthcError
from compiler.language.audit import Audit
from compiler.language.datasets import Card
from compiler.language.methods.imported import ImportedLogits, ImportedSets
from compiler.language.study import Point
from compiler.text.nodes import Mapping

LARGEST = 1 << 32
"""Bytes of the arrays of one file."""
FLOATS = ("f2", "f4", "f8")
WHOLE = {"u1": "B", "u2": "H", "u4": "I", "u8": "Q", "i1": "b", "i2": "h", "i4": "i", "i8": "q"}
BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError)
SHOWN = 3
"""Missing or broken files that are complained about one by one."""


def file_name(replicate: int, shadow: int) -> str:
    """What a shadow's file is called, in what is exported and in what comes back."""
    return f"replicate-{replicate}-shadow-{shadow:03}.npz"


def file_of(folder: str, replicate: int, shadow: int) -> Path:
    return Path(folder) / file_name(replicate, shadow)


def digest_of_file(path: Path) -> str:
    """Of its bytes, read once as long as the file stays as it is."""
    return _digest(path, stamp(path))


@lru_cache(maxsize=8192)
def _digest(path: Path, stamped: tuple[int, int]) -> str:
    return file_digest(path)


def complaints(point: Point, tree: Mapping, replicates: int) -> Iterator[Diagnostic]:
    """What is missing or wrong among the files of an imported arm, placed at its `path`."""
    arm = point.arm
    if not isinstance(arm, ImportedSets | ImportedLogits):
        return
    at = tree.nearest("arm", "path")
    if not Path(arm.path).is_dir():
        hint = "`synthc export --membership` says what each shadow trains on; the path is relative to the spec"
        yield Diagnostic("imported", at, f"there is no folder {arm.path}", hint)
        return
    files = [file_of(arm.path, replicate, shadow) for replicate in range(replicates) for shadow in range(point.audit.shadows)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        what = f"{len(missing)} of {len(files)} files are missing, the first is {missing[0].name}"
        yield Diagnostic("imported", at, what, "each shadow of each replicate needs its own, named as the membership names it")
    wrong = [complaint for file in files if file.is_file() and (complaint := _wrong(file, point))]
    for complaint in wrong[:SHOWN]:
        yield Diagnostic("imported", at, complaint)
    if len(wrong) > SHOWN:
        yield Diagnostic("imported", at, f"and {len(wrong) - SHOWN} more files are wrong")


def _wrong(file: Path, point: Point) -> str | None:
    """What is wrong with one file, None if it can be taken in."""
    card = card_of(point.data)
    try:
        if isinstance(point.arm, ImportedSets):
            _judge_set(file, stamp(file), card, point.arm.private_origins)
        else:
            _judge_logits(file, stamp(file), queries(point, card), card.classes)
    except SynthcError as error:
        return f"{file.name}: {error}"
    except BROKEN as error:
        return f"{file.name}: cannot be read: {' '.join(str(error).split())}; write it again with numpy.savez_compressed"
    return None


def queries(point: Point, card: Card) -> int:
    """Images that each model is asked about: every view of every canary and z sample, and the test set once."""
    audit = point.audit
    asked = sum(group.count for group in audit.canaries.values()) + audit.z_pool * _z_pools(audit)
    return asked * audit.queries.count + (point.data.test or card.test_samples)


def _z_pools(audit: Audit) -> int:
    """Groups of the data set's own images share one; images from elsewhere have their own."""
    foreign = [group.kind in ("ood", "blank") for group in audit.canaries.values()]
    return sum(foreign) + (not all(foreign))


@lru_cache(maxsize=8192)
def _judge_set(file: Path, stamped: tuple[int, int], card: Card, private_origins: bool) -> None:
    """SynthcError for what does not fit."""
    with zipfile.ZipFile(file) as archive:
        kind, extents = _said(archive, "images")
        channels, height, width = card.shape
        fitting = [(channels, height, width), (height, width, channels), *([(height, width)] if channels == 1 else [])]
        if kind[1:] not in ("u1", *FLOATS) or extents[1:] not in fitting:
            wanted = f"n × {channels} × {height} × {width} or n × {height} × {width} × {channels}, uint8 or floats"
            raise SynthcError(f"images have the shape {extents} and type {kind!r}; they should be {wanted}")
        if not extents[0]:
            raise SynthcError("images are none; nothing can be trained on an empty set")
        if math.prod(extents) * int(kind[2:]) > LARGEST:
            raise SynthcError(f"images have the shape {extents}, over {LARGEST:,} bytes; send fewer, or as uint8")
        _labels_fit(archive, extents[0], card.classes)
        if private_origins:
            kind, origins = _said(archive, "origins", "private_origins: true asks which private image each image is, or began as")
            if kind[1:] not in WHOLE or origins != extents[:1]:
                raise SynthcError(f"origins have the shape {origins} and type {kind!r}; they should be {extents[0]} whole numbers")
        elif "origins.npy" in archive.namelist():
            raise SynthcError("it has origins, so its images are, or began as, private ones: say `private_origins: true`")


def _labels_fit(archive: zipfile.ZipFile, images: int, classes: int) -> None:
    kind, extents = _said(archive, "labels")
    if kind[1:] in FLOATS and extents == (images, classes):
        return
    if kind[1:] not in WHOLE or extents != (images,):
        wanted = f"{images} whole numbers, or {images} × {classes} probabilities"
        raise SynthcError(f"labels have the shape {extents} and type {kind!r}; they should be {wanted}")
    with member(archive, "labels") as handle:
        _, _, order = header(handle, "labels")
        content = handle.read(images * int(kind[2:]) + 1)
    if len(content) != images * int(kind[2:]):
        raise SynthcError("labels are truncated, or longer than their header says")
    labels = struct.unpack(f"{order}{images}{WHOLE[kind[1:]]}", content)
    wrong = next((label for label in labels if not 0 <= label < classes), None)
    if wrong is not None:
        raise SynthcError(f"labels hold {wrong}; with {classes} classes they go from 0 to {classes - 1}")


@lru_cache(maxsize=8192)
def _judge_logits(file: Path, stamped: tuple[int, int], rows: int, classes: int) -> None:
    with zipfile.ZipFile(file) as archive:
        kind, extents = _said(archive, "logits")
    if kind[1:] not in FLOATS or extents != (rows, classes):
        wanted = f"{rows:,} × {classes} floats, a row per image of queries.npz (`synthc export --membership … --queries`)"
        raise SynthcError(f"logits have the shape {extents} and type {kind!r}; they should be {wanted}")
    if rows * classes * int(kind[2:]) > LARGEST:
        raise SynthcError(f"logits have the shape {extents}, over {LARGEST:,} bytes; ask about fewer views")


def _said(archive: zipfile.ZipFile, name: str, why: str = "") -> tuple[str, tuple[int, ...]]:
    """Type and shape of an array, by its header."""
    try:
        with member(archive, name) as handle:
            kind, extents, _ = header(handle, name)
    except SynthcError as error:
        raise SynthcError(f"{error}; {why}" if why else str(error)) from None
    return kind, extents
