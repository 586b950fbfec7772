"""One call from beginning to end, where the tests of faults don't go."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from client_matrix import LEGS, MODEL, Leg

from llama_dashscope import (
    APITimeoutError,
    Client,
    IncompleteResponseError,
    Limits,
    ResponseError,
    Timeout,
)
from llama_dashscope.testing import LocalDashScope, Raw, Stall

FRAME = b'data:{"output":{"text":"%s","finish_reason":"%s"}}\n\n'
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
STREAMS = [each for each in LEGS if each.streaming]


@pytest.mark.parametrize("leg", STREAMS, ids=str)
def test_frames_that_say_nothing_yet(leg: Leg, server: LocalDashScope) -> None:
    """A stream may begin with frames without text."""
    pieces = FRAME % (b"", b"null"), FRAME % (b"", b"null"), FRAME % (b"abc", b"stop")
    server.reply(Raw(pieces, headers=SSE, pause=0.02))

    assert leg.ask(leg.client(server)).text == "abc"


def test_an_empty_answer_in_one_piece(leg: Leg, server: LocalDashScope) -> None:
    """An answer of no text is an answer."""
    server.reply(Raw((b'{"output":{"text":""}}',), headers=JSON))

    outcome = leg.ask(leg.client(server))

    assert (outcome.text, outcome.error) == ("", None)


@pytest.mark.parametrize("leg", STREAMS, ids=str)
def test_one_piece_beyond_the_limit(leg: Leg, server: LocalDashScope) -> None:
    """A stream's answer in one piece has the limit of a frame."""
    server.reply(Raw((b'{"output":', b" " * 5000, b"{}}"), headers=JSON))

    outcome = leg.ask(leg.client(server, limits=Limits(max_frame_size=1000)))

    assert isinstance(outcome.error, ResponseError)
    assert "1000 bytes" in outcome.error.message


@pytest.mark.parametrize("end", ["clean", "fin"])
@pytest.mark.parametrize("leg", STREAMS, ids=str)
def test_half_a_frame(leg: Leg, server: LocalDashScope, end: str) -> None:
    """A frame that was cut is no garbled frame: the answer is incomplete, and says so."""
    pieces = FRAME % (b"a", b"null"), (FRAME % (b"bc", b"stop"))[:30]
    server.reply(Raw(pieces, headers=SSE, end="clean" if end == "clean" else "fin"))

    outcome = leg.ask(leg.client(server))

    assert outcome.text == "a"
    assert not isinstance(outcome.error, ResponseError)
    assert end == "fin" or isinstance(outcome.error, IncompleteResponseError)


def test_the_nearer_of_two_limits(leg: Leg, server: LocalDashScope) -> None:
    """Of `idle` and `total` the one that ends first gives its name."""
    server.fault(Stall(1))

    outcome = leg.ask(leg.client(server, timeout=Timeout(idle=0.05, total=60)))

    assert isinstance(outcome.error, APITimeoutError)
    assert outcome.error.limit == "idle"


class ClosesItsClient(httpx.AsyncBaseTransport):
    """Answers a stream, and closes the client just before the first frame."""

    client: Client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        close = self.client.close

        class Body(httpx.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                close()
                yield FRAME % (b"abc", b"stop")

        return httpx.Response(200, headers=SSE, stream=Body(), request=request)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closing_while_a_stream_begins(backend: str) -> None:
    """What has arrived by then is not lost."""
    transport = ClosesItsClient()
    client = transport.client = Client("sk-1", transport=transport)

    async def main() -> str:
        async with client.astream(MODEL, "hi") as stream:
            return (await anext(stream)).text

    assert anyio.run(main, backend=backend) == "abc"


def test_closing_in_a_fork(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process closes none of its parent's connections."""

    async def main() -> None:
        client = Client(server.api_key, base_url=server.base_url)
        await client.acall(MODEL, "hi")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            await client.aclose()
        assert server.open_connections == 1

    anyio.run(main)
    server.wait_for(lambda server: server.open_connections == 0)


def test_dropping_in_a_fork(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that only forgets its client."""

    async def main() -> None:
        clients = [Client(server.api_key, base_url=server.base_url)]
        await clients[0].acall(MODEL, "hi")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            clients.clear()
        await server.await_idle()
        assert server.open_connections == 1

    anyio.run(main)
    server.wait_for(lambda server: server.open_connections == 0)
