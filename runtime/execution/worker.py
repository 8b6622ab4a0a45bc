"""A dispatch → an outcome per task: computes, writes the artifact, commits, and never raises.

A worker stays resident with torch and data warm. It never opens the database; what it returns is small and plain.
Each task of a dispatch commits alone, and its numbers do not depend on its batch mates.
Not here: which task comes next (`driver`), what an operation does (`runtime.operations` names the modules).
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

from compiler.errors import sentence_of
from compiler.work.operations import Work
from runtime import machine
from runtime.outcome import Diverged, Metric, Outcome, Product, Provenance, Stopped
from runtime.store.artifacts import Artifact, folder_of, quarantine
from runtime.store.commit import Staged, commit_async, stage
from runtime.store.files import atomic_write
from runtime.store.records import Corrupt, write_record

if TYPE_CHECKING:
    import torch

REHEARSAL_OPERATIONS = {"Rehearsal": "runtime.execution.rehearsal"}
"""The one operation of this room. Those of studies are in `runtime.operations`, which the command line passes to the engine."""


@dataclass(frozen=True, eq=False)  # equal by identity: comparing whole works would be slow
class TaskRequest:
    """One task for a worker to compute: ids and parameters, never data."""

    task: str
    work: Work
    needs: tuple[tuple[str, str], ...]
    address: str
    text: str
    attempt: int


Dispatch = tuple[TaskRequest, ...]
"""A batch of tasks that one worker computes together; none needs another."""


PROBE_BYTES = 2**24
"""Written to see whether a disk is full: more than a checkpoint of the nets of a study, mostly."""


def prepare_worker(threads: int = 1) -> None:
    """Make this process a worker: one torch thread per CPU worker, since one process per core beats one wide one.

    Measured on two cores, several processes against one: 6,860 against 6,590 images per second (fp32), 9,100 against 6,085 (bf16).
    """
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # diverging or dying units otherwise cost a hundred times the time of live ones


def compute(
    dispatch: Sequence[TaskRequest], store: Path, device: str = "cpu", operations: Mapping[str, str] = REHEARSAL_OPERATIONS
) -> list[Outcome]:
    """Compute each task of the dispatch and commit it; failures become outcomes.

    `operations`: name of an operation → the module whose `perform(work, inputs, device) -> Product` computes it.
    """
    outcomes = [_compute(request, store, device, operations, alone=len(dispatch) == 1) for request in dispatch]
    return [outcome if isinstance(outcome, Outcome) else outcome.result() for outcome in outcomes]


def _compute(
    request: TaskRequest, store: Path, device: str, operations: Mapping[str, str], alone: bool
) -> Outcome | Future[Outcome]:
    """Compute one task. Returns its outcome, or a future if it is still being written while the next task of the batch runs."""
    folder = folder_of(store, request.task)
    attempt = folder / "attempts" / str(request.attempt)
    log = attempt / "log.txt"
    started, clock = datetime.now(UTC), time.perf_counter()
    machine.reset_peak_memory()
    try:
        if (before := read_committed(folder)) is not None:  # a worker died between the commit and its answer
            return before
        attempt.mkdir(parents=True, exist_ok=True)
        _write_task(request, folder)
        with _redirect_output(log):
            try:
                from runtime.store import checkpoint  # loads torch, which only a worker needs

                with checkpoint.checkpoints_in(folder):
                    product = _perform(request, store, device, operations)
                    staged = _stage(request, folder, product, _provenance(started, clock, device), store)
                    if alone or checkpoint.has_checkpoints(folder):  # they go when this block ends, and not before the commit
                        return staged.commit()
            except Stopped:
                raise
            except BaseException as error:  # SystemExit and KeyboardInterrupt, too: of the code of a package
                if isinstance(error, OSError) and _is_of_store(error, store):
                    raise
                traceback.print_exc()
                if isinstance(error, Corrupt):
                    quarantine(error.folder)
                outcome = _failure(request, error, _provenance(started, clock, device), log.relative_to(store))
                write_record(attempt / "attempt.json", outcome.attempt_json())
                return outcome
        return commit_async(lambda: _commit(request, staged))
    except OSError as error:  # outside the task's own work: the disk is full, or the store cannot be written
        return _storage_failure(request, error, _provenance(started, clock, device))


def _commit(request: TaskRequest, staged: Staged) -> Outcome:
    try:
        return staged.commit()
    except OSError as error:
        return _storage_failure(request, error, staged.outcome.provenance)


def commit_product(request: TaskRequest, product: Product, started: datetime, seconds: float, store: Path) -> Outcome:
    """Commit a product that this process has computed itself, as a worker would: `outcome.json` last."""
    folder = folder_of(store, request.task)
    if (before := read_committed(folder)) is not None:
        return before
    (folder / "attempts" / str(request.attempt)).mkdir(parents=True, exist_ok=True)
    _write_task(request, folder)
    return _stage(request, folder, product, _provenance(started, time.perf_counter() - seconds, "cpu"), store).commit()


def _write_task(request: TaskRequest, folder: Path) -> None:
    write_record(
        folder / "task.json", {"id": request.task, "address": request.address, "text": request.text, "needs": request.needs}
    )


def _perform(request: TaskRequest, store: Path, device: str, operations: Mapping[str, str]) -> Product:
    import torch

    inputs = {role: Artifact(folder_of(store, need)) for role, need in request.needs}
    module = importlib.import_module(operations[type(request.work).__name__])
    on = torch.device(device)
    _seed_global_generators(on)
    if on.type != "cuda" or request.work.kind in ("attack", "compare"):  # those stay on the CPU
        product: Product = module.perform(request.work, inputs, on)
        return product
    torch.cuda.reset_peak_memory_stats(on)
    product = module.perform(request.work, inputs, on)
    held = Metric("gpu_memory_mb", torch.cuda.max_memory_allocated(on) / 1e6, n=1, note="most that torch held, without its context")
    return dataclasses.replace(product, metrics=(*product.metrics, held))


def read_committed(folder: Path) -> Outcome | None:
    """The outcome in a task's folder, None if it was never committed or is damaged; a damaged one is quarantined."""
    if not os.path.lexists(folder / "outcome.json"):
        return None
    try:
        content = Artifact(folder).outcome
        metrics = tuple(Metric(**row) for row in content["metrics"])
        return Outcome(**{**content, "metrics": metrics, "provenance": Provenance(**content["provenance"])})
    except (Corrupt, TypeError):
        quarantine(folder)
        return None


def _seed_global_generators(device: torch.device) -> None:
    """Make numbers independent of what ran before, although nothing of ours draws from the global generators."""
    import torch

    # Not `torch.manual_seed`: without a GPU that keeps a traceback of each call for the day when there is one.
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(0)


def _stage(request: TaskRequest, folder: Path, product: Product, provenance: Provenance, store: Path) -> Staged:
    log = (folder / "attempts" / str(request.attempt) / "log.txt").relative_to(store)
    outcome = Outcome(request.task, "done", product.metrics, product.notes, provenance, log=log.as_posix())
    return stage(folder, request.attempt, product.files, outcome)


def _failure(request: TaskRequest, error: BaseException, provenance: Provenance | None, log: Path) -> Outcome:
    message = " ".join(str(error).split()) or type(error).__name__
    return Outcome(
        request.task,
        "failed",
        provenance=provenance,
        error=f"{type(error).__name__}: {message}",
        error_kind=_classify(error),
        log=log.as_posix(),
    )


def _storage_failure(request: TaskRequest, error: OSError, provenance: Provenance | None) -> Outcome:
    return Outcome(request.task, "failed", provenance=provenance, error=sentence_of(error), error_kind="storage")


def _classify(error: BaseException) -> str:
    """The kind of an error, by which the driver decides whether to try again."""
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, Corrupt):
        return "corrupt"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out_of_memory"
    return "exception"


def _is_of_store(error: OSError, store: Path) -> bool:
    """Whether an error is the store's: it says so, or is one of a full disk, and the store takes no file now.

    Of a write that fails no error says the file; a task may write elsewhere, to a disk of its own.
    """
    if str(error.filename or "").startswith(f"{store}{os.sep}"):
        return not isinstance(error, FileNotFoundError)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        return False
    try:
        with atomic_write(store / "probe") as temp:
            temp.write_bytes(bytes(PROBE_BYTES))
        (store / "probe").unlink()
    except OSError:
        return True
    return False


def _provenance(started: datetime, clock: float, device: str) -> Provenance:
    torch_module = sys.modules.get("torch")
    name, threads = device, 1
    if torch_module is not None:
        threads = torch_module.get_num_threads()
        name = _device_name(torch_module, device)
    return Provenance(
        host=machine.host(),
        pid=os.getpid(),
        device=name,
        threads=threads,
        started=started.isoformat(timespec="milliseconds"),
        seconds=round(time.perf_counter() - clock, 6),
        peak_memory_mb=round(machine.peak_memory_mb(), 1),
        versions=machine.versions(),
        commit=machine.commit(),
        source_digest=machine.source_digest(),
    )


def _device_name(torch_module: Any, device: str) -> str:
    kind: torch.device = torch_module.device(device)
    return torch_module.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type


@contextlib.contextmanager
def _redirect_output(log: Path) -> Iterator[None]:
    """Write everything that the task prints to its log."""
    with log.open("a", encoding="utf-8", buffering=1) as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield
