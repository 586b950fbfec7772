"""Introspection of types: fields of classes, kinds of types, what an alias stands for."""

import collections.abc
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs

from llama_dashscope._errors import InvalidRequestError

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required
else:
    from typing_extensions import NotRequired, Required  # comes with cattrs on these versions

__all__ = [
    "ARRAYS",
    "DICTS",
    "JSON",
    "ObjectField",
    "TypeForm",
    "annotation",
    "is_choice",
    "is_enum",
    "is_generic",
    "is_object",
    "is_typed_dict",
    "is_union",
    "object_fields",
    "origin_of",
    "plain",
    "with_parameters",
]

TypeForm: TypeAlias = Any
"""A type as written in an annotation: a class, `list[int]`, `int | None`, ..."""

JSON: TypeAlias = Any
"""A JSON value, or a Python value read from one."""

ARRAYS: Final[Mapping[Any, type[list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]]]] = {
    collections.abc.Collection: tuple,
    collections.abc.Iterable: tuple,
    collections.abc.MutableSequence: list,
    collections.abc.MutableSet: set,
    collections.abc.Sequence: tuple,
    collections.abc.Set: frozenset,
    frozenset: frozenset,
    list: list,
    set: set,
    tuple: tuple,
}
"""Types that are arrays in JSON, and the Python type that an array is read into."""

DICTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
"""Types that are objects with arbitrary keys in JSON."""


@attrs.frozen
class ObjectField:
    """One field of a class."""

    name: str
    kind: TypeForm
    required: bool


def origin_of(kind: object) -> TypeForm:
    """Return the class of a type, without its parameters."""
    return get_origin(kind) or kind


def is_object(kind: object) -> bool:
    """Tell whether a type is a class with fields; a generic one may have its parameters or not."""
    origin = origin_of(kind)
    if not isinstance(origin, type):
        return False
    cls = cast("type[Any]", origin)
    return attrs.has(cls) or dataclasses.is_dataclass(cls) or is_typed_dict(cls)


def is_typed_dict(origin: type[Any]) -> bool:
    """Tell whether a class is a TypedDict, from typing or typing_extensions."""
    return hasattr(origin, "__required_keys__") and issubclass(origin, dict)


def is_union(kind: object) -> bool:
    """Tell whether a type is a union, `Optional` included."""
    return origin_of(kind) in (Union, UnionType)


def plain(kind: TypeForm) -> TypeForm:
    """Return the type without `Annotated`, `NewType`, `Required` and type aliases around it."""
    while True:
        if origin_of(kind) in (Annotated, Required, NotRequired):
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        else:
            return NoneType if kind is None else kind


def is_enum(kind: object) -> bool:
    """Tell whether a type is an Enum."""
    return isinstance(kind, type) and issubclass(kind, Enum)


def is_choice(kind: object) -> bool:
    """Tell whether a type lists its values: an Enum or a Literal."""
    return origin_of(kind) is Literal or is_enum(kind)


def annotation(kind: TypeForm) -> str:
    """Return the first string in an `Annotated`; empty if there is none."""
    while origin_of(kind) in (Required, NotRequired):
        kind = get_args(kind)[0]
    if origin_of(kind) is not Annotated:
        return ""
    return next((each for each in kind.__metadata__ if isinstance(each, str)), "")


def object_fields(kind: TypeForm, where: str) -> Iterator[ObjectField]:
    """Return the fields of a class that its JSON has."""
    origin = origin_of(kind)
    try:
        hints = _hints(kind)
    except NameError as error:
        reason = f"an annotation of {origin.__name__} can't be resolved: {error}"
        raise InvalidRequestError(f"{where}: {reason}") from None
    for name, hint, required in _declared(origin, hints):
        yield ObjectField(name, _filled_in(hint, _parameters(kind)), required)


def is_generic(kind: object) -> bool:
    """Tell whether a class or one of its bases has type parameters."""
    origin = origin_of(kind)
    return hasattr(origin, "__orig_bases__") or bool(getattr(origin, "__parameters__", ()))


def with_parameters(kind: TypeForm) -> TypeForm:
    """Return a generic class with `Any` for the parameters that it was not given."""
    parameters = () if get_args(kind) else getattr(kind, "__parameters__", ())
    return kind[(Any,) * len(parameters)] if parameters else kind


def _parameters(kind: TypeForm) -> dict[Any, TypeForm]:
    """Return the parameters of a generic class and the types given for them."""
    return dict(zip(getattr(origin_of(kind), "__parameters__", ()), get_args(kind), strict=False))


def _hints(kind: TypeForm) -> dict[str, Any]:
    """Return the types of a class's fields, with those that its bases were given filled in."""
    origin, given = origin_of(kind), _parameters(kind)
    hints = get_type_hints(origin, include_extras=True)
    filled = {name: _filled_in(hint, given) for name, hint in hints.items()}
    for base in reversed(getattr(origin, "__orig_bases__", ())):
        if is_object(base):
            theirs = get_type_hints(origin_of(base), include_extras=True)
            inherited = _hints(_filled_in(base, given))
            filled |= {name: inherited[name] for name in theirs if theirs[name] == hints[name]}
    return filled


def _declared(origin: TypeForm, hints: dict[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Return for each field its name, its type, and whether it is required."""
    if attrs.has(origin):
        for field in attrs.fields(origin):
            if field.init:
                hint = hints.get(field.name, Any if field.type is None else field.type)
                yield field.name, hint, field.default is attrs.NOTHING
    elif is_typed_dict(origin):
        for name, hint in hints.items():
            yield name, hint, _needed(hint, name in origin.__required_keys__)
    else:
        for each in dataclasses.fields(origin):
            if each.init:
                absent = dataclasses.MISSING
                required = each.default is absent and each.default_factory is absent
                yield each.name, hints[each.name], required


def _needed(hint: TypeForm, total: bool) -> bool:  # noqa: FBT001  # the class's `total`
    """Tell whether a field of a TypedDict is required; Python 3.10 ignores `Required` in it."""
    while get_args(hint) and origin_of(hint) is Annotated:
        hint = get_args(hint)[0]
    return total if origin_of(hint) not in (Required, NotRequired) else origin_of(hint) is Required


def _filled_in(hint: TypeForm, given: Mapping[Any, Any]) -> TypeForm:
    """Return a field's type with the parameters of its generic class filled in."""
    if isinstance(hint, TypeVar):
        return given.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(each, Any) for each in parameters)] if parameters else hint
