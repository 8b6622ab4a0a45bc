"""Paradigm `diffusion`: a denoiser that learned the private set, from nothing or from a public base, draws the training set."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, field_validator

from compiler.language.base import BelowOne, Frozen, Generator, Method, Proportion
from compiler.language.cost import Cost, Net, Sizes, convolutions, dense
from compiler.language.methods.baselines import Privacy


class Pretraining(Frozen):
    """A base that the study trains on its public set, without labels and once for all shadows: nothing private is in it."""

    pretrain: Literal["public"]
    """public: on the study's public set."""
    epochs: PositiveFloat = 100
    """Passes over the public set."""
    batch_size: PositiveInt = 256
    """Public images in each step."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of AdamW; a cosine to zero."""
    autoencoder_epochs: PositiveFloat = 20
    """For the net latent: passes in which its autoencoder learns the public set before."""


class Checkpoint(Frozen):
    """A base that was made elsewhere, for the net latent: a folder in diffusers' layout (`model_index.json`, safetensors).
    Nothing is fetched, and no code in it is run. Its digest enters ids, its place does not."""

    path: str
    """Relative to the spec."""
    resolution: PositiveInt
    """At which the model sees and draws images, such as 512: images are enlarged to it, and what is drawn is averaged down."""
    classes: tuple[str, ...]
    """Name of each class, in the order of the labels."""
    prompt: str = "a photo of a {class}"
    """Prompt of the text encoder for a class."""
    digest: str = ""
    """Of its files; made by the compiler."""


def _kind_of_base(given: Any) -> str:
    """`folder` (a user's checkpoint) for a mapping or model with a `path`, else `trained here`."""
    fields = given if isinstance(given, dict) else getattr(given, "__dict__", {})
    return "folder" if "path" in fields else "trained here"


Base = Annotated[Annotated[Pretraining, Tag("trained here")] | Annotated[Checkpoint, Tag("folder")], Discriminator(_kind_of_base)]


class Denoiser(Generator):
    """The generator: a class-conditional denoiser (Ho et al. 2020, cosine schedule) that learns the private set, from scratch or by
    tuning a public base."""

    revision = 7  # words of a base; only what was trained is kept; tuning begins with classes apart
    paradigm = "diffusion"
    compute = "generate"

    net: Literal["mlp", "latent_mlp", "unet", "latent"] = "mlp"
    """mlp: residual blocks on the pixels, for images of a few hundred. latent_mlp: the same on principal components of the shadow's
    own private images, for larger ones on CPUs. unet: diffusers' UNet2DModel, for a GPU. latent: its UNet2DConditionModel on the
    latents of its AutoencoderKL, drawn by the pipelines of Stable Diffusion."""
    width: PositiveInt = 256
    """Units of an mlp's blocks; channels of the unet's first level (a multiple of 8)."""
    blocks: PositiveInt = 3
    """Residual blocks of an mlp; levels of the unet."""
    components: PositiveInt = 64
    """Principal components that a latent_mlp sees: what else is in an image is drawn as noise of its spectrum."""
    base: Base | None = None
    """What the training begins from; null for nothing. Public: the same for all shadows."""
    finetune: Literal["full", "lora", "none"] = "full"
    """How a base is tuned to the private set. full: all of its weights. lora: matrices of low rank beside its layers, and the
    classes (Hu et al. 2022). none: not at all, which is a control: nothing private is in what it draws."""
    rank: PositiveInt = 8
    """Of LoRA; its alpha is the rank too, so that the step does not depend on it."""
    epochs: PositiveFloat = 300
    """Passes over a set of the private set's expected size."""
    batch_size: PositiveInt = 256
    """Images in each step; with `privacy` the expected number, as images are drawn one by one."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of AdamW; a cosine to zero."""
    ema: Proportion = 0.999
    """Decay of the average of the weights that is sampled from, warmed up; without one samples are poor."""
    timesteps: int = Field(default=1000, gt=1)
    """Noise levels."""
    unlabeled: BelowOne = 0.1
    """Share of presentations without a label; guidance needs it."""
    privacy: Privacy | None = None
    """Train the denoiser by DP-SGD: whatever it draws then has the guarantee (Dockhorn et al. 2023). Labels are then drawn alike
    for all classes, and their number tells the private set's expected size, not its own."""

    def faults(self) -> Iterator[str]:
        if self.privacy is not None and self.net == "latent_mlp" and self.base is None:
            yield "DP-SGD does not account for the private images' principal components; use the net mlp, or a base"
        if self.net == "latent" and self.base is None:
            yield "net: latent needs a `base`, as its autoencoder must not learn private images"
        if self.net != "latent" and isinstance(self.base, Checkpoint):
            yield f"a base from a folder is for net: latent; net: {self.net} takes {{pretrain: public}}"
        if self.finetune != "full" and self.base is None:
            yield f"finetune: {self.finetune} needs a `base`, such as {{pretrain: public}}"
        if self.finetune == "none" and self.privacy is not None:
            yield "an untuned base holds nothing private, so there is nothing for `privacy` to protect; leave it out"

    @property
    def packages(self) -> dict[str, str]:
        """Each module of the extra `pretrained` that has to be installed → the field that requires it; {} if there is none."""
        of_finetune = {"peft": "finetune"} if self.finetune == "lora" else {}
        return of_finetune | ({"transformers": "net"} if self.net == "latent" else {})

    @property
    def learns(self) -> bool:
        return self.finetune != "none"

    @property
    def shared(self) -> Self | None:
        if self.base is None:
            return None
        kept = {"net", "width", "blocks", "components", "ema", "timesteps", "base"}
        return self.model_copy(update={name: field.default for name, field in type(self).model_fields.items() if name not in kept})

    def priced(self, sizes: Sizes) -> Net:
        """Cost parameters of the net for these sizes: for latent_mlp on principal components, else on pixels; latent counts as
        unet."""
        if self.net in ("unet", "latent"):
            return convolutions("unet", self.width, sizes.shape)
        signal = self.components if self.net == "latent_mlp" else math.prod(sizes.shape)
        weights = 2 * signal * self.width + (6 * self.blocks + 1) * self.width**2
        return dense(weights, 2 * signal + 7 * self.blocks * self.width, step=2.8e-3)

    def shared_cost(self, sizes: Sizes) -> Cost:
        if not isinstance(self.base, Pretraining):
            return Cost(10.0)  # reading a folder
        return self.priced(sizes).training(self.base.epochs * sizes.images / self.base.batch_size, self.base.batch_size)

    def cost(self, sizes: Sizes) -> Cost:
        net, steps = self.priced(sizes), self.epochs * sizes.images / self.batch_size
        if self.privacy is not None:
            return net.sample_gradients(steps, self.batch_size, self.privacy.multiplicity)
        pixels = math.prod(sizes.shape)
        basis = 1e-10 * sizes.images * pixels**2 + 2e-10 * pixels**3 if self.net == "latent_mlp" and not self.base else 0.0
        return net.training(steps, self.batch_size) + Cost(basis)


class _Diffused(Method):
    revision = 4  # guidance in the papers' convention
    compute = "generate"
    denoises = True

    paradigm: Literal["diffusion"]
    denoiser: Denoiser = Field(default_factory=Denoiser)
    """The generator; arms with the same words share it."""
    multiple: PositiveFloat = 1.0
    """Images drawn, as a multiple of the private set; its labels in its proportions."""
    steps: PositiveInt = 50
    """Denoising steps from pure noise to an image; a divisor of the denoiser's timesteps."""
    sampler: Literal["ddim", "ddpm", "dpm_solver"] = "ddim"
    """ddim: no noise is added on the way (Song et al. 2021). ddpm: all of it (Ho et al. 2020). dpm_solver: DPM-Solver++ of second
    order, for few steps (Lu et al. 2022)."""
    guidance: float = 1.0
    """s of classifier-free guidance, e_null + s · (e_label − e_null), as papers state it; 1 is the conditional model itself."""
    filter: Proportion | None = None
    """Keep only images whose label the shadow's own undefended classifier gives at least this probability."""
    released: bool = False
    """Whether the adversary also sees the set (release level `synthetic_set`) and the generator (`generator`)."""

    control: bool = False
    """Said of an arm in which nothing private can be, as with an untuned base: its leakage is what the audit finds where there is
    nothing to find. It may well learn nothing, and is no way of training to compare others with."""

    @field_validator("guidance")
    @classmethod
    def _in_the_papers_convention(cls, guidance: float) -> float:
        """The guidance unchanged; ValueError below 1, where it is taken for w of the other convention, which is s − 1."""
        if guidance < 1:
            raise ValueError(f"guidance {guidance:g}: this was w; write w + 1, here {guidance + 1:g}")
        return guidance

    @property
    def needs(self) -> tuple[str, ...]:
        return ("generator",) if self.filter is None else ("generator", "teacher")

    @property
    def generator(self) -> Denoiser:
        return self.denoiser

    def cost(self, sizes: Sizes) -> Cost:
        passes = self.passes * (2 if self.guidance > 1 else 1)
        return self.denoiser.priced(sizes).answers(self.multiple * sizes.images * passes)

    @property
    def passes(self) -> int:
        """Denoising steps for each image."""
        return self.steps

    def faults(self) -> Iterator[str]:
        if (levels := self.denoiser.timesteps) % self.steps:
            fewer = max(steps for steps in range(1, min(self.steps, levels) + 1) if levels % steps == 0)
            yield f"steps: {self.steps} does not divide the denoiser's {levels} timesteps; {fewer} does"
        if self.guidance > 1 and not self.denoiser.unlabeled:
            yield "guidance needs a denoiser that also learned without labels; set `denoiser.unlabeled` to 0.1"
        if self.filter is not None and self.denoiser.privacy is not None:
            yield "the filtering classifier has no guarantee, and the set would lose the denoiser's; leave `filter` out"
        untuned = self.denoiser.finetune == "none"
        if untuned and self.filter is not None:
            yield "the filtering classifier is private, and a control would be one no more; leave `filter` out"
        if untuned != self.control:
            hint = "say `control: true`" if untuned else "`control: true` is for `finetune: none`, which learns nothing private"
            yield f"an untuned base is a control: {hint}"


class Conditional(_Diffused):
    """Images drawn from noise for each label: the analogue of text-to-image."""

    method: Literal["conditional"]


class ImageToImage(_Diffused):
    """SDEdit: each private image is noised and denoised into a twin (Meng et al. 2022)."""

    method: Literal["sdedit"]
    strength: float = Field(gt=0, le=1)
    """Share of the noise levels that is gone through, in whole steps: near 0 copies the private image, 1 forgets it. The leakage
    dial."""

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.denoiser.finetune == "none":
            yield "sdedit begins with private images and leaks by construction: no control; use method: conditional"
        if self.denoiser.privacy is not None:
            yield "sdedit begins with private images, so `denoiser.privacy` promises nothing; leave it out"
        if self.passes < 1:
            yield f"a strength of {self.strength:g} is less than one of {self.steps} steps; take more `steps`"

    @property
    def passes(self) -> int:
        return round(self.strength * self.steps)

    @property
    def from_private_images(self) -> bool:
        return True
