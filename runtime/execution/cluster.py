"""Starts a Ray cluster on this machine, or joins a running one. The only file that imports Ray.

    started    has a token of its own, ports on 127.0.0.1 alone, and a private folder that is deleted at the end
    joined     named by `--address` or RAY_ADDRESS; it must require a token, unless the user allows one without

Not here: workers and what they compute (`ray_engine`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, first_line
from runtime import machine

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # usage statistics are sent unless the value is exactly "0"
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # otherwise `uv run` rebuilds the environment for each worker
    "RAY_task_oom_retries": "0",  # unlimited by default; retries are the driver's
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables that Ray reads when it starts."""

OF_ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable, made for Windows and macOS, that makes Ray listen on 127.0.0.1 alone where its value is "0"."""

ANSWER_SECONDS = 20.0
"""Time in which a cluster must answer before it is joined: 3 s on an idle machine, most of it Ray's own import."""

MAX_FOLDER_LENGTH = 25
"""Longest path, in bytes, of the folder in which a cluster's folder is made; 82 more follow in the path of a socket, of at most
107."""

MIN_FREE_BYTES = 32 << 20
"""Free disk space that Ray's logs and sockets need; a run of minutes writes less than 1 MB."""

THREADS = 200, 25
"""Threads of Ray's own processes, and of each worker in addition (measured on 2 cores: 165 and 23)."""


class Cluster:
    """A Ray cluster that is started or joined. `address` None or "local" starts one with `cpus` CPUs on this machine, even if
    others run here; HOST:PORT or "auto" joins a running one, whose workers get this code. Environment variables of Ray are set in
    this process. `ray` is then the module, `address` that of the cluster's head.

    `with_token`: refuse to join a cluster that requires no token. SynthcError when Ray cannot start (also for lack of threads, or
    of a folder for its sockets), no cluster answers, or the cluster does not accept the token in RAY_AUTH_TOKEN.
    """

    def __init__(self, address: str | None, cpus: int, with_token: bool = True) -> None:
        self._folder: Path | None = None
        os.environ.update(RAY_SETTINGS)
        if address in (None, "local"):
            fixed, each = THREADS
            machine.check_room_for_threads(fixed + each * cpus, f"Ray with {cpus} workers", ", or use --engine inline")
            self._folder = _make_folder()
            # Its token needs no writable home folder.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
            os.environ.update({"RAY_AUTH_MODE": "token", OF_ONE_MACHINE: "0"})
            options: dict[str, Any] = {"address": "local", "include_dashboard": False, "num_cpus": cpus}
            options["_temp_dir"] = str(self._folder / "r")  # Ray makes its folder readable for everybody: one inside of ours
        else:
            assert address is not None
            os.environ["RAY_AUTH_MODE"] = "token" if _must_show_token(address, with_token) else "disabled"
            packages = [str(machine.ROOT / name) for name in ("compiler", "runtime")]
            options = {"address": address, "runtime_env": {"py_modules": packages}}
        import ray

        self.ray: Any = ray
        # Ray puts the driver's working directory first on every worker's path: a stray `runtime/` there would replace ours.
        with contextlib.chdir(machine.ROOT), _sigterm_blocked():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            except Exception as error:
                self.close()
                place = f" at {address}" if self._folder is None else ""
                raise SynthcError(f"Ray did not start{place}: {first_line(error)}; `--engine inline` runs without it") from error
        self.address: str = ray.get_runtime_context().gcs_address

    def answers(self) -> bool:
        """Whether the cluster's head (its GCS) accepts a connection within five seconds. Must be checked before calls to Ray:
        without a head they block, and then Ray aborts this process."""
        return _connects(self.address)

    def close(self) -> None:
        """Disconnect from the cluster; one that was started here is shut down, and its folder deleted."""
        with _killing_those_asked_to_end() if self._folder else contextlib.nullcontext():
            self.ray.shutdown()
        if self._folder is not None:
            os.environ.pop(OF_ONE_MACHINE, None)  # with it, `ray start` of this process or its children joins no cluster
        for _ in range(20):  # processes that are ending may still write a log
            if self._folder is None or not self._folder.exists():
                return
            shutil.rmtree(self._folder, ignore_errors=True)
            time.sleep(0.05)


def node_id() -> str:
    """Ray's id of the node on which this worker runs."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _must_show_token(address: str, with_token: bool) -> bool:
    """Whether the cluster at `address` (HOST:PORT or `auto`) requires a token; if it does, it has accepted that of RAY_AUTH_TOKEN.
    SynthcError if it does not answer, refuses our token, or requires none although `with_token`; and for an address with ://.

    Two subprocesses ask Ray: it waits for minutes where nothing listens, and aborts its process where it has no token.
    """
    if "://" in address:
        raise SynthcError(f"{address} is an address for Ray's client protocol; name the head as HOST:PORT, without ://")
    if address != "auto" and not _connects(address):
        raise SynthcError(f"no cluster answers at {address}; start a Ray cluster there, or leave out --address and RAY_ADDRESS")
    with ThreadPoolExecutor() as pool:
        anonymous, known = pool.map(partial(_ask, address), ("disabled", "token"))
    if not anonymous and with_token:
        raise SynthcError(
            f"the Ray cluster at {address} asks for no token: who reaches it can run code on its nodes and read what they can; "
            "start its nodes with RAY_AUTH_TOKEN and RAY_AUTH_MODE=token, or join it all the same with --no-token"
        )
    if anonymous and "InvalidAuthToken" not in anonymous:
        raise SynthcError(f"no Ray cluster answers at {address}: {anonymous}")
    if anonymous and known:
        found = known.replace("RPC error: InvalidAuthToken", "RAY_AUTH_TOKEN is another").partition(":")[0]
        reason = found if os.environ.get("RAY_AUTH_TOKEN") else "RAY_AUTH_TOKEN is not set"
        raise SynthcError(f"the Ray cluster at {address} asks for its token, and {reason}; set it to the one that its nodes have")
    return bool(anonymous)


def _ask(address: str, mode: str) -> str:
    """Run `ray status` against a cluster in a subprocess, with a token or without (`mode`: "token" or "disabled"); returns the text
    of the error, also where no answer comes within ANSWER_SECONDS, or "" if it succeeds."""
    words = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        done = subprocess.run(
            words, env=os.environ | {"RAY_AUTH_MODE": mode}, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"nothing came within {ANSWER_SECONDS:.0f} s"
    said = [line for line in done.stderr.splitlines() if "Error: " in line] or [f"Ray ended with {done.returncode}"]
    return said[-1].partition("Error: ")[2] or said[-1] if done.returncode else ""


def _connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _make_folder() -> Path:
    """Make a private folder for the sockets and logs of one cluster, in the first that is set of $RAY_TMPDIR and $TMPDIR, else in
    /tmp. SynthcError where that is too long a path, is full or cannot be written."""
    names = [name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)]
    base = Path(os.environ[names[0]] if names else "/tmp").absolute()
    place, hint = f"{names[0]}={base}" if names else str(base), "set RAY_TMPDIR to a short folder that can be written, such as /tmp"
    if (length := len(os.fsencode(base))) > MAX_FOLDER_LENGTH:
        raise SynthcError(f"{place} is too long for Ray's sockets: {length} characters, {MAX_FOLDER_LENGTH} are allowed; {hint}")
    try:
        if (free := shutil.disk_usage(base).free) < MIN_FREE_BYTES:
            raise SynthcError(f"{place} is full: {free >> 20} MiB are free, Ray needs {MIN_FREE_BYTES >> 20}; {hint}")
        return Path(tempfile.mkdtemp(prefix="synthc-", dir=base))
    except OSError as error:
        raise SynthcError(f"Ray cannot write to {place}: {error.strerror}; {hint}") from error


@contextlib.contextmanager
def _sigterm_blocked() -> Iterator[None]:
    """Block SIGTERM in this thread until the block ends; child processes that are started in it inherit that, and keep it.

    A batch system sends it to a whole process group: Ray's daemons would end before the driver has finished its running tasks, and
    the driver would wait a minute for them. They still end with the driver.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _killing_those_asked_to_end() -> Iterator[None]:
    """In this block, kill each child process that has a SIGTERM pending: Ray's daemons, which block it (see `_sigterm_blocked`).

    Ray sends SIGTERM to one after the other and waits a second for each: 5.5 s in all, 0.9 with this (2 cores). Linux only: it
    shows pending signals in /proc.
    """
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.02):
            for children in Path("/proc/self/task").glob("*/children"):
                for pid in children.read_text().split():
                    with contextlib.suppress(OSError):
                        pending = re.search(r"^ShdPnd:\s+(\w+)", Path("/proc", pid, "status").read_text(), re.M)
                        if pending and int(pending[1], 16) >> (signal.SIGTERM - 1) & 1:
                            os.kill(int(pid), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
