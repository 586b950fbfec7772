"""What is special about aiohttp."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from faults.legs import MODEL

from llama_dashscope import Client, Timeout
from llama_dashscope.testing import LocalDashScope, Reply, Stall

pytest.importorskip("aiohttp", reason="the aiohttp extra is not installed here")


def test_limits_that_are_computed(server: LocalDashScope) -> None:
    """Callers may compute a limit for each call; nothing grows with their number."""

    async def main() -> None:
        async with Client("sk-local", base_url=server.base_url, transport="aiohttp") as client:
            for at in range(70):
                await client.acall(MODEL, "hi", timeout=Timeout(read=10 + at))

    asyncio.run(main())
    assert len(server.requests) == 70


def test_what_came_before_a_silence(server: LocalDashScope) -> None:
    """A reader who was away while the service fell silent still gets what had come before."""
    server.reply(Reply(pieces=["a", "b", "c"], tokens_per_second=10))
    server.fault(Stall(2))

    async def main() -> str:
        text = ""
        timeout = Timeout(idle=0.3)
        client = Client("sk-local", base_url=server.base_url, transport="aiohttp", timeout=timeout)
        async with client, client.astream(MODEL, "hi") as stream:
            text += (await anext(stream)).delta
            await server.await_for(lambda server: server.exchanges[0].pieces_sent == 2)
            await anyio.sleep(0.5)  # longer than idle: this is what is tested
            text += (await anext(stream)).delta
        return text

    assert asyncio.run(main()) == "ab"


def test_a_socket_that_has_died() -> None:
    """A connection that is gone before its options were set is left to its first use."""
    from llama_dashscope._aiohttp import _set_options

    _set_options(None, [(1, 1, 1)])
