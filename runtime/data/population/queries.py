"""The images with which every model of a study is queried, and their views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compiler.language.audit import Queries
from compiler.work.operations import Population
from runtime.data.population.roles import roles_of


def query_images(population: Population) -> list[tuple[list[str], Tensor]]:
    """Pairs of names of arrays and the images (n × channels × height × width, uint8) with which models are queried for them:
    `canary` with the canaries of all groups in order, then each distinct z pool with `z/GROUP` of every group that has it.

    Groups of the data set's own images share one z pool, with which a model is queried once. Errors as of `roles_of`.
    """
    roles = roles_of(population)
    z: dict[int, tuple[list[str], Tensor]] = {}
    for group in roles.groups:
        z.setdefault(group.z_images.data_ptr(), ([], group.z_images))[0].append(f"z/{group.name}")
    return [(["canary"], torch.cat([group.images for group in roles.groups])), *z.values()]


def views(images: Tensor, queries: Queries) -> Tensor:
    """n × view × channels × height × width: views of each image, by flip (no, yes), shift down (0, -s, +s), shift right (likewise),
    the last varying fastest; s is `queries.shift`.

    View 0 is the image itself; shifts (in pixels) pad with black (zero, before normalisation). With `shift` 0 there are no shifted
    views, and without `flip` no mirrored ones.
    """
    s, (height, width) = queries.shift, images.shape[2:]
    padded = F.pad(images, (s, s, s, s))
    offsets = (0, -s, s) if s else (0,)
    plain = [padded[:, :, s - down : s - down + height, s - right : s - right + width] for down in offsets for right in offsets]
    mirrored = [view.flip(3) for view in plain] if queries.flip else []
    return torch.stack(plain + mirrored, dim=1)
