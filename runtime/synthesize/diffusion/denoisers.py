"""Denoisers: nets that predict the noise in a signal at a noise level, given a label. Small MLPs, or diffusers' U-Net.

A signal is the representation of an image that is noised: its pixels in [-1, 1], or its principal components. The label `classes`
(one above the last) means no class.
Not here: noise schedules (`process`), training and sampling (`generate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compiler.errors import SynthcError
from compiler.language.datasets import Card
from compiler.language.methods.diffusion import Denoiser

COSINE = {"beta_schedule": "squaredcos_cap_v2"}


class Net(nn.Module):
    """Base class of denoisers, `net(x, level, label) -> noise`, with the encoding of images as signals, here pixels."""

    limit: float | None = 1.0
    """Absolute value to which predicted signals are clipped in sampling; None for no limit."""
    levels: Mapping[str, Any] = COSINE
    """Noise schedule, as options of diffusers' schedulers."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        """Shape of one signal."""

    classes: nn.Embedding
    """Embedding of each label; the last row is for no class."""
    adaptable: str
    """Regular expression for the names of layers to which LoRA matrices are added."""

    @property
    def fixed(self) -> list[nn.Module]:
        """Modules that no shadow's training updates."""
        return []

    def prepare(self, images: Tensor) -> None:
        """Compute what depends on the training images (n × channels × height × width, uint8) before training; here nothing."""

    def encoded(self, images: Tensor) -> Tensor:
        """Encode images (n × channels × height × width, uint8) as signals, float32: in this class their pixels, scaled to -1..1."""
        return images.float() / 127.5 - 1

    def decoded(self, signals: Tensor, draws: torch.Generator) -> Tensor:
        """uint8 images of signals, rounded and clipped. `draws`: random numbers for parts of an image that signals do not hold;
        here not used."""
        return ((signals + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def build(how: Denoiser, card: Card, generator: torch.Generator) -> Net:
    """A denoiser on the CPU; its initial weights depend on the initial seed of `generator` alone. ValueError for net `latent`;
    SynthcError for net `latent_mlp` with more components than pixels."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw from the global generator: it is seeded and then restored
        torch.manual_seed(generator.initial_seed())
        match how.net:
            case "mlp":
                return Mlp(how, card.classes, card.shape)
            case "latent_mlp":
                return LatentMlp(how, card)
            case "unet":
                return UNet(how, card)
    raise ValueError(f"{how.net} is built from its base")


class Mlp(Net):
    """An MLP of residual blocks on a flat signal, each shifted and scaled by an embedding of level and label."""

    adaptable = r"blocks\.\d+\.[02]|modulate\.\d+"

    def __init__(self, how: Denoiser, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        pixels = math.prod(shape)
        self.classes = nn.Embedding(classes + 1, how.width)
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
        """The predicted noise, of the shape of x."""
        context = nn.functional.silu(self.level(timestep_embedding(level, 64)) + self.classes(label))
        h = self.first(x.flatten(1))
        for norm, modulate, block in zip(self.norms, self.modulate, self.blocks, strict=True):
            scale, shift = modulate(context).chunk(2, dim=1)
            h = h + block(norm(h) * (1 + scale) + shift)
        return self.last(h).reshape(x.shape)


class LatentMlp(Mlp):
    """An `Mlp` on standardised principal components of the images given to `prepare` (a base's public images, else the private
    ones): latent diffusion (Rombach et al. 2022) with PCA as autoencoder. Without a base the basis depends on private data too, and
    is released with the denoiser. SynthcError for more components than pixels.

    Further components are sampled as normal noise with their own variances (as in probabilistic PCA: Tipping and Bishop 1999, but
    one variance for each component). Without them images are smooth and classifiers fail on textures: trained on 5,000 images of
    Fashion-MNIST they have 86.9 % accuracy, on their 64 components 81.5 %, with this noise 83.3 %.
    """

    limit = 2.0
    """Four standard deviations: components are scaled to a standard deviation of 0.5, that of images in EDM."""
    FURTHER = 4
    """Number of further components, as a multiple of the denoised ones."""

    def __init__(self, how: Denoiser, card: Card) -> None:
        pixels = math.prod(card.shape)
        if how.components > pixels:
            raise SynthcError(f"latent_mlp: {how.components} components of {pixels} pixels; lower `components`, or use mlp")
        super().__init__(how, card.classes, (how.components,))
        self.image = card.shape
        self.centre, self.basis, self.size = (  # in the state dict, since drawing images needs them
            nn.Buffer(empty) for empty in (torch.zeros(pixels), torch.zeros(how.components, pixels), torch.ones(how.components))
        )
        self.texture = nn.Buffer(torch.zeros(min(self.FURTHER * how.components, pixels - how.components), pixels))

    def prepare(self, images: Tensor) -> None:
        flat = super().encoded(images).flatten(1).double()
        variance, vectors = torch.linalg.eigh(flat.T.cov())  # ascending
        spread, rows = variance.flip(0).clamp(min=1e-6).sqrt(), vectors.flip(1).T
        learned, further = len(self.size), len(self.size) + len(self.texture)
        self.centre.copy_(flat.mean(0))
        self.basis.copy_(rows[:learned])
        self.size.copy_(2 * spread[:learned])
        self.texture.copy_(spread[learned:further, None] * rows[learned:further])

    def encoded(self, images: Tensor) -> Tensor:
        """n × components: signals of uint8 images."""
        flat = super().encoded(images).flatten(1)
        return (flat - self.centre) @ self.basis.T / self.size

    def decoded(self, signals: Tensor, draws: torch.Generator) -> Tensor:
        left_out = torch.randn(len(signals), len(self.texture), generator=draws).to(signals.device) @ self.texture
        flat = signals * self.size @ self.basis + self.centre + left_out
        return super().decoded(flat.unflatten(1, self.image), draws)


class UNet(Net):
    """diffusers' UNet2DModel without attention; images are padded with black so that each level but the last can halve them."""

    adaptable = r".*\.conv[12]"

    def __init__(self, how: Denoiser, card: Card) -> None:
        super().__init__(card.shape)
        from diffusers.models.unets.unet_2d import UNet2DModel

        channels, height, width = card.shape
        step = 2 ** (how.blocks - 1)
        self.down, self.right = -height % step, -width % step
        self.net = UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            num_class_embeds=card.classes + 1,
            norm_num_groups=8,
            block_out_channels=tuple(how.width * min(2**level, 2) for level in range(how.blocks)),
            down_block_types=("DownBlock2D",) * how.blocks,
            up_block_types=("UpBlock2D",) * how.blocks,
            add_attention=False,
        )
        self.classes = self.net.class_embedding

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        """The predicted noise, of the shape of x."""
        padded = nn.functional.pad(x, (0, self.right, 0, self.down), value=-1.0)
        return self.net(padded, level, class_labels=label).sample[..., : x.shape[2], : x.shape[3]]


def timestep_embedding(level: Tensor, width: int) -> Tensor:
    """n × width: sines, then cosines, of the level (n) at width / 2 geometric frequencies (Vaswani et al. 2017); width: even."""
    frequency = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=level.device) / (width // 2))
    angle = level[:, None].float() * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
