"""Mini-batches with augmentation, and the optimiser loop that plain SGD and DP-SGD share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from runtime.seeds import Seeds
from runtime.store import checkpoint
from runtime.training import siamese
from runtime.training.nets import Classifier, normalise


@dataclass(frozen=True, kw_only=True)
class Training:
    """The inputs of a classifier's training: data, recipe, number of steps, random streams, device."""

    images: Tensor
    """n × channels × height × width: uint8, or grey levels in floating point, black 0 and white 1."""
    labels: Tensor
    """n, int64; or n × classes, float32, for soft labels."""
    recipe: Recipe
    iterations: int
    card: Card
    seeds: Seeds
    device: torch.device
    purpose: str
    """Prefix of the names of the random streams; also the name of the training's checkpoints and loss curve."""

    @property
    def autocast(self) -> torch.autocast:
        """A context for forward passes in the recipe's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def stream(self, use: str) -> torch.Generator:
        """A new generator on the CPU for one use, with a seed from `seeds`, `purpose` and `use`: calls with the same use give equal
        ones."""
        return self.seeds(f"{self.purpose}/{use}")


@dataclass(frozen=True)
class Fitted:
    """A trained net, with loss, cost and log of its training."""

    net: Classifier
    images_seen: int
    """Presentations of images in training; each augmented copy of DP-SGD counts."""
    seconds: float
    loss: float | None
    """Mean training loss over the last epoch (of batches before their steps); None if it was not computed."""
    dynamics: Mapping[str, Tensor] | None = None
    """epoch × sample: `correct` (uint8), `margin` and `el2n` (float32); None if not requested."""


def lr_factor(schedule: str, step: int, steps: int) -> float:
    """The learning rate at `step` (from 0) as a share of its peak, by the schedule's value at the middle of the step,
    (step + 0.5) / steps, so that no step has a rate of 0.

    one_cycle: linear, from 0 up to 1 at a fifth of the steps, then down to 0. cosine: half a cosine from 1 to 0. Any other: 1.
    """
    done = (step + 0.5) / steps
    match schedule:
        case "one_cycle":
            return min(done / 0.2, (1 - done) / 0.8)
        case "cosine":
            return 0.5 + 0.5 * math.cos(math.pi * done)
    return 1.0


def half_cosine(step: int, steps: int) -> float:
    """Cosine decay of a learning rate: 1 at step 0, 0 at step `steps`."""
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)


@dataclass(frozen=True)
class Batch:
    """The samples of a batch and their augmentation; tensors are on the CPU."""

    rows: Tensor
    """batch, int64."""
    turn: Tensor
    """batch, int64: number of epochs in which the sample was used before (DP-SGD: the step)."""
    down: Tensor
    """batch, int64: first row of the crop from the padded image, 0..2·shift."""
    right: Tensor
    """batch, int64: first column of the crop, likewise."""
    mirror: Tensor
    """batch, bool: whether the image is mirrored."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.rows[part], self.turn[part], self.down[part], self.right[part], self.mirror[part])


def presentations(training: Training) -> Iterator[Batch]:
    """Yield full batches from successive random orders of the samples, one for each iteration. A sample may occur more than once in
    a batch that spans epochs, and does where the set is smaller than the batch."""
    samples, size = len(training.labels), training.recipe.batch_size
    order, moves = training.stream("order"), training.stream("augment")
    span = 2 * training.recipe.augment.shift + 1
    waiting = torch.empty(0, 5, dtype=torch.int64)
    turn = 0
    for _ in range(training.iterations):
        while len(waiting) < size:
            columns = [torch.randperm(samples, generator=order), torch.full((samples,), turn)]
            columns += torch.randint(span, (2, samples), generator=moves).unbind()
            columns += [torch.randint(2, (samples,), generator=moves)]
            waiting = torch.cat([waiting, torch.stack(columns, dim=1)])
            turn += 1
        batch, waiting = waiting[:size], waiting[size:]
        rows, turns, down, right, mirror = batch.unbind(1)
        yield Batch(rows, turns, down, right, mirror.bool())


class Examples:
    """Images and labels on the device; images are padded once, so that a random crop is a gather."""

    def __init__(self, training: Training) -> None:
        self.card, self.augment = training.card, training.recipe.augment
        self.maps = training.stream("maps")
        """Random stream of siamese augmentation (`augment.dsa`)."""
        self.black = siamese.black_level(self.card).to(training.device)
        shift = self.augment.shift
        padded = F.pad(training.images, (shift,) * 4).to(training.device)  # black, before normalisation, as the queries pad
        height, width = training.images.shape[2:]
        self.windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: n × c × down × right × height × width
        self.labels = training.labels.to(training.device)

    def present(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Augmented, normalised images (batch × channels × height × width) of a batch, and their labels, on the device. Draws from
        `maps` if `augment.dsa`."""
        device = self.labels.device
        rows = batch.rows.to(device)
        if self.augment.shift:
            taken = self.windows[rows, :, batch.down.to(device), batch.right.to(device)]
        else:
            taken = self.windows[rows, :, 0, 0]
        x = normalise(taken.contiguous(memory_format=torch.channels_last), self.card)
        if self.augment.flip:
            x = torch.where(batch.mirror.to(device)[:, None, None, None], x.flip(3), x)
        if self.augment.dsa:
            x = siamese.augment(x, self.card, self.maps, self.black)
        return x, self.labels[rows]


def descend(
    net: Classifier,
    training: Training,
    batches: Iterator[Batch],
    set_gradients: Callable[[int, Batch], Tensor],
    **parts: checkpoint.Part | None,
) -> None:
    """Train `net`, which is on the device, in place by the recipe's SGD, one step per batch, from the last checkpoint if there is
    one; at the end weights and running statistics are replaced by their moving average, if the recipe has one.

    `batches`: those of all steps; those before the checkpoint are skipped. `set_gradients(step, batch)`, with steps from 0, sets or
    adds to the parameters' gradients, which were cleared, and returns the loss (a scalar), which is logged. `parts`: further state
    for checkpoints.
    """
    recipe, momentum = training.recipe, training.recipe.momentum
    optimizer = torch.optim.SGD(
        net.parameters(), recipe.lr, momentum, nesterov=momentum > 0, weight_decay=recipe.weight_decay, fused=True
    )
    ema = EMA(net, recipe.ema) if recipe.ema is not None else None
    steps = checkpoint.loop(training.purpose, training.iterations, net=net, optimizer=optimizer, ema=ema, **parts)
    for step, batch in zip(steps, islice(batches, steps.start, None)):  # noqa: B905 (the loop tells when it is over)
        optimizer.zero_grad()
        loss = set_gradients(step, batch)
        optimizer.param_groups[0]["lr"] = recipe.lr * lr_factor(recipe.schedule, step, training.iterations)
        optimizer.step()
        if ema is not None:
            ema.update()
        steps.log(loss)
    if ema is not None:
        ema.copy_to_net()


class EMA(nn.Module):
    """Exponential moving average of a net's weights and running statistics (the floating-point tensors of its state), whose decay
    at step t (from 1) is at most (1 + t) / (10 + t)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay, self.steps = decay, nn.Buffer(torch.tensor(0))
        self.live = [tensor for tensor in net.state_dict().values() if tensor.is_floating_point()]
        self.kept = nn.ParameterList(nn.Parameter(tensor.clone(), requires_grad=False) for tensor in self.live)

    @torch.no_grad()
    def update(self) -> None:
        steps = int(self.steps.add_(1))
        torch._foreach_lerp_(list(self.kept), self.live, 1 - min(self.decay, (1 + steps) / (10 + steps)))

    @torch.no_grad()
    def copy_to_net(self) -> None:
        torch._foreach_copy_(self.live, list(self.kept))
