"""The official SDK's 2.x interface: `Client` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

from . import KEY, MESSAGES, MODEL

# The peers are not installed where types are checked.
v2: Any = import_module("dashscope.v2")

CALL: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}
SHARED = 100
"""The default, and the least, number of connections of the SDK's clients."""


class Async:
    """One client of the SDK, on DashScope's own protocol."""

    def __init__(self, server: str, connections: int) -> None:
        if connections > SHARED:
            v2.settings.http_max_connections = connections
        self.client = v2.AsyncClient(api_key=KEY, base_url=f"{server}/api/v1", protocol="native")

    async def acall(self) -> object:
        """Make one call and return its answer."""
        return await self.client.chat.completions.create(**CALL)

    @asynccontextmanager
    async def astream(self) -> AsyncGenerator[AsyncIterable[object], None]:
        """Open a stream of frames."""
        stream = await self.client.chat.completions.create(**CALL, stream=True)
        try:
            yield stream
        finally:
            await stream.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()


class Sync:
    """One client of the SDK, on DashScope's own protocol."""

    def __init__(self, server: str) -> None:
        self.client = v2.Client(api_key=KEY, base_url=f"{server}/api/v1", protocol="native")

    def call(self) -> object:
        """Make one call and return its answer."""
        return self.client.chat.completions.create(**CALL)

    @contextmanager
    def stream(self) -> Generator[Iterable[object], None, None]:
        """Open a stream of frames."""
        stream = self.client.chat.completions.create(**CALL, stream=True)
        try:
            yield stream
        finally:
            stream.close()

    def close(self) -> None:
        """Close every connection."""
        self.client.close()


def open_async(server: str, connections: int) -> Async:
    """Return an async client, pointed at a server."""
    return Async(server, connections)


def open_sync(server: str) -> Sync:
    """Return a sync client, pointed at a server."""
    return Sync(server)
