"""Runs methods that make a synthetic set: finds the module that computes one, calls it, and checks its release.

A method gets the private set without marks on canaries; how many canaries it selected is measured afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from compiler.language.base import Generator, Method
from compiler.language.datasets import Card
from compiler.language.plugins import PluginMethod
from compiler.work.operations import Private, Synthesize, TrainGenerator, TrainShared
from runtime.data.images import LabeledImages
from runtime.data.plugin import load_function
from runtime.data.population.roles import PrivateSet, expected_size, private_set, roles_of
from runtime.data.sources import load
from runtime.data.valid import images_wrong, labels_wrong, whole_wrong
from runtime.outcome import Metric, Product
from runtime.seeds import Seeds
from runtime.store.artifacts import Artifact, Inputs
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training.nets import restored
from runtime.training.scoring import reported


def perform(work: Synthesize | TrainGenerator | TrainShared, inputs: Inputs, device: torch.device) -> Product:
    """Run the method that `work.how` describes.

    Files of a set: `set` = `images`, `labels`; `audit` = `origins`, `origin_canary`, where the release has origins; `model` = the
    student, where the method trains one. Files of a generator: `generator`; of a base: `base`. Metrics of a set: those of
    `as_product`, `seconds` (of the method's call), and those of `reported` for a student. Errors as of `synthesize`, `function_of`,
    `surroundings`, `private_set` and, for a student whose weights do not fit the recipe's net, of `restored`; those of the method
    pass.
    """
    if isinstance(work, TrainShared):
        return _shared(work, device)
    around = surroundings(work.private, device, inputs.get("base"))
    private = private_set(work.private)
    if isinstance(work, TrainGenerator):
        product: Product = function_of(work.how, "train_generator")(work.how, private.data, around)
        return product

    started = time.perf_counter()
    setting = Setting(**vars(around), recipe=work.recipe, iterations=work.iterations)
    release = synthesize(work.how, private.data, inputs, setting)
    seconds = Metric("seconds", time.perf_counter() - started, n=1)
    product = as_product(release, private, work.private, seconds)
    if release.student is None:
        return product
    student = restored(work.recipe, setting.card, dict(release.student))
    found = reported(student, work.private, setting.card, device)
    return Product({**product.files, "model": release.student}, (*product.metrics, *found), product.notes)


def _shared(work: TrainShared, device: torch.device) -> Product:
    """The product with the base of all shadows' generators: trained on the public set, or read from a folder. The method's
    surroundings have a card of shape and classes alone (no name, mean or std). Errors as of the method's `train_shared`, of
    `function_of`, and of `load` for the public set."""
    public = load(work.public).pool if work.public else None
    card = Card("", 0, 0, work.classes, work.shape, (), (), "", "")  # a base may depend on shape and classes alone
    around = Surroundings(card=card, seeds=Seeds(work.seed, 0, None), device=device, expected_size=len(public or ()))
    product: Product = function_of(work.how, "train_shared")(work.how, public, around, work.path)
    return product


def function_of(how: Method | Generator, function: str) -> Callable[..., Any]:
    """The named function of the module that computes a method or generator: in the folder of its paradigm, or in a plug-in's
    package. ValueError if the module has no such function, ImportError if there is no such module."""
    place = how.compute if isinstance(how, PluginMethod) else f"{__package__}.{how.paradigm}.{how.compute}"
    return load_function(getattr(how, "method", type(how).__name__), place, function)


def synthesize(how: Method, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """The release that the method makes from a copy of the private set. ValueError if the release is not valid (see `_complaints`);
    errors that the method raises pass unchanged; others as of `function_of`."""
    given = LabeledImages(private.images.clone(), private.labels.clone())  # other tasks read the private set too
    release = function_of(how, "synthesize")(how, given, needs, setting)
    for complaint in _complaints(release, how, len(private), setting.card):
        raise ValueError(f"{how.method}: {complaint}")
    return release


def _complaints(release: Any, how: Method, private: int, card: Card) -> list[str]:
    """Sentences on what is wrong with a release; empty if it is valid. `private`: number of private images.

    It must be a Release with images and labels that `images_wrong` and `labels_wrong` accept, and with origins of -1 or rows of the
    private set; it must have origins exactly if `how.from_private_images`, and a student exactly if `how.gives_student`. The
    student's weights are not checked.
    """
    if not isinstance(release, Release):
        return [f"synthesize gave a {type(release).__name__}; it should be a runtime.synthesize.release.Release"]
    found = [*images_wrong(release.images, card), *labels_wrong(release.labels, len(release.images), card)]
    if release.origins is not None:
        found += whole_wrong("origins", release.origins, len(release.images), -1, private - 1)
    for word, given, what in (("from_private_images", release.origins, "origins"), ("gives_student", release.student, "a student")):
        if (given is not None) != getattr(how, word):
            has = f"has no {what.removeprefix('a ')}" if given is None else f"has {what}"
            found.append(f"`{word}` is {getattr(how, word)}, and the release {has}; the two belong together")
    return found


def as_product(release: Release, private: PrivateSet, who: Private, *measured: Metric) -> Product:
    """The product of a release: file `set`; metrics `images` (their number), `measured`, and the release's own; its notes. If it
    has origins, also the file `audit` and the metrics of `selection`. A student is left out."""
    files: dict[str, Mapping[str, Tensor]] = {"set": {"images": release.images, "labels": release.labels}}
    metrics = [Metric("images", float(len(release.labels)), n=1), *measured, *release.metrics]
    if release.origins is not None:
        files["audit"] = {"origins": release.origins, "origin_canary": origin_canary(release.origins, private)}
        metrics += selection(release.origins, private, who)
    return Product(files, tuple(metrics), release.notes)


def surroundings(private: Private, device: torch.device, base: Artifact | None = None) -> Surroundings:
    """The inputs of a method besides the private set, for one shadow: all public or independent of the data. Errors as of `load`
    for the public set, and as of `roles_of`."""
    population = private.population
    return Surroundings(
        card=population.dataset.card,
        seeds=Seeds(population.seed, private.replicate, private.shadow),
        device=device,
        expected_size=expected_size(population),
        public=load(population.public).pool if population.public else None,
        base=base,
    )


def origin_canary(origins: Tensor, private: PrivateSet) -> Tensor:
    """n, int64: index of the canary that each image was selected or initialised from; -1 where the image has no origin, or one that
    is no canary. `origins` (n): row of the private set that each image comes from, -1 for none."""
    return torch.where(origins >= 0, private.canary[origins.clamp(min=0)], -1)


def selection(origins: Tensor, private: PrivateSet, who: Private) -> Iterator[Metric]:
    """Metrics: `share_selected`, the share of rows of the private set that are the origin of an image; and for each group of
    canaries `canary_share_selected`, the share of its canaries in this private set of which at least one row is an origin, and
    `canary_enrichment`.

    `canary_enrichment` is the share of the group's rows that are origins, divided by `share_selected`: 1 on average if selection is
    independent of being a canary. Both are None where the private set holds no canary of the group, `canary_enrichment` also where
    no row is an origin. `origins` (n): row of the private set, -1 for none.
    """
    used = torch.zeros(len(private.canary), dtype=torch.bool)
    used[origins[origins >= 0]] = True
    share = used.to(torch.float64).mean().item()
    yield Metric("share_selected", share, n=len(used))
    for group, span in roles_of(who.population).spans.items():
        rows = (private.canary >= span.start) & (private.canary < span.stop)  # copies of a canary are rows of their own
        held, chosen = private.canary[rows].unique(), private.canary[rows & used].unique()
        found = len(chosen) / len(held) if len(held) else None
        note = "" if len(held) else "this shadow holds no canary of the group"
        yield Metric("canary_share_selected", found, n=len(held), note=note, canaries=group)
        by_row = used[rows].to(torch.float64).mean().item() / share if len(held) and share else None
        note = note or ("" if share else "no image of the set comes from a private image")
        yield Metric("canary_enrichment", by_row, n=int(rows.sum()), note=note, canaries=group)
