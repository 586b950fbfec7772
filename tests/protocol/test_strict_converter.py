"""The strict converter: values survive, no value is converted, every mistake has its path."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar, cast

import attrs
import pytest
from shapes import Cat, Color, Dog, Level
from typing_extensions import NotRequired, Required, TypedDict

from llama_dashscope._protocol.json_schema import json_schema
from llama_dashscope._protocol.mismatches import find_mismatches
from llama_dashscope._protocol.strict_converter import strict_converter
from llama_dashscope._protocol.type_forms import JSON, TypeForm

T = TypeVar("T")
UserId = NewType("UserId", int)


@attrs.frozen
class Stop:
    """A place on the way."""

    city: str
    nights: int = attrs.field(default=1, validator=attrs.validators.ge(1))


class Person(TypedDict):
    """A TypedDict with a field that may be missing."""

    name: str
    age: NotRequired[Annotated[int, "in years"]]


class Partial(TypedDict, total=False):
    """A TypedDict with a field that may not be missing."""

    name: Required[str]
    people: list[Person]


@attrs.frozen
class Box(Generic[T]):
    """A generic class."""

    item: T
    others: tuple[T, ...] = ()


@attrs.frozen
class Pages(Box[list[T]], Generic[T]):
    """A generic class whose base has a parameter of the same name."""

    first: T = attrs.field(kw_only=True)


@dataclasses.dataclass
class Pair(Generic[T]):
    """A generic dataclass."""

    left: T
    right: T | None = None


@dataclasses.dataclass
class Numbered(Pair[int]):
    """A class that fills in its base's parameter, and has its own type for one field."""

    right: str  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


@attrs.frozen
class Shelf:
    """A class with a generic one whose parameter nobody gives."""

    box: Box  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]


@attrs.frozen
class Node:
    """A class that holds itself."""

    name: str
    children: list[Node] = attrs.field(factory=list["Node"])
    following: Node | None = None


def read(value: JSON, kind: TypeForm) -> Any:  # of that type
    """Read a value, of a type that has a schema."""
    assert json_schema(kind) is not None
    return strict_converter.structure(value, kind)


def problems(value: JSON, kind: TypeForm) -> list[str]:
    """Read a value that does not fit; return what is wrong."""
    assert json_schema(kind) is not None
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever cattrs raises
        strict_converter.structure(value, kind)
    return list(map(str, find_mismatches(caught.value)))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    cast(
        "list[tuple[JSON, TypeForm, object]]",
        [
            ("x", str, "x"),
            (2, int, 2),
            (2, float, 2.0),
            (2.5, float, 2.5),
            (True, bool, True),
            (None, None, None),
            ({"a": [1]}, Any, {"a": [1]}),
            ("red", Color, Color.RED),
            (2, Level, Level.HIGH),
            ("red", Literal[Color.RED, 1], Color.RED),
            (7, UserId, UserId(7)),
            ("2026-01-31", dt.date, dt.date(2026, 1, 31)),
            ("2026-01-31T09:30:00", dt.datetime, dt.datetime(2026, 1, 31, 9, 30)),  # noqa: DTZ001
            (
                "2026-01-31 09:30:00.5Z",
                dt.datetime,
                dt.datetime(2026, 1, 31, 9, 30, 0, 500_000, tzinfo=dt.timezone.utc),
            ),
            ([1, 2], list[int], [1, 2]),
            ([1, "x"], list, [1, "x"]),
            ([1, 2], tuple[int, ...], (1, 2)),
            ([1, "x"], tuple[int, str], (1, "x")),
            ([1, 2], Sequence[int], (1, 2)),
            ([1, 2], Collection[int], (1, 2)),
            (["a"], set[str], {"a"}),
            (["a"], frozenset[str], frozenset({"a"})),
            ({"a": 1}, dict[str, int], {"a": 1}),
            ({"a": 1}, dict, {"a": 1}),
            ({"a": 1}, Mapping[str, int], {"a": 1}),
            ({"city": "Rome"}, Stop, Stop("Rome")),
            ({"city": "Rome"}, Annotated[Stop, "where"], Stop("Rome")),
            ({"kind": "dog", "name": "Rex"}, Cat | Dog, Dog("dog", "Rex")),
            ({"kind": "cat", "name": "Tom"}, Cat | Dog | None, Cat("cat", "Tom")),
            (None, Cat | Dog | None, None),
            ("1", int | str, "1"),
            ({"name": "Ann"}, Person, {"name": "Ann"}),
            ({"name": "Ann", "age": 3}, Person, {"name": "Ann", "age": 3}),
            ({"name": "B", "people": []}, Partial, {"name": "B", "people": []}),
            ({"item": 1, "others": [2]}, Box[int], Box(1, (2,))),
            ({"item": {"city": "Rome"}}, Box[Stop], Box(Stop("Rome"))),
            ({"item": "x", "others": [1]}, Box, Box("x", (1,))),
            ({"box": {"item": "x"}}, Shelf, Shelf(Box("x"))),
            ({"item": [1], "first": 2}, Pages[int], Pages([1], first=2)),
            ({"left": 1, "right": "x"}, Numbered, Numbered(1, "x")),
            (
                {"name": "a", "children": [{"name": "b"}], "following": {"name": "c"}},
                Node,
                Node("a", [Node("b")], Node("c")),
            ),
        ],
    ),
)
def test_what_fits_is_read(value: JSON, kind: TypeForm, expected: object) -> None:
    """Every type that has a schema has its values."""
    result = read(value, kind)

    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    cast(
        "list[tuple[JSON, TypeForm, list[str]]]",
        [
            ("2", int, ["$: expected a whole number, got '2'"]),
            (2.0, int, ["$: expected a whole number, got 2.0"]),
            (True, int, ["$: expected a whole number, got true"]),
            ("2.5", float, ["$: expected a number, got '2.5'"]),
            (False, float, ["$: expected a number, got false"]),
            (2**53 + 1, float, ["$: expected a number, got 9007199254740993"]),
            (10**400, float, [f"$: expected a number, got {'1' + 59 * '0'}..."]),
            (1, bool, ["$: expected true or false, got 1"]),
            (
                {"item": 1, "others": [["x"]], "first": "y", "more": 2},
                Pages[int],
                [
                    "$.item: expected an array, got 1",
                    "$.others[0][0]: expected a whole number, got 'x'",
                    "$.first: expected a whole number, got 'y'",
                    "$.more: is not a known field",
                ],
            ),
            (
                {"left": "x", "right": 1},
                Numbered,
                [
                    "$.left: expected a whole number, got 'x'",
                    "$.right: expected a string, got 1",
                ],
            ),
            ("true", bool, ["$: expected true or false, got 'true'"]),
            (2, str, ["$: expected a string, got 2"]),
            ("null", None, ["$: expected null, got 'null'"]),
            ("RED", Color, ["$: expected 'red' or 'blue', got 'RED'"]),
            (True, Level, ["$: expected 1 or 2, got true"]),
            ([], Literal["a"], ["$: expected 'a', got an array"]),
            ("31.1.2026", dt.date, ["$: expected a date such as '2026-01-31', got '31.1.2026'"]),
            ("2026-13-01", dt.date | None, ["$: month must be in 1..12"]),
            (
                "2026-01-31",
                dt.datetime,
                ["$: expected a date and time such as '2026-01-31T09:30:00Z', got '2026-01-31'"],
            ),
            ("ab", list[str], ["$: expected an array, got 'ab'"]),
            ({"0": 1}, list[int], ["$: expected an array, got an object"]),
            (
                [1, "2", None],
                list[int],
                [
                    "$[1]: expected a whole number, got '2'",
                    "$[2]: expected a whole number, got null",
                ],
            ),
            ([1], tuple[int, str], ["$: expected 2 items, got 1"]),
            (["a", "a"], set[str], ["$: an item appears twice"]),
            ([["a", 1]], dict[str, int], ["$: expected an object, got an array"]),
            ({"a b": "1"}, dict[str, int], ["$['a b']: expected a whole number, got '1'"]),
            ([{"city": "Rome"}], Stop, ["$: expected an object, got an array"]),
            (
                {"nights": "2", "hotel": 1},
                Stop,
                [
                    "$.city: is missing",
                    "$.nights: expected a whole number, got '2'",
                    "$.hotel: is not a known field",
                ],
            ),
            ({"city": "Rome", "nights": 0}, Stop, ["$: 'nights' must be >= 1: 0"]),
            ({"kind": "cat", "name": 1}, Cat | Dog, ["$.name: expected a string, got 1"]),
            (1, Cat | Dog | None, ["$: expected an object or null, got 1"]),
            (1.5, int | str, ["$: expected a whole number or a string, got 1.5"]),
            (
                {"age": "3", "size": 1},
                Person,
                [
                    "$.name: is missing",
                    "$.size: is not a known field",
                    "$.age: expected a whole number, got '3'",
                ],
            ),
            ({"people": [{}]}, Partial, ["$.name: is missing", "$.people[0].name: is missing"]),
            ([1], Person, ["$: expected an object, got an array"]),
            ({"item": "1"}, Box[int], ["$.item: expected a whole number, got '1'"]),
            (
                {"name": "a", "children": [{"name": "b", "following": {"name": 1}}]},
                Node,
                ["$.children[0].following.name: expected a string, got 1"],
            ),
        ],
    ),
)
def test_what_does_not_fit_is_refused(value: JSON, kind: TypeForm, expected: list[str]) -> None:
    """Nothing is converted, and every mistake is named with its path."""
    found = problems(value, kind)

    assert sorted(expected) == sorted(found)


def test_a_mistake_is_shown_harmless_and_short() -> None:
    """What a model writes can't fill a log or write lines into it."""
    odd, long = problems({"x" * 1000: 1, "a\nb\x1b": 2, "city": "Rome"}, Stop)

    assert f"$['{'x' * 59}...]: is not a known field" == long
    assert odd == "$['a\\nb\\x1b']: is not a known field"


def test_what_a_class_says_is_shown_harmless_and_short() -> None:
    """The words of a validator are bounded, too."""

    def refuse(_self: object, _field: object, _value: str) -> None:
        raise ValueError("no\n" * 1000)

    @attrs.frozen
    class Picky:
        name: str = attrs.field(validator=refuse)
        sure: bool = True

    @attrs.frozen
    class Silent:
        name: str

        def __attrs_post_init__(self) -> None:
            raise KeyError

    assert [f"$: {'no ' * 60}..."] == problems({"name": "x"}, Picky)
    assert problems({"name": "x"}, Silent) == ["$: KeyError"]


def test_a_literal_with_many_options_is_shown_short() -> None:
    """An error does not list a hundred options."""
    many = cast("Any", Literal)[tuple(f"value {number}" for number in range(100))]

    assert problems("x", many) == ["$: expected one of 100 values, got 'x'"]
