"""The contract between the runtime and a method that makes a synthetic set.

A method is a class of parameters (`compiler.language.base.Method`) and a module with a function
`synthesize(how, private, needs, setting) -> Release`, where `how` holds the arm's parameters. The module of a built-in method is
`runtime/synthesize/PARADIGM/COMPUTE.py`, with COMPUTE from the class variable `compute`, which for a plug-in is the module's full
name. A method has no access to which rows of `private` are canaries. Where several sets are made from one generator or one pool of
experts, these have a class (`compiler.language.base.Generator`) and a function too,
`train_generator(how, private, surroundings) -> Product`, whose file `generator` the sets read from `needs["generator"]`. The base
that all shadows' generators start from, of public data alone, comes from `train_shared(how, public, surroundings, path) ->
Product`.
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
    """Inputs of a generator's training besides the private set: all public or independent of the data."""

    card: Card
    """Classes, shape, public mean and std (grey levels 0..1) of the images as used here. For a base: classes and shape alone."""
    seeds: Seeds
    """Random streams of this shadow: `seeds("dm/real batches")`, named by method and use. For a base: streams that all shadows
    share."""
    device: torch.device
    expected_size: int
    """Mean size of a private set over memberships: public, unlike the size of this one. For a base: the number of public images."""
    public: LabeledImages | None = None
    """The study's public set at this shape; None if the study names none, and for a base, which gets it as an argument."""
    base: Artifact | None = None
    """The base of all shadows' generators, from `train_shared`; None without one."""


@dataclass(frozen=True, kw_only=True)
class Setting(Surroundings):
    """Inputs of a method that makes a set besides the private set: also the recipe of the classifier that is trained on the set."""

    recipe: Recipe
    """The classifier's recipe."""
    iterations: int
    """Training steps of the classifier."""


@dataclass(frozen=True)
class Release:
    """The result of a method. `images`, `labels` and `student` are what would be published; all else is for the audit alone."""

    images: Tensor
    """n × channels × height × width, n at least 1: uint8, or float32 in grey levels, black 0 and white 1, of which the absolute
    value is at most MAX_GREY_LEVEL."""
    labels: Tensor
    """n, int64; or n × classes, float32, for soft labels (probabilities)."""
    origins: Tensor | None = None
    """n, int64: row of the private set that each image was selected or initialised from, -1 for none. For the audit alone."""
    student: Mapping[str, Tensor] | None = None
    """State dict of a classifier of `setting.recipe` that the method trained itself (data-free distillation)."""
    metrics: tuple[Metric, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    """JSON: declared data-dependent constants, images processed, seconds per stage."""
