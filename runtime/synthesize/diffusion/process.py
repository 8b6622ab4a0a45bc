"""The diffusion process and its reversal, by diffusers' schedulers (Ho et al. 2020; cosine schedule of Nichol and Dhariwal 2021).

Signals are a denoiser's encoding of images. Not here: the nets (`denoisers`), their training (`training`), synthetic sets
(`generate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compiler.language.methods.diffusion import Conditional, Denoiser, ImageToImage
from runtime.synthesize.diffusion.denoisers import COSINE, Net


def new_scheduler(how: Denoiser, sampler: str = "ddim", limit: float | None = 1.0, levels: Mapping[str, Any] = COSINE) -> Any:
    """A scheduler of diffusers for `sampler` (`ddpm`, `dpm_solver`, any other is ddim), with the denoiser's number of noise levels
    and the schedule `levels` (options of diffusers' schedulers); ddim and ddpm clip predicted signals to ± `limit` (None: not).

    DDIMScheduler steps from level t to t − timesteps // steps regardless of the list of levels. So levels are spaced from the top,
    and the language requires steps that divide the timesteps: sampling then starts at pure noise and ends without noise (level −1).
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
    """n: mean squared error of the noise that the net predicts when `noise` is added to each signal of `x` at its level (n), under
    its label (n): the training loss."""
    return (net(scheduler.add_noise(x, noise, level), level, label) - noise).square().flatten(1).mean(1)


def predict_noise(net: nn.Module, x: Tensor, level: Tensor, labels: Tensor, none: int, guidance: float) -> Tensor:
    """The predicted noise in the noised signals `x`, with classifier-free guidance, e_none + guidance · (e_label − e_none) (Ho and
    Salimans 2022), for a guidance above 1; else e_label. `none`: the label of no class."""
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
    """Sample signals (not decoded, of the shape of `noise`), one for each of `labels`, in the last `how.passes` of `how.steps`
    steps: from pure `noise`, or by SDEdit from the signals `begin`, to which `noise` is added at the level of the first of these
    steps.

    `none`: the label of no class, for guidance. The noise that ddpm adds in each step comes from `draws`.
    """
    scheduler = new_scheduler(how.denoiser, how.sampler, net.limit, net.levels)
    scheduler.set_timesteps(how.steps)
    levels = scheduler.timesteps[-how.passes :]
    x = noise if begin is None else scheduler.add_noise(begin, noise, levels[:1])
    # Without it DDIM would continue with the noise of the unclipped signal; DDPM does not use that noise.
    options = {"use_clipped_model_output": True} if how.sampler == "ddim" else {}
    for level in levels:
        found = predict_noise(net, x, level.expand(len(labels)).to(x.device), labels, none, how.guidance)
        x = scheduler.step(found, level, x, generator=draws, **options).prev_sample
    return x
