"""The commit of a task: what it made is synced to disk, and then counts, all at once.

    .<stem>.safetensors.<pid>.part, .outcome.json.<pid>.part    written, then synced at the same time
    <stem>.safetensors                                          renamed
    outcome.json                                                renamed last: from here on the task is done
    attempts/<n>/attempt.json                                   for the database's rows of attempts

Two new files synced one after the other take 8 ms (ext4 on a virtual disk, medians of 60), at the same time 0.4 to 0.7; sixteen
took 39 ms and 1.1. So the files of a task wait for the disk together, and tasks of one dispatch do so while the next one computes.
Not here: what a task computes (`worker`), where it lies and how it is read back (`artifacts`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.outcome import Outcome
from runtime.store.artifacts import atomic_write, digest_of, encode_tensors, temp_path

if TYPE_CHECKING:
    from torch import Tensor

MAX_THREADS = 16
"""Commits of one worker, and files, that are synced at the same time."""


@dataclass(frozen=True)
class Staged:
    """A task's files under their temporary names, not synced yet."""

    folder: Path
    attempt: int
    outcome: Outcome

    @property
    def names(self) -> list[str]:
        """Files in the order in which they are renamed."""
        return [*self.outcome.files, "outcome.json"]

    def commit(self) -> Outcome:
        """Sync and rename; OSError if the disk refuses, and then no temporary file is left."""
        paths = [self.folder / name for name in self.names]
        try:
            _sync([temp_path(path) for path in paths])
            for path in paths:
                os.replace(temp_path(path), path)
        except BaseException:
            self.drop()
            raise
        write_json(self.folder / "attempts" / str(self.attempt) / "attempt.json", self.outcome.attempt_json())
        return self.outcome

    def drop(self) -> None:
        """Delete the temporary files."""
        for name in self.names:
            temp_path(self.folder / name).unlink(missing_ok=True)


def stage(folder: Path, attempt: int, files: Mapping[str, Mapping[str, Tensor]], outcome: Outcome) -> Staged:
    """Write `files` (stem → named tensors) and the outcome, which then holds their digests, under temporary names in `folder`."""
    digests: dict[str, str] = {}
    staged = Staged(folder, attempt, dataclasses.replace(outcome, files=digests))
    try:
        for stem, tensors in files.items():
            name, content = f"{stem}.safetensors", encode_tensors(tensors)  # one at a time: they may be large
            digests[name] = digest_of(content)
            temp_path(folder / name).write_bytes(content)
        temp_path(folder / "outcome.json").write_bytes(encode_json(staged.outcome.to_json()))
    except BaseException:
        staged.drop()
        raise
    return staged


def commit_async(commit: Callable[[], Outcome]) -> Future[Outcome]:
    """Run a commit in another thread."""
    return _threads("commit").submit(commit)


def write_json(path: Path, content: object) -> None:
    """Write a record on which no commit depends: renamed into place, not synced."""
    with atomic_write(path, synced=False) as temp:
        temp.write_bytes(encode_json(content))


def encode_json(content: object) -> bytes:
    """One line of JSON: only Python's own encoder, ten times slower, indents.

    ValueError for a NaN, which is no JSON: a metric that is not a number is None with a note.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _sync(paths: Sequence[Path]) -> None:
    first, *others = paths
    waiting = [_threads("sync").submit(_sync_one, path) for path in others]
    _sync_one(first)
    for one in waiting:
        one.result()


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.cache
def _threads(purpose: str) -> ThreadPoolExecutor:
    """Two pools: a commit waits for syncs, and would block them in a pool that both share."""
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix=purpose)
