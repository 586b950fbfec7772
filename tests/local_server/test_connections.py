"""HTTP/1.1 as clients of all kinds speak it."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import struct
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from llama_dashscope.testing import Drop, LocalDashScope, Raw, Reply, SlowStart

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Call


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Read until `end` has come."""
    received = b""
    while end not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    return received


def read_all(sock: socket.socket) -> bytes:
    """Read until the other side closes."""
    received = bytearray()
    while data := sock.recv(1_000_000):
        received += data
    return bytes(received)


def test_a_connection_is_kept(server: LocalDashScope, call: Call) -> None:
    """Calls, streams and errors leave the connection open for the next request."""
    call()
    call(sse=True)
    call("")
    call("", sse=True)

    assert server.connections_accepted == 1
    assert {request.connection for request in server.requests} == {1}


def test_connection_close(raw: socket.socket, request_bytes: Callable[..., bytes]) -> None:
    """A client that asks for it gets its connection closed after the answer."""
    raw.sendall(request_bytes("connection: close"))

    answer = read_all(raw)

    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"}")


def test_connection_close_of_a_stream(
    raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """A stream before the close still ends properly."""
    raw.sendall(request_bytes("connection: close", "x-dashscope-sse: enable"))

    assert read_all(raw).endswith(b"\r\n0\r\n\r\n")


def test_http_1_0(raw: socket.socket, request_bytes: Callable[..., bytes]) -> None:
    """An old client has a stream without chunks, ended by closing."""
    raw.sendall(request_bytes("x-dashscope-sse: enable", http_version="1.0"))

    head, _, body = read_all(raw).partition(b"\r\n\r\n")

    assert b"transfer-encoding" not in head
    assert body.startswith(b"id:1\n")
    assert body.endswith(b"}\n\n")


def test_requests_behind_each_other(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """A request that comes before the last is answered waits for its turn."""
    server.reply([Reply("first", first_token_delay=0.05), "second", "third"])
    raw.sendall(request_bytes() + request_bytes() + request_bytes("connection: close"))

    received = read_all(raw)

    assert received.find(b"first") < received.find(b"second") < received.find(b"third")
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_a_request_byte_by_byte(raw: socket.socket, request_bytes: Callable[..., bytes]) -> None:
    """A request may come in the smallest pieces."""
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request_bytes("connection: close"):
        raw.sendall(bytes([byte]))

    assert read_all(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def chunked(body: bytes, *sizes: str) -> bytes:
    """Cut a body into chunks, the sizes written as given."""
    parts = bytearray()
    for size in sizes:
        length = int(size.partition(";")[0], 16)
        parts += size.encode() + b"\r\n" + body[:length] + b"\r\n"
        body = body[length:]
    return bytes(parts)


POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
BODY = b'{"model":"llama3.3-70b-instruct","input":{"prompt":"hi"}}'


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_chunked_request(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes], step: int
) -> None:
    """A body may be chunked, with extensions, however it arrives."""
    sizes = ["a", "1;name=value", f"{len(BODY) - 11:X}", "0"]
    body = chunked(BODY, *sizes)
    request = request_bytes("transfer-encoding: Chunked", "connection: close", body=body)
    for start in range(0, len(request), step):
        raw.sendall(request[start : start + step])

    assert read_all(raw).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.requests[0].body == BODY


def test_expect_continue(raw: socket.socket, request_bytes: Callable[..., bytes]) -> None:
    """A client that waits for a word before it sends the body gets it, once."""
    request = request_bytes("expect: 100-continue", "connection: close", body=BODY)
    raw.sendall(request[: -len(BODY)])

    assert read_until(raw, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.sendall(BODY[:5])
    raw.sendall(BODY[5:])
    assert read_all(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def test_repeated_headers(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """Values of a repeated header are joined."""
    raw.sendall(request_bytes("X-Tag: a", "x-tag:b", "connection: close"))
    read_all(raw)

    assert server.requests[0].headers["x-tag"] == "a, b"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (POST + b"content-length: many\r\n\r\n", 400),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (POST + b"content-length: 9999999999\r\n\r\n", 413),
        (POST + b"transfer-encoding: gzip\r\n\r\n", 501),
        (POST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, 431),
        (POST + b"transfer-encoding: chunked\r\n\r\n5;" + b"x" * 70_000, 431),
    ],
)
def test_what_is_no_request(raw: socket.socket, sent: bytes, status: int) -> None:
    """Nonsense is refused, and the connection closed."""
    raw.sendall(sent)

    assert read_all(raw).startswith(f"HTTP/1.1 {status} ".encode())


def test_max_body() -> None:
    """The largest body can be set."""
    with (
        LocalDashScope(max_body=10) as server,
        socket.create_connection((server.host, server.port)) as sock,
    ):
        sock.sendall(POST + b"content-length: 11\r\n\r\n")

        assert read_all(sock).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_before_the_answer(
    server: LocalDashScope, request_bytes: Callable[..., bytes]
) -> None:
    """The server sees it at once, though there was nothing to send yet."""
    server.fault(SlowStart(60))
    with socket.create_connection((server.host, server.port)) as sock:
        sock.sendall(request_bytes())
        server.wait_for(lambda server: server.running == 1)

    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def test_a_client_that_resets(server: LocalDashScope, request_bytes: Callable[..., bytes]) -> None:
    """A reset in the middle of a stream is a client that left."""
    server.reply(Reply(pieces=["a"] * 1000, tokens_per_second=1))
    sock = socket.create_connection((server.host, server.port))
    sock.sendall(request_bytes("x-dashscope-sse: enable"))
    read_until(sock, b"event:result")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()

    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"
    assert server.open_connections == 0


def test_a_client_that_does_not_read(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """The server waits for it without piling the stream up, and goes on when it reads."""
    server.reply(Raw([b"x" * 1_000_000] * 20))
    raw.sendall(request_bytes("connection: close"))
    server.wait_for(lambda server: len(server.exchanges) == 1)
    server.wait_for(lambda server: server.running == 1)
    assert server.exchanges[0].pieces_sent < 20

    assert len(read_all(raw)) > 20_000_000
    server.wait_idle()
    assert server.exchanges[0].outcome == "answered"


def test_a_reset_is_a_reset(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """RST comes as ECONNRESET, not as an end of file."""
    server.fault(Drop("rst"))
    raw.sendall(request_bytes())

    with pytest.raises(ConnectionResetError):
        raw.recv(1)


def test_a_request_while_another_is_answered(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """It waits in the connection, and is answered next."""
    server.reply(["first", "second"])
    server.fault(SlowStart(0.1))
    raw.sendall(request_bytes())
    server.wait_for(lambda server: server.running == 1)
    raw.sendall(request_bytes("connection: close"))

    received = read_all(raw)

    assert received.find(b"first") < received.find(b"second")


def test_a_folded_header(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """A header that goes on in the next line is one header."""
    raw.sendall(request_bytes("x-tag: a\r\n  b", "connection: close"))
    read_all(raw)

    assert server.requests[0].headers["x-tag"] == "a b"


def test_a_refused_client_may_finish_sending(raw: socket.socket) -> None:
    """The refusal of a body that is too large reaches a client that reads only when it has sent."""
    raw.sendall(POST + b"content-length: 9999999999\r\n\r\n")
    for _ in range(20):
        raw.sendall(b"x" * 1_000_000)

    assert read_all(raw).startswith(b"HTTP/1.1 413 ")


def test_what_is_piled_up_behind_an_answer(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """The server takes in little of it, and leaves the rest to the sender."""
    server.fault(SlowStart(60))
    raw.sendall(request_bytes())
    server.wait_for(lambda server: server.running == 1)
    raw.settimeout(1.0)

    with pytest.raises(TimeoutError):
        raw.sendall(request_bytes() * 300_000)  # some 60 MB; the system's buffers hold a tenth


def test_more_requests_than_are_read_ahead(
    server: LocalDashScope, raw: socket.socket, request_bytes: Callable[..., bytes]
) -> None:
    """All requests that wait behind an answer are answered in their order."""
    server.reply([Reply("0", first_token_delay=0.1), *map(str, range(1, 40))])
    raw.sendall(request_bytes())
    server.wait_for(lambda server: server.running == 1)
    padded = request_bytes(f"x-padding: {'x' * 10_000}")
    raw.sendall(padded * 38 + request_bytes("connection: close"))

    received = read_all(raw).decode()

    assert re.findall(r'"text":"(\d+)"', received) == [str(number) for number in range(40)]


FEW = 50
"""Connections that a client holds open at once."""


def test_connections_that_come_while_the_server_ends() -> None:
    """None of them is left open: their sockets would be found by the garbage collector."""

    def knock(port: int, ended: threading.Event) -> None:
        held: deque[socket.socket] = deque()
        with contextlib.suppress(OSError):
            while not ended.wait(0.001):  # not so many that the server does nothing else
                held.append(socket.create_connection(("127.0.0.1", port), timeout=5))
                if len(held) > FEW:  # the process has only so many file descriptors
                    held.popleft().close()
        for each in held:
            each.close()

    def note(found: sys.UnraisableHookArgs) -> None:
        left.append(str(found.exc_value))

    left: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", note)
        for _ in range(10):
            ended = threading.Event()
            with LocalDashScope() as server:
                port = urlsplit(server.base_url).port
                knocking = threading.Thread(target=knock, args=(port, ended))
                knocking.start()
                server.wait_for(lambda server: server.open_connections > 2)
            ended.set()
            knocking.join()
        gc.collect()

    assert left == []
