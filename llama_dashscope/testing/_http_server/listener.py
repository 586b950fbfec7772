"""A listening socket, and the thread whose event loop serves it."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_BACKLOG = 2048
_START_SECONDS = 10.0
_COMMAND = "`llama-dashscope serve`"

_TURNS = 4
"""Turns of the loop in which asyncio has set up what it has accepted, or closed a generator."""


class Listener:
    """Accepts connections in its own asyncio event loop.

    Args:
        host: the address to listen on.
        port: the port, 0 for any free one.
        protocol: makes the protocol of a connection.
        on_close: called in the loop when the listener ends, to drop open connections.
    """

    _accepting: asyncio.Server

    def __init__(
        self,
        host: str,
        port: int,
        protocol: Callable[[], asyncio.Protocol],
        on_close: Callable[[], None],
    ) -> None:
        self._protocol, self._on_close = protocol, on_close
        self._socket = _bind(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._loop = asyncio.SelectorEventLoop()
        self._stop = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="LocalDashScope", daemon=True
        )
        self._thread.start()
        started.wait(_START_SECONDS)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, from another thread, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Stop accepting, drop every connection, end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def go_up(self) -> None:
        """Accept connections."""
        self._accepting = await self._loop.create_server(
            self._protocol, sock=self._socket, backlog=_BACKLOG
        )

    async def go_down(self) -> None:
        """Refuse connections but keep the port: the socket is bound but not listening."""
        await self._leave()
        self._socket = _bind(self.host, self.port)

    async def _leave(self) -> None:
        # A connection that asyncio is setting up while its server closes would never be closed.
        self._loop.remove_reader(self._socket)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self._accepting.close()
        self._socket.close()
        self._on_close()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main(started))
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _main(self, started: threading.Event) -> None:
        await self.go_up()
        started.set()
        await self._stop.wait()
        await self._leave()
        quiet = 0
        while quiet < _TURNS:  # tasks end with their connections, and may leave generators to close
            quiet = quiet + 1 if len(asyncio.all_tasks()) == 1 else 0
            await asyncio.sleep(0)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol number is given explicitly
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # pragma: no branch - on Windows others could then bind the port too
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise type(error)(error.errno, _reason(error, host, port)) from error
    return sock


def _reason(error: OSError, host: str, port: int) -> str:
    """Say why the address can't be used, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"there is no host {host!r}; to listen on this machine only, use 127.0.0.1"
    reasons = {
        errno.EADDRINUSE: f"port {port} of {host} is taken, perhaps by another {_COMMAND};"
        " use another port, or 0 for any free one",
        errno.EACCES: f"port {port} needs special rights; use one above 1023, or 0 for any free",
        errno.EADDRNOTAVAIL: f"{host} is not an address of this machine; use 127.0.0.1",
    }
    return reasons.get(error.errno or 0, str(error.strerror))
