"""DP-SGD: per-sample gradients by torch.func, Poisson sampling, clipping, Gaussian noise, and its accountant.

Abadi et al. 2016; augmentation multiplicity and the average of weights from De et al. 2022. Neighbouring
sets differ by one image added or removed. The sampling rate is batch size / expected size of the private set, a constant of the
study and no secret; sums are divided by the expected batch size, never by the drawn one.
Not here: private tuning (whoever picks a recipe by looking at many spends more than is reported), cryptographic noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from compiler.errors import SynthcError
from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from compiler.language.methods.baselines import Privacy
from runtime.outcome import Diverged, Metric
from runtime.seeds import Seeds
from runtime.store import checkpoint
from runtime.training.batches import Average, Batch, Examples, Fitted, pace
from runtime.training.nets import Classifier

MOST_IMAGES = 256
MOST_NUMBERS = 2**27
"""Of images in one forward pass, and of gradients held at once (512 MB). Fashion-MNIST, 29,000 weights, one core: 2,700 images per
second in parts of 256, 2,100 in parts of 64."""

VACUOUS = 100.0
"""Above this epsilon a guarantee says nothing that a person could use: e^100 : 1 odds."""

Accountant = Literal["pld", "rdp"]


@dataclass(frozen=True)
class Spent:
    """What a training gives away: (epsilon, delta) for one image added or removed, by this accountant."""

    epsilon: float | None
    """None when it is above 1e6."""
    delta: float
    accountant: Accountant
    noise_multiplier: float
    sampling_rate: float
    steps: int

    @property
    def note(self) -> str:
        size = "> 1e6, vacuous; " if self.epsilon is None else "vacuous; " if self.epsilon > VACUOUS else ""
        return (
            f"{size}delta {self.delta:g}, one image added or removed, Poisson sampling at rate {self.sampling_rate:.4g}, "
            f"{self.steps} steps, noise multiplier {self.noise_multiplier:.4g}, accountant {self.accountant}"
        )


def fit_privately(
    net: Classifier, images: Tensor, labels: Tensor, *, recipe: Recipe, privacy: Privacy, iterations: int, expected: int,
    card: Card, seeds: Seeds, device: torch.device, purpose: str,
) -> tuple[Fitted, Spent]:
    """Train `net` in place for `iterations` noisy steps; `expected` is the expected size of the private set."""
    _refuse_batch_norm(net)
    rate = min(1.0, recipe.batch_size / expected)
    sigma = privacy.noise_multiplier
    if sigma is None:
        sigma = noise_for(privacy.epsilon or 0.0, privacy.delta, rate, iterations)
    started = time.perf_counter()
    net.to(device).train()
    examples = Examples(images, labels, recipe.augment, card, device, seeds(f"{purpose}/maps"))
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}
    flat = torch.cat([parameter.flatten() for parameter in parameters.values()])
    velocity = torch.zeros_like(flat)
    noise = seeds(f"{purpose}/noise")
    average = Average(net, recipe.ema) if recipe.ema is not None else None
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    seen = torch.zeros((), dtype=torch.int64)

    batches = poisson(len(labels), rate, privacy.multiplicity, recipe, iterations, seeds, purpose)
    steps = checkpoint.loop(
        purpose, iterations, net=net, flat=flat, velocity=velocity, noise=noise, average=average, seen=seen, maps=examples.maps
    )
    for step, batch in zip(steps, islice(batches, steps.start, None)):   # noqa: B905 (the loop tells when it is over)
        with half:
            chunks = _chunks(examples, batch, privacy.multiplicity, together(parameters, privacy.multiplicity))
            total, _ = clipped_sum(classification_loss(net), parameters, chunks, privacy.clip, device)
        total += (sigma * privacy.clip) * torch.randn(len(flat), generator=noise).to(device)
        direction = total / (rate * expected) + recipe.weight_decay * flat
        velocity.mul_(recipe.momentum).add_(direction)
        stepped = direction + recipe.momentum * velocity if recipe.momentum else direction
        flat -= recipe.lr * pace(recipe.schedule, step, iterations) * stepped
        _unflatten(flat, parameters)
        if average is not None:
            average.update()
        seen += len(batch.rows)
    if not torch.isfinite(flat).all():
        raise Diverged(f"weights are not finite after {iterations} steps of DP-SGD")
    if average is not None:
        average.give()
    seconds = time.perf_counter() - started
    return Fitted(net, int(seen), seconds, None), spent(sigma, privacy.delta, rate, iterations)


def poisson(
    samples: int, rate: float, multiplicity: int, recipe: Recipe, iterations: int, seeds: Seeds, purpose: str
) -> Iterator[Batch]:
    """Every sample independently with probability `rate` at each step: batches of any size, empty ones too.

    A sample is listed `multiplicity` times in a row, each with its own shift and mirror; `turn` is the step.
    """
    chosen, moves = seeds(f"{purpose}/poisson"), seeds(f"{purpose}/augment")
    span = 2 * recipe.augment.shift + 1
    for step in range(iterations):
        rows = (torch.rand(samples, generator=chosen) < rate).nonzero()[:, 0].repeat_interleave(multiplicity)
        down, right = torch.randint(span, (2, len(rows)), generator=moves)
        mirror = torch.randint(2, (len(rows),), generator=moves).bool()
        yield Batch(rows, torch.full_like(rows, step), down, right, mirror)


def together(parameters: dict[str, Tensor], multiplicity: int) -> int:
    """How many samples' gradients are computed at once."""
    weights = sum(parameter.numel() for parameter in parameters.values())
    return max(1, min(MOST_IMAGES // multiplicity, MOST_NUMBERS // weights))


def _chunks(examples: Examples, batch: Batch, multiplicity: int, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch in parts of so many samples: samples × copies × image, and labels."""
    rows = samples * multiplicity
    for first in range(0, len(batch.rows), rows):
        x, y = examples.presented(batch[first : first + rows])
        # Channels last does not survive the split into copies: torch would take the samples of a strided convolution one by one.
        yield x.contiguous().unflatten(0, (-1, multiplicity)), y[::multiplicity]


Loss = Callable[..., Tensor]
"""(weights by name, one sample's tensors …) → that sample's loss, a scalar."""


def classification_loss(net: nn.Module) -> Loss:
    """Cross-entropy of one sample, the mean over its copies."""

    def loss(weights: dict[str, Tensor], copies: Tensor, label: Tensor) -> Tensor:
        out = functional_call(net, weights, (copies,))
        return F.cross_entropy(out.float(), label.expand(len(copies), *label.shape))

    return loss


def clipped_sum(
    loss: Loss, parameters: dict[str, Tensor], chunks: Iterable[tuple[Tensor, ...]], clip: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Sum over samples of their gradients, each scaled down to norm `clip` over all parameters together (flat, float32), and
    the sum of their losses, which is private: for logs that stay with the audit."""
    total = [torch.zeros(parameter.numel(), device=device) for parameter in parameters.values()]
    lost = torch.zeros((), device=device)
    for chunk in chunks:
        each, losses = per_sample_gradients(loss, parameters, *chunk)
        gradients = [gradient.flatten(1) for gradient in each.values()]
        norm = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
        scale = (clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        for into, gradient in zip(total, gradients, strict=True):
            into += scale @ gradient
        lost += losses.sum()
    return torch.cat(total), lost


def per_sample_gradients(loss: Loss, parameters: dict[str, Tensor], *samples: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient of each sample's loss (samples × the shape of each parameter), and the losses. Samples lie along the first axis."""
    return vmap(grad_and_value(loss), in_dims=(None, *[0] * len(samples)))(parameters, *samples)


def _unflatten(flat: Tensor, parameters: dict[str, Tensor]) -> None:
    """Write the flat vector into the parameters, in place."""
    at = 0
    for parameter in parameters.values():
        parameter.copy_(flat[at : at + parameter.numel()].view_as(parameter))
        at += parameter.numel()


def _refuse_batch_norm(net: nn.Module) -> None:
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        raise SynthcError("DP-SGD: batch norm mixes samples, so no sample's gradient is its own; use `norm: group`")


@lru_cache(maxsize=64)
def spent(noise_multiplier: float, delta: float, rate: float, steps: int) -> Spent:
    """What `steps` of DP-SGD give away: by PLD where the figure is real, by RDP where it is vacuous, as PLD's grids grow with it.

    Noise so small that the accountant overflows, or none at all, gives None: "> 1e6, vacuous".
    """
    bound = _epsilon("rdp", noise_multiplier, delta, rate, steps) if noise_multiplier > 0 else math.inf
    accountant: Accountant = "rdp"
    if bound <= VACUOUS:
        accountant, bound = "pld", min(bound, _epsilon("pld", noise_multiplier, delta, rate, steps))
    return Spent(bound if bound <= 1e6 else None, delta, accountant, noise_multiplier, rate, steps)


@lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Smallest noise multiplier (to 0.1 %) whose PLD epsilon is at most `epsilon`."""
    if epsilon > VACUOUS:
        raise SynthcError(f"DP-SGD: an epsilon of {epsilon:g} promises nothing; give the noise itself with `noise_multiplier`")
    low, high = 0.0, 0.5
    while _epsilon_within(high, delta, rate, steps, epsilon) > epsilon:
        low, high = high, 2 * high
        if high > 1e6:
            raise SynthcError(f"DP-SGD: no noise gives epsilon {epsilon:g} at delta {delta:g} over {steps} steps")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _epsilon_within(middle, delta, rate, steps, epsilon) <= epsilon else (middle, high)
    return high


def _epsilon_within(noise_multiplier: float, delta: float, rate: float, steps: int, target: float) -> float:
    """PLD epsilon; where the RDP bound is far above the target, that bound, which is enough to say "too little noise"."""
    bound = _epsilon("rdp", noise_multiplier, delta, rate, steps)
    return bound if bound > 2 * target + 10 else _epsilon("pld", noise_multiplier, delta, rate, steps)


def _epsilon(accountant: Accountant, noise_multiplier: float, delta: float, rate: float, steps: int) -> float:
    """dp_accounting's answer for add/remove neighbours; infinity where its arithmetic overflows."""
    import logging
    import warnings

    import dp_accounting
    from dp_accounting import pld, rdp

    neighbours = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    made: dict[Accountant, Any] = {
        "rdp": lambda: rdp.RdpAccountant(neighboring_relation=neighbours),
        "pld": lambda: pld.PLDAccountant(neighboring_relation=neighbours, value_discretization_interval=1e-3),
    }
    logging.getLogger("absl").setLevel(logging.ERROR)   # of orders left out of a minimum, which is then larger, never too small
    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")   # overflow is expected here, and answered below
        try:
            found = made[accountant]().compose(dp_accounting.SelfComposedDpEvent(step, steps)).get_epsilon(delta)
        except (OverflowError, ValueError, FloatingPointError):
            return math.inf
    return float(found) if math.isfinite(found) else math.inf


def metrics(what: Spent) -> Iterator[Metric]:
    """The guarantee as rows; every assumption in the note."""
    yield Metric("epsilon", what.epsilon, n=what.steps, note=what.note)
    yield Metric("delta", what.delta, n=what.steps)
    yield Metric("noise_multiplier", what.noise_multiplier, n=what.steps)
