"""The queue in front of the connections, and what a connection's user may do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import anyio
import attrs
import httpx
import pytest
from client_matrix import MODEL

from llama_dashscope import Client, ClientClosedError, Limits, Timeout
from llama_dashscope._network.http11_connection import HTTP11Connection
from llama_dashscope._network.http11_transport import HTTP11Transport
from llama_dashscope._network.interface import HTTPRequest, TransportResponse
from llama_dashscope._network.pool import ConnectionPool
from llama_dashscope._settings import ApiKey, Network
from llama_dashscope.testing import LocalDashScope, Raw

pytestmark = pytest.mark.anyio

KEY = ApiKey("sk-local")
BODY = b'{"model":"llama3.3-70b-instruct","input":{"prompt":"hi"},"parameters":{}}'


@attrs.frozen
class Outgoing:
    """A request as the network sees it."""

    url: str
    key: ApiKey
    headers: list[tuple[str, str]]
    body: bytes
    timeout: Timeout
    wanted: frozenset[str] | None = frozenset()


@pytest.fixture
async def carrier(server: LocalDashScope) -> HTTP11Transport:
    """Make the carrier of the base install."""
    return HTTP11Transport(Network(server.base_url, None, True, True, Limits(), "httpx"))


@pytest.fixture
def outgoing(server: LocalDashScope) -> HTTPRequest:
    """Make a request of the server."""
    url = f"{server.base_url}/services/aigc/text-generation/generation"
    return Outgoing(url, KEY, [("authorization", "Bearer sk-local")], BODY, Timeout())


class Answer:
    """An answer without a body."""

    status = 200
    headers: Mapping[str, str] = {}

    async def read(self, limit: float | None) -> bytes:  # noqa: ARG002  # the interface
        """Be at the end."""
        return b""

    async def aclose(self) -> None:
        """Hold nothing."""


class Carrier:
    """Answers at once."""

    async def send(self, request: HTTPRequest) -> Answer:  # noqa: ARG002  # the interface
        """Give an answer."""
        return Answer()

    async def aclose(self) -> None:
        """Hold nothing."""


async def test_who_came_first_goes_first(outgoing: HTTPRequest) -> None:
    """Connections are given in the order of the queue."""
    pool, order = ConnectionPool(Carrier(), 1), list[int]()
    first = await pool.send(outgoing)

    async def wait(number: int) -> None:
        reply = await pool.send(outgoing)
        order.append(number)
        await reply.aclose()

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
        await first.aclose()

    assert order == list(range(5))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio cancels nobody whose turn has come
async def test_a_turn_that_comes_too_late(outgoing: HTTPRequest) -> None:
    """Whose turn comes while he is leaving passes it on."""
    pool = ConnectionPool(Carrier(), 1)
    first = await pool.send(outgoing)
    leaving, staying = (asyncio.ensure_future(pool.send(outgoing)) for _ in range(2))
    await asyncio.sleep(0)
    await first.aclose()
    leaving.cancel()

    await asyncio.wait_for(staying, 5)
    assert leaving.cancelled()


async def test_leaving_the_queue(outgoing: HTTPRequest) -> None:
    """Who leaves the queue is no longer in it."""
    pool = ConnectionPool(Carrier(), 1)
    first = await pool.send(outgoing)
    with anyio.move_on_after(0.01):
        await pool.send(outgoing)
    await first.aclose()
    with anyio.fail_after(5):
        await pool.send(outgoing)


async def test_reading_beyond_the_end(carrier: HTTP11Transport, outgoing: HTTPRequest) -> None:
    """After its end a body stays at its end, and closing it then closes nothing."""
    reply = await carrier.send(outgoing)
    while await reply.read(None):
        pass

    assert await reply.read(None) == b""
    await reply.aclose()
    await reply.aclose()
    await carrier.aclose()


@pytest.mark.parametrize("wanted", [frozenset({"x-request-id"}), None], ids=["some", "all"])
async def test_headers_that_are_kept(
    carrier: HTTP11Transport, server: LocalDashScope, wanted: frozenset[str] | None
) -> None:
    """Of the headers of an answer those are kept that are wanted: by name, or all."""
    url = f"{server.base_url}/services/aigc/text-generation/generation"
    reply = await carrier.send(Outgoing(url, KEY, [], BODY, Timeout(), wanted))
    await reply.aclose()
    await carrier.aclose()

    assert "x-request-id" in reply.headers
    assert ("content-type" in reply.headers) == (wanted is None)


async def test_closing_unread(
    carrier: HTTP11Transport, outgoing: HTTPRequest, server: LocalDashScope
) -> None:
    """An answer may be closed before it is read."""
    reply = await carrier.send(outgoing)
    await reply.aclose()
    await server.await_for(lambda server: server.open_connections == 0)


async def test_closed_with_an_answer_under_way(
    carrier: HTTP11Transport, outgoing: HTTPRequest, server: LocalDashScope
) -> None:
    """A connection that ends after its carrier was closed isn't kept."""
    server.reply(Raw(head=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    reply = await carrier.send(outgoing)
    await carrier.aclose()

    assert await reply.read(None) == b""
    await reply.aclose()
    await server.await_for(lambda server: server.open_connections == 0)


async def test_leaving_a_custom_transport() -> None:
    """A stream over a transport of the caller's own may be left early, too."""
    frame = b'data:{"output":{"text":"a","finish_reason":"null"}}\n\n'
    closed: list[bool] = []

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204 - a generator of bytes
            for _ in range(9):
                yield frame

        async def aclose(self) -> None:
            closed.append(True)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Body()))
    async with (
        Client("sk-1", transport=transport) as client,
        client.astream(MODEL, "hi") as stream,
    ):
        assert (await anext(stream)).delta == "a"

    assert closed


class SlowCarrier(HTTP11Transport):
    """Takes its time, and isn't told that it was closed."""

    def __init__(self, network: Network) -> None:
        """Wait to be let through."""
        super().__init__(network)
        self.through = anyio.Event()

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send when let through."""
        await self.through.wait()
        return await super().send(request)

    async def aclose(self) -> None:
        """Close nothing: there is no connection yet."""


async def test_closed_while_a_call_is_connecting(
    server: LocalDashScope, outgoing: HTTPRequest
) -> None:
    """A call that gets its answer only after the client was closed ends like the others."""
    carrier = SlowCarrier(Network(server.base_url, None, True, True, Limits(), "httpx"))
    pool = ConnectionPool(carrier, 1)
    ended: list[BaseException] = []

    async def ask() -> None:
        try:
            await pool.send(outgoing)
        except ClientClosedError as error:
            ended.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await pool.aclose()
        carrier.through.set()

    assert len(ended) == 1
    await server.await_for(lambda seen: seen.open_connections == 0)


async def test_closed_while_a_connection_is_being_opened(
    server: LocalDashScope, outgoing: HTTPRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new connection is closed at once; it belongs to nobody."""
    carrier = HTTP11Transport(Network(server.base_url, None, True, True, Limits(), "httpx"))
    open_connection, through = carrier._dialer.open, anyio.Event()

    async def open_late(limit: float | None) -> HTTP11Connection:
        connection = await open_connection(limit)
        await through.wait()
        return connection

    monkeypatch.setattr(carrier._dialer, "open", open_late)
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            with pytest.raises(ClientClosedError):
                await carrier.send(outgoing)

        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await server.await_for(lambda seen: seen.open_connections == 1)
        await carrier.aclose()
        through.set()

    await server.await_for(lambda seen: seen.open_connections == 0)
