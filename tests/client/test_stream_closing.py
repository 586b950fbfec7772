"""A stream that is closed while its call is still on the way frees its connection."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from llama_dashscope import Client, IncompleteResponseError, Limits
from llama_dashscope.testing import LocalDashScope, Reply


@pytest.mark.anyio
async def test_closing_a_stream_that_is_being_opened() -> None:
    """The opening ends with an error, and the one connection is free for the next call."""
    gate = threading.Event()

    async def reply(_request: object) -> str:
        while not gate.is_set():
            await asyncio.sleep(0.001)
        return "too late"

    limits = Limits(max_connections=1)
    async with (
        LocalDashScope() as server,
        Client(server.api_key, base_url=server.base_url, limits=limits) as client,
    ):
        server.reply(reply)
        stream = client.astream("llama3.3-70b-instruct", "hi")

        async def enter() -> None:
            with pytest.raises(
                IncompleteResponseError, match=r"^the stream was closed before its end$"
            ):
                await stream.__aenter__()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await server.await_for(lambda server: server.running == 1)
            await stream.aclose()
            gate.set()

        with anyio.fail_after(20):
            assert (await client.acall("llama3.3-70b-instruct", "hi")).text == "too late"


@pytest.mark.anyio
async def test_what_arrived_before_a_stream_was_closed_is_not_read(server: LocalDashScope) -> None:
    """Closed from sync code, it is closed at once, though its connection takes a moment more."""
    server.reply(Reply(pieces=["a", "b", "c"], tokens_per_second=20))

    async with Client(server.api_key, base_url=server.base_url) as client:
        async with client.astream("llama3.3-70b-instruct", "hi") as stream:
            assert (await anext(stream)).delta == "a"
            await server.await_for(lambda server: server.exchanges[0].pieces_sent == 3)
            stream.close_from_sync()
            with pytest.raises(
                IncompleteResponseError, match=r"^the stream was closed before its end$"
            ):
                await anext(stream)
        assert (await client.acall("llama3.3-70b-instruct", "hi")).text == "abc"
