"""A stream ends in time whatever bytes keep coming; no bytes of it need a socket."""

from __future__ import annotations

from time import monotonic

import pytest
from anyio import lowlevel
from stream_parsers import chunk_parser

from llama_dashscope import APITimeoutError, Chunk, Timeout
from llama_dashscope._client.attempt import Attempt
from llama_dashscope._client.stream_reader import StreamReader
from llama_dashscope._client.time_limits import TimeLimits
from llama_dashscope._protocol.failure import ResponseHead
from llama_dashscope._settings import ApiKey

pytestmark = pytest.mark.anyio

FINISHED = b'data:{"output":{"text":"hi","finish_reason":"stop"}}\n\n'
USAGE = b'data:{"usage":{"output_tokens":1}}\n\n'
SAYS_NOTHING = b":ping\n\n"


class Flood:
    """A body that says something once, and then the same for ever, without a pause."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self._next, self._then = first, then
        self.reads = 0

    async def read(self, limit: float | None) -> bytes:
        """Return bytes at once."""
        del limit
        await lowlevel.checkpoint()
        self.reads += 1
        found, self._next = self._next, self._then
        return found

    async def aclose(self) -> None:
        """Hold nothing."""


def reader(body: Flood, timeout: Timeout | None = None) -> StreamReader[Chunk]:
    """Read a body as a stream."""
    head = ResponseHead(200, {}, ApiKey("sk-0"), "dashscope.example")
    limits = TimeLimits(timeout or Timeout(idle=None), "dashscope.example", monotonic())
    return StreamReader(body, chunk_parser(head), limits, Attempt("dashscope.example", 1, None))


@pytest.mark.parametrize(
    ("timeout", "limit"),
    [(Timeout(idle=0.05), "idle"), (Timeout(idle=None, total=0.05), "total")],
)
async def test_a_flood_of_heartbeats(timeout: Timeout, limit: str) -> None:
    """Heartbeats without a pause keep no stream alive beyond its limits."""
    with pytest.raises(APITimeoutError) as caught:
        await reader(Flood(SAYS_NOTHING, SAYS_NOTHING), timeout).more()

    assert (caught.value.limit, caught.value.waited) == (limit, 0.05)


@pytest.mark.parametrize("then", [USAGE, SAYS_NOTHING])
async def test_a_flood_behind_the_end(then: bytes) -> None:
    """An answer that is whole is handed on and left, though its server goes on sending."""
    stream = reader(Flood(FINISHED, then))

    [chunk] = await stream.more()
    await stream.aclose(drain=True)

    assert (chunk.text, stream.answer.response().text) == ("hi", "hi")


async def test_what_is_left_behind_the_end() -> None:
    """Who lets go of a whole answer reads the rest of its body only where that is wanted."""
    body = Flood(FINISHED, USAGE)
    stream = reader(body)

    await stream.more()
    await stream.aclose()

    assert body.reads == 1


async def test_reading_on_behind_the_end() -> None:
    """Who reads a stream to its end gets it, though its server goes on sending."""
    stream = reader(Flood(FINISHED, SAYS_NOTHING))

    while await stream.more():
        pass

    assert stream.answer.response().text == "hi"
