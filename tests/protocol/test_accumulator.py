"""Frames of a stream in, chunks out, and in the end the whole answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import (
    Choice,
    Chunk,
    Function,
    Message,
    Output,
    Response,
    ToolCall,
    Usage,
)
from llama_dashscope._protocol.accumulator import StreamAccumulator

SAMPLES = Path(__file__).parents[1] / "samples"


def text_frame(text: str, reason: str | None = "null", **more: object) -> dict[str, Any]:
    """Make a frame in the `text` result format."""
    return {"output": {"text": text, "finish_reason": reason}, **more}


def message_frame(
    content: str | None, reason: str | None = "null", **more: object
) -> dict[str, Any]:
    """Make a frame in the `message` result format; `more` goes into its message."""
    message = {"role": "assistant", "content": content, **more}
    return {"output": {"choices": [{"finish_reason": reason, "message": message}]}}


FRAMES: dict[str, Callable[..., dict[str, Any]]] = {"text": text_frame, "message": message_frame}


def call(arguments: str, index: int | None = 0, **more: object) -> dict[str, Any]:
    """Make a piece of a tool call."""
    return {"function": {"arguments": arguments}, "index": index, **more}


def assemble(
    *payloads: dict[str, Any], incremental: bool = True, choices: int = 1
) -> tuple[list[Chunk], Response]:
    """Run a stream to its end."""
    assembler = StreamAccumulator(incremental=incremental, choices=choices)
    chunks = [chunk for payload in payloads for chunk in assembler.add(payload)]
    assert assembler.finished
    return chunks, assembler.response()


plain = st.lists(st.text(st.sampled_from("a`你"), min_size=1, max_size=2), min_size=1, max_size=4)
"""Fewer pieces than could be taken for wholes."""


@given(plain, st.sampled_from(sorted(FRAMES)), st.booleans())
def test_any_stream(pieces: list[str], result_format: str, incremental: bool) -> None:
    """Every frame is a chunk; deltas add up to the text, in both modes and both formats."""
    frame = FRAMES[result_format]
    texts = pieces if incremental else list(accumulate(pieces))
    last = "" if incremental else texts[-1]

    chunks, response = assemble(
        *(frame(text) for text in texts), frame(last, "stop"), incremental=incremental
    )

    assert [chunk.delta for chunk in chunks] == [*pieces, ""]
    assert [chunk.text for chunk in chunks] == [*accumulate(pieces), "".join(pieces)]
    assert [chunk.finish_reason for chunk in chunks] == [None] * len(pieces) + ["stop"]
    assert (response.text, response.finish_reason) == ("".join(pieces), "stop")
    assert (response.output.choices is None) == (result_format == "text")


@given(st.lists(plain, max_size=3), st.sampled_from(["stop", "length"]), st.booleans())
def test_the_usual_stream(pieces: list[list[str]], reason: str, incremental: bool) -> None:
    """What is read in one go comes to the same as what is taken apart."""
    texts = ["".join(piece) for piece in pieces]
    sent = [*texts, ""] if incremental else [*accumulate(texts), "".join(texts)]
    frames = [
        {
            **message_frame(text, "null" if place < len(texts) else reason),
            "usage": {"input_tokens": 5, "output_tokens": place, "total_tokens": 5 + place},
            "request_id": "abc" if place != 1 else "",
        }
        for place, text in enumerate(sent)
    ]

    usual, whole = assemble(*frames, incremental=incremental)
    others, as_well = assemble(*({**each, "x": 1} for each in frames), incremental=incremental)

    assert usual == [attrs.evolve(chunk, extra={}) for chunk in others]
    assert whole == attrs.evolve(as_well, extra={})


def test_a_piece_of_something_else_in_between() -> None:
    """A usual stream may turn unusual and back; nothing gets lost or doubled."""
    usage = {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}
    frames = [message_frame(text) for text in ["a", "b", "c", "d", "e"]]
    frames[2]["output"]["choices"][0]["message"]["tool_calls"] = [call("{}")]
    usual = [{**each, "usage": usage, "request_id": "abc"} for each in frames]

    chunks, response = assemble(*usual, message_frame("", "stop"))

    assert [chunk.delta for chunk in chunks] == ["a", "b", "c", "d", "e", ""]
    assert response.text == "abcde"
    assert [each.function.arguments for each in response.tool_calls] == ["{}"]


@pytest.mark.parametrize("case", ["text-stream", "message-stream"])
def test_recordings(case: str) -> None:
    """A recorded stream ends in the response that a call would have given."""
    body = (SAMPLES / case / "body.sse").read_bytes()
    payloads = [json.loads(line[5:]) for line in body.split(b"\n") if line.startswith(b"data:")]
    text = {"text-stream": "1+1", "message-stream": "1"}[case]

    chunks, response = assemble(*payloads)

    counted = payloads[-1]["usage"]
    output = Output(text, "stop")
    if case == "message-stream":
        output = Output(choices=(Choice("stop", Message("assistant", text)),))
    assert response == Response(
        request_id=payloads[-1]["request_id"],
        output=output,
        usage=Usage(counted["input_tokens"], counted["output_tokens"]),
    )
    assert chunks[-1].usage == response.usage
    assert {chunk.request_id for chunk in chunks} == {response.request_id}


def test_a_held_chunk_keeps_its_own_frame() -> None:
    """A delta that comes late comes with the usage and the text of the frame that it was in."""
    payloads = [
        text_frame("ha", usage={"output_tokens": 1}),
        text_frame("haha", usage={"output_tokens": 2}),
        text_frame("!", "stop", usage={"output_tokens": 3}),
    ]
    assembler = StreamAccumulator(incremental=True)

    assert [chunk.delta for chunk in assembler.add(payloads[0])] == ["ha"]
    assert assembler.add(payloads[1]) == []
    assert assembler.text == "hahaha"
    late, last = assembler.add(payloads[2])

    assert late == Chunk("haha", "hahaha", None, Usage(0, 2))
    assert last == Chunk("!", "hahaha!", "stop", Usage(0, 3))


def test_what_has_arrived_before_the_end() -> None:
    """Text, usage and request id of a stream that breaks are known; `finished` says that it did."""
    assembler = StreamAccumulator(incremental=True, request_id="from-header")

    assert (assembler.text, assembler.usage, assembler.finished) == ("", None, False)
    assert assembler.response() == Response(request_id="from-header", output=Output(""))

    assembler.add(text_frame("a", usage={"output_tokens": 1}))
    assembler.add(text_frame("b", request_id="from-frame"))

    assert (assembler.text, assembler.usage, assembler.finished) == ("ab", Usage(0, 1), False)
    assert assembler.request_id == "from-frame"


@pytest.mark.parametrize("reason", [None, "", "null"])
def test_no_reason_is_no_end(reason: str | None) -> None:
    """However the service says that the answer goes on, the stream is not finished by it."""
    assembler = StreamAccumulator(incremental=True)

    assembler.add(message_frame("a", reason))

    assert not assembler.finished


def test_a_frame_of_usage_alone_has_the_id_of_its_stream() -> None:
    """It is a chunk like any other, that of the request in the headers if it says none."""
    assembler = StreamAccumulator(incremental=True, request_id="head")

    none: dict[str, Any] = {"output": {"choices": []}}
    [first] = assembler.add({**none, "usage": {"output_tokens": 7}, "note": 1})
    [second] = assembler.add({**none, "usage": {"output_tokens": 8}, "request_id": "abc"})

    assert first == Chunk("", "", None, Usage(0, 7), "head", extra={"note": 1})
    assert second == Chunk("", "", None, Usage(0, 8), "abc")


def test_a_frame_of_usage_alone_at_the_end() -> None:
    """Tokens may be counted after the last text; the answer is not begun anew by that."""
    chunks, response = assemble(
        message_frame("a", "stop"),
        {"output": {"choices": []}, "usage": {"output_tokens": 7}, "note": 1},
    )

    assert chunks[-1] == Chunk("", "a", None, Usage(0, 7), extra={"note": 1})
    assert response.usage == Usage(0, 7)
    assert (response.text, response.finish_reason) == ("a", "stop")


def test_a_null_output_after_choices() -> None:
    """A frame without output says nothing new about the answer."""
    chunks, response = assemble(
        message_frame("a", "stop"), {"output": None, "usage": {"output_tokens": 7}}
    )

    assert [chunk.text for chunk in chunks] == ["a", "a"]
    assert (response.text, response.finish_reason) == ("a", "stop")


def test_several_answers() -> None:
    """Answers are kept apart by index, and the stream ends with the last of them."""

    def frame(*parts: tuple[int, str, str]) -> dict[str, Any]:
        return {
            "output": {
                "choices": [
                    {"index": index, "finish_reason": reason, "message": {"content": text}}
                    for index, text, reason in parts
                ]
            }
        }

    first = frame((0, "a", "null"), (1, "x", "null"))
    assembler = StreamAccumulator(incremental=True, choices=2)
    chunks = assembler.add(first)
    chunks += assembler.add(frame((1, "y", "stop")))

    half = assembler.finished
    chunks += assembler.add(frame((0, "b", "length")))

    assert (half, assembler.finished) == (False, True)
    assert [(chunk.index, chunk.delta, chunk.text) for chunk in chunks] == [
        (0, "a", "a"),
        (1, "x", "x"),
        (1, "y", "xy"),
        (0, "b", "ab"),
    ]
    assert assembler.response().output.choices == (
        Choice("length", Message("assistant", "ab"), 0),
        Choice("stop", Message("assistant", "xy"), 1),
    )


def test_a_usual_frame_among_several_answers() -> None:
    """A frame with one answer that has no index continues the first one."""
    rest = {"usage": {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}, "request_id": "r"}
    both = [message_frame(text)["output"]["choices"][0] for text in ("a", "x")]
    assembler = StreamAccumulator(incremental=True, choices=2)

    for _ in range(2):
        assembler.add({"output": {"choices": both}, **rest})
    chunks = [*assembler.add({**message_frame("b"), **rest}), *assembler.add(message_frame("c"))]

    assert [(chunk.delta, chunk.text) for chunk in chunks] == [("b", "aab"), ("c", "aabc")]
    assert [assembler.choice(at).message.content for at in (0, 1)] == ["aabc", "xx"]


def test_an_answer_that_has_not_begun() -> None:
    """One of two answers finished is not the end, also before the other one has begun."""
    assembler = StreamAccumulator(incremental=True, choices=2)

    assembler.add(message_frame("a", "stop"))

    assert not assembler.finished


def test_two_interleaved_tool_calls() -> None:
    """Pieces of tool calls are merged by index; names and ids come once and may be null later."""
    nameless = {"function": {"name": None, "arguments": "1}"}, "index": 0, "id": None}
    chunks, response = assemble(
        message_frame(
            "",
            tool_calls=[
                {"function": {"name": "f", "arguments": '{"a":'}, "index": 0, "id": "A"},
                {"function": {"name": "g", "arguments": '{"b'}, "index": 1, "id": "B"},
            ],
        ),
        message_frame(None, tool_calls=[call('":', 1), nameless]),
        message_frame("", tool_calls=[call("2}", 1, type="")]),
        message_frame("", "tool_calls"),
    )

    assert response.tool_calls == (
        ToolCall(Function("f", '{"a":1}'), 0, "A"),
        ToolCall(Function("g", '{"b":2}'), 1, "B"),
    )
    assert response.finish_reason == "tool_calls"
    assert chunks[2].tool_calls == (ToolCall(Function("", "2}"), 1, "", ""),)


def test_tool_calls_without_an_index() -> None:
    """Where the service leaves the index out, the place counts."""
    _, response = assemble(
        message_frame("", tool_calls=[call("{", None, id="A"), call("[", None, id="B")]),
        message_frame("", "tool_calls", tool_calls=[call("}", None), call("]", None)]),
    )

    assert [(made.id, made.function.arguments) for made in response.tool_calls] == [
        ("A", "{}"),
        ("B", "[]"),
    ]


def test_tool_calls_that_come_whole_each_time() -> None:
    """In cumulative mode arguments are repeated, and not doubled."""
    wholes = ["{", '{"a"', '{"a":', '{"a":1', '{"a":1}']
    _, response = assemble(
        *(message_frame("", tool_calls=[call(whole)]) for whole in wholes),
        message_frame("", "tool_calls", tool_calls=[call(wholes[-1])]),
        incremental=False,
    )

    assert response.tool_calls[0].function.arguments == '{"a":1}'


def test_unknown_fields_of_every_level() -> None:
    """A chunk has them flat, the response has them where they stood."""
    payload: dict[str, Any] = {
        "output": {
            "choices": [
                {
                    "finish_reason": "stop",
                    "message": {
                        "content": "a",
                        "annotations": [1],
                        "tool_calls": [
                            {
                                "function": {"arguments": "{}", "strict": True},
                                "index": 0,
                                "note": 2,
                            }
                        ],
                    },
                    "logprobs": None,
                }
            ],
            "search_info": {},
        },
        "trace": "t",
    }

    chunks, response = assemble(payload)

    choice = response.output.choices[0] if response.output.choices else Choice()
    assert chunks[0].extra == {
        "trace": "t",
        "search_info": {},
        "logprobs": None,
        "annotations": [1],
    }
    assert response.extra == {"trace": "t"}
    assert response.output.extra == {"search_info": {}}
    assert choice.extra == {"logprobs": None}
    assert choice.message.extra == {"annotations": [1]}
    assert response.tool_calls[0].extra == {"note": 2}
    assert response.tool_calls[0].function.extra == {"strict": True}


@pytest.mark.parametrize(
    ("thoughts", "incremental"),
    [(["I ", "th", "ink"], True), (["I ", "I th", "I think"], False)],
)
def test_a_models_thoughts_grow_as_its_text_does(thoughts: list[str], incremental: bool) -> None:
    """`reasoning_content` comes in pieces or wholes too, and is whole in the response."""
    _, response = assemble(
        *(message_frame("", reasoning_content=thought) for thought in thoughts),
        message_frame("hm", "stop", reasoning_content=None if incremental else thoughts[-1]),
        incremental=incremental,
    )

    assert response.output.choices is not None
    assert response.output.choices[0].message.get("reasoning_content") == "I think"


def test_a_role_comes_once() -> None:
    """Later pieces leave the role out; the first one's holds."""
    first = message_frame("a", role="narrator")

    _, response = assemble(first, message_frame("b", "stop", role=None))

    assert response.output.choices is not None
    assert response.output.choices[0].message == Message("narrator", "ab")


def test_fields_of_a_message_that_have_a_name() -> None:
    """`name` and `tool_call_id` are fields of a message, not unknown ones."""
    _, response = assemble(message_frame("a", "stop", name="llama", tool_call_id="call_1"))

    assert response.output.choices is not None
    message = response.output.choices[0].message
    assert (message.name, message.tool_call_id, message.extra) == ("llama", "call_1", {})


def test_a_response_does_not_change_any_more() -> None:
    """What was handed out stays as it was when more frames come."""
    assembler = StreamAccumulator(incremental=True)
    frame = message_frame("a", note=1)
    frame["output"]["choices"][0]["mark"] = 1
    assembler.add({**frame, "trace": 1, "output": {**frame["output"], "info": 1}})
    before = assembler.response()
    shown = str(before)

    frame["output"]["choices"][0]["mark"] = 2
    frame["output"]["choices"][0]["message"]["note"] = 2
    assembler.add({**frame, "trace": 2, "output": {**frame["output"], "info": 2}})

    assert str(before) == shown
    assert str(assembler.response()) != shown


def test_a_stream_that_contradicts_itself() -> None:
    """A text that was changed after it was sent is an error."""
    assembler = StreamAccumulator(incremental=False)
    for text in ("a", "ab"):
        assembler.add(text_frame(text))

    with pytest.raises(ValueError, match="does not continue"):
        assembler.add(text_frame("x"))

    assert assembler.text == "ab"


@pytest.mark.parametrize("field", ["reasoning_content", "tool_calls"])
def test_a_thought_or_call_that_contradicts_itself(field: str) -> None:
    """What grows beside the text is held to the same rule, with the same error."""

    def frame(text: str) -> dict[str, Any]:
        if field == "reasoning_content":
            return message_frame("", reasoning_content=text)
        return message_frame("", tool_calls=[call(text)])

    assembler = StreamAccumulator(incremental=False)
    for text in ("a", "ab"):
        assembler.add(frame(text))

    with pytest.raises(ValueError, match="does not continue"):
        assembler.add(frame("x"))
