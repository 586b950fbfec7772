"""A stream that is closed while its call is still on the way frees its connection."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from llama_dashscope import Client, IncompleteResponseError, Limits
from llama_dashscope.testing import LocalDashScope


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
            with pytest.raises(IncompleteResponseError, match="closed before its end"):
                await stream.__aenter__()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await server.await_for(lambda server: server.running == 1)
            await stream.aclose()
            gate.set()

        with anyio.fail_after(20):
            assert (await client.acall("llama3.3-70b-instruct", "hi")).text == "too late"
