"""Dataset distillation by matching what a net sees in learned and in private images, class by class (methods.md section 6).

DM matches mean features of fresh random nets. The learned images of all classes share a forward pass; each class has its own
siamese map. Not here: where images start (`initial`), matching of trajectories (`trajectory`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from compiler.datasets import Card
from compiler.spec.classifier import Recipe
from compiler.spec.distillation import DistributionMatching
from runtime import nets
from runtime.artifacts import Artifact
from runtime.data import LabeledImages
from runtime.outcome import Diverged
from runtime.synthesize import siamese
from runtime.synthesize.initial import finished, started
from runtime.synthesize.release import Release, Setting


def synthesize(how: DistributionMatching, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """Distribution matching (Zhao and Bilen, WACV 2023): `steps` times, a fresh random net and one step of the images.

    loss = sum over classes of || mean f(A_c(private batch)) − mean f(A_c(learned images)) ||², f the net's flat features.
    """
    card, seeds, device = setting.card, setting.seeds, setting.device
    start = started(how, private, setting)
    pixels = start.pixels.to(device).requires_grad_()
    of_learned = torch.arange(len(start.classes)).repeat_interleave(start.per_class).to(device)
    real = ClassBatches(private, start.classes, how.batch_real, card, seeds("dm/real batches"), device)
    fresh, moves = seeds("dm/nets"), seeds("dm/augment")
    black = siamese.black_level(card).to(device)

    net = nets.build(matching_net(how.width, how.depth, card), card, fresh).to(device)
    net.requires_grad_(False)
    optimizer = torch.optim.SGD([pixels], lr=how.lr, momentum=0.5)
    losses = []
    for step in range(how.steps):
        if step:
            nets.reset(net, fresh)
        x, of_real = real.draw()
        learned = pixels
        if how.augment:
            maps = siamese.draw(len(start.classes), card, moves).to(device)
            x = siamese.transformed(x, maps[of_real], black)
            learned = siamese.transformed(pixels, maps[of_learned], black)
        with torch.no_grad():
            target = class_means(net.features(x), of_real, len(start.classes))
        loss = (target - class_means(net.features(learned), of_learned, len(start.classes))).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    first, last = (torch.stack(part).mean().item() for part in (losses[:20], losses[-20:]))
    if not math.isfinite(last):
        raise Diverged(f"distribution matching: the loss is {last} after {how.steps} steps; lower lr ({how.lr:g})")
    return finished(start, pixels, card, loss_first=first, loss_last=last)


def matching_net(width: int, depth: int | None, card: Card) -> Recipe:
    """The distillation field's ConvNet with instance norm; by default so deep that at least 2×2 places stay."""
    most = max(1, int(math.log2(min(card.shape[1:]))) - 1)
    return Recipe(net="convnet", width=width, depth=depth or min(3, most), norm="instance")


def class_means(features: Tensor, of: Tensor, classes: int) -> Tensor:
    """classes × features: the mean feature of each class; `of` tells the class of each row, none is empty."""
    share = torch.zeros(classes, len(of), device=features.device)
    share[of, torch.arange(len(of), device=features.device)] = 1.0
    return (share / share.sum(1, keepdim=True)) @ features


class ClassBatches:
    """Private images of every class at each draw: different ones, at most `size`, all where a class has no more."""

    def __init__(
        self, private: LabeledImages, classes: tuple[int, ...], size: int, card: Card, generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.images = nets.normalise(private.images.to(device), card)
        self.rows = [(private.labels == label).nonzero()[:, 0] for label in classes]
        self.size, self.generator, self.device = size, generator, device

    def draw(self) -> tuple[Tensor, Tensor]:
        """Normalised images, and for each the place of its class among the classes."""
        drawn = [rows[torch.randperm(len(rows), generator=self.generator)[: self.size]] for rows in self.rows]
        of = torch.arange(len(drawn)).repeat_interleave(torch.tensor([len(rows) for rows in drawn]))
        return self.images[torch.cat(drawn).to(self.device)], of.to(self.device)
