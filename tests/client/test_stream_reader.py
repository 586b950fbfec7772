"""A stream ends in time whatever bytes keep coming; no bytes of it need a socket."""

from __future__ import annotations

import pytest
from anyio import lowlevel

from llama_dashscope import APITimeoutError, Limits, Timeout
from llama_dashscope._client.stream_reader import NEVER, StreamReader
from llama_dashscope._protocol.failure import ResponseHead
from llama_dashscope._protocol.request import Payload
from llama_dashscope._settings import ApiKey

pytestmark = pytest.mark.anyio

FINISHED = b'data:{"output":{"text":"hi","finish_reason":"stop"}}\n\n'
USAGE = b'data:{"usage":{"output_tokens":1}}\n\n'
SAYS_NOTHING = b":ping\n\n"


class Flood:
    """A body that says something once, and then the same for ever, without a pause."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self._next, self._then = first, then

    async def read(self, limit: float | None) -> bytes:
        """Return bytes at once."""
        del limit
        await lowlevel.checkpoint()
        found, self._next = self._next, self._then
        return found

    async def aclose(self) -> None:
        """Hold nothing."""


def reader(body: Flood, *, idle: float | None = None, deadline: float = NEVER) -> StreamReader:
    """Read a body as a stream."""
    head = ResponseHead(200, {}, ApiKey("sk-0"), "dashscope.example")
    payload = Payload(b"{}", streaming=True, incremental=True, choices=1)
    timeout = Timeout(idle=idle, total=0.05)
    return StreamReader(head, body, payload, timeout=timeout, limits=Limits(), deadline=deadline)


@pytest.mark.parametrize(("idle", "deadline", "limit"), [(0.05, NEVER, "idle"), (None, 0, "total")])
async def test_a_flood_of_heartbeats(idle: float | None, deadline: float, limit: str) -> None:
    """Heartbeats without a pause keep no stream alive beyond its limits."""
    with pytest.raises(APITimeoutError) as caught:
        await reader(Flood(SAYS_NOTHING, SAYS_NOTHING), idle=idle, deadline=deadline).more()

    assert caught.value.limit == limit


@pytest.mark.parametrize("then", [USAGE, SAYS_NOTHING])
async def test_a_flood_behind_the_end(then: bytes) -> None:
    """An answer that is whole is handed on and left, though its server goes on sending."""
    stream = reader(Flood(FINISHED, then))

    [chunk] = await stream.more()
    await stream.drain()

    assert (chunk.text, stream.response.text) == ("hi", "hi")


async def test_reading_on_behind_the_end() -> None:
    """Who reads a stream to its end gets it, though its server goes on sending."""
    stream = reader(Flood(FINISHED, SAYS_NOTHING))

    while await stream.more():
        pass

    assert stream.response.text == "hi"
