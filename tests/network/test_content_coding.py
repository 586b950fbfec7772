"""Bodies that were packed though nobody asked for it: read, and within the same bounds."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import anyio
import pytest
from client_matrix import MODEL, ask
from hypothesis import given
from hypothesis import strategies as st
from wire import message, whole, wire

from llama_dashscope import APIStatusError, Client, Limits, ResponseError, Timeout
from llama_dashscope._network.content_coding import STEP, inflater

HUGE = 1 << 27
"""Bytes of a body that packs well."""
MUCH = 1 << 25
"""Bytes of memory that reading such a body may not take."""


def bare(data: bytes) -> bytes:
    """Pack as deflate, without the two bytes of zlib that belong in front."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    """Pack as gzip in two parts, with zeros behind them."""
    return gzip.compress(data[:9]) + gzip.compress(data[9:]) + bytes(3)


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": (" X-GZip ", gzip.compress),
    "members": ("gzip", members),
    "a list of one": ("identity, gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare),
    "gzip that is none": ("gzip", bytes),
    "identity": ("identity", bytes),
    "no coding": ("utf-8", bytes),
    "none": ("none", bytes),
    "empty": ("", bytes),
    "not asked for, and not done": ("br", bytes),
}


@pytest.mark.parametrize(("coding", "pack"), PACKED.values(), ids=PACKED)
def test_an_answer(stack: tuple[str, str], coding: str, pack: Callable[[bytes], bytes]) -> None:
    """An answer is read, however a gateway packs it or says that it does."""
    with wire([whole(pack(message()), f"content-encoding: {coding}\r\n")]) as server:
        assert ask(stack, server.base_url, 2).text == "fine"


def test_an_answer_without_a_time_limit(stack: tuple[str, str]) -> None:
    """It is unpacked just the same."""
    with wire([whole(gzip.compress(message()), "content-encoding: gzip\r\n")]) as server:
        assert ask(stack, server.base_url, timeout=Timeout(idle=None)).text == "fine"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(message())[:-9] + bytes(9)),
        ("gzip", gzip.compress(message())[:-20]),
        ("deflate", b"\x78\x9c this is not packed"),
        ("gzip, gzip", gzip.compress(gzip.compress(message()))),
    ],
    ids=["damaged", "cut", "no deflate", "twice"],
)
def test_an_answer_that_can_not_be_read(stack: tuple[str, str], coding: str, body: bytes) -> None:
    """What isn't packed as it says is not the protocol."""
    with (
        wire([whole(body, f"content-encoding: {coding}\r\n")]) as server,
        pytest.raises(ResponseError, match="does not follow the protocol") as raised,
    ):
        ask(stack, server.base_url)

    assert raised.value.status_code == 200


@pytest.fixture
def memory() -> Iterator[None]:
    """Hold a test to a bound on memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MUCH
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("memory")
def test_a_small_answer_that_is_huge(stack: tuple[str, str]) -> None:
    """An answer is unpacked up to its limit, and no further."""
    body = gzip.compress(bytes(HUGE // 8)) * 8
    with (
        wire([whole(body, "content-encoding: gzip\r\n")]) as server,
        pytest.raises(ResponseError, match="max_answer_size"),
    ):
        ask(stack, server.base_url, limits=Limits(max_answer_size=1 << 20))


@pytest.mark.usefixtures("memory")
def test_a_small_refusal_that_is_huge(stack: tuple[str, str]) -> None:
    """So is a refusal; its status says enough."""
    body = gzip.compress(bytes(HUGE // 8)) * 8
    answer = whole(body, "content-encoding: gzip\r\n").replace(b"200 OK", b"502 Bad Gateway", 1)
    with wire([answer]) as server, pytest.raises(APIStatusError) as raised:
        ask(stack, server.base_url)

    assert raised.value.status_code == 502


@pytest.mark.usefixtures("memory")
def test_a_small_frame_that_is_huge(stack: tuple[str, str]) -> None:
    """So is a frame of a stream."""
    head = "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
    body = gzip.compress(b"data:" + bytes(9)) + gzip.compress(bytes(HUGE // 8)) * 8

    async def main(base_url: str) -> None:
        async with (
            Client("sk-1", base_url=base_url, transport=stack[0]) as client,
            client.astream(MODEL, "hi") as stream,
        ):
            await stream.aread()

    with (
        wire([whole(body, head)]) as server,
        pytest.raises(ResponseError, match="max_frame_size"),
    ):
        anyio.run(main, server.base_url, backend=stack[1])


@given(
    data=st.binary(max_size=300) | st.integers(0, 3 * STEP).map(bytes),
    way=st.sampled_from(["gzip", "members", "deflate", "bare deflate"]),
    size=st.integers(1, 50),
)
def test_in_any_pieces(data: bytes, way: str, size: int) -> None:
    """However the bytes are cut, the same comes out, in steps of a bounded size."""
    coding, pack = PACKED[way]
    packed = pack(b"{" + data)
    unpacking = inflater(coding)
    assert unpacking is not None

    pieces: list[bytes] = []
    for at in range(0, len(packed), size):
        unpacking.feed(packed[at : at + size])
        while piece := unpacking.take():
            pieces.append(piece)

    assert b"".join(pieces) == b"{" + data
    assert max(map(len, pieces)) <= STEP


@pytest.mark.parametrize("size", [9_000, 90_000])
def test_a_long_header(stack: tuple[str, str], size: int) -> None:
    """Some gateways send long headers; the answer behind them is read and was paid for."""
    with wire([whole(head=f"content-security-policy: {'x' * size}\r\n")]) as server:
        assert ask(stack, server.base_url).text == "fine"


def test_many_headers(stack: tuple[str, str]) -> None:
    """And some send many."""
    head = "".join(f"x-{at}: {at}\r\n" for at in range(500))
    with wire([whole(head=head)]) as server:
        assert ask(stack, server.base_url).text == "fine"
