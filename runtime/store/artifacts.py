"""The files of a task: one folder per task, each file written under a temporary name and renamed, read without pickles.

    <store>/<aa>/<id>/task.json              the text that was hashed, and its readable form
                      attempts/<n>/log.txt   output of the attempt
                      <stem>.safetensors
                      outcome.json           the commit: written last, renamed into place
                      figures.json           in its place: the outcome of a task that another store computed and kept the tensors of

Not here: what a task computes (`worker`), how it commits (`commit`), rows (`database`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, sentence_of
from runtime import machine
from runtime.store.files import digest_of, take_lock
from runtime.store.records import Corrupt, read_record, read_runs, write_record

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


STORE_VERSION = 1
FIGURES_FILE = "figures.json"
"""Metrics, cost and notes of a task without its tensors: they are indexed, and the task counts as not done."""
CHECKPOINT_PATTERN = "checkpoint-*"
"""Names of the files in a task's folder from which a new attempt resumes."""


@contextlib.contextmanager
def lock_store(store: Path) -> Iterator[None]:
    """Lock the store for one run until the block ends; its file `lock` names this process meanwhile. The store and `store.json` are
    made if they do not exist; a new or empty folder becomes accessible to its owner alone.

    SynthcError, without waiting, if another run has locked it; also if a newer version made it, `store.json` is damaged, or the
    disk or its locks fail.
    """
    try:
        if not store.exists():
            store.mkdir(mode=0o700, parents=True)
        if not any(store.iterdir()):
            with contextlib.suppress(PermissionError):  # another user's folder: `warn_of_others` says who may enter it
                store.chmod(0o700)  # results derive from private images: readable by the owner alone, whatever the umask
        lock = (store / "lock").open("ab+", buffering=0)  # unbuffered: a full disk is an error at once, not on close
    except OSError as error:
        raise SynthcError(sentence_of(error, store)) from error
    with lock:
        if not take_lock(lock, store / "lock"):
            raise SynthcError(
                f"{store}: another run is using this store ({_read_owner(store) or 'unknown'}); "
                "wait for it, or name another store with --store"
            )
        try:
            read_mark(store)
            lock.truncate(0)
            lock.write(f"pid {os.getpid()} on {machine.host()}, since {datetime.now(UTC).isoformat(timespec='seconds')}".encode())
        except OSError as error:
            raise SynthcError(sentence_of(error, store)) from error
        yield
        lock.truncate(0)


def warn_of_others(store: Path) -> str:
    """A sentence for the user if the permissions of the store's folder give its group or others any right, else ""."""
    if not store.stat().st_mode & 0o077:
        return ""
    return f"other users of this machine may read private images in it; `chmod 700 {shlex.quote(str(store))}` keeps them out"


def _read_owner(store: Path) -> str:
    """Text of the lock file, which names the process that holds the lock, or held it when it was killed; "" without one."""
    try:
        return (store / "lock").read_text(errors="replace").strip()
    except OSError:
        return ""


def may_be_running(store: Path) -> bool:
    """Whether a run may be using the store: False if the file `lock` names no process, or one of this machine that has ended
    (`/proc` does not have its number); else True."""
    owner = re.fullmatch(r"pid (\d+) on (.+), since .*", _read_owner(store))
    return owner is not None and (owner[2] != machine.host() or Path(f"/proc/{owner[1]}").exists())


def read_mark(store: Path) -> dict[str, Any]:
    """The content of `store.json`: the store's version, and `origin`, the store's name in databases that gather several.

    If the file is missing, or has no origin, it is written. The origin of a new store is the name of its folder (of the folder
    above a hidden one) and eight random hexadecimal digits; if `store.json` is lost, that of the latest recorded run which has one.
    SynthcError if a newer synthc made the store, or if `store.json` is there and damaged; OSError if it cannot be read or written.
    """
    path, found = store / "store.json", None
    try:
        mark = found = read_record(path)
    except Corrupt as corrupt:
        records = (record for _, record in read_runs(store, newest_first=True) if isinstance(record, dict))
        known = next((record["origin"] for record in records if record.get("origin")), None)
        mark = {"version": STORE_VERSION} | ({"origin": known} if known else {})
        if os.path.lexists(path):
            hint = f"if the store is whole, write {json.dumps(mark)} into it, or name another folder with --store"
            raise SynthcError(f"{corrupt}; {hint}") from corrupt
    if mark["version"] > STORE_VERSION:
        newer = f"made by a newer synthc (its version is {mark['version']}, this one reads {STORE_VERSION})"
        raise SynthcError(f"{path}: {newer}; upgrade, or name another folder with --store")
    if "origin" not in mark:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", (store.parent if store.name.startswith(".") else store).name) or "store"
        mark = mark | {"origin": f"{name}-{secrets.token_hex(4)}"}
    if mark != found:
        write_record(path, mark, synced=True)
    return mark


def read_origin(store: Path) -> str | None:
    """The origin of the store's rows in a database; None where `store.json` is missing, damaged or not readable, or has no
    origin."""
    try:
        return read_record(store / "store.json").get("origin")
    except (Corrupt, OSError):
        return None


def folder_of(store: Path, task: str) -> Path:
    """The folder of a task, whether or not it exists; ValueError for anything but sixteen hexadecimal digits (lower case), so that
    no id leads out of the store."""
    if not re.fullmatch(r"[0-9a-f]{16}", task):
        raise ValueError(f"{task!r} is no task id: sixteen hexadecimal digits are")
    return store / task[:2] / task


def is_done(store: Path, task: str) -> bool:
    """Whether the task is committed, which is whether its `outcome.json` exists."""
    return (folder_of(store, task) / "outcome.json").exists()


def has_outcome(store: Path, task: str) -> bool:
    """Whether the task's metrics are known: the task is committed, or its `figures.json` was copied from another store."""
    return is_done(store, task) or (folder_of(store, task) / FIGURES_FILE).exists()


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a `.safetensors` file with these tensors (by name), of which copies on the CPU are written."""
    import torch
    from safetensors.torch import save  # torch is slow to import, and a run that finds everything done needs none

    # Each tensor is copied: safetensors refuses views that share storage.
    return save({name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})


def quarantine(folder: Path) -> None:
    """Rename a task's damaged `outcome.json`, or where there is none its `figures.json`, to `<name>.corrupt`, in place of an
    earlier one, so that the file can be examined. The task then counts as not done, or its figures as not known. Do nothing where
    there is neither."""
    name = "outcome.json" if os.path.lexists(folder / "outcome.json") else FIGURES_FILE
    aside = folder / f"{name}.corrupt"
    if aside.is_dir():
        shutil.rmtree(aside)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.replace(folder / name, aside)


def retract(folder: Path) -> None:
    """Delete a task's `outcome.json`, if there is one, so that the task counts as not done; its other files stay."""
    (folder / "outcome.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Artifact:
    """The files and the record of a task that is done, or whose figures came from another store (then without files of tensors)."""

    folder: Path

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """All tensors of `<stem>.safetensors` by name, on the CPU, read anew at each call. KeyError if the outcome lists no such
        file; Corrupt if the file or the outcome is gone or was changed."""
        from safetensors.torch import load

        return load(self.content(stem))

    def arrays(self, stem: str) -> dict[str, np.ndarray]:
        """All tensors of `<stem>.safetensors` as numpy arrays, without importing torch; errors as of `tensors`."""
        from safetensors.numpy import load

        return load(self.content(stem))

    def content(self, stem: str) -> bytes:
        """Bytes of `<stem>.safetensors`, checked against the digest in the outcome; errors as of `tensors`."""
        name = f"{stem}.safetensors"
        digest = self.outcome["files"].get(name)
        if digest is None:
            raise KeyError(f"{self.folder.name} left no {name}; it has: {', '.join(self.stems) or 'none'}")
        try:
            content = (self.folder / name).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            raise Corrupt(self.folder, f"{name} is gone") from None
        if digest_of(content) != digest:
            raise Corrupt(self.folder, f"{name} is not what the task wrote")
        return content

    def ancestry(self) -> list[Artifact]:
        """This artifact, first, and all artifacts that it depends on, directly or not, each once, done or not; Corrupt if the
        `task.json` of one is gone or damaged."""
        found: dict[str, Artifact] = {}
        waiting = [self]
        while waiting:
            artifact = waiting.pop()
            if artifact.folder.name not in found:
                found[artifact.folder.name] = artifact
                waiting += [Artifact(folder_of(artifact.folder.parents[1], need)) for need in artifact._read_needs()]
        return list(found.values())

    def _read_needs(self) -> list[str]:
        return [need for _, need in self.task["needs"]]

    @property
    def text(self) -> str:
        """The text whose hash is the task's id; Corrupt if it cannot be read."""
        return str(self.task["text"])

    @property
    def stems(self) -> list[str]:
        """Stems of the task's files of tensors, sorted; [] for figures of another store. Corrupt as of `outcome`."""
        return sorted(name.removesuffix(".safetensors") for name in self.outcome["files"])

    @cached_property
    def outcome(self) -> Mapping[str, Any]:
        """The content of `outcome.json`, or of `figures.json` where there is no commit; Corrupt if the file is gone, was changed,
        or is of another task."""
        elsewhere = not os.path.lexists(self.folder / "outcome.json") and (self.folder / FIGURES_FILE).exists()
        return self._read(FIGURES_FILE if elsewhere else "outcome.json", "task")

    @cached_property
    def task(self) -> Mapping[str, Any]:
        """The content of `task.json`: address, hashed text, needs; Corrupt if the file is gone, was changed, or is of another
        task."""
        return self._read("task.json", "id")

    def _read(self, name: str, key: str) -> Mapping[str, Any]:
        content = read_record(self.folder / name)
        if content[key] != self.folder.name:
            raise Corrupt(self.folder, f"{name} is of another task")
        return content

    def metric(self, name: str) -> float | None:
        """Value of the first metric of this name; None if the task has none, or its value is not resolvable. Corrupt as of
        `outcome`."""
        return next((row["value"] for row in self.outcome["metrics"] if row["name"] == name), None)


Inputs = Mapping[str, Artifact]
"""Role → artifact, of the tasks that a task needs."""
