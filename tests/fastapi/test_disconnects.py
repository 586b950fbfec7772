"""When the browser leaves, the call to the service ends: under a real server, over real sockets."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi", reason="the extra fastapi is not installed")

import anyio.lowlevel
from fastapi import Body, FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import StreamingResponse

from llama_dashscope import Client
from llama_dashscope.fastapi import ClientDep, EventStream, JSONLines, TextStream, lifespan
from llama_dashscope.testing import BlackHole, LocalDashScope, Reply, Stall

from .conftest import Site

MODEL = "llama3.3-70b-instruct"
HELLO = [{"role": "user", "content": "hello"}]


def application() -> FastAPI:
    """Make an application with every kind of handler that may be under way."""
    app = FastAPI(lifespan=lifespan)
    for path, handler in HANDLERS.items():
        app.add_api_route(path, handler, methods=["GET", "POST"], response_model=None)
    if HAS_SSE:
        sse: Any = import_module("fastapi.sse")
        app.get("/native", response_class=sse.EventSourceResponse)(native)
    return app


async def plain(client: ClientDep, question: Annotated[str, Body()] = "hello") -> str:
    """Wait for the whole answer."""
    messages = [{"role": "user", "content": question}]
    return (await client.acall(MODEL, messages=messages)).text


def by_def(client: ClientDep) -> str:
    """Wait for the whole answer in a worker thread."""
    return client.call(MODEL, messages=HELLO).text


async def events(client: ClientDep) -> EventStream:
    """Pass the answer on as events."""
    return EventStream(client.astream(MODEL, messages=HELLO))


async def lines(client: ClientDep) -> JSONLines:
    """Pass the answer on as lines."""
    return JSONLines(client.astream(MODEL, messages=HELLO))


def text(client: ClientDep) -> TextStream:
    """Pass the answer on as text, from a plain function."""
    return TextStream(client.astream(MODEL, messages=HELLO))


async def own(client: ClientDep) -> StreamingResponse:
    """Pass the answer on by means of Starlette alone."""
    return StreamingResponse(native(client))


async def native(client: ClientDep) -> AsyncIterator[str]:
    """Pass the answer on by means of FastAPI alone."""
    async with client.astream(MODEL, messages=HELLO) as stream:
        async for chunk in stream:
            yield chunk.delta


async def read(client: ClientDep) -> str:
    """Read a stream to its end before answering."""
    async with client.astream(MODEL, messages=HELLO) as stream:
        return (await stream.aread()).text


HANDLERS: dict[str, Callable[..., object]] = {
    "/plain": plain,
    "/def": by_def,
    "/events": events,
    "/lines": lines,
    "/text": text,
    "/own": own,
    "/read": read,
}


HAS_SSE = find_spec("fastapi.sse") is not None  # since FastAPI 0.135
PATHS = [*HANDLERS, "/native"] if HAS_SSE else [*HANDLERS]
STREAMS = [path for path in PATHS if path not in {"/plain", "/def"}]
Serve = Callable[[FastAPI], Site]


def until(holds: Callable[[], bool]) -> None:
    """Wait for what nobody tells of."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def leave_early(server: LocalDashScope, site: Site, path: str, body: bytes | None = None) -> None:
    """Leave while the service has not answered yet."""
    server.fault(BlackHole())
    browser = site.visit(path, body)
    server.wait_for(lambda server: server.running == 1)
    browser.close()
    server.wait_for(lambda server: server.running == 0, timeout=30)


def leave_amid(server: LocalDashScope, site: Site, path: str) -> None:
    """Leave in the middle of an answer."""
    server.reply(Reply(pieces=["a", "b"]))
    server.fault(Stall(after=1))
    browser = site.visit(path)
    until(lambda: bool(server.exchanges) and server.exchanges[-1].pieces_sent == 1)
    browser.close()
    # A generator that the framework leaves hanging is closed when it is collected.
    until(lambda: server.running == 0 or gc.collect() < 0)


@pytest.mark.parametrize("path", PATHS)
def test_the_call_ends_before_the_first_token(
    server: LocalDashScope, serve: Serve, path: str
) -> None:
    """A browser that leaves while the model thinks takes the call with it."""
    leave_early(server, serve(application()), path)

    assert server.exchanges[-1].outcome == "client left"


def test_the_call_of_a_mounted_application_ends(server: LocalDashScope, serve: Serve) -> None:
    """A browser that leaves a handler of a mounted application takes the call with it, too."""
    outer, inner = FastAPI(lifespan=lifespan), FastAPI()
    inner.get("/plain")(plain)
    outer.mount("/inner", inner)

    leave_early(server, serve(outer), "/inner/plain")

    assert server.exchanges[-1].outcome == "client left"


@pytest.mark.parametrize("path", STREAMS)
def test_the_call_ends_in_the_middle(server: LocalDashScope, serve: Serve, path: str) -> None:
    """A browser that leaves while the model speaks takes the call with it."""
    leave_amid(server, serve(application()), path)

    assert server.exchanges[-1].outcome == "client left"


def test_a_body_that_was_read_is_no_hindrance(server: LocalDashScope, serve: Serve) -> None:
    """A question in the request's body changes nothing."""
    leave_early(server, serve(application()), "/plain", b'"how are you?"')

    assert server.requests[-1].text == "how are you?"
    assert server.exchanges[-1].outcome == "client left"


@pytest.mark.parametrize(("path", "statuses"), [("/plain", []), ("/events", [499])])
def test_middleware_of_the_application_is_no_hindrance(
    server: LocalDashScope, serve: Serve, path: str, statuses: list[int]
) -> None:
    """Middlewares that stand between keep nobody from leaving, and get a status for a stream."""
    app = application()
    seen: list[int] = []
    app.add_middleware(GZipMiddleware, minimum_size=1)

    async def passing(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        seen.append(response.status_code)
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    leave_early(server, serve(app), path)
    until(lambda: seen == statuses)

    assert server.exchanges[-1].outcome == "client left"


def test_gzip_does_not_hold_events_back(server: LocalDashScope, serve: Serve) -> None:
    """Starlette's GZipMiddleware lets each event through as it comes."""
    server.reply(Reply(pieces=["a", "b"]))
    server.fault(Stall(after=1))
    app = application()
    app.add_middleware(GZipMiddleware, minimum_size=1)
    received = b""
    with serve(app).visit("/events", Accept_Encoding="gzip") as browser:
        while b'"delta":"a"' not in received:
            received += browser.recv(1000)
    server.wait_for(lambda server: server.running == 0)


def test_a_client_of_ones_own_is_enough_for_streams(server: LocalDashScope, serve: Serve) -> None:
    """A stream listens by itself, without lifespan and dependency."""
    app = FastAPI()
    client = Client()

    @app.get("/")
    async def page() -> EventStream:
        return EventStream(client.astream(MODEL, messages=HELLO))

    site = serve(app)
    leave_early(server, site, "/")
    leave_amid(server, site, "/")
    client.close()

    assert [exchange.outcome for exchange in server.exchanges] == ["client left"] * 2


def test_handlers_without_the_client_are_left_alone(server: LocalDashScope, serve: Serve) -> None:
    """Only a handler that takes the client is cancelled; what else an application does goes on."""
    app = application()
    ended: list[str] = []

    @app.get("/order")
    async def order(request: Request) -> str:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        await anyio.lowlevel.checkpoint()
        ended.append("paid")
        return "paid"

    site = serve(app)
    site.visit("/order").close()
    site.visit("/events").close()
    until(lambda: ended == ["paid"])


def test_what_was_said_can_be_kept(server: LocalDashScope, serve: Serve) -> None:
    """The background task runs for a browser that has left, with the text up to then."""
    kept: list[str] = []
    app = FastAPI(lifespan=lifespan)

    @app.get("/events")
    async def event_stream(client: ClientDep) -> EventStream:
        stream = client.astream(MODEL, messages=HELLO)
        return EventStream(stream, background=BackgroundTask(lambda: kept.append(stream.text)))

    leave_amid(server, serve(app), "/events")
    until(lambda: bool(kept))

    assert kept in (["a"], [""])  # the browser may have left before the first piece was read


def test_nothing_is_left_of_a_thousand(server: LocalDashScope, serve: Serve) -> None:
    """A thousand browsers leave, at every stage: no connection to the service stays open."""
    server.reply(Reply(pieces=["a"] * 1000, tokens_per_second=50))
    site = serve(application())
    paths = [path for path in PATHS if path not in {"/own", "/native"}]  # closed when collected

    def more(asked: int) -> bool:
        return len(server.requests) > asked

    for number in range(1000):
        asked, path = len(server.requests), paths[number % 7 % len(paths)]
        browser = site.visit(path)
        if number % 3:
            until(partial(more, asked))
        if number % 3 == 2 and path in {"/events", "/lines", "/text"}:
            assert browser.recv(1)
        browser.close()
    server.wait_for(lambda server: server.running == server.open_connections == 0, timeout=15)

    assert len(server.requests) > 600
    assert {exchange.outcome for exchange in server.exchanges} == {"client left"}
