"""Models are frozen values that print like the service's own and read like dictionaries."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from llama_dashscope import Choice, Chunk, Function, Message, Output, Response, ToolCall, Usage
from llama_dashscope._models import GrowingText, LazyText, Record
from llama_dashscope._protocol.converter import structure

SAMPLES = Path(__file__).parent / "samples"
CALL = ToolCall(Function("f", "{}", extra={"strict": True}), 0, "call_1", extra={"x": [1]})


def lazy(*pieces: str) -> LazyText:
    """Make the text of a chunk to which more is added later."""
    whole = GrowingText()
    for piece in pieces:
        whole.append(piece)
    text = LazyText(whole)
    whole.append("!")
    return text


MESSAGE = Message("assistant", "你好", [CALL], extra={"reasoning_content": "嗯"})
RECORDS: list[Record] = [
    Function("f", "{}", extra={"strict": True}),
    CALL,
    MESSAGE,
    Choice("stop", MESSAGE, 0, extra={"logprobs": None}),
    Output("你好", "stop", extra={"search_info": {}}),
    Usage(1, 2, extra={"prompt_tokens_details": {"cached_tokens": 0}}),
    Response(output=Output(choices=(Choice("stop", MESSAGE),)), usage=Usage(1, 2), extra={"x": 1}),
    Chunk("好", lazy("你", "好"), usage=Usage(1, 2), tool_calls=[CALL]),
]


def test_a_response_prints_as_the_services_sdk_prints_it() -> None:
    """The keys of the documented sample, in its order, and its text as it is."""
    body = json.loads((SAMPLES / "message-call" / "body.json").read_bytes())
    sample = (SAMPLES / "message-call" / "shown.json").read_text("utf-8")

    shown = str(structure(body, Response))

    assert shown == json.dumps(json.loads(sample), ensure_ascii=False)
    assert "你好" in shown


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(record: Record, protocol: int) -> None:
    """A model comes back from a pickle as it was, in every protocol that knows slots."""
    again = pickle.loads(pickle.dumps(record, protocol))  # our own bytes

    assert again == record
    assert again.to_dict() == record.to_dict()
    assert str(again) == str(record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_copies(record: Record) -> None:
    """Copies are equal to the original and hash alike; a deep one shares nothing that changes."""
    deep = copy.deepcopy(record)

    assert copy.copy(record) == record == deep
    assert hash(copy.copy(record)) == hash(record) == hash(deep)
    assert deep.extra is not record.extra


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_models_are_frozen(record: Record) -> None:
    """A response that many tasks look at is nobody's to change."""
    field = next(iter(record.keys() - {"text"}))

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(record, field, "changed")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_model_reads_like_a_dictionary(record: Record) -> None:
    """Keys, values, items, membership and length are those of `to_dict`, models kept as models."""
    plain = record.to_dict()

    assert list(record) == list(record.keys()) == list(plain)
    assert dict(record.items()) == dict(zip(record.keys(), record.values(), strict=True))
    assert len(record) == len(plain)
    assert all(key in record for key in plain)
    assert [record[key] for key in plain] == list(record.values())
    assert [record.get(key) for key in plain] == list(record.values())
    assert json.loads(str(record)) == plain


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_what_json_does_not_have_prints_as_null(odd: float) -> None:
    """A number that isn't finite stays in the model; in its JSON, which others read, it is null."""
    usage = Usage(1, 2, 3, extra={"odd": odd, "more": [{"you": "你", "odd": odd}]})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(str(usage), parse_constant=refuse) == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "odd": None,
        "more": [{"you": "你", "odd": None}],
    }
    assert "你" in str(usage)
    assert usage.to_dict()["odd"] is odd


def test_what_a_model_does_not_have() -> None:
    """A missing name fails in the way of what was asked: KeyError, AttributeError or a default."""
    message = Message("user", "hi")

    assert "nothing" not in message
    assert message.get("nothing") is None
    assert message.get("nothing", 5) == 5
    assert not hasattr(message, "nothing")
    assert getattr(message, "nothing", 5) == 5
    with pytest.raises(KeyError, match="nothing"):
        message["nothing"]
    with pytest.raises(AttributeError, match="'Message' object has no attribute 'nothing'"):
        _ = message.nothing  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]  # that it is an error is the test


def test_unknown_fields_are_attributes_and_items() -> None:
    """What this version has no name for is reached as if it had one."""
    message: Any = Message("assistant", "", extra={"reasoning_content": "嗯", "_private": 1})

    assert message.reasoning_content == message["reasoning_content"] == "嗯"
    assert message["_private"] == 1
    assert not hasattr(message, "_private")


def test_a_model_made_half_is_no_endless_search() -> None:
    """An object that has no `extra` yet, as copying and pickling make it, says so."""
    bare = Message.__new__(Message)

    with pytest.raises(AttributeError, match="extra"):
        _ = bare.extra


def test_a_known_field_is_never_hidden_by_an_unknown_one() -> None:
    """`extra` can't pass off its own value as that of a field."""
    chunk = Chunk("a", "a", extra={"delta": "forged", "index": 9, "logprobs": None})

    assert chunk.to_dict()["delta"] == chunk["delta"] == chunk.delta == "a"
    assert chunk.to_dict()["index"] == chunk["index"] == 0
    assert chunk.to_dict()["logprobs"] is None


def test_an_empty_model_is_true() -> None:
    """A model is a value, not a container that could be empty."""
    assert Usage()
    assert Message("user", "")


def test_fields_that_hide_while_they_are_none() -> None:
    """What a plain message doesn't have is not sent; what the SDK shows as null is shown."""
    assert Message("user", "hi").to_dict() == {"role": "user", "content": "hi"}
    assert Output("hi").to_dict() == {"text": "hi", "finish_reason": None, "choices": None}


def test_tool_calls_are_kept_as_a_tuple() -> None:
    """A list that the caller goes on to change changes no message."""
    calls = [CALL]
    message = Message("assistant", tool_calls=calls)
    calls.clear()

    assert message.tool_calls == (CALL,)


@pytest.mark.parametrize(
    ("output", "text", "reason"),
    [
        (Output("hi", "stop"), "hi", "stop"),
        (Output(choices=(Choice("length", Message("assistant", "hi")),)), "hi", "length"),
        (Output("hi", "stop", ()), "hi", "stop"),
        (Output("hi", "stop", (Choice(None, Message("assistant", "ho")),)), "hi", "stop"),
        (Output("", None, (Choice("stop", Message("assistant", "ho")),)), "ho", "stop"),
        (Output(), "", None),
    ],
)
def test_the_reply_whichever_format_carried_it(
    output: Output, text: str, reason: str | None
) -> None:
    """`text` and `finish_reason` are found in either result format."""
    response = Response(output=output)

    assert (response.text, response.finish_reason) == (text, reason)


def test_the_tool_calls_of_a_response() -> None:
    """They are those of the first choice, or none."""
    asked = Response(output=Output(choices=(Choice("tool_calls", MESSAGE),)))

    assert asked.tool_calls == (CALL,)
    assert Response(output=Output("hi")).tool_calls == ()
    assert (
        Response(output=Output(choices=(Choice("stop", Message("assistant", "")),))).tool_calls
        == ()
    )


def test_a_chunk_knows_its_own_text() -> None:
    """Chunks share what is written; each shows what was there when it came, printed or copied."""
    chunk = Chunk("好", lazy("你", "好"))

    assert chunk.text == "你好"
    assert chunk == Chunk("好", "你好")
    assert hash(chunk) == hash(Chunk("好", "你好"))
    assert repr(chunk) == repr(Chunk("好", "你好"))
    assert "'你好'" in repr(chunk)


def test_a_chunk_shows_what_it_says() -> None:
    """A chunk printed in a notebook is short: what is empty stays out."""
    assert repr(Chunk("lo", "hello")) == "Chunk(delta='lo', text='hello')"
    assert repr(Chunk()) == "Chunk(delta='')"
    assert repr(Chunk("", "hello", "stop", index=1)) == (
        "Chunk(delta='', text='hello', finish_reason='stop', index=1)"
    )


def test_a_message_has_a_role_and_a_content() -> None:
    """A lone text is told where it belongs; only tool calls can stand in its place."""
    with pytest.raises(TypeError, match=r"role and a content, as in Message\('user', 'hi'\)"):
        Message("hi")

    assert Message("assistant", tool_calls=[CALL]).content == ""
