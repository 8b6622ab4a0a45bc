"""Shared code of coreset methods: the candidates of each class, how many are kept, and the proxy's features.

A method's module has a function `synthesize` that makes a `Picker` and passes it to `chosen`.

Classes are those of the given labels, wrong ones included. Ties are broken by a seeded shuffle, not by the order of the private
set. The result is in the order of the private set, which is random, so that positions do not reveal ranks.
Not here: the rules (`difficulty`, `coverage`), training on the set (`runtime.training.classifier`, for a fixed number of
iterations, whatever its size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from compiler.errors import SynthcError
from compiler.language.methods.coreset import ByProxy, Selection
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.store.artifacts import Artifact
from runtime.synthesize.release import Release, Setting
from runtime.training.nets import normalise, restored

TOGETHER = 256
"""Images per forward pass of the proxy."""

Picker = Callable[[Tensor, int], Tensor]
"""(candidate rows in the order of a seeded shuffle, number to keep) → the selected rows."""


def chosen(how: Selection, private: LabeledImages, setting: Setting, pick: Picker) -> Release:
    """The release of the selected images, unchanged, in the order of the private set; `origins` are their rows in it, the note
    `images_per_class` their number of each class. SynthcError as of `parts`; errors of `pick` pass."""
    place = torch.randperm(len(private), generator=setting.seeds("coreset/ties"))
    of_parts = parts(how, private.labels, setting.card.classes)
    rows = torch.cat([pick(rows[place[rows].argsort()], keep) for rows, keep in of_parts]).sort().values
    kept = private[rows]
    counts = kept.labels.bincount(minlength=setting.card.classes)
    return Release(kept.images, kept.labels, origins=rows, notes={"images_per_class": counts.tolist()})


@torch.inference_mode()
def embedded(how: ByProxy, images: Tensor, proxy: Artifact, setting: Setting) -> tuple[Tensor, Tensor]:
    """Features (n × feature) and logits (n × class) of the proxy in eval mode, on the CPU; Diverged if they are not finite, other
    errors as of `Artifact.tensors` and `restored`. images: n × channels × height × width, uint8."""
    net = restored(how.proxy or setting.recipe, setting.card, proxy.tensors("model")).to(setting.device)
    features = [net.features(normalise(chunk.to(setting.device), setting.card)).cpu() for chunk in images.split(TOGETHER)]
    found = torch.cat(features)
    logits = torch.cat([net.head(chunk.to(setting.device)).cpu() for chunk in features])
    if not (found.isfinite().all() and logits.isfinite().all()):
        raise Diverged("the proxy's features are no numbers: its training diverged; lower proxy.lr")
    return found, logits


def parts(how: Selection, labels: Tensor, classes: int) -> Iterator[tuple[Tensor, int]]:
    """Yield pairs of candidate rows and the number to keep: one pair per class; with `fraction` and without `class_balanced`, one
    for the whole set.

    A class without any image (a relabelling may have emptied it) is left out. `fraction` keeps its share of all images, rounded,
    which `apportioned` divides among the classes, so that each keeps at least one. SynthcError if `fraction` keeps fewer images
    than there are classes with images (balanced or not), or if `per_class` asks for more than such a class has.
    """
    of_class = [(labels == label).nonzero()[:, 0] for label in range(classes)]
    if how.per_class is not None:
        for label, rows in enumerate(of_class):
            if 0 < len(rows) < how.per_class:
                raise SynthcError(
                    f"coreset {how.method}: per_class: {how.per_class} asks for more images of class {label} than the "
                    f"{len(rows)} of this private set; ask for fewer, or for a `fraction`"
                )
        yield from ((rows, how.per_class) for rows in of_class if len(rows))
        return

    assert how.fraction is not None
    keep = round(how.fraction * len(labels))
    present = [rows for rows in of_class if len(rows)]
    if keep < len(present):
        raise SynthcError(
            f"coreset {how.method}: fraction: {how.fraction:g} of {len(labels)} images keeps {keep}, fewer than the "
            f"{len(present)} classes; at least {len(present) / len(labels):.2g} would do"
        )
    if how.class_balanced:
        yield from zip(present, apportioned([len(rows) for rows in present], keep), strict=True)
    else:
        yield torch.arange(len(labels)), keep


def apportioned(sizes: list[int], seats: int) -> list[int]:
    """One seat for each party, and the other `seats` in proportion to size − 1 by largest remainder; of equal remainders the first.

    For sizes from 1 on and len(sizes) ≤ seats ≤ sum(sizes), which is not checked: the sum is then `seats`, none above its size.

    >>> apportioned([60, 30, 9, 1], 10)
    [6, 2, 1, 1]
    """
    given = [1] * len(sizes)
    open_seats = seats - len(sizes)
    rest = [size - 1 for size in sizes]
    total = sum(rest)
    if not total or open_seats <= 0:
        return given
    exact = [size * open_seats / total for size in rest]
    given = [one + int(share) for one, share in zip(given, exact, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda party: (int(exact[party]) - exact[party], party))
    for party in by_remainder[: seats - sum(given)]:
        given[party] += 1
    return given
