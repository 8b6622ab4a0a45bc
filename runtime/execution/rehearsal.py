"""A task that sleeps and then ends well or fails in a given way, for tests and benchmarks of the runtime."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Mapping

import torch

from compiler.work.operations import Rehearsal
from runtime.outcome import Diverged, Metric, Product
from runtime.store.artifacts import Artifact


class TwoPartError(Exception):
    """An exception that cannot be unpickled: its constructor takes two arguments and passes one on."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


def perform(work: Rehearsal, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """Sleep for `work.seconds`, then end as `work.ending` says: raise an exception (TwoPartError, Diverged, MemoryError,
    SystemExit, KeyboardInterrupt or OSError), kill this process (`crash once`: unless the file $SYNTHC_REHEARSAL_MARK exists, which
    it makes), or print a line and return a product. The product's metric `needs`, and its tensor `seen` in the file `out`, is the
    number of metrics in the inputs' outcomes, with n the number of inputs."""
    if work.seconds:  # sleeping for 0 s would yield the core
        time.sleep(work.seconds)
    match work.ending:
        case "exception":
            raise TwoPartError("rehearsed", "the end")
        case "diverged":
            raise Diverged("rehearsed divergence: loss is nan")
        case "out_of_memory":
            raise MemoryError("rehearsed lack of memory")
        case "exit":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "disk elsewhere":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash once":
            mark = os.environ.get("SYNTHC_REHEARSAL_MARK", "/nonexistent")
            if not os.path.exists(mark):
                with open(mark, "x"):
                    os.kill(os.getpid(), signal.SIGKILL)
    print(f"rehearsed {work.label}")
    there = sum(len(artifact.outcome["metrics"]) for artifact in inputs.values())
    return Product(files={"out": {"seen": torch.tensor([there])}}, metrics=(Metric("needs", float(there), n=len(inputs)),))
