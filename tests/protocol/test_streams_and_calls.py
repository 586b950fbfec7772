"""A stream reads whatever a call reads: the same answer, whole or split into frames."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stream_parsers import chunk_parser

from llama_dashscope import Chunk, IncompleteResponseError, Response, ResponseError
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.deltas import SURE_AFTER
from llama_dashscope._protocol.failure import ResponseHead
from llama_dashscope._protocol.response import read_response
from llama_dashscope._protocol.sse import ServerSentEvent
from llama_dashscope._protocol.stream_parser import StreamParser
from llama_dashscope._settings import ApiKey

TOO_MANY = "the stream has more answers than the 1 requested (n)"
HEAD = ResponseHead(200, {}, ApiKey("sk-0"), "dashscope.aliyuncs.com")

texts = st.lists(st.text(st.sampled_from("xy你😀"), min_size=1, max_size=3), max_size=4)
counts = st.none() | st.sampled_from([5, 5.0, 5.5, "5", True, -1])
usages: st.SearchStrategy[Any] = st.sampled_from([None, [], "none"]) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["input_tokens", "output_tokens", "total_tokens", "more"], counts)
)
calls = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["weather", "time"]), "arguments": texts}),
    max_size=2,
)
answers = st.fixed_dictionaries(
    {"content": texts, "reason": st.sampled_from(["stop", "length"]), "calls": calls},
    optional={"reasoning_content": texts.filter(bool), "note": st.sampled_from([None, 1, "x"])},
)


def is_plain(pieces: list[str]) -> bool:
    """Tell whether pieces can't be taken for wholes: the second doesn't begin with the first."""
    return len(pieces) < 2 or not pieces[1].startswith(pieces[0])


def message(answer: dict[str, Any], *, with_index: bool) -> dict[str, Any]:
    """Make the whole message of an answer."""
    made: dict[str, Any] = {"role": "assistant", "content": "".join(answer["content"])}
    for name in answer.keys() & {"reasoning_content", "note"}:
        made[name] = "".join(answer[name]) if name == "reasoning_content" else answer[name]
    if answer["calls"]:
        made["tool_calls"] = [
            {
                "id": f"call_{at}",
                "type": "function",
                "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
                **({"index": at} if with_index else {}),
            }
            for at, call in enumerate(answer["calls"])
        ]
    return made


def frames(answer: dict[str, Any], *, with_index: bool, incremental: bool) -> list[dict[str, Any]]:
    """Split an answer into the messages of frames: reasoning, text, tool calls one by one."""

    def shown(pieces: list[str]) -> list[str]:
        return pieces if incremental else list(accumulate(pieces))

    whole = message(answer, with_index=with_index)
    made: list[dict[str, Any]] = [
        {"content": "", "reasoning_content": piece}
        for piece in shown(answer.get("reasoning_content", []))
    ]
    made += [{"role": "assistant", "content": piece} for piece in shown(answer["content"])]
    for call, sent in zip(whole.get("tool_calls", []), answer["calls"], strict=True):
        first = True
        for piece in shown(sent["arguments"]) or [""]:
            function = {"name": call["function"]["name"], "arguments": piece}
            later = {**({"index": call["index"]} if with_index else {}), "function": function}
            made.append({"content": "", "tool_calls": [{**call, "function": function}]})
            if not first:
                function["name"] = ""
                made[-1] = {"content": None, "tool_calls": [later]}
            first = False
    return [*made, {"content": "", **{k: whole[k] for k in whole.keys() & {"note"}}}]


def streamed(payloads: list[dict[str, Any]], *, incremental: bool, n: int) -> Response:
    """Read payloads as the frames of a stream."""
    parser = chunk_parser(HEAD, incremental=incremental, choices=n)
    for payload in payloads:
        event = ServerSentEvent(name="result", data=json.dumps(payload).encode(), status=200)
        parser.read(event)
    assert parser.answer.whole
    return parser.answer.response()


@given(
    st.lists(answers, min_size=1, max_size=2),
    usages,
    st.booleans(),
    st.booleans(),
    st.integers(2, 4),
)
def test_a_stream_reads_what_a_call_reads(
    said: list[dict[str, Any]], usage: object, with_index: bool, incremental: bool, n: int
) -> None:
    """Text, reasoning, tool calls, usage and unknown fields are the same, for fewer answers too."""
    growing = [
        pieces
        for answer in said
        for pieces in [
            answer["content"],
            answer.get("reasoning_content", []),
            *(call["arguments"] for call in answer["calls"]),
        ]
    ]
    assume(all(map(is_plain, growing)) and max(map(len, growing)) < SURE_AFTER)

    choices = [
        {
            "index": at,
            "finish_reason": answer["reason"],
            "message": message(answer, with_index=with_index),
        }
        for at, answer in enumerate(said)
    ]
    whole = {"output": {"choices": choices}, "request_id": "r", "usage": usage}
    split: list[dict[str, Any]] = [
        {
            "output": {"choices": [{"index": at, "finish_reason": "null", "message": each}]},
            "request_id": "r",
        }
        for at, answer in enumerate(said)
        for each in frames(answer, with_index=with_index, incremental=incremental)
    ]
    ends = [
        {"index": at, "finish_reason": answer["reason"], "message": {"content": ""}}
        for at, answer in enumerate(said)
    ]
    split.append({"output": {"choices": ends}, "request_id": "r", "usage": usage})

    assert streamed(split, incremental=incremental, n=n) == read_response(
        HEAD, json.dumps(whole).encode()
    )


@given(st.text(min_size=1, max_size=6), st.integers(0, 12), st.booleans())
def test_a_character_cut_in_two(text: str, at: int, incremental: bool) -> None:
    """Halves of a character in two frames are one character in the answer; a lone half is none."""
    units = text.encode("utf-16-le", "surrogatepass")
    at = min(2 * at, len(units))
    parts = [units[:at], units[at:]] if incremental else [units[:at], units]
    split = [
        {"output": {"text": part.decode("utf-16-le", "surrogatepass"), "finish_reason": reason}}
        for part, reason in zip(parts, ["null", "stop"], strict=True)
    ]
    assume(not incremental or not parts[1].startswith(parts[0]) or not parts[0])

    response = streamed(split, incremental=incremental, n=1)

    assert response.text == text
    assert response.text.encode()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a\ud83d", "b", ""], "a\ufffdb"),
        (["a", "\ude00b", ""], "a\ufffdb"),
        (["\ud83d", "\ude00", ""], "😀"),
        (["a\ud83d", ""], "a\ufffd"),
        (["a\ud83d b", ""], "a\ufffd b"),
    ],
)
def test_halves_of_characters(texts: list[str], expected: str) -> None:
    """A half without its other half is the replacement character; no delta holds a half."""
    parser = chunk_parser(HEAD)
    chunks: list[Chunk] = []
    for place, text in enumerate(texts):
        output = {"text": text, "finish_reason": "stop" if place == len(texts) - 1 else "null"}
        data = json.dumps({"output": output}).encode()
        event = ServerSentEvent(name="result", data=data, status=200)
        chunks += parser.read(event) or []

    assert "".join(chunk.delta for chunk in chunks) == parser.answer.response().text == expected
    assert all(chunk.delta.encode() or not chunk.delta for chunk in chunks)


def test_a_half_in_a_usual_frame() -> None:
    """Frames that are read in one go hold no halves either."""
    parser = chunk_parser(HEAD)
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    deltas: list[str] = []
    for text in ["a", "b", "\ud83d", "\ude00", "\ud83d\ude00"]:
        message = {"role": "assistant", "content": text}
        choice = {"message": message, "finish_reason": "null"}
        payload = {"output": {"choices": [choice]}, "usage": usage, "request_id": "r"}
        event = ServerSentEvent(name="result", data=json.dumps(payload).encode(), status=200)
        deltas += [chunk.delta for chunk in parser.read(event) or []]

    assert deltas == ["a", "b", "", "😀", "😀"]


def test_halves_of_reasoning_and_arguments() -> None:
    """They find each other in all texts that go on from frame to frame, each in its own."""
    split: list[dict[str, Any]] = []
    for thought, argument in [("a\ud83d", "\ud83d"), ("\ude00b", "\ude80"), ("\ud83d", "")]:
        calls = [{"index": 0, "id": "x", "function": {"name": "f", "arguments": argument}}]
        message = {"content": "", "reasoning_content": thought, "tool_calls": calls}
        split.append({"output": {"choices": [{"message": message}]}})
    split[-1]["output"]["choices"][0]["finish_reason"] = "tool_calls"

    response = streamed(split, incremental=True, n=1)

    [choice] = response.output.choices or (None,)
    assert choice is not None
    assert choice.message.extra == {"reasoning_content": "a😀b\ufffd"}
    assert [call.function.arguments for call in response.tool_calls] == ["🚀"]


def test_halves_of_several_answers() -> None:
    """Each answer's halves find each other by its index, in whatever order they come."""
    parts = [[(0, "\ud83d"), (1, "\ud83d")], [(1, "\ude80"), (0, "\ude00")]]
    split: list[dict[str, Any]] = []
    for reason, frame in zip(["null", "stop"], parts, strict=True):
        choices = [
            {"index": index, "finish_reason": reason, "message": {"content": text}}
            for index, text in frame
        ]
        split.append({"output": {"choices": choices}})

    response = streamed(split, incremental=True, n=2)

    assert [each.message.content for each in response.output.choices or ()] == ["😀", "🚀"]


def test_calls_that_are_repeated_whole() -> None:
    """Where each frame repeats the calls with their ids, they are not opened again."""
    wholes = ['{"a"', '{"a":', '{"a":1', '{"a":1}']
    split: list[dict[str, Any]] = []
    for whole in wholes:
        calls = [{"id": name, "function": {"name": "f", "arguments": whole}} for name in "xy"]
        split.append({"output": {"choices": [{"message": {"tool_calls": calls}}]}})
    split.append({"output": {"choices": [{"finish_reason": "tool_calls", "message": {}}]}})

    made = streamed(split, incremental=False, n=1).tool_calls

    assert [(call.id, call.function.arguments) for call in made] == [
        ("x", '{"a":1}'),
        ("y", '{"a":1}'),
    ]


def test_halves_in_a_whole_answer() -> None:
    """A call's answer holds no halves either, in text, names and unknown fields."""
    body = rb'{"output":{"text":"a\ud83d","note\udc00":["\ud83d\ude00","\udc00"]}}'

    response = read_response(HEAD, body)

    assert response.text == "a\ufffd"
    assert response.output.extra == {"note\ufffd": ["😀", "\ufffd"]}


def test_halves_in_other_fields_of_a_frame() -> None:
    """No text is left with a half, though its field has the name of one that goes on."""
    note = {"text": "a\ud83d", "content": ["\udc00b", "\ud83d\ude00"]}
    split: list[dict[str, Any]] = [
        {"output": {"text": "a", "finish_reason": "stop", "note": note}, "content": "c\ud83d"}
    ]

    response = streamed(split, incremental=True, n=1)

    assert response.text == "a"
    assert response.output.extra == {"note": {"text": "a\ufffd", "content": ["\ufffdb", "😀"]}}
    assert response.extra == {"content": "c\ufffd"}


@pytest.mark.parametrize("named", [{}, {"index": 0}], ids=["no index", "one index"])
def test_a_new_id_opens_a_new_call(named: dict[str, int]) -> None:
    """Tool calls one after another are told apart by id, whatever their index says."""
    pieces = [
        {"id": "a", "function": {"name": "weather", "arguments": '{"city"'}, **named},
        {"function": {"arguments": ":1}"}, **named},
        {"id": "b", "function": {"name": "time", "arguments": "{}"}, **named},
    ]
    split: list[dict[str, Any]] = [
        {"output": {"choices": [{"message": {"content": "", "tool_calls": [piece]}}]}}
        for piece in pieces
    ]
    split.append({"output": {"choices": [{"finish_reason": "tool_calls", "message": {}}]}})

    made = streamed(split, incremental=True, n=1).tool_calls

    assert [(call.id, call.function.name, call.function.arguments) for call in made] == [
        ("a", "weather", '{"city":1}'),
        ("b", "time", "{}"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("f", '{"a":1}'), ("g", "{}"), [("f", '{"a":1}'), ("g", "{}")]),
        (("f", '{"a":1}'), ("f", '{"a":2}'), [("f", '{"a":1}'), ("f", '{"a":2}')]),
        (("f", '{"a":'), ("f", "1}"), [("f", '{"a":1}')]),
        (("f", '{"a":'), ("", "1}"), [("f", '{"a":1}')]),
    ],
)
def test_calls_with_neither_id_nor_index(
    first: tuple[str, str], second: tuple[str, str], expected: list[tuple[str, str]]
) -> None:
    """Another name, or whole arguments after whole ones, open a call; the rest goes on."""
    split: list[dict[str, Any]] = [
        {"output": {"choices": [{"message": {"tool_calls": [{"function": function}]}}]}}
        for function in ({"name": name, "arguments": text} for name, text in (first, second))
    ]
    split.append({"output": {"choices": [{"finish_reason": "tool_calls", "message": {}}]}})

    made = streamed(split, incremental=True, n=1).tool_calls

    assert [(call.function.name, call.function.arguments) for call in made] == expected


def message_of(parser: StreamParser[Chunk]) -> str:
    """Return what a stream failed with."""
    return parser.failure.message if parser.failure else ""


def test_more_answers_than_were_asked_for() -> None:
    """They are refused: mixed into the one that was asked for they would be worse than none."""
    choices = [{"index": at, "message": {"content": "x"}} for at in range(2)]
    reader = StreamAccumulator(incremental=True)

    with pytest.raises(ValueError, match=f"^{re.escape(TOO_MANY)}$"):
        reader.add({"output": {"choices": choices}})


def test_more_answers_than_were_asked_for_in_one_piece() -> None:
    """A whole answer in place of a stream is refused for the same reason, as any wrong frame."""
    choices = [{"index": at, "message": {"content": "x"}} for at in range(2)]
    parser = chunk_parser(HEAD)

    parser.feed(json.dumps({"output": {"choices": choices}}).encode())
    parser.finish()

    assert isinstance(parser.failure, ResponseError)
    assert f": {TOO_MANY}: {{" in message_of(parser)
    assert parser.take() == []


def test_frames_before_one_that_is_too_large() -> None:
    """They are handed out before the stream fails."""
    parser = chunk_parser(HEAD)
    frame = b'data:{"output":{"text":"a","finish_reason":"null"}}\n\n'

    assert parser.feed(frame + b"data:" + bytes(1 << 20))
    assert [chunk.delta for chunk in parser.take()] == ["a"]
    assert message_of(parser) == (
        "the answer does not follow the protocol: a frame of the stream is larger than "
        "1048576 bytes (limits.max_frame_size)"
    )


def test_an_answer_in_one_piece_that_is_too_large() -> None:
    """It has the limit of a frame: as large as that is allowed, one byte more is not."""
    whole = b'{"output":{"text":"a","finish_reason":"stop"}}'
    parser = chunk_parser(HEAD)

    assert parser.feed(whole + b" " * ((1 << 20) - len(whole)))
    assert not message_of(parser)
    assert parser.feed(b" ")
    assert message_of(parser) == "the answer is not a stream and is larger than 1048576 bytes"
    assert parser.failure is not None
    assert parser.failure.status_code == 200


def test_a_stream_that_ends_too_early() -> None:
    """It is an error of its own, under the status of the answer."""
    parser = chunk_parser(HEAD)

    parser.feed(b'data:{"output":{"text":"a","finish_reason":"null"}}\n\n')
    parser.finish()

    assert isinstance(parser.failure, IncompleteResponseError)
    assert parser.failure.status_code == 200
    assert message_of(parser) == (
        "the stream ended before its finish_reason; partial_text has the text received"
    )
