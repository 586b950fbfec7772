"""Fewer chunks: to h11 an answer is the same with them and without, whatever it is made of."""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llama_dashscope._network.asyncio_backend.chunk_merger import ChunkMerger

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    """Return a chunk in its plainest form."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def odd_chunk(size: bytes, content: bytes) -> bytes:
    """Return a chunk that writes its size in some other way."""
    return b"%b\r\n%b\r\n" % (size % len(content), content)


def rechunk(*pieces: bytes) -> list[bytes]:
    """Return what a Rechunker makes of bytes that arrive in these pieces."""
    rechunker = ChunkMerger()
    return [rechunker.feed(piece) for piece in pieces]


def read(pieces: list[bytes]) -> tuple[bytes, str]:
    """Return the body that h11 reads from these pieces, and what becomes of the answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    body = b""
    try:
        for piece in filter(None, pieces):
            connection.receive_data(piece)
            while not isinstance(event := connection.next_event(), type):
                if isinstance(event, h11.EndOfMessage):
                    return body, f"ended, {event.headers!r}"
                body += bytes(getattr(event, "data", b""))
    except h11.RemoteProtocolError:
        return body, "is no HTTP"
    return body, "goes on"


def test_whole_chunks_become_one() -> None:
    """Chunks that come in one piece are one, also where they come with the head or the end."""
    assert rechunk(HEAD, chunk(b"a") + chunk(b"bc")) == [HEAD, chunk(b"abc")]
    assert rechunk(HEAD + chunk(b"a") + chunk(b"b") + END) == [HEAD + chunk(b"ab") + END]


def test_a_chunk_alone_stays_as_it_came() -> None:
    """One chunk has nothing to be joined with."""
    alone = b"0003\r\nabc\r\n"

    assert rechunk(HEAD, alone, alone) == [HEAD, alone, alone]


def test_part_of_a_chunk_is_not_held() -> None:
    """What has arrived of a chunk is given at once, and the chunks around it are still joined."""
    first, last = chunk(b"0123456789")[:5], chunk(b"0123456789")[5:]
    two = chunk(b"a") + chunk(b"b")

    assert rechunk(HEAD, two + first, last[:2], last[2:] + two) == [
        HEAD,
        chunk(b"ab") + first,
        last[:2],
        last[2:] + chunk(b"ab"),
    ]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_cut_size_is_held(cut: int) -> None:
    """A size that is cut before its end, and that alone, is held until the rest of it arrives."""
    last = chunk(b"0123456789abcdef")

    assert rechunk(HEAD, chunk(b"a") + last[:cut], last[cut:]) == [HEAD, chunk(b"a"), last]


@pytest.mark.parametrize(
    "strange",
    [
        b"1;quality=high\r\na\r\n",
        b"1 \r\na\r\n",
        b"000000001\r\na\r\n",
        b"+1\r\na\r\n",
        b"1\na\n",
        b"\r\n",
        b"2\r\nabc\r\n",
        b"0\r\nchecksum: 1\r\n",
    ],
    ids=repr,
)
def test_stands_aside(strange: bytes) -> None:
    """What has not the plainest form, and all that follows it, goes to h11 as it came."""
    two = chunk(b"a") + chunk(b"b")

    assert rechunk(HEAD, two + strange + two, two) == [HEAD, chunk(b"ab") + strange + two, two]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: Transfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        HEAD[:-1],
        b"\x05\x00",
    ],
    ids=repr,
)
def test_other_answers(head: bytes) -> None:
    """Where the head doesn't announce chunks, or isn't all there, nothing is touched."""
    two = chunk(b"a") + chunk(b"b")

    assert rechunk(head + two, two) == [head + two, two]


CONTENTS = st.binary(min_size=1, max_size=40)
PLAIN = CONTENTS.map(chunk)
SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b" %x", b"%x\n"])
ODD = st.builds(odd_chunk, SIZES, CONTENTS)
HEADS = st.sampled_from([HEAD, HEAD.upper(), HEAD.replace(b"Transfer", b"X-Transfer")])
ENDS = st.sampled_from([END, b"0\r\nsum: 1\r\n\r\n", b"00\r\n\r\n", b"", b"0\r\n"])


@given(
    head=HEADS,
    body=st.lists(st.one_of(PLAIN, PLAIN, PLAIN, ODD, st.binary(max_size=5)), max_size=12),
    end=ENDS,
    cuts=st.lists(st.integers(0, 800), max_size=8),
)
@example(head=HEAD, body=[b"5\r\nabcdeX"], end=END, cuts=[len(HEAD) + 9])
def test_h11_reads_the_same(head: bytes, body: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Whatever arrives, in whatever pieces: the same body, and the same end or error."""
    answer = head + b"".join(body) + end
    places = [0, *sorted(cuts), len(answer)]
    pieces = [answer[a:b] for a, b in pairwise(places)]

    assert read(rechunk(*pieces)) == read(pieces)
