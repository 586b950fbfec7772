"""JSON Schema of Python types: attrs classes, dataclasses, TypedDicts and what they are made of.

The schema is written to be read by a model: no titles, no defaults, a class that is used once
stands where it is used, one that is used more often or holds itself stands in `$defs`.
"""

import collections.abc
import dataclasses
import datetime as dt
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
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
    "SchemaWriter",
    "TypeForm",
    "first_paragraph",
    "is_object",
    "is_typed_dict",
    "is_union",
    "json_schema",
    "object_fields",
    "origin_of",
    "plain",
]

TypeForm: TypeAlias = Any
"""A type as an annotation writes it: a class, `list[int]`, `int | None`, ..."""

JSON: TypeAlias = Any
"""What a JSON text holds, or what was made of it."""

SCALARS: Final[Mapping[Any, Mapping[str, str]]] = {
    Any: {},
    object: {},
    bool: {"type": "boolean"},
    dt.date: {"type": "string", "format": "date"},
    dt.datetime: {"type": "string", "format": "date-time"},
    float: {"type": "number"},
    int: {"type": "integer"},
    NoneType: {"type": "null"},
    str: {"type": "string"},
}
"""Types that stand for one JSON value, and their schemas."""

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


def json_schema(kind: TypeForm, where: str = "into") -> dict[str, Any]:
    """Return the JSON Schema of a type.

    Args:
        kind: the type.
        where: the argument that brought it, for errors.

    Raises:
        InvalidRequestError: a part of the type has no form in JSON; the message names it.
    """
    writer = SchemaWriter()
    return writer.finish(writer.write(kind, where))


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


class SchemaWriter:
    """Writes the schemas of types that share their definitions."""

    def __init__(self) -> None:
        """Begin without a definition."""
        self._names: dict[Any, str] = {}
        self._definitions: dict[str, dict[str, Any]] = {}
        self._references: dict[str, list[dict[str, Any]]] = {}

    def write(self, kind: TypeForm, where: str) -> dict[str, Any]:
        """Return the schema of a type, with references to definitions; see `finish`."""
        schema = self._write(plain(kind), where)
        if description := _annotation(kind):
            schema["description"] = description
        return schema

    def finish(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Put each definition that is used once where it is used, the others into `$defs`."""
        shared: dict[str, Any] = {}
        for name, references in self._references.items():
            if len(references) > 1:
                shared[name] = self._definitions[name]
                continue
            (reference,) = references
            own = {key: item for key, item in reference.items() if key != "$ref"}
            reference.clear()
            reference.update({**self._definitions[name], **own})
        return {**schema, "$defs": shared} if shared else schema

    def object(self, fields: Iterable[ObjectField], where: str) -> dict[str, Any]:
        """Return the schema of an object with these fields and no others."""
        properties: dict[str, Any] = {}
        required: list[str] = []
        for field in fields:
            properties[field.name] = self.write(field.kind, f"{where}.{field.name}")
            if field.required:
                required.append(field.name)
        schema = {"type": "object", "properties": properties, "required": required}
        return {**schema, "additionalProperties": False}

    def _write(self, kind: TypeForm, where: str) -> dict[str, Any]:
        origin = origin_of(kind)
        if not _hashable(kind):
            raise InvalidRequestError(f"{where}: {kind!r} is no type")
        if kind in SCALARS:
            return dict(SCALARS[kind])
        if is_object(kind):
            return self._refer(kind, where)
        if is_union(kind):
            return self._union(get_args(kind), where)
        if origin is Literal or _is_enum(kind):
            return _choice(kind, where)
        if origin in ARRAYS:
            return self._array(origin, get_args(kind), where)
        if origin in DICTS:
            return self._dict(get_args(kind) or (str, Any), where)
        if isinstance(kind, str):
            hint = "as Python 3.10 can't read it; put the whole annotation into quotes"
            raise InvalidRequestError(f"{where}: {kind!r} is only a name, {hint}")
        name = getattr(kind, "__name__", None) or repr(kind)
        raise InvalidRequestError(f"{where}: {name} has no form in JSON")

    def _refer(self, kind: TypeForm, where: str) -> dict[str, Any]:
        if kind not in self._names:
            origin = origin_of(kind)
            name, number = origin.__name__, 1
            while name in self._references:
                number += 1
                name = f"{origin.__name__}{number}"
            self._names[kind] = name
            self._references[name] = []
            schema = self.object(object_fields(kind, where), origin.__name__)
            if doc := first_paragraph(_own_doc(origin)):
                schema = {"description": doc, **schema}
            self._definitions[name] = schema
        name = self._names[kind]
        reference = {"$ref": f"#/$defs/{name}"}
        self._references[name].append(reference)
        return reference

    def _union(self, members: tuple[Any, ...], where: str) -> dict[str, Any]:
        schemas = [self.write(member, where) for member in members]
        if all(schema.keys() == {"type"} for schema in schemas):
            return {"type": [schema["type"] for schema in schemas]}
        return {"anyOf": schemas}

    def _array(self, origin: TypeForm, members: tuple[Any, ...], where: str) -> dict[str, Any]:
        if origin is tuple and members and members[-1] is not Ellipsis:
            items = [self.write(each, f"{where}[{at}]") for at, each in enumerate(members)]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        schema = {"type": "array", "items": self.write((*members, Any)[0], f"{where}[]")}
        return {**schema, "uniqueItems": True} if ARRAYS[origin] in (set, frozenset) else schema

    def _dict(self, members: tuple[Any, ...], where: str) -> dict[str, Any]:
        if plain(members[0]) is not str:
            raise InvalidRequestError(f"{where}: the keys of an object in JSON are strings: str")
        return {"type": "object", "additionalProperties": self.write(members[1], f"{where}[]")}


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


def _choice(kind: TypeForm, where: str) -> dict[str, Any]:
    """Return the schema of an Enum or a Literal."""
    options = list(kind) if _is_enum(kind) else get_args(kind)
    values = [each.value if isinstance(each, Enum) else each for each in options]
    for value in values:
        if not (value is None or type(value) in (bool, int, float, str)):
            raise InvalidRequestError(f"{where}: {value!r} has no form in JSON")
    return {"const": values[0]} if len(values) == 1 else {"enum": values}


def _is_enum(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _hashable(kind: object) -> bool:
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def _annotation(kind: TypeForm) -> str:
    """Return the first text of an `Annotated`."""
    while origin_of(kind) in (Required, NotRequired):
        kind = get_args(kind)[0]
    if origin_of(kind) is not Annotated:
        return ""
    return next((each for each in kind.__metadata__ if isinstance(each, str)), "")


def _own_doc(origin: type) -> str:
    """Return the docstring of a class, where it has one that was written for it."""
    doc = cast("str | None", vars(origin).get("__doc__")) or ""
    return "" if doc.startswith(f"{origin.__name__}(") else doc  # written by dataclass


def first_paragraph(doc: str) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())
