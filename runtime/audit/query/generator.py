"""Queries a denoiser about the canaries: the signals of published attacks on diffusion models.

Noise levels and noises are common to all shadows (common random numbers), so that signals differ only by the models. LARGER MEANS
MORE MEMBER-LIKE. Signals that are norms are logarithms: the order stays, and they come nearer to the normal distribution that LiRA
fits.
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
"""Shares of the noise levels between which `mean_loss` averages: little noise, where members differ most."""
MEAN_NOISES = 32
"""Noise levels of `mean_loss` and `gap`, with one noise each."""
NOISES = 5
"""Noises per level in `loss` and `vector` (CDI)."""
LEVELS = 10
"""Noise levels of `vector` (CDI)."""
EARLY, LATER = 0.1, 0.2
"""Level as a share of all levels: EARLY of `loss`, `secmi` and `sima`, LATER of `pia` (CDI: 100 and 200 of 1,000)."""
STEPS = 10
"""DDIM steps by which SecMI reaches its level: the published 100 by steps of 10. (The authors' program compares at 90, a step
before.)

On 16 mlp denoisers of digits under another seed the AUC of LiRA on fourfold canaries was 0.53 [0.47, 0.58] there; 0.88 at level
20 in one step, 0.87 at 50 in one step, 0.57 at 200 by steps of 20, 0.87 at 500 by steps of 100, where members have the larger
error (docs/pretrained.md). The published setting stays, as it does for the other signals; none is chosen on nets that it judges."""
POWER = 4
"""The p of the p-norm by which PIA and SimA measure a vector."""


@dataclass(frozen=True)
class Probe:
    """A denoiser and the canaries, encoded, that it is queried about. `seed`: of the noises."""

    net: Net
    scheduler: Any
    signals: Tensor
    """canary × channels × height × width, or a latent's shape: what the denoiser adds noise to."""
    labels: Tensor
    seed: int

    @property
    def top(self) -> int:
        """The number of noise levels."""
        return int(self.scheduler.config.num_train_timesteps)

    def at(self, level: int) -> Tensor:
        """canary, int64: the noise level, repeated."""
        return torch.full((len(self.labels),), level, device=self.signals.device)

    def noises(self, use: str) -> Iterator[Tensor]:
        """Yield standard normal noises of the signals' shape, without end. Each call yields the same ones again: they depend on the
        seed, the signals' shape and `use` (a name) alone, not on the denoiser."""
        draws = generator(self.seed, None, use)
        while True:
            yield torch.randn(self.signals.shape, generator=draws).to(self.signals.device)

    def errors(self, level: int, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """canary, float64, on the CPU: mean squared error of the noise that the denoiser predicts where `noise` (of the signals'
        shape) is added up to `level`, under `labels` (default: the canaries' own)."""
        labels = self.labels if labels is None else labels
        return denoising_errors(self.net, self.scheduler, self.signals, noise, self.at(level), labels).double().cpu()

    def predicted(self, signals: Tensor, level: int) -> Tensor:
        """As the signals: the noise that the denoiser predicts for them, taken to be at `level`, under the canaries' labels."""
        return self.net(signals, self.at(level), self.labels)


def perform(work: QueryGenerator, inputs: Inputs, device: torch.device) -> Product:
    """Query the denoiser of the need `generator`; without this need the unchanged base (need `base`).

    File `answers`: for each signal its name → canary (the groups one after the other), float64, for `vector` `vector/0` to
    `vector/9`, one for each noise level; with `work.base`, if the denoiser has a base, the same of the base under names that begin
    with `base/`. Note `one_model`, true, only where the base was not tuned, so that all shadows query the same model. Corrupt where
    a file of the needs is damaged; errors as of `roles_of`, `surroundings` and `restored`.
    """
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
        probe = Probe(net, new_scheduler(work.how, levels=net.levels), net.encoded(images), labels, population.seed)
        answers |= {f"{prefix}{name}": values for name, values in measured(probe, work.signals)}
    return Product({"answers": answers}, notes={} if work.how.learns else {"one_model": True})


@torch.inference_mode()
def measured(probe: Probe, signals: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """Yield pairs of a name and values (canary, float64): for a signal with one value per canary one pair, under the signal's name;
    for `vector` one pair for each noise level, `vector/0` and so on. KeyError for a name not in SIGNALS."""
    for name in signals:
        found = SIGNALS[name](probe)
        if found.dim() == 1:
            yield name, found
        else:
            yield from ((f"{name}/{level}", values) for level, values in enumerate(found))


def audited_levels(top: int) -> list[int]:
    """The MEAN_NOISES noise levels over which `mean_loss` averages, ascending: spread evenly from the one to the other share
    AUDITED_LEVELS of `top` (the number of all levels), both included, and rounded down; they repeat where `top` is small."""
    low, high = (share * top for share in AUDITED_LEVELS)
    levels: list[int] = torch.linspace(low, high, MEAN_NOISES).long().tolist()
    return levels


def mean_loss(probe: Probe, labels: Tensor | None = None) -> Tensor:
    """canary: minus the mean denoising error over the `audited_levels`, with one noise each, under `labels` (default: the canaries'
    own)."""
    pairs = zip(audited_levels(probe.top), probe.noises("denoising query"), strict=False)
    return -torch.stack([probe.errors(level, noise, labels) for level, noise in pairs]).mean(0)


def gap(probe: Probe) -> Tensor:
    """canary: mean denoising error without the label (under the class for "no label") minus that with it: conditional overfitting
    (Zhai et al. 2024); levels and noises as in `mean_loss`."""
    return mean_loss(probe) - mean_loss(probe, torch.full_like(probe.labels, len(probe.net.classes.weight) - 1))


def loss(probe: Probe) -> Tensor:
    """canary: minus the denoising error at the share `EARLY` of the levels, mean over `NOISES` noises."""
    return -_mean_error(probe, round(EARLY * probe.top))


def vector(probe: Probe) -> Tensor:
    """level × canary: minus the denoising error, mean over `NOISES` noises, at LEVELS levels, ascending in equal steps from 0."""
    return -torch.stack([_mean_error(probe, level * probe.top // LEVELS) for level in range(LEVELS)])


def _mean_error(probe: Probe, level: int) -> Tensor:
    """canary: denoising error at the noise level `level` (an index), mean over `NOISES` noises."""
    pairs = zip(range(NOISES), probe.noises(f"denoising query/level {level}"), strict=False)
    return torch.stack([probe.errors(level, noise) for _, noise in pairs]).mean(0)


def pia(probe: Probe) -> Tensor:
    """canary: minus `_log_length`, with p = POWER, of the difference between two predictions of noise: at level 0 on the canary
    itself, and on the canary with that first prediction added as noise up to the share LATER of the levels (Kong et al. 2024,
    PIA)."""
    level = round(LATER * probe.top)
    seen = probe.predicted(probe.signals, 0)
    again = probe.predicted(probe.scheduler.add_noise(probe.signals, seen, probe.at(level)), level)
    return -_log_length(again - seen, POWER)


def secmi(probe: Probe) -> Tensor:
    """canary: minus `_log_length`, with p = 2, of the error of one deterministic DDIM step up and back, from the level that STEPS
    equal steps reach: the share EARLY of the levels, rounded to a multiple of STEPS and at least STEPS (Duan et al. 2023, SecMI).
    But for a factor of the schedule, it is how much the predicted noise changes over that step. IndexError with fewer than 12 noise
    levels, which a study's check refuses."""
    stride = max(1, round(EARLY * probe.top / STEPS))
    there = probe.signals
    for step in range(STEPS):
        there = _moved(probe, there, step * stride, (step + 1) * stride)
    above = _moved(probe, there, STEPS * stride, (STEPS + 1) * stride)
    return -_log_length(_moved(probe, above, (STEPS + 1) * stride, STEPS * stride) - there, 2)


def _moved(probe: Probe, signals: Tensor, level: int, to: int) -> Tensor:
    """The signals moved from noise level `level` to level `to`, in either direction, by one DDIM step with the noise that the
    denoiser predicts at `level`."""
    noise, kept = probe.predicted(signals, level), probe.scheduler.alphas_cumprod[level]
    clean = (signals - (1 - kept).sqrt() * noise) / kept.sqrt()
    return probe.scheduler.add_noise(clean, noise, probe.at(to))


def sima(probe: Probe) -> Tensor:
    """canary: minus `_log_length`, with p = POWER, of the noise predicted for the canary without noise added, taken to be at the
    share EARLY of the levels (Rao et al. 2025, SimA): one query."""
    return -_log_length(probe.predicted(probe.signals, round(EARLY * probe.top)), POWER)


def _log_length(vectors: Tensor, power: int) -> Tensor:
    """canary, float64, on the CPU: log of Σ |x|^power over each canary's vector, which is `power` times the log of its p-norm with
    p = `power`; a sum below the least normal float64 is replaced by that."""
    return vectors.flatten(1).double().abs().pow(power).sum(1).clamp(min=torch.finfo(torch.float64).tiny).log().cpu()


SIGNALS: dict[str, Callable[[Probe], Tensor]] = {
    "mean_loss": mean_loss,
    "loss": loss,
    "vector": vector,
    "pia": pia,
    "secmi": secmi,
    "sima": sima,
    "gap": gap,
}
"""Name of a signal → the function that gives it: canary, or level × canary; float64."""
