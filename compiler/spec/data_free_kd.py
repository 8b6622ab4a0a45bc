"""Paradigm `data_free_kd`: a student learns from a private teacher on invented images (methods.md section 7)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compiler.spec.base import Method


class DataFree(Method):
    """What every data-free distillation has in common. Teacher: the undefended classifier of the same shadow."""

    needs: ClassVar[tuple[str, ...]] = ("teacher",)
    gives_student: ClassVar[bool] = True

    paradigm: Literal["data_free_kd"]
    rounds: int = Field(default=60, gt=0)
    """Turns of inventing images and teaching the student."""
    generator_steps: int = Field(default=2, gt=0)
    """Steps of the generator in each round."""
    student_steps: int = Field(default=20, gt=0)
    """Steps of the student in each round."""
    batch_size: int = Field(default=128, gt=0)
    width: int = Field(default=32, gt=0)
    """Channels of the generator's last layer but one."""
    latent: int = Field(default=64, gt=0)
    """Length of the generator's input."""
    generator_lr: float = Field(default=5e-3, gt=0)
    temperature: float = Field(default=4.0, gt=0)
    """Of the distillation loss."""
    student_lr: float = Field(default=0.1, gt=0)
    """Peak learning rate of the student (SGD, momentum 0.9); a cosine to zero over all rounds."""
    released: bool = False
    """Whether the adversary also sees the invented images (release level `synthetic_set`)."""


class Inversion(DataFree):
    """Invert the teacher's BatchNorm statistics into a growing pool of images.

    The form that was audited in Aerni et al. 2024, after Fang et al. 2022, with only the statistics in its loss.
    """

    needs_batch_norm: ClassVar[bool] = True

    method: Literal["inversion"]
    one_hot: float = Field(default=0.0, ge=0)
    """Weight of the teacher's confidence in a random class (DAFL's and DeepInversion's term); 0 in the audited form."""
    warm_up: int = Field(default=10, ge=0)
    """Rounds before the student begins to learn."""


class Adversarial(DataFree):
    """A generator that looks for images on which student and teacher disagree (Micaelli and Storkey 2019; Fang et al. 2019).

    With `statistics`, one-hot and balance terms it is DFQ (Choi et al. 2020); with none of them ZSKT's and DFAD's game.
    """

    method: Literal["adversarial"]
    one_hot: float = Field(default=1.0, ge=0)
    """Weight of the teacher's confidence in its own answer; 0 is the purely adversarial form."""
    balance: float = Field(default=5.0, ge=0)
    """Weight of the entropy of the mean answer (DAFL): keeps every class in play."""
    adversarial: float = Field(default=1.0, ge=0)
    """Weight of the disagreement."""
    statistics: float = Field(default=1.0, ge=0)
    """Weight of the distance to the teacher's BatchNorm statistics; 0 for a teacher that has none."""
    replay: float = Field(default=0.5, ge=0, le=1)
    """Share of the student's steps on images of earlier rounds; without any it forgets them."""


DataFreeKd = Annotated[Inversion | Adversarial, Field(discriminator="method")]
