"""Queries a classifier: logits of every view of every canary and z sample.

Eval mode and float32, so that no image's logits depend on the rest of its batch. Membership is not read here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.work.operations import QueryClassifier
from runtime.data.population.queries import query_images, views
from runtime.data.population.roles import roles_of
from runtime.outcome import Metric, Product
from runtime.store.artifacts import Inputs
from runtime.training.nets import restored
from runtime.training.scoring import correct, logits


def perform(work: QueryClassifier, inputs: Inputs, device: torch.device) -> Product:
    """Query the classifier of the need `model`. File `answers`: `canary` = canary × view × class (the groups one after the other),
    `z/<group>` = z sample × view × class; logits, float32. File `test`: `correct` = test image, uint8, 1 where the prediction is
    correct, else 0. Metric `test_accuracy`, the share of correct ones. Corrupt where the model's file is damaged; errors as of
    `roles_of` and `restored`."""
    population = work.private.population
    card = population.dataset.card
    net = restored(work.recipe, card, inputs["model"].tensors("model"))
    parts = roles_of(population)
    answers: dict[str, Tensor] = {}
    for names, images in query_images(population):
        seen = views(images, work.queries)
        of_views = logits(net, seen.flatten(0, 1), card, device).reshape(*seen.shape[:2], card.classes)
        answers |= dict.fromkeys(names, of_views)
    right = correct(net, parts.test.images, parts.test.labels, card, device)
    found = Metric("test_accuracy", right.double().mean().item(), n=len(parts.test))
    return Product({"answers": answers, "test": {"correct": right}}, (found,))
