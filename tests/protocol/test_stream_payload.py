"""A frame read by hand says what the same payload says as a response."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import Function, Response, ToolCall, Usage
from llama_dashscope._protocol.converter import structure
from llama_dashscope._protocol.stream_payload import (
    ChoiceDelta,
    StreamPayload,
    read_fast,
    read_frame,
)

SAMPLES = Path(__file__).parents[1] / "samples"

texts = st.none() | st.text(max_size=3)
counts = st.none() | st.integers(0, 1 << 40)
reasons = st.sampled_from([None, "", "null", "stop", "length", "something_new"])
oddities: list[Any] = [None, True, 0, 7, 1.5, "", "x", [], ["x"], {}, {"x": 1}, [{}], [None]]
"""Values of every kind of JSON, empty and not."""


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects that have any of these fields, and others that have no name here."""
    unknown = dict.fromkeys(["logprobs", "extra"], st.sampled_from(oddities))
    return st.fixed_dictionaries({}, optional={**fields, **unknown})


usages = objects(input_tokens=counts, output_tokens=counts, total_tokens=counts)
functions = objects(name=texts, arguments=texts)
calls = objects(function=st.none() | functions, index=counts, id=texts, type=texts)
messages = objects(role=texts, content=texts, tool_calls=st.none() | st.lists(calls, max_size=2))
choices = objects(finish_reason=reasons, message=st.none() | messages, index=counts)
outputs = objects(text=texts, finish_reason=reasons) | objects(
    choices=st.none() | st.lists(choices, max_size=3)
)
payloads = objects(output=st.none() | outputs, usage=st.none() | usages, request_id=texts)


def said(response: Response) -> list[tuple[Any, ...]]:
    """List what a response says, choice by choice, as a frame would."""
    if response.output.choices is None:
        return [(0, response.output.text or "", response.output.finish_reason, "", ())]
    answers = [
        place if choice.index is None else choice.index
        for place, choice in enumerate(response.output.choices)
    ]
    apart = len(set(answers)) == len(answers)
    return [
        (
            answers[place] if apart else place,
            choice.message.content,
            choice.finish_reason,
            choice.message.role or "assistant",
            choice.message.tool_calls or (),
        )
        for place, choice in enumerate(response.output.choices)
    ]


def pieces(frame: StreamPayload) -> list[tuple[Any, ...]]:
    """List what a frame says."""
    return [
        (
            piece.answer,
            piece.text,
            piece.finish_reason,
            (piece.role or "assistant") if frame.as_choices else "",
            piece.tool_calls,
        )
        for piece in frame.pieces
    ]


@given(payloads)
def test_a_frame_is_read_as_a_response_is(payload: dict[str, Any]) -> None:
    """Both readers find the same texts, reasons, calls, usage and unknown fields."""
    response = structure(payload, Response)

    frame = read_frame(payload)

    assert pieces(frame) == said(response)
    assert frame.usage == response.usage
    assert frame.request_id == response.request_id
    assert frame.as_choices == (response.output.choices is not None)
    assert frame.of_frame == response.extra
    assert frame.of_output == response.output.extra
    for piece, choice in zip(frame.pieces, response.output.choices or (), strict=False):
        assert piece.of_choice == choice.extra
        assert piece.of_message == choice.message.extra


def as_recorded(text: str, reason: str, usage: object, request_id: str) -> dict[str, Any]:
    """Make a frame of the form that streams are recorded in."""
    choice = {"message": {"content": text, "role": "assistant"}, "finish_reason": reason}
    return {"output": {"choices": [choice]}, "usage": usage, "request_id": request_id}


words = st.text(max_size=3)
usual = st.builds(as_recorded, words, st.sampled_from(["null", "", "stop"]), usages, words)
"""Frames of the usual form."""


@given(usual)
def test_a_usual_frame(payload: dict[str, Any]) -> None:
    """A frame of the usual form is read in one go, to the same end."""
    frame = read_frame(payload)
    [piece] = frame.pieces

    expected = piece.text, piece.finish_reason, frame.usage, frame.request_id
    assert read_fast(payload) == expected


def keys_of(value: Any) -> list[Any]:  # JSON
    """List the keys of an object or the places in a list."""
    return sorted(value) if hasattr(value, "keys") else list(range(len(value)))


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """Make a payload in which one value, at any depth, is something else than it should be."""
    payload = copy.deepcopy(draw(payloads | usual))  # the oddities in it belong to all
    place: Any = payload
    while place:
        key = draw(st.sampled_from(keys_of(place)))
        if not isinstance(place[key], dict | list) or draw(st.booleans()):
            place[key] = draw(st.sampled_from(oddities))
            break
        place = place[key]
    return payload


@given(spoiled())
def test_a_frame_is_refused_as_a_response_is(payload: dict[str, Any]) -> None:
    """A value of the wrong type is a ValueError for both readers or for none of them."""
    try:
        response = structure(payload, Response)
    except ValueError:
        with pytest.raises(ValueError, match="expected"):
            read_frame(payload)
    else:
        assert pieces(read_frame(payload)) == said(response)


@given(payloads | spoiled())
def test_an_unusual_frame(payload: dict[str, Any]) -> None:
    """No frame is taken for a usual one that says more, or something else, or nothing right."""
    found = read_fast(payload)

    if found is not None:
        text, reason, usage, request_id = found
        told = ChoiceDelta(0, None, text, reason, "assistant", (), {}, {})
        assert read_frame(payload) == StreamPayload([told], usage, request_id, True, {}, {})


REFUSED: list[dict[str, Any]] = [
    {"output": []},
    {"output": ""},
    {"output": 0},
    {"output": {"choices": {}}},
    {"output": {"choices": ""}},
    {"output": {"choices": [None]}},
    {"output": {"choices": [{"message": ""}]}},
    {"output": {"choices": [{"message": []}]}},
    {"output": {"choices": [{"message": {"tool_calls": ""}}]}},
    {"output": {"choices": [{"message": {"tool_calls": {}}}]}},
    {"output": {"choices": [{"message": {"tool_calls": [1]}}]}},
    {"output": {"choices": [{"message": {"content": 5}}]}},
    {"output": {"text": ["hi"]}},
    {"output": {"finish_reason": []}},
]


@pytest.mark.parametrize("payload", REFUSED)
def test_what_is_refused(payload: dict[str, Any]) -> None:
    """Nothing of a wrong type passes as empty."""
    with pytest.raises(ValueError, match=r"expected .* @ \$\."):
        read_frame(payload)


def test_the_other_spelling_of_the_request_id() -> None:
    """The service's Java SDK knows `requestId`."""
    assert read_frame({"output": {}, "requestId": "abc"}).request_id == "abc"


def test_a_frame_of_usage_alone() -> None:
    """A frame may bring nothing but the tokens counted so far."""
    frame = read_frame({"usage": {"input_tokens": 1, "output_tokens": 2}})

    assert frame.usage == Usage(1, 2)
    assert frame.pieces == [ChoiceDelta(0, None, "", None, "", (), {}, {})]


@pytest.mark.parametrize(
    ("indices", "answers"),
    [
        ([1, 0], [1, 0]),
        (["1", "0"], [1, 0]),
        (["x", "-1"], [0, 1]),
        (["1" * 10, None], [0, 1]),
        ([1, None], [0, 1]),
        ([2, 2, 0], [0, 1, 2]),
        ([5], [5]),
    ],
)
def test_which_answer_a_choice_belongs_to(indices: list[object], answers: list[int]) -> None:
    """Its index says it, or its place if it has none or if two of one frame have the same."""
    frame = read_frame({"output": {"choices": [{"index": index} for index in indices]}})

    assert [piece.answer for piece in frame.pieces] == answers


def test_counts_written_with_a_point() -> None:
    """JSON has one kind of number; 7.0 is a count in a frame too."""
    usage = {"input_tokens": 1, "output_tokens": 7.0, "total_tokens": 8}

    assert read_frame({"usage": usage}).usage == Usage(1, 7, 8)


@pytest.mark.parametrize("name", ["request_id", "requestId"])
def test_an_id_that_is_a_number(name: str) -> None:
    """An id names the call in whatever form it comes."""
    assert read_frame({"output": {}, name: 5}).request_id == "5"


def test_what_is_odd_beside_the_answer() -> None:
    """Usage, an index or a role of the wrong type stay as they came; the answer is read."""
    choice = {"index": "0", "message": {"content": "hi", "role": 7}}

    frame = read_frame({"output": {"choices": [choice]}, "usage": []})

    assert frame.of_frame == {"usage": []}
    assert frame.pieces == [ChoiceDelta(0, None, "hi", None, "", (), {"index": "0"}, {"role": 7})]


def test_a_text_beside_no_choices() -> None:
    """An empty list of choices is none: the text is the answer."""
    frame = read_frame({"output": {"choices": [], "text": "hi", "finish_reason": "stop"}})

    assert frame.pieces == [ChoiceDelta(0, None, "hi", "stop", "", (), {}, {})]
    assert not frame.as_choices


def test_a_piece_of_a_tool_call() -> None:
    """A later piece has neither name nor id, or has them as null."""
    call = {"function": {"name": None, "arguments": '{"ci'}, "index": 1, "id": None}
    payload = {"output": {"choices": [{"message": {"content": None, "tool_calls": [call]}}]}}

    assert read_frame(payload).pieces[0].tool_calls == (ToolCall(Function("", '{"ci'), 1, ""),)


@pytest.mark.parametrize(
    ("case", "texts", "reasons"),
    [
        ("text-stream", ["1+", "1", ""], [None, None, "stop"]),
        ("message-stream", ["1", ""], [None, "stop"]),
    ],
)
def test_recordings(case: str, texts: list[str], reasons: list[str | None]) -> None:
    """Recorded frames say what they say."""
    body = (SAMPLES / case / "body.sse").read_bytes()
    data = [json.loads(line[5:]) for line in body.split(b"\n") if line.startswith(b"data:")]

    frames = [read_frame(each) for each in data]

    assert [frame.pieces[0].text for frame in frames] == texts
    assert [frame.pieces[0].finish_reason for frame in frames] == reasons
    assert [frame.usage for frame in frames] == [structure(each["usage"], Usage) for each in data]
    assert {frame.request_id for frame in frames} == {data[0]["request_id"]}
