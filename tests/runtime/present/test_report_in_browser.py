"""The report in a real browser: nothing fetched, nothing complained of, filtered by a click, printed whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.present import report
from tests.runtime.present.browser import Browser, tabbed, violations
from tests.runtime.present.test_charts import claim, trial
from tests.runtime.present.test_report import results


def drawn_marks(browser: Browser) -> dict[str, int]:
    return browser.js(
        "Object.fromEntries([...document.querySelectorAll('.chart')].map(chart => [chart.id.slice(6), "
        "chart.querySelectorAll('.mark-symbol path, .mark-line path, .mark-rule line').length]))"
    )


@pytest.mark.long
def test_in_a_browser_nothing_is_fetched_or_complained_of_and_a_legend_filters_every_chart(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report.page(results([trial(place) for place in range(12)], claims=[claim(place) for place in range(3)])))
    for width, dark in ((1200, False), (1200, True), (390, False)):
        browser.open(path, width, dark)
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert violations(browser) == []
    browser.open(path, 1200, False)
    reached = tabbed(browser, 60)
    assert reached[0] == "a Skip to the answer"
    assert {"button All", "button Coreset"} <= set(reached)
    assert any(stop.startswith("div Chart: accuracy against leakage") for stop in reached)

    before = drawn_marks(browser)
    assert set(before) == {*report.CHARTS_IN_ORDER, "claims"}
    x, y = browser.js(
        "(() => {const labels = [...document.querySelectorAll('#chart-cost .role-legend-label text')];"
        "const text = labels.find(label => label.textContent === 'Coreset');"
        "text.scrollIntoView({block: 'center'}); const box = text.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]})()"
    )
    browser.click(x, y)
    browser.wait("report.chosen().length === 1")
    browser.wait("document.getElementById('chosen-status').textContent === 'Charts show Coreset only.'")
    after = drawn_marks(browser)
    assert {name for name in before if after[name] < before[name]} == {*report.CHARTS_IN_ORDER}
    assert browser.js("document.querySelectorAll('.chooser [aria-pressed=true]').length") == 1
    browser.js("document.querySelector('.chooser button').click()")
    browser.wait("report.chosen().length === 0")
    assert drawn_marks(browser) == before

    fetched = {event["params"]["request"]["url"] for event in browser.events if event.get("method") == "Network.requestWillBeSent"}
    assert {url for url in fetched if not url.startswith(("data:", "about:"))} == {path.as_uri()}
    complaints = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    assert [json.dumps(event["params"])[:500] for event in browser.events if event.get("method") in complaints] == []


@pytest.mark.long
def test_in_print_nothing_is_cut_off_and_what_is_folded_is_said_not_to_be_there(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    arms = [trial(place, trial=f"arm[setting={place},another=0.3]#0") for place in range(12)]
    figures = [
        {"trial": row["trial"], "canaries": group, "attack": attack, "variant": "logit/pooled/1q", "release": "final_model"}
        | {"metric": "tpr@fpr=0.01", "value": 0.5, "low": 0.4, "high": 0.6, "n": 1024}
        for row in arms
        for group in ("mislabeled", "clean", "ood")
        for attack in ("lira", "rmia", "threshold", "nearest", "denoising")
    ]
    path.write_text(report.page(results(arms, figures=figures, claims=[claim(place) for place in range(3)])))
    browser.open(path, 680, False)  # the text of a page of A4 or Letter
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert "What is folded is not printed" in browser.js("document.body.innerText")
    browser.js("document.querySelectorAll('details').forEach(fold => {fold.open = true})")
    wider = "[...document.querySelectorAll('table, svg')].map(part => part.getBoundingClientRect().right).filter(x => x > 681)"
    assert browser.js(f"document.querySelectorAll('table').length && {wider}") == []
    assert browser.js("getComputedStyle(document.querySelector('.chooser')).display") == "none"
