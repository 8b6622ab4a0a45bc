"""Asking a classifier about the canaries: logits of every view of every canary and z sample.

Eval mode, float32, no image's answer depending on its batch mates. Which shadow saw which canary is not asked here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from compiler.language.audit import Queries
from compiler.work.operations import Population, QueryClassifier
from runtime.data.cast import cast
from runtime.nets import restored
from runtime.outcome import Metric, Product
from runtime.store.artifacts import Artifact
from runtime.training import accuracy, logits


def perform(work: QueryClassifier, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """File `answers`: `canary` = canary × view × class, `z/<group>` = z sample × view × class, float32."""
    population = work.private.population
    card = population.dataset.card
    net = restored(work.recipe, card, inputs["model"].tensors("model"))
    parts = cast(population)
    answers: dict[str, Tensor] = {}
    for names, images in asked(population):
        seen = views(images, work.queries)
        said = logits(net, seen.flatten(0, 1), card, device).reshape(*seen.shape[:2], card.classes)
        answers |= dict.fromkeys(names, said)
    found = accuracy(net, parts.test.images, parts.test.labels, card, device)
    return Product({"answers": answers}, (Metric("test_accuracy", found, n=len(parts.test)),))


def asked(population: Population) -> list[tuple[list[str], Tensor]]:
    """Images that every model is asked about, with the names of their answers: the canaries of all groups, then z samples.

    Groups of the data set's own images share one z pool, about which a model is asked once.
    """
    parts = cast(population)
    z: dict[int, tuple[list[str], Tensor]] = {}
    for group in parts.groups:
        z.setdefault(group.z_images.data_ptr(), ([], group.z_images))[0].append(f"z/{group.name}")
    return [(["canary"], torch.cat([group.images for group in parts.groups])), *z.values()]


def views(images: Tensor, queries: Queries) -> Tensor:
    """n × view × channels × height × width: for each flip (no, yes), each shift down (0, -s, +s), each shift right (likewise).

    View 0 is the plain image; what a shift uncovers is black (zero, before normalisation).
    """
    s, (height, width) = queries.shift, images.shape[2:]
    padded = F.pad(images, (s, s, s, s))
    offsets = (0, -s, s) if s else (0,)
    plain = [
        padded[:, :, s - down : s - down + height, s - right : s - right + width] for down in offsets for right in offsets
    ]
    mirrored = [view.flip(3) for view in plain] if queries.flip else []
    return torch.stack(plain + mirrored, dim=1)
