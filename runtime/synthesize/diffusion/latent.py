"""Latent diffusion (Rombach et al. 2022) with diffusers' models and pipelines: an autoencoder and a class-conditional U-Net.

The base is trained on public images, or read from a folder in diffusers' layout: safetensors only, no code is run, nothing is
downloaded. The autoencoder is not tuned. Not here: small nets (`denoisers`); training and attacks, which treat all nets alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.data.model_folder import digest_of_folder
from compiler.errors import SynthcError
from compiler.language.datasets import Card
from compiler.language.methods.diffusion import Checkpoint, Conditional, Denoiser, ImageToImage, Pretraining
from runtime.outcome import Metric
from runtime.seeds import Seeds
from runtime.store import checkpoint
from runtime.synthesize.diffusion.denoisers import COSINE, Net
from runtime.synthesize.diffusion.process import new_scheduler

TOKENS = 4
"""Embeddings that stand for a class in the cross-attention of the U-Net, where there is no text encoder."""
LATENTS = 4
KL_WEIGHT = 1e-6
IMAGES_AT_ONCE = 64
"""Images in one pass of the autoencoder."""
Configs = Mapping[str, Any]
"""JSON: the configurations of the autoencoder (`vae`), the U-Net (`unet`) and the scheduler (`levels`); the number of `tokens` that
condition the U-Net; the `resolution` in pixels; and whether a class is given as a prompt (`texts`)."""


class Latent(Net):
    """A U-Net that predicts the noise in latents of an autoencoder; signals are n × channels × height × width."""

    limit = None
    adaptable = r".*\.(to_q|to_k|to_v|to_out\.0)"

    def __init__(self, configs: Configs, card: Card) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel

        vae, unet = AutoencoderKL.from_config(configs["vae"]), UNet2DConditionModel.from_config(configs["unet"])
        side = configs["resolution"] // 2 ** (len(vae.config.block_out_channels) - 1)
        super().__init__((vae.config.latent_channels, side, side))
        self.vae, self.net, self.image, self.resolution = vae, unet, card.shape, configs["resolution"]
        self.levels, self.tokens, self.texts = configs["levels"], configs["tokens"], configs["texts"]
        self.scale = nn.Buffer(torch.tensor(float(vae.config.scaling_factor)))
        self.classes = nn.Embedding(card.classes + 1, self.tokens * unet.config.cross_attention_dim)

    @property
    def fixed(self) -> list[nn.Module]:
        return [self.vae, self.classes] if self.texts else [self.vae]

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        """The predicted noise, of the shape of x."""
        return self.net(x, level, encoder_hidden_states=self.embed_labels(label)).sample

    def embed_labels(self, label: Tensor) -> Tensor:
        """n × token × width: embedding of each label, on which the U-Net's cross-attention is conditioned."""
        return self.classes(label).unflatten(1, (self.tokens, -1))

    @torch.no_grad()
    def encoded(self, images: Tensor) -> Tensor:
        """n × channels × height × width: the scaled mean latent of each uint8 image."""
        parts = [self.vae.encode(2 * self.enlarged(part) - 1).latent_dist.mean for part in images.split(IMAGES_AT_ONCE)]
        return torch.cat(parts) * self.scale

    def enlarged(self, images: Tensor) -> Tensor:
        """The uint8 images as floats in 0..1, at the autoencoder's resolution and with its channels."""
        grey = F.interpolate(images.float() / 255, (self.resolution, self.resolution), mode="bilinear", antialias=True)
        return grey.expand(-1, self.vae.config.in_channels, -1, -1)

    def to_study_size(self, drawn: Tensor) -> Tensor:
        """uint8 images of the study's shape, from images in 0..1 at the autoencoder's resolution, by averaging."""
        small = F.interpolate(drawn.float(), self.image[1:], mode="area")
        small = small.mean(1, keepdim=True) if self.image[0] == 1 else small
        return (small * 255).round().clamp(0, 255).to(torch.uint8)

    def sample_images(
        self, how: Conditional | ImageToImage, labels: Tensor, draws: torch.Generator, begin: Tensor | None
    ) -> Tensor:
        """uint8 images of the study's shape, one for each of `labels`, sampled by diffusers' pipelines: from noise (`begin` None),
        or by SDEdit from the uint8 images `begin`. Tensors are on the net's device, random numbers from `draws`. Writes `scale`
        into the autoencoder's configuration."""
        from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

        self.vae.register_to_config(scaling_factor=self.scale.item())
        none = torch.full_like(labels, len(self.classes.weight) - 1)
        parts = {"vae": self.vae, "unet": self.net, "scheduler": new_scheduler(how.denoiser, how.sampler, None, self.levels)}
        absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
        options: dict[str, Any] = {
            "prompt_embeds": self.embed_labels(labels), "negative_prompt_embeds": self.embed_labels(none),
            "guidance_scale": how.guidance, "num_inference_steps": how.steps, "generator": draws, "output_type": "pt",
        }  # fmt: skip
        if begin is None:
            pipe: Any = StableDiffusionPipeline(**parts, **absent, requires_safety_checker=False)
            options |= {"height": self.resolution, "width": self.resolution}
        else:
            pipe = StableDiffusionImg2ImgPipeline(**parts, **absent, requires_safety_checker=False)
            # The pipeline cuts steps × strength down to whole steps: half a step more, so that rounding cannot lose one.
            options |= {"image": self.enlarged(begin), "strength": min(1.0, (how.passes + 0.5) / how.steps)}
        pipe.set_progress_bar_config(disable=True)
        return self.to_study_size(pipe(**options).images)


def configs_of(how: Denoiser, card: Card) -> Configs:
    """Configurations of a model that the study pretrains: the autoencoder halves the size once, the U-Net between its levels."""
    width, channels = how.width, card.shape[0]
    halves = ("DownEncoderBlock2D", "UpDecoderBlock2D")
    vae = {
        "in_channels": channels, "out_channels": channels, "latent_channels": LATENTS, "norm_num_groups": 8, "layers_per_block": 1,
        "block_out_channels": (width, width), "down_block_types": halves[:1] * 2, "up_block_types": halves[1:] * 2,
    }  # fmt: skip
    unet = {
        "sample_size": card.shape[1] // 2, "in_channels": LATENTS, "out_channels": LATENTS, "layers_per_block": 1,
        "block_out_channels": tuple(width * min(2**level, 2) for level in range(how.blocks)), "norm_num_groups": 8,
        "down_block_types": ("CrossAttnDownBlock2D",) * how.blocks, "up_block_types": ("CrossAttnUpBlock2D",) * how.blocks,
        "cross_attention_dim": width, "attention_head_dim": 8,
    }  # fmt: skip
    return {"vae": vae, "unet": unet, "levels": dict(COSINE), "tokens": TOKENS, "resolution": card.shape[1], "texts": False}


def fit_autoencoder(net: Latent, how: Pretraining, images: Tensor, seeds: Seeds) -> Metric:
    """Train the autoencoder on mean squared error plus `KL_WEIGHT` times the KL divergence, freeze it, and set the latents' scale
    to one over their standard deviation. Metric `autoencoder_loss`, that of the last batch; whether it is finite is not checked.
    images: n × channels × height × width, uint8."""
    optimizer, draws = torch.optim.AdamW(net.vae.parameters(), lr=how.lr), seeds("diffusion/autoencoder")
    steps = max(1, math.ceil(how.autoencoder_epochs * len(images) / how.batch_size))
    for _ in (loop := checkpoint.loop("autoencoder", steps, net=net.vae, optimizer=optimizer, draws=draws)):
        rows = torch.randint(len(images), (how.batch_size,), generator=draws)
        x = 2 * net.enlarged(images[rows.to(images.device)]) - 1
        found = net.vae.encode(x).latent_dist
        noise = torch.randn(found.mean.shape, generator=draws).to(x.device)
        again = net.vae.decode(found.mean + found.std * noise).sample
        loss = F.mse_loss(again, x) + KL_WEIGHT * found.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loop.log(loss)
    net.vae.requires_grad_(False)
    net.scale.fill_(1.0)
    net.scale.copy_(1 / net.encoded(images).std())
    note = f"squared error of pixels in -1..1, plus {KL_WEIGHT:g} times the KL divergence of the latents, of the last batch"
    return Metric("autoencoder_loss", loop.losses[-1].item(), n=how.batch_size, note=note)


def load_checkpoint(how: Checkpoint, folder: Path, card: Card) -> tuple[Latent, Configs]:
    """Read a model, on the CPU, and its configurations from a folder in diffusers' layout. SynthcError if the folder has changed
    since the study was compiled, or one of its files cannot be opened; errors of diffusers and transformers pass.

    The embedding of a class is the text encoder's last hidden states for its prompt, that of no class those for the empty prompt;
    all are zero where the folder has no text encoder.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    if digest_of_folder(folder) != how.digest:
        raise SynthcError(f"{folder}: has changed since the study was compiled; run it again")
    local: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", **local)
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **local)
    schedule = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    names = ("beta_start", "beta_end", "beta_schedule")
    levels = {name: schedule[name] for name in names if name in schedule}
    texts = (folder / "text_encoder").is_dir()
    told = _states(how, folder, local) if texts else None
    tokens = told.shape[1] if told is not None else TOKENS
    parts = {name: {key: part.config[key] for key in part.config if key[0] != "_"} for name, part in (("vae", vae), ("unet", unet))}
    configs = {**parts, "levels": levels, "tokens": tokens, "resolution": how.resolution, "texts": texts}
    net = Latent(configs, card)
    net.vae.load_state_dict(vae.state_dict())
    net.net.load_state_dict(unet.state_dict())
    with torch.no_grad():
        net.classes.weight.copy_(told.flatten(1) if told is not None else torch.zeros_like(net.classes.weight))
    return net, configs


@torch.no_grad()
def _states(how: Checkpoint, folder: Path, local: Mapping[str, Any]) -> Tensor:
    """(classes + 1) × token × width: the text encoder's last hidden states for each class's prompt, and for the empty prompt. All
    prompts are padded or cut to the most tokens that the encoder takes. `local`: options for reading from the folder alone."""
    from transformers import CLIPTextModel, CLIPTokenizer

    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", **local).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    prompts = [how.prompt.replace("{class}", name) for name in how.classes] + [""]
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    ids = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    states: Tensor = encoder(ids)[0]
    return states
