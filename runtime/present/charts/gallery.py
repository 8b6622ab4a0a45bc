"""Contact sheets of synthetic images, one row per class.

A set whose images are, or began as, private images counts as private: it is made only when asked for, and only then are the
nearest private images put beside it. What is unknown counts as private.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.fingerprint import parse_canonical, restore
from compiler.language.base import Method
from compiler.text.escape import file_name
from compiler.work.operations import Private, structures
from runtime.outcome import PAIR_KINDS
from runtime.store.artifacts import Artifact, folder_of
from runtime.store.files import atomic_write
from runtime.store.records import Corrupt

MAX_CLASSES, MAX_IMAGES_PER_CLASS = 10, 10
"""Most rows and columns of a sheet."""
PIXELS_PER_PIXEL = 6
"""Enlargement of an image's pixels in the files that `write` makes."""


@dataclass(frozen=True)
class Sheet:
    """Contact sheets of one trial's set; None in place of what is withheld or does not exist."""

    private: bool
    """Whether the set may consist of private images."""
    images: int
    """Number of images in the set."""
    shown: int
    """Number of images on the sheet; 0 where it is withheld."""
    png: bytes | None
    """The sheet as PNG; None where it is withheld."""
    nearest: bytes | None
    """A sheet of the private images nearest to each image of the first; None unless private images are requested and the task
    had a private set."""
    classes: tuple[int, ...]
    """Classes of the rows; () where the sheet is withheld."""
    pairs: bytes | None = None
    """A sheet of canaries, each above the released image that the audit paired with it; None unless private images are requested
    and the attack kept pairs."""
    kept: tuple[str, ...] = ()
    """Caption of each double row of `pairs`."""


def make_sheet(store: Path, task: str, with_private: bool = False, answer: str | None = None) -> Sheet | None:
    """Make the sheets of the synthetic set that a task (id) has in the store; None where it has none, or a damaged one. A set that
    may be private is withheld (`png` None) unless `with_private`; only then are the nearest private images, of the private set of
    the task, and the pairs of the attack `answer` (id) added.

    The store is only read, and nothing in it is unpickled. ValueError for an id that is none; with `with_private` also SynthcError
    where the private data set is missing, broken or changed.
    """
    folder = folder_of(store, task)
    arrays = _load(folder / "set.safetensors", "images", "labels")
    if not arrays:
        return None
    images, labels = to_uint8(arrays["images"]), arrays["labels"]
    labels = labels.argmax(axis=1) if labels.ndim == 2 else labels
    work = read_work(store, task)
    private = _is_private(folder, work)
    chosen, classes = arrange(labels)
    if private and not with_private:
        return Sheet(True, len(images), 0, None, None, ())
    beside = None
    if with_private and isinstance(getattr(work, "private", None), Private):
        beside = to_png(_nearest(images, chosen, work.private), chosen)
    pairs, kept = _pairs(store, answer) if with_private and answer is not None else (None, ())
    return Sheet(private, len(images), int((chosen >= 0).sum()), to_png(images, chosen), beside, classes, pairs, kept)


def write(folder: Path, sets: Iterable[tuple[Mapping[str, Any], Sheet]]) -> list[Path]:
    """Write a PNG file for each sheet that is not withheld, named `gallery-STUDY-PROFILE-TRIAL.png` (made a file name, with a
    number if another sheet has the same), with `-nearest-private` and `-pairs` files where it has them; returns their paths. Older
    files are replaced. `folder` must exist; OSError where a file cannot be written.

    Pixels are enlarged, not smoothed. `sets` are trials (`study`, `profile`, `trial`) with their sheets.
    """
    from PIL import Image, ImageOps

    made: list[Path] = []
    for row, shown in sets:
        name = file_name(" ".join(str(row[part]) for part in ("study", "profile", "trial") if row[part]))
        if any(path.name.startswith(f"gallery-{name}.") for path in made):  # names that differ only in characters left out of paths
            name += f"-{len(made)}"
        for ending, content in (("", shown.png), ("-nearest-private", shown.nearest), ("-pairs", shown.pairs)):
            if content is None:
                continue
            path = folder / f"gallery-{name}{ending}.png"
            with Image.open(io.BytesIO(content)) as image, atomic_write(path, synced=False) as beside:
                enlarged = ImageOps.scale(image, PIXELS_PER_PIXEL, Image.Resampling.NEAREST)
                enlarged.save(beside, format="PNG", optimize=True)
            made.append(path)
    return made


def _pairs(store: Path, answer: str) -> tuple[bytes | None, tuple[str, ...]]:
    """The sheet of an attack's pairs of canary and released image, two rows for each group and kind, and the captions
    of these double rows; (None, ()) without pairs, or where their file is damaged."""
    arrays = _load(folder_of(store, answer) / "pairs.safetensors")
    images: list[np.ndarray] = []
    kept: list[str] = []
    for group in sorted({name.split("/")[0] for name in arrays}):
        if not arrays.keys() >= {f"{group}/{part}" for part in ("kind", "canary_image", "released_image")}:
            continue
        for kind, what in enumerate(PAIR_KINDS):
            rows = np.flatnonzero(arrays[f"{group}/kind"] == kind)[:MAX_IMAGES_PER_CLASS]
            if len(rows):
                images += [to_uint8(arrays[f"{group}/{side}"][rows]) for side in ("canary_image", "released_image")]
                kept.append(f"{group}, {what}")
    if not kept:
        return None, ()
    chosen = np.full((len(images), MAX_IMAGES_PER_CLASS), -1)
    filled = np.arange(MAX_IMAGES_PER_CLASS) < np.array([[len(row)] for row in images])
    chosen[filled] = np.arange(filled.sum())  # row by row, as the images lie
    return to_png(np.concatenate(images), chosen), tuple(kept)


def _is_private(folder: Path, work: Any) -> bool:
    """Whether a set may consist of private images, by its method's parameters and by recorded origins; True if the method is not
    known or the origins are damaged."""
    method = getattr(work, "how", None)
    if not isinstance(method, Method) or method.from_private_images:
        return True
    audit = folder / "audit.safetensors"
    return audit.exists() and bool((_load(audit, "origins").get("origins", np.zeros(1)) >= 0).any())


def _load(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The tensors of a file by name; none where it is missing, cannot be read, or lacks one of `names`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError):
        return {}
    return arrays if arrays.keys() >= set(names) else {}


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images (n × channels × height × width) as n × height × width × channels, uint8 (of uint8 images a view); floats from 0 to 1
    become 0 to 255, values outside are clipped, and NaN becomes 0."""
    if images.dtype != np.uint8:
        images = (np.nan_to_num(images).clip(0, 1) * 255).round().astype(np.uint8)
    return images.transpose(0, 2, 3, 1)


def arrange(labels: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """class × column: row of the set for each cell of a sheet, -1 for an empty cell; and the classes of the sheet's rows,
    ascending.

    The first MAX_IMAGES_PER_CLASS of each of the first MAX_CLASSES classes: a fixed rule, so that none is picked for its looks.
    """
    classes = tuple(int(label) for label in np.unique(labels)[:MAX_CLASSES])
    chosen = np.full((len(classes), MAX_IMAGES_PER_CLASS), -1)
    for row, label in enumerate(classes):
        first = np.flatnonzero(labels == label)[:MAX_IMAGES_PER_CLASS]
        chosen[row, : len(first)] = first
    return chosen, classes


def to_png(images: np.ndarray, chosen: np.ndarray) -> bytes:
    """A PNG of the images (n × height × width × channels, uint8) in the cells `chosen` (row × column: indices, -1 for an empty
    cell; at least one row), with one transparent pixel between them, not enlarged. Of images with other than three channels only
    the first channel is shown, in grey."""
    from PIL import Image

    _, high, wide, channels = images.shape
    rows, columns = chosen.shape
    canvas = Image.new("RGBA", (columns * (wide + 1) - 1, rows * (high + 1) - 1))
    for row, column in np.argwhere(chosen >= 0).tolist():
        image = images[chosen[row, column]]
        canvas.paste(Image.fromarray(image if channels == 3 else image[..., 0]), (column * (wide + 1), row * (high + 1)))
    out = io.BytesIO()
    canvas.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _nearest(images: np.ndarray, chosen: np.ndarray, private: Private) -> np.ndarray:
    """For each image whose index is in `chosen` the nearest private image by Euclidean distance of pixels, in an array of the shape
    of `images` whose other images are black."""
    import torch

    from runtime.data.distances import nearest
    from runtime.data.population.roles import private_set

    pool, shown = private_set(private).data.images, chosen[chosen >= 0]
    _, rows = nearest(torch.from_numpy(images[shown]).flatten(1), torch.from_numpy(to_uint8(pool.numpy())).flatten(1))
    twins = np.zeros_like(images)
    twins[shown] = to_uint8(pool[rows].numpy())
    return twins


def read_work(store: Path, task: str) -> Any:
    """The parameters of a task (id), an instance of its operation's class, from its hashed text; None where `task` is no id, the
    store lacks the task, its record is damaged or cannot be read, or this version lacks their classes."""
    try:
        return restore(parse_canonical(Artifact(folder_of(store, task)).text).params, structures())
    except (Corrupt, OSError, ValueError, KeyError, TypeError):
        return None
