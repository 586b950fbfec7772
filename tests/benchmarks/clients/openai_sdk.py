"""OpenAI's SDK, on the OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

from . import KEY, MESSAGES, MODEL

# The peers are not installed where types are checked.
openai: Any = import_module("openai")

CALL: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}


class Async:
    """One async client; by default it may have 1,000 connections."""

    def __init__(self, server: str) -> None:
        self.client = openai.AsyncOpenAI(api_key=KEY, base_url=f"{server}/v1")

    async def acall(self) -> object:
        """Make one call and return its answer."""
        return await self.client.chat.completions.create(**CALL)

    @asynccontextmanager
    async def astream(self) -> AsyncGenerator[AsyncIterable[object], None]:
        """Open a stream of frames."""
        async with await self.client.chat.completions.create(**CALL, stream=True) as stream:
            yield stream

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.close()


class Sync:
    """One sync client."""

    def __init__(self, server: str) -> None:
        self.client = openai.OpenAI(api_key=KEY, base_url=f"{server}/v1")

    def call(self) -> object:
        """Make one call and return its answer."""
        return self.client.chat.completions.create(**CALL)

    @contextmanager
    def stream(self) -> Generator[Iterable[object], None, None]:
        """Open a stream of frames."""
        with self.client.chat.completions.create(**CALL, stream=True) as stream:
            yield stream

    def close(self) -> None:
        """Close every connection."""
        self.client.close()


def open_async(server: str, connections: int) -> Async:  # its default is 1,000
    """Return an async client, pointed at a server."""
    return Async(server)


def open_sync(server: str) -> Sync:
    """Return a sync client, pointed at a server."""
    return Sync(server)
