"""The files of a task: one folder per task, each file written under a temporary name and renamed, read without pickles.

    <store>/<aa>/<id>/task.json          the text that was hashed, and its readable form
                      attempts/<n>/log   what the attempt printed
                      <stem>.safetensors
                      outcome.json       the commit: written last, renamed into place

Not here: what a task computes (`worker`), how it commits (`commit`), rows (`database`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@contextlib.contextmanager
def atomic_write(path: Path, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which is renamed to `path` if the block ends without an error.

    `synced`: only once the content is on disk.
    """
    temp = temp_path(path)
    try:
        yield temp
        if synced:
            with temp.open("rb") as handle:
                os.fsync(handle.fileno())
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def temp_path(path: Path) -> Path:
    """The path to which this process writes what will be renamed to `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


STORE_VERSION = 1


@contextlib.contextmanager
def lock_store(store: Path) -> Iterator[None]:
    """Lock the store for one run, making it if need be; SynthcError if another run has locked it or a newer version made it.

    The lock is the kernel's: it is released when its owner ends, however it ends.
    """
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)  # what derives from private images is for their owner alone
        lock = (store / "lock").open("ab+", buffering=0)  # unbuffered: a full disk is an error at once, not on close
    except OSError as error:
        raise _unwritable(store, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SynthcError(
                f"{store}: another run is using this store ({lock.read().decode(errors='replace').strip() or 'unknown'}); "
                "wait for it, or name another store with --store"
            ) from None
        try:
            check_version(store)
            lock.truncate(0)
            owner = f"pid {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC).isoformat(timespec='seconds')}"
            lock.write(owner.encode())
        except OSError as error:
            raise _unwritable(store, error) from error
        yield
        lock.truncate(0)


def _unwritable(store: Path, error: OSError) -> SynthcError:
    return SynthcError(f"{store}: the store cannot be written: {error.strerror}; free some space, or name another with --store")


def check_version(store: Path) -> None:
    """SynthcError if a newer synthc made the store; marks a new store with our version and an identity of its own."""
    _mark(store)


def identity_of(store: Path) -> str:
    """What the rows of this store are called where several stores are gathered: the folder's name and eight random digits."""
    return str(_mark(store)["origin"])


def _mark(store: Path) -> dict[str, Any]:
    path = store / "store.json"
    try:
        mark = json.loads(path.read_text())
        version = int(mark["version"])
    except FileNotFoundError:
        mark, version = {"version": STORE_VERSION}, STORE_VERSION
    except (ValueError, KeyError, TypeError) as error:
        hint = f'if the store is whole, write {{"version": {STORE_VERSION}}} into it, or name another folder with --store'
        raise SynthcError(f"{path}: not a store's mark ({error}); {hint}") from error
    if version > STORE_VERSION:
        newer = f"made by a newer synthc (its version is {version}, this one reads {STORE_VERSION})"
        raise SynthcError(f"{path}: {newer}; upgrade, or name another folder with --store")
    if not isinstance(mark.get("origin"), str):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", (store.parent if store.name.startswith(".") else store).name) or "store"
        mark = {"version": version, "origin": f"{name}-{secrets.token_hex(4)}"}
        with atomic_write(path) as temp:
            temp.write_text(json.dumps(mark))
    return mark


def folder_of(store: Path, task: str) -> Path:
    """The folder of a task; ValueError for anything but sixteen hexadecimal digits, so no id can leave the store."""
    if not re.fullmatch(r"[0-9a-f]{16}", task):
        raise ValueError(f"{task!r} is no task id: sixteen hexadecimal digits are")
    return store / task[:2] / task


def is_done(store: Path, task: str) -> bool:
    """Whether the task was committed: its `outcome.json` is there."""
    return (folder_of(store, task) / "outcome.json").exists()


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a `.safetensors` file with these tensors."""
    import torch
    from safetensors.torch import save  # torch is slow to import, and a run that finds everything done needs none

    # Each tensor in memory of its own: safetensors refuses views that share storage.
    return save({name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})


def digest_of(content: bytes) -> str:
    """The digest of a file's content, which `outcome.json` holds and each reading compares."""
    return blake2b(content, digest_size=8).hexdigest()


OUTCOME_FIELDS = {"task", "status", "metrics", "notes", "provenance", "files"}
"""Fields of every `outcome.json`."""


class Corrupt(SynthcError):
    """A task's folder does not hold what was committed there: a damaged disk, or a file that was edited."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"{folder}: {what}")
        self.folder = folder


def quarantine(folder: Path) -> None:
    """Rename a task's damaged commit, so that the task counts as never computed and the file can be examined."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / "outcome.json", folder / "outcome.json.corrupt")


def retract(folder: Path) -> None:
    """Delete the commit of a task that is to be computed again; its files will be written over."""
    (folder / "outcome.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Artifact:
    """What a done task left behind."""

    folder: Path

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """All tensors of `<stem>.safetensors`, on the CPU; KeyError if the task left no such file, Corrupt if it has changed."""
        from safetensors.torch import load

        return load(self.content(stem))

    def arrays(self, stem: str) -> dict[str, np.ndarray]:
        """The same without torch."""
        from safetensors.numpy import load

        return load(self.content(stem))

    def content(self, stem: str) -> bytes:
        """Bytes of `<stem>.safetensors`, compared with the digest in the outcome; KeyError and Corrupt as for `tensors`."""
        name = f"{stem}.safetensors"
        digest = self.outcome["files"].get(name)
        if digest is None:
            raise KeyError(f"{self.folder.name} left no {name}; it has: {', '.join(self.stems) or 'none'}")
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise Corrupt(self.folder, f"{name} is gone") from None
        if digest_of(content) != digest:
            raise Corrupt(self.folder, f"{name} is not what the task wrote")
        return content

    def ancestry(self) -> list[Artifact]:
        """This artifact and all that it was made from, each once."""
        found: dict[str, Artifact] = {}
        waiting = [self]
        while waiting:
            artifact = waiting.pop()
            if artifact.folder.name not in found:
                found[artifact.folder.name] = artifact
                waiting += [Artifact(folder_of(artifact.folder.parents[1], need)) for need in artifact._read_needs()]
        return list(found.values())

    def _read_needs(self) -> list[str]:
        return self._read_task(lambda content: [need for _, need in content["needs"]])

    @property
    def text(self) -> str:
        """The text that the task's id is the hash of; Corrupt if it cannot be read."""
        return str(self._read_task(lambda content: content["text"]))

    def _read_task(self, part: Callable[[Any], Any]) -> Any:
        try:
            return part(json.loads((self.folder / "task.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Corrupt(self.folder, f"task.json cannot be read: {error}") from None

    @property
    def stems(self) -> list[str]:
        """Files of tensors that the task left."""
        return sorted(name.removesuffix(".safetensors") for name in self.outcome["files"])

    @cached_property
    def outcome(self) -> Mapping[str, Any]:
        """The task's `outcome.json`; Corrupt if it cannot be read as one."""
        try:
            content = json.loads((self.folder / "outcome.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Corrupt(self.folder, "outcome.json is gone") from None
        except (ValueError, RecursionError) as error:
            raise Corrupt(self.folder, f"outcome.json cannot be read: {error}") from None
        if not isinstance(content, dict) or content.keys() < OUTCOME_FIELDS or content["task"] != self.folder.name:
            raise Corrupt(self.folder, "outcome.json is not of this task")
        return content

    def metric(self, name: str) -> float | None:
        """Value of the first metric of this name, None if the task gave none."""
        return next((row["value"] for row in self.outcome["metrics"] if row["name"] == name), None)
