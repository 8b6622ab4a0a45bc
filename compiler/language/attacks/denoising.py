"""Attacks on a released denoiser."""

from typing import Literal

from compiler.language.attacks.base import DenoisingSignal, Spread, Tried


class Denoising(Tried):
    """A denoiser's errors on a canary (release level `generator`), scored by LiRA or by one threshold; diffusion only."""

    revision = 1  # has signals
    compute = "denoising"
    reads = ("generator",)
    looks_at = "a denoiser"

    attack: Literal["denoising"]
    signal: DenoisingSignal = "mean_loss"
    """Larger where the denoiser knows the canary better. mean_loss: minus its mean error over 32 levels of little noise. loss: at
    one level, 5 noises (CDI). vector: at ten levels, 5 noises each, one likelihood ratio for each level. pia, secmi, sima: minus
    the logarithm of what the papers take: the change of the noise at no noise under itself (Kong et al. 2024), the error of going
    up and back (Duan et al. 2023), the length of the noise seen in the image itself (Rao et al. 2025). gap: by how much the label
    lowers the error (Zhai et al. 2024)."""
    variant: Spread | Literal["threshold", "minus_base"] = "pooled"
    """per_example, pooled, student_t: a LiRA, with its spread. threshold: one for all canaries, as papers without shadows have it.
    minus_base: the same, of the signal minus that of the untuned base, which under LiRA cancels: it is the same for all shadows."""
