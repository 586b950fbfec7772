"""Which connection serves another call, and which call is sent again: by what bytes have come."""

from __future__ import annotations

import asyncio

import anyio
import client_matrix
import pytest
from client_matrix import MODEL
from relays import Reader, Relay, Writer, relay
from wire import FIN, OPEN, RST, Part, chunk, frame, message, whole, wire

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    Client,
    RequestTooLargeError,
    Retry,
    Timeout,
)

AT_ONCE = Retry(base=0)
NEXT = whole(message("somebody else's"))

LEFT_OVER = {
    "an answer": NEXT,
    "half an answer": NEXT[:20],
    "a blank line": b"\r\n",
    "a letter": b"x",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a zero": b"\0",
}

IN_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(message()) + chunk(b"")
STREAM = OPEN + chunk(frame()) + chunk(b"")

UNHEARD: dict[str, list[Part]] = {"fin": [FIN], "rst": [RST]}
HEARD: dict[str, list[Part]] = {
    "half a status line": [b"HTTP/1.1 20", 0.02, FIN],
    "half a status line, reset": [b"HTTP/1.1 20", 0.02, RST],
    "half a head": [b"HTTP/1.1 200 OK\r\ncontent-le", 0.02, FIN],
    "100": [b"HTTP/1.1 100 Continue\r\n\r\n", 0.02, FIN],
    "103": [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", 0.02, RST],
    "a blank line": [b"\r\n", 0.02, FIN],
    "a head": [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 0.02, FIN],
}


def ask(
    stack: tuple[str, str],
    base_url: str,
    times: int,
    pause: float = 0.0,
    *,
    stream: bool = False,
    timeout: Timeout | None = None,
    retry: Retry = AT_ONCE,
) -> list[str]:
    """Ask so many times, and return the texts of the answers."""

    async def one(client: Client) -> str:
        if not stream:
            return (await client.acall(MODEL, "hi")).text
        async with client.astream(MODEL, "hi") as answer:
            return (await answer.aread()).text

    async def main() -> list[str]:
        texts: list[str] = []
        async with Client(
            "sk-1", base_url=base_url, transport=stack[0], retry=retry, timeout=timeout
        ) as client:
            for _ in range(times):
                texts.append(await one(client))
                await anyio.sleep(pause)
        return texts

    return anyio.run(main, backend=stack[1])


@pytest.mark.parametrize("rest", LEFT_OVER.values(), ids=LEFT_OVER)
@pytest.mark.parametrize("answer", [whole(), IN_CHUNKS, STREAM], ids=["length", "chunks", "stream"])
def test_bytes_behind_an_answer(stack: tuple[str, str], answer: bytes, rest: bytes) -> None:
    """They are nobody's: the answer stands, and the next call goes by another connection."""
    with wire([answer + rest]) as server:
        texts = ask(stack, server.base_url, 3, stream=answer is STREAM)

    assert texts == ["fine"] * 3
    assert server.requests == 3


@pytest.mark.parametrize("rest", LEFT_OVER.values(), ids=LEFT_OVER)
def test_bytes_that_come_while_a_connection_is_idle(stack: tuple[str, str], rest: bytes) -> None:
    """They are nobody's either."""
    with wire([whole(), 0.02, rest, 30.0]) as server:
        texts = ask(stack, server.base_url, 2, pause=0.2)

    assert texts == ["fine"] * 2
    assert server.requests == 2


@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("parts", UNHEARD.values(), ids=UNHEARD)
def test_without_a_byte_a_call_is_sent_again(
    stack: tuple[str, str], parts: list[Part], kept: bool
) -> None:
    """A connection that ends before any byte says as little as a 502."""
    with wire(*[[whole()]] * kept, parts, [whole()]) as server:
        texts = ask(stack, server.base_url, 1 + kept)

    assert texts == ["fine"] * (1 + kept)
    assert server.requests == 2 + kept


@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("parts", HEARD.values(), ids=HEARD)
def test_after_a_byte_a_call_is_never_sent_again(
    stack: tuple[str, str], parts: list[Part], kept: bool
) -> None:
    """Who has begun to answer has taken the request, and bills it."""
    with (
        wire(*[[whole()]] * kept, parts, [whole()]) as server,
        pytest.raises(APIConnectionError, match="broke"),
    ):
        ask(stack, server.base_url, 1 + kept)

    assert server.requests == 1 + kept


DRIPPING: dict[str, tuple[bytes, bytes]] = {
    "head": (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "chunk extension": (OPEN + b"5;a=", b"x"),
    "chunk extension after a frame": (OPEN + chunk(frame("a", "null")) + b"5;a=", b"x"),
    "chunk size": (OPEN + chunk(frame("a", "null")), b"0"),
    "line without end": (OPEN + chunk(frame("a", "null")) + b"fff\r\ndata:", b"x"),
    "comment without end": (OPEN + chunk(frame("a", "null")) + b"fff\r\n:", b"x"),
    "blank lines": (OPEN + chunk(frame("a", "null")), chunk(b"\n\n")),
    "fields that say nothing": (OPEN + chunk(frame("a", "null")), chunk(b"id:1\nretry:1\n\n")),
    "packed bytes": (
        OPEN.replace(b"transfer-encoding: chunked", b"content-encoding: gzip")
        + b"\x1f\x8b\x08\x10\0\0\0\0\0\xff",  # a comment in gzip's head follows
        b"x",
    ),
}


@pytest.mark.parametrize(("begin", "drop"), DRIPPING.values(), ids=DRIPPING)
@pytest.mark.parametrize("limit", ["idle", "total"])
def test_bytes_that_say_nothing(
    stack: tuple[str, str], begin: bytes, drop: bytes, limit: str
) -> None:
    """However a server drips, the time limits of a stream hold."""
    drops: list[Part] = [drop, 0.05]
    timeout = Timeout(idle=0.3) if limit == "idle" else Timeout(total=0.5)
    with (
        wire([begin, *drops * 1200]) as server,
        pytest.raises(APITimeoutError) as raised,
    ):
        ask(stack, server.base_url, 1, stream=True, timeout=timeout, retry=Retry(times=0))

    assert raised.value.limit == limit
    assert server.requests == 1


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["at once", "later"])
def test_what_is_no_chunk_ends_an_answer_at_once(
    stack: tuple[str, str], pause: float, stream: bool
) -> None:
    """Nobody waits for the rest of a body that is no longer HTTP."""
    with (
        wire([OPEN, chunk(frame("a", "null")), pause, b"no chunk\r\n", 60.0]) as server,
        pytest.raises(APIConnectionError, match="broke within"),
    ):
        ask(stack, server.base_url, 1, stream=stream)

    assert server.requests == 1


def test_a_head_that_stops_is_never_asked_for_again(stack: tuple[str, str]) -> None:
    """Not even where silence is to be met by another try: an answer had begun."""
    retry = Retry(base=0, read_timeouts=True)
    timeout = Timeout(read=5, idle=0.2)
    with (
        wire([b"HTTP/1.1 200", 60.0]) as server,
        pytest.raises(APITimeoutError) as raised,
    ):
        ask(stack, server.base_url, 1, timeout=timeout, retry=retry)

    assert raised.value.limit == "idle"
    assert server.requests == 1


def test_silence_is_asked_again_where_that_is_wanted(stack: tuple[str, str]) -> None:
    """Before a byte has come, `read` counts, and then it does."""
    retry = Retry(base=0, read_timeouts=True)
    with wire([60.0], [whole()]) as server:
        texts = ask(stack, server.base_url, 1, timeout=Timeout(read=0.2, idle=5), retry=retry)

    assert texts == ["fine"]
    assert server.requests == 2


def test_no_limit_at_all(stack: tuple[str, str]) -> None:
    """Each limit can be lifted."""
    lifted = Timeout(connect=None, read=None, idle=None)
    with wire([b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01, whole()]) as server:
        assert ask(stack, server.base_url, 2, timeout=lifted) == ["fine"] * 2


async def refuse_and_read_on(_: Relay, reader: Reader, writer: Writer) -> None:
    """Refuse a large request after its head, end this side and read the rest, as nginx does."""
    await reader.readuntil(b"\r\n\r\n")
    refusal = b'{"code":"BadRequest.TooLarge","message":"Payload Too Large","request_id":"r-413"}'
    head = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(refusal) + refusal)
    if writer.can_write_eof():
        writer.write_eof()
    while await reader.read(1 << 16):
        pass


async def refuse_and_wait(_: Relay, reader: Reader, writer: Writer) -> None:
    """Refuse a large request after its head, and read no more of it."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(60)


def test_a_refusal_while_the_request_is_sent(stack: tuple[str, str]) -> None:
    """It is read, though much of the request is still on its way."""
    with relay(refuse_and_read_on) as server, pytest.raises(RequestTooLargeError) as raised:
        client_matrix.ask(stack, f"http://127.0.0.1:{server.port}", prompt="x" * 5_000_000)

    assert raised.value.status_code == 413


def test_a_refusal_by_one_who_reads_no_more(stack: tuple[str, str]) -> None:
    """On asyncio it is read at once; on trio, whose writes can't be left, the time limit holds."""
    expected = APITimeoutError if stack[1] == "trio" else RequestTooLargeError
    with relay(refuse_and_wait) as server, pytest.raises(expected):
        client_matrix.ask(
            stack,
            f"http://127.0.0.1:{server.port}",
            prompt="x" * 5_000_000,
            timeout=Timeout(read=0.5),
        )
