"""The contract between the runtime and a method that makes a synthetic set.

A method is a class of words (`compiler.language.base.Method`) and a module with a function
`synthesize(how, private, needs, setting) -> Release`, where `how` is the arm's words from the spec. The module is found by its
place, `runtime/synthesize/PARADIGM/COMPUTE.py`, as the class says in `compute`; that of a package by its name. It never learns
which rows of `private` are canaries: membership, masks and scoring stay with the auditor. Where several sets are made from one
generator or one pool of experts, there are words and a module of it too (`compiler.language.base.Generator`), with a function
`train_generator(how, private, surroundings) -> Product`, whose file `generator` the sets' `needs["generator"]` then gives. What all
generators begin from, made of public data alone, comes from `train_shared(how, public, surroundings, path) -> Product`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from runtime.data.images import LabeledImages
from runtime.outcome import Metric
from runtime.seeds import Seeds
from runtime.store.artifacts import Artifact


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the training of a generator may know besides the private set: all of it public or data-independent."""

    card: Card
    """Classes, shape, public mean and std (grey levels 0..1) of the images as used here."""
    seeds: Seeds
    """Streams of this shadow: `seeds("dm/real batches")`; name them by method and use."""
    device: torch.device
    expected_size: int
    """Images in a private set on average over memberships: public, unlike the size of this one."""
    public: LabeledImages | None = None
    """An out-of-distribution set anyone may have, at this shape; None if the study names none."""
    base: Artifact | None = None
    """What the generators of all shadows begin from, if anything: what `train_shared` left."""


@dataclass(frozen=True, kw_only=True)
class Setting(Surroundings):
    """What a method that makes a set may know: also the classifier that will be trained on it."""

    recipe: Recipe
    """The classifier's recipe."""
    iterations: int
    """Training steps of the classifier."""


@dataclass(frozen=True)
class Release:
    """What a method made. `images`, `labels` and `student` could be published; everything else is audit-only."""

    images: Tensor
    """n × channels × height × width: uint8, or float32 in grey levels 0..1 (which may leave that range)."""
    labels: Tensor
    """n, int64; or n × classes, float32, for soft labels (probabilities)."""
    origins: Tensor | None = None
    """n, int64: row of the private set that each image was chosen from or started from, -1 for none. Audit-only."""
    student: Mapping[str, Tensor] | None = None
    """State dict of a classifier of `setting.recipe` that the method trained itself (data-free distillation)."""
    metrics: tuple[Metric, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that explain the numbers: declared data-dependent constants, images processed, seconds per stage."""
