"""Resident workers on a Ray cluster: one per core, or several per GPU where there are GPUs. The only file that imports Ray.

    hired      asked of Ray; it starts when a node has room
    idle       has said which code it runs, and waits
    at work    computes a dispatch

Only those that have answered count as slots, so that nothing is handed to a worker for which no node has room. Nodes may come
and go: a lost worker is replaced where there is room, and new cores are used.
Not here: which dispatch comes next, and what becomes of a lost one (`schedule`).
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
from runtime.execution.engine import Landing
from runtime.execution.worker import REHEARSALS, Dispatch, compute, prepare
from runtime.outcome import Outcome

PATIENCE = 90.0
"""Seconds without a single worker after which the cluster is taken to have no room: a cold node needs 5 to 10."""

LOOK_AROUND = 10.0
"""Seconds between looks at what the cluster has."""

MOST_PER_GPU = 8


class RayEngine:
    """`address` None starts a cluster on this machine and takes it down again; otherwise a running one is joined, our code is sent
    to its nodes, and the store must be a folder that they share.

    `workers` None means one per core, or as many per GPU as `gpu_memory` (GiB that a worker may need) allows. SynthcError when Ray
    cannot start, when there is nothing to run on, or when a node has other versions than this one.
    """

    def __init__(
        self, store: Path, address: str | None = None, workers: int | None = None, gpu_memory: float = 8.0,
        operations: Mapping[str, str] = REHEARSALS,
    ) -> None:
        self.store, self._asked, self._operations = store, workers, operations
        self._ray = _start_ray(address, workers)
        self._remote = self._ray.remote(_Worker)
        self._hired: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._at_work: dict[Any, tuple[Any, Dispatch]] = {}
        self._killed: set[Dispatch] = set()
        self._alone_since = self._looked = time.monotonic()
        try:
            self._share, self._memory = self._gpu_share(gpu_memory)
            for _ in range(self._wanted()):
                self._hire()
            if not self._hired:
                raise SynthcError(f"the Ray cluster has {self._offer()}, no room for a worker; add a node, or use --engine inline")
            while not self._idle:
                self.wait(1.0)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        return len(self._idle) + len(self._at_work)

    def submit(self, dispatch: Dispatch) -> None:
        worker = self._idle.pop()
        self._at_work[worker.compute.remote(dispatch)] = worker, dispatch

    def wait(self, seconds: float) -> list[Landing]:
        landed, _ = self._ray.wait([*self._at_work, *self._hired], timeout=seconds)
        landings = [self._land(ref) for ref in landed if ref in self._at_work]
        for ref in landed:
            if ref in self._hired:
                self._welcome(ref)
        self._keep_staffed()
        return landings

    def kill(self, dispatch: Dispatch) -> None:
        for worker, at_work in self._at_work.values():
            if at_work == dispatch and dispatch not in self._killed:
                self._killed.add(dispatch)
                self._ray.kill(worker)

    def close(self) -> None:
        for worker, _ in self._at_work.values():
            with contextlib.suppress(Exception):
                self._ray.kill(worker)
        self._do_not_wait_for_the_deaf()
        self._ray.shutdown()

    def _do_not_wait_for_the_deaf(self) -> None:
        """Ray asks each daemon by SIGTERM and waits a second; ours do not hear it and are killed at once: 0.4 instead of 5.3 s."""
        with contextlib.suppress(AttributeError):   # private to Ray: where it is gone, the end takes seconds longer
            node = self._ray._private.worker._global_node
            end = node.kill_all_processes
            node.kill_all_processes = lambda **words: end(**{**words, "allow_graceful": False})

    def _hire(self) -> None:
        device = "cuda" if self._share else "cpu"
        # A CPU worker would see every GPU of the node: CUDA_VISIBLE_DEVICES stays unset for num_gpus=0.
        environment = {} if self._share else {"CUDA_VISIBLE_DEVICES": ""}
        options = {"num_cpus": 1, "num_gpus": self._share, "max_restarts": 0, "runtime_env": {"env_vars": environment}}
        worker = self._remote.options(**options).remote(str(self.store), device, self._memory, self._operations)
        self._hired[worker.hello.remote()] = worker

    def _welcome(self, ref: Any) -> None:
        worker = self._hired.pop(ref)
        try:
            said = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise SynthcError(f"a worker cannot start: {first_line(error.cause or error)}") from error
        except self._ray.exceptions.RayError:
            self._hire()   # its node was lost before it could say anything
            return
        ours = identity()
        if other := {word: said[word] for word in ours if said[word] != ours[word]}:
            differing = ", ".join(f"{word} {said[word]} there, {ours[word]} here" for word in other)
            raise SynthcError(f"the node {said['host']} has other versions ({differing}); install the same on all nodes")
        if said["lock"] != lock_of(self.store):
            raise SynthcError(f"the node {said['host']} does not see the store {self.store}; name a folder that all nodes share")
        self._idle.append(worker)

    def _land(self, ref: Any) -> Landing:
        worker, dispatch = self._at_work.pop(ref)
        try:
            landing = Landing(dispatch, tuple(self._ray.get(ref)))
            self._idle.append(worker)
            return landing
        except self._ray.exceptions.OutOfMemoryError as error:
            landing = Landing(dispatch, lost="out_of_memory", reason=f"stopped for lack of memory: {first_line(error)}")
        except self._ray.exceptions.RayError as error:
            late = dispatch in self._killed
            self._killed.discard(dispatch)
            reason = "took longer than its --timeout" if late else f"the worker died: {first_line(error)}"
            landing = Landing(dispatch, lost="timeout" if late else "crash", reason=reason)
        with contextlib.suppress(Exception):
            self._ray.kill(worker)
        self._hire()
        return landing

    def _keep_staffed(self) -> None:
        """Use nodes that came; give up when none is left."""
        now = time.monotonic()
        if self.slots:
            self._alone_since = now
        elif now - self._alone_since > PATIENCE:
            need = f"1 CPU and {self._share:g} GPU" if self._share else "1 CPU"
            raise SynthcError(
                f"no worker could start for {PATIENCE:.0f} s: each needs {need}, and the Ray cluster has {self._offer()}; "
                "add a node, then run again to go on"
            )
        if now - self._looked > LOOK_AROUND:
            self._looked = now
            for _ in range(self._wanted() - self.slots - len(self._hired)):
                self._hire()

    def _wanted(self) -> int:
        if self._asked:
            return self._asked
        there = self._ray.cluster_resources()
        cpus, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
        return min(cpus, int(gpus / self._share)) if self._share else cpus

    def _gpu_share(self, needed: float) -> tuple[float, float]:
        """Share of a GPU for each worker and the part of its memory that it may take; zeros where there is no GPU."""
        if not self._ray.cluster_resources().get("GPU"):
            return 0.0, 0.0
        probe = self._ray.remote(num_gpus=1, max_calls=1)(_gpu_memory).remote()
        ready, _ = self._ray.wait([probe], timeout=PATIENCE)
        if not ready:
            raise SynthcError(f"no GPU of the Ray cluster answered for {PATIENCE:.0f} s; it has {self._offer()}")
        workers = workers_per_gpu(self._ray.get(probe), needed)
        return 1 / workers, 1 / workers

    def _offer(self) -> str:
        there = self._ray.cluster_resources()
        return ", ".join(f"{there[name]:g} {name}" for name in ("CPU", "GPU") if name in there) or "neither CPU nor GPU"


def workers_per_gpu(memory: float, needed: float) -> int:
    """How many workers share a GPU of `memory` GiB when each may need `needed`: a power of two, so that shares are exact eighths.

    SynthcError if not one fits.
    """
    if memory < needed:
        raise SynthcError(f"a worker may need {needed:g} GiB of GPU memory and a GPU here has {memory:.0f}; lower --gpu-memory")
    return max(count for count in (1, 2, 4, MOST_PER_GPU) if count * needed <= memory)


def identity() -> dict[str, str]:
    """What must be the same on all nodes."""
    return machine.versions() | {"source": machine.source_digest()}


def lock_of(store: Path) -> str | None:
    """Who holds the store, as a node sees it: by this a folder of the same name on another disk is told apart."""
    try:
        return (store / "lock").read_text()
    except OSError:
        return None


class _Worker:
    """The resident process on a node."""

    def __init__(self, store: str, device: str, memory_share: float, operations: Mapping[str, str]) -> None:
        self.store, self.device, self.operations = Path(store), device, operations
        prepare()
        if device == "cuda":
            import torch

            torch.cuda.set_per_process_memory_fraction(memory_share)   # Ray's shares are bookkeeping, without isolation

    def hello(self) -> dict[str, Any]:
        return identity() | {"host": machine.host(), "lock": lock_of(self.store)}

    def compute(self, dispatch: Dispatch) -> list[Outcome]:
        return compute(dispatch, self.store, self.device, self.operations)


def _gpu_memory() -> float:
    """GiB of the GPU at hand."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) / 2**30


def _start_ray(address: str | None, workers: int | None) -> Any:
    # All of these are read when Ray starts. Usage statistics leave the machine unless the value is exactly "0".
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ["RAY_task_oom_retries"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    if address is None:
        # Token authentication stays on; a token of our own needs no writable home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
        where: dict[str, Any] = {"include_dashboard": False, "num_cpus": max(machine.cores(), workers or 0)}
    else:
        packages = [str(machine.ROOT / name) for name in ("compiler", "runtime")]
        where = {"address": address, "runtime_env": {"py_modules": packages}}
    import ray

    # Ray puts the driver's working directory first on every worker's path: a stray `runtime/` there would replace ours.
    with contextlib.chdir(machine.ROOT), _deaf_children():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
        except Exception as error:
            raise SynthcError(
                f"Ray did not start{f' at {address}' if address else ''}: {first_line(error)}; `--engine inline` runs without it"
            ) from error
    return ray


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started in this block do not hear SIGTERM.

    A batch system sends it to a whole group: Ray's daemons would be gone before the driver has finished what is running, and the
    driver would wait a minute for them. They still die with the driver.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
