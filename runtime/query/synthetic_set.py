"""What a released set says about each canary: how near its nearest image is, and whether the canary itself was chosen.

Distances are uncalibrated here; alone they do not detect leakage. The attack compares them with
the sets of the shadows that did not see the canary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compiler.datasets import Card
from compiler.spec.classifier import Recipe
from compiler.work import QuerySet
from runtime.artifacts import Artifact
from runtime.data.cast import cast
from runtime.nets import Classifier, build, normalise
from runtime.outcome import Metric, Product
from runtime.seeds import generator

SMALLEST = 1e-6
"""Added to a distance before its logarithm: a copy is far nearer than anything else, and still a number."""
TOGETHER = 512
"""Images of the set per block of distances."""


def perform(work: QuerySet, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """File `answers`: `pixel`, `feature` = canary, float64: −log of the distance to the nearest released image.

    Where images have private origins, also `selected` = canary, uint8: whether it is one of them.
    """
    population = work.private.population
    card = population.dataset.card
    canaries = normalise(torch.cat([group.images for group in cast(population).groups]), card).to(device)
    released = normalise(inputs["set"].tensors("set")["images"], card).to(device)
    net = random_features(card).to(device)
    answers: dict[str, Tensor] = {}
    for space, embed in (("pixel", lambda x: x.flatten(1)), ("feature", lambda x: _embedded(net, x))):
        answers[space] = -(nearest(embed(canaries), embed(released)) + SMALLEST).log().cpu()
    if "audit" in inputs["set"].stems:
        chosen = inputs["set"].tensors("audit")["origin_canary"]
        answers["selected"] = torch.isin(torch.arange(len(canaries)), chosen).to(torch.uint8)
    median = (-answers["pixel"]).exp().median().item()
    return Product({"answers": answers}, (Metric("nearest_pixel_distance", median, n=len(canaries), note="median over canaries"),))


def nearest(points: Tensor, among: Tensor) -> Tensor:
    """n, float64: Euclidean distance of each point (n × d) to the nearest of `among` (m × d), m ≥ 1."""
    points = points.double()
    blocks = [torch.cdist(points, block.double(), compute_mode="donot_use_mm_for_euclid_dist") for block in among.split(TOGETHER)]
    return torch.stack([block.min(dim=1).values for block in blocks]).min(dim=0).values


def random_features(card: Card) -> Classifier:
    """A ConvNet that was never trained, the same for every study: its features know nothing that is private."""
    recipe = Recipe(net="convnet", width=64, norm="instance", depth=2)
    return build(recipe, card, generator(0, None, "nearest image/random features")).eval()


@torch.inference_mode()
def _embedded(net: Classifier, x: Tensor) -> Tensor:
    return torch.cat([net.features(block) for block in x.split(TOGETHER)])
