"""A Ray cluster: one of our own on this machine, or one that is joined. The only file that imports Ray.

    of our own    a token of its own, ports on 127.0.0.1 alone, a folder for its owner alone that goes with it
    joined        named by `--address` or RAY_ADDRESS; it must ask for a token, unless the user says otherwise

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
    "RAY_USAGE_STATS_ENABLED": "0",  # they leave the machine unless the value is exactly "0"
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # otherwise `uv run` rebuilds the environment for each worker
    "RAY_task_oom_retries": "0",  # without limit by default; the driver tries again
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment that is read when Ray starts."""

ANSWER_SECONDS = 20.0
"""Time in which a cluster must answer before it is joined: 3 s on an idle machine, most of it Ray's own import."""

MAX_FOLDER_LENGTH = 25
"""Bytes of the folder in which that of a cluster is made; 82 more follow in the path of a socket, which may have 107."""

MIN_FREE_BYTES = 32 << 20
"""Room that Ray's logs and sockets need; a run of minutes leaves less than 1 MB."""

THREADS = 200, 25
"""Threads of Ray's own processes, and of each worker beyond (2 cores: 165 and 23)."""


class Cluster:
    """`address` None or "local" starts a cluster here with `cpus` CPUs, whatever runs or lies about; otherwise one is joined.

    `with_token`: refuse to join a cluster that asks nobody for a token. SynthcError when Ray cannot start, or nobody answers.
    """

    def __init__(self, address: str | None, cpus: int, with_token: bool = True) -> None:
        self._folder: Path | None = None
        os.environ.update(RAY_SETTINGS)
        if address in (None, "local"):
            fixed, each = THREADS
            machine.check_room_for_threads(fixed + each * cpus, f"Ray with {cpus} workers", ", or use --engine inline")
            self._folder = _make_folder()
            # Its token needs no writable home folder. The variable for Windows and macOS is what makes Ray listen on 127.0.0.1.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
            os.environ.update(RAY_AUTH_MODE="token", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
            options: dict[str, Any] = {"address": "local", "include_dashboard": False, "num_cpus": cpus}
            options["_temp_dir"] = str(self._folder / "r")  # Ray opens the folder that it is given to everybody
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
        """Whether the cluster's head (its GCS) is there. To be asked before Ray is: without a head Ray blocks, then aborts us."""
        return _connects(self.address)

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""
        with _killing_those_asked_to_end() if self._folder else contextlib.nullcontext():
            self.ray.shutdown()
        for _ in range(20):  # what is just dying may write a last log
            if self._folder is None or not self._folder.exists():
                return
            shutil.rmtree(self._folder, ignore_errors=True)
            time.sleep(0.05)


def node_id() -> str:
    """The node on which this worker runs."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _must_show_token(address: str, with_token: bool) -> bool:
    """Whether the cluster wants a token, which is then at hand; SynthcError if none answers, or it should want one and does not.

    Ray is asked from processes of its own: it waits for minutes where nobody listens, and aborts where it has no token.
    """
    if "://" in address:
        raise SynthcError(f"{address} is an address for Ray's client protocol; name the head as HOST:PORT, without ://")
    if address != "auto" and not _connects(address):
        raise SynthcError(f"nobody listens at {address}; start a Ray cluster there, or leave out --address and RAY_ADDRESS")
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
    """What Ray complains of when a cluster is asked for its status, with a token or without; "" if it answers."""
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
    """A new folder for the sockets and logs of one cluster, for its owner alone; SynthcError with the variable to change."""
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
    """Child processes started in this block inherit a blocked SIGTERM.

    A batch system sends it to a whole group or job: Ray's daemons would be gone before the driver has finished what is running, and
    the driver would wait a minute for them. They still die with the driver.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _killing_those_asked_to_end() -> Iterator[None]:
    """Kill, in this block, each child process for which a SIGTERM is pending: our Ray daemons block it.

    Ray sends it to one after the other and gives each a second: 5.5 s in all, 0.9 with this (2 cores). Linux alone shows who waits.
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
