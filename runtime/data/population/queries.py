"""The images that every model of a study is asked about, and their views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compiler.language.audit import Queries
from compiler.work.operations import Population
from runtime.data.population.roles import roles_of


def asked(population: Population) -> list[tuple[list[str], Tensor]]:
    """Images that every model is asked about, with the names of their answers: the canaries of all groups, then z samples.

    Groups of the data set's own images share one z pool, about which a model is asked once.
    """
    roles = roles_of(population)
    z: dict[int, tuple[list[str], Tensor]] = {}
    for group in roles.groups:
        z.setdefault(group.z_images.data_ptr(), ([], group.z_images))[0].append(f"z/{group.name}")
    return [(["canary"], torch.cat([group.images for group in roles.groups])), *z.values()]


def views(images: Tensor, queries: Queries) -> Tensor:
    """n × view × channels × height × width: for each flip (no, yes), each shift down (0, -s, +s), each shift right (likewise).

    View 0 is the plain image; what a shift uncovers is black (zero, before normalisation).
    """
    s, (height, width) = queries.shift, images.shape[2:]
    padded = F.pad(images, (s, s, s, s))
    offsets = (0, -s, s) if s else (0,)
    plain = [padded[:, :, s - down : s - down + height, s - right : s - right + width] for down in offsets for right in offsets]
    mirrored = [view.flip(3) for view in plain] if queries.flip else []
    return torch.stack(plain + mirrored, dim=1)
