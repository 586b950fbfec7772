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


def keeps_request(before: int) -> bool:
    """Tell whether as much more memory is in use as a request takes."""
    return tracemalloc.get_traced_memory()[0] - before > len(LONG) // 2


async def until_freed(before: int) -> None:
    """Wait until the request is freed; the task that wrote it may end a moment after the answer."""
    with anyio.fail_after(10):
        while keeps_request(before):
            await anyio.sleep(0.01)


def test_an_open_stream(stack: tuple[str, str], address: str, before: int) -> None:
    """Thousands of streams may be open: the request is freed when its answer has begun."""

    async def main() -> None:
        async with (
            Client("sk-local", base_url=address, transport=stack[0]) as client,
            client.astream(MODEL, LONG),
        ):
            await until_freed(before)

    anyio.run(main, backend=stack[1])


@pytest.mark.parametrize("transport", sorted({transport for transport, _ in STACKS}))
def test_an_open_stream_in_sync_code(transport: str, address: str, before: int) -> None:
    """It is freed there too."""
    with (
        Client("sk-local", base_url=address, transport=transport) as client,
        client.stream(MODEL, LONG),
    ):
        anyio.run(until_freed, before)


def test_an_open_stream_of_the_drop_in(address: str, before: int) -> None:
    """Nor does the generator of `Generation.call` keep it."""
    where: dict[str, Any] = {"base_address": address, "api_key": "sk-local"}
    answers = Generation.call(MODEL, LONG, stream=True, **where)
    next(answers)

    anyio.run(until_freed, before)

    answers.close()


@pytest.mark.anyio
async def test_an_open_async_stream_of_the_drop_in(address: str, before: int) -> None:
    """Nor does that of `AioGeneration.call`."""
    where: dict[str, Any] = {"base_address": address, "api_key": "sk-local"}
    answers = await AioGeneration.call(MODEL, LONG, stream=True, **where)
    await anext(answers)

    await until_freed(before)

    await answers.aclose()
