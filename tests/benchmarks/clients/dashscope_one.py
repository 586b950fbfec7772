"""The official SDK's 1.x interface: `Generation` and `AioGeneration`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

import aiohttp

from . import KEY, MESSAGES, MODEL

# The peers are not installed where types are checked.
dashscope: Any = import_module("dashscope")

CALL: dict[str, Any] = {
    "model": MODEL,
    "messages": MESSAGES,
    "api_key": KEY,
    "result_format": "message",
}
STREAM: dict[str, Any] = {**CALL, "stream": True, "incremental_output": True}
SHARED = 100
"""Connections of the SDK's default session."""


class Async:
    """The SDK's async calls, in its shared session unless more connections are wanted."""

    def __init__(self, connections: int) -> None:
        self.own: dict[str, Any] = {}
        if connections > SHARED:
            connector = aiohttp.TCPConnector(limit=connections)
            self.own["session"] = aiohttp.ClientSession(connector=connector)

    async def acall(self) -> object:
        """Make one call and return its answer."""
        return await dashscope.AioGeneration.call(**CALL, **self.own)

    @asynccontextmanager
    async def astream(self) -> AsyncGenerator[AsyncIterable[object], None]:
        """Open a stream of frames."""
        frames = await dashscope.AioGeneration.call(**STREAM, **self.own)
        try:
            yield frames
        finally:
            await frames.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for session in self.own.values():
            await session.close()
        await dashscope.close_shared_aio_session()


class Sync:
    """The SDK's sync calls, in its shared session."""

    def call(self) -> object:
        """Make one call and return its answer."""
        return dashscope.Generation.call(**CALL)

    @contextmanager
    def stream(self) -> Generator[Iterable[object], None, None]:
        """Open a stream of frames."""
        yield dashscope.Generation.call(**STREAM)

    def close(self) -> None:
        """Close every connection."""
        dashscope.close_shared_sync_session()


def open_async(server: str, connections: int) -> Async:
    """Return the async interface to a server."""
    dashscope.base_http_api_url = f"{server}/api/v1"
    return Async(connections)


def open_sync(server: str) -> Sync:
    """Return the sync interface to a server."""
    dashscope.base_http_api_url = f"{server}/api/v1"
    return Sync()
