"""One client for the application: opened and closed with it, asked for by handlers, replaced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest

pytest.importorskip("fastapi", reason="the extra fastapi is not installed")

import anyio.lowlevel
from fastapi import BackgroundTasks, FastAPI, Form, Request, WebSocket
from starlette.applications import Starlette
from starlette.types import Message, Scope

from llama_dashscope import Client, ClientClosedError
from llama_dashscope.fastapi import ClientDep, get_client, lifespan
from llama_dashscope.testing import LocalDashScope

from .conftest import browsing

MODEL = "llama3.3-70b-instruct"
HELLO = [{"role": "user", "content": "hello"}]


def with_handlers(app: FastAPI) -> FastAPI:
    """Add a handler of each kind."""

    @app.get("/async")
    async def by_async(client: ClientDep) -> str:
        return (await client.acall(MODEL, messages=HELLO)).text

    @app.get("/def")
    def by_def(client: ClientDep) -> str:
        return client.call(MODEL, messages=HELLO).text

    return app


@pytest.mark.anyio
async def test_both_kinds_of_handlers_share_a_connection(server: LocalDashScope) -> None:
    """`async def` and `def` handlers use the same client in the same loop: the same pool."""
    server.reply("hi there")
    app = with_handlers(FastAPI(lifespan=lifespan))
    async with browsing(app) as browser:
        replies = [(await browser.get(path)).json() for path in ("/async", "/def", "/async")]

    assert replies == ["hi there"] * 3
    assert server.connections_accepted == 1


@pytest.mark.anyio
async def test_the_client_lives_as_long_as_the_application(server: LocalDashScope) -> None:
    """The client is open while the application runs, closed afterwards, and its own to choose."""
    client = Client()

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[None]:
        async with lifespan(app, client):
            app.state.database = "open"
            yield

    app = with_handlers(FastAPI(lifespan=own))

    @app.get("/state")
    def state(request: Request) -> str:
        return str(request.app.state.database)

    async with browsing(app) as browser:
        assert app.state.dashscope is client
        assert (await browser.get("/async")).status_code == 200
        assert (await browser.get("/state")).json() == "open"
    with pytest.raises(ClientClosedError):
        await client.acall(MODEL, messages=HELLO)
    await server.await_for(lambda server: server.open_connections == 0)
    assert not hasattr(app.state, "dashscope")


@pytest.mark.anyio
@pytest.mark.parametrize("outer", [FastAPI, Starlette])
async def test_a_mounted_application_takes_the_outer_ones_client(
    server: LocalDashScope, outer: type[Starlette]
) -> None:
    """An application mounted under another, at any depth, has the client of the outer one."""
    app, middle, inner = outer(lifespan=lifespan), FastAPI(), with_handlers(FastAPI())
    middle.mount("/inner", inner)
    app.mount("/middle", middle)
    async with browsing(app) as browser:
        replies = [await browser.get(f"/middle/inner{path}") for path in ("/async", "/def")]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert server.connections_accepted == 1


@pytest.mark.anyio
async def test_a_mounted_application_may_have_its_own_client(server: LocalDashScope) -> None:
    """Where a mounted application's lifespan is entered too, each has the client it opened."""
    sub = with_handlers(FastAPI())

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncGenerator[None]:
        clients = [Client(headers={"x-who": name}) for name in ("outer", "inner")]
        async with lifespan(app, clients[0]), lifespan(sub, clients[1]):
            yield

    app = with_handlers(FastAPI(lifespan=both))
    app.mount("/sub", sub)
    async with browsing(app) as browser:
        for path in ("/async", "/sub/async", "/sub/def"):
            assert (await browser.get(path)).status_code == 200

    assert [request.headers["x-who"] for request in server.requests] == ["outer", "inner", "inner"]


@pytest.mark.anyio
async def test_an_application_may_start_again(server: LocalDashScope) -> None:
    """Each start opens a client of its own, and nothing of the last one is left."""
    app = with_handlers(FastAPI(lifespan=lifespan))
    for _ in range(2):
        async with browsing(app) as browser:
            assert (await browser.get("/async")).status_code == 200
    assert len(server.requests) == 2


@pytest.mark.anyio
async def test_a_lifespan_may_be_entered_by_hand(server: LocalDashScope) -> None:
    """Without a server that starts the application, its lifespan does what it does with one."""
    app = FastAPI()
    async with lifespan(app):
        assert await app.state.dashscope.acall(MODEL, messages=HELLO)
    assert app.middleware_stack is None
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_an_application_without_lifespan_says_what_is_missing() -> None:
    """A handler's wish for a client that nobody opened is an error with the line to add."""
    app = with_handlers(FastAPI())

    with pytest.raises(RuntimeError, match=r"FastAPI\(lifespan=lifespan\)"):
        async with browsing(app) as browser:
            await browser.get("/async")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/async", "/def"])
async def test_a_test_may_bring_its_own_client(server: LocalDashScope, path: str) -> None:
    """`dependency_overrides` replaces the client, with or without a lifespan."""
    server.reply("from the test")
    app = with_handlers(FastAPI())
    own = Client(headers={"x-who": "test"})
    app.dependency_overrides[get_client] = lambda: own
    async with own, browsing(app) as browser:
        reply = await browser.get(path)

    assert reply.json() == "from the test"
    assert server.requests[0].headers["x-who"] == "test"


@pytest.mark.anyio
async def test_a_websocket_has_the_client_too(server: LocalDashScope) -> None:
    """A WebSocket's handler is given the same client, and hears of its end by itself."""
    server.reply("hi")
    app = FastAPI(lifespan=lifespan)

    @app.websocket("/talk")
    async def talk(socket: WebSocket, client: ClientDep) -> None:
        await socket.accept()
        await socket.send_text((await client.acall(MODEL, messages=HELLO)).text)

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "websocket", "path": "/talk", "query_string": b"", "headers": []}
    async with lifespan(app):
        await app(scope, receive, send)

    assert [message.get("text") for message in sent[:2]] == [None, "hi"]


@pytest.mark.anyio
async def test_a_body_stays_readable(server: LocalDashScope) -> None:
    """Watching for the browser's leaving takes nothing away from a handler that reads the body."""
    app = FastAPI(lifespan=lifespan)

    @app.post("/body")
    async def body(request: Request, client: ClientDep) -> str:
        assert isinstance(client, Client)
        return b"".join([part async for part in request.stream()]).decode()

    async def parts() -> AsyncGenerator[bytes]:
        yield b"in "
        yield b"parts"

    async with browsing(app) as browser:
        assert (await browser.post("/body", content=parts())).json() == "in parts"
    assert server.requests == []


@pytest.mark.anyio
async def test_a_form_was_read_before(server: LocalDashScope) -> None:
    """A handler with a form, read as a stream by then, is watched like others."""
    pytest.importorskip("python_multipart", reason="python-multipart is not installed")
    server.reply("a cat")
    app = FastAPI(lifespan=lifespan)

    @app.post("/form")
    async def form(client: ClientDep, name: Annotated[str, Form()]) -> str:
        assert name == "cat"
        return (await client.acall(MODEL, messages=HELLO)).text

    async with browsing(app) as browser:
        reply = await browser.post("/form", data={"name": "cat"})

    assert reply.json() == "a cat"


@pytest.mark.anyio
async def test_what_runs_after_the_response_runs_to_its_end(server: LocalDashScope) -> None:
    """A server says 'gone' after the response; by then background tasks are nobody's to cancel."""
    app = FastAPI(lifespan=lifespan)
    done: list[str] = []

    @app.get("/")
    async def page(client: ClientDep, request: Request, tasks: BackgroundTasks) -> str:
        async def afterwards() -> None:
            done.append((await request.receive())["type"])
            await anyio.lowlevel.checkpoint()
            done.append("saved")

        tasks.add_task(afterwards)
        return (await client.acall(MODEL, messages=HELLO)).text

    async with browsing(app) as browser:
        assert (await browser.get("/")).status_code == 200
    assert done == ["http.disconnect", "saved"]
    assert len(server.requests) == 1


def test_without_fastapi_the_error_names_the_extra() -> None:
    """Where FastAPI is missing, importing this says what to install."""
    program = """
import sys
sys.modules["fastapi"] = None
try:
    import llama_dashscope.fastapi
except ImportError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert b"pip install 'llama-dashscope[fastapi]'" in ended.stdout
