"""The web server of the page: bound to this machine's loopback interface, with a token in the URL, without outgoing requests.

Every response has a content security policy by which the page loads its own files only. A request is refused unless it has the
token, and this server as host and origin, which excludes pages of other sites and DNS rebinding.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compiler.errors import SynthcError
from runtime.present.charts import page as page_of_charts
from runtime.present.report import color_variables
from runtime.ui import state
from runtime.ui.state import Source

HOST = "127.0.0.1"
WATCH_SECONDS = 0.2
"""How often the server looks whether the database was published anew: one `stat`."""
SHARE, BURST_SECONDS = 0.01, 0.5
"""Of a core that following a run may take on average, and the CPU seconds that may be saved up: a chart beyond them waits."""
OVERDRAFT_SECONDS = 0.25
"""CPU seconds below zero to which the credit may fall before the board and the tables wait; charts wait as soon as it is used
up."""
CHARTS_WAIT_SECONDS = 60.0
"""Seconds for which charts may lag behind; after that the board and the tables wait until the charts were drawn."""
KEPT_SECONDS = 2.0
"""How long a response is reused for equal requests, as from several open pages."""
MAX_QUERY_BYTES = 100_000
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware that refuses, with status 403, HTTP requests whose host is not among `hosts` (HOST:PORT), or which name an
    origin that is not, and adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        origin = asked.get("origin")
        if asked.get("host") not in self.hosts or (origin is not None and origin.removeprefix("http://") not in self.hosts):
            refusal = PlainTextResponse("refused: another host or origin than this server's", 403)
            await refusal(scope, receive, send_guarded)
            return
        await self.app(scope, receive, send_guarded)


def application(source: Source, token: str, port: int) -> ASGIApp:
    """The ASGI application: the page and its data below /TOKEN/, for requests to `port` of 127.0.0.1 or localhost alone."""

    allowance, kept = Allowance(), state.Kept()

    def page_file(name: str, kind: str) -> Route:
        text = (files("runtime.ui") / name).read_text(encoding="utf-8")
        text += color_variables() if name == "page.css" else ""
        path = "" if name == "page.html" else name
        return Route(f"/{token}/{path}", lambda request: Response(text, media_type=kind))

    routes = [
        page_file("page.html", "text/html"),
        page_file("page.css", "text/css"),
        page_file("page.js", "text/javascript"),
        Route(f"/{token}/vega.js", lambda request: Response(vega(), media_type="text/javascript")),
        Route(
            f"/{token}/state", answering(source, lambda source, asked: state.read_state(source, asked.get("run"), kept), allowance)
        ),
        Route(f"/{token}/chart", answering(source, _draw, allowance)),
        Route(f"/{token}/log", answering(source, lambda source, asked: {"text": state.read_log(source, asked["task"])}, allowance)),
        Route(f"/{token}/sheet", _sheet(source)),
        Route(f"/{token}/sql", _sql(source), methods=["POST"]),
        Route(f"/{token}/events", _events(source, allowance)),
    ]
    return Guard(Starlette(routes=routes), frozenset({f"{HOST}:{port}", f"localhost:{port}"}))


def vega() -> str:
    """The script that draws charts (`page.bundle`), made at the first call; a call meanwhile waits for it."""
    with _making_vega:
        return page_of_charts.bundle()


_making_vega = threading.Lock()


def _draw(source: Source, asked: dict[str, str]) -> dict[str, Any]:
    return state.draw_chart(source, asked["name"], asked["run"], asked.get("trial"))


class Allowance:
    """A token bucket of CPU seconds, empty at first: it fills by SHARE of the elapsed time, up to BURST_SECONDS; updates spend it.

    What a page asks for first, and what its reader asks for, is not counted: updates are requests that say `update`.
    """

    def __init__(self) -> None:
        self._credit, self._at = 0.0, time.monotonic()

    def spend(self, seconds: float) -> None:
        """Add to the credit what has accrued since the last call, up to BURST_SECONDS, then take `seconds` (the CPU time of a
        response) from it. The credit may become negative; no limit is checked here."""
        now = time.monotonic()
        self._credit = min(BURST_SECONDS, self._credit + (now - self._at) * SHARE) - seconds
        self._at = now

    def left(self, overdraft: float = 0.0) -> bool:
        """Whether more may be spent: the credit is above -`overdraft` (CPU seconds)."""
        self.spend(0.0)
        return self._credit > -overdraft


class Lacking(KeyError):
    """A parameter that a request lacks."""


class Parameters(dict[str, str]):
    """A request's parameters by name; Lacking for one that it lacks."""

    def __missing__(self, name: str) -> str:
        raise Lacking(name)


def answering(source: Source, handler: Any, allowance: Allowance) -> Any:
    """An endpoint that responds with `handler(source, parameters)` as JSON: status 400 for a missing parameter, 404 for a
    SynthcError. CPU time of requests with the parameter `update` is taken from `allowance`, which does not hold any of them
    back.

    Requests are handled one at a time. One that equals the last one computed (but for `update`), of the same version of the
    database and within KEPT_SECONDS, gets the same response.
    """
    lock = threading.Lock()
    kept: dict[tuple[str, str], tuple[float, Response]] = {}

    def answer(request: Request) -> Response:  # no coroutine: Starlette gives each a thread, and the others go on
        following = "update" in request.query_params
        asked = (source.version(), str(request.query_params).removesuffix("&update=1").removesuffix("update=1"))
        with lock:
            until, given = kept.get(asked, (0.0, None))
            if given is None or time.monotonic() > until:
                began = time.process_time()
                given = compute(request)
                if following:
                    allowance.spend(time.process_time() - began)
                kept.clear()
                kept[asked] = (time.monotonic() + KEPT_SECONDS, given)
        return given

    def compute(request: Request) -> Response:
        try:
            return JSONResponse(handler(source, Parameters(request.query_params)))
        except Lacking as missing:
            return JSONResponse({"error": f"the request lacks {missing}"}, 400)
        except SynthcError as error:
            return JSONResponse({"error": str(error)}, 404)

    return answer


def _sheet(source: Source) -> Any:
    def sheet(request: Request) -> Response:
        try:
            png = state.read_sheet(source, request.query_params["run"], request.query_params["trial"])
        except (KeyError, SynthcError):
            png = None
        return Response(png, media_type="image/png") if png else Response(status_code=204)

    return sheet


def _sql(source: Source) -> Any:
    async def sql(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_QUERY_BYTES:
                return JSONResponse({"error": f"a query has at most {MAX_QUERY_BYTES:,} bytes"}, 413)
        try:
            return JSONResponse(await asyncio.to_thread(state.answer, source, body.decode(errors="replace").strip()))
        except SynthcError as error:
            return JSONResponse({"error": str(error)}, 400)

    return sql


def _events(source: Source, allowance: Allowance) -> Any:
    async def events(request: Request) -> Response:
        return StreamingResponse(follow(source.version, allowance), media_type="text/event-stream")

    return events


async def follow(version_of: Callable[[], str], allowance: Allowance) -> AsyncIterator[str]:
    """Yield server-sent events for a page, without end, from a look every WATCH_SECONDS. An event without a name says that the
    version differs from that of the last one: the first comes at once, later ones while the credit is above -OVERDRAFT_SECONDS.
    `charts` follows it once the credit is above 0 and no newer version is to be told.

    While charts have been due for more than CHARTS_WAIT_SECONDS, no event without a name comes before theirs. The data of events is
    the version.
    """
    last = charted = None
    drawn_at = time.monotonic()
    while True:
        version, now = version_of(), time.monotonic()
        drawn_at = now if last == charted else drawn_at
        late = now - drawn_at > CHARTS_WAIT_SECONDS
        if version != last and not late and (last is None or allowance.left(OVERDRAFT_SECONDS)):
            last = version
            yield f"data: {version}\n\n"
        elif last != charted and allowance.left():
            charted = last
            yield f"event: charts\ndata: {version}\n\n"
        await asyncio.sleep(WATCH_SECONDS)


def serve(source: Source, port: int, announce: Any) -> None:
    """Serve until Ctrl-C, which raises KeyboardInterrupt, on HOST alone; `port` 0 takes any that is free. `announce` is called with
    the page's URL, which has a new token, once the port is bound; SynthcError if it cannot be bound."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        raise SynthcError(f"port {port} cannot be had: {error.strerror}; --port names another, 0 any that is free") from error
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(16)
    config = uvicorn.Config(
        application(source, token, port), log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    threading.Thread(target=vega, daemon=True).start()  # two seconds of a core, while the page is read
    announce(f"http://{HOST}:{port}/{token}/")
    uvicorn.Server(config).run(sockets=[listener])
