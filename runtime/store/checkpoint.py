"""Checkpoints of long loops: their state is saved in the task's folder every few minutes, so that a new attempt resumes.

    for step in (steps := checkpoint.loop("classifier", iterations, net=net, optimizer=optimizer, draws=generator)):
        ...
        steps.log(loss)

yields the remaining steps; the parts are restored before the first one and saved after a step when `INTERVAL_SECONDS` have passed.
Outside a task (tests, notebooks), or in a loop that ends before the first interval, it is a `range`. A checkpoint is read only by
the same source code that wrote it, and deleted when the task is committed. Each generator that a loop draws from must be among its
parts, or be seeded and advanced again (by `loop.start` steps), so that the numbers equal those of an uninterrupted run. Logged
losses, thinned, are stored with the task's outcome as its loss curve.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.optim import Optimizer

from runtime import machine
from runtime.store.artifacts import CHECKPOINT_PATTERN, encode_tensors
from runtime.store.files import atomic_write, digest_of

INTERVAL_SECONDS = 300.0
"""Time since its start, or its last checkpoint, after which a loop saves one at the end of a step; a loop that ends sooner saves
none."""

MAX_POINTS = 50
"""Most points of a stored loss curve."""


@dataclass
class TaskLoops:
    """The folder of the task being computed, and name of a loop → losses logged by each loop of that name."""

    folder: Path
    logged: dict[str, list[list[Tensor]]] = field(default_factory=dict)

    def curves(self) -> dict[str, list[tuple[int, float | None]]]:
        """Name of a loop → its losses as of `thin`; several loops of one name are called `<name> 1`, `<name> 2` …; a loop that
        logged none is left out."""
        names = {
            name: [f"{name} {place + 1}" if len(all) > 1 else name for place in range(len(all))]
            for name, all in self.logged.items()
        }
        return {
            own: thin(losses) for name, all in self.logged.items() for own, losses in zip(names[name], all, strict=True) if losses
        }


def thin(losses: Sequence[Tensor]) -> list[tuple[int, float | None]]:
    """Thin a loss curve, which is not empty: divide it into up to MAX_POINTS spans, whose lengths differ by at most one; for each,
    the number of losses up to its end and its mean loss, to five significant digits (None where that is not finite)."""
    values = torch.tensor([float(loss) for loss in losses], dtype=torch.float64)
    points, seen = [], 0
    for span in values.tensor_split(min(MAX_POINTS, len(values))):
        seen, mean = seen + len(span), span.mean().item()
        points.append((seen, float(f"{mean:.5g}") if math.isfinite(mean) else None))
    return points


_task: ContextVar[TaskLoops | None] = ContextVar("loops of the task being computed", default=None)


Part = nn.Module | Optimizer | torch.Generator | Tensor | list[Tensor]
Parts = dict[str, Part]
"""Name → state that changes from step to step and so is saved."""


@contextlib.contextmanager
def checkpoints_in(folder: Path) -> Iterator[TaskLoops]:
    """Let the loops that begin in this block save their checkpoints in `folder`, and yield the `TaskLoops` with their losses. When
    the block ends without an exception, all checkpoints in `folder` are deleted, those of other source code, too."""
    loops = TaskLoops(folder)
    token = _task.set(loops)
    try:
        yield loops
        for path in folder.glob(CHECKPOINT_PATTERN):
            path.unlink()
    finally:
        _task.reset(token)


def has_checkpoints(folder: Path) -> bool:
    """Whether a checkpoint lies in `folder`, that of a task, whichever loop, attempt or source code saved it."""
    return any(folder.glob(CHECKPOINT_PATTERN))


class loop:  # lower case: it is used as `range` is
    """The remaining steps of the loop `name`, to iterate over once: from `start` (0, or the step at which a checkpoint resumes) to
    `steps` - 1. If an earlier attempt of the same source code saved this loop (known by its name and its place among the task's
    loops of that name), `parts` are restored in place when the object is made. They are saved after a step when INTERVAL_SECONDS
    have passed, and after the last step if the loop was saved before. Outside of `checkpoints_in` neither happens. A part that is
    None is ignored.

    `losses`: all logged losses, those before an interruption included.
    """

    def __init__(self, name: str, steps: int, **parts: Part | None) -> None:
        self.losses: list[Tensor] = []
        self.steps, self.parts = steps, {key: part for key, part in parts.items() if part is not None} | {"losses": self.losses}
        self._path = _begin(name, self.losses)
        self.start = self._resume()
        self._saved_at = time.monotonic()
        self._is_long = self.start > 0

    def __iter__(self) -> Iterator[int]:
        for step in range(self.start, self.steps):
            yield step
            if self._path is not None and time.monotonic() - self._saved_at >= INTERVAL_SECONDS:
                self._save(step + 1)
        if self._is_long:  # other loops of this task may follow; a new attempt then skips this one
            self._save(self.steps)

    def log(self, loss: Tensor) -> None:
        """Add a scalar loss to the curve; its value is read after the loop, since reading it would synchronise the device."""
        self.losses.append(loss.detach())

    def _save(self, step: int) -> None:
        assert self._path is not None
        tensors = {f"{name}/{key}": tensor for name, part in self.parts.items() for key, tensor in _state(part).items()}
        content = encode_tensors(tensors | {"step": torch.tensor(step)})
        with atomic_write(self._path) as temp:
            temp.write_bytes(digest_of(content).encode() + content)
        self._is_long, self._saved_at = True, time.monotonic()

    def _resume(self) -> int:
        """Restore the parts, and return the next step; where there is no checkpoint, or a damaged one, change nothing and return
        0."""
        if self._path is None or not self._path.exists():
            return 0
        digest, content = (whole := self._path.read_bytes())[:16], whole[16:]
        if digest != digest_of(content).encode():
            return 0
        tensors = load(content)
        for name, part in self.parts.items():
            prefix = f"{name}/"
            _restore(part, {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)})
        return int(tensors["step"])


def _begin(name: str, losses: list[Tensor]) -> Path | None:
    """Register the losses of a new loop with the task, and return the path of its checkpoint; None outside a task."""
    task = _task.get()
    if task is None:
        return None
    begun = task.logged.setdefault(name, [])
    begun.append(losses)
    return task.folder / f"checkpoint-{name.replace('/', '-')}-{len(begun)}-{machine.source_digest()}"


def _state(part: Part) -> dict[str, Tensor]:
    match part:
        case Tensor():
            return {"": part}
        case torch.Generator():
            return {"": part.get_state()}
        case nn.Module():
            return dict(part.state_dict())
        case Optimizer():
            states = part.state_dict()["state"]
            values = ((f"{index}/{key}", value) for index, state in states.items() for key, value in state.items())
            return {name: torch.as_tensor(value) for name, value in values if value is not None}
    return {str(index): tensor for index, tensor in enumerate(part)}


@torch.no_grad()
def _restore(part: Part, state: dict[str, Tensor]) -> None:
    match part:
        case Tensor():
            part.copy_(state[""])
        case torch.Generator():
            part.set_state(state[""])
        case nn.Module():
            part.load_state_dict(state)
        case Optimizer():
            _restore_optimizer(part, state)
        case list():
            part[:] = [state[str(index)] for index in range(len(state))]


def _restore_optimizer(optimizer: Optimizer, state: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Any]] = {}
    for name, tensor in state.items():
        index, key = name.split("/", 1)
        like = parameters[int(index)]  # a fused step needs state and parameter in the same memory layout
        value = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if tensor.shape == like.shape else tensor
        states.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
