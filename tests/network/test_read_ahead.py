"""Reading ahead: what arrives while nobody waits is found in one piece, up to a limit."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio.lowlevel import checkpoint
from client_matrix import MODEL

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    Client,
    ClientClosedError,
    IncompleteResponseError,
    Limits,
    Timeout,
)
from llama_dashscope._client.sync_bridge import _BridgedCall
from llama_dashscope._network.read_ahead import MAX_BUFFERED, ReadAheadStream
from llama_dashscope.testing import CutStream, LocalDashScope, Reply, Stall

pytestmark = pytest.mark.anyio

IDLE = 9.0


class Body:
    """A body that gives these pieces and then nothing: for ever, or its end, or an error."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = list(pieces)
        self.error = error
        self.limits: list[float | None] = []
        self.more = anyio.Event()

    async def read(self, limit: float | None) -> bytes:
        """Return the next piece, or wait for more."""
        self.limits.append(limit)
        if not self.pieces:
            if self.error is not None:
                raise self.error
            await self.more.wait()
        return self.pieces.pop(0)

    async def aclose(self) -> None:
        """End the reading, as closing a connection does."""
        self.error = APIConnectionError("closed")
        self.pieces = [b""]
        self.more.set()


async def settle() -> None:
    """Let what can go on go on."""
    for _ in range(10):
        await checkpoint()


async def test_what_came_meanwhile() -> None:
    """The first piece is there at once; the others wait together for the next read."""
    body = Body(b"a", b"b", b"c", b"")
    ahead = ReadAheadStream(body, IDLE)
    first = await ahead.read(IDLE)
    await settle()

    assert (first + await ahead.read(IDLE), await ahead.read(IDLE)) == (b"abc", b"")
    assert await ahead.read(IDLE) == b""
    assert body.limits == [IDLE] * 4


async def test_a_reader_that_stays_away() -> None:
    """No more is held than is good, and reading goes on when the reader comes back."""
    piece = bytes(MAX_BUFFERED // 4)
    body = Body(*[piece] * 20, b"")
    ahead = ReadAheadStream(body, IDLE)
    size = len(await ahead.read(IDLE))
    await settle()

    assert len(body.limits) * len(piece) - size <= MAX_BUFFERED
    while data := await ahead.read(IDLE):
        size += len(data)
        assert len(data) <= MAX_BUFFERED
    assert size == 20 * len(piece)


async def test_what_arrived_before_an_error() -> None:
    """A failure comes after what had arrived, and stays."""
    body = Body(b"a", b"b", error=APIConnectionError("broken"))
    ahead = ReadAheadStream(body, IDLE)
    data = await ahead.read(IDLE)
    await settle()
    while data != b"ab":
        data += await ahead.read(IDLE)

    for _ in range(2):
        with pytest.raises(APIConnectionError, match="broken"):
            await ahead.read(IDLE)
        await settle()

    assert body.limits == [IDLE] * 3  # a broken connection is left alone


async def test_a_shorter_limit() -> None:
    """A reader may wait for a shorter time than the reading itself, and come again."""
    body = Body()
    ahead = ReadAheadStream(body, IDLE)
    with pytest.raises(APITimeoutError):
        await ahead.read(0.01)

    body.pieces = [b"late", b""]
    body.more.set()
    assert await ahead.read(1.0) == b"late"


async def test_closing_ends_the_reading() -> None:
    """Nothing goes on behind a stream that was closed."""
    ahead = ReadAheadStream(Body(b"a"), IDLE)
    assert await ahead.read(IDLE) == b"a"
    await settle()
    await ahead.aclose()
    await settle()

    assert await ahead.read(IDLE) == b""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio lets nobody cancel such a task
async def test_the_event_loop_ends() -> None:
    """A reader whose reading was cancelled from outside is told so, and doesn't wait for ever."""
    ahead = ReadAheadStream(Body(), IDLE)
    async with anyio.create_task_group() as group:

        async def read() -> None:
            with pytest.raises(ClientClosedError):
                await ahead.read(IDLE)

        before = asyncio.all_tasks()
        group.start_soon(read)
        await settle()
        on_its_own = [
            task for task in asyncio.all_tasks() - before if "task" in repr(task.get_coro())
        ]
        for task in on_its_own:
            task.cancel()
        assert len(on_its_own) == 1


# Through the client


def client_of(server: LocalDashScope, transport: str, idle: float = IDLE) -> Client:
    """Make a client that tries once, over one connection."""
    return Client(
        server.api_key,
        base_url=server.base_url,
        transport=transport,
        retry=0,
        timeout=Timeout(idle=idle),
        limits=Limits(max_connections=1),
    )


@pytest.mark.parametrize("transport", ["httpx", "auto"])
def test_crossings(server: LocalDashScope, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync stream crosses to the event loop for what has arrived and not for each frame."""
    server.reply(Reply(pieces=["a"] * 1000))
    crossings: list[int] = []
    through = _BridgedCall[object].through

    def counted(passage: _BridgedCall[object], loop: asyncio.AbstractEventLoop) -> object:
        crossings.append(1)
        return through(passage, loop)

    monkeypatch.setattr(_BridgedCall, "through", counted)
    with client_of(server, transport) as client, client.stream(MODEL, "hi") as stream:
        for chunk in stream:
            if len(chunk.text) == 1:
                server.wait_for(lambda server: server.exchanges[0].outcome == "answered")
        assert stream.response.text == "a" * 1000
    assert len(crossings) < 100


@pytest.mark.parametrize("transport", ["httpx", "auto"])
def test_a_busy_reader(server: LocalDashScope, transport: str) -> None:
    """A connection is free when its answer has arrived, though the reader is not that far yet."""
    server.reply(Reply(pieces=["a", "b", "c"], tokens_per_second=100))
    with client_of(server, transport) as client, client.stream(MODEL, "hi") as stream:
        assert next(stream).delta == "a"
        assert client.call(MODEL, "hi").text == "abc"
        assert [chunk.delta for chunk in stream] == ["b", "c", ""]


@pytest.mark.parametrize("transport", ["httpx", "auto"])
def test_a_stream_cut_behind_its_reader(server: LocalDashScope, transport: str) -> None:
    """What arrived before a break is all read before the break is told."""
    server.reply(Reply(pieces=["a", "b", "c", "d"]))
    server.fault(CutStream(3))
    with client_of(server, transport) as client, client.stream(MODEL, "hi") as stream:
        deltas = [next(stream).delta]
        server.wait_for(lambda server: server.open_connections == 0)
        with pytest.raises((IncompleteResponseError, APIConnectionError)) as raised:
            deltas += [chunk.delta for chunk in stream]
    assert raised.value.partial_text == "abc"


@pytest.mark.parametrize("transport", ["httpx", "auto"])
def test_silence(server: LocalDashScope, transport: str) -> None:
    """The idle limit holds for a sync stream as for any other."""
    server.reply(Reply(pieces=["a", "b"]))
    server.fault(Stall(1))
    with (
        client_of(server, transport, idle=0.1) as client,
        client.stream(MODEL, "hi") as stream,
    ):
        assert next(stream).delta == "a"
        with pytest.raises(APITimeoutError, match="idle"):
            next(stream)
