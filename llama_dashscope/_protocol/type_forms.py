"""What types are made of: fields of classes, members of unions, what stands behind a name."""

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
    "is_object",
    "is_typed_dict",
    "is_union",
    "object_fields",
    "origin_of",
    "plain",
]

TypeForm: TypeAlias = Any
"""A type as an annotation writes it: a class, `list[int]`, `int | None`, ..."""

JSON: TypeAlias = Any
"""What a JSON text holds, or what was made of it."""

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
"""Types that are arrays in JSON, and what is made of one."""

DICTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
"""Types that are objects with any keys in JSON."""


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
    """Tell whether a type is a class with fields, its parameters given or not."""
    origin = origin_of(kind)
    if not isinstance(origin, type):
        return False
    cls = cast("type[Any]", origin)
    return attrs.has(cls) or dataclasses.is_dataclass(cls) or is_typed_dict(cls)


def is_typed_dict(origin: type[Any]) -> bool:
    """Tell whether a class is a TypedDict, of `typing` or of typing_extensions."""
    return hasattr(origin, "__required_keys__") and issubclass(origin, dict)


def is_union(kind: object) -> bool:
    """Tell whether a type is a union, `Optional` included."""
    return origin_of(kind) in (Union, UnionType)


def plain(kind: TypeForm) -> TypeForm:
    """Return what stands behind `Annotated`, `NewType`, `Required` and the name of an alias."""
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
    """Tell whether a type names its values: an Enum or a Literal."""
    return origin_of(kind) is Literal or is_enum(kind)


def annotation(kind: TypeForm) -> str:
    """Return the first text of an `Annotated`."""
    while origin_of(kind) in (Required, NotRequired):
        kind = get_args(kind)[0]
    if origin_of(kind) is not Annotated:
        return ""
    return next((each for each in kind.__metadata__ if isinstance(each, str)), "")


def object_fields(kind: TypeForm, where: str) -> Iterator[ObjectField]:
    """Name the fields of a class that its JSON has."""
    origin = origin_of(kind)
    try:
        hints = get_type_hints(origin, include_extras=True)
    except NameError as error:
        reason = f"an annotation of {origin.__name__} leads nowhere: {error}"
        raise InvalidRequestError(f"{where}: {reason}") from None
    given = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    for name, hint, required in _declared(origin, hints):
        yield ObjectField(name, _filled_in(hint, given), required)


def _declared(origin: TypeForm, hints: dict[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Return the name, the type and the need of each field."""
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


def _needed(hint: TypeForm, total: bool) -> bool:  # noqa: FBT001  # a yes or no about the class
    """Tell whether a field of a TypedDict is required; Python 3.10 does not look at its marks."""
    while get_args(hint) and origin_of(hint) is Annotated:
        hint = get_args(hint)[0]
    return total if origin_of(hint) not in (Required, NotRequired) else origin_of(hint) is Required


def _filled_in(hint: TypeForm, given: Mapping[Any, Any]) -> TypeForm:
    """Put the parameters of a generic class where its fields name them."""
    if isinstance(hint, TypeVar):
        return given.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(each, Any) for each in parameters)] if parameters else hint
