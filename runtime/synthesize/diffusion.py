"""Diffusion: a denoiser trained from scratch on the private set, and the sets that it draws.

`train_generator` serves class-conditional drawing and SDEdit at every strength alike. The classifier is trained on what is
drawn; the denoiser's own loss on a canary is an attack of its own (`query.generator`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compiler.spec.diffusion import Conditional, Denoiser, ImageToImage
from runtime.artifacts import Artifact
from runtime.data import LabeledImages
from runtime.outcome import Diverged, Metric, Product
from runtime.synthesize import denoisers
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training import Average

DRAWN_TOGETHER = 512
"""Images per denoising pass."""


def kept_signal(levels: int) -> Tensor:
    """levels, float64: share abar of the image's variance that is left at each noise level (Nichol and Dhariwal 2021, eq. 17).

    Through betas cut at 0.999, as published, so that the last level keeps a trace of the image.
    """
    at = torch.arange(levels + 1, dtype=torch.float64) / levels
    f = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
    return torch.cumprod(1 - (1 - f[1:] / f[:-1]).clamp(max=0.999), dim=0)


def noised(x: Tensor, noise: Tensor, level: Tensor, abar: Tensor) -> Tensor:
    """sqrt(abar) x + sqrt(1 - abar) noise at each image's level."""
    kept = abar.to(x.device, x.dtype)[level][:, None, None, None]
    return kept.sqrt() * x + (1 - kept).sqrt() * noise


def train_generator(how: Denoiser, private: LabeledImages, around: Surroundings) -> Product:
    """Train the denoiser; file `generator` holds the averaged weights. Diverged if the loss stops being a number."""
    started = time.perf_counter()
    device, seeds = around.device, around.seeds
    net = denoisers.build(how, around.card, seeds("diffusion/init")).to(device)
    average = Average(net, how.ema)
    steps = max(1, math.ceil(how.epochs * len(private) / how.batch_size))
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    abar, draws = kept_signal(how.timesteps), seeds("diffusion/training")
    images = _to_signal(private.images).to(device)
    labels = private.labels.to(device)
    late = 0.0
    for step in range(steps):
        rows = torch.randint(len(private), (how.batch_size,), generator=draws).to(device)
        level = torch.randint(how.timesteps, (how.batch_size,), generator=draws).to(device)
        noise = torch.randn(how.batch_size, *around.card.shape, generator=draws).to(device)
        hidden = (torch.rand(how.batch_size, generator=draws) < how.unlabeled).to(device)
        label = torch.where(hidden, around.card.classes, labels[rows])
        loss = (net(noised(images[rows], noise, level, abar), level, label) - noise).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update()
        if step >= steps - max(1, steps // 20):
            late += loss.item() / max(1, steps // 20)
    if not math.isfinite(late):
        raise Diverged(f"the denoiser's loss is {late} after {steps} steps at a learning rate of {how.lr}")
    average.give()
    metrics = (
        Metric("denoiser_loss", late, n=max(1, steps // 20), note="mean squared error of the noise, last twentieth of the steps"),
        Metric("images_seen", float(steps * how.batch_size), n=1),
        Metric("seconds", time.perf_counter() - started, n=1),
    )
    return Product({"generator": net.state_dict()}, metrics)


def synthesize(how: Conditional | ImageToImage, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """Draw the set. An SDEdit twin's origin is the private image that it was made from."""
    net = restored(how.denoiser, needs["generator"], setting)
    draws = setting.seeds(f"diffusion/{how.method}")
    if isinstance(how, Conditional):
        count = max(1, round(how.multiple * len(private)))
        labels = private.labels[torch.randperm(len(private), generator=draws)].repeat(math.ceil(how.multiple))[:count]
        begin, strength, origins = None, 1.0, None
    else:
        labels, begin, strength, origins = private.labels, _to_signal(private.images), how.strength, torch.arange(len(private))
    drawn = [
        sample(net, how, part, setting, draws, None if begin is None else begin[rows], strength)
        for rows, part in zip(torch.arange(len(labels)).split(DRAWN_TOGETHER), labels.split(DRAWN_TOGETHER), strict=True)
    ]
    images = ((torch.cat(drawn) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    notes = {"denoising_passes": len(labels) * how.steps, "declared": "labels in the proportions of the private set"}
    return Release(images, labels, origins, notes=notes)


@torch.inference_mode()
def sample(
    net: nn.Module, how: Conditional | ImageToImage, labels: Tensor, setting: Setting, draws: torch.Generator,
    begin: Tensor | None = None, strength: float = 1.0,
) -> Tensor:
    """n × channels × height × width in [-1, 1]: DDIM without added noise (Song et al. 2021, eq. 12), from noise or from `begin`."""
    abar = kept_signal(how.denoiser.timesteps).to(setting.device, torch.float32)
    first = round(strength * how.denoiser.timesteps) - 1
    noise = torch.randn(len(labels), *setting.card.shape, generator=draws).to(setting.device)
    if first < 0:
        assert begin is not None
        return begin
    top = torch.full((len(labels),), first, device=setting.device)
    x = noise if begin is None else noised(begin.to(setting.device), noise, top, abar)
    levels = torch.linspace(first, 0, min(how.steps, first + 1), device=setting.device).round().long().unique().flip(0)
    none = torch.full_like(labels, setting.card.classes).to(setting.device)
    for place, level in enumerate(levels):
        at = level.expand(len(labels))
        found = net(x, at, labels.to(setting.device))
        if how.guidance:
            found = (1 + how.guidance) * found - how.guidance * net(x, at, none)
        kept = abar[level]
        clean = ((x - (1 - kept).sqrt() * found) / kept.sqrt()).clamp(-1, 1)
        found = (x - kept.sqrt() * clean) / (1 - kept).sqrt()   # the noise that goes with the clipped image
        after = abar[levels[place + 1]] if place + 1 < len(levels) else torch.ones((), device=setting.device)
        x = after.sqrt() * clean + (1 - after).sqrt() * found
    return x.cpu()


def restored(how: Denoiser, artifact: Artifact, around: Surroundings) -> nn.Module:
    """A trained denoiser from its artifact, in eval mode."""
    net = denoisers.build(how, around.card, around.seeds("diffusion/init"))
    net.load_state_dict(artifact.tensors("generator"))
    return net.to(around.device).eval()


def _to_signal(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1
