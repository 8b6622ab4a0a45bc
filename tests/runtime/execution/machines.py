"""Machines that are network namespaces of this one: each has an address, a host name, and processes that can be killed together.

They share disk, cores and process numbers. Made by root with `ip`, of Debian's iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

NETWORK = "10.77.0"


def why_not() -> str:
    """The reason for which no namespace can be made here, or ""."""
    if os.getuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "network namespaces need Debian's iproute2 and util-linux"
    name = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made.stderr.strip() if made.returncode else ""


class Machines:
    """`names[0]` is 10.77.0.1 and holds the switch; the others follow. `environment` is added to that of every command."""

    def __init__(self, *names: str, environment: Mapping[str, str]) -> None:
        self.names, self.environment = names, environment
        for number, name in enumerate(names, start=1):
            _ip("netns", "add", self._space(name))
            _ip("-n", self._space(name), "link", "set", "lo", "up")
            if number == 1:
                _ip("-n", self._space(name), "link", "add", "eth0", "type", "bridge")
            else:
                switch = self._space(names[0])
                _ip("link", "add", f"v{name}", "netns", switch, "type", "veth", "peer", "name", "eth0", "netns", self._space(name))
                _ip("-n", switch, "link", "set", f"v{name}", "master", "eth0", "up")
            _ip("-n", self._space(name), "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            _ip("-n", self._space(name), "link", "set", "eth0", "up")
            _ip("-n", self._space(name), "route", "add", "default", "dev", "eth0")  # by which Ray finds the machine's address

    def start(self, name: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command on a machine; its output, both streams together, is piped."""
        inside = ["unshare", "--uts", "sh", "-c", f'hostname machine-{name}; exec "$@"', "sh", *words]
        found: dict[str, str] = {**os.environ, **self.environment, **environment}
        return subprocess.Popen(
            ["ip", "netns", "exec", self._space(name), *inside],
            env={key: value for key, value in found.items() if value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str, *words: str, **environment: str) -> tuple[int, str]:
        """Run a command on a machine: exit code, output. Variables that are "" are not set."""
        running = self.start(name, *words, **environment)
        said, _ = running.communicate(timeout=600)
        return running.returncode, said

    def kill(self, name: str) -> None:
        """Kill every process on a machine."""
        found = subprocess.run(["ip", "netns", "pids", self._space(name)], capture_output=True, text=True, check=True)
        for pid in found.stdout.split():
            subprocess.run(["kill", "-9", pid], capture_output=True, check=False)

    def close(self) -> None:
        for name in self.names:
            self.kill(name)
            _ip("netns", "del", self._space(name))

    def _space(self, name: str) -> str:
        return f"synthc{os.getpid()}{name}"


def _ip(*words: Any) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
