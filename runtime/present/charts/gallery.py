"""Contact sheets of synthetic images, a row per class: what a set looks like to whoever receives it.

A set whose images are, or began as, private images counts as private: it is made only when asked for, and only then are the
nearest private images put beside it. What cannot be told counts as private. Needs no Altair.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.fingerprint import parse_canonical, restore
from compiler.language.base import Method
from compiler.work.operations import Private, structures
from runtime.store.artifacts import atomic_write, folder_of

KINDS = ("nearest", "copied but not caught", "caught but not copied")
"""Of pairs that an audit keeps, as numbered in their artifact (`runtime.audit.trial.copies`)."""
CLASSES, PER_CLASS = 10, 10
"""At most so many rows and columns of a sheet."""
ENLARGED = 6
"""Side of a pixel in the files that `write` makes."""


@dataclass(frozen=True)
class Sheet:
    """What can be shown of one trial's set."""

    private: bool
    """Whether it is made of private images, as far as can be told."""
    images: int
    """In the set."""
    shown: int
    png: bytes | None
    """The sheet; None where it is withheld."""
    nearest: bytes | None
    """In the same places the private image nearest to each; only when private images were asked for."""
    classes: tuple[int, ...]
    """Of the rows."""
    pairs: bytes | None = None
    """Canaries and, below each, the image of a set that the audit kept beside it; only when private images were asked for."""
    kept: tuple[str, ...] = ()
    """What each double row of `pairs` shows."""


def sheet(store: Path, task: str, with_private: bool = False, answer: str | None = None) -> Sheet | None:
    """The sheet of the set that the task left in the store; None where there is none. `answer`: the attack on its trial.

    The store is only read: `task` and `answer` are ids, and files are safetensors.
    """
    from safetensors.numpy import load_file

    folder = folder_of(store, task)
    if not (folder / "set.safetensors").exists():
        return None
    made = load_file(folder / "set.safetensors")
    images, labels = grey_levels(made["images"]), made["labels"]
    labels = labels.argmax(axis=1) if labels.ndim == 2 else labels
    asked = task_words(store, task)
    private = _is_private(folder, asked)
    chosen, classes = arranged(labels)
    shown = int((chosen >= 0).sum())
    if private and not with_private:
        return Sheet(True, len(images), 0, None, None, ())
    beside = None
    if with_private and isinstance(getattr(asked, "private", None), Private):
        beside = png(_nearest(images, chosen, asked.private), chosen)
    pairs, kept = _pairs(store, answer) if with_private and answer is not None else (None, ())
    return Sheet(private, len(images), shown, png(images, chosen), beside, classes, pairs, kept)


def write(folder: Path, sets: Iterable[tuple[Mapping[str, Any], Sheet]]) -> list[Path]:
    """A file for each sheet that can be shown, one for the private images nearest to it and one for the pairs that the audit kept.

    Pixels are enlarged, never smoothed.

    `sets` are trials (`study`, `profile`, `trial`) with their sheets. Gives the files.
    """
    from PIL import Image

    made = []
    for row, shown in sets:
        name = "-".join(re.findall(r"[\w.]+", " ".join(str(row[part]) for part in ("study", "profile", "trial") if row[part])))
        for ending, content in (("", shown.png), ("-nearest-private", shown.nearest), ("-pairs", shown.pairs)):
            if content is None:
                continue
            path = folder / f"gallery-{name}{ending}.png"
            with Image.open(io.BytesIO(content)) as image, atomic_write(path, synced=False) as beside:
                larger = image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.Resampling.NEAREST)
                larger.save(beside, format="PNG", optimize=True)
            made.append(path)
    return made


def _pairs(store: Path, answer: str) -> tuple[bytes | None, tuple[str, ...]]:
    """The pairs of canary and released image that an attack left: two rows for each group and kind, and what they show."""
    from safetensors.numpy import load_file

    path = folder_of(store, answer) / "pairs.safetensors"
    if not path.exists():
        return None, ()
    held = load_file(path)
    images: list[np.ndarray] = []
    places: list[np.ndarray] = []
    kept: list[str] = []
    for group in sorted({name.split("/")[0] for name in held}):
        for kind, told in enumerate(KINDS):
            rows = np.flatnonzero(held[f"{group}/kind"] == kind)[:PER_CLASS]
            if not len(rows):
                continue
            for side in ("canary_image", "released_image"):
                place = np.full(PER_CLASS, -1)
                place[: len(rows)] = sum(map(len, images)) + np.arange(len(rows))
                images.append(grey_levels(held[f"{group}/{side}"][rows]))
                places.append(place)
            kept.append(f"{group}, {told}")
    return (png(np.concatenate(images), np.stack(places)), tuple(kept)) if kept else (None, ())


def _is_private(folder: Path, asked: Any) -> bool:
    """By the words of its method, and by what the auditor recorded; when in doubt, yes."""
    from safetensors.numpy import load_file

    words = getattr(asked, "how", None)
    if not isinstance(words, Method) or words.from_private_images:
        return True
    audit = folder / "audit.safetensors"
    return audit.exists() and bool((load_file(audit)["origins"] >= 0).any())


def grey_levels(images: np.ndarray) -> np.ndarray:
    """n × channels × height × width as n × height × width × channels, uint8; grey levels that leave 0..1 are cut off."""
    if images.dtype != np.uint8:
        images = (np.nan_to_num(images).clip(0, 1) * 255).round().astype(np.uint8)
    return images.transpose(0, 2, 3, 1)


def arranged(labels: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Places of a sheet as rows of the set, class × column, -1 for an empty place; the classes of its rows.

    The first of each class: a fixed rule, so that nobody picked the pretty ones.
    """
    classes = tuple(int(label) for label in np.unique(labels)[:CLASSES])
    chosen = np.full((len(classes), PER_CLASS), -1)
    for row, label in enumerate(classes):
        found = np.flatnonzero(labels == label)[:PER_CLASS]
        chosen[row, : len(found)] = found
    return chosen, classes


def png(images: np.ndarray, chosen: np.ndarray) -> bytes:
    """The images at their places, one transparent pixel between them, as a PNG without enlargement."""
    from PIL import Image

    _, high, wide, channels = images.shape
    rows, columns = chosen.shape
    canvas = np.zeros((rows * (high + 1) - 1, columns * (wide + 1) - 1, 4), dtype=np.uint8)
    for row, column in zip(*np.nonzero(chosen >= 0), strict=True):
        at = np.s_[row * (high + 1) : row * (high + 1) + high, column * (wide + 1) : column * (wide + 1) + wide]
        image = images[chosen[row, column]]
        canvas[at] = np.concatenate(
            [image if channels == 3 else image[..., :1].repeat(3, -1), np.full((high, wide, 1), 255)], axis=-1
        )
    out = io.BytesIO()
    Image.fromarray(canvas).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _nearest(images: np.ndarray, chosen: np.ndarray, private: Private) -> np.ndarray:
    """For each chosen image the private one at the least Euclidean distance; other rows are left black."""
    import torch

    from runtime.data.distances import nearest
    from runtime.data.population.roles import private_set

    pool, shown = private_set(private).data.images, chosen[chosen >= 0]
    _, rows = nearest(torch.from_numpy(images[shown]).flatten(1), torch.from_numpy(grey_levels(pool.numpy())).flatten(1))
    found = np.zeros_like(images)
    found[shown] = grey_levels(pool[rows].numpy())
    return found


def task_words(store: Path, task: str) -> Any:
    """What a task was asked, restored from the text that was hashed; None where this version does not know its words."""
    try:
        text = json.loads((folder_of(store, task) / "task.json").read_text(encoding="utf-8"))["text"]
        return restore(parse_canonical(text).params, structures())
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
