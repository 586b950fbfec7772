"""The clients that are measured, each behind the same few methods."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

MODEL = "llama3.3-70b-instruct"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "介绍一下自己"},
]
KEY = "sk-benchmark"


class AsyncPeer(Protocol):
    """A client's async face."""

    async def acall(self) -> object:
        """Make one call and return its answer."""
        ...

    def astream(self) -> AbstractAsyncContextManager[AsyncIterable[object]]:
        """Open a stream of frames."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class SyncPeer(Protocol):
    """A client's sync face."""

    def call(self) -> object:
        """Make one call and return its answer."""
        ...

    def stream(self) -> AbstractContextManager[Iterable[object]]:
        """Open a stream of frames."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(frozen=True)
class Entry:
    """A client to measure.

    Args:
        label: its name in tables.
        needs: the distribution that has to be installed.
        module: the module of this folder that drives it, with `open_async` and `open_sync`.
        has_sync: whether it has a sync interface.
        options: what the module's functions take besides the server's address.
    """

    label: str
    needs: str
    module: str
    has_sync: bool = True
    options: tuple[str, ...] = ()

    def open_async(self, server: str, connections: int) -> AsyncPeer:
        """Return the async interface to a server, with at most that many connections."""
        peer: AsyncPeer = self._load("open_async")(server, connections, *self.options)
        return peer

    def open_sync(self, server: str) -> SyncPeer:
        """Return the sync interface to a server."""
        peer: SyncPeer = self._load("open_sync")(server, *self.options)
        return peer

    def _load(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(import_module(f".{self.module}", __package__), name)
        return found


CLIENTS = {
    "floor": Entry("bare aiohttp", "aiohttp", "floor", has_sync=False),
    "aiohttp": Entry("this client on aiohttp", "aiohttp", "ours", options=("aiohttp",)),
    "httpx": Entry("this client on httpx", "httpx", "ours", options=("httpx",)),
    "dashscope1": Entry("dashscope 1.x", "dashscope", "dashscope_one"),
    "dashscope2": Entry("dashscope 2.x", "dashscope", "dashscope_two"),
    "openai": Entry("openai", "openai", "openai_sdk"),
}
