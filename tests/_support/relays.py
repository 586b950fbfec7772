"""Relays between a client and a server: TLS, and proxies of each kind, on real sockets."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias

from attrs import define, field

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


@define
class Relay:
    """A relay on loopback.

    Args:
        upstream: the port to which `tls` relays; proxies get the port from the client.
    """

    upstream: int = 0
    port: int = 0
    asked: list[str] = field(factory=list[str])
    """The targets that clients requested: request lines for HTTP proxies, hosts for SOCKS."""
    seen: bytes = b""
    """Request heads that an HTTP proxy received."""

    async def tls(self, reader: Reader, writer: Writer) -> None:
        """Relay everything; TLS has already been terminated."""
        await join(reader, writer, self.upstream)

    async def http(self, reader: Reader, writer: Writer) -> None:
        """Act as an HTTP proxy, for CONNECT and for requests with a full URL."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.seen += head
        method, target, _ = head.split(b" ", 2)
        self.asked.append(f"{method.decode()} {target.decode()}")
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await join(reader, writer, int(target.rpartition(b":")[2]))
            return
        authority, _, path = target.removeprefix(b"http://").partition(b"/")
        head = head.replace(target, b"/" + path, 1)
        await join(reader, writer, int(authority.rpartition(b":")[2]), head)

    async def refuse(self, reader: Reader, writer: Writer) -> None:
        """Act as an HTTP proxy that requires authentication."""
        self.seen += await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Who are you?\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async def socks(self, reader: Reader, writer: Writer) -> None:
        """Act as a SOCKS5 proxy."""
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        size = 4 if kind == 1 else (await reader.readexactly(1))[0]
        host = await reader.readexactly(size)
        self.asked.append(".".join(map(str, host)) if kind == 1 else host.decode())
        port = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        await join(reader, writer, port)

    async def babble(self, reader: Reader, writer: Writer) -> None:
        """Read a request, begin an answer, and then send bytes that are not TLS."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
        await writer.drain()
        os.write(writer.get_extra_info("socket").fileno(), b"this is no TLS record at all")
        await reader.read()


async def join(reader: Reader, writer: Writer, port: int, first: bytes = b"") -> None:
    """Relay bytes in both directions between a client and a port of this machine."""
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
    server_writer.write(first)
    await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))


async def pass_on(reader: Reader, writer: Writer) -> None:
    """Relay bytes in one direction until that side ends, then close the other."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def overhear(_: asyncio.AbstractEventLoop, __: dict[str, object]) -> None:
    """Don't log clients that refuse our certificate."""


Behaviour: TypeAlias = Callable[[Relay, Reader, Writer], Awaitable[None]]


@contextmanager
def relay(
    behaviour: Behaviour, upstream: int = 0, context: ssl.SSLContext | None = None
) -> Generator[Relay]:
    """Run a relay in its own thread."""
    made = Relay(upstream)
    ready, done = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @asynccontextmanager
    async def listening() -> AsyncGenerator[None]:
        async def serve(reader: Reader, writer: Writer) -> None:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await behaviour(made, reader, writer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            made.port = server.sockets[0].getsockname()[1]
            yield

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        loops[0].set_exception_handler(overhear)
        async with listening():
            ready.set()
            await done.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=5) if others else None

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    ready.wait(5)
    try:
        yield made
    finally:
        loops[0].call_soon_threadsafe(done.set)
        thread.join()
