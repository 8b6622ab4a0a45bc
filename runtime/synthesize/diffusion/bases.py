"""Bases of denoisers, and which of their parameters a shadow's training updates: all, LoRA matrices, or none.

A base is public and the same for all shadows. Only updated parameters are stored for each shadow. Not here: the training
(`training`).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from compiler.language.methods.diffusion import Checkpoint, Denoiser
from runtime.data.images import LabeledImages
from runtime.outcome import Metric, Product
from runtime.store.artifacts import Artifact
from runtime.synthesize.diffusion import denoisers
from runtime.synthesize.diffusion.latent import Latent, configs_of, fit_autoencoder, load_checkpoint
from runtime.synthesize.diffusion.process import new_scheduler
from runtime.synthesize.diffusion.training import NoisedExamples, fit
from runtime.synthesize.release import Surroundings


def train_shared(how: Denoiser, public: LabeledImages | None, around: Surroundings, path: str = "") -> Product:
    """Load or train the base; the product's file `base` is its state dict. Where `how.base` is a `Checkpoint`, the model in the
    folder `path` is loaded, and the note `configs` holds the configurations of its parts. Else, whatever `path`, a denoiser is
    trained on the public images without labels; every class has the embedding of no class in it.

    Metrics of a training: `denoiser_loss`, `images_seen` (by the denoiser) and, for net `latent`, `autoencoder_loss`; none for a
    folder. SynthcError as of `load_checkpoint` and `denoisers.build`, Diverged as of `fit`.
    """
    if isinstance(how.base, Checkpoint):
        model, configs = load_checkpoint(how.base, Path(path), around.card)
        return Product({"base": model.state_dict()}, (), {"declared": "made elsewhere, for all shadows", "configs": configs})
    assert how.base is not None
    assert public is not None
    metrics, notes = [], {"declared": f"trained on {len(public)} public images, for all shadows"}
    net, seeds, images = _built(how, around), around.seeds, public.images.to(around.device)
    if isinstance(net, Latent):
        metrics.append(fit_autoencoder(net, how.base, images, seeds))
    net.prepare(images)
    steps = max(1, math.ceil(how.base.epochs * len(public) / how.base.batch_size))
    unlabeled = LabeledImages(public.images, torch.full_like(public.labels, around.card.classes))
    examples = NoisedExamples(net, new_scheduler(how, levels=net.levels), unlabeled, 1.0, around)
    metrics += [fit(net, how.base, examples, steps, how.ema), Metric("images_seen", float(steps * how.base.batch_size), n=1)]
    with torch.no_grad():
        net.classes.weight[:] = net.classes.weight[-1].clone()
    return Product({"base": net.state_dict()}, tuple(metrics), notes)


def _built(how: Denoiser, around: Surroundings) -> denoisers.Net:
    """A denoiser with initial weights, on the device; for net `latent` with a base from a folder, of the base's architecture.
    Errors as of `denoisers.build`."""
    draws = around.seeds("diffusion/init")
    if how.net != "latent":
        return denoisers.build(how, around.card, draws).to(around.device)
    made_elsewhere = around.base is not None and isinstance(how.base, Checkpoint)
    configs = around.base.outcome["notes"]["configs"] if made_elsewhere and around.base else configs_of(how, around.card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.initial_seed())
        return Latent(configs, around.card).to(around.device)


def new_denoiser(how: Denoiser, around: Surroundings) -> denoisers.Net:
    """A denoiser on the device at the start of its training, with new weights or those of `around.base`. Exactly the parameters to
    train require a gradient. SynthcError as of `denoisers.build`; other errors as of `Artifact.tensors`."""
    net = _built(how, around)
    if how.base is None:
        return net
    assert around.base is not None
    net.load_state_dict(around.base.tensors("base"))
    if how.finetune != "full":
        net.requires_grad_(False)
    if how.finetune == "lora":
        _add_adapters(net, how, around.seeds("diffusion/lora"))
        net.classes.requires_grad_(True)
    for part in net.fixed:
        part.requires_grad_(False)
    return net.to(around.device)


def tell_classes_apart(net: denoisers.Net, draws: torch.Generator) -> None:
    """Draw new class embeddings, in place and standard normal, for a net that is tuned from a base; that of no class stays. From
    equal embeddings classes separate slowly: classifiers trained on digits from a net tuned for 80 epochs had 19 % accuracy
    (8 shadows)."""
    with torch.no_grad():
        rows = net.classes.weight[:-1]
        rows.copy_(torch.randn(rows.shape, generator=draws))


def _add_adapters(net: denoisers.Net, how: Denoiser, draws: torch.Generator) -> None:
    """Add LoRA matrices (Hu et al. 2022) in place, one of each pair normal, the other zero, so that the denoiser starts equal to
    its base. Of all parameters, only these matrices require a gradient then."""
    from peft import LoraConfig, inject_adapter_in_model

    adapters = LoraConfig(r=how.rank, lora_alpha=how.rank, init_lora_weights="gaussian", target_modules=net.adaptable)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.initial_seed())
        inject_adapter_in_model(adapters, net)


def trained_part(net: denoisers.Net, how: Denoiser) -> dict[str, torch.Tensor]:
    """The tensors of a shadow's denoiser to store, which share its storage: the parameters that were trained; without a base, the
    whole state dict, buffers included."""
    if how.base is None:
        return net.state_dict()
    return {name: parameter.detach() for name, parameter in net.named_parameters() if parameter.requires_grad}


def restored(how: Denoiser, trained: Artifact | None, around: Surroundings) -> denoisers.Net:
    """A denoiser in eval mode, on the device, from its stored parameters; without `trained`, the base unchanged. Errors as of
    `new_denoiser` and `Artifact.tensors`."""
    net = new_denoiser(how, around)
    if trained is not None:
        net.load_state_dict(trained.tensors("generator"), strict=how.base is None)
    return net.eval()
