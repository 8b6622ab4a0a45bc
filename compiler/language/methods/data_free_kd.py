"""Paradigm `data_free_kd`: a student is distilled from a private teacher on generated images.

All methods run one loop; they differ in how images are generated, and in the losses that the images minimise.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from compiler.language.base import Method
from compiler.language.cost import NO_NET, Cost, Net, Sizes, convolutions
from compiler.language.methods.inversion import Losses


class DataFree(Method):
    """Fields of every data-free distillation. The teacher is the undefended classifier of the same shadow."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("teacher",)

    gives_student = True
    compute = "rounds"

    revision = 3

    paradigm: Literal["data_free_kd"]
    losses: Losses
    """What images are improved by."""
    rounds: PositiveInt = 60
    """Turns of inventing a batch of images and teaching the student."""
    warm_up: NonNegativeInt = 0
    """Rounds before the student begins to learn, and the adversarial loss to count."""
    student_steps: PositiveInt = 20
    """Steps of the student in each round."""
    batch_size: int = Field(default=128, gt=1)
    """Images in a batch, the inventor's and the student's."""
    lesson: Literal["kl", "l1"] = "kl"
    """What teacher and student are compared by. kl: divergence at a temperature. l1: mean absolute difference of logits."""
    temperature: PositiveFloat = 4.0
    """Of the student's divergence."""
    student_lr: PositiveFloat = 0.1
    """Peak learning rate of the student (SGD, momentum 0.9, weight decay 5e-4); a cosine to zero over all its steps."""
    shift: NonNegativeInt | None = None
    """Largest shift of an image on its way to teacher and student; null: an eighth of its side. Mirrored where classes allow."""
    labels: Literal["hard", "soft"] = "hard"
    """Of the released images: the teacher's choice, or its probabilities."""

    @property
    def needs_batch_norm(self) -> bool:
        return self.losses.statistics > 0

    @property
    @abstractmethod
    def tries(self) -> int:
        """Optimisation steps of the generated images, or of their generator, in each round."""

    def inventor(self, sizes: Sizes) -> Net:
        """Cost parameters of the generator; `NO_NET` where pixels are optimised directly."""
        return NO_NET

    def cost(self, sizes: Sizes) -> Cost:
        nets = 2 if self.losses.adversarial else 1  # that judge
        judged = sizes.net.training(self.tries * nets, self.batch_size) + self.inventor(sizes).training(self.tries, self.batch_size)
        taught = sizes.net.training(self.student_steps, self.batch_size) + sizes.net.answers(self.student_steps * self.batch_size)
        return (judged + taught) * self.rounds

    def faults(self) -> Iterator[str]:
        if self.warm_up >= self.rounds:
            yield f"a warm-up of {self.warm_up} rounds leaves none of {self.rounds} to learn in; lower `warm_up`"
        weights = self.losses.model_dump()
        if self.warm_up and not any(weight for loss, weight in weights.items() if loss != "adversarial"):
            yield f"in a warm-up of {self.warm_up} rounds there is no student to play against; use `warm_up: 0`"


class _Generated(DataFree):
    """Images from a small convolutional generator."""

    generator_steps: PositiveInt = 2
    """Steps of the generator in each round."""
    generator_lr: PositiveFloat = 5e-3
    """Learning rate of the generator (Adam)."""
    width: PositiveInt = 32
    """Channels of its last layer but one; the papers take 64."""
    latent: PositiveInt = 64
    """Length of its input; the papers take 256 to 1000."""

    @property
    def tries(self) -> int:
        return self.generator_steps

    def inventor(self, sizes: Sizes) -> Net:
        return convolutions("generator", self.width, sizes.shape)


class Inversion(_Generated):
    """A generator that is tuned to fresh latents each round; its best batch joins a growing pool that the student learns from
    (Fang et al. 2022 without the meta-learning, statistics alone: the form that Aerni et al. 2024 audited)."""

    method: Literal["inversion"]
    losses: Losses = Field(default_factory=lambda: Losses(statistics=1.0))
    """What images are improved by; the audited form has the statistics alone."""
    warm_up: NonNegativeInt = 10
    """Rounds before the student begins to learn: the pool's beginning."""


class Fast(_Generated):
    """As `inversion`, with a generator that is meta-learned to adapt in few steps: a copy takes them, and their gradients update
    the generator (Fang et al. 2022, first-order MAML)."""

    method: Literal["fast"]
    losses: Losses = Field(default_factory=lambda: Losses(statistics=10.0, one_hot=0.4, adversarial=1.1))
    warm_up: NonNegativeInt = 10
    """Rounds before the student begins to learn: the pool's beginning."""


class DeepInversion(DataFree):
    """Pixels are optimised directly, batch after batch, and join a pool that the student learns from (Yin et al. 2020; with
    `adversarial` its adaptive form)."""

    method: Literal["deep_inversion"]
    losses: Losses = Field(default_factory=lambda: Losses(statistics=10.0, one_hot=1.0, total_variation=0.1))
    rounds: PositiveInt = 12
    """Batches of images; the student learns after each."""
    student_steps: PositiveInt = 80
    """Steps of the student after each batch."""
    pixel_steps: PositiveInt = 60
    """Steps of each batch's pixels; the paper takes 2,000."""
    pixel_lr: PositiveFloat = 0.05
    """Learning rate of the pixels (Adam), in normalised grey levels."""

    @property
    def tries(self) -> int:
        return self.pixel_steps


class Online(_Generated):
    """Steps of a generator alternate with steps of the student on fresh images from it."""

    rounds: PositiveInt = 150
    """Turns of generator and student."""
    student_steps: PositiveInt = 6
    generator_steps: PositiveInt = 1
    generator_lr: PositiveFloat = 1e-3
    replay: float = Field(default=0.0, ge=0, le=1)
    """Share of the student's steps on images of earlier rounds; the papers have none, and their students forget."""

    def cost(self, sizes: Sizes) -> Cost:
        return super().cost(sizes) + self.inventor(sizes).answers(self.rounds * self.student_steps * self.batch_size)


class Dafl(Online):
    """The generator learns images on which the teacher is confident, balanced over classes; not adversarial (Chen et al. 2019)."""

    method: Literal["dafl"]
    losses: Losses = Field(default_factory=lambda: Losses(one_hot=1.0, balance=20.0, activation=0.001))


class Zskt(Online):
    """The generator maximises the divergence between student and teacher (Micaelli and Storkey 2019, without attention maps)."""

    method: Literal["zskt"]
    losses: Losses = Field(default_factory=lambda: Losses(adversarial=1.0))


class Dfad(Online):
    """As `zskt`, with the absolute difference of logits, whose gradient does not vanish where both are confident (Fang et al.
    2019)."""

    method: Literal["dfad"]
    losses: Losses = Field(default_factory=lambda: Losses(adversarial=1.0))
    lesson: Literal["kl", "l1"] = "l1"


class Dfq(Online):
    """The generator combines four losses: the teacher's confidence, balance over classes, its BatchNorm statistics, and the
    adversarial loss (Choi et al. 2020)."""

    method: Literal["dfq"]
    losses: Losses = Field(default_factory=lambda: Losses(one_hot=1.0, balance=20.0, statistics=1.0, adversarial=1.0))
