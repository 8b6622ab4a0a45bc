"""Computes the tasks of a dispatch: for each, runs its operation, writes and commits the artifact, and returns an outcome. An error
becomes a failed outcome.

A worker process is resident, so that torch and data stay loaded. It does not open the database.
Each task of a dispatch commits alone, and its numbers do not depend on the other tasks.
Not here: the order of tasks (`driver`), what an operation computes (`runtime.operations` names the modules).
"""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from compiler.errors import sentence_of
from compiler.language.plugins import own_modules
from compiler.work.operations import Work
from runtime import machine
from runtime.outcome import Diverged, Metric, Outcome, Product, Provenance, Stopped
from runtime.store.artifacts import Artifact, folder_of, quarantine
from runtime.store.commit import Staged, commit_async, stage
from runtime.store.files import atomic_write
from runtime.store.records import Corrupt, write_record

REHEARSAL_OPERATIONS = {"Rehearsal": "runtime.execution.rehearsal"}
"""The operation for tests. Those of studies are in `runtime.operations`, which the command line passes to the engine."""


@dataclass(frozen=True, eq=False)  # equal by identity: comparing whole works would be slow
class TaskRequest:
    """One task for a worker to compute: ids and parameters without data. `needs`: pairs of role and task id; `attempt`: the number
    of this attempt. Equal only to itself."""

    task: str
    work: Work
    needs: tuple[tuple[str, str], ...]
    address: str
    text: str
    attempt: int


Dispatch = tuple[TaskRequest, ...]
"""A batch of tasks that one worker computes in turn; none needs another."""


PROBE_BYTES = 2**24
"""Bytes written to find out whether a disk is full: more than most checkpoints of a study's nets."""
MAX_ERROR_LETTERS = 2_000
"""Longest error text in rows, on pages and on a terminal."""


def prepare_worker() -> None:
    """Set up torch in this process: one thread on the CPU, and denormal numbers are flushed to zero there. One thread because one
    process per core is faster than one with many threads.

    Measured on two cores, several processes against one: 6,860 against 6,590 images per second (fp32), 9,100 against 6,085 (bf16).
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # arithmetic on denormal numbers is up to a hundred times slower


def compute(
    dispatch: Sequence[TaskRequest], store: Path, device: str = "cpu", operations: Mapping[str, str] = REHEARSAL_OPERATIONS
) -> list[Outcome]:
    """Compute each task of the dispatch and commit it; returns an outcome for each, in the order of the dispatch. A task that is
    committed already is not computed again. What a task raises becomes its outcome, `failed` (a store that cannot be written, too,
    with the kind of error `storage`); `Stopped` alone is passed on. The commit of a task whose damaged artifact is read is
    quarantined. What is printed meanwhile goes to the attempt's log.

    `device`: for `torch.device`. `operations`: name of an operation → the module whose `perform(work, inputs, device) -> Product`
    computes it.
    """
    outcomes = [_compute(request, store, device, operations, alone=len(dispatch) == 1) for request in dispatch]
    return [outcome if isinstance(outcome, Outcome) else outcome.result() for outcome in outcomes]


def _compute(
    request: TaskRequest, store: Path, device: str, operations: Mapping[str, str], alone: bool
) -> Outcome | Future[Outcome]:
    """Compute one task, unless it is committed already, with its output in the attempt's log. Returns its outcome; of a task
    that succeeds, is not `alone` in its dispatch and has no checkpoints, a future of it: its files are then synced while the next
    task runs. `Stopped` alone is raised."""
    folder = folder_of(store, request.task)
    provenance = partial(_provenance, request.work, datetime.now(UTC), time.perf_counter(), time.process_time(), device)
    machine.reset_peak_memory()
    try:
        if (before := read_committed(folder)) is not None:  # a worker died between the commit and its answer
            return before
        log = _begin_attempt(request, folder)
        with log.open("a", encoding="utf-8", buffering=1) as out, redirect_stdout(out), redirect_stderr(out):
            try:
                from runtime.store import checkpoint  # loads torch, which only a worker needs

                with checkpoint.checkpoints_in(folder) as loops:
                    product = _perform(request, store, device, operations)
                    if curves := loops.curves():
                        product = dataclasses.replace(product, notes={**product.notes, "losses": curves})
                    staged = _stage(request, folder, product, provenance())
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
                outcome = _failure(request, error, provenance(), _classify(error), log.relative_to(store).as_posix())
                write_record(log.with_name("attempt.json"), outcome.attempt_json())
                return outcome
        return commit_async(lambda: _commit(request, staged))
    except OSError as error:  # outside the task's own work: the disk is full, or the store cannot be written
        return _failure(request, error, provenance(), "storage")


def _commit(request: TaskRequest, staged: Staged) -> Outcome:
    try:
        return staged.commit()
    except OSError as error:
        return _failure(request, error, staged.outcome.provenance, "storage")


def commit_product(request: TaskRequest, product: Product, started: datetime, seconds: float, store: Path) -> Outcome:
    """Commit a product that this process has computed on the CPU from `started` (UTC) in `seconds`, outside of an engine, and
    return its outcome; an earlier commit of the task is returned instead. OSError where the store cannot be written, ValueError as
    of `stage`."""
    folder = folder_of(store, request.task)
    if (before := read_committed(folder)) is not None:
        return before
    _begin_attempt(request, folder)
    began = time.perf_counter() - seconds, time.process_time() - seconds
    return _stage(request, folder, product, _provenance(request.work, started, *began, "cpu")).commit()


def _begin_attempt(request: TaskRequest, folder: Path) -> Path:
    """Make the attempt's folder and write the task's `task.json`; returns the path of the log, which is not made."""
    log = folder / "attempts" / str(request.attempt) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    asked = {"id": request.task, "address": request.address, "text": request.text, "needs": request.needs}
    write_record(folder / "task.json", asked)
    return log


def _perform(request: TaskRequest, store: Path, device: str, operations: Mapping[str, str]) -> Product:
    import torch

    inputs = {role: Artifact(folder_of(store, need)) for role, need in request.needs}
    module = importlib.import_module(operations[type(request.work).__name__])
    on = torch.device(device)
    # The global generators are seeded so that plug-ins' code does not depend on earlier tasks; built-in operations do not use them.
    # Not `torch.manual_seed`: without a GPU it stores a traceback at each call, for when CUDA is initialised.
    torch.default_generator.manual_seed(0)
    if on_gpu := on.type == "cuda" and request.work.kind not in ("attack", "compare"):  # those stay on the CPU
        torch.cuda.manual_seed_all(0)
        torch.cuda.reset_peak_memory_stats(on)
    product: Product = module.perform(request.work, inputs, on)
    if not on_gpu:
        return product
    held = Metric("gpu_memory_mb", torch.cuda.max_memory_allocated(on) / 1e6, n=1, note="most that torch held, without its context")
    return dataclasses.replace(product, metrics=(*product.metrics, held))


def read_committed(folder: Path) -> Outcome | None:
    """The committed outcome in a task's folder; None if there is none, or if it is damaged, and then it is quarantined. Files of
    tensors are not checked."""
    if not os.path.lexists(folder / "outcome.json"):
        return None
    try:
        content = Artifact(folder).outcome
        metrics = tuple(Metric(**row) for row in content["metrics"])
        return Outcome(**{**content, "metrics": metrics, "provenance": Provenance(**content["provenance"])})
    except (Corrupt, TypeError):
        quarantine(folder)
        return None


def _stage(request: TaskRequest, folder: Path, product: Product, provenance: Provenance) -> Staged:
    log = f"{folder.parent.name}/{folder.name}/attempts/{request.attempt}/log.txt"
    outcome = Outcome(request.task, "done", product.metrics, product.notes, provenance, log=log)
    return stage(folder, request.attempt, product.files, outcome)


def _failure(request: TaskRequest, error: BaseException, provenance: Provenance | None, kind: str, log: str = "") -> Outcome:
    if kind == "storage" and isinstance(error, OSError):
        message = sentence_of(error)
    else:
        said = str(error)
        more = f" … ({len(said):,} letters, the log has them)" if len(said) > MAX_ERROR_LETTERS else ""
        message = f"{type(error).__name__}: {' '.join(said[:MAX_ERROR_LETTERS].split()) or type(error).__name__}{more}"
    return Outcome(request.task, "failed", provenance=provenance, error=message, error_kind=kind, log=log)


def _classify(error: BaseException) -> str:
    """The kind of an error in a task's own code, by which the driver decides on a retry: `diverged`, `corrupt`, `out_of_memory`,
    else `exception`."""
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, Corrupt):
        return "corrupt"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out_of_memory"
    return "exception"


def _is_of_store(error: OSError, store: Path) -> bool:
    """Whether an error is about the store: it names a path there and is no FileNotFoundError; or it says that a disk or quota is
    full or a disk is read-only or failing, and no file of PROBE_BYTES can be written to the store now (it is tried, and deleted
    again).

    A failed write does not name its file, and a task may write to another disk.
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


def _provenance(work: Work, started: datetime, clock: float, cpu: float, device: str) -> Provenance:
    import torch

    return Provenance(
        host=machine.host(),
        pid=os.getpid(),
        device=device if device == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
        started=started.isoformat(timespec="milliseconds"),
        seconds=round(time.perf_counter() - clock, 6),
        cpu_seconds=round(time.process_time() - cpu, 6),
        peak_memory_mb=round(machine.peak_memory_mb(), 1),
        versions=machine.versions(),
        commit=machine.commit(),
        source_digest=machine.source_digest(),
        cpu=machine.cpu(),
        own_code={name: machine.package_digest(module) for name, module in own_modules(work).items()},
    )
