"""Payloads in, models out, and back again with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import Choice, Function, Message, Output, Response, ToolCall, Usage
from llama_dashscope._models import Record
from llama_dashscope._protocol.converter import converter, read_usage, structure

SAMPLES = Path(__file__).parents[1] / "samples"
MODELS: list[type[Record]] = [Response, Output, Choice, Message, ToolCall, Function, Usage]

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)  # as JSON has them
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
counts = st.integers(0, 1 << 40)
reasons = st.sampled_from(["stop", "length", "tool_calls", "something_new"])


def names_of(model: type[Record]) -> set[str]:
    """Name the fields of a model as its JSON names them."""
    kind = cast("type[attrs.AttrsInstance]", model)
    return {field.alias or field.name for field in attrs.fields(kind)} - {"extra"}


def unknown(model: type[Record]) -> st.SearchStrategy[dict[str, Any]]:
    """Make fields that a model has no name for, "extra" among them."""
    names = st.sampled_from(["extra", "logprobs", "_text", "items"]) | st.text()
    fresh = names.filter(lambda name: name not in names_of(model))
    return st.dictionaries(fresh, json_values, max_size=3)


usages = st.builds(Usage, counts, counts, counts, extra=unknown(Usage))
functions = st.builds(Function, st.text(), st.text(), extra=unknown(Function))
tool_calls = st.builds(
    ToolCall, functions, st.none() | counts, st.text(), st.text(), extra=unknown(ToolCall)
)
some_calls = st.none() | st.lists(tool_calls, max_size=2)
messages = st.builds(
    Message,
    st.text(),
    st.text(),
    some_calls,
    st.none() | st.text(),
    st.none() | st.text(),
    extra=unknown(Message),
)
choices = st.builds(
    Choice, st.none() | reasons, messages, st.none() | counts, extra=unknown(Choice)
)
outputs = st.builds(
    Output,
    st.none() | st.text(),
    st.none() | reasons,
    st.none() | st.lists(choices, max_size=2).map(tuple),
    extra=unknown(Output),
)
responses = st.builds(
    Response,
    st.integers(200, 299),
    st.text(),
    st.text(),
    st.text(),
    outputs,
    st.none() | usages,
    extra=unknown(Response),
)
records: st.SearchStrategy[Record] = st.one_of(
    responses, outputs, choices, messages, tool_calls, functions, usages
)


@given(records)
def test_a_model_survives_the_way_out_and_back(record: Record) -> None:
    """Any model becomes the same JSON and the same model again, unknown fields included."""
    payload = converter.unstructure(record)

    again = structure(payload, type(record))

    assert again == record
    assert converter.unstructure(again) == payload
    assert structure(json.loads(json.dumps(payload)), type(record)) == record
    assert structure(json.loads(str(record)), type(record)) == record


@pytest.mark.parametrize("model", MODELS)
@given(payload=json_values)
def test_random_json(model: type[Record], payload: object) -> None:
    """JSON that is no model raises ValueError and nothing else."""
    try:
        record = structure(payload, model)
    except ValueError:
        return

    assert isinstance(payload, dict)
    # What came in a wrong type stays in `extra`, and isn't sent back to the service.
    assert structure(record.to_dict(), model).to_dict() == record.to_dict()


def test_a_value_of_the_wrong_type_is_not_sent_back() -> None:
    """The field has its default, there and in JSON; `extra` has what came."""
    call = structure({"id": 5, "type": False}, ToolCall)

    assert (call.id, call.type) == ("", "function")
    assert call.extra == {"id": 5, "type": False}
    assert call.to_dict()["type"] == "function"


@pytest.mark.parametrize("model", MODELS)
@given(data=st.data())
def test_known_names_with_random_values(model: type[Record], data: st.DataObject) -> None:
    """A field of any type is taken or refused; taken, a text keeps its value."""
    names = st.sampled_from(sorted(names_of(model)))
    payload = data.draw(st.dictionaries(names, json_values))
    try:
        record = structure(payload, model)
    except ValueError:
        return

    given_texts = {key: value for key, value in payload.items() if isinstance(value, str)}
    given_texts.pop("finish_reason", None)
    aside = {key for key in payload if key in record.extra}
    assert {key: record.extra[key] for key in aside} == {key: payload[key] for key in aside}
    assert {key: record[key] for key in given_texts if key not in aside} == {
        key: text for key, text in given_texts.items() if key not in aside
    }
    assert aside or structure(record.to_dict(), model) == record


@pytest.mark.parametrize(
    ("model", "payload"),
    [
        (Response, {"output": {"text": "hi"}}),
        (Output, {"text": "hi"}),
        (Choice, {"message": {"role": "assistant", "content": "hi"}}),
        (Message, {"role": "assistant", "content": "hi"}),
        (ToolCall, {"function": {"name": "f", "arguments": "{}"}}),
        (Function, {"name": "f", "arguments": "{}"}),
        (Usage, {"input_tokens": 1, "output_tokens": 2}),
    ],
)
def test_null_is_the_same_as_missing(model: type[Record], payload: dict[str, Any]) -> None:
    """The service fills what it doesn't have with nulls, or leaves it out."""
    nulls = dict.fromkeys(names_of(model) - set(payload))

    assert structure({**nulls, **payload}, model) == structure(payload, model)


@pytest.mark.parametrize("reason", ["null", "", None])
def test_ways_to_say_that_an_answer_goes_on(reason: str | None) -> None:
    """Recorded streams send the string "null"; null and nothing mean the same."""
    for model in (Choice, Output):
        assert structure({"finish_reason": reason}, model) == model()


def test_an_unknown_null_is_kept() -> None:
    """What has no name here may mean something to the caller even as null."""
    assert structure({"logprobs": None}, Choice).to_dict()["logprobs"] is None


def test_a_message_without_a_role_is_the_assistants() -> None:
    """Pieces of a stream may leave the role out."""
    assert structure({"content": "hi"}, Message) == Message("assistant", "hi")


def test_usage_without_a_total() -> None:
    """The documented fields of old models are two; the third is their sum."""
    assert structure({"input_tokens": 2, "output_tokens": 3}, Usage).total_tokens == 5


@pytest.mark.parametrize("odd", ["input_tokens", "output_tokens", "total_tokens"])
def test_a_count_that_is_no_number(odd: str) -> None:
    """It is kept as it came, beside the counts that are."""
    counts = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

    usage = structure({**counts, odd: "many"}, Usage)

    assert usage.extra == {odd: "many"}
    assert {name: getattr(usage, name) for name in counts if name != odd} == {
        name: count for name, count in counts.items() if name != odd
    }


def test_counts_that_are_no_numbers() -> None:
    """None of them is taken for a count, though they are of one kind."""
    usage = structure({"input_tokens": "1", "output_tokens": "2", "total_tokens": 3}, Usage)

    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (0, 0, 3)
    assert usage.extra == {"input_tokens": "1", "output_tokens": "2"}


def test_a_whole_number_written_with_a_point() -> None:
    """JSON has one kind of number; 7.0 is a count."""
    usage = structure({"input_tokens": 7.0}, Usage)

    assert (usage.input_tokens, type(usage.input_tokens)) == (7, int)


REFUSED: list[tuple[object, str]] = [
    ([], "expected an object, got list"),
    ({"output": []}, r"expected an object, got list @ \$\.output"),
    ({"output": "hi"}, r"expected an object, got str @ \$\.output"),
    ({"output": {"text": 5}}, r"expected a string, got int @ \$\.output\.text"),
    ({"output": {"choices": 5}}, r"\$\.output\.choices"),
    ({"output": {"choices": {}}}, r"expected a list, got dict @ \$\.output\.choices"),
    ({"output": {"choices": ""}}, r"expected a list, got str @ \$\.output\.choices"),
    ({"output": {"choices": [None]}}, r"got NoneType @ \$\.output\.choices\[0\]"),
    (
        {"output": {"choices": [{"message": {"content": ["hi"]}}]}},
        r"expected a string, got list @ \$\.output\.choices\[0\]\.message\.content",
    ),
    (
        {"output": {"choices": [{"finish_reason": []}]}},
        r"expected a string, got list @ \$\.output\.choices\[0\]\.finish_reason",
    ),
    ({"output": {"finish_reason": 0}}, r"expected a string, got int"),
    ({"status_code": "200"}, r"expected a whole number, got str @ \$\.status_code"),
]


@pytest.mark.parametrize(("payload", "where"), REFUSED)
def test_what_is_refused(payload: object, where: str) -> None:
    """A wrong type would reach the caller as an answer; the error says where it stands."""
    with pytest.raises(ValueError, match=where):
        structure(payload, Response)


@pytest.mark.parametrize(
    "odd", ["5", True, 1.5, float("nan"), float("inf"), [], {}, -1, -1.0, 1 << 63, 1e19]
)
def test_odd_counts_do_not_spoil_an_answer(odd: object) -> None:
    """A count that is none stays in `extra`; the others are read."""
    usage = {"input_tokens": odd, "output_tokens": 2, "details": 1}

    made = structure({"output": {"text": "hi"}, "usage": usage}, Response)

    assert made.text == "hi"
    assert made.usage == Usage(0, 2, 2, extra={"input_tokens": odd, "details": 1})


@pytest.mark.parametrize("most", [0, (1 << 63) - 1])
def test_the_largest_and_the_smallest_count(most: int) -> None:
    """Counts have 63 bits, as in other programs."""
    usage = {"input_tokens": most, "output_tokens": most, "total_tokens": most}

    made = structure({"output": {"text": "hi"}, "usage": usage}, Response)

    assert made.usage == Usage(most, most, most)


@pytest.mark.parametrize("odd", [[], [5], "none", 7, False])
def test_odd_usage_does_not_spoil_an_answer(odd: object) -> None:
    """Usage that is no object counts nothing, and stays in `extra`."""
    made = structure({"output": {"text": "hi"}, "usage": odd}, Response)

    assert (made.text, made.usage, made.extra) == ("hi", None, {"usage": odd})


def test_odd_names_and_places_do_not_spoil_an_answer() -> None:
    """What stands beside an answer is put aside where its type is wrong, at every depth."""
    call: dict[str, Any] = {"function": {"name": "f", "arguments": "{}"}, "index": "0"}
    call |= {"id": 5, "type": []}
    message: dict[str, Any] = {
        "role": 7,
        "content": "hi",
        "name": [],
        "tool_call_id": {},
        "tool_calls": [call],
    }
    choice: dict[str, Any] = {"index": "0", "message": message, "finish_reason": "stop"}
    payload: dict[str, Any] = {
        "output": {"choices": [choice]},
        "request_id": 7,
        "code": 0,
        "message": [],
    }

    made = structure(payload, Response)

    assert made.extra == {"request_id": 7, "code": 0, "message": []}
    assert made.output.choices is not None
    assert made.output.choices[0].extra == {"index": "0"}
    assert made.output.choices[0].message == Message(
        "assistant",
        "hi",
        [ToolCall(Function("f", "{}"), extra={"index": "0", "id": 5, "type": []})],
        extra={"role": 7, "name": [], "tool_call_id": {}},
    )


def test_arguments_as_an_object() -> None:
    """Arguments that come as an object are the JSON text of it."""
    function = structure({"name": "f", "arguments": {"city": "杭州"}}, Function)

    assert function.arguments == '{"city": "杭州"}'


@given(usages)
def test_usage_by_hand_is_usage_by_cattrs(usage: Usage) -> None:
    """The short way for usual counts comes to what the long one does, unknown fields included."""
    payload = usage.to_dict()

    assert read_usage(payload) == structure({**payload, "input_tokens": None}, Usage).__class__(
        usage.input_tokens, usage.output_tokens, usage.total_tokens, extra=usage.extra
    )


def test_the_recorded_tool_call() -> None:
    """Tool calls are read with everything that belongs to them."""
    call = {
        "function": {"name": "weather", "arguments": '{"city":"杭州"}'},
        "index": 0,
        "id": "call_1",
        "type": "function",
    }
    message = {"role": "assistant", "content": "", "tool_calls": [call]}

    made = structure({"output": {"choices": [{"message": message}]}}, Response)

    assert made.tool_calls == (
        ToolCall(Function("weather", '{"city":"杭州"}'), 0, "call_1", "function"),
    )
    assert made.to_dict()["output"]["choices"][0]["message"] == message


@pytest.mark.parametrize("case", ["message-call", "text-call"])
def test_recordings(case: str) -> None:
    """Every field of a recorded answer is in the model's JSON, with its value."""
    payload = json.loads((SAMPLES / case / "body.json").read_bytes())

    made = structure(payload, Response).to_dict()

    assert made["request_id"] == payload["request_id"]
    assert made["usage"] == payload["usage"]
    assert made["output"] == {
        "text": None,
        "finish_reason": None,
        "choices": None,
        **payload["output"],
    }
