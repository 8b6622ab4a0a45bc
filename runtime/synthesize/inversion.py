"""Data-free knowledge distillation: a student learns from a private teacher on images that a generator invents.

One loop, two methods (methods.md section 7). `inversion`: the generator imitates the teacher's BatchNorm statistics and its
best batches join a growing pool that the student learns from (Fang et al. 2022, as audited by Aerni et al. 2024).
`adversarial`: the generator looks for images on which student and teacher disagree (Micaelli and Storkey 2019; Fang et al.
2019), kept sensible by DAFL's terms (Chen et al. 2019). The last student counts, never the best on any data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.spec.data_free_kd import Adversarial, DataFree, Inversion
from runtime import nets
from runtime.artifacts import Artifact
from runtime.data import LabeledImages
from runtime.outcome import Diverged, Metric
from runtime.synthesize.release import Release, Setting

BLEND = 0.9
"""Weight of earlier batches in the statistics that the generator matches (Aerni et al. 2024, code)."""


def synthesize(how: Inversion | Adversarial, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """Invent images, teach the student. `private` is not looked at: all that is private comes through the teacher."""
    started = time.perf_counter()
    teacher = nets.restored(setting.recipe, setting.card, needs["teacher"].tensors("model")).to(setting.device)
    lesson = Lesson(how, teacher, setting)
    pool = [images for turn in range(how.rounds) for images in lesson.round(turn)]
    images = torch.cat(pool)
    with torch.no_grad():
        labels = torch.cat([teacher(nets.normalise(part.to(setting.device), setting.card)).argmax(1).cpu() for part in images.split(512)])
    agreement = lesson.agreement(images)
    metrics = (
        Metric("student_agreement", agreement, n=len(images), note="share of the invented images on which student and teacher agree"),
        Metric("classes_invented", float(len(labels.unique())), n=len(labels)),
        Metric("images_seen", float(lesson.images_seen), n=1),
        Metric("lesson_seconds", time.perf_counter() - started, n=1),
    )
    return Release(images, labels, student=lesson.student.state_dict(), metrics=metrics)


class Generator(nn.Module):
    """latent → image in 0..1: two doublings from a quarter of the size (methods.md section 7.1)."""

    def __init__(self, latent: int, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, wide = shape
        self.small = (2 * width, math.ceil(height / 4), math.ceil(wide / 4))
        self.shape = shape
        self.first = nn.Linear(latent, math.prod(self.small))
        self.body = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        drawn = self.body(self.first(z).reshape(-1, *self.small))
        return drawn[..., : self.shape[1], : self.shape[2]]


@dataclass
class Statistics:
    """What one BatchNorm layer of the teacher sees, and what it saw of the private data."""

    layer: nn.BatchNorm2d
    mean: Tensor | None = None
    variance: Tensor | None = None
    blended: tuple[Tensor, Tensor] | None = None
    """Running blend of earlier batches."""

    def see(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Forward pre-hook."""
        x = inputs[0]
        self.mean, self.variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)

    def distance(self) -> Tensor:
        """||mean - running mean|| + ||variance - running variance||, blended with earlier batches."""
        assert self.mean is not None
        assert self.variance is not None
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        mean, variance = self.mean, self.variance
        if self.blended is not None:
            mean = BLEND * self.blended[0] + (1 - BLEND) * mean
            variance = BLEND * self.blended[1] + (1 - BLEND) * variance
        return (mean - self.layer.running_mean).norm() + (variance - self.layer.running_var).norm()

    def keep(self) -> None:
        """Blend this batch into what later ones are judged with."""
        assert self.mean is not None
        assert self.variance is not None
        mean, variance = self.mean.detach(), self.variance.detach()
        if self.blended is not None:
            mean, variance = BLEND * self.blended[0] + (1 - BLEND) * mean, BLEND * self.blended[1] + (1 - BLEND) * variance
        self.blended = mean, variance


class Lesson:
    """Teacher, student and generator of one shadow, and the pool of images so far."""

    def __init__(self, how: DataFree, teacher: nets.Classifier, setting: Setting) -> None:
        self.how, self.teacher, self.setting = how, teacher.eval().requires_grad_(False), setting
        name = f"data_free_kd/{type(how).__name__}"
        self.draws, self.order = setting.seeds(f"{name}/latents"), setting.seeds(f"{name}/pool order")
        self.statistics = [Statistics(layer) for layer in teacher.modules() if isinstance(layer, nn.BatchNorm2d)]
        for statistics in self.statistics:
            statistics.layer.register_forward_pre_hook(statistics.see)
        # A stream of its own: a student that began where the teacher did would inherit more than knowledge.
        self.student = nets.build(setting.recipe, setting.card, setting.seeds(f"{name}/student init")).to(setting.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seeds(f"{name}/generator init").initial_seed())
            self.generator = Generator(how.latent, how.width, setting.card.shape).to(setting.device)
        self.pool: list[Tensor] = []
        self.images_seen = 0
        taught = how.rounds - getattr(how, "warm_up", 0)
        self.total = max(1, taught * how.student_steps)
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=how.student_lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * min(step, self.total) / self.total)
        )
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=how.generator_lr, betas=(0.5, 0.999))

    def round(self, turn: int) -> list[Tensor]:
        """Invent, then teach; the images (uint8) that joined the pool."""
        if isinstance(self.how, Inversion):
            fresh = self._invert(self.how)
            self.pool.append(fresh)
            if turn >= self.how.warm_up:
                for _ in range(self.how.student_steps):
                    self._teach(self._from_pool())
            return [fresh]
        assert isinstance(self.how, Adversarial)
        for _ in range(self.how.generator_steps):
            self._provoke(self.how)
        with torch.no_grad():
            images = self.generator(self._latents())
        self.pool.append(_stored(images))
        for step in range(self.how.student_steps):
            # Evenly spread over the round: `replay` of the steps look back.
            looks_back = math.floor((step + 1) * self.how.replay) > math.floor(step * self.how.replay)
            if not looks_back:
                with torch.no_grad():
                    images = self.generator(self._latents())
            self._teach(self._from_pool() if looks_back else images)
        return self.pool[-1:]

    @torch.no_grad()
    def agreement(self, images: Tensor) -> float:
        """Share of images on which student and teacher give the same answer."""
        self.student.eval()
        same = 0
        for part in images.split(512):
            x = nets.normalise(part.to(self.setting.device), self.setting.card)
            same += int((self.student(x).argmax(1) == self.teacher(x).argmax(1)).sum())
        return same / len(images)

    def _invert(self, how: Inversion) -> Tensor:
        """Fresh latents, a few steps of latents and generator together; the batch with the lowest loss."""
        latents = self._latents().requires_grad_(True)
        optimizer = torch.optim.Adam(
            [{"params": self.generator.parameters()}, {"params": [latents], "lr": 3 * how.generator_lr}], lr=how.generator_lr, betas=(0.5, 0.999)
        )
        wanted = torch.randint(self.setting.card.classes, (how.batch_size,), generator=self.draws).to(self.setting.device)
        best: tuple[float, Tensor] | None = None
        for _ in range(how.generator_steps):
            images = self.generator(latents)
            answer = self.teacher(nets.normalise(self._moved(images), self.setting.card))
            loss = torch.stack([statistics.distance() for statistics in self.statistics]).sum()
            if how.one_hot:
                loss = loss + how.one_hot * F.cross_entropy(answer, wanted)
            if best is None or loss.item() < best[0]:
                best = loss.item(), _stored(images)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        for statistics in self.statistics:
            statistics.keep()
        assert best is not None
        if not math.isfinite(best[0]):
            raise Diverged(f"the inversion's loss is {best[0]}")
        return best[1]

    def _provoke(self, how: Adversarial) -> None:
        """One step of the generator towards images on which student and teacher disagree."""
        x = nets.normalise(self._moved(self.generator(self._latents())), self.setting.card)
        self.student.train()
        answer, reply = self.teacher(x), self.student(x)
        loss = how.one_hot * F.cross_entropy(answer, answer.argmax(1)) + how.balance * negative_entropy(answer)
        loss = loss - how.adversarial * disagreement(answer, reply)
        if how.statistics and self.statistics:
            loss = loss + how.statistics * torch.stack([statistics.distance() for statistics in self.statistics]).sum()
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.generator_optimizer.step()

    def _teach(self, images: Tensor) -> None:
        x = nets.normalise(self._moved(images), self.setting.card)
        with torch.no_grad():
            answer = self.teacher(x)
        self.student.train()
        loss = distillation(answer, self.student(x), self.how.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.images_seen += len(images)
        if self.schedule.last_epoch % 200 == 0 and not math.isfinite(loss.item()):
            raise Diverged(f"the student's loss is {loss.item()}")

    def _from_pool(self) -> Tensor:
        """A random batch of the pool, grey levels 0..1."""
        size = self.how.batch_size
        which = torch.randint(len(self.pool) * size, (size,), generator=self.order)
        rows = [self.pool[int(row) // size][int(row) % size] for row in which]
        return torch.stack(rows).to(self.setting.device).float() / 255

    def _moved(self, images: Tensor) -> Tensor:
        """One random shift (and mirror, where classes allow it) for the whole batch: between generator and teacher."""
        limit = max(1, self.setting.card.shape[1] // 8)
        down, right = (int(torch.randint(-limit, limit + 1, (), generator=self.order)) for _ in range(2))
        moved = F.pad(images, (limit,) * 4)[..., limit - down :, limit - right :][..., : images.shape[2], : images.shape[3]]
        mirrored = self.setting.card.flips and bool(torch.randint(2, (), generator=self.order))
        return moved.flip(3) if mirrored else moved

    def _latents(self) -> Tensor:
        return torch.randn(self.how.batch_size, self.how.latent, generator=self.draws).to(self.setting.device)


def distillation(answer: Tensor, reply: Tensor, temperature: float) -> Tensor:
    """tau² KL(teacher || student) at temperature tau (Hinton et al. 2015)."""
    return temperature**2 * F.kl_div(
        (reply / temperature).log_softmax(1), (answer / temperature).log_softmax(1), reduction="batchmean", log_target=True
    )


def disagreement(answer: Tensor, reply: Tensor) -> Tensor:
    """Mean absolute difference of the logits (DFAD, Fang et al. 2019): unlike KL it does not fade where both are sure."""
    return (answer - reply).abs().mean()


def negative_entropy(answer: Tensor) -> Tensor:
    """sum p log p of the mean answer (DAFL): smallest when every class is invented equally often."""
    mean = answer.softmax(1).mean(0)
    return (mean * mean.clamp(min=1e-12).log()).sum()


def _stored(images: Tensor) -> Tensor:
    return (images.detach() * 255).round().to(torch.uint8).cpu()
