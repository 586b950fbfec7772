"""`AsyncStream` and `Stream`: how they are read, left and closed."""

from __future__ import annotations

import gc
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from client_matrix import MODEL, STACKS

from llama_dashscope import (
    APIConnectionError,
    AsyncStream,
    Client,
    ClientClosedError,
    DashScopeError,
    IncompleteResponseError,
    Limits,
    Stream,
    StreamUsageError,
    Timeout,
)
from llama_dashscope.testing import BlackHole, ErrorFrame, LocalDashScope, Raw, Reply, Stall

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = Limits(max_connections=1)
UNREAD = r"stream\.response needs a stream read to its end; "
READS_ON = r"\(\) reads the rest and returns the response$"
EARLY = r"closed early; stream\.text has the text received$"
ELSEWHERE = "a stream can only be read in the event loop that opened it"
LEFT_OPEN = "a stream was left open: use 'async with client.astream(...)' or close it"
CLOSED = r"^the client was closed; make a new Client for further calls( \(|$)"
ABC = Reply(pieces=["a", "b", "c"])


@pytest.fixture(params=STACKS, ids="-".join)
def stack(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Go by each transport on each event loop that has it."""
    transport, backend = request.param
    return transport, backend


@pytest.fixture
def client(stack: tuple[str, str], server: LocalDashScope) -> Client:
    """Make a client with one connection, so that a lost one is noticed."""
    server.reply(ABC)
    return Client(server.api_key, base_url=server.base_url, transport=stack[0], limits=ONE, retry=0)


def test_read_twice(stack: tuple[str, str], client: Client) -> None:
    """A stream is read once; after its end it has nothing more, and the whole response."""

    async def main() -> None:
        async with client, client.astream(MODEL, "hi") as stream:
            with pytest.raises(StreamUsageError, match=f"^{UNREAD}await stream\\.aread{READS_ON}"):
                _ = stream.response
            assert [chunk.delta async for chunk in stream] == ["a", "b", "c", ""]
            assert [chunk async for chunk in stream] == []
            assert stream.closed
            assert (await stream.aread()).text == stream.text == "abc"
            assert stream.response.usage is not None

    anyio.run(main, backend=stack[1])


def test_a_stream_that_was_left_has_no_response(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """Reading on is no way out there, so the error names what there is."""

    async def main() -> None:
        async with client:
            async with client.astream(MODEL, "hi") as stream:
                await anext(stream)
            with pytest.raises(StreamUsageError, match=f"^{UNREAD}this one was {EARLY}"):
                _ = stream.response

    anyio.run(main, backend=stack[1])


def test_fewer_answers_than_requested(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """What ended as it should is the answer; what was cut off may lack the others."""
    only = b'data:{"output":{"text":"a","finish_reason":"stop"}}\n\n'

    async def main() -> None:
        async with client:
            server.reply(Raw((only,)))
            assert (await client.astream(MODEL, "hi", n=2).aread()).text == "a"
            server.reply(Raw((only,), end="fin"))
            with pytest.raises((IncompleteResponseError, APIConnectionError)) as caught:
                await client.astream(MODEL, "hi", n=2).aread()
            assert caught.value.partial_text == "a"

    anyio.run(main, backend=stack[1])


def test_without_with(stack: tuple[str, str], client: Client) -> None:
    """A stream that is read to its end needs no block around it."""

    async def main() -> str:
        async with client:
            return "".join([chunk.delta async for chunk in client.astream(MODEL, "hi")])

    assert anyio.run(main, backend=stack[1]) == "abc"


def test_early_exits_free_the_connection(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """50 streams left by `break` and 50 by an exception cost the only slot nothing."""
    server.reply(Reply(pieces=["a"] * 5, tokens_per_second=200))

    async def main() -> None:
        async with client:
            for at in range(100):
                with suppress(ZeroDivisionError):
                    async with client.astream(MODEL, "hi") as stream:
                        async for _ in stream:
                            _ = 1 / (at % 2)
                            break
            await server.await_for(lambda server: server.open_connections == 0)
            assert (await client.acall(MODEL, "hi")).text == "aaaaa"

    anyio.run(main, backend=stack[1])


def test_fifty_streams_on_one_connection(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """Streams read to their end hand their connection on."""

    async def main() -> None:
        async with client:
            for _ in range(50):
                async with client.astream(MODEL, "hi") as stream:
                    async for chunk in stream:
                        if chunk.finish_reason:
                            break  # as many do; what is left of the body is only its end

    anyio.run(main, backend=stack[1])
    assert server.connections_accepted == 1


def test_leaving_before_entering(client: Client, server: LocalDashScope) -> None:
    """A stream that was never opened sends nothing, and one that was closed doesn't open."""

    async def main() -> None:
        client.astream(MODEL, "hi")
        stream = client.astream(MODEL, "hi")
        await stream.aclose()
        with pytest.raises(
            IncompleteResponseError, match=r"^the stream was closed before its end$"
        ):
            await stream.aread()
        assert stream.text == ""

    anyio.run(main)
    assert server.requests == []


def forget(streams: list[AsyncStream] | list[Stream]) -> None:
    """Let streams become garbage."""
    streams.clear()
    gc.collect()


def test_garbage(stack: tuple[str, str], client: Client, server: LocalDashScope) -> None:
    """A stream that is forgotten open says so, and frees its connection all the same."""
    server.fault(Stall(1))

    async def main() -> str:
        async with client:
            streams = [client.astream(MODEL, "hi")]
            assert (await anext(streams[0])).delta == "a"
            with pytest.warns(ResourceWarning, match=f"^{re.escape(LEFT_OPEN)}$"):
                forget(streams)
            await server.await_for(lambda server: server.open_connections == 0)
            return (await client.acall(MODEL, "hi")).text

    assert anyio.run(main, backend=stack[1]) == "abc"
    assert server.exchanges[0].outcome == "client left"


def test_sync_garbage(server: LocalDashScope) -> None:
    """So does a sync stream."""
    server.reply(ABC)
    server.fault(Stall(1))
    with Client(server.api_key, base_url=server.base_url, limits=ONE) as client:
        streams = [client.stream(MODEL, "hi")]
        assert next(streams[0]).delta == "a"
        with pytest.warns(ResourceWarning, match=f"^{re.escape(LEFT_OPEN)}$"):
            forget(streams)
        server.wait_for(lambda server: server.open_connections == 0)
        assert client.call(MODEL, "hi").text == "abc"


def test_closed_by_another_task(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """Closing a stream wakes its reader, who learns that the answer isn't whole."""
    server.fault(Stall(1))

    async def main() -> None:
        stream = client.astream(MODEL, "hi")

        async def read() -> None:
            with pytest.raises(IncompleteResponseError, match="closed") as raised:
                await stream.aread()
            assert raised.value.partial_text == "a"

        async with client, anyio.create_task_group() as group:
            group.start_soon(read)
            await server.await_for(
                lambda server: server.exchanges[:1] != [] and pieces(server) == 1
            )
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
            await stream.aclose()

    anyio.run(main, backend=stack[1])


def pieces(server: LocalDashScope) -> int:
    """Count the frames that were sent first."""
    return server.exchanges[0].pieces_sent if server.exchanges else 0


def test_closed_while_it_opens(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """A stream that is closed before its first chunk gives its connection back when that comes."""
    server.reply(Reply(pieces=["a"], first_token_delay=0.2))

    async def main() -> None:
        stream = client.astream(MODEL, "hi")

        async def read() -> None:
            with pytest.raises(IncompleteResponseError):
                await stream.aread()

        async with client, anyio.create_task_group() as group:
            group.start_soon(read)
            await server.await_for(lambda server: server.running == 1)
            await stream.aclose()

    anyio.run(main, backend=stack[1])
    server.wait_for(lambda server: server.open_connections == 0)


def test_two_readers(stack: tuple[str, str], client: Client, server: LocalDashScope) -> None:
    """A second reader is refused; the first goes on."""
    server.fault(Stall(1, 0.3))

    async def main() -> None:
        async with client, client.astream(MODEL, "hi") as stream:
            await anext(stream)

            async def read() -> None:
                assert (await stream.aread()).text == "abc"

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(
                    StreamUsageError, match=r"^a stream can only be read by one task at a time$"
                ):
                    await anext(stream)

    anyio.run(main, backend=stack[1])


def test_each_step_in_a_task_of_its_own(stack: tuple[str, str], client: Client) -> None:
    """No scope is held between the steps: each may run in another task."""

    async def main() -> list[str]:
        got: list[str] = []
        stream = client.astream(MODEL, "hi")

        async def step() -> None:
            got.append((await anext(stream)).delta)

        async with client:
            for one in [step, step, stream.aclose]:
                async with anyio.create_task_group() as group:
                    group.start_soon(one)
        return got

    assert anyio.run(main, backend=stack[1]) == ["a", "b"]


def test_another_loop(client: Client, server: LocalDashScope) -> None:
    """A stream belongs to the loop that it was opened in, and says so elsewhere."""
    server.fault(Stall(1))

    async def main() -> None:
        async with client.astream(MODEL, "hi") as stream:
            await anext(stream)
            with pytest.raises(StreamUsageError, match=f"^{ELSEWHERE}$"):
                await anyio.to_thread.run_sync(anyio.run, stream.aread)

    anyio.run(main)


@pytest.mark.parametrize("closing", ["stream", "call", "queue"])
def test_the_client_is_closed(
    stack: tuple[str, str], client: Client, server: LocalDashScope, closing: str
) -> None:
    """Closing the client ends what is under way, and in the queue, by a clear error."""
    server.fault(Stall(1) if closing == "stream" else BlackHole())
    ended: list[str] = []

    async def stream() -> None:
        with pytest.raises(ClientClosedError, match=CLOSED) as raised:
            await client.astream(MODEL, "hi").aread()
        ended.append(raised.value.partial_text)

    async def call() -> None:
        with pytest.raises(ClientClosedError, match=CLOSED):
            await client.acall(MODEL, "hi")
        ended.append("")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stream if closing == "stream" else call)
            await server.await_for(lambda server: server.running == 1)
            for _ in range(3 if closing == "queue" else 0):
                group.start_soon(call)
            if closing == "stream":
                await server.await_for(lambda server: pieces(server) == 1)
            await anyio.wait_all_tasks_blocked()
            await client.aclose()
            await client.aclose()
        with pytest.raises(ClientClosedError):
            await client.acall(MODEL, "hi")
        assert "closed" in repr(client)

    anyio.run(main, backend=stack[1])
    assert ended == {"stream": ["a"], "call": [""], "queue": [""] * 4}[closing]
    server.wait_for(lambda server: server.open_connections == 0)


@pytest.mark.parametrize("fault", [None, ErrorFrame(after=2)], ids=["whole", "broken"])
def test_sync_twin(server: LocalDashScope, fault: ErrorFrame | None) -> None:
    """The sync stream is the async one: chunks, text, response, error and all."""
    server.reply(ABC)
    if fault:
        server.fault(fault)

    with Client(server.api_key, base_url=server.base_url, limits=ONE, retry=0) as client:
        with client.stream(MODEL, "hi") as stream:
            with pytest.raises(StreamUsageError, match=f"^{UNREAD}stream\\.read{READS_ON}"):
                _ = stream.response
            if fault:
                with pytest.raises(DashScopeError) as raised:
                    stream.read()
                assert raised.value.partial_text == stream.text == "ab"
            else:
                assert iter(stream) is stream
                assert stream.read().text == stream.text == stream.response.text == "abc"
                assert list(stream) == []
            stream.close()
        assert client.call(MODEL, "hi").text == "abc"


@pytest.mark.parametrize("leave", [lambda: None, lambda: 1 / 0], ids=["break", "exception"])
def test_sync_early_exits(server: LocalDashScope, leave: Callable[[], object]) -> None:
    """Leaving a sync stream early frees its connection."""
    server.reply(Reply(pieces=["a"] * 5, tokens_per_second=200))

    with Client(server.api_key, base_url=server.base_url, limits=ONE) as client:
        for _ in range(10):
            with suppress(ZeroDivisionError), client.stream(MODEL, "hi") as stream:
                for _ in stream:
                    leave()
                    break
        assert client.call(MODEL, "hi").text == "aaaaa"


@pytest.mark.parametrize(
    "tail",
    [b"", b":beat\n\n" * 3, b"data:{}\n\n", b"junk"],
    ids=["nothing", "heartbeats", "an empty frame", "junk"],
)
def test_after_the_finish(
    stack: tuple[str, str], client: Client, server: LocalDashScope, tail: bytes
) -> None:
    """An answer with its finish_reason is whole; a body that doesn't end then costs no time."""
    body = b'data:{"output":{"text":"abc","finish_reason":"stop"}}\n\n' + tail
    server.reply(Raw((body,), headers={"content-type": "text/event-stream"}, end="hang"))

    async def main() -> str:
        async with client, client.astream(MODEL, "hi", timeout=Timeout(idle=60)) as stream:
            with anyio.fail_after(20):
                return "".join([chunk.delta async for chunk in stream])

    assert anyio.run(main, backend=stack[1]) == "abc"


def test_cancelled_and_closed_at_once(
    stack: tuple[str, str], client: Client, server: LocalDashScope
) -> None:
    """A reader who is cancelled while another task closes his stream is cancelled."""
    server.fault(Stall(1))

    async def main() -> None:
        async with client:
            stream = client.astream(MODEL, "hi")
            await anext(stream)
            async with anyio.create_task_group() as group:
                group.start_soon(anext, stream)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(stream.aclose)
                group.cancel_scope.cancel()

            with pytest.raises(IncompleteResponseError):
                await anext(stream)

    anyio.run(main, backend=stack[1])
