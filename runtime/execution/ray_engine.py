"""Resident workers on a Ray cluster: one per core, or several per GPU where there are GPUs. The only file that imports Ray.

    starting     requested from Ray; it starts when a node has room
    idle         has sent the versions of its code, and waits
    computing    computes a dispatch

Only idle and computing workers count as slots, so that no dispatch is submitted to a worker for which no node has room. Nodes may
come and go: a lost worker is replaced where there is room, and new cores are used.
Not here: which dispatch comes next, and what becomes of a lost one (`driver`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, first_line
from runtime import machine
from runtime.execution.engine import BatchResult
from runtime.execution.worker import REHEARSAL_OPERATIONS, Dispatch, compute, prepare_worker
from runtime.outcome import Outcome

WORKER_GRACE_SECONDS = 90.0
"""Time without a single worker after which the cluster is taken to have no room: a cold node needs 5 to 10 s."""

RESOURCE_CHECK_SECONDS = 10.0
"""Time between checks of the cluster's resources."""


RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # they leave the machine unless the value is exactly "0"
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # otherwise `uv run` rebuilds the environment for each worker
    "RAY_task_oom_retries": "0",  # without limit by default; the driver tries again
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment that is read when Ray starts."""


class RayEngine:
    """`address` None starts a cluster on this machine and takes it down again; otherwise a running one is joined, our code is sent
    to its nodes, and the store must be a folder that they share.

    `workers` None means one per core, or as many per GPU as `gpu_memory` (GiB that a worker may need) allows. SynthcError when Ray
    cannot start, when there is nothing to run on, or when a node has other versions than this one.
    """

    def __init__(
        self,
        store: Path,
        address: str | None = None,
        workers: int | None = None,
        gpu_memory: float = 8.0,
        operations: Mapping[str, str] = REHEARSAL_OPERATIONS,
    ) -> None:
        self.store, self._requested, self._operations = store, workers, operations
        self._ray = _start_ray(address, workers)
        self._remote = self._ray.remote(_Worker)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._computing: dict[Any, tuple[Any, Dispatch]] = {}
        self._killed: set[Dispatch] = set()
        self._had_worker_at = self._checked_at = time.monotonic()
        try:
            self._share = self._divide_gpu(gpu_memory)
            for _ in range(self._count_workers()):
                self._start_worker()
            if not self._starting:
                hint = "add a node, or use --engine inline"
                raise SynthcError(f"the Ray cluster has {self._list_resources()}, no room for a worker; {hint}")
            while not self._idle:
                self.wait(1.0)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        return len(self._idle) + len(self._computing)

    def submit(self, dispatch: Dispatch) -> None:
        worker = self._idle.pop()
        self._computing[worker.compute.remote(dispatch)] = worker, dispatch

    def wait(self, seconds: float) -> list[BatchResult]:
        ready, _ = self._ray.wait([*self._computing, *self._starting], timeout=seconds)
        results = [self._collect(ref) for ref in ready if ref in self._computing]
        for ref in ready:
            if ref in self._starting:
                self._register(ref)
        self._adjust_workers()
        return results

    def kill(self, dispatch: Dispatch) -> None:
        for worker, computing in self._computing.values():
            if computing == dispatch and dispatch not in self._killed:
                self._killed.add(dispatch)
                self._ray.kill(worker)

    def close(self) -> None:
        for worker, _ in self._computing.values():
            with contextlib.suppress(Exception):
                self._ray.kill(worker)
        # Takes 5.1 s, a second for each of Ray's five daemons, which ignore the SIGTERM that Ray tries first (`_sigterm_blocked`);
        # 1.1 s if they did not (2 cores). Ray 2.60 has no setting for that second, and killing the daemons before takes 5.1 s too.
        self._ray.shutdown()

    def _start_worker(self) -> None:
        # A CPU worker would see every GPU of the node: CUDA_VISIBLE_DEVICES stays unset for num_gpus=0.
        environment = {} if self._share else {"CUDA_VISIBLE_DEVICES": ""}
        options = {"num_cpus": 1, "num_gpus": self._share, "max_restarts": 0, "runtime_env": {"env_vars": environment}}
        worker = self._remote.options(**options).remote(self.store, self._share, self._operations)
        self._starting[worker.describe.remote()] = worker

    def _register(self, ref: Any) -> None:
        worker = self._starting.pop(ref)
        try:
            theirs = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise SynthcError(f"a worker cannot start: {first_line(error.cause or error)}") from error
        except self._ray.exceptions.RayError:
            self._start_worker()  # its node was lost before it answered
            return
        ours = identity()
        if differing := ", ".join(f"{name} {theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name]):
            raise SynthcError(f"the node {theirs['host']} has other versions ({differing}); install the same on all nodes")
        if theirs["lock"] != read_lock(self.store):
            raise SynthcError(f"the node {theirs['host']} does not see the store {self.store}; name a folder that all nodes share")
        self._idle.append(worker)

    def _collect(self, ref: Any) -> BatchResult:
        worker, dispatch = self._computing.pop(ref)
        try:
            result = BatchResult(dispatch, tuple(self._ray.get(ref)))
            self._idle.append(worker)
            return result
        except self._ray.exceptions.OutOfMemoryError as error:
            result = BatchResult(dispatch, lost="out_of_memory", reason=f"stopped for lack of memory: {first_line(error)}")
        except self._ray.exceptions.RayError as error:
            late = dispatch in self._killed
            self._killed.discard(dispatch)
            reason = "took longer than its --timeout" if late else f"the worker died: {first_line(error)}"
            result = BatchResult(dispatch, lost="timeout" if late else "crash", reason=reason)
        with contextlib.suppress(Exception):
            self._ray.kill(worker)
        self._start_worker()
        return result

    def _adjust_workers(self) -> None:
        """Start workers on nodes that came; SynthcError when there has been no worker for too long."""
        now = time.monotonic()
        if self.slots:
            self._had_worker_at = now
        elif now - self._had_worker_at > WORKER_GRACE_SECONDS:
            need = f"1 CPU and {self._share:g} GPU" if self._share else "1 CPU"
            raise SynthcError(
                f"no worker could start for {WORKER_GRACE_SECONDS:.0f} s: each needs {need}, and the Ray cluster has "
                f"{self._list_resources()}; add a node, then run again to go on"
            )
        if now - self._checked_at > RESOURCE_CHECK_SECONDS:
            self._checked_at = now
            for _ in range(self._count_workers() - self.slots - len(self._starting)):
                self._start_worker()

    def _count_workers(self) -> int:
        """How many workers there should be."""
        if self._requested:
            return self._requested
        resources = self._ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        return min(cpus, int(gpus / self._share)) if self._share else cpus

    def _divide_gpu(self, needed: float) -> float:
        """Share of a GPU, and of its memory, for each worker; 0 where there is no GPU."""
        if not self._ray.cluster_resources().get("GPU"):
            return 0.0
        probe = self._ray.remote(num_gpus=1, max_calls=1)(_gpu_memory).remote()
        ready, _ = self._ray.wait([probe], timeout=WORKER_GRACE_SECONDS)
        if not ready:
            found = self._list_resources()
            raise SynthcError(f"no GPU of the Ray cluster answered for {WORKER_GRACE_SECONDS:.0f} s; it has {found}")
        return 1 / workers_per_gpu(self._ray.get(probe), needed)

    def _list_resources(self) -> str:
        resources = self._ray.cluster_resources()
        return ", ".join(f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if name in resources) or "neither CPU nor GPU"


def workers_per_gpu(memory: float, needed: float) -> int:
    """How many workers share a GPU of `memory` GiB when each may need `needed`: a power of two, so that shares are exact eighths.

    SynthcError if not one fits.
    """
    if memory < needed:
        raise SynthcError(f"a worker may need {needed:g} GiB of GPU memory and a GPU here has {memory:.0f}; lower --gpu-memory")
    return max(count for count in (1, 2, 4, 8) if count * needed <= memory)


def identity() -> dict[str, str]:
    """Versions of libraries and of our source, which must be the same on all nodes."""
    return machine.versions() | {"source": machine.source_digest()}


def read_lock(store: Path) -> str | None:
    """The owner of the store's lock, as this node reads it; it differs for a folder of the same name on another disk."""
    try:
        return (store / "lock").read_text()
    except OSError:
        return None


class _Worker:
    """The resident process on a node."""

    def __init__(self, store: Path, gpu_share: float, operations: Mapping[str, str]) -> None:
        self.store, self.device, self.operations = store, "cuda" if gpu_share else "cpu", operations
        prepare_worker()
        if gpu_share:
            import torch

            torch.cuda.set_per_process_memory_fraction(gpu_share)  # Ray's shares are bookkeeping, without isolation

    def describe(self) -> dict[str, Any]:
        return identity() | {"host": machine.host(), "lock": read_lock(self.store)}

    def compute(self, dispatch: Dispatch) -> list[Outcome]:
        return compute(dispatch, self.store, self.device, self.operations)


def _gpu_memory() -> float:
    """Memory of this worker's GPU, in GiB."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) / 2**30


def _start_ray(address: str | None, workers: int | None) -> Any:
    os.environ.update(RAY_SETTINGS)
    if address is None:
        # Token authentication stays on; a token of our own needs no writable home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
        options: dict[str, Any] = {"include_dashboard": False, "num_cpus": max(machine.cores(), workers or 0)}
    else:
        packages = [str(machine.ROOT / name) for name in ("compiler", "runtime")]
        options = {"address": address, "runtime_env": {"py_modules": packages}}
    import ray

    # Ray puts the driver's working directory first on every worker's path: a stray `runtime/` there would replace ours.
    with contextlib.chdir(machine.ROOT), _sigterm_blocked():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            raise SynthcError(
                f"Ray did not start{f' at {address}' if address else ''}: {first_line(error)}; `--engine inline` runs without it"
            ) from error
    return ray


@contextlib.contextmanager
def _sigterm_blocked() -> Iterator[None]:
    """Child processes started in this block inherit a blocked SIGTERM.

    A batch system sends it to a whole group or job: Ray's daemons would be gone before the driver has finished what is running, and
    the driver would wait a minute for them. They still die with the driver.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
