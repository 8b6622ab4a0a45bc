"""Evaluates a trained classifier: logits, accuracy, accuracy on canaries."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from compiler.language.datasets import Card
from compiler.work.operations import Private
from runtime.data.population.membership import membership_of
from runtime.data.population.roles import roles_of
from runtime.outcome import Metric
from runtime.training.nets import Classifier, normalise, to_device

IMAGES_SCORED_AT_ONCE = 256
"""Images per forward pass in evaluation; smaller batches are filled up, so that logits do not depend on the number of images."""


@torch.inference_mode()
def logits(net: Classifier, images: Tensor, card: Card, device: torch.device) -> Tensor:
    """n × classes, float32, on the CPU: logits in eval mode, which do not depend on the other images of a batch. The
    net is moved to `device`; its mode is restored."""
    training = net.training
    to_device(net, device).eval()
    found = [torch.empty(0, card.classes)]
    for chunk in images.split(IMAGES_SCORED_AT_ONCE) if len(images) else ():  # a z pool may be empty
        fill = IMAGES_SCORED_AT_ONCE - len(chunk)
        full = torch.cat([chunk, chunk[-1:].expand(fill, -1, -1, -1)]) if fill else chunk
        found.append(net(normalise(full.to(device), card))[: len(chunk)].float().cpu())
    net.train(training)
    return torch.cat(found)


def correct(net: Classifier, images: Tensor, labels: Tensor, card: Card, device: torch.device) -> Tensor:
    """n, uint8: 1 where the image's largest logit (of equal ones the first) is its label's, else 0. `labels`: n, int64."""
    return (logits(net, images, card, device).argmax(1) == labels.cpu()).to(torch.uint8)


def accuracy(net: Classifier, images: Tensor, labels: Tensor, card: Card, device: torch.device) -> float:
    """Share of images, 0..1, whose largest logit is their label's; NaN without images."""
    return correct(net, images, labels, card, device).to(torch.float64).mean().item()


def reported(net: Classifier, private: Private, card: Card, device: torch.device) -> Iterator[Metric]:
    """Metrics: `test_accuracy`, and the accuracy on each group of canaries, members and non-members apart (see `canary_accuracy`).
    The net is moved to `device`. Errors as of `roles_of`."""
    parts = roles_of(private.population)
    yield Metric("test_accuracy", accuracy(net, parts.test.images, parts.test.labels, card, device), n=len(parts.test))
    said = [logits(net, group.images, card, device) for group in parts.groups]
    yield from canary_accuracy(torch.cat(said), private)


def canary_accuracy(said: Tensor, private: Private) -> Iterator[Metric]:
    """Yield two metrics of each group: `canary_accuracy_in`, the accuracy on the canaries that this shadow's private set holds, and
    `canary_accuracy_out`, that on the others, both by the label that members are trained with; None, with a note, where there is
    no such canary. said: canary × class, logits of all groups in their order. Errors as of
    `roles_of`."""
    parts = roles_of(private.population)
    member = torch.from_numpy(membership_of(private).copy())
    for group in parts.groups:
        span = parts.spans[group.name]
        held, right = member[span], said[span].argmax(1) == group.labels
        for side, of in (("in", held), ("out", ~held)):
            share = right[of].to(torch.float64).mean().item() if of.any() else None
            note = "" if of.any() else f"this shadow trains on {'no' if side == 'in' else 'every'} canary of the group"
            yield Metric(f"canary_accuracy_{side}", share, n=int(of.sum()), note=note, canaries=group.name)
