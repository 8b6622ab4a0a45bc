"""What a denoiser begins from, and what of it a shadow's training may move: all of it, matrices beside its layers, or nothing.

A base is public and one for all shadows. Kept for each shadow is only what was trained. Not here: the training (`training`).
"""

from __future__ import annotations

import math

import torch

from compiler.language.methods.diffusion import Denoiser
from runtime.data.images import LabeledImages
from runtime.outcome import Metric, Product
from runtime.store.artifacts import Artifact
from runtime.synthesize.diffusion import denoisers
from runtime.synthesize.diffusion.process import new_scheduler
from runtime.synthesize.diffusion.training import NoisedExamples, fit
from runtime.synthesize.release import Surroundings


def train_shared(how: Denoiser, public: LabeledImages, around: Surroundings) -> Product:
    """The base: a denoiser that learned the public images without their labels. Its answer for each class is that for none."""
    assert how.base is not None
    net = denoisers.build(how, around.card, around.seeds("diffusion/init")).to(around.device)
    net.prepare(public.images.to(around.device))
    steps = max(1, math.ceil(how.base.epochs * len(public) / how.base.batch_size))
    unlabeled = LabeledImages(public.images, torch.full_like(public.labels, around.card.classes))
    loss = fit(net, how.base, NoisedExamples(net, new_scheduler(how), unlabeled, 1.0, around), steps, how.ema)
    with torch.no_grad():
        net.classes.weight[:] = net.classes.weight[-1].clone()
    declared = {"declared": f"trained on {len(public)} public images, for all shadows"}
    return Product({"base": net.state_dict()}, (loss, Metric("images_seen", float(steps * how.base.batch_size), n=1)), declared)


def begun(how: Denoiser, around: Surroundings) -> denoisers.Net:
    """A denoiser as its training begins: with new weights, or those of the base. What is to be trained requires a gradient."""
    net = denoisers.build(how, around.card, around.seeds("diffusion/init"))
    if how.base is None:
        return net.to(around.device)
    assert around.base is not None
    net.load_state_dict(around.base.tensors("base"))
    if how.finetune != "full":
        net.requires_grad_(False)
    if how.finetune == "lora":
        _add_adapters(net, how, around.seeds("diffusion/lora"))
        net.classes.requires_grad_(True)
    return net.to(around.device)


def _add_adapters(net: denoisers.Net, how: Denoiser, draws: torch.Generator) -> None:
    """LoRA (Hu et al. 2022): normal beside zero, so that a denoiser begins as its base."""
    from peft import LoraConfig, inject_adapter_in_model

    adapters = LoraConfig(r=how.rank, lora_alpha=how.rank, init_lora_weights="gaussian", target_modules=net.adaptable)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.initial_seed())
        inject_adapter_in_model(adapters, net)


def trained_part(net: denoisers.Net, how: Denoiser) -> dict[str, torch.Tensor]:
    """What is kept of a shadow's denoiser: what its training moved; without a base, all of it."""
    if how.base is None:
        return net.state_dict()
    return {name: parameter.detach() for name, parameter in net.named_parameters() if parameter.requires_grad}


def restored(how: Denoiser, trained: Artifact | None, around: Surroundings) -> denoisers.Net:
    """A denoiser in eval mode from what was kept of it; without that, its base as it is."""
    net = begun(how, around)
    if trained is not None:
        net.load_state_dict(trained.tensors("generator"), strict=how.base is None)
    return net.eval()
