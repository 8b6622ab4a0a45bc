"""Attacks on a released denoiser."""

from typing import ClassVar, Literal

from compiler.language.attacks.base import ReleaseLevel, Spread, Tried


class Denoising(Tried):
    """A LiRA on the denoiser's loss on the canary (release level `generator`): diffusion only."""

    compute: ClassVar[str] = "denoising"
    reads: ClassVar[tuple[ReleaseLevel, ...]] = ("generator",)
    looks_at: ClassVar[str] = "a denoiser"

    attack: Literal["denoising"]
    variant: Spread = "pooled"
