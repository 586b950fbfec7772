"""The server of the benchmarks: answers at once with prepared bytes, in a process of its own.

The first part of a path says how streams are sent, one of `canned.MODES`; the rest is DashScope's
path or the OpenAI-compatible one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from math import isinf
from typing import ClassVar

from . import canned
from .limits import allow_many_files

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"
SSE = b"x-dashscope-sse:"
OPENAI_PATH = b"/chat/completions "
OPENAI_STREAM = (b'"stream":true', b'"stream": true')


class Connection(asyncio.Protocol):
    """One client's connection, kept alive from request to request."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, to answer on it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when a whole request has arrived; no client sends another before the answer."""
        self.received += data
        end = self.received.find(END_OF_HEAD)
        if end < 0:
            return
        head = self.received[: end + 2].lower()
        size = int(head.partition(LENGTH)[2].partition(b"\r\n")[0])
        if len(self.received) < end + len(END_OF_HEAD) + size:
            return
        body, self.received = self.received[end:], b""
        self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Send what the request asks for."""
        mode = head.split(b"/", 2)[1].decode()
        if OPENAI_PATH in head[: head.index(b"\r\n")]:
            streaming = any(mark in body for mark in OPENAI_STREAM)
            answer, frames = canned.OPENAI_ANSWER, canned.OPENAI_STREAMS[mode]
        else:
            streaming = SSE in head
            answer, frames = canned.DASHSCOPE_ANSWER, canned.DASHSCOPE_STREAMS[mode]
        if streaming:
            self.stream(canned.MODES[mode], frames)
        else:
            self.transport.write(answer)

    def stream(self, mode: canned.Mode, frames: list[bytes]) -> None:
        """Send frames together, or one by one."""
        if not mode.interval:
            self.transport.write(canned.SSE_HEAD + b"".join(frames) + canned.SSE_END)
        elif isinf(mode.interval):
            self.transport.write(canned.SSE_HEAD + frames[0])
        else:
            self.transport.write(canned.SSE_HEAD)
            Beat.of(mode.interval).join(self.transport, [*frames[:-1], frames[-1] + canned.SSE_END])


class Beat:
    """Sends the next frame of every stream at each tick of one clock.

    So a frame arrives alone in its stream, but together with those of other streams.
    """

    beats: ClassVar[dict[float, Beat]] = {}

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.streams: dict[asyncio.Transport, Iterator[bytes]] = {}

    @classmethod
    def of(cls, interval: float) -> Beat:
        """Return the shared beat of an interval."""
        return cls.beats.setdefault(interval, cls(interval))

    def join(self, transport: asyncio.Transport, frames: list[bytes]) -> None:
        """Add a stream; its first frame is sent at the next tick."""
        if not self.streams:
            self.schedule()
        self.streams[transport] = iter(frames)

    def schedule(self) -> None:
        """Schedule the next tick."""
        loop = asyncio.get_running_loop()
        loop.call_at((loop.time() // self.interval + 1) * self.interval, self.strike)

    def strike(self) -> None:
        """Send the next frame of each stream."""
        for transport, frames in list(self.streams.items()):
            frame = next(frames, b"")
            if frame and not transport.is_closing():
                transport.write(frame)
            else:
                del self.streams[transport]
        if self.streams:
            self.schedule()


async def serve(connection: Callable[[], Connection] = Connection) -> None:
    """Serve until the process ends; the port is the first line of the output."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with the process that started this


@contextmanager
def running(module: str = "server", *arguments: object) -> Generator[str, None, None]:
    """Run this server, or a module built on it, in a process of its own; yields its address."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    allow_many_files()
    asyncio.run(serve())
