"""The strict converter: values survive, no value is converted, every mistake has its path."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from types import GenericAlias
from typing import Annotated, Any, Generic, Literal, NewType, TypeGuard, TypeVar, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import NotRequired, Required, TypedDict

from llama_dashscope._protocol.json_schema import json_schema
from llama_dashscope._protocol.mismatches import find_mismatches
from llama_dashscope._protocol.strict_converter import strict_converter
from llama_dashscope._protocol.type_forms import JSON, TypeForm

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(str, enum.Enum):
    """Strings with names."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1
    HIGH = 2


@attrs.frozen
class Stop:
    """A place on the way."""

    city: str
    nights: int = attrs.field(default=1, validator=attrs.validators.ge(1))


@attrs.frozen
class Cat:
    """A class that a field tells from another."""

    kind: Literal["cat"]
    name: str
    lives: int = 9


@dataclasses.dataclass
class Dog:
    """A class that a field tells from another."""

    kind: Literal["dog"]
    name: str


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
            (["a", "a"], set[str], ["$: an item stands twice"]),
            ([["a", 1]], dict[str, int], ["$: expected an object, got an array"]),
            ({"a b": "1"}, dict[str, int], ["$['a b']: expected a whole number, got '1'"]),
            ([{"city": "Rome"}], Stop, ["$: expected an object, got an array"]),
            (
                {"nights": "2", "hotel": 1},
                Stop,
                [
                    "$.city: is missing",
                    "$.nights: expected a whole number, got '2'",
                    "$.hotel: is no field here",
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
                    "$.size: is no field here",
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

    assert f"$['{'x' * 59}...]: is no field here" == long
    assert odd == "$['a\\nb\\x1b']: is no field here"


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


@attrs.frozen
class Shape:
    """A type, and the values that it has."""

    kind: Any
    values: st.SearchStrategy[Any]


TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
LEAVES = [
    Shape(str, TEXT),
    Shape(int, st.integers()),
    Shape(float, FLOATS),
    Shape(bool, st.booleans()),
    Shape(Color, st.sampled_from(Color)),
    Shape(Level, st.sampled_from(Level)),
    Shape(Literal["a", 1] | None, st.sampled_from(["a", 1, None])),
    Shape(int | str, st.integers() | TEXT),
    Shape(Cat | Dog, st.builds(Cat, st.just("cat"), TEXT) | st.builds(Dog, st.just("dog"), TEXT)),
    Shape(dt.date, st.dates()),
    Shape(dt.datetime, st.datetimes(timezones=st.none() | st.just(dt.timezone.utc))),
    Shape(Any, ANY_JSON),
]
NAMES = ["name", "天数", "class_", "_private"]
numbers = count()


def collections(inner: Shape) -> st.SearchStrategy[Shape]:
    """Make arrays and objects of a type."""
    kind, values = inner.kind, inner.values
    return st.sampled_from(
        [
            Shape(GenericAlias(list, (kind,)), st.lists(values, max_size=3)),
            Shape(GenericAlias(tuple, (kind, ...)), st.lists(values, max_size=3).map(tuple)),
            Shape(GenericAlias(tuple, (int, kind)), st.tuples(st.integers(), values)),
            Shape(GenericAlias(dict, (str, kind)), st.dictionaries(TEXT, values, max_size=3)),
            Shape(kind | None if kind is not Any else Any, values | st.none()),
            Shape(cast("Any", Annotated)[kind, "with a description"], values),
        ]
    )


def classes(inner: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    """Make classes of each kind, with fields of other types; the last one has a default."""
    fields = st.dictionaries(st.sampled_from(NAMES), inner, min_size=1)
    return st.builds(_class, st.sampled_from([_attrs, _dataclass, _typed_dict]), fields)


def _class(make: Callable[[str, dict[str, Any]], Any], fields: dict[str, Shape]) -> Shape:
    made = make(f"Made{next(numbers)}", {name: field.kind for name, field in fields.items()})
    values = [field.values for field in fields.values()]
    if make is _typed_dict:
        return Shape(made, st.fixed_dictionaries({k: f.values for k, f in fields.items()}))
    return Shape(made, st.builds(made, *values))


def _attrs(name: str, fields: dict[str, Any]) -> type[Any]:
    last = list(fields)[-1]
    return attrs.make_class(
        name,
        {
            each: attrs.field(type=kind, default=DEFAULT)
            if each == last
            else attrs.field(type=kind)
            for each, kind in fields.items()
        },
    )


def _dataclass(name: str, fields: dict[str, Any]) -> type[Any]:
    *others, last = fields.items()
    return dataclasses.make_dataclass(name, [*others, (*last, DEFAULT)])


def _typed_dict(name: str, fields: dict[str, Any]) -> Any:  # a type
    return cast("Any", TypedDict)(name, fields)


DEFAULT = "the default"
SHAPES = st.recursive(
    st.sampled_from(LEAVES), lambda inner: inner.flatmap(collections) | classes(inner), max_leaves=4
)


def is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether a value is an object in JSON."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether a value is an array in JSON."""
    return isinstance(value, list | tuple)


def plain(value: Any) -> JSON:  # any value
    """Write a value as JSON has it, all its fields included."""
    cls = value.__class__
    if attrs.has(cls):
        value = attrs.asdict(value, recurse=False)
    elif dataclasses.is_dataclass(cls):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(cls)}
    if is_dict(value):
        return {name: plain(each) for name, each in value.items()}
    if is_list(value):
        return [plain(each) for each in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value.isoformat() if isinstance(value, dt.date) else value


def is_same(given: JSON, made: JSON) -> bool:
    """Tell whether a value says what the JSON said: types too, but for whole numbers as floats."""
    if is_dict(given) and is_dict(made):
        absent = [made[name] for name in made if name not in given]
        defaults = all(each in (DEFAULT, 9, 1) for each in absent)
        return defaults and all(name in made and is_same(given[name], made[name]) for name in given)
    if is_list(given) and is_list(made):
        return len(given) == len(made) and all(map(is_same, given, made))
    if isinstance(made, float):
        return given == made and not isinstance(given, bool)
    return bool(type(given) is type(made) and given == made)


@given(shape=SHAPES, data=st.data())
def test_instances_survive(shape: Shape, data: st.DataObject) -> None:
    """Instance to JSON to instance gives an equal instance, of whatever class."""
    value = data.draw(shape.values)
    text = json.dumps(plain(value))

    assert read(json.loads(text), shape.kind) == value


def mutate(value: JSON, data: st.DataObject) -> JSON:
    """Change one thing somewhere in a JSON value."""
    deeper = data.draw(st.booleans())
    if is_dict(value) and value and deeper:
        name = data.draw(st.sampled_from(sorted(value)))
        rest = {each: item for each, item in value.items() if each != name}
        change = data.draw(st.sampled_from(["lose", "add", "change"]))
        if change == "lose":
            return rest
        if change == "add":
            return {**value, data.draw(TEXT): data.draw(ANY_JSON)}
        return {**rest, name: mutate(value[name], data)}
    if is_list(value) and value and deeper:
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], mutate(value[at], data), *value[at + 1 :]]
    near: list[JSON] = [[value], {"value": value}, str(value), *NEAR.get(str(value), ())]
    return data.draw(st.sampled_from(near) | ANY_JSON)


NEAR: dict[str, list[JSON]] = {
    "0": [False, 0.0],
    "1": [True, 1.0, "1"],
    "2": [2.0],
    "True": [1],
    "False": [0],
    "None": [0, "null", ""],
}


@given(shape=SHAPES, data=st.data())
def test_a_changed_answer_is_read_as_it_is_or_refused(shape: Shape, data: st.DataObject) -> None:
    """Whatever is changed in the JSON comes out as it was written, or is an error with a path."""
    changed = json.loads(json.dumps(mutate(plain(data.draw(shape.values)), data)))
    try:
        made = read(changed, shape.kind)
    except Exception as error:  # noqa: BLE001  # whatever cattrs raises
        found = list(find_mismatches(error))

        assert found
        assert all(each.path.startswith("$") and each.reason for each in found)
    else:
        assert is_same(changed, plain(made))
