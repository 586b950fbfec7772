"""No leak: whoever stops waiting, at whatever moment, closes a connection and costs no slot."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias

import anyio
import pytest
from client_matrix import MODEL, STACKS

from llama_dashscope import Client, Limits
from llama_dashscope.testing import (
    BlackHole,
    Heartbeats,
    LocalDashScope,
    RateLimited,
    Reply,
    Stall,
)

Work: TypeAlias = Callable[[], Coroutine[Any, Any, object]]
Way: TypeAlias = Callable[[Work, Work], Coroutine[Any, Any, None]]

ONE = Limits(max_connections=1)


async def by_cancel(work: Work, ready: Work) -> None:
    """Cancel a task of asyncio's."""
    task = asyncio.ensure_future(work())
    await ready()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_cancelling_twice(work: Work, ready: Work) -> None:
    """Cancel it again while it is still tidying up."""
    task = asyncio.ensure_future(work())
    await ready()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_wait_for(work: Work, ready: Work) -> None:
    """Let asyncio's own time limit end it."""
    waiting = asyncio.ensure_future(ready())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(work(), 1)  # a first call may have to import its libraries
    await waiting


async def by_scope(work: Work, ready: Work) -> None:
    """Cancel the scope that it runs in: anyio's, which is trio's on trio."""
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await ready()
        group.cancel_scope.cancel()


async def by_time(work: Work, ready: Work) -> None:
    """Let a scope's deadline end it."""
    scope = anyio.CancelScope()

    async def run_out() -> None:
        await ready()
        scope.deadline = anyio.current_time()

    async with anyio.create_task_group() as group:
        group.start_soon(run_out)
        with scope:
            await work()
        assert scope.cancelled_caught


WAYS: list[Way] = [by_cancel, by_cancelling_twice, by_wait_for, by_scope, by_time]
JOURNEYS = [
    (way, transport, backend)
    for transport, backend in STACKS
    for way in WAYS
    if backend == "asyncio" or way in {by_scope, by_time}
]
NAMES = [f"{way.__name__}-{transport}-{backend}" for way, transport, backend in JOURNEYS]
MOMENTS = ["answer", "head", "body", "beats", "pause"]


def set_up(server: LocalDashScope, moment: str) -> None:
    """Let the server keep a call waiting at that moment."""
    fault = {
        "answer": BlackHole(),
        "head": Stall(after=0),
        "body": Stall(after=1),
        "beats": Heartbeats(every=0.01, after=1),
        "pause": RateLimited(retry_after=50),
    }[moment]
    server.reply(Reply(pieces=["a", "b", "c"]))
    server.fault(fault)


async def ask(client: Client, *, streaming: bool) -> str:
    """Make a call, one way or the other."""
    if not streaming:
        return (await client.acall(MODEL, "hi")).text
    async with client.astream(MODEL, "hi") as stream:
        return (await stream.aread()).text


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("streaming", [False, True], ids=["acall", "astream"])
@pytest.mark.parametrize("journey", JOURNEYS, ids=NAMES)
def test_a_caller_who_leaves(
    server: LocalDashScope,
    journey: tuple[Way, str, str],
    streaming: bool,
    moment: str,
) -> None:
    """The connection closes, and the only slot of the pool serves the next caller."""
    way, transport, backend = journey
    set_up(server, moment)

    async def ready() -> None:
        await server.await_for(lambda server: len(server.exchanges) == 1)
        if moment == "pause":
            await server.await_idle()

    async def main() -> str:
        async with Client(
            server.api_key, base_url=server.base_url, limits=ONE, transport=transport
        ) as client:
            await way(lambda: ask(client, streaming=streaming), ready)
            if moment != "pause":
                await server.await_for(lambda server: server.open_connections == 0)
                assert server.exchanges[0].outcome == "client left"
            return await ask(client, streaming=streaming)

    assert anyio.run(main, backend=backend) == "abc"
    assert len(server.requests) == 2


@pytest.mark.parametrize(("transport", "backend"), STACKS)
def test_leaving_the_queue(server: LocalDashScope, transport: str, backend: str) -> None:
    """Callers who leave the queue, one even as its turn comes, take no slot with them."""
    server.fault(BlackHole())
    server.reply("abc")

    async def main() -> str:
        async with Client(
            server.api_key, base_url=server.base_url, limits=ONE, transport=transport
        ) as client:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(client.acall, MODEL, "hi")
                await server.await_for(lambda server: server.running == 1)
                group.cancel_scope.cancel()
            return await ask(client, streaming=False)

    assert anyio.run(main, backend=backend) == "abc"
    assert len(server.requests) == 2


@pytest.mark.parametrize("streaming", [False, True], ids=["acall", "astream"])
@pytest.mark.parametrize(("transport", "backend"), STACKS)
def test_a_storm_of_cancellations(
    server: LocalDashScope, transport: str, backend: str, streaming: bool
) -> None:
    """After hundreds of cancellations at random moments the pool serves as on its first day."""
    server.reply(Reply(pieces=["a", "b", "c"], first_token_delay=0.01))
    chance = random.Random(7)
    cancelled = 0

    async def worker(client: Client) -> None:
        nonlocal cancelled
        while cancelled < 500:
            with anyio.move_on_after(chance.uniform(0, 0.02)) as scope:
                assert await ask(client, streaming=streaming) == "abc"
            cancelled += scope.cancelled_caught

    async def main() -> None:
        async with Client(
            server.api_key,
            base_url=server.base_url,
            limits=Limits(max_connections=10),
            transport=transport,
        ) as client:
            async with anyio.create_task_group() as group:
                for _ in range(30):
                    group.start_soon(worker, client)
            await server.await_for(lambda server: server.open_connections <= 10)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(ask_and_check, client)

    async def ask_and_check(client: Client) -> None:
        assert await ask(client, streaming=streaming) == "abc"

    anyio.run(main, backend=backend)
    server.wait_for(lambda server: server.open_connections == 0)


SYNC = """
import signal, sys
from llama_dashscope import Client, Limits

signal.signal(signal.SIGINT, signal.default_int_handler)
face, transport, base_url = sys.argv[1:]
limits = Limits(max_connections=1)
client = Client("sk-local", base_url=base_url, limits=limits, transport=transport)
try:
    if face == "call":
        client.call("llama3.3-70b-instruct", "hi")
    else:
        with client.stream("llama3.3-70b-instruct", "hi") as stream:
            for chunk in stream:
                pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(client.call("llama3.3-70b-instruct", "hi").text)
"""


@pytest.mark.parametrize("face", ["call", "stream"])
@pytest.mark.parametrize("moment", ["answer", "body"])
@pytest.mark.parametrize("transport", sorted({transport for transport, _ in STACKS}))
def test_control_c(
    server: LocalDashScope,
    face: Literal["call", "stream"],
    moment: str,
    transport: str,
) -> None:
    """Ctrl-C in sync code ends the call and its connection, and the client goes on working."""
    set_up(server, moment)
    program = [sys.executable, "-W", "error", "-c", SYNC]
    with subprocess.Popen(
        [*program, face, transport, server.base_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        server.wait_for(lambda server: len(server.exchanges) == 1, timeout=20)
        if face == "stream" and moment == "body":
            time.sleep(0.1)  # not to synchronise: so that most runs are inside the body by now
        child.send_signal(signal.SIGINT)
        said, complained = child.communicate(timeout=20)

    assert (said, complained, child.returncode) == ("interrupted\nabc\n", "", 0)
    assert [each.outcome for each in server.exchanges] == ["client left", "answered"]
