"""What an open stream keeps in memory: not its request, whose messages may be long."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from client_matrix import MODEL, STACKS
from relays import Reader, Relay, Writer, relay

from llama_dashscope import Client
from llama_dashscope.compat import AioGeneration, Generation

LONG = "word " * 4_000_000
"""A prompt of twenty million characters: more than the libraries that a first call imports."""

FRAME = b'data:{"output":{"text":"a"}}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def begin_to_answer(_: Relay, reader: Reader, writer: Writer) -> None:
    """Read a request without keeping it, and send the first frame of an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    left = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
    while left:
        left -= len(await reader.read(min(left, 1 << 16)))
    writer.write(HEAD + b"%x\r\n%b\r\n" % (len(FRAME), FRAME))
    await writer.drain()
    await reader.read()


@pytest.fixture
def address() -> Iterator[str]:
    """Run a server whose answers don't end."""
    with relay(begin_to_answer) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def before() -> Iterator[int]:
    """Trace memory; return the bytes in use."""
    tracemalloc.start()
    yield tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def used_since(before: int) -> int:
    """Return how many bytes more are in use."""
    return tracemalloc.get_traced_memory()[0] - before


def test_an_open_stream(stack: tuple[str, str], address: str, before: int) -> None:
    """Thousands of streams may be open: the request is freed when its answer has begun."""

    async def main() -> int:
        async with (
            Client("sk-local", base_url=address, transport=stack[0]) as client,
            client.astream(MODEL, LONG),
        ):
            return used_since(before)

    assert anyio.run(main, backend=stack[1]) < len(LONG) // 2


@pytest.mark.parametrize("transport", sorted({transport for transport, _ in STACKS}))
def test_an_open_stream_in_sync_code(transport: str, address: str, before: int) -> None:
    """It is freed there too."""
    with (
        Client("sk-local", base_url=address, transport=transport) as client,
        client.stream(MODEL, LONG),
    ):
        assert used_since(before) < len(LONG) // 2


def test_an_open_stream_of_the_drop_in(address: str, before: int) -> None:
    """Nor does the generator of `Generation.call` keep it."""
    where: dict[str, Any] = {"base_address": address, "api_key": "sk-local"}
    answers = Generation.call(MODEL, LONG, stream=True, **where)
    next(answers)

    assert used_since(before) < len(LONG) // 2

    answers.close()


@pytest.mark.anyio
async def test_an_open_async_stream_of_the_drop_in(address: str, before: int) -> None:
    """Nor does that of `AioGeneration.call`."""
    where: dict[str, Any] = {"base_address": address, "api_key": "sk-local"}
    answers = await AioGeneration.call(MODEL, LONG, stream=True, **where)
    await anext(answers)

    assert used_since(before) < len(LONG) // 2

    await answers.aclose()
