"""Asking a denoiser about the canaries: the signals of published attacks on diffusion models.

Levels and noises are common to all shadows (common random numbers), so that models differ only by what they learned. All signals
are larger where the canary looks more like a member; those of lengths are logarithms, which keeps their order and brings them
nearer to the normal curve that a LiRA lays through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.language.methods.diffusion import Denoiser
from compiler.work.operations import QueryGenerator
from runtime.data.population.roles import roles_of
from runtime.outcome import Product
from runtime.seeds import generator
from runtime.store.artifacts import Inputs
from runtime.synthesize.diffusion.bases import restored
from runtime.synthesize.diffusion.denoisers import Net
from runtime.synthesize.diffusion.process import denoising_errors, new_scheduler
from runtime.synthesize.operation import surroundings

AUDITED_LEVELS = (0.05, 0.3)
"""Between these shares of the noise levels a denoiser's mean error is taken, where members differ most: little noise, but some."""
MEAN_NOISES = 32
"""Levels of `mean_loss` and `gap`, one noise each."""
NOISES = 5
"""Of each level of `loss` and `vector` (CDI)."""
LEVELS = 10
"""Of `vector` (CDI)."""
EARLY, LATER = 0.1, 0.2
"""Shares of the levels: of `loss`, `secmi` and `sima`; of `pia` (CDI's 100 and 200 of 1,000)."""
STEPS = 10
"""In which SecMI goes up to its level."""
POWER = 4
"""To which PIA and SimA take a vector's entries."""


@dataclass(frozen=True)
class Asked:
    """A denoiser and what it is asked about."""

    net: Net
    scheduler: Any
    signals: Tensor
    """n × the shape of a signal."""
    labels: Tensor
    seed: int

    @property
    def top(self) -> int:
        """The number of noise levels."""
        return int(self.scheduler.config.num_train_timesteps)

    def at(self, level: int) -> Tensor:
        """The level, for each canary."""
        return torch.full((len(self.labels),), level, device=self.signals.device)

    def noises(self, use: str) -> Iterator[Tensor]:
        """One after another, the same for every denoiser."""
        draws = generator(self.seed, None, use)
        while True:
            yield torch.randn(self.signals.shape, generator=draws).to(self.signals.device)

    def errors(self, level: int, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """n, float64: mean squared error of the predicted noise."""
        labels = self.labels if labels is None else labels
        return denoising_errors(self.net, self.scheduler, self.signals, noise, self.at(level), labels).double().cpu()

    def predicted(self, signals: Tensor, level: int) -> Tensor:
        """The noise that the denoiser sees in these signals."""
        return self.net(signals, self.at(level), self.labels)


def perform(work: QueryGenerator, inputs: Inputs, device: torch.device) -> Product:
    """File `answers`: canary, float64, for each signal asked for (`vector/0` … for each level), and under `base/` the base's.
    Note `one_model`: every shadow asks the same untuned base."""
    assert isinstance(work.how, Denoiser)
    population = work.private.population
    around = surroundings(work.private, device, inputs.get("base"))
    groups = roles_of(population).groups
    images = torch.cat([group.images for group in groups]).to(device)
    labels = torch.cat([group.labels for group in groups]).to(device)
    nets = {"": restored(work.how, inputs.get("generator"), around)}
    if work.base and work.how.base is not None:
        nets["base/"] = restored(work.how, None, around)
    answers: dict[str, Tensor] = {}
    for prefix, net in nets.items():
        asked = Asked(net, new_scheduler(work.how, levels=net.levels), net.encoded(images), labels, population.seed)
        answers |= {f"{prefix}{name}": values for name, values in measured(asked, work.signals)}
    return Product({"answers": answers}, notes={} if work.how.learns else {"one_model": True})


@torch.inference_mode()
def measured(asked: Asked, signals: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """Each signal by its name, n, float64."""
    for name in signals:
        found = SIGNALS[name](asked)
        if found.dim() == 1:
            yield name, found
        else:
            yield from ((f"{name}/{level}", values) for level, values in enumerate(found))


def audited_levels(top: int) -> list[int]:
    """The levels of the mean error."""
    low, high = (share * top for share in AUDITED_LEVELS)
    levels: list[int] = torch.linspace(low, high, MEAN_NOISES).long().tolist()
    return levels


def mean_loss(asked: Asked, labels: Tensor | None = None) -> Tensor:
    """Minus the mean error over levels of little noise."""
    pairs = zip(audited_levels(asked.top), asked.noises("denoising query"), strict=False)
    return -torch.stack([asked.errors(level, noise, labels) for level, noise in pairs]).mean(0)


def gap(asked: Asked) -> Tensor:
    """The mean error without the label minus that with it: conditional overfitting (Zhai et al. 2024)."""
    return mean_loss(asked) - mean_loss(asked, torch.full_like(asked.labels, len(asked.net.classes.weight) - 1))


def loss(asked: Asked) -> Tensor:
    """Minus the error at one level."""
    return -_mean_error(asked, round(EARLY * asked.top))


def vector(asked: Asked) -> Tensor:
    """level × n: minus the error at each of ten levels, from the least noise on."""
    return -torch.stack([_mean_error(asked, level * asked.top // LEVELS) for level in range(LEVELS)])


def _mean_error(asked: Asked, level: int) -> Tensor:
    pairs = zip(range(NOISES), asked.noises(f"denoising query/level {level}"), strict=False)
    return torch.stack([asked.errors(level, noise) for _, noise in pairs]).mean(0)


def pia(asked: Asked) -> Tensor:
    """How little the noise seen at no noise changes when it is the noise (Kong et al. 2024, PIA)."""
    level = round(LATER * asked.top)
    seen = asked.predicted(asked.signals, 0)
    again = asked.predicted(asked.scheduler.add_noise(asked.signals, seen, asked.at(level)), level)
    return -_log_length(again - seen, POWER)


def secmi(asked: Asked) -> Tensor:
    """How little is lost when the canary goes up one step more and back (Duan et al. 2023, SecMI): deterministic steps of DDIM."""
    stride = max(1, round(EARLY * asked.top / STEPS))
    there = asked.signals
    for step in range(STEPS):
        there = _moved(asked, there, step * stride, (step + 1) * stride)
    above = _moved(asked, there, STEPS * stride, (STEPS + 1) * stride)
    return -_log_length(_moved(asked, above, (STEPS + 1) * stride, STEPS * stride) - there, 2)


def _moved(asked: Asked, signals: Tensor, level: int, to: int) -> Tensor:
    """The signals at another level, with the noise that the denoiser sees in them at this one."""
    noise, kept = asked.predicted(signals, level), asked.scheduler.alphas_cumprod[level]
    clean = (signals - (1 - kept).sqrt() * noise) / kept.sqrt()
    return asked.scheduler.add_noise(clean, noise, asked.at(to))


def sima(asked: Asked) -> Tensor:
    """How little noise is seen in the canary itself (Rao et al. 2025, SimA): one query."""
    return -_log_length(asked.predicted(asked.signals, round(EARLY * asked.top)), POWER)


def _log_length(vectors: Tensor, power: int) -> Tensor:
    """n, float64: log of the sum of powers. An exact zero is taken for the least number there is."""
    return vectors.flatten(1).double().abs().pow(power).sum(1).clamp(min=torch.finfo(torch.float64).tiny).log().cpu()


SIGNALS: dict[str, Callable[[Asked], Tensor]] = {
    "mean_loss": mean_loss,
    "loss": loss,
    "vector": vector,
    "pia": pia,
    "secmi": secmi,
    "sima": sima,
    "gap": gap,
}
"""Signal → n, float64, or level × n."""
