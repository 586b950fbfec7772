"""Requests are read however the socket cuts them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope.testing._http_server import http1

PLAIN = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
)
BARE = b"GET /c HTTP/1.1\r\nHost: a\r\n\r\n"
TOGETHER = PLAIN + CHUNKED + b"\r\n" + BARE


def read(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    """Feed the pieces and take every request as soon as it is whole."""
    reader = http1.RequestReader(max_body=100)
    requests: list[tuple[str, bytes]] = []
    for piece in pieces:
        reader.feed(piece)
        while incoming := reader.take():
            requests.append((incoming.target, incoming.body))
    return requests


@given(st.lists(st.integers(min_value=0, max_value=len(TOGETHER)), max_size=12))
def test_any_cut(cuts: list[int]) -> None:
    """The same requests come out wherever the bytes were cut; a spare line end is no matter."""
    places = [0, *sorted(cuts), len(TOGETHER)]
    pieces = [TOGETHER[start:end] for start, end in itertools.pairwise(places)]

    assert read(pieces) == [("/a", b"hello"), ("/b", b"hello"), ("/c", b"")]


def test_byte_by_byte() -> None:
    """The smallest pieces of all."""
    assert len(read([bytes([byte]) for byte in TOGETHER])) == 3


@pytest.mark.parametrize("sizes", [(101,), (50, 51)])
def test_chunks_that_add_up_to_too_much(sizes: tuple[int, ...]) -> None:
    """The limit holds for chunked bodies, whatever length is announced."""
    reader = http1.RequestReader(max_body=100)
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    reader.feed(head + b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes))

    with pytest.raises(http1.MalformedRequestError) as info:
        reader.take()

    assert info.value.status == 413


def test_an_empty_chunk_would_end_the_body() -> None:
    """Nothing to send is nothing sent."""
    assert http1.chunk(b"") == b""
    assert http1.chunk(b"abc") == b"3\r\nabc\r\n"
