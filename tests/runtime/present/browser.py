"""A real browser for tests: headless Chromium, and what axe-core and the tabulator key find on a page."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from importlib.resources import files
from pathlib import Path
from typing import Any


class Browser:
    """Headless Chromium, spoken to over a pair of pipes in its own protocol: one JSON message, one zero byte."""

    def __init__(self, home: Path) -> None:
        ask_end, self._ask = os.pipe()
        self._hear, hear_end = os.pipe()
        # Chromium listens on 3 and answers on 4.
        command = f'exec chromium "$@" 3<&{ask_end} 4>&{hear_end}'
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={home}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "chromium", *flags],
            pass_fds=(ask_end, hear_end),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ask_end)
        os.close(hear_end)
        self._buffer, self._count, self.events = b"", 0, []  # type: bytes, int, list[dict[str, Any]]
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        session = {"sessionId": self._session} if getattr(self, "_session", None) else {}
        os.write(self._ask, json.dumps({"id": self._count, "method": method, "params": params} | session).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                ready, _, _ = select.select([self._hear], [], [], 60)
                assert ready, f"no answer to {method}"
                self._buffer += os.read(self._hear, 1 << 20)
            message, self._buffer = self._buffer.split(b"\0", 1)
            told = json.loads(message)
            if told.get("id") == self._count:
                assert "error" not in told, told
                return told["result"]
            self.events.append(told)

    def open(self, path: Path, width: int, dark: bool) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.documentElement?.dataset.ready === 'true'")

    def js(self, code: str) -> Any:
        told = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, code: str) -> None:
        for _ in range(200):
            if self.js(code):
                return
            time.sleep(0.1)
        raise AssertionError(f"never came true: {code}")

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def close(self) -> None:
        with contextlib.suppress(AssertionError, OSError):
            self._session = None
            self.call("Browser.close")
        self._process.wait(20)
        os.close(self._ask)
        os.close(self._hear)


def violations(browser: Browser) -> list[dict[str, Any]]:
    """Accessibility violations that axe-core finds, with folded parts unfolded."""
    browser.js((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    browser.js("document.querySelectorAll('details').forEach(details => { details.open = true })")
    found = browser.js("axe.run(document).then(done => JSON.stringify(done.violations))")
    return [
        {"rule": rule["id"], "impact": rule["impact"], "where": [node["html"][:200] for node in rule["nodes"]]}
        for rule in json.loads(found)
    ]


def tabbed(browser: Browser, times: int) -> list[str]:
    """Where the tabulator key leads from the top of the page."""
    stops = []
    for _ in range(times):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        stops.append(
            browser.js(
                "(active => active.tagName.toLowerCase() + ' ' + (active.getAttribute('aria-label') || active.textContent).trim())"
                "(document.activeElement)"
            )
        )
    return stops
