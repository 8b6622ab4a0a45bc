"""Paradigm `diffusion`: a denoiser trained on the private set draws the training set."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compiler.spec.base import Frozen, Method


class Denoiser(Frozen):
    """The generator: a class-conditional denoiser trained from scratch on the private set (Ho et al. 2020, cosine schedule)."""

    revision: ClassVar[int] = 1

    net: Literal["mlp", "unet"] = "mlp"
    """mlp: residual blocks on the pixels, for images of a few hundred. unet: diffusers' UNet2DModel, for a GPU."""
    width: int = Field(default=256, gt=0)
    """Units of the mlp's blocks; channels of the unet's first level (a multiple of 8)."""
    blocks: int = Field(default=3, gt=0)
    """Residual blocks of the mlp; levels of the unet."""
    epochs: float = Field(default=300, gt=0)
    """Passes over the private set."""
    batch_size: int = Field(default=256, gt=0)
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW; a cosine to zero."""
    ema: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the average of the weights that is sampled from, warmed up; without one samples are poor."""
    timesteps: int = Field(default=1000, gt=1)
    """Noise levels."""
    unlabeled: float = Field(default=0.1, ge=0, lt=1)
    """Share of presentations without a label; guidance needs it."""


class _Diffused(Method):
    needs: ClassVar[tuple[str, ...]] = ("generator",)
    denoises: ClassVar[bool] = True
    outside_work: ClassVar[tuple[str, ...]] = ("released",)

    paradigm: Literal["diffusion"]
    denoiser: Denoiser = Denoiser()
    """The generator; arms with the same words share it."""
    steps: int = Field(default=50, gt=0)
    """Denoising steps of DDIM (Song et al. 2021)."""
    guidance: float = Field(default=0.0, ge=0)
    """Weight of classifier-free guidance (Ho and Salimans 2022); 0 is the conditional model itself."""
    released: bool = False
    """Whether the adversary also sees the set (release level `synthetic_set`) and the generator (`generator`)."""

    @property
    def generator(self) -> Denoiser:
        return self.denoiser


class Conditional(_Diffused):
    """Images drawn from noise for each label: the analogue of text-to-image."""

    method: Literal["conditional"]
    multiple: float = Field(default=1.0, gt=0)
    """Images drawn, as a multiple of the private set; its labels in its proportions."""


class ImageToImage(_Diffused):
    """SDEdit: each private image is noised and denoised into a twin (Meng et al. 2022)."""

    method: Literal["sdedit"]
    strength: float = Field(gt=0, le=1)
    """Share of the noise levels that is gone through: near 0 copies the private image, 1 forgets it. The leakage dial."""

    @property
    def from_private_images(self) -> bool:
        return True


Diffusion = Annotated[Conditional | ImageToImage, Field(discriminator="method")]
