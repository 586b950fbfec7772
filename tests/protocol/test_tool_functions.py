"""Typed functions as tools: what a model is told of them, and how their arguments are read."""

from __future__ import annotations

import enum
import functools
import json
import pickle
from collections.abc import Callable
from typing import Annotated, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import Function, InvalidRequestError, ParseError, ToolCall, read_arguments
from llama_dashscope._protocol.tool_functions import tool_schema


class Unit(enum.Enum):
    """What a temperature is measured in."""

    CELSIUS = "celsius"
    KELVIN = "kelvin"


@attrs.frozen
class Place:
    """A place on Earth."""

    city: str
    country: str | None = None


async def weather(
    place: Place, days: Annotated[int, "how many, from today"] = 1, *, unit: Unit = Unit.CELSIUS
) -> str:
    """Tell the weather.

    Knows the whole world,
    but only the next week.

    Args:
        place: Where. It may be a village:
            it is looked up.
        days: overridden by the annotation.
        unit (Unit, optional): what to measure in.

    Returns:
        A sentence.
    """
    return f"{place} {days} {unit}"


def test_a_function_is_described() -> None:
    """Name, docstring and parameters become what the service wants a tool to be."""
    assert tool_schema(weather) == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.\n\nKnows the whole world, but only the next week.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {
                        "description": "Where. It may be a village: it is looked up.",
                        "type": "object",
                        "properties": {
                            "city": {"type": "string"},
                            "country": {"type": ["string", "null"]},
                        },
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                    "days": {"type": "integer", "description": "how many, from today"},
                    "unit": {
                        "enum": ["celsius", "kelvin"],
                        "description": "what to measure in.",
                    },
                },
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    }


def google(a: int, b: int) -> None:
    """Add.

    Args:
        a (int): one
        b: other
    """


def sphinx(a: int, b: int) -> None:
    """Add.

    :param a: one
    :param int b: other
    :return: nothing
    """


def numpy(a: int, b: int) -> int:
    """Add.

    Parameters
    ----------
    a : int
        one

    b
        other

    Returns
    -------
    int
        The sum.
    """  # noqa: D416  # NumPy's style has no colons
    return a + b


def with_marks(a: Annotated[int, 1], b: Annotated[int, object()]) -> None:
    """Add.

    Args:
        a: one
        b: other
    """


def chinese(a: int, b: int) -> None:
    """Add.

    参数：
        a：one
        b: other

    返回：
        没有
    """


def in_one_line(a: Annotated[int, "one"], b: Annotated[int, "other"]) -> None:
    """Add."""


@pytest.mark.parametrize("function", [google, sphinx, numpy, with_marks, chinese, in_one_line])
def test_docstrings_of_each_style_are_read(function: Callable[..., object]) -> None:
    """Google's, Sphinx's, NumPy's and Chinese ones; texts in Annotated need none."""
    described = tool_schema(function)["function"]

    assert described["description"] == "Add."
    assert described["parameters"]["properties"] == {
        "a": {"type": "integer", "description": "one"},
        "b": {"type": "integer", "description": "other"},
    }


def test_without_a_docstring_there_is_no_description() -> None:
    """Nothing is made up."""

    def now() -> str:
        return "12:00"

    assert tool_schema(now)["function"] == {
        "name": "now",
        "parameters": {
            "type": "object",
            "properties": {},
            "required": [],
            "additionalProperties": False,
        },
    }
    assert read_arguments(now, called("")) == {}
    assert now(**read_arguments(now, called("{}"))) == "12:00"


class Station:
    """Something with methods."""

    def temperature(self, hour: int) -> int:
        """Tell the temperature."""
        return hour


def test_a_method_is_a_tool_too() -> None:
    """Of a bound method `self` is no parameter."""
    method = Station().temperature

    assert tool_schema(method)["function"]["parameters"]["required"] == ["hour"]
    assert method(**read_arguments(method, called('{"hour": 3}'))) == 3


def called(arguments: str) -> ToolCall:
    """Make a call as a model makes one."""
    return ToolCall(Function("weather", arguments), id="call_1")


def test_arguments_come_in_the_types_of_the_function() -> None:
    """What the function asks for is what it gets; what was left out stays out."""
    given_ = '{"place": {"city": "Rome"}, "unit": "kelvin"}'

    assert read_arguments(weather, called(given_)) == {"place": Place("Rome"), "unit": Unit.KELVIN}


@pytest.mark.parametrize(
    ("arguments", "paths", "words"),
    [
        ("", ("$.place",), "$.place: is missing"),
        ('{"place"', ("$",), "$: the JSON is incomplete"),
        ('{"place": "Rome"}', ("$.place",), "$.place: expected an object, got 'Rome'"),
        (
            '{"place": {"city": 1}, "days": "2", "x": 0}',
            ("$.x", "$.place.city", "$.days"),
            "$.x: is not a known field (and 2 more)",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: str, paths: tuple[str, ...], words: str) -> None:
    """The error's text is fit to be the model's answer: it says what to do better."""
    with pytest.raises(ParseError) as caught:
        read_arguments(weather, called(arguments))

    assert str(caught.value) == f"the arguments of weather don't fit: {words}"
    assert caught.value.paths == paths
    assert caught.value.partial_text == arguments
    assert pickle.loads(pickle.dumps(caught.value)).paths == paths


def no_type(city: str) -> None:
    """Show what happens without a type."""


del no_type.__annotations__["city"]


def many(*cities: str) -> None:
    """Show what happens to arguments without names."""


def by_place(city: str, /) -> None:
    """Show what happens to arguments without names."""


def lost(city: str) -> None:
    """Show what happens to a type that is not there."""


lost.__annotations__["city"] = "Nowhere"


def odd(number: complex) -> None:
    """Show what happens to a type that JSON does not have."""


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (no_type, "tools: the parameter city of no_type has no type"),
        (many, "tools: many takes *cities: str: a tool takes only named arguments"),
        (by_place, "tools: by_place takes city: str: a tool takes only named arguments"),
        (lost, "tools: lost can't be read: name 'Nowhere' is not defined"),
        (odd, "tools: odd.number: complex has no form in JSON"),
        (lambda: 1, "tools: function has no name; use a function"),
        (functools.partial(google, 1), "tools: partial has no name; use a function"),
    ],
)
def test_what_is_no_tool_is_refused(function: Callable[..., object], reason: str) -> None:
    """The error names what is wrong with the function."""
    with pytest.raises(InvalidRequestError) as caught:
        tool_schema(function)

    assert caught.value.message == reason


@given(
    values=st.fixed_dictionaries(
        {"a": st.integers() | st.text(), "b": st.integers() | st.booleans() | st.none()}
    )
)
def test_arguments_are_taken_as_they_are_or_refused(values: dict[str, Any]) -> None:
    """No value is converted, whatever a model writes."""
    fits = {name: type(value) is int for name, value in values.items()}
    call = called(json.dumps(values))

    if all(fits.values()):
        assert read_arguments(google, call) == values
    else:
        with pytest.raises(ParseError) as caught:
            read_arguments(google, call)
        assert caught.value.paths == tuple(f"$.{name}" for name in fits if not fits[name])
