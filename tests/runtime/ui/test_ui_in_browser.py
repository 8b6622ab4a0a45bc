"""The page in a real browser: it fills while a study runs, nothing in a name is executed, nothing leaves the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.conftest import ROOT, TINY, Done, wait_until
from tests.runtime.present.browser import Browser, tabbed, violations
from tests.runtime.ui.test_ui import serving

pytestmark = pytest.mark.long
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def show(browser: Browser, address: str, width: int, dark: bool = False) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", features=[scheme])
    browser.call("Page.navigate", url=address)
    browser.wait("document.documentElement?.dataset.ready === 'true'")


def complaints(browser: Browser) -> list[object]:
    kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    return [event["params"] for event in browser.events if event["method"] in kinds]


def requested(browser: Browser) -> set[str]:
    urls = [event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    return {"/".join(url.split("/")[:3]) for url in urls if not url.startswith("data:")}


def test_a_failed_task_s_log_is_two_clicks_away_and_no_name_is_executed(copy: Done, browser: Browser) -> None:
    with duckdb.connect(str(copy.db)) as connection:
        ((task,),) = connection.execute("SELECT min(task) FROM base.stage WHERE stage = 'model'").fetchall()
        connection.execute("DELETE FROM base.outcome WHERE task = ?", [task])
        row = [task, 9, "failed", "exception", HOSTILE, f"{task[:2]}/{task}/attempts/9/log.txt"]
        connection.execute(
            "INSERT INTO base.attempt (task, attempt, status, error_kind, error, log) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        connection.execute("UPDATE base.attempt SET origin = (SELECT any_value(origin) FROM base.run) WHERE origin IS NULL")
        connection.execute("UPDATE base.trial SET label = ?, trial = ? WHERE arm = 'undefended'", [HOSTILE, HOSTILE])
        connection.execute("UPDATE base.stage SET trial = ? WHERE trial = 'undefended#0'", [HOSTILE])
    log = copy.store / task[:2] / task / "attempts" / "9" / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"Traceback: {HOSTILE}")
    with serving(copy.db, "--store", str(copy.store)) as address:
        show(browser, address, 1600)
        browser.js("document.querySelector('#board a.bad').click()")
        browser.js("[...document.querySelectorAll('#failures button')].find(button => button.textContent === 'Log').click()")
        browser.wait("document.getElementById('log-text').textContent.startsWith('Traceback: <script>')")
        assert browser.js("document.title") == "tiny: synthc"
        assert complaints(browser) == []
        assert requested(browser) == {"/".join(address.split("/")[:3])}


@pytest.mark.parametrize("width", [390, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_read_by_other_means_and_used_by_keyboard(copy: Done, browser: Browser, width: int, dark: bool) -> None:
    with serving(copy.db, "--store", str(copy.store)) as address:
        show(browser, address, width, dark)
        browser.wait("document.documentElement.dataset.drawn === 'tradeoff'")
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert [found for found in violations(browser) if found["impact"] in ("serious", "critical")] == []
        reached = tabbed(browser, 30)
        assert reached[0] == "a To the results"
        assert {"button undefended", "button tradeoff", "button Ask"} <= set(reached), reached


def test_rows_appear_while_a_study_runs_and_a_killed_run_or_a_second_tab_is_no_trouble(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    words = [sys.executable, "-m", "synthc", "run", "study.yaml", "--engine", "inline"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with serving(tmp_path / "results.duckdb") as address:
        show(browser, address, 1600)
        assert browser.js("document.getElementById('study').textContent") == "Waiting for a study"
        with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as run:
            started = "document.getElementById('study').textContent === 'tiny' && 0 < document.getElementById('progress').value"
            wait_until(lambda: browser.js(started), run)
            seen = browser.js("document.getElementById('progress').value")
            assert 0 < seen < 75
            run.kill()
        show(browser, address, 1600)  # loaded again
        browser.wait("document.getElementById('study').textContent === 'tiny'")
        subprocess.run(words, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, check=True)
        browser.wait("document.querySelectorAll('#comparison tbody tr').length === 3")
        browser.wait("document.getElementById('progress').value === 75")
        assert complaints(browser) == []
