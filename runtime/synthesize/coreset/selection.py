"""Coreset selection: a part of the private set, chosen by a rule.

    parts     which rows compete with each other, and how many of them stay
    picker    of one such part, the rows that stay: a function of the method (`difficulty`, `coverage`)

Classes are those of the labels as given, wrong ones included. Ties are broken by a seeded shuffle, never by the order of the
private set. The set is given in the order of the private set, which is shuffled: a place in it does not tell a rank.
Not here: training on the set (`runtime.training.classifier`, for a fixed number of iterations, whatever its size).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from compiler.errors import SynthcError
from compiler.language.methods.coreset import (
    AreaUnderMargin,
    ByDynamics,
    ByProxy,
    El2n,
    Forgetting,
    GradientNorm,
    Herding,
    KCenter,
    Moderate,
    RandomSubset,
    Selection,
    Stratified,
    Submodular,
    Uncertainty,
)
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.store.artifacts import Artifact
from runtime.synthesize.coreset.coverage import facility_location, gradient_similarity, graph_cut, herding, k_center, moderate
from runtime.synthesize.coreset.difficulty import (
    Log,
    Picker,
    area_under_margin,
    difficulty,
    el2n,
    forgetting,
    gradient_norm,
    hardest,
    logged,
    stratified,
    uncertainty,
)
from runtime.synthesize.release import Release, Setting
from runtime.training.nets import Classifier, normalise, restored

TOGETHER = 256
"""Images per forward pass of the proxy."""


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
        case GradientNorm():
            return hardest(gradient_norm(how, private, setting), ties)
        case ByDynamics():
            return _by_dynamics(how, logged(needs["proxy"], len(private)), ties)
        case ByProxy():
            return _by_proxy(how, private, needs["proxy"], setting, ties)
    raise TypeError(f"{type(how).__name__} is no way of choosing that this module knows")


def _by_dynamics(how: ByDynamics, log: Log, ties: torch.Generator) -> Picker:
    match how:
        case Forgetting():
            return hardest(forgetting(log, how.never_learned), ties)
        case El2n():
            return hardest(el2n(log, how.passes), ties)
        case AreaUnderMargin():
            return hardest(area_under_margin(log), ties)
        case Stratified():
            return stratified(difficulty(how.score, log, how.passes), how.cut, how.strata, ties)
    raise TypeError(f"{type(how).__name__} is no score that this module knows")


def _by_proxy(how: ByProxy, private: LabeledImages, proxy: Artifact, setting: Setting, ties: torch.Generator) -> Picker:
    net = restored(how.proxy or setting.recipe, setting.card, proxy.tensors("model")).to(setting.device)
    features, logits = embedded(net, private.images, setting)
    if isinstance(how, Uncertainty):
        return hardest(uncertainty(logits, how.method), ties)
    errors = logits.softmax(1) - one_hot(private.labels, logits.shape[1])
    place = torch.randperm(len(private), generator=ties)

    def pick(rows: Tensor, keep: int) -> Tensor:
        shuffled = rows[place[rows].argsort()]
        return shuffled[chosen(shuffled, keep)]

    def chosen(rows: Tensor, keep: int) -> Tensor:
        match how:
            case Herding():
                return herding(features[rows], keep)
            case KCenter():
                return k_center(features[rows], keep)
            case Moderate():
                return moderate(features[rows], keep)
            case Submodular():
                rule = graph_cut if how.method == "graph_cut" else facility_location
                return rule(gradient_similarity(features[rows], errors[rows]), keep)
        raise TypeError(f"{type(how).__name__} is no way of choosing that this module knows")

    return pick


@torch.inference_mode()
def embedded(net: Classifier, images: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
    """(n × features, n × classes logits) in eval mode, on the CPU; Diverged if they are no numbers."""
    features = [net.features(normalise(chunk.to(setting.device), setting.card)).cpu() for chunk in images.split(TOGETHER)]
    found = torch.cat(features)
    logits = torch.cat([net.head(chunk.to(setting.device)).cpu() for chunk in features])
    if not (found.isfinite().all() and logits.isfinite().all()):
        raise Diverged("the proxy's features are no numbers: its training diverged")
    return found, logits


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
