"""Coreset selection: a part of the private set, chosen by a rule (methods.md section 5).

    parts     which rows compete with each other, and how many of them stay
    picker    of one such part, the rows that stay: a function of the method (`difficulty`, `coverage`)

Classes are those of the labels as given, wrong ones included. Ties are broken by a seeded shuffle, never by the order of the
private set. The set is given in the order of the private set, which is shuffled: a place in it does not tell a rank.
Not here: training on the set (`runtime.training`, for a fixed number of iterations, whatever its size).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from compiler.errors import SynthcError
from compiler.spec.coreset import Forgetting, RandomSubset, Selection
from runtime.artifacts import Artifact
from runtime.data import LabeledImages
from runtime.synthesize.coreset.difficulty import Picker, forgetting, hardest, logged
from runtime.synthesize.release import Release, Setting


def synthesize(how: Selection, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """The chosen images as they are; `origins` are their rows in the private set."""
    pick = picker(how, private, needs, setting)
    rows = torch.cat([pick(rows, keep) for rows, keep in parts(how, private.labels, setting.card.classes)]).sort().values
    chosen = private[rows]
    counts = chosen.labels.bincount(minlength=setting.card.classes)
    return Release(chosen.images, chosen.labels, origins=rows, notes={"images_per_class": counts.tolist()})


def picker(how: Selection, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Picker:
    """The rule of a method, with whatever it had to look up or train."""
    ties = setting.seeds("coreset/ties")
    match how:
        case RandomSubset():
            return hardest(torch.rand(len(private), generator=setting.seeds("coreset/random")), ties)
        case Forgetting():
            log = logged(needs["proxy"], len(private))
            return hardest(forgetting(log["correct"], how.never_learned), ties)
    raise TypeError(f"{type(how).__name__} is no way of choosing that this module knows")


def parts(how: Selection, labels: Tensor, classes: int) -> Iterator[tuple[Tensor, int]]:
    """(rows that compete, how many of them to keep): one part per class, or the whole set.

    A class without any image (a relabelling may have emptied it) is left out. With `class_balanced` every other class keeps
    at least one image. SynthcError if that is not possible, or if `per_class` asks for more than a class has.
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
    """`seats` dealt in proportion to `sizes`, by largest remainder; every party gets one, none more than its size.

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
