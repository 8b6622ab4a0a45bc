"""Where a task's tensors lie: one folder per task, written beside and renamed, read back without pickles.

    <store>/<aa>/<id>/task.json          the text that was hashed, and its readable form
                      attempts/<n>/log   what the attempt printed
                      <stem>.safetensors
                      outcome.json       the commit: written last, renamed into place

Not here: what a task means (`worker`), rows (`store`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor


@contextlib.contextmanager
def written(path: Path, synced: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to; when the block ends well, the content takes the name `path` (after an fsync, if `synced`)."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        if synced:
            with beside.open("rb") as handle:
                os.fsync(handle.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def folder_of(store: Path, task: str) -> Path:
    """The folder of a task; ValueError for anything but sixteen hexadecimal digits, so no id can leave the store."""
    if not re.fullmatch(r"[0-9a-f]{16}", task):
        raise ValueError(f"{task!r} is no task id: sixteen hexadecimal digits are")
    return store / task[:2] / task


def is_done(store: Path, task: str) -> bool:
    """Whether the task was committed: its `outcome.json` is there."""
    return (folder_of(store, task) / "outcome.json").exists()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write named tensors to `path` at once; the digest of the bytes."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with written(path) as beside:
        beside.write_bytes(content)
    return blake2b(content, digest_size=8).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """What a done task left behind."""

    folder: Path

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """All tensors of `<stem>.safetensors`, on the CPU; KeyError if the task left no such file."""
        path = self.folder / f"{stem}.safetensors"
        if not path.exists():
            raise KeyError(f"{self.folder.name} left no {stem}.safetensors; it has: {', '.join(self.stems) or 'none'}")
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}

    @property
    def stems(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    @cached_property
    def outcome(self) -> Mapping[str, Any]:
        """The task's `outcome.json`."""
        return json.loads((self.folder / "outcome.json").read_text())

    def metric(self, name: str) -> float | None:
        """Value of the first metric of this name, None if the task gave none."""
        return next((row["value"] for row in self.outcome["metrics"] if row["name"] == name), None)
