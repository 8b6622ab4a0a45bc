"""Data-free knowledge distillation: a student learns from a private teacher on images that are generated for it.

One loop for several methods. With a pool (`inversion`, `fast`, `deep_inversion`), each round generates a batch, and the student is
trained on all batches so far. Online (`dafl`, `zskt`, `dfad`, `dfq`), generator and student are trained alternately. The result is
the last student; none is selected on data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from compiler.language.methods.data_free_kd import DataFree, DeepInversion, Fast, Inversion, Online
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged, Metric
from runtime.store import checkpoint
from runtime.store.artifacts import Inputs
from runtime.synthesize.data_free_kd.generators import ADAM_BETAS, OptimizedPixels, TunedGenerator, new_generator
from runtime.synthesize.data_free_kd.losses import Critic, default_shift, difference, divergence
from runtime.synthesize.release import Release, Setting
from runtime.training import nets
from runtime.training.batches import half_cosine

Rounds = tuple[Callable[[int], float], checkpoint.Parts]
"""A function that runs one round (index → the student's mean loss), and the state that it changes besides student and pool."""


def synthesize(how: DataFree, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """Generate images and train the student against the classifier of the need `teacher`. The release has one batch of uint8 images
    of each round, labelled by the teacher (classes, or probabilities for `labels: soft`), and the student.

    `private` is not read: the release depends on it through the teacher alone. Metrics: `student_agreement` with the teacher on
    these images, `classes_invented`, and `images_seen` by the student. Note `loss_last`: the student's mean loss in the last round.
    Diverged if the student's loss in a round is not finite, and as of `pooled_rounds`; other errors as of `Artifact.tensors`.
    """
    teacher = nets.to_device(nets.restored(setting.recipe, setting.card, needs["teacher"].tensors("model")), setting.device)
    trainer = StudentTrainer(how, teacher, setting)
    pool = Pool(how, setting)
    run, changing = (online_rounds if isinstance(how, Online) else pooled_rounds)(how, trainer, pool, setting)
    parts = trainer.parts | changing | pool.parts
    for turn in (rounds := checkpoint.loop(f"data_free_kd/{how.method}", how.rounds, **parts)):
        loss = run(turn)
        if turn >= how.warm_up:
            rounds.log(torch.tensor(loss, dtype=torch.float64))
        if not math.isfinite(loss):
            raise Diverged(f"the student's loss is {loss} in round {turn + 1}; lower student_lr ({how.student_lr:g})")

    answers, replies = (_logits(net, pool.images, setting) for net in (teacher, trainer.student.eval()))
    soft, classes = answers.softmax(1).cpu(), answers.argmax(1).cpu()
    agreement = (replies.argmax(1).cpu() == classes).to(torch.float64).mean().item()
    same = "share of invented images to which teacher and student give the same answer"
    metrics = (
        Metric("student_agreement", agreement, n=len(classes), note=same),
        Metric("classes_invented", float(len(classes.unique())), n=len(classes)),
        Metric("images_seen", float(trainer.seen), n=1),
    )
    labels = classes if how.labels == "hard" else soft
    return Release(
        pool.images, labels, student=trainer.student.state_dict(), metrics=metrics, notes={"loss_last": rounds.losses[-1].item()}
    )


@torch.no_grad()
def _logits(net: nets.Classifier, images: Tensor, setting: Setting) -> Tensor:
    """n × classes, on the device: logits of uint8 images, in the net's current mode."""
    return torch.cat([net(nets.normalise(part.to(setting.device), setting.card)) for part in images.split(512)])


class Pool:
    """The generated images that are released, as uint8: one batch for each round. Further batches of the online methods are not
    kept."""

    def __init__(self, how: DataFree, setting: Setting) -> None:
        self.space = torch.empty(how.rounds * how.batch_size, *setting.card.shape, dtype=torch.uint8)
        self.filled = torch.zeros((), dtype=torch.int64)
        self.batch_size, self.device = how.batch_size, setting.device
        self.order = setting.seeds(f"data_free_kd/{how.method}/pool order")
        self.parts: checkpoint.Parts = {"pool": self.space, "filled": self.filled, "order": self.order}

    @property
    def images(self) -> Tensor:
        """n × channels × height × width, uint8, on the CPU: a view of the images added so far."""
        return self.space[: self.filled]

    def add(self, batch: Tensor) -> None:
        """Add a batch of images in grey levels 0..1, which are rounded to uint8."""
        self.space[self.filled : self.filled + len(batch)] = (batch.detach() * 255).round().to(torch.uint8).cpu()
        self.filled += len(batch)

    def draw(self) -> Tensor:
        """`batch_size` images drawn with replacement from those added so far, in grey levels 0..1, on the device."""
        rows = torch.randint(len(self.images), (self.batch_size,), generator=self.order)
        return self.space[rows].to(self.device).float() / 255


class StudentTrainer:
    """Teacher and student of one shadow, with the losses of generator and student."""

    def __init__(self, how: DataFree, teacher: nets.Classifier, setting: Setting) -> None:
        self.how, self.teacher = how, teacher
        name = f"data_free_kd/{how.method}"
        shift = default_shift(setting.card) if how.shift is None else how.shift
        self.critic = Critic(teacher, how.losses, setting.card, shift, setting.seeds(f"{name}/shifts"))
        # A random stream of its own, so that the student does not start from the teacher's initial weights.
        student = nets.build(setting.recipe, setting.card, setting.seeds(f"{name}/student init"))
        self.student = nets.to_device(student, setting.device)
        weights = self.student.parameters()
        self.optimizer = torch.optim.SGD(weights, lr=how.student_lr, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
        self.total = (how.rounds - how.warm_up) * how.student_steps
        self.seen = torch.zeros((), dtype=torch.int64)

    @property
    def parts(self) -> checkpoint.Parts:
        """Name → state to save in a checkpoint: student, optimizer, number of images seen, and of the teacher's losses the random
        stream of shifts and the averaged statistics."""
        return {
            "student": self.student,
            "student_optimizer": self.optimizer,
            "seen": self.seen,
            "shifts": self.critic.moves,
            "statistics": self.critic.statistics.earlier,
        }

    def image_loss(self, images: Tensor, wanted: Tensor | None, against_student: bool) -> Tensor:
        """The generator's loss, a scalar, of images in grey levels 0..1: that of `Critic`, minus, if `against_student`, the
        weighted disagreement of teacher and student (`_adversarial_loss`). `wanted`: their classes; None: those that the teacher
        predicts."""
        loss, x, answer = self.critic(images, wanted)
        if self.how.losses.adversarial and against_student:
            loss = loss - self.how.losses.adversarial * self._adversarial_loss(x, answer)
        return loss

    def _adversarial_loss(self, x: Tensor, answer: Tensor) -> Tensor:
        """Mean disagreement of teacher and student, which the generator maximises; for methods that are not online, images whose
        predicted classes differ count as 0. Puts the student into train mode for online methods, else into eval mode.

        `x`: images as input of the nets; `answer`: the teacher's logits.
        """
        online = isinstance(self.how, Online)
        self.student.train(online)
        reply = self.student(x)
        apart = self._disagreement(answer, reply, 1.0)
        return apart.mean() if online else (apart * (answer.argmax(1) == reply.argmax(1))).mean()

    def _disagreement(self, answer: Tensor, reply: Tensor, temperature: float) -> Tensor:
        return difference(answer, reply) if self.how.lesson == "l1" else divergence(answer, reply, temperature)

    def step(self, images: Tensor) -> float:
        """One SGD step of the student towards the teacher's answers on images in grey levels 0..1, moved at random, with a
        half-cosine learning rate; returns the mean loss before the step. Leaves the student in train mode."""
        x = self.critic.prepare(images)
        with torch.no_grad():
            answer = self.teacher(x)
        self.student.train()
        loss = self._disagreement(answer, self.student(x), self.how.temperature).mean()
        made = int(self.seen) // self.how.batch_size
        self.optimizer.param_groups[0]["lr"] = self.how.student_lr * half_cosine(made, self.total)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.seen += len(images)
        return loss.item()


def pooled_rounds(how: DataFree, trainer: StudentTrainer, pool: Pool, setting: Setting) -> Rounds:
    """Rounds that each generate one batch and add it to the pool, then train the student on random batches of the pool. In the
    warm-up the student is not trained, the adversarial loss is left out, and a round gives the loss 0. If the losses have
    `statistics` and the method is not `deep_inversion`, a round also blends the statistics of the last images that it tried into
    their moving average. A round raises Diverged as of `_best`."""
    name = f"data_free_kd/{how.method}"
    draws, classes = setting.seeds(f"{name}/latents"), setting.seeds(f"{name}/classes")
    source: TunedGenerator | OptimizedPixels
    if isinstance(how, DeepInversion):
        source = OptimizedPixels(how, setting.card, draws, setting.device)
    else:
        assert isinstance(how, Inversion | Fast)
        generator = new_generator(how.latent, how.width, setting.card, setting.seeds(f"{name}/generator init"), setting.device)
        source = TunedGenerator(how, generator, draws)

    def run(turn: int) -> float:
        wanted = torch.randint(setting.card.classes, (how.batch_size,), generator=classes).to(setting.device)
        pool.add(source.generate(wanted, partial(trainer.image_loss, against_student=turn >= how.warm_up)))
        if how.losses.statistics and not isinstance(how, DeepInversion):  # its batches are large enough without averaging
            trainer.critic.statistics.blend()
        return _mean(trainer.step(pool.draw()) for _ in range(how.student_steps)) if turn >= how.warm_up else 0.0

    return run, {"latents": draws, "classes": classes, **source.parts}


def online_rounds(how: DataFree, trainer: StudentTrainer, pool: Pool, setting: Setting) -> Rounds:
    """Rounds that each train the generator, then the student on new images and, for the share `replay` of steps, on the pool. One
    batch of each round is added to the pool. In the warm-up the student is not trained, the adversarial loss is left out, and a
    round gives the loss 0."""
    assert isinstance(how, Online)
    name = f"data_free_kd/{how.method}"
    draws = setting.seeds(f"{name}/latents")
    generator = new_generator(how.latent, how.width, setting.card, setting.seeds(f"{name}/generator init"), setting.device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=how.generator_lr, betas=ADAM_BETAS, fused=True)

    def generate() -> Tensor:
        return generator(generator.latents(how.batch_size, draws))

    fresh = torch.no_grad()(generate)

    def run(turn: int) -> float:
        for _ in range(how.generator_steps):
            loss = trainer.image_loss(generate(), None, against_student=turn >= how.warm_up)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        pool.add(fresh())
        if turn < how.warm_up:
            return 0.0
        looks_back = [math.floor((step + 1) * how.replay) > math.floor(step * how.replay) for step in range(how.student_steps)]
        return _mean(trainer.step(pool.draw() if back else fresh().detach()) for back in looks_back)

    return run, {"latents": draws, "generator": generator, "generator_optimizer": optimizer}


def _mean(losses: Iterable[float]) -> float:
    found = list(losses)
    return sum(found) / len(found)
