"""A server that sends exactly the given bytes, and counts the requests that it has read."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import TypeAlias

from attrs import define
from relays import Reader, Relay, Writer, relay


class End(Enum):
    """How a connection ends."""

    FIN = "fin"
    RST = "rst"


Part: TypeAlias = bytes | float | End
"""Bytes to send, seconds to wait, or the end of the connection."""

FIN, RST = End.FIN, End.RST
OPEN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
"""The head of a chunked stream."""


def message(text: str = "fine", finish_reason: str = "stop") -> bytes:
    """Return an answer of the service as JSON."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"input_tokens": 1, "output_tokens": 1}
    return json.dumps({"output": {"choices": [choice]}, "usage": usage, "request_id": "r"}).encode()


def whole(body: bytes | None = None, head: str = "") -> bytes:
    """Return an answer that is not streamed, with its length."""
    body = message() if body is None else body
    return f"HTTP/1.1 200 OK\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    """Return a piece of a body in HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame(text: str = "fine", finish_reason: str = "stop") -> bytes:
    """Return a frame of a stream."""
    return b"data:" + message(text, finish_reason) + b"\n\n"


@define
class Wire:
    """The server.

    Args:
        answers: what to send for each request; the last one is used for all further requests.
    """

    answers: Sequence[Iterable[Part]]
    port: int = 0
    requests: int = 0
    left: int = 0
    """Connections that the client closed while an answer was sent."""

    @property
    def base_url(self) -> str:
        """The base URL of the service."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    async def serve(self, _: Relay, reader: Reader, writer: Writer) -> None:
        """Answer the requests of one connection."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            self.requests += 1
            try:
                await self._answer(writer)
            except OSError:
                self.left += 1
                raise
            if writer.is_closing():
                return

    async def _answer(self, writer: Writer) -> None:
        for part in self.answers[min(self.requests, len(self.answers)) - 1]:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            elif isinstance(part, float):
                await asyncio.sleep(part)
            else:
                if part is RST:
                    end = writer.get_extra_info("socket")
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort() if part is RST else writer.close()
                return


@contextmanager
def wire(*answers: Iterable[Part]) -> Generator[Wire]:
    """Run such a server in its own thread."""
    made = Wire(answers)
    with relay(made.serve) as listening:
        made.port = listening.port
        yield made
