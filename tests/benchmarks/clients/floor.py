"""The floor: aiohttp and `json.loads`, as bare as a call can be made."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from . import KEY, MESSAGES, MODEL

PATH = "/api/v1/services/aigc/text-generation/generation"
HEADERS = {"Authorization": f"Bearer {KEY}"}
CALL = {"model": MODEL, "input": {"messages": MESSAGES}, "parameters": {"result_format": "message"}}
STREAM = {**CALL, "parameters": {"result_format": "message", "incremental_output": True}}


class Floor:
    """One session of aiohttp."""

    def __init__(self, server: str, connections: int) -> None:
        self.url = server + PATH
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections), headers=HEADERS
        )

    async def acall(self) -> object:
        """Make one call and return its answer."""
        async with self.session.post(self.url, json=CALL) as response:
            return json.loads(await response.read())

    @asynccontextmanager
    async def astream(self) -> AsyncGenerator[AsyncIterator[object], None]:
        """Open a stream of frames."""
        headers = {"X-DashScope-SSE": "enable"}
        async with self.session.post(self.url, json=STREAM, headers=headers) as response:
            yield frames(response.content)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.session.close()


async def frames(content: aiohttp.StreamReader) -> AsyncIterator[object]:
    """Yield the frames of a stream; the last line of each is its data."""
    begun = b""
    async for data in content.iter_any():
        *whole, begun = (begun + data).split(b"\n\n")
        for frame in whole:
            yield json.loads(frame[frame.index(b"data:") + 5 :])


def open_async(server: str, connections: int) -> Floor:
    """Return a session, pointed at a server."""
    return Floor(server, connections)
