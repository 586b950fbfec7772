"""JSON Schema of types: what is written for a model to read, and which types are refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from types import GenericAlias
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, cast

import attrs
import pytest
from typing_extensions import NotRequired, Required, TypeAliasType, TypedDict

from llama_dashscope import InvalidRequestError
from llama_dashscope._protocol.json_schema import json_schema
from llama_dashscope._protocol.type_forms import TypeForm

T = TypeVar("T")
UserId = NewType("UserId", int)
Age = TypeAliasType("Age", int)
STRING = {"type": "string"}
INTEGER = {"type": "integer"}


class Color(enum.Enum):
    """Words that a schema does not need."""

    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Stop:
    """A place on the way.

    This is for people who read the code.
    """

    city: Annotated[str, "Name in English"]
    nights: int = 1
    _note: str = ""
    key: str = attrs.field(init=False, default="")


STOP = {
    "description": "A place on the way.",
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Name in English"},
        "nights": INTEGER,
        "_note": STRING,
    },
    "required": ["city"],
    "additionalProperties": False,
}


@dataclasses.dataclass
class Day:  # noqa: D101  # what dataclass writes for a docstring is no description
    date: dt.date
    tags: list[str] = dataclasses.field(default_factory=list[str])
    number: int = dataclasses.field(init=False, default=0)


class Person(TypedDict):
    """A person."""

    name: str
    age: NotRequired[Annotated[int, "in years"]]


class Partial(TypedDict, total=False):
    """Fields that may be missing, but for one."""

    name: Annotated[Required[str], "needed"]
    age: int


@attrs.frozen
class Trip:
    """Two uses of one class."""

    start: Annotated[Stop, "where it begins"]
    stops: list[Stop]


@attrs.frozen
class Node:
    """A class that holds itself."""

    children: list[Node]


@attrs.frozen
class Box(Generic[T]):
    """A generic class."""

    item: T
    items: list[T]


@attrs.frozen
class Boxes(Box[list[T]], Generic[T]):
    """A generic class whose base has a parameter of the same name."""

    first: T


@attrs.frozen
class Numbers(Boxes[int]):
    """A class that fills in its base's parameter."""


@pytest.mark.parametrize("kind", [Boxes[int], Numbers])
def test_a_class_knows_what_its_bases_were_given(kind: TypeForm) -> None:
    """The model is told the same types as those by which its answer is read."""
    integers = {"type": "array", "items": INTEGER}

    assert json_schema(kind)["properties"] == {
        "item": integers,
        "items": {"type": "array", "items": integers},
        "first": INTEGER,
    }


@pytest.mark.parametrize(
    ("kind", "schema"),
    cast(
        "list[tuple[TypeForm, dict[str, Any]]]",
        [
            (str, STRING),
            (int, INTEGER),
            (float, {"type": "number"}),
            (bool, {"type": "boolean"}),
            (None, {"type": "null"}),
            (Any, {}),
            (dt.date, {"type": "string", "format": "date"}),
            (dt.datetime, {"type": "string", "format": "date-time"}),
            (UserId, INTEGER),
            (Color, {"enum": ["red", "blue"]}),
            (Literal["a", 1, True], {"enum": ["a", 1, True]}),
            (Literal[Color.RED], {"const": "red"}),
            (Optional[int], {"type": ["integer", "null"]}),  # noqa: UP045  # the old way to write it
            (int | Color, {"anyOf": [INTEGER, {"enum": ["red", "blue"]}]}),
            (list[int], {"type": "array", "items": INTEGER}),
            (list, {"type": "array", "items": {}}),
            (tuple[int, ...], {"type": "array", "items": INTEGER}),
            (set[int], {"type": "array", "items": INTEGER, "uniqueItems": True}),
            (
                tuple[int, str],
                {"type": "array", "prefixItems": [INTEGER, STRING], "items": False, "minItems": 2},
            ),
            (dict[str, int], {"type": "object", "additionalProperties": INTEGER}),
            (dict, {"type": "object", "additionalProperties": {}}),
            (Age, INTEGER),
            (Annotated[int, 7, "how many"], {"type": "integer", "description": "how many"}),
            (Stop, STOP),
            (
                Day,
                {
                    "type": "object",
                    "properties": {
                        "date": {"type": "string", "format": "date"},
                        "tags": {"type": "array", "items": STRING},
                    },
                    "required": ["date"],
                    "additionalProperties": False,
                },
            ),
            (
                Person,
                {
                    "description": "A person.",
                    "type": "object",
                    "properties": {"name": STRING, "age": {**INTEGER, "description": "in years"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            ),
            (
                Partial,
                {
                    "description": "Fields that may be missing, but for one.",
                    "type": "object",
                    "properties": {"name": {**STRING, "description": "needed"}, "age": INTEGER},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            ),
            (
                Trip,
                {
                    "description": "Two uses of one class.",
                    "type": "object",
                    "properties": {
                        "start": {"$ref": "#/$defs/Stop", "description": "where it begins"},
                        "stops": {"type": "array", "items": {"$ref": "#/$defs/Stop"}},
                    },
                    "required": ["start", "stops"],
                    "additionalProperties": False,
                    "$defs": {"Stop": STOP},
                },
            ),
            (
                Node,
                {
                    "$ref": "#/$defs/Node",
                    "$defs": {
                        "Node": {
                            "description": "A class that holds itself.",
                            "type": "object",
                            "properties": {
                                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}
                            },
                            "required": ["children"],
                            "additionalProperties": False,
                        }
                    },
                },
            ),
            (
                Box[int],
                {
                    "description": "A generic class.",
                    "type": "object",
                    "properties": {"item": INTEGER, "items": {"type": "array", "items": INTEGER}},
                    "required": ["item", "items"],
                    "additionalProperties": False,
                },
            ),
            (
                Box,
                {
                    "description": "A generic class.",
                    "type": "object",
                    "properties": {"item": {}, "items": {"type": "array", "items": {}}},
                    "required": ["item", "items"],
                    "additionalProperties": False,
                },
            ),
            (
                list[Annotated[Stop, "said here"]],
                {"type": "array", "items": {**STOP, "description": "said here"}},
            ),
        ],
    ),
)
def test_a_type_has_a_schema(kind: TypeForm, schema: dict[str, Any]) -> None:
    """A schema says what a model needs to know, and no more."""
    assert json_schema(kind) == schema


def test_a_field_of_an_old_class_has_its_type() -> None:
    """Attrs classes without annotations are taken, with any value where they have no type.

    Where a class has no docstring, its schema has no description.
    """
    fields = {"number": attrs.field(type=int), "any": attrs.field()}
    old = attrs.define(type("Old", (), fields), auto_attribs=False)

    assert json_schema(old) == {
        "type": "object",
        "properties": {"number": INTEGER, "any": {}},
        "required": ["number", "any"],
        "additionalProperties": False,
    }


def test_two_classes_of_one_name_are_told_apart() -> None:
    """A definition is of one class."""
    other: Any = attrs.make_class("Stop", {"name": attrs.field(type=str)})

    definitions = json_schema(GenericAlias(tuple, (Stop, Stop, other, other)))["$defs"]

    assert set(definitions) == {"Stop", "Stop2"}


Unreadable = NewType("Unreadable", complex)


def nowhere() -> type[Any]:
    """Make a class with an annotation that leads nowhere."""

    @attrs.frozen
    class Lost:
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    return Lost


@pytest.mark.parametrize(
    ("kind", "reason"),
    cast(
        "list[tuple[TypeForm, str]]",
        [
            (complex, "into: complex has no form in JSON"),
            (bytes, "into: bytes has no form in JSON"),
            (list[complex], "into[]: complex has no form in JSON"),
            (
                attrs.make_class("Bad", {"z": attrs.field(type=complex)}),
                "Bad.z: complex has no form in JSON",
            ),
            (tuple[int, complex], "into[1]: complex has no form in JSON"),
            (dict[int, str], "into: the keys must be str, as in any JSON object"),
            (Literal[b"x"], "into: b'x' has no form in JSON"),
            ({"type": "object"}, "into: {'type': 'object'} is not a type"),
            (
                "Stop",
                (
                    "into: 'Stop' is a name in quotes, which Python 3.10 can't resolve; "
                    "put the whole annotation in quotes"
                ),
            ),
            (Unreadable, "into: complex has no form in JSON"),
            (7, "into: 7 has no form in JSON"),
            (
                nowhere(),
                "into: an annotation of Lost can't be resolved: name 'Nowhere' is not defined",
            ),
        ],
    ),
)
def test_a_type_without_a_form_in_json_is_refused(kind: TypeForm, reason: str) -> None:
    """The error names the part of the type that JSON has no form for."""
    with pytest.raises(InvalidRequestError) as caught:
        json_schema(kind)

    assert caught.value.message == reason
