"""Initialises learned images and turns them into a release: shared code of distillation methods.

Learned images are normalised, one block per class. Not here: their optimisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.check.imported_files import MAX_GREY_LEVEL
from compiler.errors import SynthcError
from compiler.language.datasets import Card
from compiler.language.methods.distillation import (
    DifficultyAligned,
    Distilled,
    DistributionMatching,
    GradientMatching,
    TrajectoryMatching,
)
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.seeds import Seeds
from runtime.synthesize.release import Release, Setting
from runtime.training import siamese
from runtime.training.nets import grey_levels, normalise

Matched = DistributionMatching | GradientMatching | TrajectoryMatching | DifficultyAligned
MEAN_NOISE = 0.1
"""Noise on `class_mean`, in normalised units: equal images of a class would have equal gradients and so stay equal."""


@dataclass(frozen=True)
class Start:
    """Learned images at initialisation."""

    pixels: Tensor
    """n × c × h × w, float32, normalised; the images of a class are adjacent."""
    labels: Tensor
    """n, int64."""
    origins: Tensor | None
    """n, int64: the private row that each image was initialised from; None where images are not from private ones."""
    classes: tuple[int, ...]
    """Classes that the private set has images of, ascending. Other classes (emptied by relabelling) have no learned images."""
    per_class: int
    """Number of learned images of each class."""


class Learner:
    """Learned images with their optimiser and augmentation stream."""

    def __init__(self, how: Matched, start: Start, setting: Setting) -> None:
        self.start, self.card, self.device = start, setting.card, setting.device
        self.pixels = start.pixels.to(self.device).requires_grad_()
        self.optimizer = torch.optim.SGD([self.pixels], lr=how.lr, momentum=0.5)
        self.moves = setting.seeds(f"{how.method}/augment")
        self.black = siamese.black_level(self.card).to(self.device)


def initialise(how: Distilled, private: LabeledImages, setting: Setting) -> Start:
    """Initialise `images_per_class` learned images, on the CPU, of each class that the private set has. `how.init`: normal `noise`,
    private images (`real`), the class's mean and a little noise (`class_mean`), or random `public` images of any class. SynthcError
    where a class (`real`) or the public set (`public`) has fewer than are needed, and for `public` without a public set."""
    per_class, seeds, card = how.images_per_class, setting.seeds, setting.card
    classes = tuple(private.labels.unique().tolist())
    labels = torch.tensor(classes).repeat_interleave(per_class)
    origins = None
    match how.init:
        case "noise":
            pixels = _noise(len(labels), card, seeds)
        case "real":
            origins = torch.cat([_some(private.labels, label, how, seeds) for label in classes])
            pixels = normalise(private.images[origins], card)
        case "class_mean":
            means = torch.cat([normalise(private.images[private.labels == label], card).mean(0, keepdim=True) for label in classes])
            pixels = means.repeat_interleave(per_class, dim=0) + MEAN_NOISE * _noise(len(labels), card, seeds)
        case "public":
            pixels = normalise(_public(len(labels), how, setting), card)
    return Start(pixels, labels, origins, classes, per_class)


def finish(
    start: Start, pixels: Tensor, card: Card, labels: Tensor | None = None, notes: Mapping[str, Any] | None = None
) -> Release:
    """The release of learned images, with the origins of `start`. Its notes are `classes_without_images` (a list) and `notes`.

    `pixels` (n × c × h × w) are normalised; the release has them on the CPU, in grey levels, black 0 and white 1, not clipped.
    `labels`: n × class, learned probabilities; None: the labels of `start`. Diverged if a grey level is not finite or beyond
    ±MAX_GREY_LEVEL.
    """
    levels = grey_levels(pixels.detach().cpu(), card)
    if not bool((levels.abs() <= MAX_GREY_LEVEL).all()):
        worst = float(levels.abs().max())
        held = (
            f"a grey level of {worst:.3g}, where black is 0 and white 1" if math.isfinite(worst) else "values that are no numbers"
        )
        raise Diverged(f"the learned images hold {held}; lower the method's lr")
    without = [label for label in range(card.classes) if label not in start.classes]
    declared = {"classes_without_images": without, **(notes or {})}
    return Release(levels, start.labels if labels is None else labels, start.origins, notes=declared)


def summarise(losses: Sequence[Tensor], method: str, advice: str) -> dict[str, float]:
    """Name → value: `loss_first` and `loss_last`, mean loss of the first and of the last twenty steps (of all where there are
    fewer). `losses`: a scalar for each step, at least one. Diverged, with `advice` at the end of its message, if `loss_last` is not
    finite; `loss_first` is not checked."""
    first, last = (torch.stack(list(part)).mean().item() for part in (losses[:20], losses[-20:]))
    if not math.isfinite(last):
        raise Diverged(f"{method}: the loss is {last} after {len(losses)} steps; {advice}")
    return {"loss_first": first, "loss_last": last}


def _noise(n: int, card: Card, seeds: Seeds) -> Tensor:
    return torch.randn(n, *card.shape, generator=seeds("distillation/init/noise"))


def _some(labels: Tensor, label: int, how: Distilled, seeds: Seeds) -> Tensor:
    """`images_per_class` random distinct rows of a class, in random order, the same for all methods of a shadow; those of a smaller
    `images_per_class` are the first ones of a larger. SynthcError if the class has fewer."""
    rows = (labels == label).nonzero()[:, 0]
    if len(rows) < how.images_per_class:
        raise SynthcError(
            f"distillation with init: real: images_per_class: {how.images_per_class} asks for more images of class {label} than "
            f"the {len(rows)} of this private set; ask for fewer, or begin with noise"
        )
    order = torch.randperm(len(rows), generator=seeds(f"distillation/init/real/{label}"))
    return rows[order[: how.images_per_class]]


def _public(n: int, how: Distilled, setting: Setting) -> Tensor:
    if setting.public is None:
        raise SynthcError("distillation with init: public: the study names no public set; name one with `public: {name: …}`")
    if n > len(setting.public):
        raise SynthcError(
            f"distillation with init: public: {n} images to begin with, the public set has {len(setting.public)}; "
            f"lower images_per_class ({how.images_per_class})"
        )
    return setting.public.images[torch.randperm(len(setting.public), generator=setting.seeds("distillation/init/public"))[:n]]
