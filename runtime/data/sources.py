"""Loads a data set's images, checked against its digest; each set is loaded once per process.

Known sets are decoded once per machine: a file of arrays, named by the digest, is memory-mapped by every worker and checked against
that digest. Users' own images are not copied to such files.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from compiler.data.records import Array, Record, array_files, stamp_of
from compiler.errors import SynthcError, did_you_mean
from compiler.language.datasets import CARDS, Card, Shape
from compiler.work.operations import Dataset, PluginImages, UserFiles
from runtime.data import plugin
from runtime.data.cards import write_record
from runtime.data.catalogue import CATALOGUE, Splits, find
from runtime.data.formats import digits, own_files, shapes
from runtime.data.images import LabeledImages, content_digest
from runtime.data.valid import images_wrong, whole_wrong
from runtime.seeds import generator
from runtime.store.files import atomic_write


@dataclass(frozen=True)
class Loaded:
    """A data set as a study uses it: resized, reduced to a class-balanced subset, with its official test split, if it has one."""

    pool: LabeledImages
    test: LabeledImages | None
    classes: int
    digest: str
    """Digest of the whole set, before subset and resizing; for users' own images that of the files."""


@lru_cache(maxsize=4)
def load(dataset: Dataset) -> Loaded:
    """The images of `dataset`: the pool after its subset is taken, and the official test split (None without one), both resized.
    Arrays that are decoded from the files of a known set are also written (`_decoded`), damaged ones deleted (`mapped_arrays`).
    SynthcError if the images are missing, broken, or differ from those for which the study was compiled, for an unknown name, and
    as of `plugin.read`. Cached and shared by callers: do not write into it."""
    pool, test = _read(dataset)
    if dataset.subset is not None and dataset.subset < len(pool):
        pool = pool[balanced_part(pool.labels, dataset.subset)]
    shape = dataset.shape
    return Loaded(resize(pool, shape), test and resize(test, shape), dataset.card.classes, dataset.digest)


def _read(dataset: Dataset) -> Splits:
    match dataset.source:
        case PluginImages(words, card):
            return plugin.read(words, card)
        case UserFiles(_, card):
            return _fitting(card, own_files.read(dataset.source))
    match dataset.name:
        case "shapes":
            return shapes.read(dataset.shape)  # its digest is that of the size on its card
        case "digits":
            return _as_planned(dataset, digits.read())
        case name if name in CATALOGUE:
            return mapped_arrays(dataset.digest) or _as_planned(dataset, _decoded(name))
    raise SynthcError(f"no data set is called {dataset.name!r}; {did_you_mean(dataset.name, CARDS)}")


def _as_planned(dataset: Dataset, splits: Splits) -> Splits:
    digest = content_digest(*splits)
    if digest != dataset.digest:
        wanted = dataset.digest or "none that was seen"
        raise SynthcError(
            f"{dataset.name}: these images have the digest {digest}, the study was made for {wanted}; "
            f"look for a damaged or altered copy with `synthc data verify {dataset.name}`, or run the study again"
        )
    return splits


def _fitting(card: Card, splits: Splits) -> Splits:
    """`splits` itself; SynthcError if the images or labels of a split do not have the card's shape and classes, or it is empty.
    Numbers of images are not compared with the card."""
    for split in (split for split in splits if split is not None):
        wrong = images_wrong(split.images, card) + whole_wrong("labels", split.labels, len(split), 0, card.classes - 1)
        if wrong:
            raise SynthcError(f"{card.name}: {wrong[0]}; fetch it again")
    return splits


def _decoded(name: str) -> Splits:
    """Decode the files of a set of CATALOGUE; also write the arrays to the first of `array_files` that can be written, for other
    processes. SynthcError if the files are missing, broken, or do not fit the card; the digest is not compared."""
    found = find(name)
    pool, test = _fitting(CARDS[name], found.form.read(found.folder))
    arrays = {"images": pool.images, "labels": pool.labels}
    if test is not None:
        arrays |= {"test_images": test.images, "test_labels": test.labels}
    for target in array_files(content_digest(pool, test)):
        with contextlib.suppress(OSError, SafetensorError):  # not writable, or a full disk: the next process decodes again
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target, synced=False) as beside:
                save_file(arrays, beside)
                beside.chmod(0o644)  # safetensors writes private files; the folder may be shared by users
            break
    return pool, test


def mapped_arrays(digest: str) -> Splits | None:
    """The memory-mapped splits of the first file among `array_files` whose content has this digest; None if there is none. Files
    before it that cannot be opened are skipped, those that are damaged or have another content deleted, where possible."""
    for path in array_files(digest):
        try:
            with safe_open(path, framework="pt") as arrays:
                of = {name: arrays.get_tensor(name) for name in arrays.keys()}
            pool = LabeledImages(of["images"], of["labels"])
            test = LabeledImages(of["test_images"], of["test_labels"]) if "test_images" in of else None
            if content_digest(pool, test) == digest:
                return pool, test
        except OSError:  # missing, or not readable
            continue
        except (SafetensorError, KeyError):
            pass
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def read_and_record(name: str) -> Record:
    """Decode the files of a set of CATALOGUE, and store and return the record of what the compiler needs of them; the arrays are
    written, too (`_decoded`). SynthcError if the files are missing, broken or cannot be read; other content than the published is
    an error for CIFAR's pickles and SVHN alone, which are not opened then."""
    found = find(name)
    try:
        files = tuple(map(str, found.files))
        stamp = stamp_of(files, 0)  # before reading: a file that changes meanwhile is read again
        checks = [fine for _, fine in found.checked()]
    except OSError as error:
        what = f"{error.filename or found.folder}: cannot be read: {error.strerror}"
        raise SynthcError(f"{what}; ask its owner for the right, or name another root by SYNTHC_DATA") from error
    pool, test = _decoded(name)
    published = False if False in checks else None if None in checks else True
    splits = {"images": pool, "test_images": test}
    arrays = {name: Array("|u1", tuple(split.images.shape)) for name, split in splits.items() if split is not None}
    record = Record(files, 0, stamp, content_digest(pool, test), arrays, published)
    write_record(name, record)
    return record


def balanced_part(labels: Tensor, n: int) -> Tensor:
    """Rows, ascending, of a random subset of n samples (all, if there are fewer), in which numbers of the classes differ by at most
    one, as far as classes have as many; a smaller subset is part of a larger one. The same labels give the same subset."""
    order = torch.randperm(len(labels), generator=generator(0, None, "subset"))
    rank = torch.empty_like(order)  # number of earlier samples of the same class in that order
    for label in labels.unique():
        rows = order[labels[order] == label]
        rank[rows] = torch.arange(len(rows))
    by_rank = order[rank[order].argsort(stable=True)]
    return by_rank[:n].sort().values


def resize(data: LabeledImages, shape: Shape) -> LabeledImages:
    """The images at `shape` (channels × height × width), by antialiased bilinear interpolation, uint8; grey is repeated to colour,
    colour averaged to grey (ITU-R BT.601 weights). `data` itself where it has that shape, else a new batch with the same labels."""
    if tuple(data.images.shape[1:]) == shape:
        return data
    made = torch.empty(len(data), *shape, dtype=torch.uint8)
    for rows in torch.arange(len(data)).split(4096):  # as float32 a large set would take many times its memory
        made[rows] = _at(data.images[rows].to(torch.float32), shape)
    return LabeledImages(made, data.labels)


def _at(images: Tensor, shape: Shape) -> Tensor:
    if images.shape[1] != shape[0]:
        weights = images.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
        images = images.expand(-1, 3, -1, -1) if shape[0] == 3 else (images * weights).sum(1, keepdim=True)
    if tuple(images.shape[2:]) != shape[1:]:
        images = torch.nn.functional.interpolate(images, size=shape[1:], mode="bilinear", antialias=True, align_corners=False)
    return images.round().clamp(0, 255).to(torch.uint8)
