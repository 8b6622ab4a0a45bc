"""Utility of a released set: accuracy of classifiers trained on it and on members, and its coverage and precision on real images.

Accuracy is measured on a test set that no choice depends on. Each test image has a ball up to its third nearest neighbour among
test images, in public features. `covered` is the coverage of Naeem et al. 2020, the share of balls that hold an image of the set;
`plausible` is the precision of Kynkäänniemi et al. 2019, the share of the set's images that lie in a ball.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from scipy.stats import binomtest
from torch import Tensor

from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from runtime.data.distances import Search
from runtime.data.images import LabeledImages
from runtime.data.sources import balanced_part
from runtime.judge.nearness import NEIGHBOURS, Features, Tick
from runtime.outcome import Metric
from runtime.seeds import Seeds
from runtime.training.batches import Training
from runtime.training.nets import build
from runtime.training.scoring import logits
from runtime.training.sgd import fit

RECIPE = {"net": "small", "width": 16, "norm": "group", "lr": 0.05}
STEPS = 600
"""Steps of SGD of each classifier, independent of the size of its training set."""


def measure_use(
    released: LabeledImages, members: LabeledImages, test: LabeledImages, classes: tuple[str, ...], net: Features, tick: Tick
) -> Iterator[Metric]:
    """Yield shares with intervals, each over all images (`use.accuracy`) and over each class that has images (`use.accuracy/3`).

    `use.accuracy`: share of test images that a classifier trained on the set gets right; `use.accuracy_of_as_many`,
    `use.accuracy_of_members`: one trained on as many members (class-balanced; all if the set is larger), on all. `use.covered`:
    share of test images whose ball holds an image of the set; `use.plausible`: share of the set's images that are in a ball. Balls
    are in the features of `net`, up to the third nearest other test image; `test`: at least two images. `tick` is called after each
    training. Diverged if the loss of a training is not finite."""
    shape = tuple(members.images.shape[1:])
    middle = (0.5,) * shape[0]
    card = Card("members", len(members), len(test), len(classes), shape, middle, middle, "", "")  # type: ignore[arg-type]
    few = members[balanced_part(members.labels, min(len(released), len(members)))]
    sets = {"accuracy": released, "accuracy_of_as_many": few, "accuracy_of_members": members}
    for done, (name, data) in enumerate(sets.items(), 1):
        right = _right(data, test, card)
        yield from _shares(f"use.{name}", right, test.labels, classes, "one training; the interval is over test images")
        tick("classifiers", done, len(sets))
    real, made = (torch.cat([net(block) for block in images.split(1024)]) for images in (test.images, released.images))
    radius, _ = Search(real).nearest(real[:, None], own=torch.arange(len(real)), neighbours=min(NEIGHBOURS, len(real) - 1))
    near, _ = Search(made).nearest(real[:, None])
    yield from _shares("use.covered", near[:, 0] <= radius[:, -1], test.labels, classes, "of test images, in public features")
    inside = torch.cat([(torch.cdist(block, real) <= radius[:, -1]).any(1) for block in made.split(1024)])
    yield from _shares("use.plausible", inside, released.labels, classes, "of the set's images, in public features")


def _right(data: LabeledImages, test: LabeledImages, card: Card) -> Tensor:
    """test image, bool: whether a classifier trained on `data` predicts it correctly; Diverged if the loss of its training is not
    finite."""
    device, seeds = torch.device("cpu"), Seeds(0, 0, 0)
    recipe = Recipe(**RECIPE)  # type: ignore[arg-type]
    training = Training(
        images=data.images, labels=data.labels, recipe=recipe, iterations=STEPS, card=card, seeds=seeds, device=device,
        purpose="judge/use",
    )  # fmt: skip
    net = fit(build(recipe, card, training.stream("init")), training).net
    return logits(net, test.images, card, device).argmax(1) == test.labels


def _shares(name: str, hits: Tensor, labels: Tensor, classes: tuple[str, ...], note: str) -> Iterator[Metric]:
    """Yield the share of `hits` (image: bool) with its 95 % Clopper–Pearson interval, over all images as `NAME` and over each class
    that has images as `NAME/CLASS`. `labels`: image: index of its class."""
    yield _share(name, hits, note)
    for label, of in enumerate(classes):
        if (there := labels == label).any():
            yield _share(f"{name}/{of}", hits[there], note)


def _share(name: str, hits: Tensor, note: str) -> Metric:
    """Share of hits with its 95 % Clopper–Pearson interval."""
    count, n = int(hits.sum()), len(hits)
    around = binomtest(count, n).proportion_ci(0.95)
    return Metric(name, count / n, float(around.low), float(around.high), n, note)
