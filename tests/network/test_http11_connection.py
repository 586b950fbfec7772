"""One connection of the base transport, without a socket: when it takes another request."""

from __future__ import annotations

import anyio
import h11
import httpcore
import pytest

from llama_dashscope import Timeout
from llama_dashscope._network.http11_connection import HTTP11Connection

REQUEST = h11.Request(
    method="POST", target="/", headers=[("host", "local"), ("content-length", "1")]
)


class Refusing(httpcore.AsyncMockStream):
    """A peer that reads no request; what it has said stays to be read."""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Fail, as with a connection that was reset."""
        del buffer, timeout
        raise httpcore.WriteError


def test_an_answer_counts_though_the_request_was_not_read() -> None:
    """It is what the caller wants to know; the connection takes no other request."""

    async def main() -> None:
        connection = HTTP11Connection(
            Refusing([b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"])
        )
        head = await connection.send(REQUEST, b"x", Timeout())
        assert head.status_code == 413
        assert await connection.read(1) == b""
        assert not connection.recycle()

    anyio.run(main)


CLOSED = "the server closed the connection"


def test_a_closed_connection_takes_no_other_request() -> None:
    """Its answer may have ended in one task while another one was closing it."""

    async def main() -> None:
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        connection = HTTP11Connection(httpcore.AsyncMockStream([whole]))
        await connection.send(REQUEST, b"x", Timeout())
        assert await connection.read(1) == b""
        await connection.aclose()
        assert not connection.recycle()

    anyio.run(main)


def test_a_limit_that_is_over_ends_a_read() -> None:
    """Also if bytes come without a pause: framing, but no part of the body."""

    async def main() -> None:
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        stream = httpcore.AsyncMockStream([chunked, b"1;", b"no end of the extension"])
        connection = HTTP11Connection(stream)
        await connection.send(REQUEST, b"x", Timeout())
        with pytest.raises(httpcore.ReadTimeout):
            await connection.read(0.0)

    anyio.run(main)


def test_no_answer_is_an_error() -> None:
    """What was never read can't be answered."""

    async def main() -> None:
        with pytest.raises(h11.RemoteProtocolError, match=f"^{CLOSED} without an answer$"):
            await HTTP11Connection(Refusing([])).send(REQUEST, b"x", Timeout())

    anyio.run(main)


def test_half_a_head_is_no_answer() -> None:
    """The error says that an answer had begun."""

    async def main() -> None:
        stream = httpcore.AsyncMockStream([b"HTTP/1.1 200 OK\r\ncontent-"])
        with pytest.raises(
            h11.RemoteProtocolError, match=f"^{CLOSED} within the head of its answer$"
        ):
            await HTTP11Connection(stream).send(REQUEST, b"x", Timeout())

    anyio.run(main)
