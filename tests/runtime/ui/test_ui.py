"""`synthc ui`: a page on this machine alone, of what is published, for whoever has its address."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from starlette.requests import Request

from runtime.store.records import write_record
from runtime.store.runs import PROGRESS_FILE, read_progress
from runtime.ui import server
from runtime.ui.server import SHARE, Allowance, answering
from runtime.ui.state import Kept, Source, read_state
from tests.conftest import ROOT, Done


@contextlib.contextmanager
def serving(db: Path, *options: str) -> Iterator[str]:
    """The address of a page on this database, served by the real command."""
    command = [sys.executable, "-m", "synthc", "ui", "--db", str(db), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=db.parent
    ) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), server.communicate()
            yield address
        finally:
            server.terminate()


def fetch(address: str, headers: dict[str, str] | None = None, body: str | None = None) -> tuple[int, str, Any]:
    request = urllib.request.Request(address, headers=headers or {}, data=None if body is None else body.encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


@pytest.fixture(scope="module")
def page(tiny: Done, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tiny.db) as address:
        yield address


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "127.0.0.1:1"}, {"Origin": "http://evil.example"}, {"Origin": "null"}], ids=str
)
def test_another_host_or_origin_gets_nothing(page: str, headers: dict[str, str]) -> None:
    for path, body in (("", None), ("state", None), ("sql", "FROM comparison")):
        status, text, _ = fetch(page + path, headers, body)
        assert (status, text) == (403, "refused: another host or origin than this server's")


def test_without_the_token_nothing_is_there(page: str) -> None:
    base = page.rsplit("/", 2)[0]
    for path in ("/", "/state", "/wrong-token/state", "/wrong-token/"):
        assert fetch(base + path)[0] == 404


def test_every_answer_carries_the_policy(page: str) -> None:
    for path in ("", "page.js", "state", "nothing"):
        headers = fetch(page + path)[2]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert (headers["referrer-policy"], headers["x-content-type-options"]) == ("no-referrer", "nosniff")


def test_the_state_says_what_the_database_says(page: str, tiny: Done) -> None:
    state = json.loads(fetch(page + "state")[1])
    assert [row["trial"] for row in state["comparison"]] == [row[0] for row in tiny.rows("SELECT trial FROM comparison")]
    assert state["progress"]["done"] == 75
    assert {row["stage"]: (row["done"], row["total"]) for row in state["board"] if row["trial"] == "undefended#0"} == {
        "model": (8, 8),
        "final_model": (8, 8),
        "attack": (1, 1),
    }
    assert [row["stage"] for row in state["board"] if row["trial"] == "coreset[method=forgetting]#0"] == [
        "train proxy", "synthesize", "model", "final_model", "attack",
    ]  # fmt: skip
    assert state["board"][0]["trial"] == "undefended#0"  # the first of the spec
    spec = json.loads(fetch(f"{page}chart?name=tradeoff&run={state['run']['run']}")[1])
    assert "vega-lite" in spec["$schema"]


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("DELETE FROM base.run", "read-only mode"),
        ("FROM read_csv('/etc/hostname')", "file system operations are disabled"),
        ("COPY base.run TO '/tmp/out.csv'", "file system operations are disabled"),
        ("ATTACH '/tmp/other.duckdb'", "file system operations are disabled"),
        ("SET enable_external_access = true", "locked"),
        pytest.param(
            "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c WHERE a.range * b.range = c.range",
            "more than 10 seconds",
            marks=pytest.mark.long,
        ),
        ("@no_such", "no question is called"),
        ("", "the query is empty"),
    ],
)
def test_a_query_that_writes_reads_files_or_never_ends_is_refused(page: str, query: str, refusal: str) -> None:
    status, text, _ = fetch(page + "sql", body=query)
    assert status == 400
    assert refusal in json.loads(text)["error"]


def test_a_query_and_a_question_are_answered_with_a_bounded_number_of_rows(page: str) -> None:
    answer = json.loads(fetch(page + "sql", body="SELECT * FROM range(100000)")[1])
    assert (len(answer["rows"]), answer["more"]) == (500, True)
    assert "leakage" in json.loads(fetch(page + "sql", body="@pareto")[1])["columns"]


def test_the_page_waits_for_a_database_and_follows_one_that_is_replaced(copy: Done) -> None:
    waiting = copy.db.with_name("elsewhere.duckdb")
    copy.db.rename(waiting)
    with serving(copy.db, "--store", str(copy.store)) as address:
        assert json.loads(fetch(address + "state")[1]) == {"version": "", "runs": []}
        events = urllib.request.urlopen(address + "events", timeout=60)
        assert events.readline() == b"data: \n"
        beside = copy.db.with_name("next.duckdb")
        beside.write_bytes(waiting.read_bytes())
        waiting.rename(copy.db)
        assert [events.readline() for _ in range(2)][1].startswith(b"data: ")
        first = json.loads(fetch(address + "state")[1])
        with duckdb.connect(str(beside)) as connection:
            connection.execute("DELETE FROM base.trial WHERE arm = 'coreset'")
        beside.replace(copy.db)
        second = json.loads(fetch(address + "state")[1])
        assert (len(first["comparison"]), len(second["comparison"])) == (3, 1)
        copy.db.write_bytes(b"no database")
        status, text, _ = fetch(address + "state")
        assert (status, "cannot be opened" in text) == (404, True)


def test_updates_that_took_more_than_their_share_of_a_core_wait_until_it_is_made_up() -> None:
    allowance = Allowance()
    time.sleep(0.2)
    assert allowance.left()
    allowance.spend(0.5 * SHARE)
    assert not allowance.left()
    assert allowance.left(overdraft=0.1)
    time.sleep(0.5)
    assert allowance.left()


def test_charts_are_drawn_although_new_results_take_all_of_the_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SHARE", 1.0)
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(server, "CHARTS_WAIT_SECONDS", 0.3)
    allowance, count = Allowance(), itertools.count()

    async def until_charts() -> None:
        async for event in server.follow(lambda: str(next(count)), allowance):
            if event.startswith("event: charts"):
                return
            allowance.spend(0.1)  # ten times what comes in between two versions

    asyncio.run(asyncio.wait_for(until_charts(), 5))


def test_the_time_left_is_what_the_run_itself_says(copy: Done) -> None:
    with duckdb.connect(str(copy.db)) as connection:
        ((run,),) = connection.execute("UPDATE base.run SET status = 'running', ended = NULL RETURNING run").fetchall()
    folder = copy.store / "runs" / run
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    assert "left" not in read_state(Source(copy.db, copy.store))["progress"]
    said = {"running": ["0123"], "left": 61.5, "guessed": False}
    write_record(folder / PROGRESS_FILE, said)
    progress = read_state(Source(copy.db, copy.store))["progress"]
    assert {name: progress[name] for name in said} == said


def test_a_run_writes_what_it_says_of_the_time_left(tiny: Done) -> None:
    (run,) = (tiny.store / "runs").iterdir()
    progress = read_progress(tiny.store, run.name)
    assert progress.keys() == {"running", "left", "guessed"}
    assert progress["left"] >= 0


def test_results_that_did_not_change_are_not_read_again(tiny: Done) -> None:
    source, kept = Source(tiny.db, tiny.store), Kept()
    first = read_state(source, kept=kept)
    assert first == read_state(source)
    kept.results["comparison"] = []
    assert read_state(source, kept=kept)["comparison"] == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE base.trial SET label = 'another' WHERE trial = 'undefended#0'",
        "DELETE FROM base.outcome WHERE task = (SELECT min(answer) FROM base.trial)",
        "UPDATE base.outcome SET null_ok = false WHERE task = (SELECT min(answer) FROM base.trial)",
    ],
)
def test_results_that_changed_are_read_again(copy: Done, change: str) -> None:
    source, kept = Source(copy.db, copy.store), Kept()
    read_state(source, kept=kept)
    with duckdb.connect(str(copy.db)) as connection:
        connection.execute(change)
    assert read_state(source, kept=kept)["comparison"] == read_state(source)["comparison"]


def test_pages_beside_each_other_get_one_answer(tmp_path: Path) -> None:
    asked: list[str] = []

    def handler(source: Source, words: dict[str, str]) -> dict[str, int]:
        asked.append(words["trial"])
        return {"asked": len(asked)}

    answer = answering(Source(tmp_path / "results.duckdb", tmp_path), handler, Allowance())
    for trial in ("a", "a", "a", "b", "b"):
        answer(Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": f"trial={trial}".encode()}))
    assert asked == ["a", "b"]


def test_a_parameter_that_is_missing_is_the_request_s_fault_and_a_mistake_in_the_answer_is_not(tmp_path: Path) -> None:
    def handler(source: Source, words: dict[str, str]) -> dict[str, str]:
        return {"asked": {}[words["trial"]]}

    answer = answering(Source(tmp_path / "results.duckdb", tmp_path), handler, Allowance())
    request = {"type": "http", "method": "GET", "path": "/", "headers": []}
    lacking = answer(Request(request | {"query_string": b""}))
    assert (lacking.status_code, json.loads(lacking.body)) == (400, {"error": "the request lacks 'trial'"})
    with pytest.raises(KeyError, match="a"):
        answer(Request(request | {"query_string": b"trial=a"}))


def test_private_images_are_not_shown_unless_asked_for(page: str, tiny: Done) -> None:
    run = json.loads(fetch(page + "state")[1])["run"]["run"]
    asked = f"sheet?run={run}&trial=coreset%5Bmethod%3Drandom%5D%230"
    assert fetch(page + asked)[0] == 204
    with serving(tiny.db, "--with-private-images") as address:
        request = urllib.request.urlopen(address + asked, timeout=60)
        assert request.read(4) == b"\x89PNG"


def test_a_log_is_found_by_its_task_and_no_path_leaves_the_store(copy: Done) -> None:
    ((task,),) = copy.rows("SELECT task FROM task WHERE kind = 'attack' LIMIT 1")
    (log,) = (copy.store / task[:2] / task).glob("attempts/1/*.txt")  # as the worker wrote it
    log.write_text("it said this")
    with serving(copy.db) as address:
        assert json.loads(fetch(f"{address}log?task={task}")[1]) == {"text": "it said this"}
        for wrong in ("../../etc/passwd", "", "0" * 16):
            assert fetch(f"{address}log?task={wrong}")[0] == 404
