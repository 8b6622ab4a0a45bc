"""Checks files of the paradigm `imported` when a study is checked: which files exist, their arrays and labels.

One .npz per shadow and replicate, named as `synthc export --membership` names the shadow's own file. What they hold is in the
records of `compiler.data.records`. Identity is the bytes of each file.
Not here: reading images and logits (`runtime.synthesize.imported`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from os.path import isdir, isfile
from pathlib import Path

from compiler.data.files import WHOLE_NUMBERS, array_called, card_of, check_grey, contents
from compiler.data.records import Array
from compiler.errors import Diagnostic, SynthcError
from compiler.language.audit import Audit
from compiler.language.datasets import Card
from compiler.language.methods.imported import ImportedLogits, ImportedSets
from compiler.language.study import Point
from compiler.text import nodes

MAX_BYTES_PER_FILE = 1 << 32
"""Most bytes of the arrays of one file."""
FLOATS = ("f2", "f4", "f8")
MAX_GREY_LEVEL = 10.0
"""Largest absolute grey level that is accepted: learned images may leave 0..1, but larger values mean another scale."""
MAX_SUM_ERROR = 1e-3
"""Most by which the sum of a label's probabilities may differ from 1."""
MAX_FAULTS_SHOWN = 3
"""Most broken files that are reported one by one."""


def file_name(replicate: int, shadow: int) -> str:
    """Name of a shadow's file, such as `replicate-0-shadow-003.npz`, the same for exported and for imported files; both numbers are
    counted from 0."""
    return f"replicate-{replicate}-shadow-{shadow:03}.npz"


def file_of(folder: str, replicate: int, shadow: int) -> Path:
    """Path of a shadow's file in the folder of an imported arm."""
    return Path(folder) / file_name(replicate, shadow)


def digest_of_file(path: Path) -> str:
    """Digest of a user's file, as its record has it: the file is not read. SynthcError as for `contents`."""
    return contents(path).digest


def complaints(point: Point, tree: nodes.Mapping, replicates: int) -> Iterator[Diagnostic]:
    """Diagnostics for the missing folder, or for missing or wrong files, of an imported arm, at the location of its `path`: one for
    all missing files, one for each of the first MAX_FAULTS_SHOWN wrong ones and one that counts the rest. Yields none for other
    arms. SynthcError and KeyError as for `card_of`."""
    arm = point.arm
    if not isinstance(arm, ImportedSets | ImportedLogits):
        return
    at = tree.nearest("arm", "path")
    if not isdir(arm.path):  # Path.is_dir raises an error for a name that is too long
        hint = "`synthc export --membership` says what each shadow trains on; the path is relative to the spec"
        yield Diagnostic("imported", at, f"there is no folder {arm.path}", hint)
        return
    files = [file_of(arm.path, replicate, shadow) for replicate in range(replicates) for shadow in range(point.audit.shadows)]
    missing = [file for file in files if not isfile(file)]
    if missing:
        what = f"{len(missing)} of {len(files)} files are missing, the first is {missing[0].name}"
        yield Diagnostic("imported", at, what, "each shadow of each replicate needs its own, named as the membership names it")
    wrong = [complaint for file in files if isfile(file) and (complaint := _wrong(file, point))]
    for complaint in wrong[:MAX_FAULTS_SHOWN]:
        yield Diagnostic("imported", at, complaint)
    if len(wrong) > MAX_FAULTS_SHOWN:
        yield Diagnostic("imported", at, f"and {len(wrong) - MAX_FAULTS_SHOWN} more files are wrong")


def _wrong(file: Path, point: Point) -> str | None:
    """Name of the file and what is wrong with it; None if it can be imported. SynthcError and KeyError as for `card_of`."""
    card = card_of(point.data)
    try:
        arrays = contents(file).arrays
        if isinstance(point.arm, ImportedSets):
            _judge_set(arrays, card, point.arm.private_origins)
        else:
            _judge_logits(array_called(arrays, "logits"), queries(point, card), card.classes)
        _judge_seconds(arrays.get("seconds"))
    except SynthcError as error:
        return f"{file.name}: {error}"
    return None


def queries(point: Point, card: Card) -> int:
    """Number of images with which each model is queried: every view of canaries and of the samples of all z pools, and the plain
    images on which accuracy is measured (the validation images if `judged_on` names them, else `test`, else the card's test
    split)."""
    audit = point.audit
    asked = sum(group.count for group in audit.canaries.values()) + audit.z_pool * _z_pools(audit)
    judged = point.data.validation if point.data.judged_on else point.data.test
    return asked * audit.queries.count + (judged or card.test_samples)


def _z_pools(audit: Audit) -> int:
    """Number of z pools: one for all groups of the data set's images together, and one for each ood or blank group."""
    foreign = [group.kind in ("ood", "blank") for group in audit.canaries.values()]
    return sum(foreign) + (not all(foreign))


def _judge_set(arrays: Mapping[str, Array], card: Card, private_origins: bool) -> None:
    """SynthcError unless the arrays are at least one image and labels (classes or probabilities) that fit this card, images of at
    most MAX_BYTES_PER_FILE and of the scale that `_judge_scale` accepts, and origins, from −1 to the card's samples − 1, exactly if
    `private_origins`."""
    images, (channels, height, width) = array_called(arrays, "images"), card.shape
    fitting = [(channels, height, width), (height, width, channels), *([(height, width)] if channels == 1 else [])]
    if images.dtype[1:] not in ("u1", *FLOATS) or images.shape[1:] not in fitting:
        layouts = f"n × {channels} × {height} × {width} or n × {height} × {width} × {channels}"
        raise _unfit("images", images, f"{layouts}, uint8 or floats")
    count = images.shape[0]
    if not count:
        raise SynthcError("images are none; nothing can be trained on an empty set")
    if math.prod(images.shape) * int(images.dtype[2:]) > MAX_BYTES_PER_FILE:
        raise SynthcError(f"images have the shape {images.shape}, over {MAX_BYTES_PER_FILE:,} bytes; send fewer, or as uint8")
    _judge_scale(images)
    labels = array_called(arrays, "labels")
    if labels.dtype[1:] not in FLOATS or labels.shape != (count, card.classes):  # not probabilities
        if labels.dtype[1:] not in WHOLE_NUMBERS or labels.shape != (count,) or labels.least is None or labels.most is None:
            raise _unfit("labels", labels, f"{count} whole numbers, or {count} × {card.classes} probabilities")
        if labels.least < 0 or labels.most >= card.classes:
            wrong = labels.least if labels.least < 0 else labels.most
            raise SynthcError(f"labels hold {wrong}; with {card.classes} classes they go from 0 to {card.classes - 1}")
    elif not (labels.finite and labels.probabilities):
        raise SynthcError("labels have a row that is no probabilities: each from 0 on, together 1; a softmax makes them of logits")
    if private_origins:
        if "origins" not in arrays:
            why = "private_origins: true asks which private image each image is, or began as"
            raise SynthcError(f"no array is called 'origins'; {why}")
        if arrays["origins"].dtype[1:] not in WHOLE_NUMBERS or arrays["origins"].shape != (count,):
            raise _unfit("origins", arrays["origins"], f"{count} whole numbers")
        least, most = arrays["origins"].lowest, arrays["origins"].highest
        if least is not None and most is not None and not -1 <= least <= most < card.samples:
            wrong = int(most if least >= -1 else least)
            held = f"the set has 0 to {card.samples - 1:,}, and -1 is for none"
            raise SynthcError(f"origins hold {wrong:,}; {held}: use the indices of the shadow's membership file")
    elif "origins" in arrays:
        raise SynthcError("it has origins, so its images are, or began as, private ones: say `private_origins: true`")


def _judge_scale(images: Array) -> None:
    """SynthcError for images that are not all finite, uint8 images that `check_grey` refuses, and floats whose absolute value
    exceeds MAX_GREY_LEVEL. Images whose range was not looked for pass."""
    if images.lowest is None or images.highest is None:
        if not images.finite:
            raise SynthcError("images have no finite number at all; did the generator diverge?")
        return
    if not images.finite:
        raise SynthcError("images have entries that are no finite numbers; did the generator diverge?")
    if images.dtype == "|u1":
        check_grey(images)
    elif max(-images.lowest, images.highest) > MAX_GREY_LEVEL:
        found = f"images are floats from {images.lowest:.4g} to {images.highest:.4g}, where black is 0 and white is 1"
        raise SynthcError(f"{found}; divide them by 255, or save them as uint8, if they go from 0 to 255")


def _judge_seconds(seconds: Array | None) -> None:
    """SynthcError unless the array, if there is one, has one element, a finite number from 0 on."""
    if seconds is None:
        return
    if seconds.dtype[1] not in "biuf":
        raise SynthcError(f"seconds are of type {seconds.dtype}; one number from 0 on is wanted, or none at all")
    if math.prod(seconds.shape) != 1 or not seconds.finite or (seconds.lowest is not None and seconds.lowest < 0):
        found = seconds.shape if math.prod(seconds.shape) != 1 else f"{seconds.lowest:g}" if seconds.finite else "not finite"
        raise SynthcError(f"seconds are {found}; one number from 0 on is wanted, or none at all")


def _judge_logits(logits: Array, rows: int, classes: int) -> None:
    """SynthcError unless the array is rows × classes of finite floats and of at most MAX_BYTES_PER_FILE."""
    if logits.dtype[1:] not in FLOATS or logits.shape != (rows, classes):
        where = "queries.npz (`synthc export --membership … --queries`)"
        raise _unfit("logits", logits, f"{rows:,} × {classes} floats, a row per image of {where}")
    if not logits.finite:
        raise SynthcError("logits have entries that are no finite numbers; did this model diverge?")
    if rows * classes * int(logits.dtype[2:]) > MAX_BYTES_PER_FILE:
        raise SynthcError(f"logits have the shape {logits.shape}, over {MAX_BYTES_PER_FILE:,} bytes; ask about fewer views")


def _unfit(name: str, array: Array, wanted: str) -> SynthcError:
    """The error, not raised, for an array of another shape or type than wanted."""
    return SynthcError(f"{name} have the shape {array.shape} and type {array.dtype!r}; they should be {wanted}")
