"""Data-free knowledge distillation: a student learns from a private teacher on images that are invented for it.

One loop, several methods. With a pool (`inversion`, `fast`, `deep_inversion`), each round invents a batch,
and the student learns from all batches so far. Online (`dafl`, `zskt`, `dfad`, `dfq`), generator and student take turns.
The last student counts, never the best on any data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.language.methods.data_free_kd import DataFree, DeepInversion, Fast, Inversion, Online
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged, Metric
from runtime.store import checkpoint
from runtime.store.artifacts import Artifact
from runtime.synthesize.data_free_kd.generators import BETAS, Pixels, Tuned, new_generator
from runtime.synthesize.data_free_kd.losses import Critic, difference, divergence, usual_shift
from runtime.synthesize.release import Release, Setting
from runtime.training import nets


@dataclass(frozen=True)
class Rounds:
    """How a method makes its rounds."""

    one: Callable[[int], float]
    """Index of a round → the student's mean loss in it."""
    parts: dict[str, checkpoint.Part]
    """What changes from round to round, besides lesson and pool."""


def synthesize(how: DataFree, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """Invent images, teach the student. `private` is not looked at: all that is private comes through the teacher."""
    teacher = nets.placed(nets.restored(setting.recipe, setting.card, needs["teacher"].tensors("model")), setting.device)
    lesson = Lesson(how, teacher, setting)
    pool = Pool(how, setting)
    rounds = online(how, lesson, pool, setting) if isinstance(how, Online) else pooled(how, lesson, pool, setting)
    last = torch.zeros((), dtype=torch.float64)
    for turn in checkpoint.loop(f"data_free_kd/{how.method}", how.rounds, **lesson.parts, **rounds.parts, pool=pool, last=last):
        loss = rounds.one(turn)
        last.fill_(loss)
        if not math.isfinite(loss):
            raise Diverged(f"the student's loss is {loss} in round {turn + 1}; lower student_lr ({how.student_lr:g})")

    answers = torch.cat([lesson.taught(part) for part in pool.images.split(512)]).softmax(1).cpu()
    classes = answers.argmax(1)
    same = "share of invented images to which teacher and student give the same answer"
    metrics = (
        Metric("student_agreement", lesson.agreement(pool.images), n=len(classes), note=same),
        Metric("classes_invented", float(len(classes.unique())), n=len(classes)),
        Metric("images_seen", float(lesson.seen), n=1),
    )
    labels = classes if how.labels == "hard" else answers
    return Release(pool.images, labels, student=lesson.student.state_dict(), metrics=metrics, notes={"loss_last": last.item()})


class Pool:
    """The batches so far, as grey levels 0..255."""

    def __init__(self, how: DataFree, setting: Setting) -> None:
        self.space = torch.empty(how.rounds * how.batch_size, *setting.card.shape, dtype=torch.uint8)
        self.filled = 0
        self.batch_size, self.device = how.batch_size, setting.device
        self.order = setting.seeds(f"data_free_kd/{how.method}/pool order")

    @property
    def images(self) -> Tensor:
        """n × channels × height × width, uint8."""
        return self.space[: self.filled]

    def state(self) -> dict[str, Tensor]:
        return {"images": self.images, "order": self.order.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.filled = len(state["images"])
        self.space[: self.filled] = state["images"]
        self.order.set_state(state["order"])

    def add(self, batch: Tensor) -> None:
        """Keep a batch of grey levels 0..1."""
        self.space[self.filled : self.filled + len(batch)] = (batch.detach() * 255).round().to(torch.uint8).cpu()
        self.filled += len(batch)

    def draw(self) -> Tensor:
        """A random batch, grey levels 0..1, on the device."""
        rows = torch.randint(self.filled, (self.batch_size,), generator=self.order)
        return self.space[rows].to(self.device).float() / 255


class Lesson:
    """Teacher and student of one shadow, and what images are judged by."""

    def __init__(self, how: DataFree, teacher: nets.Classifier, setting: Setting) -> None:
        self.how, self.card, self.teacher = how, setting.card, teacher
        name = f"data_free_kd/{how.method}"
        shift = usual_shift(setting.card) if how.shift is None else how.shift
        self.critic = Critic(teacher, how.losses, setting.card, shift, setting.seeds(f"{name}/shifts"))
        # A stream of its own: a student that began where the teacher did would inherit more than knowledge.
        student = nets.build(setting.recipe, setting.card, setting.seeds(f"{name}/student init"))
        self.student = nets.placed(student, setting.device)
        weights = self.student.parameters()
        self.optimizer = torch.optim.SGD(weights, lr=how.student_lr, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
        total = (how.rounds - how.warm_up) * how.student_steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / total))
        self.seen = torch.zeros((), dtype=torch.int64)

    @property
    def parts(self) -> dict[str, checkpoint.Part]:
        """What changes as the student learns."""
        return {
            "student": self.student, "student_optimizer": self.optimizer, "schedule": self.schedule, "seen": self.seen,
            "shifts": self.critic.moves, "statistics": self.critic.statistics,
        }

    def badness(self, images: Tensor, wanted: Tensor | None, against_student: bool) -> Tensor:
        """How bad images (grey levels 0..1) are, a scalar. `wanted`: their classes; None: whatever the teacher sees in them."""
        loss, x, answer = self.critic(images, wanted)
        if self.how.losses.adversarial and against_student:
            loss = loss - self.how.losses.adversarial * self._game(x, answer)
        return loss

    def _game(self, x: Tensor, answer: Tensor) -> Tensor:
        """How far the student's reply is from the teacher's answer; in pools only where both choose the same class."""
        online = isinstance(self.how, Online)
        self.student.train(online)
        reply = self.student(x)
        apart = difference(answer, reply) if self.how.lesson == "l1" else divergence(answer, reply, 1.0)
        return apart.mean() if online else (apart * (answer.argmax(1) == reply.argmax(1))).mean()

    def teach(self, images: Tensor) -> float:
        """One step of the student; its loss before."""
        x = self.critic.shown(images)
        with torch.no_grad():
            answer = self.teacher(x)
        self.student.train()
        reply = self.student(x)
        apart = difference(answer, reply) if self.how.lesson == "l1" else divergence(answer, reply, self.how.temperature)
        loss = apart.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.seen += len(images)
        return loss.item()

    @torch.no_grad()
    def taught(self, images: Tensor) -> Tensor:
        """n × classes: what the teacher answers."""
        return self.teacher(nets.normalise(images.to(self.teacher.head.weight.device), self.card))

    @torch.no_grad()
    def agreement(self, images: Tensor) -> float:
        """Share of images on which student and teacher give the same answer."""
        self.student.eval()
        same = 0
        for part in images.split(512):
            reply = self.student(nets.normalise(part.to(self.teacher.head.weight.device), self.card))
            same += int((reply.argmax(1) == self.taught(part).argmax(1)).sum())
        return same / len(images)


def pooled(how: DataFree, lesson: Lesson, pool: Pool, setting: Setting) -> Rounds:
    """Each round: one batch more, then the student's steps on all so far."""
    name = f"data_free_kd/{how.method}"
    draws, classes = setting.seeds(f"{name}/latents"), setting.seeds(f"{name}/classes")
    turn_now = 0

    def judge(images: Tensor, wanted: Tensor) -> Tensor:
        return lesson.badness(images, wanted, against_student=turn_now >= how.warm_up)

    inventor: Tuned | Pixels
    if isinstance(how, DeepInversion):
        inventor = Pixels(how, setting.card, judge, draws, setting.device)
    else:
        assert isinstance(how, Inversion | Fast)
        generator = new_generator(how.latent, how.width, setting.card, setting.seeds(f"{name}/generator init"), setting.device)
        inventor = Tuned(how, generator, judge, draws)

    def one(turn: int) -> float:
        nonlocal turn_now
        turn_now = turn
        wanted = torch.randint(setting.card.classes, (how.batch_size,), generator=classes).to(setting.device)
        pool.add(inventor.invent(wanted))
        if how.losses.statistics and not isinstance(how, DeepInversion):   # its batches are large enough to be judged alone
            lesson.critic.statistics.keep()
        return _mean(lesson.teach(pool.draw()) for _ in range(how.student_steps)) if turn >= how.warm_up else 0.0

    return Rounds(one, {"latents": draws, "classes": classes, **inventor.parts})


def online(how: Online, lesson: Lesson, pool: Pool, setting: Setting) -> Rounds:
    """Each round: the generator's steps, then the student's on fresh images, some of them looking back into the pool."""
    name = f"data_free_kd/{how.method}"
    draws = setting.seeds(f"{name}/latents")
    generator = new_generator(how.latent, how.width, setting.card, setting.seeds(f"{name}/generator init"), setting.device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=how.generator_lr, betas=BETAS, fused=True)

    @torch.no_grad()
    def fresh() -> Tensor:
        return generator(generator.latents(how.batch_size, draws))

    def one(turn: int) -> float:
        for _ in range(how.generator_steps):
            badness = lesson.badness(generator(generator.latents(how.batch_size, draws)), None, against_student=turn >= how.warm_up)
            optimizer.zero_grad(set_to_none=True)
            badness.backward()
            optimizer.step()
        pool.add(fresh())
        if turn < how.warm_up:
            return 0.0
        looks_back = [math.floor((step + 1) * how.replay) > math.floor(step * how.replay) for step in range(how.student_steps)]
        return _mean(lesson.teach(pool.draw() if back else fresh()) for back in looks_back)

    return Rounds(one, {"latents": draws, "generator": generator, "generator_optimizer": optimizer})


def _mean(losses: Iterable[float]) -> float:
    found = list(losses)
    return sum(found) / len(found)
