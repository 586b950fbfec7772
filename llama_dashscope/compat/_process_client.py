"""The client that `Generation` uses, and the package-level settings for it."""

import os
import sys
from typing import Final, TypeVar

import attrs

from llama_dashscope._client.call import Call
from llama_dashscope._client.call_runner import ReadWhole
from llama_dashscope._client.client import Client
from llama_dashscope._client.streams import AsyncStream
from llama_dashscope._environment import find_api_key, find_base_url, no_key
from llama_dashscope._protocol.arguments import CallArguments
from llama_dashscope._protocol.request import Payload
from llama_dashscope._protocol.stream_parser import Item, MakeItems

__all__ = [
    "SETTINGS",
    "ProcessClient",
    "api_key",
    "api_key_file_path",
    "base_http_api_url",
    "close_shared_aio_session",
    "close_shared_sync_session",
    "find_key",
    "settings_of",
    "shared_client",
]

# Only defaults: programs set these three in the package, and they are read from there.
api_key: str | None = None
"""Key for `Generation`; None leaves it to the environment."""
api_key_file_path: str | None = None
"""File with the key for `Generation`; None leaves it to the environment."""
base_http_api_url: str | None = None
"""Base URL for `Generation`, up to and including `/api/v1`; None leaves it to the environment."""

T = TypeVar("T")

SETTINGS: Final = ("api_key", "api_key_file_path", "base_http_api_url")

settings_of: Final = ["llama_dashscope"]
"""A stack of module names; the settings are read from the last one."""

NO_KEY: Final = "every-call-brings-its-own"
"""A placeholder for the client's own key: each call brings its key, so none can use another's."""


class ProcessClient(Client):
    """A client that also accepts request bodies that `Client`'s arguments can't express."""

    def prepare(
        self, payload: Payload, arguments: CallArguments, make_items: MakeItems[Item]
    ) -> Call[Item]:
        """Return a call that is ready to be sent.

        Raises:
            InvalidRequestError: an option was refused.
        """
        return attrs.evolve(self._ready(payload, arguments, make_items), wanted=None)

    async def answer(self, call: Call[Item], read: ReadWhole[T]) -> T:
        """Make a call that is not streamed and return its answer as made by `read`."""
        return await self._engine.whole_as(call, read)

    def read(self, call: Call[Item]) -> AsyncStream[Item]:
        """Return the stream of a call; nothing is sent before it is entered."""
        return AsyncStream(self._engine, call)


def find_key(given: str | None) -> str:
    """Return the key for a call: the argument, the package's setting, or as `Client` finds it.

    Raises:
        ConfigurationError: there is no key, it is invalid, or its file can't be read.
    """
    environ = dict(os.environ)
    if path := _setting("api_key_file_path"):
        environ["DASHSCOPE_API_KEY_FILE_PATH"] = path
    found = find_api_key(given or _setting("api_key"), environ)
    if found is None:
        raise no_key()
    return found.reveal()


def shared_client(address: str | None) -> ProcessClient:
    """Return this process's client for a base URL; make it if needed.

    It is never closed explicitly: its connections end with their event loop, in sync programs with
    the interpreter, and a forked child starts without connections.

    Args:
        address: the call's own base URL; None for the package's setting or the environment.

    Raises:
        ConfigurationError: it is not an http or https address.
    """
    base_url = find_base_url(address or _setting("base_http_api_url"), os.environ)
    client = _clients.get(base_url)
    if client is None:
        # If two threads get here at once, one client is made in vain, which costs little.
        client = _clients.setdefault(base_url, ProcessClient(NO_KEY, base_url=base_url))
    return client


async def close_shared_aio_session() -> None:
    """Do nothing; programs of the official SDK call this at their end.

    Here, connections end with their event loop, and all callers of the process share one client.
    """


def close_shared_sync_session() -> None:
    """Do nothing; see `close_shared_aio_session`."""


def _setting(name: str) -> str | None:
    found: str | None = getattr(sys.modules[settings_of[-1]], name)
    return found


_clients: Final[dict[str, ProcessClient]] = {}
