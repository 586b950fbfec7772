"""What the local server answers by itself where a client asks for a type: a value that fits."""

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Any, Literal

import attrs
import pytest

from llama_dashscope import Client, Message
from llama_dashscope.testing import LocalDashScope
from llama_dashscope.testing._service.schema_example import example

MODEL = "llama3.3-70b-instruct"


class Mood(enum.Enum):
    """How a day was."""

    GOOD = "good"
    BAD = "bad"


@attrs.frozen
class Place:
    """A place."""

    city: str
    area: float
    capital: bool = False


@attrs.frozen
class Day:
    """A day of a journey, with all kinds of fields."""

    at: dt.date
    noon: dt.datetime
    place: Place
    next_place: Place | None
    mood: Mood
    kind: Literal["work"]
    nothing: None
    pair: tuple[int, str]
    notes: dict[str, str]
    others: list[Day]
    anything: Any


@pytest.mark.parametrize("kind", [Day, list[Place], Place | None, Mood, int, list[list[str]]])
def test_the_answer_fits(server: LocalDashScope, kind: Any) -> None:
    """A program that asks for a type runs without a script, whether by messages or by a prompt."""
    with Client(server.api_key, base_url=server.base_url) as client:
        parsed = client.parse(MODEL, kind, messages=[Message("user", "两天罗马")], tries=1)
        again = client.parse("llama2-7b-chat-v2", kind, "Two days in Rome.", tries=1)

    assert parsed.value == again.value


def test_strings_say_which_field_they_are() -> None:
    """An example can be read."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

    assert example(schema) == {"city": "city"}


@pytest.mark.parametrize(
    "text",
    [
        "no schema",
        "the JSON Schema that I mean is known to you",
        'JSON Schema: {"type": ',
        'JSON Schema: {"a": ' + "[" * 100_000,
    ],
    ids=["none", "only the words", "cut", "deep"],
)
def test_without_a_schema_the_answer_is_a_text(server: LocalDashScope, text: str) -> None:
    """Whatever the question says, it is answered."""
    with Client(server.api_key, base_url=server.base_url) as client:
        reply = client.call("llama2-7b-chat-v2", text[:2000])

    assert reply.text.startswith("Hello!")


ODD: list[dict[str, Any]] = [
    {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
    {"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}},
    {"type": {"a": 1}, "required": {"b": 1}},
    {"type": "object", "required": [1, None, "a"], "properties": []},
    {
        "$ref": "#/$defs/A",
        "$defs": {
            "A": {
                "type": "object",
                "required": list("abcdefghij"),
                "properties": {name: {"$ref": "#/$defs/A"} for name in "abcdefghij"},
            }
        },
    },
]


@pytest.mark.parametrize("schema", ODD)
def test_no_schema_breaks_the_server(schema: dict[str, Any]) -> None:
    """What is no schema, or asks for endless values, ends in some JSON."""
    assert len(json.dumps(example(schema))) < 100_000
