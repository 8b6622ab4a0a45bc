"""The training loops that a user would write: the other side of `train.py`. Good ones, without our tricks.

A DataLoader that fetches whole batches, so that transforms are batched; float32, the layout that torch gives, `torch.optim.SGD`
as it comes, Opacus's engine for DP-SGD. Nets, initial weights, schedule, batch and number of steps are those of the other side.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import Card
from runtime.data.images import LabeledImages
from runtime.training.batches import lr_factor


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Images that a DataLoader asks for by the batch: normalised, shifted and mirrored as batches."""

    def __init__(self, data: LabeledImages, augment: Augment, card: Card) -> None:
        self.data, self.augment = data, augment
        self.mean, self.std = (torch.tensor(constants)[:, None, None] for constants in (card.mean, card.std))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:  # Opacus looks at one to learn its shape
        x, y = self.__getitems__([row])
        return x[0], y[0]

    def __getitems__(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        x = (self.data.images[rows].to(torch.float32) / 255 - self.mean) / self.std
        if self.augment.shift:
            x = shifted(x, self.augment.shift)
        if self.augment.flip:
            x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
        return x, self.data.labels[rows]


def shifted(x: Tensor, most: int) -> Tensor:
    """Each image moved by up to `most` pixels in each direction, at once."""
    n, channels, height, width = x.shape
    padded = F.pad(x, (most,) * 4, value=float(x.min()))
    down, right = torch.randint(2 * most + 1, (2, n))
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]


def whole(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A batch was fetched as one: nothing to collate."""
    return batch


def loader(data: LabeledImages, recipe: Recipe, card: Card, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(
        Images(data, recipe.augment, card),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=whole,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def train(
    net: nn.Module, batches: DataLoader[tuple[Tensor, Tensor]], recipe: Recipe, iterations: int, device: torch.device
) -> float:
    """Train `net` in place; seconds."""
    started = time.perf_counter()
    net.to(device).train()
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(recipe.schedule, step, iterations))
    for x, y in itertools.islice(endless(batches), iterations):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x.to(device)), y.to(device), label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        schedule.step()
    loss.item()  # waits for a GPU
    return time.perf_counter() - started


def train_privately(
    net: nn.Module,
    batches: DataLoader[tuple[Tensor, Tensor]],
    recipe: Recipe,
    iterations: int,
    noise_multiplier: float,
    clip: float,
    device: torch.device,
    physical: int = 256,
) -> float:
    """The same by Opacus: its hooks, its Poisson sampling, its noise, its way to take a large batch in parts; seconds."""
    from opacus import PrivacyEngine
    from opacus.utils.batch_memory_manager import BatchMemoryManager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own hooks and generator
        started = time.perf_counter()
        optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
        model, optimizer, private = PrivacyEngine().make_private(
            module=net.to(device).train(),
            optimizer=optimizer,
            data_loader=batches,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip,
        )
        with BatchMemoryManager(data_loader=private, max_physical_batch_size=physical, optimizer=optimizer) as parts:
            steps = 0
            for x, y in endless(parts):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x.to(device)), y.to(device))
                loss.backward()
                optimizer.step()
                steps += not optimizer._is_last_step_skipped
                if steps == iterations:
                    break
        loss.item()
        return time.perf_counter() - started


def endless(batches: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass after another."""
    while True:
        yield from batches
