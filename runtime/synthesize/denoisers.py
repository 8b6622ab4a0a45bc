"""Denoisers: nets that predict the noise in an image at a noise level, given a label. Light, or diffusers' U-Net.

Images are in [-1, 1]; label `classes` stands for none. Not here: noise schedules and sampling (`diffusion`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from compiler.datasets import Card
from compiler.spec.diffusion import Denoiser


def build(how: Denoiser, card: Card, generator: torch.Generator) -> nn.Module:
    """The denoiser with initial weights from `generator` alone: `net(x, level, label) -> noise`, level an int64 vector."""
    with torch.random.fork_rng(devices=[]):   # torch's layers draw from the global generator: lend it this stream, and give it back
        torch.manual_seed(generator.initial_seed())
        return PixelMlp(how, card) if how.net == "mlp" else UNet(how, card)


class PixelMlp(nn.Module):
    """Residual blocks on the pixels, each shifted and scaled by an embedding of level and label. For 8×8 to 28×28."""

    def __init__(self, how: Denoiser, card: Card) -> None:
        super().__init__()
        pixels = math.prod(card.shape)
        self.label = nn.Embedding(card.classes + 1, how.width)
        self.level = nn.Sequential(nn.Linear(64, how.width), nn.SiLU(), nn.Linear(how.width, how.width))
        self.first = nn.Linear(pixels, how.width)
        self.norms = nn.ModuleList(nn.LayerNorm(how.width, elementwise_affine=False) for _ in range(how.blocks))
        self.modulate = nn.ModuleList(nn.Linear(how.width, 2 * how.width) for _ in range(how.blocks))
        inner = 2 * how.width
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(how.width, inner), nn.SiLU(), nn.Linear(inner, how.width)) for _ in range(how.blocks)
        )
        self.last = nn.Linear(how.width, pixels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        """Noise, of the shape of x (n × channels × height × width)."""
        context = nn.functional.silu(self.level(waves(level, 64)) + self.label(label))
        h = self.first(x.flatten(1))
        for norm, modulate, block in zip(self.norms, self.modulate, self.blocks, strict=True):
            scale, shift = modulate(context).chunk(2, dim=1)
            h = h + block(norm(h) * (1 + scale) + shift)
        return self.last(h).reshape(x.shape)


class UNet(nn.Module):
    """diffusers' UNet2DModel without attention, images padded to a multiple of what its levels halve."""

    def __init__(self, how: Denoiser, card: Card) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d import UNet2DModel

        channels, height, width = card.shape
        step = 2 ** (how.blocks - 1)
        self.down, self.right = -height % step, -width % step
        self.net = UNet2DModel(
            in_channels=channels, out_channels=channels, layers_per_block=1, num_class_embeds=card.classes + 1, norm_num_groups=8,
            block_out_channels=tuple(how.width * min(2**level, 2) for level in range(how.blocks)),
            down_block_types=("DownBlock2D",) * how.blocks, up_block_types=("UpBlock2D",) * how.blocks, add_attention=False,
        )

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        """Noise, of the shape of x."""
        padded = nn.functional.pad(x, (0, self.right, 0, self.down), value=-1.0)
        return self.net(padded, level, class_labels=label).sample[..., : x.shape[2], : x.shape[3]]


def waves(level: Tensor, width: int) -> Tensor:
    """n × width: sines and cosines of the level at geometric frequencies (Vaswani et al. 2017)."""
    frequency = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=level.device) / (width // 2))
    angle = level[:, None].float() * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
