"""Near-duplicates of canaries: a canary whose twin is always trained on is never really out, and its attack is judged wrongly.

Pixel space finds copies, recompressed and lightly noisy ones; not shifted, mirrored or recoloured ones, which would need a net.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from compiler.work.operations import Population
from runtime.data.population.roles import roles_of

NEAR = 8.0
"""Root mean square difference in grey values (of 255) up to which two images are near-duplicates. The nearest other image of 500
digits is 10.6 to 63.9 away (median 33), that of 500 Fashion-MNIST images 8.1 to 79.7 (median 32)."""
_CHUNK = 8192


@lru_cache(maxsize=4)
def near_duplicates(population: Population) -> Tensor:
    """Per canary, in the order of the groups: whether the fixed part or another canary holds a near-duplicate. The declared copies
    of a duplicated canary do not count."""
    roles = roles_of(population)
    canaries = torch.cat([group.images for group in roles.groups]).flatten(1).to(torch.float32)
    nearest = torch.full((len(canaries),), float("inf"))
    if len(canaries):
        for rows in torch.arange(len(roles.fixed)).split(_CHUNK):
            nearest = torch.minimum(nearest, _squared(canaries, roles.fixed.images[rows].flatten(1).to(torch.float32)).amin(1))
        among = _squared(canaries, canaries).fill_diagonal_(float("inf"))
        nearest = torch.minimum(nearest, among.amin(1))
    return nearest <= NEAR**2 * canaries.shape[1]


def _squared(one: Tensor, other: Tensor) -> Tensor:
    """n × m, squared Euclidean distances; float32 errs by less than 0.1 grey values of root mean square."""
    return ((one * one).sum(1)[:, None] + (other * other).sum(1) - 2 * one @ other.T).clamp_(min=0)
