"""Noise on images, and the way back: a discrete cosine schedule with DDIM or DDPM, or EDM's preconditioning with Heun's method.

Signals are images as a denoiser takes them. A process knows how to hide one at a level, how wrong a net is there, and how to draw
with it. Not here: the nets (`denoisers`), their training and the sets that they draw (`diffusion`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from compiler.language.methods.diffusion import Conditional, Denoiser, ImageToImage
from runtime.synthesize.diffusion.denoisers import Net


class Process(ABC):
    """What training, drawing and auditing need to know about noise."""

    @abstractmethod
    def draw(self, count: int, draws: torch.Generator) -> Tensor:
        """count: random levels for training."""

    @abstractmethod
    def noised(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """The images at each one's level."""

    @abstractmethod
    def errors(self, net: nn.Module, x: Tensor, noise: Tensor, level: Tensor, label: Tensor) -> Tensor:
        """n: how wrong the net is about each image under this noise; what training lowers."""

    @abstractmethod
    def asked(self, count: int) -> Tensor:
        """count: the levels at which an audit asks, where a member is told best: little noise, but some."""

    @abstractmethod
    def sample(
        self, net: Net, how: Conditional | ImageToImage, labels: Tensor, none: int, noise: Tensor, draws: torch.Generator,
        begin: Tensor | None, strength: float,
    ) -> Tensor:
        """Images for the labels, from `noise`, or from `begin` hidden to `strength`. `none` is the label of no class."""


def process(how: Denoiser) -> Process:
    """The process that this denoiser was, or will be, trained for."""
    return Edm() if how.process == "edm" else Cosine(how.timesteps)


def guided(net: nn.Module, x: Tensor, level: Tensor, labels: Tensor, none: int, weight: float) -> Tensor:
    """(1 + weight) · conditional − weight · unconditional (Ho and Salimans 2022); the conditional model itself at 0."""
    found = net(x, level, labels)
    if weight:
        found = (1 + weight) * found - weight * net(x, level, torch.full_like(labels, none))
    return found


class Cosine(Process):
    """Discrete levels that keep the variance; the net predicts the noise (Ho et al. 2020; Nichol and Dhariwal 2021)."""

    ASKED = (0.05, 0.3)
    """Between these shares of the levels an audit asks."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.abar = kept_signal(levels)

    def draw(self, count: int, draws: torch.Generator) -> Tensor:
        return torch.randint(self.levels, (count,), generator=draws)

    def noised(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        kept = self.abar.to(x.device, x.dtype)[level].view(-1, *[1] * (x.dim() - 1))
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def errors(self, net: nn.Module, x: Tensor, noise: Tensor, level: Tensor, label: Tensor) -> Tensor:
        return (net(self.noised(x, noise, level), level, label) - noise).square().flatten(1).mean(1)

    def asked(self, count: int) -> Tensor:
        return torch.linspace(self.ASKED[0] * self.levels, self.ASKED[1] * self.levels, count).long()

    def sample(
        self, net: Net, how: Conditional | ImageToImage, labels: Tensor, none: int, noise: Tensor, draws: torch.Generator,
        begin: Tensor | None, strength: float,
    ) -> Tensor:
        """DDIM (Song et al. 2021, eq. 12) without added noise; DDPM with all of it."""
        first = round(strength * self.levels) - 1
        if first < 0 and begin is not None:
            return begin
        abar = self.abar.to(noise.device, torch.float32)
        x = noise if begin is None else self.noised(begin, noise, torch.full((len(labels),), first, device=noise.device))
        levels = torch.linspace(first, 0, min(how.steps, first + 1), device=noise.device).round().long().unique().flip(0)
        for place, level in enumerate(levels):
            found = guided(net, x, level.expand(len(labels)), labels, none, how.guidance)
            kept = abar[level]
            clean = ((x - (1 - kept).sqrt() * found) / kept.sqrt()).clamp(-net.limit, net.limit)
            found = (x - kept.sqrt() * clean) / (1 - kept).sqrt()   # the noise that goes with the clipped signal
            after = abar[levels[place + 1]] if place + 1 < len(levels) else torch.ones((), device=noise.device)
            fresh = torch.zeros(())
            if how.sampler == "ddpm":
                fresh = ((1 - after) / (1 - kept) * (1 - kept / after)).clamp(min=0).sqrt()
            x = after.sqrt() * clean + (1 - after - fresh**2).clamp(min=0).sqrt() * found
            if fresh > 0:
                x = x + fresh * torch.randn(x.shape, generator=draws).to(x.device)
        return x


def kept_signal(levels: int) -> Tensor:
    """levels, float64: share abar of the image's variance that is left at each noise level (Nichol and Dhariwal 2021, eq. 17).

    Through betas cut at 0.999, as published, so that the last level keeps a trace of the image.
    """
    at = torch.arange(levels + 1, dtype=torch.float64) / levels
    f = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
    return torch.cumprod(1 - (1 - f[1:] / f[:-1]).clamp(max=0.999), dim=0)


class Edm(Process):
    """Continuous levels sigma; the net is wrapped so that its input, output and loss are of unit size (Karras et al. 2022)."""

    LEAST, MOST, RHO = 0.002, 80.0, 7.0
    """Of the drawing schedule (their table 1)."""
    DATA = 0.5
    """Standard deviation of images."""
    MEAN, SPREAD = -1.2, 1.2
    """Of ln sigma in training."""
    ASKED = (0.05, 0.5)
    """Between these sigmas an audit asks."""
    WAVES = 250.0
    """Stretches ln(sigma) / 4 to where a denoiser's sines and cosines, made for a thousand levels, tell levels apart."""

    def draw(self, count: int, draws: torch.Generator) -> Tensor:
        return (self.MEAN + self.SPREAD * torch.randn(count, generator=draws)).exp()

    def noised(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        return x + level.view(-1, *[1] * (x.dim() - 1)) * noise

    def errors(self, net: nn.Module, x: Tensor, noise: Tensor, level: Tensor, label: Tensor) -> Tensor:
        apart = (self.denoised(net, self.noised(x, noise, level), level, label) - x).square().flatten(1).mean(1)
        return (level**2 + self.DATA**2) / (level * self.DATA) ** 2 * apart

    def asked(self, count: int) -> Tensor:
        low, high = (math.log(sigma) for sigma in self.ASKED)
        return torch.linspace(low, high, count).exp()

    def denoised(self, net: nn.Module, x: Tensor, level: Tensor, label: Tensor, none: int = 0, weight: float = 0.0) -> Tensor:
        """The image that the net sees under the noise (their eq. 7)."""
        sigma = level.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
        size = (sigma**2 + self.DATA**2).sqrt()
        stretched = self.WAVES * (level.log() / 4 + 2)
        found = guided(net, x / size, stretched, label, none, weight)
        return (self.DATA / size) ** 2 * x + sigma * self.DATA / size * found

    def sigmas(self, count: int) -> Tensor:
        """count + 1, falling, float64: the drawing schedule, and zero at its end (their eq. 5)."""
        at = torch.linspace(0, 1, count, dtype=torch.float64)
        top, bottom = self.MOST ** (1 / self.RHO), self.LEAST ** (1 / self.RHO)
        return torch.cat([(top + at * (bottom - top)) ** self.RHO, torch.zeros(1, dtype=torch.float64)])

    def sample(
        self, net: Net, how: Conditional | ImageToImage, labels: Tensor, none: int, noise: Tensor, draws: torch.Generator,
        begin: Tensor | None, strength: float,
    ) -> Tensor:
        """Heun's second-order method without added noise (their algorithm 1)."""
        sigmas = self.sigmas(how.steps)
        first = round((1 - strength) * how.steps)
        if first >= how.steps and begin is not None:
            return begin
        x = noise.double() * sigmas[first] + (0 if begin is None else begin.double())

        def slope(at: Tensor, sigma: Tensor) -> Tensor:
            level = sigma.float().expand(len(labels)).to(noise.device)
            clean = self.denoised(net, at.float(), level, labels, none, how.guidance).clamp(-net.limit, net.limit)
            return (at - clean.double()) / sigma

        for now, after in zip(sigmas[first:-1], sigmas[first + 1 :], strict=True):
            down = slope(x, now)
            euler = x + (after - now) * down
            x = euler if after == 0 else x + (after - now) * (down + slope(euler, after)) / 2
        return x.float()
