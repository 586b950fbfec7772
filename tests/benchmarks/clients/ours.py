"""This client, on either of its transports."""

from __future__ import annotations

from llama_dashscope import AsyncStream, Client, Limits, Response, Stream

from . import KEY, MESSAGES, MODEL


class Ours:
    """One client; the same object has the sync and the async interface."""

    def __init__(self, server: str, connections: int, transport: str) -> None:
        self.client = Client(
            KEY,
            base_url=f"{server}/api/v1",
            transport=transport,
            limits=Limits(max_connections=connections),
        )

    async def acall(self) -> Response:
        """Make one call and return its answer."""
        return await self.client.acall(MODEL, messages=MESSAGES)

    def astream(self) -> AsyncStream:
        """Open a stream of frames."""
        return self.client.astream(MODEL, messages=MESSAGES)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()

    def call(self) -> Response:
        """Make one call and return its answer."""
        return self.client.call(MODEL, messages=MESSAGES)

    def stream(self) -> Stream:
        """Open a stream of frames."""
        return self.client.stream(MODEL, messages=MESSAGES)

    def close(self) -> None:
        """Close every connection."""
        self.client.close()


def open_async(server: str, connections: int, transport: str) -> Ours:
    """Return a client, pointed at a server."""
    return Ours(server, connections, transport)


def open_sync(server: str, transport: str) -> Ours:
    """Return a client, pointed at a server."""
    return Ours(server, 100, transport)
