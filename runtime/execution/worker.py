"""A dispatch → an outcome per task: computes, writes the artifact, commits, and never raises.

A worker stays resident with torch and data warm. It never opens the database; what it returns is small and plain.
Each task of a dispatch commits alone, and its numbers do not depend on its batch mates.
Not here: which task comes next (`schedule`), what an operation does (`runtime.operations` names the modules).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.work.operations import Work
from runtime import machine
from runtime.outcome import Diverged, Metric, Outcome, Product, Provenance
from runtime.store.artifacts import Artifact, Corrupt, folder_of, quarantine
from runtime.store.commit import Staged, later, stage, write_json

if TYPE_CHECKING:
    import torch

REHEARSALS = {"Rehearsal": "runtime.execution.rehearsal"}
"""The one operation of this room. A study's own are in `runtime.operations`, which the command line hands to the engine."""


@dataclass(frozen=True, eq=False)   # told apart by identity: comparing whole words would be slow
class Order:
    """One task on its way to a worker: ids and words, never data."""

    task: str
    work: Work
    needs: tuple[tuple[str, str], ...]
    address: str
    text: str
    attempt: int


Dispatch = tuple[Order, ...]
"""A batch of tasks that one worker computes together; none needs another."""


def prepare(threads: int = 1) -> None:
    """Make this process a worker: one torch thread per CPU worker, since one process per core beats one wide one.

    Measured on two cores, several processes against one: 6,860 against 6,590 images per second (fp32), 9,100 against 6,085 (bf16).
    """
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)   # diverging or dying units otherwise cost a hundred times the time of live ones


def compute(
    dispatch: Sequence[Order], store: Path, device: str = "cpu", operations: Mapping[str, str] = REHEARSALS
) -> list[Outcome]:
    """Compute each task of the dispatch and commit it; failures become outcomes.

    `operations`: name of an operation → the module whose `perform(work, inputs, device) -> Product` computes it.
    """
    landing = [_compute(order, store, device, operations, alone=len(dispatch) == 1) for order in dispatch]
    return [one if isinstance(one, Outcome) else one.result() for one in landing]


def _compute(order: Order, store: Path, device: str, operations: Mapping[str, str], alone: bool) -> Outcome | Future[Outcome]:
    """The outcome, or one on its way to disk while a mate of the same dispatch is computed."""
    folder = folder_of(store, order.task)
    attempt = folder / "attempts" / str(order.attempt)
    log = attempt / "log.txt"
    started, clock = datetime.now(UTC), time.perf_counter()
    machine.forget_peak_memory()
    try:
        if (before := committed(folder)) is not None:   # its worker died after the commit and before the driver heard of it
            return before
        attempt.mkdir(parents=True, exist_ok=True)
        _write_task(order, folder)
        with _output_to(log):
            try:
                from runtime.store import checkpoint  # loads torch, which only a worker needs

                with checkpoint.kept_in(folder):
                    product = _perform(order, store, device, operations)
                    staged = _stage(order, folder, product, _provenance(started, clock, device), store)
                    if alone or checkpoint.there_are(folder):   # they go when this block ends, and not before the commit
                        return staged.commit()
            except Exception as error:
                traceback.print_exc()
                if isinstance(error, Corrupt):
                    quarantine(error.folder)
                outcome = _failure(order, error, _provenance(started, clock, device), log.relative_to(store))
                write_json(attempt / "attempt.json", outcome.attempt())
                return outcome
        return later(lambda: _finish(order, staged))
    except OSError as error:   # outside the task's own work: the disk is full, or the store cannot be written
        return _not_stored(order, error, _provenance(started, clock, device))


def _finish(order: Order, staged: Staged) -> Outcome:
    try:
        return staged.commit()
    except OSError as error:
        return _not_stored(order, error, staged.outcome.provenance)


def keep(order: Order, product: Product, started: datetime, seconds: float, store: Path) -> Outcome:
    """Commit what this process has computed itself, as a worker would have: `outcome.json` last."""
    folder = folder_of(store, order.task)
    if (before := committed(folder)) is not None:
        return before
    (folder / "attempts" / str(order.attempt)).mkdir(parents=True, exist_ok=True)
    _write_task(order, folder)
    return _stage(order, folder, product, _provenance(started, time.perf_counter() - seconds, "cpu"), store).commit()


def _write_task(order: Order, folder: Path) -> None:
    write_json(folder / "task.json", {"id": order.task, "address": order.address, "text": order.text, "needs": order.needs})


def _perform(order: Order, store: Path, device: str, operations: Mapping[str, str]) -> Product:
    import torch

    inputs = {role: Artifact(folder_of(store, need)) for role, need in order.needs}
    module = importlib.import_module(operations[type(order.work).__name__])
    where = torch.device(device)
    _deterministic(where)
    if where.type != "cuda" or order.work.kind in ("attack", "compare"):   # those stay on the CPU
        product: Product = module.perform(order.work, inputs, where)
        return product
    torch.cuda.reset_peak_memory_stats(where)
    product = module.perform(order.work, inputs, where)
    held = torch.cuda.max_memory_allocated(where) / 1e6
    metric = Metric("gpu_memory_mb", held, n=1, note="most that torch held, without its context")
    return dataclasses.replace(product, metrics=(*product.metrics, metric))


def committed(folder: Path) -> Outcome | None:
    """The outcome that a task's folder holds, None if it was never committed."""
    if not (folder / "outcome.json").exists():
        return None
    try:
        content = Artifact(folder).outcome
        metrics = tuple(Metric(**row) for row in content["metrics"])
        return Outcome(**{**content, "metrics": metrics, "provenance": Provenance(**content["provenance"])})
    except (Corrupt, TypeError):
        quarantine(folder)
        return None


def _deterministic(device: torch.device) -> None:
    """Numbers must not depend on what ran before: global generators are fixed, although nothing of ours draws from them."""
    import torch

    # Not `torch.manual_seed`: without a GPU that keeps a traceback of each call for the day when there is one.
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(0)


def _stage(order: Order, folder: Path, product: Product, provenance: Provenance, store: Path) -> Staged:
    log = (folder / "attempts" / str(order.attempt) / "log.txt").relative_to(store)
    outcome = Outcome(order.task, "done", product.metrics, product.notes, provenance, log=log.as_posix())
    return stage(folder, order.attempt, product.files, outcome)


def _failure(order: Order, error: BaseException, provenance: Provenance | None, log: Path) -> Outcome:
    message = " ".join(str(error).split()) or type(error).__name__
    return Outcome(
        order.task, "failed", provenance=provenance, error=f"{type(error).__name__}: {message}", error_kind=_kind_of(error),
        log=log.as_posix(),
    )


def _not_stored(order: Order, error: OSError, provenance: Provenance | None) -> Outcome:
    return dataclasses.replace(_failure(order, error, provenance, Path("")), error_kind="storage")


def _kind_of(error: BaseException) -> str:
    """The class of an error, by which the driver decides whether to try again."""
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, Corrupt):
        return "corrupt"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
        return "storage"
    return "exception"


def _provenance(started: datetime, clock: float, device: str) -> Provenance:
    torch_module = sys.modules.get("torch")
    name, threads = device, 1
    if torch_module is not None:
        threads = torch_module.get_num_threads()
        name = _device_name(torch_module, device)
    return Provenance(
        host=machine.host(), pid=os.getpid(), device=name, threads=threads, started=started.isoformat(timespec="milliseconds"),
        seconds=round(time.perf_counter() - clock, 6), peak_memory_mb=round(machine.peak_memory_mb(), 1),
        versions=machine.versions(), commit=machine.commit(), source_digest=machine.source_digest(),
    )


def _device_name(torch_module: Any, device: str) -> str:
    kind: torch.device = torch_module.device(device)
    return torch_module.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Everything the task prints goes to its log."""
    with log.open("a", encoding="utf-8", buffering=1) as to, contextlib.redirect_stdout(to), contextlib.redirect_stderr(to):
        yield
