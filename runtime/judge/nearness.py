"""Nearness of the released set to each real image, in declared feature spaces, combined into one score.

A score depends on the set, on public images, and on members and holdout as one pool; membership is not used here. Distances are
relative to crowding, the distance to other real images of the pool: an image that resembles many others discloses nothing.

    pixels     grey levels without their mean and contrast (brightness), under shifts of one and mirrored
    features   features of a net trained on public images, along their leading principal components

The score is the largest standardised nearness over spaces, not the least rank: by rank, where a copy is near in one space alone, as
many other images of every other space come before it. Of 30 copies among 590 digits the least rank over three spaces listed none
that were shifted, mirrored or brightened, the largest nearness 90 to 100 % (benchmarks/LOG.md, 2026-11-28).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compiler.language.audit import Queries
from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from runtime.data.distances import Search
from runtime.data.images import LabeledImages
from runtime.data.population.queries import views
from runtime.seeds import Seeds, generator
from runtime.training.batches import Training
from runtime.training.nets import Classifier, build, normalise, to_device
from runtime.training.sgd import fit

NEIGHBOURS = 3
"""Nearest other real images over whose distances crowding is averaged."""
VIEWS = Queries(flip=True, shift=1)
FIRST_PASS_FROM = 2e12
"""Multiplications of a search beyond which it first selects candidates in few dimensions: about a minute on two cores."""
FEATURES = 64
"""Principal components of public features that are kept."""
PUBLIC_IMAGES = 10_000
"""Most public images that the feature net is trained on."""
PUBLIC_STEPS = 300
AT_ONCE = 1_024
"""Images (each view counts) of a block between two updates of the progress bar."""

Tick = Callable[[str, int, int], None]
"""(name of the step, amount done, amount in all)."""


@dataclass(frozen=True)
class Space:
    """Distances in one feature space."""

    distance: np.ndarray
    """image of the pool: distance to the nearest image of the set."""
    row: np.ndarray
    """image of the pool: row of that image of the set."""
    crowding: np.ndarray
    """image of the pool: geometric mean of the distances to the nearest other images of the pool."""

    @property
    def nearness(self) -> np.ndarray:
        """image of the pool, higher = nearer to the set: log of (crowding + c) / (distance + c) for c = 1 % of the median crowding,
        minus its median, divided by the difference of its 80 % quantile and its median (by 1 where they are equal). Because of c,
        distances far below c count as equal."""
        least = 0.01 * float(np.median(self.crowding)) + 1e-12  # distances below this count as equal: all are copies
        raw = np.log(self.crowding + least) - np.log(self.distance + least)
        middle, high = np.quantile(raw, [0.5, 0.8])
        return (raw - middle) / (high - middle if high > middle else 1.0)


def combined(spaces: Mapping[str, Space]) -> tuple[np.ndarray, np.ndarray]:
    """image of the pool: score, the largest nearness over spaces, higher = nearer to the set; and the index of that space in the
    order of `spaces`, of equal ones the first."""
    table = np.stack([space.nearness for space in spaces.values()])
    return table.max(0), table.argmax(0)


def measure(pool: Tensor, released: Tensor, net: Features, tick: Tick) -> dict[str, Space]:
    """The spaces `pixels` and `features` (of `net`), by name: distances of the images of the pool to the released images and to
    each other. `tick` is called after each block of images.

    pool, released: n × channels × height × width, uint8; the pool, at least two images, must be in an order independent of
    membership.
    """
    return {
        "pixels": _space("pixels", pool, released, _without_brightness, lambda images: views(images, VIEWS), tick),
        "features": _space("features", pool, released, net, lambda images: images[:, None], tick),
    }


def _space(
    name: str, pool: Tensor, released: Tensor, embed: Callable[[Tensor], Tensor], seen: Callable[[Tensor], Tensor], tick: Tick
) -> Space:
    """Distances in the space of `embed` (n images → n × d). The distance to the set is the least over the views of a pool image
    that `seen` makes (n images → n × view × image, the image itself first); crowding is measured without views. In large searches
    (FIRST_PASS_FROM) a nearer image may be missed. `tick` is called with steps named `NAME: …`."""
    angles = seen(pool[:1]).shape[1]
    theirs = _embedded(embed, released)
    ours = _embedded(embed, pool) if angles == 1 else None
    work = float(theirs.shape[1]) * len(pool)
    made = Search(theirs, first_pass=work * len(theirs) * angles > FIRST_PASS_FROM)
    distances, rows, crowding, done = [], [], [], 0
    for part in torch.arange(len(pool)).split(AT_ONCE // angles):
        points = embed(seen(pool[part]).flatten(0, 1)).unflatten(0, (len(part), angles)) if ours is None else ours[part][:, None]
        distance, row = made.nearest(points)
        distances.append(distance[:, 0])
        rows.append(row[:, 0])
        tick(f"{name}: the set", done := done + len(part), len(pool))
    del made, theirs  # before as much again is held
    ours = _embedded(embed, pool) if ours is None else ours
    others, done = Search(ours, first_pass=work * len(ours) > FIRST_PASS_FROM), 0
    for part in torch.arange(len(pool)).split(AT_ONCE):
        distance, _ = others.nearest(ours[part][:, None], own=part, neighbours=min(NEIGHBOURS, len(pool) - 1))
        crowding.append(distance.clamp(min=1e-12).log().mean(1).exp())
        tick(f"{name}: crowding", done := done + len(part), len(pool))
    return Space(*(torch.cat(parts).numpy() for parts in (distances, rows, crowding)))


def _embedded(embed: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """n × d: features of the images, at least one, which `embed` computes in blocks. These are written into the result:
    concatenation would take twice the memory."""
    first = embed(images[:1])
    made = first.new_empty(len(images), first.shape[1])
    for rows in torch.arange(len(images)).split(AT_ONCE):
        made[rows] = embed(images[rows])
    return made


def _without_brightness(images: Tensor) -> Tensor:
    """n × d, float32: grey levels of uint8 images, less the image's mean, divided by their norm plus 8 √d. So the norm of the
    result is s / (s + 8) for a standard deviation of s grey levels: small for a nearly constant image."""
    grey = images.flatten(1).to(torch.float32)
    grey -= grey.mean(1, keepdim=True)
    return grey / (grey.norm(dim=1, keepdim=True) + 8 * grey.shape[1] ** 0.5)


@dataclass(frozen=True)
class Features:
    """Principal components of the features of a net that was trained on public images alone."""

    net: Classifier
    card: Card
    center: Tensor
    axes: Tensor
    """feature × axis, scaled so that public images have standard deviation 1 along the first axis, and less along the others."""

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """n × axis: coordinates of uint8 images along the axes."""
        return (self.net.features(normalise(images, self.card)).flatten(1) - self.center) @ self.axes


def public_features(public: LabeledImages, name: str) -> Features:
    """Features of a classifier that is trained on at most `PUBLIC_IMAGES` of these images, along at most FEATURES of their
    principal components on at most 4,096 of them; components with at most 1 % of the first one's standard deviation are left out.
    `name`: name of the data set. Diverged if the loss of the training is not finite."""
    order = torch.randperm(len(public), generator=generator(0, None, "judge/public"))[:PUBLIC_IMAGES]
    part, classes = public[order], int(public.labels.max()) + 1
    shape = tuple(public.images.shape[1:])
    middle = (0.5,) * shape[0]
    card = Card(name, len(part), 0, classes, shape, middle, middle, "", "public images")  # type: ignore[arg-type]
    recipe = Recipe(net="small", width=16, norm="group", lr=0.05)
    device = torch.device("cpu")
    training = Training(
        images=part.images, labels=part.labels, recipe=recipe, iterations=PUBLIC_STEPS, card=card, seeds=Seeds(0, 0, 0),
        device=device, purpose="judge/features",
    )  # fmt: skip
    net = fit(build(recipe, card, training.stream("init")), training).net.eval()
    raw = Features(to_device(net, device), card, torch.zeros(()), torch.eye(net.head.in_features))
    seen = torch.cat([raw(block) for block in part.images[:4096].split(AT_ONCE)])
    center = seen.mean(0)
    centred, most = (seen - center).double(), min(FEATURES, *seen.shape)
    variance, axes = (found.flip(-1)[..., :most] for found in torch.linalg.eigh(centred.T @ centred))  # `torch.pca_lowrank` draws
    scale, axes = variance.clamp(min=0).sqrt().to(seen.dtype), axes.to(seen.dtype)
    kept = scale > 0.01 * scale[0]
    return Features(net, card, center, axes[:, kept] * (len(seen) ** 0.5 / scale[0]))
