"""The format of a structured answer: how it is asked for, and what is read out of an answer."""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs
import pytest

from llama_dashscope import InvalidRequestError
from llama_dashscope._protocol.answer_format import AnswerFormat, Reading


@attrs.frozen
class Stop:
    """A place on the way."""

    city: str
    nights: int = 1


@attrs.frozen
class Trip:
    """A trip through some cities."""

    name: str
    stops: list[Stop]


@attrs.frozen
class Node:
    """A class that holds itself."""

    name: str
    following: Node | None = None


TRIP = AnswerFormat(Trip)
ASKED = TRIP.instruction
USER = {"role": "user", "content": "两天罗马"}


def test_the_instruction_has_the_schema() -> None:
    """A model is told what to answer in one sentence and a JSON Schema."""
    sentence, _, schema = ASKED.partition("\n")

    assert sentence == (
        "Answer with one JSON object that fits this JSON Schema, and with nothing else:"
    )
    assert json.loads(schema)["required"] == ["name", "stops"]


@pytest.mark.parametrize(
    ("kind", "noun"),
    [
        (list[int], "JSON array"),
        (Literal["a"], "JSON value"),
        (Stop, "JSON object"),
        (str | None, "JSON value"),
        (Node, "JSON object"),
    ],
)
def test_the_instruction_names_the_kind(kind: Any, noun: str) -> None:
    """An array is not asked for as an object."""
    assert AnswerFormat(kind).instruction.startswith(f"Answer with one {noun} that fits")


def test_the_instruction_is_written_as_people_read_it() -> None:
    """Chinese stays Chinese; escapes would cost six characters for each one."""
    kind = attrs.make_class("Journey", {"城市": attrs.field(type=str)})

    assert '"城市": {"type": "string"}' in AnswerFormat(kind).instruction


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"prompt": "Go."}, {"prompt": f"Go.\n\n{ASKED}"}),
        (
            {"messages": [USER]},
            {"messages": [{"role": "system", "content": ASKED}, USER]},
        ),
        (
            {"messages": [{"role": "system", "content": "Be brief.", "name": "x"}, USER]},
            {
                "messages": [
                    {"role": "system", "content": f"Be brief.\n\n{ASKED}", "name": "x"},
                    USER,
                ]
            },
        ),
        (
            {"messages": [{"role": "system", "content": [{"text": "Be brief."}]}, USER]},
            {
                "messages": [
                    {"role": "system", "content": [{"text": "Be brief."}, {"text": ASKED}]},
                    USER,
                ]
            },
        ),
    ],
    ids=["prompt", "no system message", "a system message", "one in parts"],
)
def test_the_schema_goes_where_the_service_takes_it(
    content: dict[str, Any], expected: dict[str, Any]
) -> None:
    """There is one system message, the first one, whatever the caller's conversation has."""
    before = json.dumps(content)

    assert TRIP.ask(content) == expected
    assert json.dumps(content) == before


@pytest.mark.parametrize(
    ("answer", "said"), [("{}", "{}"), ("", "(nothing)"), ("\n ", "(nothing)")]
)
def test_the_next_question_quotes_answer_and_mistakes(answer: str, said: str) -> None:
    """The model sees its answer and what is wrong with it; no message is empty."""
    wrong = TRIP.read('{"name": 1, "stops": [{"city": "Rome", "nights": "2"}]}').mismatches

    *first, assistant, user = TRIP.ask_again({"messages": [USER]}, answer, wrong)["messages"]

    assert first == [USER]
    assert assistant == {"role": "assistant", "content": said}
    assert user["role"] == "user"
    assert user["content"] == (
        "This does not fit the schema:\n"
        "- $.name: expected a string, got 1\n"
        "- $.stops[0].nights: expected a whole number, got '2'\n"
        "Answer again: the whole JSON, corrected."
    )


def test_a_prompt_is_asked_again_in_one_text() -> None:
    """Where there is no conversation everything stands in the prompt."""
    wrong = TRIP.read("No.").mismatches

    assert TRIP.ask_again({"prompt": "Go."}, "No.", wrong) == {
        "prompt": "Go.\n\nYour answer was:\nNo.\n\n"
        "This does not fit the schema:\n- $: expected JSON, found none in the text\n"
        "Answer again: the whole JSON, corrected."
    }


def test_a_model_is_told_of_twenty_mistakes() -> None:
    """The next question stays short, however much is wrong."""
    wrong = AnswerFormat(list[int]).read(json.dumps(["x"] * 100)).mismatches
    text = TRIP.ask_again({"prompt": ""}, "x", wrong)["prompt"]

    assert len(wrong) == 100
    assert "$[19]: " in text
    assert "$[20]: " not in text


def test_an_answer_is_read() -> None:
    """JSON that fits becomes an instance; prose around it does not matter."""
    text = 'Sure: ```json\n{"name": "Italy", "stops": [{"city": "Rome"}]}\n```'

    assert TRIP.read(text) == Reading(Trip("Italy", [Stop("Rome")]))


def test_an_array_is_looked_for_where_one_is_wanted() -> None:
    """The type decides which brackets in a text are the answer."""
    assert AnswerFormat(list[int]).read("Of {} I choose [1, 2].").value == [1, 2]


def test_the_mistakes_of_the_wanted_kind_are_told() -> None:
    """Brackets of another kind are no second answer that would have to be told apart."""
    text = '{"name": 1, "stops": []}, as in ["a"]'

    assert [each.path for each in TRIP.read(text).mismatches] == ["$.name"]
    assert [each.path for each in AnswerFormat(list[int]).read(text).mismatches] == ["$[0]"]


UNKNOWN = (
    '{"name": "Italy", "mood": "good", "stops": [{"city": "Rome", "hotel": {"stars": 4}},'
    ' {"city": "Bari", "hotel": null}]}'
)


def test_unknown_fields_are_mistakes() -> None:
    """By default a field that a class doesn't have is one, with its path."""
    assert [each.path for each in TRIP.read(UNKNOWN).mismatches] == [
        "$.stops[0].hotel",
        "$.stops[1].hotel",
        "$.mood",
    ]


def test_unknown_fields_are_kept() -> None:
    """Where the caller wants it so, they make no mistake and are not lost."""
    found = AnswerFormat(Trip, "keep").read(UNKNOWN)

    assert found == Reading(
        Trip("Italy", [Stop("Rome"), Stop("Bari")]),
        {
            ("mood",): "good",
            ("stops", 0, "hotel"): {"stars": 4},
            ("stops", 1, "hotel"): None,
        },
    )


def test_with_unknown_fields_kept_other_mistakes_remain() -> None:
    """Keeping what is too much forgives nothing else."""
    found = AnswerFormat(Trip, "keep").read('{"name": 1, "mood": 2, "stops": []}')

    assert list(map(str, found.mismatches)) == ["$.name: expected a string, got 1"]
    assert found.value is None


def test_unknown_fields_of_a_union_are_kept() -> None:
    """The member of a union is found first, by what fits it best."""
    wanted = AnswerFormat(list[Stop | Trip], "keep")

    found = wanted.read('[{"name": "a", "stops": [], "x": 1}, {"city": "b", "y": 2}]')

    assert found == Reading([Trip("a", []), Stop("b")], {(0, "x"): 1, (1, "y"): 2})


def test_what_can_not_be_right_is_refused() -> None:
    """A wrong argument is named."""
    with pytest.raises(InvalidRequestError, match="unknown_fields must be 'refuse' or 'keep'"):
        AnswerFormat(Trip, "forbid")
    with pytest.raises(InvalidRequestError, match="into: complex has no form in JSON"):
        AnswerFormat(complex)
