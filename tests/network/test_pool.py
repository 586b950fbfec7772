"""The queue in front of the connections, and what a connection's user may do with it."""

from __future__ import annotations

import asyncio

import anyio
import httpx
import pytest
from client_matrix import MODEL

from llama_dashscope import Client, ClientClosedError, Limits, Timeout
from llama_dashscope._network.httpx_transport import HttpxTransport
from llama_dashscope._network.interface import HTTPRequest, TransportResponse
from llama_dashscope._network.pool import ConnectionPool, Slots
from llama_dashscope._settings import Network
from llama_dashscope.testing import LocalDashScope, Raw

pytestmark = pytest.mark.anyio

BODY = b'{"model":"llama3.3-70b-instruct","input":{"prompt":"hi"},"parameters":{}}'


@pytest.fixture
def carrier(server: LocalDashScope) -> HttpxTransport:
    """Make a carrier over httpx."""
    return HttpxTransport(Network(server.base_url, None, True, True, Limits(), "httpx"))


@pytest.fixture
def outgoing(server: LocalDashScope) -> HTTPRequest:
    """Make a request of the server."""
    url = f"{server.base_url}/services/aigc/text-generation/generation"
    return HTTPRequest(url, [("authorization", "Bearer sk-local")], BODY, Timeout())


async def test_who_came_first_goes_first() -> None:
    """Slots are given in the order of the queue."""
    slots, order = Slots(1), list[int]()
    await slots.acquire()

    async def wait(number: int) -> None:
        await slots.acquire()
        order.append(number)
        slots.release()

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
        slots.release()

    assert order == list(range(5))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio cancels nobody whose turn has come
async def test_a_turn_that_comes_too_late() -> None:
    """Whose turn comes while he is leaving passes it on."""
    slots = Slots(1)
    await slots.acquire()
    leaving, staying = (asyncio.ensure_future(slots.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    slots.release()
    leaving.cancel()

    await asyncio.wait_for(staying, 5)
    assert leaving.cancelled()


async def test_leaving_the_queue() -> None:
    """Who leaves the queue is no longer in it."""
    slots = Slots(1)
    await slots.acquire()
    with anyio.move_on_after(0.01):
        await slots.acquire()
    slots.release()
    await slots.acquire()


async def test_reading_beyond_the_end(carrier: HttpxTransport, outgoing: HTTPRequest) -> None:
    """After its end a body stays at its end, and closing it then closes nothing."""
    reply = await carrier.send(outgoing)
    while await reply.read(None):
        pass

    assert await reply.read(None) == b""
    await reply.aclose()
    await reply.aclose()
    await carrier.aclose()


async def test_closing_unread(
    carrier: HttpxTransport, outgoing: HTTPRequest, server: LocalDashScope
) -> None:
    """An answer may be closed before it is read."""
    reply = await carrier.send(outgoing)
    await reply.aclose()
    await server.await_for(lambda server: server.open_connections == 0)


async def test_closed_with_an_answer_under_way(
    carrier: HttpxTransport, outgoing: HTTPRequest, server: LocalDashScope
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


class SlowCarrier(HttpxTransport):
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
