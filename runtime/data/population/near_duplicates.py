"""Finds near-duplicates of canaries: if a near-duplicate is always trained on, the canary is never fully OUT, which biases attacks.

Distances in pixel space find copies, recompressed and slightly noisy images; not shifted, mirrored or recoloured ones.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from compiler.work.operations import Population
from runtime.data.distances import Search, nearest
from runtime.data.population.roles import roles_of

MAX_RMS_DIFFERENCE = 8.0
"""Root mean square difference in grey values (of 255) up to which two images are near-duplicates. The nearest other image of 500
digits is 10.6 to 63.9 away (median 33), that of 500 Fashion-MNIST images 8.1 to 79.7 (median 32)."""


@lru_cache(maxsize=4)
def near_duplicates(population: Population) -> Tensor:
    """canary, bool: whether an image of the fixed part, or another canary, differs from it by at most MAX_RMS_DIFFERENCE. Declared
    copies of a duplicated canary do not count. The result is cached and shared by callers: do not change it. Errors as of
    `roles_of`."""
    roles = roles_of(population)
    canaries = torch.cat([group.images for group in roles.groups]).flatten(1).to(torch.float32)
    distance, _ = nearest(canaries, roles.fixed.images.flatten(1), torch.float32)
    among, _ = Search(canaries).nearest(canaries[:, None], own=torch.arange(len(canaries)))
    within = MAX_RMS_DIFFERENCE * canaries.shape[1] ** 0.5 + 1e-3
    return (torch.minimum(distance, among[:, 0]) <= within) if len(canaries) > 1 else distance <= within
