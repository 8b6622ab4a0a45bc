"""Generates images that minimise an `ImageLoss`: by tuning a generator each round, by a meta-learned generator, or by optimising
pixels.

Each makes one batch of images per round. The generator of the online methods is here too; they train it in `rounds`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from compiler.language.datasets import Card, Shape
from compiler.language.methods.data_free_kd import DeepInversion, Fast, Inversion
from runtime.outcome import Diverged
from runtime.store import checkpoint
from runtime.training.nets import grey_levels, to_device

ADAM_BETAS = (0.5, 0.999)
"""As in the papers of these methods."""
LATENT_LR_FACTOR = 3
"""Learning rate of latents over that of the generator (Aerni et al. 2024: 0.015 and 0.005)."""

ImageLoss = Callable[[Tensor, Tensor], Tensor]
"""(images in grey levels 0..1, wanted class of each) → a scalar loss."""


class Generator(nn.Module):
    """A convolutional generator, latent → image in 0..1, with two upsampling layers from a quarter of the size."""

    def __init__(self, latent: int, width: int, shape: Shape) -> None:
        super().__init__()
        channels, height, wide = shape
        self.small = (2 * width, math.ceil(height / 4), math.ceil(wide / 4))
        self.shape = shape
        self.latent = latent
        self.first = nn.Linear(latent, math.prod(self.small))
        self.body = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            *_doubled(2 * width, 2 * width),
            *_doubled(2 * width, width),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """n × channels × height × width, in 0..1. z: n × latent."""
        small = self.first(z).reshape(-1, *self.small).contiguous(memory_format=torch.channels_last)
        drawn = self.body(small)
        return drawn[..., : self.shape[1], : self.shape[2]]

    def latents(self, count: int, draws: torch.Generator) -> Tensor:
        """count × latent: standard normal, drawn from `draws` (on the CPU), on this net's device."""
        return torch.randn(count, self.latent, generator=draws).to(self.first.weight.device)


def _doubled(inputs: int, outputs: int) -> Iterable[nn.Module]:
    yield from (nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


def new_generator(latent: int, width: int, card: Card, seed: torch.Generator, device: torch.device) -> Generator:
    """A generator with torch's default initial weights, which depend on the initial seed of `seed` alone; on `device`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed.initial_seed())
        return to_device(Generator(latent, width, card.shape), device)


class TunedGenerator:
    """`inversion` and `fast`: each round draws latents, optimises latents and generator for a few steps, and keeps the best batch.

    `inversion` continues with the tuned generator. `fast` tunes a copy and applies the copy's last gradients to the generator once
    (first-order MAML), which meta-learns an initialisation; the generator takes over the copy's running statistics.
    """

    def __init__(self, how: Inversion | Fast, generator: Generator, draws: torch.Generator) -> None:
        self.how, self.generator, self.draws = how, generator, draws
        meta_lr = how.generator_lr * how.generator_steps
        self.meta = torch.optim.Adam(generator.parameters(), lr=meta_lr, betas=ADAM_BETAS, fused=True)
        self.parts: checkpoint.Parts = {"generator": generator, "meta": self.meta}

    def generate(self, wanted: Tensor, loss: ImageLoss) -> Tensor:
        """The batch of the least loss over a round's steps, in grey levels 0..1, one image for each entry of `wanted` (class),
        detached; the generator is updated. Diverged if no loss is finite."""
        how = self.how
        latents = self.generator.latents(len(wanted), self.draws).requires_grad_(True)
        tuned = copy.deepcopy(self.generator) if isinstance(how, Fast) else self.generator
        latent_lr = LATENT_LR_FACTOR * how.generator_lr
        groups: list[dict[str, Any]] = [{"params": list(tuned.parameters())}, {"params": [latents], "lr": latent_lr}]
        optimizer = torch.optim.Adam(groups, lr=how.generator_lr, betas=ADAM_BETAS, fused=True)
        best = _best(((tuned(latents), optimizer) for _ in range(how.generator_steps)), loss, wanted)
        if isinstance(how, Fast):
            for into, tuned_one in zip(self.generator.parameters(), tuned.parameters(), strict=True):
                into.grad = tuned_one.grad
            self.meta.step()
            self.generator.load_state_dict({name: buffer for name, buffer in tuned.named_buffers()}, strict=False)
        return best


class OptimizedPixels:
    """`deep_inversion`: a batch is initialised as noise around the public mean, and its pixels are optimised."""

    def __init__(self, how: DeepInversion, card: Card, draws: torch.Generator, device: torch.device) -> None:
        self.how, self.card, self.draws, self.device = how, card, draws, device
        self.parts: checkpoint.Parts = {}

    def generate(self, wanted: Tensor, loss: ImageLoss) -> Tensor:
        """The batch of the least loss over all steps, in grey levels 0..1, one image for each entry of `wanted` (class), detached.
        Diverged if no loss is finite."""
        pixels = torch.randn(len(wanted), *self.card.shape, generator=self.draws).to(self.device).requires_grad_(True)
        optimizer = torch.optim.Adam([pixels], lr=self.how.pixel_lr, betas=ADAM_BETAS, fused=True)
        return _best(((grey_levels(pixels, self.card).clamp(0, 1), optimizer) for _ in range(self.how.pixel_steps)), loss, wanted)


def _best(tries: Iterable[tuple[Tensor, torch.optim.Optimizer]], loss: ImageLoss, wanted: Tensor) -> Tensor:
    """Take an optimiser step on the loss of each of the tries (images, optimiser); returns the images (detached, as before their
    step) of the least loss. Diverged if no loss is finite."""
    least, best = math.inf, None
    for images, optimizer in tries:
        found = loss(images, wanted)
        if found.item() < least:
            least, best = found.item(), images.detach()
        optimizer.zero_grad(set_to_none=True)
        found.backward()
        optimizer.step()
    if best is None:
        raise Diverged("the loss of the invented images is no number; lower the inventor's learning rate")
    return best
