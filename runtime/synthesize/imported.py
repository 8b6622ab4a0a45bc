"""Imports synthetic sets and logits that users computed: reads the files, checks them, and gives them the form of a task's product.

Checked: digests equal those of the compiled study, numbers are finite, origins are images that the shadow holds. Not checked, since
it cannot be: that the user's model was trained on the shadow's private set and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compiler.check.imported_files import MAX_BYTES_PER_FILE
from compiler.data.files import file_digest
from compiler.errors import SynthcError
from compiler.work.operations import ImportLogits, Imports, ImportSet
from runtime.data.formats.npz import read_arrays
from runtime.data.formats.own_files import channels_first
from runtime.data.population.export import rows_of_table
from runtime.data.population.queries import query_images
from runtime.data.population.roles import PrivateSet, private_set, roles_of
from runtime.data.valid import images_wrong, labels_wrong
from runtime.outcome import Metric, Product
from runtime.store.artifacts import Inputs
from runtime.synthesize.operation import as_product
from runtime.synthesize.release import Release
from runtime.training.scoring import canary_accuracy

ELSEWHERE = {"made_elsewhere": True}


def perform(work: Imports, inputs: Inputs, device: torch.device) -> Product:
    """Import one file of images or logits; SynthcError where it cannot be read, has changed since the study was compiled, or is not
    valid; further errors as of `private_set`.

    The product of images has the file `set`, and where the arm declares `private_origins` also `audit`, as of `as_product`; that of
    logits is as of `_logits`. `inputs` and `device` are not used.
    """
    path = Path(work.path)
    if file_digest(path) != work.digest:
        raise SynthcError(f"{path}: has changed since the study was compiled; run it again")
    if isinstance(work, ImportSet):
        return _set(work, read_arrays(path, ("images", "labels", "origins", "seconds"), MAX_BYTES_PER_FILE))
    return _logits(work, read_arrays(path, ("logits", "seconds"), MAX_BYTES_PER_FILE))


def _set(work: ImportSet, arrays: dict[str, np.ndarray]) -> Product:
    card, private = work.private.population.dataset.card, private_set(work.private)
    pixels = channels_first(arrays["images"], card.shape)
    images = torch.from_numpy(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32))
    labels = torch.from_numpy(arrays["labels"].astype(np.float32 if arrays["labels"].dtype.kind == "f" else np.int64))
    for complaint in (*images_wrong(images, card), *labels_wrong(labels, len(images), card)):
        raise SynthcError(f"{work.path}: {complaint}")
    origins = _origins(work, arrays["origins"], private) if work.how.private_origins else None
    return as_product(Release(images, labels, origins, notes=ELSEWHERE), private, work.private, *_seconds(work, arrays))


def _origins(work: ImportSet, origins: np.ndarray, private: PrivateSet) -> Tensor:
    """n, int64: row of the private set that each image comes from, -1 for none. `origins` (n): the same as indices of the shadow's
    membership file, -1 for none; SynthcError for any other number that is not an index of a row of this private set."""
    table = rows_of_table(work.private, private)
    row_of = {int(place): row for row, place in enumerate(table)}
    for place, origin in enumerate(origins.tolist()):
        if origin != -1 and origin not in row_of:
            held = f"which shadow {work.private.shadow} does not hold; use the indices of its own membership file, or -1"
            raise SynthcError(f"{work.path}: origins[{place}] is {origin}, {held}")
    return torch.tensor([row_of.get(origin, -1) for origin in origins.tolist()], dtype=torch.int64)


def _logits(work: ImportLogits, arrays: dict[str, np.ndarray]) -> Product:
    """The product from the user's logits, which are in the order of `queries.npz`: views of canaries, views of z samples, test
    images; their number was checked by the compiler. SynthcError where one is not finite, and as of `_seconds`.

    Files: `answers` (`canary`, and `z/GROUP` for each group), image × view × class, float32; `test` (`correct`), uint8 for each
    test image. Metrics: `test_accuracy`, those of `canary_accuracy` on the first view, and that of `_seconds`.
    """
    population = work.private.population
    logits = torch.from_numpy(arrays["logits"].astype(np.float32))
    if not logits.isfinite().all():
        row = int((~logits.isfinite()).any(1).nonzero()[0, 0])
        raise SynthcError(f"{work.path}: logits[{row}] has an entry that is no finite number; did this model diverge?")
    answers: dict[str, Tensor] = {}
    first = 0
    for names, images in query_images(population):
        rows = len(images) * work.queries.count
        answers |= dict.fromkeys(names, logits[first : first + rows].reshape(len(images), work.queries.count, logits.shape[1]))
        first += rows
    test = roles_of(population).test
    right = (logits[first:].argmax(1) == test.labels).to(torch.uint8)
    metrics = [
        Metric("test_accuracy", right.double().mean().item(), n=len(test)),
        *canary_accuracy(answers["canary"][:, 0], work.private),
    ]
    return Product({"answers": answers, "test": {"correct": right}}, (*metrics, *_seconds(work, arrays)), ELSEWHERE)


def _seconds(work: Imports, arrays: dict[str, np.ndarray]) -> Iterator[Metric]:
    """Yield the metric `seconds` of the user's pipeline, if the file holds it; SynthcError where it is not one finite number from 0
    on."""
    said = arrays.get("seconds")
    if said is None:
        return
    if said.size != 1 or not 0 <= float(said.reshape(())) < np.inf:
        raise SynthcError(f"{work.path}: seconds are {said.tolist()}; one number from 0 on is wanted")
    yield Metric("seconds", float(said.reshape(())), n=1)
