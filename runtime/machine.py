"""This machine and this installation: what is recorded beside every result and enters no id.

Does not import torch, which takes two seconds that a run with nothing to do should not spend.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
import time
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

from compiler.errors import SynthcError

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds `compiler` and `runtime`."""

RECORDED_PACKAGES = ("synthc", "torch", "numpy", "scipy", "scikit-learn", "diffusers", "dp-accounting", "ray", "duckdb")


def cores() -> int:
    """Number of logical cores that this process may use by its affinity; where the system has no affinities, that of the machine,
    or 1 if unknown.

    A container's quota of processor time is not read.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_room_for_threads(needed: int, who: str, would_do: str = "") -> None:
    """SynthcError unless `needed` more threads can be started in this process. They are started, and ended again, since limits may
    be the user's or the container's.

    Without this check OpenBLAS ends the process by SIGINT, like Ctrl-C, and Ray hangs or fails an assertion. `who` begins the
    error's text, as what needs the threads; `would_do` ends it.
    """
    ended, started, before = threading.Event(), [], threading.stack_size(1 << 18)  # little address space, which may be limited too
    try:
        for _ in range(needed):
            started.append(threading.Thread(target=ended.wait, daemon=True))
            started[-1].start()
    except RuntimeError:
        raise SynthcError(
            f"{who} takes about {needed} threads and processes, and {len(started) - 1} more can be started; "
            f"raise `ulimit -u`, or the limit of the container{would_do}"
        ) from None
    finally:
        threading.stack_size(before)
        ended.set()
        for thread in started:
            if thread.ident is not None:
                thread.join()


PROBE_SECONDS = 1.31e-3
"""Time of the probe of `pace` on a core whose seconds are the guessed ones. Fitted to the digits study on an idle machine that
takes 0.73e-3 and was 1.8 times as fast as guessed; the constants of `compiler.language.cost` were measured on another one."""


@functools.cache
def pace() -> float:
    """Seconds of a core of this machine per guessed second (`compiler.inspect.cost.guess`): the least time, in 25 tries, of a
    hundred products and rectifications of 64×64 matrices, over PROBE_SECONDS. More means slower. Measured once per process, which
    takes about 0.05 s, and 0.1 s to import NumPy."""
    import numpy as np

    inputs, weights = np.full((64, 64), 0.5, np.float32), np.full((64, 64), 1 / 64, np.float32)
    out, took = np.empty_like(inputs), []
    for _ in range(25):
        started = time.perf_counter()
        for _ in range(100):
            np.matmul(inputs, weights, out=out)
            np.maximum(out, 0, out=out)
        took.append(time.perf_counter() - started)
    return min(took) / PROBE_SECONDS


def host() -> str:
    return os.uname().nodename


@functools.cache
def cpu() -> str:
    """Model of the processor, as in `/proc/cpuinfo`, else as of `platform.processor`; "" where neither has it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, model = line.partition(":")
            if name.strip().lower() in ("model name", "hardware", "cpu model"):
                return model.strip()
    import platform

    return platform.processor()


@functools.cache
def versions(*further: str) -> dict[str, str]:
    """Package → version, or "not installed": of RECORDED_PACKAGES, then of `further` ones. The mapping is cached and shared by
    callers: do not change it."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms, which a command that records nothing need not spend

    found = {}
    for name in (*RECORDED_PACKAGES, *further):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@functools.cache
def source_digest() -> str:
    """Digest of paths and contents of the `.py` files of `compiler` and `runtime`, sixteen hexadecimal digits, computed once per
    process. It enters no task's id, so a change makes no done task run again; one that failed may."""
    digest = blake2b(digest_size=8)
    for path in sorted([*ROOT.glob("compiler/**/*.py"), *ROOT.glob("runtime/**/*.py")]):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def package_digest(module: str) -> str:
    """Digest of the source files and compiled extensions of the top-level package of `module`, a dotted name, without importing it:
    sixteen hexadecimal digits, computed once per process; "" where the package is not installed.

    Files that cannot be read are left out.
    """
    found = importlib.util.find_spec(module.partition(".")[0])
    if found is None:
        return ""
    kinds = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)
    within = (path for folder in found.submodule_search_locations or () for path in sorted(Path(folder).rglob("*")))
    files = [path for path in within if path.name.endswith(kinds)]
    digest = blake2b(digest_size=8)
    for path in files or [Path(found.origin or "")]:
        with contextlib.suppress(OSError):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def commit() -> str:
    """At least twelve hexadecimal digits of the git commit of this source, with "+" if tracked files differ from it; "" outside a
    checkout, without git, and where git takes over ten seconds. Read once per process.

    Changes of published results (`results.*` at the top of the checkout), to which runs add rows, do not count.
    """

    import subprocess

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=False, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results.*")
        return head + ("+" if head and changed else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def reset_peak_memory() -> None:
    """Reset the peak that `peak_memory_mb` reads, so that earlier tasks of this process do not count; no effect, and no error,
    where that is not possible, as outside Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Largest resident memory of this process in MB: since the last `reset_peak_memory` that had an effect, if any, else since the
    process began."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # macOS counts bytes, Linux KiB
