"""Random types of every kind that has a form in JSON, with random values of each."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Callable
from itertools import count
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeGuard, cast

import attrs
from hypothesis import strategies as st
from typing_extensions import TypedDict

__all__ = [
    "ANY_JSON",
    "SHAPES",
    "TEXT",
    "Cat",
    "Color",
    "Dog",
    "Level",
    "Shape",
    "is_same",
    "mutate",
    "plain",
]

JSON = Any


class Color(str, enum.Enum):
    """An Enum of strings."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """An Enum of numbers."""

    LOW = 1
    HIGH = 2


@attrs.frozen
class Cat:
    """A member of a union, told apart by its field `kind`."""

    kind: Literal["cat"]
    name: str
    lives: int = 9


@dataclasses.dataclass
class Dog:
    """A member of a union, told apart by its field `kind`."""

    kind: Literal["dog"]
    name: str


@attrs.frozen
class Shape:
    """A type, and a strategy for its values."""

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
    """Make classes of each kind, with fields of other types; the last field has a default."""
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
    """Return a value in its JSON form, with all its fields."""
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
    """Tell whether a value equals the JSON, types included; whole numbers may be floats."""
    if is_dict(given) and is_dict(made):
        absent = [made[name] for name in made if name not in given]
        defaults = all(each in (DEFAULT, 9, 1) for each in absent)
        return defaults and all(name in made and is_same(given[name], made[name]) for name in given)
    if is_list(given) and is_list(made):
        return len(given) == len(made) and all(map(is_same, given, made))
    if isinstance(made, float):
        return given == made and not isinstance(given, bool)
    return bool(type(given) is type(made) and given == made)


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
