"""Methods that make a synthetic set: one file per paradigm or paper, each a function `synthesize` (see `release`).

The auditor's side of them: `perform` gives a method the private set without saying who is a canary, and only then measures
what became of the canaries.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from compiler.language.plugins import OwnMethod
from compiler.work.operations import Private, Synthesize, TrainGenerator
from runtime.data.population.roles import PrivateSet, expected_size, private_set, roles_of
from runtime.data.sources import load
from runtime.outcome import Metric, Product
from runtime.seeds import Seeds
from runtime.store.artifacts import Artifact
from runtime.synthesize import plugin
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training.nets import restored
from runtime.training.scoring import reported

METHODS = {
    "RandomSubset": "runtime.synthesize.coreset.selection",
    "Forgetting": "runtime.synthesize.coreset.selection",
    "El2n": "runtime.synthesize.coreset.selection",
    "AreaUnderMargin": "runtime.synthesize.coreset.selection",
    "Stratified": "runtime.synthesize.coreset.selection",
    "GradientNorm": "runtime.synthesize.coreset.selection",
    "Uncertainty": "runtime.synthesize.coreset.selection",
    "KCenter": "runtime.synthesize.coreset.selection",
    "Herding": "runtime.synthesize.coreset.selection",
    "Moderate": "runtime.synthesize.coreset.selection",
    "Submodular": "runtime.synthesize.coreset.selection",
    "DistributionMatching": "runtime.synthesize.distillation.matching",
    "GradientMatching": "runtime.synthesize.distillation.matching",
    "TrajectoryMatching": "runtime.synthesize.distillation.trajectory",
    "DifficultyAligned": "runtime.synthesize.distillation.trajectory",
    "Recovery": "runtime.synthesize.distillation.recovery",
    "Inversion": "runtime.synthesize.data_free_kd.rounds",
    "Fast": "runtime.synthesize.data_free_kd.rounds",
    "DeepInversion": "runtime.synthesize.data_free_kd.rounds",
    "Dafl": "runtime.synthesize.data_free_kd.rounds",
    "Zskt": "runtime.synthesize.data_free_kd.rounds",
    "Dfad": "runtime.synthesize.data_free_kd.rounds",
    "Dfq": "runtime.synthesize.data_free_kd.rounds",
    "Conditional": "runtime.synthesize.diffusion.generate",
    "ImageToImage": "runtime.synthesize.diffusion.generate",
}
"""Words of an arm → the module whose `synthesize(how, private, needs, setting) -> Release` makes its set."""

GENERATORS = {
    "Experts": "runtime.synthesize.distillation.trajectory",
    "Denoiser": "runtime.synthesize.diffusion.generate",
}
"""Words of a generator → the module whose `train_generator(how, private, surroundings) -> Product` leaves the file `generator`."""


def perform(work: Synthesize | TrainGenerator, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """Run the method that `work.how` describes.

    Files of a set: `set` = `images`, `labels`; `audit` = `origins`, `origin_canary`, where images come from private ones; `model` =
    the student, where the method trains one. Files of a generator: `generator`.
    """
    around = surroundings(work.private, device)
    private = private_set(work.private)
    name = type(work.how).__name__
    if isinstance(work, TrainGenerator):
        return importlib.import_module(GENERATORS[name]).train_generator(work.how, private.data, around)

    started = time.perf_counter()
    setting = Setting(**vars(around), recipe=work.recipe, iterations=work.iterations)
    module = plugin if isinstance(work.how, OwnMethod) else importlib.import_module(METHODS[name])
    release: Release = module.synthesize(work.how, private.data, inputs, setting)
    seconds = Metric("seconds", time.perf_counter() - started, n=1)
    product = taken(release, private, work.private, seconds)
    if release.student is None:
        return product
    student = restored(work.recipe, setting.card, dict(release.student))
    found = reported(student, work.private, setting.card, device)
    return Product({**product.files, "model": release.student}, (*product.metrics, *found), product.notes)


def taken(release: Release, private: PrivateSet, who: Private, *measured: Metric) -> Product:
    """Files `set` and `audit` of a release, and what its choice of private images says of the canaries."""
    files: dict[str, Mapping[str, Tensor]] = {"set": {"images": release.images, "labels": release.labels}}
    metrics = [Metric("images", float(len(release.labels)), n=1), *measured, *release.metrics]
    if release.origins is not None:
        files["audit"] = {"origins": release.origins, "origin_canary": origin_canary(release.origins, private)}
        metrics += selection(release.origins, private, who)
    return Product(files, tuple(metrics), release.notes)


def surroundings(private: Private, device: torch.device) -> Surroundings:
    """What a method may know of a shadow's study: all of it public or data-independent."""
    population = private.population
    return Surroundings(
        card=population.dataset.card,
        seeds=Seeds(population.seed, private.replicate, private.shadow),
        device=device,
        expected_size=expected_size(population),
        public=load(population.public).pool if population.public else None,
    )


def origin_canary(origins: Tensor, private: PrivateSet) -> Tensor:
    """For each image, the index of the canary that it was chosen from or started from; -1 for none."""
    return torch.where(origins >= 0, private.canary[origins.clamp(min=0)], -1)


def selection(origins: Tensor, private: PrivateSet, who: Private) -> Iterator[Metric]:
    """Which share of the private set, and of each group of canaries in it, is the origin of some image.

    `canary_enrichment` is the second over the first, row by row: 1 for a choice that is blind to canaries.
    """
    used = torch.zeros(len(private.canary), dtype=torch.bool)
    used[origins[origins >= 0]] = True
    share = used.to(torch.float64).mean().item()
    yield Metric("share_selected", share, n=len(used))
    first = 0
    for group in roles_of(who.population).groups:
        rows = (private.canary >= first) & (private.canary < first + len(group))   # copies of a canary are rows of their own
        held, chosen = private.canary[rows].unique(), private.canary[rows & used].unique()
        first += len(group)
        found = len(chosen) / len(held) if len(held) else None
        note = "" if len(held) else "this shadow holds no canary of the group"
        yield Metric("canary_share_selected", found, n=len(held), note=note, canaries=group.name)
        by_row = used[rows].to(torch.float64).mean().item() / share if len(held) and share else None
        yield Metric("canary_enrichment", by_row, n=int(rows.sum()), note=note, canaries=group.name)
