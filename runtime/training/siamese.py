"""Differentiable siamese augmentation (Zhao and Bilen, ICML 2021): the same random map for private and for learned images.

Classifiers can be trained with the same augmentation, one map per image (`augment: {dsa: true}`).

All families of maps run in one differentiable pass, with identity parameters for those not drawn, so that a batch may have many
maps. Images are normalised. Random numbers come from a generator argument: the authors' code reseeds the global one from the clock
at each call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from compiler.language.datasets import Card

FAMILIES = ("colour", "crop", "cutout", "flip", "scale", "rotate")
BRIGHTNESS, SATURATION, CONTRAST = 0.5, 1.0, 0.5  # half widths, in normalised units and as factors around 1
CROP, CUTOUT, SCALE, ROTATE = 0.125, 0.5, 1.2, 15.0  # shares of the side, largest factor, degrees


@dataclass(frozen=True)
class AugmentParams:
    """Parameters of several maps, one per row."""

    affine: Tensor
    """map × 2 × 3: affine map from output to input coordinates (−1..1)."""
    hole: Tensor
    """map × 4: first row, end row, first column, end column of the cutout; may lie partly outside."""
    brightness: Tensor
    """map: added to normalised pixels."""
    saturation: Tensor
    """map: factor on differences from the mean over channels."""
    contrast: Tensor
    """map: factor on differences from the mean of the image."""

    def __len__(self) -> int:
        return len(self.affine)

    def __getitem__(self, rows: Tensor) -> AugmentParams:
        return AugmentParams(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device) -> AugmentParams:
        return AugmentParams(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def families(card: Card) -> tuple[str, ...]:
    """Families of maps that keep the class: without mirroring where a mirrored image may be of another class."""
    return FAMILIES if card.flips else tuple(family for family in FAMILIES if family != "flip")


def sample(maps: int, card: Card, generator: torch.Generator) -> AugmentParams:
    """Draw `maps` maps, each of one family that is drawn uniformly; on the CPU."""
    _, height, width = card.shape
    of = torch.randint(len(families(card)), (maps,), generator=generator)
    u = torch.rand(maps, 10, generator=generator)  # equally many numbers for every family, so that later draws do not depend on it
    chosen = {family: of == place for place, family in enumerate(families(card))}
    never = torch.zeros(maps, dtype=torch.bool)

    def if_chosen(family: str, drawn: Tensor, identity: float) -> Tensor:
        return torch.where(chosen.get(family, never), drawn, identity)

    def to_integer(of_unit: Tensor, many: int) -> Tensor:
        return (of_unit * many).long().clamp(max=many - 1)  # 0 .. many − 1; float32 rounding may reach 1.0

    angle = if_chosen("rotate", (2 * u[:, 0] - 1) * math.radians(ROTATE), 0.0)
    scale_x, scale_y = (if_chosen("scale", 1 / SCALE + u[:, i] * (SCALE - 1 / SCALE), 1.0) for i in (1, 2))
    mirror = if_chosen("flip", 1.0 - 2.0 * (u[:, 3] < 0.5).float(), 1.0)
    reach_x, reach_y = (int(CROP * side + 0.5) for side in (width, height))
    right = if_chosen("crop", to_integer(u[:, 4], 2 * reach_x + 1).float() - reach_x, 0.0) * 2 / width
    down = if_chosen("crop", to_integer(u[:, 5], 2 * reach_y + 1).float() - reach_y, 0.0) * 2 / height
    cos, sin = angle.cos(), angle.sin()
    affine = torch.stack(
        [torch.stack([cos * scale_x * mirror, -sin, right], dim=1), torch.stack([sin, cos * scale_y, down], dim=1)], dim=1
    )

    tall, wide = int(CUTOUT * height + 0.5), int(CUTOUT * width + 0.5)
    top = to_integer(u[:, 6], height + 1 - tall % 2) - tall // 2
    left = to_integer(u[:, 7], width + 1 - wide % 2) - wide // 2
    hole = torch.stack([top, top + tall, left, left + wide], dim=1) * chosen["cutout"][:, None]

    brightness = if_chosen("colour", (2 * u[:, 8] - 1) * BRIGHTNESS, 0.0)
    strength = torch.rand(maps, 2, generator=generator)
    saturation = if_chosen("colour", 1 + (2 * strength[:, 0] - 1) * SATURATION, 1.0)
    contrast = if_chosen("colour", 1 + (2 * strength[:, 1] - 1) * CONTRAST, 1.0)
    return AugmentParams(affine, hole, brightness, saturation, contrast)


def transform(images: Tensor, maps: AugmentParams, black: Tensor) -> Tensor:
    """Images (n × c × h × w, normalised), image i under row i of `maps`. Differentiable in the images.

    `black` (c × 1 × 1) fills cutouts and pixels from outside of the image.
    """
    n, _, height, width = images.shape
    grid = F.affine_grid(maps.affine, [n, 1, height, width], align_corners=False)
    x = F.grid_sample(images - black, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    first_row, end_row, first_column, end_column = maps.hole[:, :, None].unbind(1)
    in_rows = (rows >= first_row) & (rows < end_row)  # n × height
    in_columns = (columns >= first_column) & (columns < end_column)
    x = x.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0) + black

    x = x + maps.brightness[:, None, None, None]
    if images.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * maps.saturation[:, None, None, None]
    level = x.mean((1, 2, 3), keepdim=True)
    return level + (x - level) * maps.contrast[:, None, None, None]


def augment(images: Tensor, card: Card, draws: torch.Generator, black: Tensor) -> Tensor:
    """Images (n × c × h × w, normalised) under maps drawn here, one per image; further as of `transform`."""
    return transform(images, sample(len(images), card, draws).to(images.device), black)


def transform_blocks(blocks: Tensor, maps: AugmentParams, black: Tensor) -> Tensor:
    """Blocks of images (map × image × c × h × w), all images of block i under row i of `maps`; further as of `transform`."""
    maps, images = maps[torch.arange(len(maps), device=blocks.device).repeat_interleave(blocks.shape[1])], blocks.flatten(0, 1)
    return transform(images, maps, black).unflatten(0, blocks.shape[:2])


def black_level(card: Card) -> Tensor:
    """c × 1 × 1: the normalised value of black."""
    return torch.tensor([-mean / std for mean, std in zip(card.mean, card.std, strict=True)])[:, None, None]
