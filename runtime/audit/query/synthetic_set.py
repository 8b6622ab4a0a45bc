"""Queries a synthetic set: how near the nearest image is to each canary, and whether the canary itself was selected.

Distances are not calibrated here, and alone do not show leakage: the attack compares them with distances to the sets of shadows
without the canary.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from compiler.work.operations import Population, QuerySet
from runtime.data.distances import IMAGES_PER_BLOCK, nearest
from runtime.data.population.queries import views
from runtime.data.population.roles import private_set, roles_of
from runtime.data.sources import load
from runtime.outcome import Metric, Product
from runtime.seeds import generator
from runtime.store.artifacts import Inputs
from runtime.training.nets import Classifier, build, normalise

DISTANCE_OFFSET = 1e-6
"""Added to a distance before the logarithm, so that an exact copy has a finite signal, far above all others."""


def perform(work: QuerySet, inputs: Inputs, device: torch.device) -> Product:
    """Query the set of the need `set`. File `answers`: `pixel`, `feature` = canary (the groups one after the other), float64:
    −log(d + DISTANCE_OFFSET) of the Euclidean distance d to the nearest released image, between normalised images or between their
    `random_features`; with several views also the same for the nearest of the views, such as `pixel/9q` and `feature/9q` for nine.
    Where the set's origins are recorded (its file `audit`) also `selected` = canary, uint8: 1 where an image of the set is or began
    as the canary, else 0. SynthcError for images that cannot be halved twice, of which there are no features, for data that cannot
    be loaded, and (Corrupt) where a file of the set is damaged.

    File `nearest`: `images` = canary × channels × height × width, uint8: the released image nearest to the plain canary by pixels.

    Metrics: `nearest_pixel_distance`, the median over canaries of d between normalised images; with a public set
    `nearest_public_distance`, the same to as many public images, the first ones; `trace_back_rate` where origins are recorded and
    not every image equals its own.
    """
    population = work.private.population
    card = population.dataset.card
    plain = torch.cat([group.images for group in roles_of(population).groups])
    canaries = normalise(plain, card).to(device)
    images = inputs["set"].tensors("set")["images"]
    released = normalise(images, card).to(device)
    net = random_features(card).to(device)
    answers: dict[str, Tensor] = {}
    distance, row = nearest(canaries.flatten(1), released.flatten(1))
    answers["pixel"] = -(distance + DISTANCE_OFFSET).log().cpu()
    features = _embedded(net, released)
    answers["feature"] = -(nearest(_embedded(net, canaries), features)[0] + DISTANCE_OFFSET).log().cpu()
    if (count := work.queries.count) > 1:
        turned = normalise(views(plain, work.queries).flatten(0, 1), card).to(device)
        for space, points, among in (("pixel", turned, released), ("feature", _embedded(net, turned), features)):
            each = nearest(points.flatten(1), among.flatten(1))[0].unflatten(0, (-1, count))
            answers[f"{space}/{count}q"] = -(each.amin(1) + DISTANCE_OFFSET).log().cpu()
    metrics = [Metric("nearest_pixel_distance", distance.median().item(), n=len(canaries), note="median over canaries")]
    if population.public is not None:
        median = _public_distance(population, len(images))
        metrics.append(Metric("nearest_public_distance", median, n=len(canaries), note="the same, to as many public images"))
    if "audit" in inputs["set"].stems:
        origins = inputs["set"].tensors("audit")
        pool = private_set(work.private).data.images
        answers["selected"] = torch.isin(torch.arange(len(canaries)), origins["origin_canary"]).to(torch.uint8)
        if not _are(images, pool, origins["origins"]):
            metrics.append(trace_back(released, normalise(pool, card).to(device), origins["origins"].to(device)))
    return Product({"answers": answers, "nearest": {"images": grey_levels(images)[row.cpu()]}}, tuple(metrics))


def trace_back(released: Tensor, pool: Tensor, origins: Tensor) -> Metric:
    """Metric `trace_back_rate`: of released images that were initialised from a private one, the share whose nearest image of the
    pool, by Euclidean distance, is still that one; `n` is their number; no value where there are none.
    released: n × c × h × w; pool: m × c × h × w, the private images, both normalised; origins: n, row of the pool or −1."""
    began = origins >= 0
    found = None
    if began.any():
        _, row = nearest(released[began].flatten(1), pool.flatten(1))
        found = (row == origins[began]).double().mean().item()
    return Metric("trace_back_rate", found, n=int(began.sum()), note="" if began.any() else "no image began as a private one")


@lru_cache(maxsize=32)
def _public_distance(population: Population, count: int) -> float:
    """Median over canaries of the Euclidean distance (normalised pixels) to the nearest of the first `count` public images, or of
    all if there are fewer; cached, since it is the same for every shadow. The population must have a public set. Errors as of
    `roles_of` and `load`."""
    assert population.public is not None
    card = population.dataset.card
    canaries = normalise(torch.cat([group.images for group in roles_of(population).groups]), card)
    public = normalise(load(population.public).pool.images[:count], card)
    return nearest(canaries.flatten(1), public.flatten(1))[0].median().item()


def _are(images: Tensor, pool: Tensor, origins: Tensor) -> bool:
    """Whether every image has an origin and equals it bit by bit, in the same dtype: the set was selected and not learned. origins:
    for each image, its row of `pool`, −1 for none."""
    return images.dtype == pool.dtype and bool((origins >= 0).all()) and bool((images == pool[origins]).all())


def grey_levels(images: Tensor) -> Tensor:
    """Images as uint8: those of uint8 unchanged, without a copy; floats on a scale from 0 to 1 are clipped to it, multiplied by 255
    and rounded, and NaN becomes 0."""
    return images if images.dtype == torch.uint8 else (images.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)


def random_features(card: Card) -> Classifier:
    """An untrained ConvNet in eval mode, on the CPU, always the same for images of this shape and so many classes: its features do
    not depend on private data. SynthcError for images that cannot be halved twice."""
    recipe = Recipe(net="convnet", width=64, norm="instance", depth=2)
    return build(recipe, card, generator(0, None, "nearest image/random features")).eval()


@torch.inference_mode()
def _embedded(net: Classifier, x: Tensor) -> Tensor:
    """image × feature: the net's features of `x`, normalised images on the net's device."""
    return torch.cat([net.features(block) for block in x.split(IMAGES_PER_BLOCK)])
