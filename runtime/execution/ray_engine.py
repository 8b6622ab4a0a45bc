"""An engine of resident workers on a Ray cluster: one per core, or several per GPU where there are GPUs.

    starting     requested from Ray; it starts when a node has room
    idle         has described its node, and waits for a dispatch
    computing    computes a dispatch

Only idle and computing workers count as slots, so that no dispatch is submitted to a worker for which no node has room. Nodes may
join and leave: a lost worker is replaced where there is room, new cores are used, and a node that cannot compute the same results
(other versions, another folder, a GPU that torch cannot use) is left out.
Not here: the cluster (`cluster`), the order of dispatches and retries of lost ones (`driver`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, first_line, plural
from runtime import machine
from runtime.execution.cluster import Cluster, node_id
from runtime.execution.engine import BatchResult
from runtime.execution.worker import REHEARSAL_OPERATIONS, Dispatch, compute, prepare_worker
from runtime.outcome import Outcome

WORKER_GRACE_SECONDS = 180.0
"""Time without any worker after which the cluster is taken to have no room: a worker on a cold node needs 5 to 10 s to start."""

CHECK_SECONDS = 10.0
"""Time between two checks of the cluster's head and nodes."""

HEAD_GRACE_SECONDS = 20.0
"""Time without a connection to the head after which the cluster is taken to have ended. Ray would abort this process after 60 s."""

REHEARSED_GPU_GIB = 16.0
"""Memory assumed for a GPU where GPU runs are rehearsed on the CPU."""


class RayEngine:
    """Computes dispatches on Ray workers. `address` None or "local" starts a cluster on this machine, which ends with the engine;
    otherwise a running one is joined, this code is sent to its nodes, and the store must be a folder that they share. The
    constructor returns when a first worker is idle.

    `workers`: the most workers; None means one per core, or as many per GPU as `gpu_memory` (GiB that a worker may need) allows
    (see `workers_per_gpu`), at most one per core. `operations`: as of `worker.compute`. `with_token`: as of `Cluster`.
    `rehearse_gpus`: shares of GPUs are requested from Ray, and computed on the CPU. `say` is called with lines for the user: the
    cluster that was joined, nodes that are left out. SynthcError when Ray cannot start or be joined, when a GPU is too small or
    cannot be used, when there is none to rehearse, or when no node can run a worker (see WORKER_GRACE_SECONDS).
    """

    def __init__(
        self,
        store: Path,
        address: str | None = None,
        workers: int | None = None,
        gpu_memory: float = 8.0,
        operations: Mapping[str, str] = REHEARSAL_OPERATIONS,
        *,
        with_token: bool = True,
        rehearse_gpus: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.store, self._requested, self._operations, self._say = store, workers, operations, say
        self._on_gpu = not rehearse_gpus
        self._cluster = Cluster(address, max(machine.cores(), workers or 0), with_token)
        self._ray = self._cluster.ray
        self._remote = self._ray.remote(_Worker)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._computing: dict[Any, tuple[Any, Dispatch]] = {}
        self._killed: set[Dispatch] = set()
        self._left_out: dict[str, str] = {}
        """Node → why no worker runs on it; "" stands for nodes on which a worker died before it reported its node."""
        self._had_worker_at = self._had_head_at = time.monotonic()
        self._check_at = 0.0
        try:
            self._share = self._divide_gpu(gpu_memory)
            if address not in (None, "local"):
                nodes = sum(node["Alive"] for node in self._ray.nodes())
                say(f"joined the Ray cluster at {self._cluster.address}: {plural(nodes, 'node')}, {self._list_resources()}")
            if not self._count_workers():
                hint = "add a node, or use --engine inline"
                raise SynthcError(f"the Ray cluster has {self._list_resources()}, no room for a worker; {hint}")
            while not self._idle:
                if self._left_out and not self._starting:
                    raise SynthcError("; ".join(self._left_out.values()))
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
        self._adjust_workers()
        if not (waiting := [*self._computing, *self._starting]):
            time.sleep(seconds)
        ready, _ = self._ray.wait(waiting, timeout=seconds)
        results = [self._collect(ref) for ref in ready if ref in self._computing]
        for ref in ready:
            if ref in self._starting:
                self._register(ref)
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
        self._cluster.close()

    def _start_worker(self) -> None:
        # A CPU worker would see every GPU of the node: CUDA_VISIBLE_DEVICES stays unset for num_gpus=0.
        environment = {} if self._share else {"CUDA_VISIBLE_DEVICES": ""}
        options = {"num_cpus": 1, "num_gpus": self._share, "max_restarts": 0, "runtime_env": {"env_vars": environment}}
        if nodes := [node for node in self._left_out if node]:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(nodes)})"}
        worker = self._remote.options(**options).remote(self.store, self._share if self._on_gpu else 0.0, self._operations)
        self._starting[worker.describe.remote()] = worker

    def _register(self, ref: Any) -> None:
        worker = self._starting.pop(ref)
        try:
            theirs = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False) or not isinstance(error, self._ray.exceptions.RayActorError):
                self._leave_out("", f"a worker cannot start: {str(error).strip().splitlines()[-1]}")
            return  # otherwise its node was lost before it answered
        if fault := _find_fault(theirs, self.store):
            self._leave_out(theirs["node"], fault)
            self._ray.kill(worker)
        else:
            self._idle.append(worker)

    def _leave_out(self, node: str, fault: str) -> None:
        if self._left_out.get(node) != fault:
            self._left_out[node] = fault
            if self.slots:
                self._say(f"{fault}; computing goes on without it")

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
        self._check_at = 0.0  # replaced at once
        return result

    def _adjust_workers(self) -> None:
        """Start missing workers, also on new nodes, if CHECK_SECONDS have passed or a worker was lost; SynthcError when the head
        has not answered for HEAD_GRACE_SECONDS, or no worker was idle or computing for WORKER_GRACE_SECONDS."""
        now = time.monotonic()
        if self.slots:
            self._had_worker_at = now
        elif now - self._had_worker_at > WORKER_GRACE_SECONDS:
            need = f"1 CPU and {self._share:g} GPU" if self._share else "1 CPU"
            raise SynthcError(
                f"no worker could start for {WORKER_GRACE_SECONDS:.0f} s: each needs {need}, and the Ray cluster has "
                f"{'; '.join([self._list_resources(), *self._left_out.values()])}; add a node, then run again to go on"
            )
        if now < self._check_at:
            return
        if not self._cluster.answers():
            if now - self._had_head_at > HEAD_GRACE_SECONDS:
                raise SynthcError(
                    f"the head of the Ray cluster ({self._cluster.address}) has not answered for {HEAD_GRACE_SECONDS:.0f} s; "
                    "what is committed stays: run again to go on"
                )
            self._check_at = now + 1.0
            return
        self._had_head_at, self._check_at = now, now + CHECK_SECONDS
        for _ in range(self._count_workers() - self.slots - len(self._starting)):
            self._start_worker()

    def _count_workers(self) -> int:
        """Number of workers to have: as many as the nodes that are alive and not left out have room for, at most as many as the
        user requested (None: no limit)."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in self._left_out]
        room = sum(_count_on(node, self._share) for node in nodes)
        return min(self._requested or room, room)

    def _divide_gpu(self, needed: float) -> float:
        """Share of a GPU, and of its memory, for each worker; 0 where there is no GPU. One GPU of the cluster is asked for its
        memory; in a rehearsal it is REHEARSED_GPU_GIB.

        SynthcError where that is less than `needed` (GiB), torch cannot use the GPU, none answers within WORKER_GRACE_SECONDS, or
        none is there to rehearse.
        """
        if not self._ray.cluster_resources().get("GPU"):
            if self._on_gpu:
                return 0.0
            raise SynthcError(f"no GPU to rehearse: the Ray cluster has {self._list_resources()}; start nodes with --num-gpus")
        if not self._on_gpu:
            return 1 / workers_per_gpu(REHEARSED_GPU_GIB, needed)
        probe = self._ray.remote(num_gpus=1, max_calls=1)(_gpu_memory).remote()
        ready, _ = self._ray.wait([probe], timeout=WORKER_GRACE_SECONDS)
        if not ready:
            found = self._list_resources()
            raise SynthcError(f"no GPU of the Ray cluster answered for {WORKER_GRACE_SECONDS:.0f} s; it has {found}")
        memory = self._ray.get(probe)
        if isinstance(memory, str):
            raise SynthcError(memory)
        return 1 / workers_per_gpu(memory, needed)

    def _list_resources(self) -> str:
        resources = self._ray.cluster_resources()
        return ", ".join(f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if name in resources) or "neither CPU nor GPU"


def workers_per_gpu(memory: float, needed: float) -> int:
    """Number of workers that share a GPU of `memory` GiB when each may need `needed` GiB: the largest of 1, 2, 4 and 8 that fits.

    SynthcError if not one fits.
    """
    if memory < needed:
        raise SynthcError(f"a worker may need {needed:g} GiB of GPU memory and a GPU here has {memory:.0f}; lower --gpu-memory")
    return max(count for count in (1, 2, 4, 8) if count * needed <= memory)


def identity() -> dict[str, str]:
    """Library → version, and `source` → digest of the source of `compiler` and `runtime`: they must be the same on all nodes."""
    return machine.versions() | {"source": machine.source_digest()}


def read_lock(store: Path) -> str | None:
    """Content of the store's lock file as this node reads it, None where it cannot: it tells a shared folder from another one of
    the same path."""
    try:
        return (store / "lock").read_text()
    except OSError:
        return None


def _count_on(node: Mapping[str, float], share: float) -> int:
    """Number of workers for which a node with these resources has room: one per CPU; unless `share` is 0, at most one per `share`
    of a GPU, too."""
    cpus = int(node.get("CPU", 0))
    return min(cpus, int(node.get("GPU", 0) / share)) if share else cpus


def _find_fault(theirs: Mapping[str, Any], store: Path) -> str:
    """Why a worker's node, described by `theirs` (see `_Worker.describe`), cannot compute the same results as this machine; ""
    where it can."""
    ours = identity()
    if differing := ", ".join(f"{name} {theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name]):
        return f"the node {theirs['host']} has other versions ({differing}); install the same on all nodes"
    if theirs["lock"] != read_lock(store):
        return f"the node {theirs['host']} does not see the store {store}; name a folder that all nodes share"
    return str(theirs["fault"])


class _Worker:
    """The Ray actor that is resident on a node. Its constructor does nothing that can fail where the dependencies are installed."""

    def __init__(self, store: Path, gpu_share: float, operations: Mapping[str, str]) -> None:
        self.store, self.gpu_share, self.operations = store, gpu_share, operations

    def describe(self) -> dict[str, Any]:
        """Set up torch, with no more GPU memory than this worker's share, and return what the engine checks before it submits work:
        the versions of `identity`, `host`, `node`, the store's `lock`, and `fault`, why torch cannot use the GPU ("" where it can,
        or none is used)."""
        prepare_worker()
        fault = ""
        if self.gpu_share:
            import torch

            if isinstance(memory := _gpu_memory(), str):
                fault = memory
            else:
                torch.cuda.set_per_process_memory_fraction(self.gpu_share)  # Ray's shares are bookkeeping, without isolation
        return identity() | {"host": machine.host(), "node": node_id(), "lock": read_lock(self.store), "fault": fault}

    def compute(self, dispatch: Dispatch) -> list[Outcome]:
        return compute(dispatch, self.store, "cuda" if self.gpu_share else "cpu", self.operations)


def _gpu_memory() -> float | str:
    """Memory of this worker's GPU in GiB, or why torch cannot use it."""
    import torch

    try:
        return float(torch.cuda.get_device_properties(0).total_memory) / 2**30
    except (AssertionError, RuntimeError) as error:
        return (
            f"torch cannot use the GPU of {machine.host()}: {first_line(error)}; install a torch that can, compute on the CPU "
            "(CUDA_VISIBLE_DEVICES= where a run starts Ray itself), or only rehearse with --rehearse-gpus"
        )
