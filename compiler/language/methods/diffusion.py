"""Paradigm `diffusion`: a denoiser trained on the private set draws the training set."""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from compiler.language.base import Generator, Method
from compiler.language.cost import Cost, Net, Sizes, convolutions, dense
from compiler.language.methods.baselines import Privacy


class Denoiser(Generator):
    """The generator: a class-conditional denoiser trained from scratch on the private set (Ho et al. 2020, cosine schedule)."""

    revision: ClassVar[int] = 5  # noise levels by diffusers, in float32; EDM is gone
    paradigm: ClassVar[str] = "diffusion"
    compute: ClassVar[str] = "generate"

    net: Literal["mlp", "latent_mlp", "unet"] = "mlp"
    """mlp: residual blocks on the pixels, for images of a few hundred. latent_mlp: the same on principal components of the shadow's
    own private images, for larger ones on CPUs. unet: diffusers' UNet2DModel, for a GPU."""
    width: int = Field(default=256, gt=0)
    """Units of an mlp's blocks; channels of the unet's first level (a multiple of 8)."""
    blocks: int = Field(default=3, gt=0)
    """Residual blocks of an mlp; levels of the unet."""
    components: int = Field(default=64, gt=0)
    """Principal components that a latent_mlp sees: what else is in an image is drawn as noise of its spectrum."""
    epochs: float = Field(default=300, gt=0)
    """Passes over a set of the private set's expected size."""
    batch_size: int = Field(default=256, gt=0)
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW; a cosine to zero."""
    ema: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the average of the weights that is sampled from, warmed up; without one samples are poor."""
    timesteps: int = Field(default=1000, gt=1)
    """Noise levels."""
    unlabeled: float = Field(default=0.1, ge=0, lt=1)
    """Share of presentations without a label; guidance needs it."""
    privacy: Privacy | None = None
    """Train the denoiser by DP-SGD: whatever it draws then has the guarantee (Dockhorn et al. 2023). Labels are then drawn alike
    for all classes, and their number tells the private set's expected size, not its own."""

    @model_validator(mode="after")
    def _private_in_every_part(self) -> Self:
        if self.privacy is not None and self.net == "latent_mlp":
            raise ValueError("DP-SGD does not account for the private images' principal components; use the net mlp")
        return self

    def priced(self, sizes: Sizes) -> Net:
        """The net, on signals of images of this size."""
        if self.net == "unet":
            return convolutions("unet", self.width, sizes.shape)
        signal = self.components if self.net == "latent_mlp" else math.prod(sizes.shape)
        weights = 2 * signal * self.width + (6 * self.blocks + 1) * self.width**2
        return dense(weights, 2 * signal + 7 * self.blocks * self.width, step=2e-3)

    def cost(self, sizes: Sizes) -> Cost:
        net, steps = self.priced(sizes), self.epochs * sizes.images / self.batch_size
        if self.privacy is not None:
            return net.sample_gradients(steps, self.batch_size, self.privacy.multiplicity)
        pixels = math.prod(sizes.shape)
        basis = 1e-10 * sizes.images * pixels**2 + 2e-10 * pixels**3 if self.net == "latent_mlp" else 0.0
        return net.training(steps, self.batch_size) + Cost(basis)


class _Diffused(Method):
    revision: ClassVar[int] = 3  # diffusers' samplers: SDEdit takes the steps below its strength, not all of them
    compute: ClassVar[str] = "generate"
    denoises: ClassVar[bool] = True

    paradigm: Literal["diffusion"]
    denoiser: Denoiser = Field(default_factory=Denoiser)
    """The generator; arms with the same words share it."""
    multiple: float = Field(default=1.0, gt=0)
    """Images drawn, as a multiple of the private set; its labels in its proportions."""
    steps: int = Field(default=50, gt=0)
    """Denoising steps from pure noise to an image; a divisor of the denoiser's timesteps."""
    sampler: Literal["ddim", "ddpm"] = "ddim"
    """ddim: no noise is added on the way (Song et al. 2021). ddpm: all of it (Ho et al. 2020)."""
    guidance: float = Field(default=0.0, ge=0)
    """Weight of classifier-free guidance (Ho and Salimans 2022); 0 is the conditional model itself."""
    filter: float | None = Field(default=None, gt=0, lt=1)
    """Keep only images whose label the shadow's own undefended classifier gives at least this probability."""
    released: bool = False
    """Whether the adversary also sees the set (release level `synthetic_set`) and the generator (`generator`)."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("generator",) if self.filter is None else ("generator", "teacher")

    @property
    def generator(self) -> Denoiser:
        return self.denoiser

    def cost(self, sizes: Sizes) -> Cost:
        passes = self.passes * (2 if self.guidance else 1)
        return self.denoiser.priced(sizes).answers(self.multiple * sizes.images * passes)

    @property
    def passes(self) -> int:
        """Denoising steps that an image goes through."""
        return self.steps

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (levels := self.denoiser.timesteps) % self.steps:
            fewer = max(steps for steps in range(1, min(self.steps, levels) + 1) if levels % steps == 0)
            raise ValueError(f"steps: {self.steps} does not divide the denoiser's {levels} timesteps; {fewer} does")
        if self.guidance and not self.denoiser.unlabeled:
            raise ValueError("guidance needs a denoiser that also learned without labels; set `denoiser.unlabeled` to 0.1")
        if self.filter is not None and self.denoiser.privacy is not None:
            raise ValueError("the filtering classifier has no guarantee, and the set would lose the denoiser's; leave `filter` out")
        return self


class Conditional(_Diffused):
    """Images drawn from noise for each label: the analogue of text-to-image."""

    method: Literal["conditional"]


class ImageToImage(_Diffused):
    """SDEdit: each private image is noised and denoised into a twin (Meng et al. 2022)."""

    method: Literal["sdedit"]
    strength: float = Field(gt=0, le=1)
    """Share of the noise levels that is gone through, in whole steps: near 0 copies the private image, 1 forgets it. The leakage
    dial."""

    @model_validator(mode="after")
    def _begins_with_private_images(self) -> Self:
        if self.denoiser.privacy is not None:
            raise ValueError("sdedit begins with private images, so `denoiser.privacy` promises nothing; leave it out")
        if self.passes < 1:
            raise ValueError(f"a strength of {self.strength:g} is less than one of {self.steps} steps; take more `steps`")
        return self

    @property
    def passes(self) -> int:
        return round(self.strength * self.steps)

    @property
    def from_private_images(self) -> bool:
        return True
