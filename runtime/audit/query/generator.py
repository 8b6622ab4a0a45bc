"""Asking a denoiser about the canaries: how well does it know the noise on each?

Levels and noises are common to all shadows (common random numbers), so that models differ only by what they learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compiler.language.methods.diffusion import Denoiser
from compiler.work.operations import QueryGenerator
from runtime.data.population.roles import roles_of
from runtime.outcome import Product
from runtime.seeds import generator
from runtime.store.artifacts import Artifact
from runtime.synthesize.diffusion.bases import restored
from runtime.synthesize.diffusion.denoisers import Net
from runtime.synthesize.diffusion.process import audited_levels, denoising_errors, new_scheduler
from runtime.synthesize.operation import surroundings

NOISES_PER_CANARY = 32
"""Noises per canary; the loss is averaged over them."""


def perform(work: QueryGenerator, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """File `answers`: `denoising` = canary, float64: minus the mean squared error of the predicted noise."""
    assert isinstance(work.how, Denoiser)
    population = work.private.population
    around = surroundings(work.private, device, inputs.get("base"))
    net = restored(work.how, inputs.get("generator"), around)
    groups = roles_of(population).groups
    images = torch.cat([group.images for group in groups]).to(device)
    labels = torch.cat([group.labels for group in groups]).to(device)
    return Product({"answers": {"denoising": -loss(net, images, labels, work.how, population.seed)}})


@torch.inference_mode()
def loss(net: Net, images: Tensor, labels: Tensor, how: Denoiser, seed: int) -> Tensor:
    """n, float64: the denoiser's mean error on each image (uint8), at the same levels and noises whatever the net."""
    scheduler, signals = new_scheduler(how), net.encoded(images)
    draws = generator(seed, None, "denoising query")
    total = torch.zeros(len(images), dtype=torch.float64)
    for level in audited_levels(how, NOISES_PER_CANARY):
        noise = torch.randn(signals.shape, generator=draws).to(images.device)
        at = level.expand(len(images)).to(images.device)
        total += denoising_errors(net, scheduler, signals, noise, at, labels).double().cpu() / NOISES_PER_CANARY
    return total
