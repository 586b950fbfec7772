"""Bytes in, events out, whatever the pieces they arrive in."""

from __future__ import annotations

import gc
import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llama_dashscope._protocol.sse import Decoder, EventTooLargeError, ServerSentEvent

SAMPLES = Path(__file__).parents[1] / "samples"
ODD_TEXT = "\u2028\u2029\x85\x0b\x0c\x1c你🦙"
"""Characters at which `str.splitlines` would cut, and some of more than one byte."""

texts = st.text(
    st.sampled_from('ab }{":,') | st.sampled_from(ODD_TEXT) | st.characters(codec="utf-8")
)
payloads = st.dictionaries(texts, texts | st.integers() | st.lists(st.none()), max_size=3)


@attrs.frozen
class Sent:
    """One frame as a server would write it, and what a reader should make of it."""

    payload: dict[str, object]
    name: str
    status: int | None
    spread: bool
    """Whether its JSON goes over several `data:` lines."""
    before: list[str]
    """Heartbeats and fields that nobody reads."""


@attrs.frozen
class Style:
    """A server's habits."""

    eol: str
    blank_lines: bool
    space: str
    bom: bool
    reason: str
    last_eol: bool


frames = st.builds(
    Sent,
    payload=payloads,
    name=st.sampled_from(["result", "error", "data"]),
    status=st.sampled_from([None, 200, 400, 429, 503]),
    spread=st.booleans(),
    before=st.lists(
        st.sampled_from([":", ": ping", ":\u2028", "retry:3000", "unknown"]), max_size=2
    ),
)
styles = st.builds(
    Style,
    eol=st.sampled_from(["\n", "\r", "\r\n"]),
    blank_lines=st.booleans(),
    space=st.sampled_from(["", " "]),
    bom=st.booleans(),
    reason=st.sampled_from(["", " TOO_MANY_REQUESTS"]),
    last_eol=st.booleans(),
)


def write(sent: list[Sent], style: Style) -> bytes:
    """Write frames as a server with these habits would."""
    lines: list[str] = []
    for number, frame in enumerate(sent, start=1):
        text = json.dumps(frame.payload, ensure_ascii=False, indent=1 if frame.spread else None)
        lines += [*frame.before, f"id:{style.space}{number}", f"event:{style.space}{frame.name}"]
        if frame.status is not None:
            lines.append(f":HTTP_STATUS/{frame.status}{style.reason}")
        lines += [f"data:{style.space}{line}" for line in text.split("\n")]
        lines += [""] * style.blank_lines
    body = style.eol.join(lines) + style.eol * style.last_eol
    return (("\ufeff" if style.bom else "") + body).encode()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """Cut a body at these places, counted around its end."""
    at = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(at)]


def decode(*pieces: bytes, max_size: int = 1 << 20) -> list[ServerSentEvent]:
    """Decode a whole stream that arrives in these pieces."""
    decoder = Decoder(max_size)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.finish()]


def each_byte(body: bytes) -> list[bytes]:
    """Cut a body into single bytes."""
    return [body[at : at + 1] for at in range(len(body))]


@given(st.lists(frames, max_size=4), styles, st.lists(st.integers(min_value=0)))
@example(
    [Sent({"a": ODD_TEXT}, "result", 200, spread=True, before=[])],
    Style("\r\n", blank_lines=False, space=" ", bom=True, reason="", last_eol=False),
    [1, 2, 3],
)
def test_any_stream_in_any_split(sent: list[Sent], style: Style, places: list[int]) -> None:
    """Frames come out as they were sent, whatever the server's habits and the network's pieces."""
    body = write(sent, style)

    events = decode(*cut(body, places))

    assert [json.loads(event.data) for event in events] == [frame.payload for frame in sent]
    assert [event.name for event in events] == [frame.name for frame in sent]
    assert [event.status for event in events] == [frame.status for frame in sent]
    assert decode(*each_byte(body)) == events


@given(
    st.lists(st.binary() | st.sampled_from([b"data:", b"\r", b"\n", b"{", b"}", b"event:error"]))
)
def test_any_bytes(pieces: list[bytes]) -> None:
    """No bytes of any kind raise anything, and how they were cut makes no difference."""
    assert decode(*pieces) == decode(b"".join(pieces)) == decode(*each_byte(b"".join(pieces)))


@given(
    st.lists(st.sampled_from([b"data:", b"x" * 7, b"\r", b"\n", b":", b"id:1", b"\xef\xbb\xbf"])),
    st.integers(1, 20),
    st.lists(st.integers(min_value=0)),
)
@example([b"\xef\xbb\xbf", b"data:", b"x" * 7], 13, [])
def test_any_bytes_within_a_limit(pieces: list[bytes], size: int, places: list[int]) -> None:
    """Only the limit is ever raised, and how the bytes were cut makes no difference to that."""
    body = b"".join(pieces)

    def outcome(*received: bytes) -> tuple[list[ServerSentEvent], bool]:
        decoder, events = Decoder(size), list[ServerSentEvent]()
        try:
            for piece in received:
                events += decoder.feed(piece)
            return events + decoder.finish(), False
        except EventTooLargeError as error:
            return events + error.events, True

    assert outcome(body) == outcome(*each_byte(body)) == outcome(*cut(body, places))


@pytest.mark.parametrize("case", ["text-stream", "message-stream", "error-stream", "quota-stream"])
def test_recordings(case: str) -> None:
    """Recorded streams, with and without blank lines, give an event for every `data:` line."""
    body = (SAMPLES / case / "body.sse").read_bytes()
    lines = [line[5:] for line in body.split(b"\n") if line.startswith(b"data:")]

    assert [event.data for event in decode(body)] == lines
    assert decode(*each_byte(body)) == decode(body)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b":HTTP_STATUS/429", 429),
        (b":HTTP_STATUS/429 TOO_MANY_REQUESTS", 429),
        (b": HTTP_STATUS/503", 503),
        (b"HTTP_STATUS/429 TOO_MANY_REQUESTS", 429),
        (b"status:400", 400),
        (b":HTTP_STATUS/4290", None),
        (b":HTTP_STATUS/", None),
        (b":keep-alive", None),
    ],
)
def test_status_lines(line: bytes, status: int | None) -> None:
    """The status stands in a comment, with or without a reason phrase."""
    assert decode(line + b"\ndata:{}\n\n") == [ServerSentEvent(b"{}", "", status)]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b":ping\n\n:ping\n\n", []),
        (b"event:ping\n\n", []),
        (b"id:1\n\n", []),
        (b"data\n\n", [ServerSentEvent(b"", "", None)]),
        (b"data:\n\n", [ServerSentEvent(b"", "", None)]),
        (b"data: x\n\n", [ServerSentEvent(b"x", "", None)]),
        (b"data:  x\n\n", [ServerSentEvent(b" x", "", None)]),
        (b"data:a\ndata:b\n\n", [ServerSentEvent(b"a\nb", "", None)]),
        (b"data:a:b\n\n", [ServerSentEvent(b"a:b", "", None)]),
        (b"data:cut", [ServerSentEvent(b"cut", "", None)]),
        (b"event: error \n\n", [ServerSentEvent(b"", "error", None)]),
        (b":HTTP_STATUS/500\n\n", [ServerSentEvent(b"", "", 500)]),
        (b":HTTP_STATUS/200\n\n", []),
        (b"event:\xff\ndata:x\n\n", [ServerSentEvent(b"x", "\ufffd", None)]),
        (b"dat\xef\xbb\xbfa:x\n\n", []),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata:x\n\n", []),
        (b"data:x\n\xef\xbb\xbfdata:y\n\n", [ServerSentEvent(b"x", "", None)]),
    ],
)
def test_small_streams(body: bytes, events: list[ServerSentEvent]) -> None:
    """Fields are read as the standard says; what has neither data nor a refusal is no event."""
    assert decode(body) == events
    assert decode(*each_byte(body)) == events


@pytest.mark.parametrize("gap", ["", " ", "\t"])
def test_whole_frames_without_any_line_between(gap: str) -> None:
    """Two JSON objects on neighbouring `data:` lines are two frames, blanks around them or not."""
    body = f'data:{{"a":1}}{gap}\ndata:{gap}{{"b":2}}\ndata:[DONE]\n'.encode()

    assert [event.data.strip() for event in decode(body)] == [b'{"a":1}', b'{"b":2}', b"[DONE]"]


def test_a_field_between_frames_belongs_to_the_next_frame() -> None:
    """Without blank lines, a name or status after some data is not that data's."""
    body = b"event:result\n:HTTP_STATUS/200\ndata:{}\nevent:error\n:HTTP_STATUS/400\ndata:{}\n"

    assert decode(body) == [
        ServerSentEvent(b"{}", "result", 200),
        ServerSentEvent(b"{}", "error", 400),
    ]


def test_a_byte_order_mark() -> None:
    """It is no part of the first field, and anywhere else it is text like any other."""
    mark, body = "\ufeff".encode(), b"data:a\n\n"

    assert decode(mark + body) == decode(*each_byte(mark + body)) == decode(body) != []
    assert decode(body + mark + body) == decode(body)
    assert decode(mark + mark + body) == []


def test_a_carriage_return_within_a_frame_of_the_usual_form() -> None:
    """It ends the line there too, however the bytes arrive."""
    usual = b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"a":\r"b"}\n\n'

    assert decode(b"\n\n", usual) == decode(*each_byte(b"\n\n" + usual))
    assert decode(b"\n\n", usual) == [ServerSentEvent(b'{"a":', "result", 200)]


@pytest.mark.parametrize("before", [b"event:error\n", b":HTTP_STATUS/400\n"])
def test_a_frame_without_a_blank_line_before_it(before: bytes) -> None:
    """It belongs to the event that has begun, wherever the network cuts it."""
    body = before + b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"b":1}\n\n'

    whole = decode(body)

    assert len(whole) == 1
    for at in range(len(body)):
        assert decode(body[:at], body[at:]) == whole


def test_a_frame_as_large_as_the_limit() -> None:
    """The limit itself is allowed, one byte more is not."""
    body = b"data:" + b"x" * 95

    assert decode(body, max_size=100) == [ServerSentEvent(b"x" * 95, "", None)]
    with pytest.raises(
        EventTooLargeError, match=r"^a frame of the stream is larger than 100 bytes$"
    ):
        decode(body + b"x", max_size=100)


def test_the_limit_of_a_usual_event() -> None:
    """It is the same for events of the usual form, which are read by one pattern."""
    head = b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:"
    first, whole = head + b"{}\n\n", head + b'{"a":"' + b"x" * 87 + b'"}\n\n'

    events = decode(first + whole, max_size=100)
    assert [len(each.data) for each in events] == [2, 95]
    with pytest.raises(EventTooLargeError) as raised:
        decode(first + whole, max_size=99)
    assert [each.data for each in raised.value.events] == [b"{}"]


@pytest.mark.parametrize("line", [b"data:" + b"x" * 99, b":" + b"x" * 99, b"x" * 100])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_beyond_the_limit(line: bytes, end: bytes) -> None:
    """No line may grow beyond the limit, whatever it holds and whether or not it has ended."""
    with pytest.raises(EventTooLargeError):
        Decoder(50).feed(line + end)


def test_many_lines_beyond_the_limit() -> None:
    """Lines of one event count together; a stream of many events has no limit."""
    with pytest.raises(EventTooLargeError):
        decode(b"data:xxxx\n" * 10, max_size=50)

    assert len(decode(b"data:xxxx\n\n" * 10, max_size=50)) == 10


def test_what_came_before_a_frame_that_is_too_large() -> None:
    """Whole events before it are not lost."""
    with pytest.raises(EventTooLargeError) as caught:
        Decoder(20).feed(b"data:first\n\ndata:" + b"x" * 99)

    assert caught.value.events == [ServerSentEvent(b"first", "", None)]


def bytes_allocated(size: int) -> int:
    """Count the memory that is taken on the way, for one event that arrives byte by byte."""
    pieces = each_byte(b"data:" + b"x" * size)
    decoder = Decoder(1 << 30)
    taken = 0
    gc.collect()
    tracemalloc.start()
    try:
        for piece in [*pieces, b"\n", b"\n"]:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            decoder.feed(piece)
            taken += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return taken


def test_the_work_grows_with_the_stream_and_not_with_its_square() -> None:
    """Eight times the bytes take about eight times the memory traffic, not sixty-four times."""
    assert bytes_allocated(32_000) < 16 * bytes_allocated(4_000)
