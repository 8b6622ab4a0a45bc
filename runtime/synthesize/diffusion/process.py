"""Noise on signals, and the way back: diffusers' schedulers with the cosine schedule (Ho et al. 2020; Nichol and Dhariwal 2021).

Signals are images as a denoiser takes them; the denoiser predicts the noise in them. Not here: the nets (`denoisers`), their
training and the sets that they draw (`generate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compiler.language.methods.diffusion import Conditional, Denoiser, ImageToImage
from runtime.synthesize.diffusion.denoisers import COSINE, Net


def new_scheduler(how: Denoiser, sampler: str = "ddim", limit: float | None = 1.0, levels: Mapping[str, Any] = COSINE) -> Any:
    """The denoiser's noise levels, by `sampler`; ddim and ddpm keep predicted signals within ± `limit`.

    DDIMScheduler goes from level t to t − timesteps // steps, whatever levels follow. So levels are counted from the top, and the
    language asks for steps that divide the timesteps: drawing then begins at pure noise and ends at level −1, no noise.
    """
    # 0.4 s, once a worker: torch._dynamo, which is most of this import, was loaded by the first optimizer.
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    shared: dict[str, Any] = {**levels, "timestep_spacing": "trailing", "steps_offset": 1}
    clipped: dict[str, Any] = {"clip_sample": limit is not None, "clip_sample_range": limit or 1.0}
    match sampler:
        case "ddpm":
            return DDPMScheduler(how.timesteps, **clipped, **shared)
        case "dpm_solver":
            return DPMSolverMultistepScheduler(how.timesteps, **shared)
    return DDIMScheduler(how.timesteps, **clipped, **shared)


def denoising_errors(net: Callable[..., Tensor], scheduler: Any, x: Tensor, noise: Tensor, level: Tensor, label: Tensor) -> Tensor:
    """n: how wrong the net is about the noise on each signal at its level; what training lowers."""
    return (net(scheduler.add_noise(x, noise, level), level, label) - noise).square().flatten(1).mean(1)


def predict_noise(net: nn.Module, x: Tensor, level: Tensor, labels: Tensor, none: int, guidance: float) -> Tensor:
    """e_null + guidance · (e_label − e_null), after Ho and Salimans 2022. `none` is the label of no class."""
    noise = net(x, level, labels)
    if guidance > 1:
        unguided = net(x, level, torch.full_like(labels, none))
        noise = unguided + guidance * (noise - unguided)
    return noise


def denoise(
    net: Net,
    how: Conditional | ImageToImage,
    labels: Tensor,
    none: int,
    noise: Tensor,
    draws: torch.Generator,
    begin: Tensor | None = None,
) -> Tensor:
    """Signals for the labels: from pure `noise`, or (SDEdit) from the signals `begin` with as much of it as the strength says.

    The noise that ddpm adds on the way comes from `draws`.
    """
    scheduler = new_scheduler(how.denoiser, how.sampler, net.limit, net.levels)
    scheduler.set_timesteps(how.steps)
    levels = scheduler.timesteps[-how.passes :]
    x = noise if begin is None else scheduler.add_noise(begin, noise, levels[:1])
    # Without it DDIM would go on with noise that does not belong to a clipped signal; DDPM never does.
    options = {"use_clipped_model_output": True} if how.sampler == "ddim" else {}
    for level in levels:
        found = predict_noise(net, x, level.expand(len(labels)).to(x.device), labels, none, how.guidance)
        x = scheduler.step(found, level, x, generator=draws, **options).prev_sample
    return x
