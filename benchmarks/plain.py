"""Plain training loops, as a user would write them, for comparison in `train.py` and `gpu.py`.

A DataLoader that fetches whole batches, so that transforms are batched; `torch.optim.SGD` as it comes, Opacus's engine for DP-SGD;
precision and layout as the caller says: float32 and the layout that torch gives, or what is known to be faster. Nets, initial
weights, schedule, batch and number of steps are those of the other side.
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
    """Collate function that returns the batch as it is, since it was fetched as one."""
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
        pin_memory=torch.cuda.is_available(),
    )


def train(
    net: nn.Module,
    batches: DataLoader[tuple[Tensor, Tensor]],
    recipe: Recipe,
    iterations: int,
    device: torch.device,
    *,
    channels_last: bool = False,
) -> float:
    """Train `net` in place, at the recipe's precision; seconds."""
    started = time.perf_counter()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(recipe.schedule, step, iterations))
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    for x, y in itertools.islice(endless(batches), iterations):
        optimizer.zero_grad()
        x, y = x.to(device, non_blocking=True, memory_format=layout), y.to(device, non_blocking=True)
        with half:
            out = net(x)
        loss = F.cross_entropy(out.float(), y, label_smoothing=recipe.label_smoothing)
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


def train_with_copies(
    net: nn.Module, data: Images, recipe: Recipe, iterations: int, copies: int, device: torch.device, physical: int = 256
) -> None:
    """DP-SGD at a noise multiplier of 1 by Opacus's hooks and optimizer, each image under several augmentations whose gradients are
    averaged before they are clipped (De et al. 2022): its engine offers no option for that."""
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own hooks
        model = GradSampleModule(net.to(device).train())
        rate = min(1.0, recipe.batch_size / len(data))
        plainly = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
        optimizer = DPOptimizer(plainly, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=recipe.batch_size)
        for _ in range(iterations):
            parts = (torch.rand(len(data)) < rate).nonzero()[:, 0].split(max(1, physical // copies))
            for number, rows in enumerate(parts):
                if not len(rows):  # no image was drawn; its engine would add noise alone
                    continue
                x, y = data.__getitems__(rows.repeat_interleave(copies))  # type: ignore[arg-type]
                optimizer.signal_skip_step(do_skip=number + 1 < len(parts))
                optimizer.zero_grad()
                F.cross_entropy(model(x.to(device)), y.to(device)).backward()
                for parameter in model.parameters():
                    parameter.grad_sample = parameter.grad_sample.unflatten(0, (-1, copies)).mean(1)
                optimizer.step()
        model.remove_hooks()


def endless(batches: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the loader's batches, pass after pass, without end."""
    while True:
        yield from batches
