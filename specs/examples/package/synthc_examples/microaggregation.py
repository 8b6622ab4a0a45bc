"""Microaggregation: every released image is the mean of at least k private ones (after Domingo-Ferrer and Mateo-Sanz 2002).

Class by class: the image farthest from the mean of what is left, and its k - 1 nearest neighbours, become one group. A class
that has fewer than k images is not released at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from synthc.plugin import Artifact, LabeledImages, Release, Setting
from synthc_examples.words import Microaggregation


def synthesize(how: Microaggregation, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """The means and the labels of their classes. No image has one private origin: each has `group_size` or more."""
    images, labels = [], []
    for label in private.labels.unique().tolist():
        of_class = private.images[private.labels == label].float() / 255
        for rows in groups(of_class.flatten(1), how.group_size):
            images.append(of_class[rows].mean(0))
            labels.append(label)
    return Release(torch.stack(images), torch.tensor(labels))


def groups(points: Tensor, size: int) -> Iterator[Tensor]:
    """Rows of each group; points: n × d. What is left in the end is one group, if it is large enough."""
    left = torch.arange(len(points))
    while len(left) >= 2 * size:
        here = points[left]
        farthest = (here - here.mean(0)).norm(dim=1).argmax()
        near = (here - here[farthest]).norm(dim=1).argsort(stable=True)
        yield left[near[:size]]
        left = left[near[size:].sort().values]
    if len(left) >= size:
        yield left
