"""Long loops go on where a killed attempt left off: their state beside the task's artifact, every few minutes.

    for step in checkpoint.loop("classifier", iterations, net=net, optimizer=optimizer, draws=generator):

gives the steps that are left, restores the parts before the first one and keeps them now and then after one. Inside no task
(tests, notebooks), or in a loop that is over before the first interval, it is a `range`. A checkpoint counts only for the very
source that wrote it, and goes with the task's commit. Whatever a loop draws from must be among its parts, or be drawn again
from its seed (`loop.start` says how much to skip), so that the numbers are those of an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from runtime import machine
from runtime.store.artifacts import written

EVERY = 300.0
"""Seconds between checkpoints: what a kill can cost."""

PATTERN = "checkpoint-*"


@dataclass
class _Task:
    """The task that is computed, and how often a loop of each name began in it."""

    folder: Path
    begun: Counter[str] = field(default_factory=Counter)


_task: ContextVar[_Task | None] = ContextVar("task that is computed", default=None)


class Stateful(Protocol):
    """A part that says itself what its state is."""

    def state(self) -> dict[str, Tensor]: ...

    def restore(self, state: dict[str, Tensor]) -> None: ...


Part = nn.Module | Optimizer | LambdaLR | torch.Generator | Tensor | list[Tensor] | Stateful


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Loops of this block keep their checkpoints in `folder`; when the block ends well they are gone."""
    token = _task.set(_Task(folder))
    try:
        yield
        for path in folder.glob(PATTERN):
            path.unlink()
    finally:
        _task.reset(token)


def there_are(folder: Path) -> bool:
    """Whether a loop of the task in `folder` has kept a checkpoint."""
    return any(folder.glob(PATTERN))


class loop:   # lower case: it is used as `range` is
    """The steps of a loop that are left; None for a part that this loop does not have."""

    def __init__(self, name: str, steps: int, **parts: Part | None) -> None:
        self.steps, self.parts = steps, {word: part for word, part in parts.items() if part is not None}
        self._path = _path(name)
        self.start = self._resume()
        self._kept_at = time.monotonic()
        self._long = self.start > 0

    def __iter__(self) -> Iterator[int]:
        for step in range(self.start, self.steps):
            yield step
            if self._path is not None and time.monotonic() - self._kept_at >= EVERY:
                self._keep(step + 1)
        if self._long:   # other loops of this task may follow: this one need not run again
            self._keep(self.steps)

    def _keep(self, step: int) -> None:
        from safetensors.torch import save

        assert self._path is not None
        tensors = {f"{name}/{key}": tensor for name, part in self.parts.items() for key, tensor in _state(part).items()}
        tensors["step"] = torch.tensor(step)
        alone = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        content = save(alone)
        with written(self._path) as beside:
            beside.write_bytes(_digest(content) + content)
        self._long, self._kept_at = True, time.monotonic()

    def _resume(self) -> int:
        """Restore the parts; the step to go on with, 0 where there is no checkpoint, or a damaged one."""
        from safetensors.torch import load

        if self._path is None or not self._path.exists():
            return 0
        digest, content = (whole := self._path.read_bytes())[:16], whole[16:]
        if digest != _digest(content):
            return 0
        tensors = load(content)
        for name, part in self.parts.items():
            prefix = f"{name}/"
            _restore(part, {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)})
        return int(tensors["step"])


def _path(name: str) -> Path | None:
    task = _task.get()
    if task is None:
        return None
    task.begun[name] += 1
    return task.folder / f"checkpoint-{name.replace('/', '-')}-{task.begun[name]}-{machine.source_digest()}"


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _state(part: Part) -> dict[str, Tensor]:
    match part:
        case Tensor():
            return {"": part}
        case torch.Generator():
            return {"": part.get_state()}
        case nn.Module():
            return dict(part.state_dict())
        case LambdaLR():
            return {"": torch.tensor(part.last_epoch)}
        case Optimizer():
            states = part.state_dict()["state"]
            named = ((f"{place}/{key}", value) for place, state in states.items() for key, value in state.items())
            return {name: torch.as_tensor(value) for name, value in named if value is not None}
        case list():
            return {str(place): tensor for place, tensor in enumerate(part)}
    return part.state()


@torch.no_grad()
def _restore(part: Part, state: dict[str, Tensor]) -> None:
    match part:
        case Tensor():
            part.copy_(state[""])
        case torch.Generator():
            part.set_state(state[""])
        case nn.Module():
            part.load_state_dict(state)
        case LambdaLR():
            part.last_epoch = int(state[""])
            for group, base, pace in zip(part.optimizer.param_groups, part.base_lrs, part.lr_lambdas, strict=True):
                group["lr"] = base * pace(part.last_epoch)
        case Optimizer():
            _restore_optimizer(part, state)
        case list():
            part[:] = [state[str(place)] for place in range(len(state))]
        case _:
            part.restore(state)


def _restore_optimizer(optimizer: Optimizer, state: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    by_place: dict[int, dict[str, Any]] = {}
    for key, tensor in state.items():
        place, word = key.split("/", 1)
        like = parameters[int(place)]   # a fused step walks over memory: both must lie in it in the same order
        kept = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if tensor.shape == like.shape else tensor
        by_place.setdefault(int(place), {})[word] = kept
    optimizer.load_state_dict({"state": by_place, "param_groups": optimizer.state_dict()["param_groups"]})
