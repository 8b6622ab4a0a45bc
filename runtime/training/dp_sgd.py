"""DP-SGD (Abadi et al. 2016): per-sample gradients, Poisson sampling, clipping, Gaussian noise, accounting.

Augmentation multiplicity and averaging of weights are from De et al. 2022. Neighbouring sets differ by one image added or removed.
The sampling rate is batch size / expected size of the private set, a public constant of the study; sums are divided by the expected
batch size, not by the drawn one.
Not here: private hyperparameter selection (choosing a recipe by results on private data spends more epsilon than is reported),
cryptographically secure noise.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from compiler.errors import SynthcError
from compiler.language.methods.baselines import Privacy
from runtime.outcome import Diverged, Metric
from runtime.training.batches import Batch, Examples, Fitted, Training, descend
from runtime.training.gradients import Loss, classification_loss, per_sample_gradients
from runtime.training.nets import Classifier

MAX_IMAGES_AT_ONCE = 256
MAX_GRADIENT_NUMBERS_AT_ONCE = 2**27
"""Most images in one forward pass, and most numbers in the per-sample gradients at once (512 MB). Fashion-MNIST, 29,000 weights,
one core: 2,700 images per second in parts of 256, 2,100 in parts of 64."""

VACUOUS_EPSILON = 100.0
"""Above this epsilon a guarantee has no practical meaning: it allows odds of e^100."""

Accountant = Literal["rdp", "pld"]


@dataclass(frozen=True)
class Mechanism:
    """Parameters of the Poisson-sampled Gaussian mechanism of one training; all are public."""

    privacy: Privacy
    noise_multiplier: float
    sampling_rate: float
    expected_batch: float
    """Mean number of samples drawn in a step."""
    steps: int

    def set_gradients(self, net: nn.Module, loss: Loss, chunks: Iterable[tuple[Tensor, ...]], noise: torch.Generator) -> Tensor:
        """Set the gradient of each parameter that requires one to the noised sum of clipped gradients divided by the expected batch
        size. Returns the sum of the losses. `chunks`: parts of the drawn batch, as tensors with samples along the first axis.

        The losses are not privatised: they may only go to logs that are not released.
        """
        parameters, clip = trained(net), self.privacy.clip
        total, lost = clipped_sum(loss, {name: parameter.detach() for name, parameter in parameters.items()}, chunks, clip)
        total += (self.noise_multiplier * clip) * torch.randn(len(total), generator=noise).to(total.device)
        parts = (total / self.expected_batch).split([parameter.numel() for parameter in parameters.values()])
        for parameter, gradient in zip(parameters.values(), parts, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return lost

    def metrics(self) -> Iterator[Metric]:
        """Metrics `epsilon` and `delta` of all steps together, for one image added or removed, and `noise_multiplier`.

        The note of `epsilon` states the assumptions. Its value is None above 1e6, and without noise.
        """
        delta = self.privacy.delta
        epsilon, accountant = epsilon_spent(self.noise_multiplier, delta, self.sampling_rate, self.steps)
        size = "> 1e6, vacuous; " if epsilon is None else "vacuous; " if epsilon > VACUOUS_EPSILON else ""
        note = (
            f"{size}delta {delta:g}, one image added or removed, Poisson sampling at rate {self.sampling_rate:.4g}, "
            f"{self.steps} steps, noise multiplier {self.noise_multiplier:.4g}, accountant {accountant}"
        )
        yield Metric("epsilon", epsilon, n=self.steps, note=note)
        yield Metric("delta", delta, n=self.steps)
        yield Metric("noise_multiplier", self.noise_multiplier, n=self.steps)


def new_mechanism(privacy: Privacy, batch_size: int, expected_size: int, steps: int) -> Mechanism:
    """The mechanism with the declared noise multiplier, or with the one that gives the declared epsilon; errors as of
    `noise_for`. The sampling rate is batch_size / expected_size, at most 1."""
    rate = min(1.0, batch_size / expected_size)
    noise = privacy.noise_multiplier
    if noise is None:
        noise = noise_for(privacy.epsilon or 0.0, privacy.delta, rate, steps)
    return Mechanism(privacy, noise, rate, rate * expected_size, steps)


def fit_privately(net: Classifier, training: Training, mechanism: Mechanism) -> Fitted:
    """Train `net` in place by DP-SGD; it stays on the device, in train mode. The result's `loss` and `dynamics` are None.
    Diverged if weights are not finite at the end; SynthcError for batch norm."""
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        raise SynthcError("DP-SGD: batch norm mixes samples, so no sample's gradient is its own; use `norm: group`")
    started, multiplicity = time.perf_counter(), mechanism.privacy.multiplicity
    net.to(training.device).train()
    examples, noise = Examples(training), training.stream("noise")
    loss, half = classification_loss(net, training.recipe.label_smoothing), training.autocast
    seen = torch.zeros((), dtype=torch.int64)

    def set_gradients(step: int, batch: Batch) -> Tensor:
        with half:
            lost = mechanism.set_gradients(net, loss, _chunks(net, examples, batch, multiplicity), noise)
        seen.add_(len(batch))
        return multiplicity * lost / max(1, len(batch))

    batches = poisson(training, mechanism.sampling_rate, multiplicity)
    descend(net, training, batches, set_gradients, noise=noise, seen=seen, maps=examples.maps)
    if not all(parameter.isfinite().all() for parameter in net.parameters()):
        raise Diverged(f"weights are not finite after {training.iterations} steps of DP-SGD; lower lr")
    return Fitted(net, int(seen), time.perf_counter() - started, None)


def poisson(training: Training, rate: float, multiplicity: int) -> Iterator[Batch]:
    """Poisson batches: each sample is drawn independently with probability `rate` at each step, so batches vary in size and may be
    empty.

    Each sample is repeated `multiplicity` times in adjacent rows, each with an augmentation of its own; `turn` is the step.
    """
    chosen, moves = training.stream("poisson"), training.stream("augment")
    span = 2 * training.recipe.augment.shift + 1
    for step in range(training.iterations):
        rows = (torch.rand(len(training.labels), generator=chosen) < rate).nonzero()[:, 0].repeat_interleave(multiplicity)
        down, right = torch.randint(span, (2, len(rows)), generator=moves)
        mirror = torch.randint(2, (len(rows),), generator=moves).bool()
        yield Batch(rows, torch.full_like(rows, step), down, right, mirror)


def trained(net: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter, of those that require a gradient."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def samples_at_once(net: nn.Module, multiplicity: int) -> int:
    """Number of samples, at least 1, whose gradients are computed at once: limited by images (samples × multiplicity) and by
    numbers in their gradients."""
    weights = sum(parameter.numel() for parameter in trained(net).values())
    return max(1, min(MAX_IMAGES_AT_ONCE // multiplicity, MAX_GRADIENT_NUMBERS_AT_ONCE // weights))


def _chunks(net: nn.Module, examples: Examples, batch: Batch, multiplicity: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield parts of a batch whose gradients fit into memory: augmented, normalised images (sample × copy × c × h × w), and labels
    (sample)."""
    rows = samples_at_once(net, multiplicity) * multiplicity
    for first in range(0, len(batch.rows), rows):
        x, y = examples.present(batch[first : first + rows])
        # Contiguous: after the split into copies, torch would compute a channels-last strided convolution sample by sample.
        yield x.contiguous().unflatten(0, (-1, multiplicity)), y[::multiplicity]


def clipped_sum(
    loss: Loss, parameters: dict[str, Tensor], chunks: Iterable[tuple[Tensor, ...]], clip: float
) -> tuple[Tensor, Tensor]:
    """Sum over samples of gradients clipped to norm `clip` over all parameters together (one flat vector, in the order of
    `parameters` and of their type), and the sum of the losses; zeros without samples."""
    total = [parameter.new_zeros(parameter.numel()) for parameter in parameters.values()]
    lost = total[0].new_zeros(())
    for chunk in chunks:
        each, losses = per_sample_gradients(loss, parameters, *chunk)
        gradients = [gradient.flatten(1) for gradient in each.values()]
        norm = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
        scale = (clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        for into, gradient in zip(total, gradients, strict=True):
            into += scale @ gradient
        lost += losses.sum()
    return torch.cat(total), lost


@lru_cache(maxsize=64)
def epsilon_spent(noise_multiplier: float, delta: float, rate: float, steps: int) -> tuple[float | None, Accountant]:
    """Epsilon of `steps` steps, and the accountant that is named for it.

    `pld`: the smaller of the epsilons of PLD and RDP. `rdp`: that of RDP where it is above VACUOUS_EPSILON, since PLD's grid would
    be too large. Epsilon is None above 1e6, where the accountant overflows, and without noise.
    """
    bound = epsilon_of("rdp", noise_multiplier, delta, rate, steps) if noise_multiplier > 0 else math.inf
    if bound <= VACUOUS_EPSILON:
        return min(bound, epsilon_of("pld", noise_multiplier, delta, rate, steps)), "pld"
    return bound if bound <= 1e6 else None, "rdp"


@lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Smallest noise multiplier (to 5e-4) whose epsilon is at most `epsilon`, rounded up to thousandths, so that it is equal on all
    machines.

    RDP is calibrated first, in milliseconds, as an upper limit for PLD, which takes seconds and gigabytes where noise is far too
    small. RDP's result is kept where PLD's grid of 1e-3 is too coarse to improve on it (epsilon 0.01 over 10,000 steps).
    SynthcError for an `epsilon` above VACUOUS_EPSILON, and where no noise gives it.
    """
    from dp_accounting import LowerEndpointAndGuess, calibrate_dp_mechanism
    from dp_accounting.mechanism_calibration import NoBracketIntervalFoundError

    if epsilon > VACUOUS_EPSILON:
        raise SynthcError(f"DP-SGD: an epsilon of {epsilon:g} promises nothing; give the noise itself with `noise_multiplier`")

    def calibrate(accountant: Accountant, lower: float, guess: float) -> float:
        event, bracket = partial(_event, rate=rate, steps=steps), LowerEndpointAndGuess(lower, guess)
        return float(calibrate_dp_mechanism(partial(_accountant, accountant), event, epsilon, delta, bracket, tol=5e-4))

    try:
        noise = calibrate("rdp", 0.01, 1.0)
        lower = noise / 2
        while epsilon_of("pld", lower, delta, rate, steps) <= epsilon:  # PLD may need far less than half (few steps, low rates)
            lower /= 2
        noise = min(noise, calibrate("pld", lower, noise))
    except (NoBracketIntervalFoundError, ValueError) as error:
        raise SynthcError(f"DP-SGD: no noise gives epsilon {epsilon:g} at delta {delta:g} over {steps} steps") from error
    return math.ceil(1000 * noise) / 1000


def epsilon_of(accountant: Accountant, noise_multiplier: float, delta: float, rate: float, steps: int) -> float:
    """Epsilon by dp_accounting for add/remove neighbours; infinity where its arithmetic fails or gives no finite number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow is expected, and handled below
        try:
            found = _accountant(accountant).compose(_event(noise_multiplier, rate, steps)).get_epsilon(delta)
        except (OverflowError, ValueError, FloatingPointError):
            return math.inf
    return float(found) if math.isfinite(found) else math.inf


def _event(noise_multiplier: float, rate: float, steps: int) -> Any:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

    return SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise_multiplier)), steps)


def _accountant(name: Accountant) -> Any:
    from dp_accounting import NeighboringRelation, pld, rdp

    logging.getLogger("absl").setLevel(logging.ERROR)  # warnings of skipped RDP orders, without which epsilon is only larger
    neighbours = NeighboringRelation.ADD_OR_REMOVE_ONE
    return rdp.RdpAccountant(None, neighbours) if name == "rdp" else pld.PLDAccountant(neighbours, 1e-3)
