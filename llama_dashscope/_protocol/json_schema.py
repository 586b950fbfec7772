"""JSON Schema of Python types: attrs classes, dataclasses, TypedDicts and the types in them.

The schema is written for a model to read: it has no titles and no defaults. A class that is used
once is written inline; one that is used more often, or recursively, goes into `$defs`.
"""

import datetime as dt
import inspect
from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Final, cast, get_args

from llama_dashscope._errors import InvalidRequestError

from .type_forms import (
    ARRAYS,
    DICTS,
    ObjectField,
    TypeForm,
    annotation,
    is_choice,
    is_enum,
    is_object,
    is_union,
    object_fields,
    origin_of,
    plain,
)

__all__ = ["SchemaWriter", "json_schema"]

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


def json_schema(kind: TypeForm, where: str = "into") -> dict[str, Any]:
    """Return the JSON Schema of a type.

    Args:
        kind: the type.
        where: the name of the argument that the type comes from, for errors.

    Raises:
        InvalidRequestError: a part of the type has no form in JSON; the message names it.
    """
    writer = SchemaWriter()
    return writer.finish(writer.write(kind, where))


class SchemaWriter:
    """Writes the schemas of types that share their definitions."""

    def __init__(self) -> None:
        """Start without definitions."""
        self._names: dict[Any, str] = {}
        self._definitions: dict[str, dict[str, Any]] = {}
        self._references: dict[str, list[dict[str, Any]]] = {}

    def write(self, kind: TypeForm, where: str) -> dict[str, Any]:
        """Return the schema of a type, with references to definitions; see `finish`."""
        schema = self._write(plain(kind), where)
        if description := annotation(kind):
            schema["description"] = description
        return schema

    def finish(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Write definitions that are used once inline, and put the others into `$defs`."""
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
            raise InvalidRequestError(f"{where}: {kind!r} is not a type")
        if kind in SCALARS:
            return dict(SCALARS[kind])
        if is_object(kind):
            return self._refer(kind, where)
        if is_union(kind):
            return self._union(get_args(kind), where)
        if is_choice(kind):
            return _choice(kind, where)
        if origin in ARRAYS:
            return self._array(origin, get_args(kind), where)
        if origin in DICTS:
            return self._dict(get_args(kind) or (str, Any), where)
        if isinstance(kind, str):
            hint = "which Python 3.10 can't resolve; put the whole annotation in quotes"
            raise InvalidRequestError(f"{where}: {kind!r} is a name in quotes, {hint}")
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
            if doc := _first_paragraph(_own_doc(origin)):
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
            raise InvalidRequestError(f"{where}: the keys must be str, as in any JSON object")
        return {"type": "object", "additionalProperties": self.write(members[1], f"{where}[]")}


def _choice(kind: TypeForm, where: str) -> dict[str, Any]:
    """Return the schema of an Enum or a Literal."""
    options = list(kind) if is_enum(kind) else get_args(kind)
    values = [each.value if isinstance(each, Enum) else each for each in options]
    for value in values:
        if not (value is None or type(value) in (bool, int, float, str)):
            raise InvalidRequestError(f"{where}: {value!r} has no form in JSON")
    return {"const": values[0]} if len(values) == 1 else {"enum": values}


def _hashable(kind: object) -> bool:
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def _own_doc(origin: type) -> str:
    """Return the docstring of a class, unless it is inherited or generated."""
    doc = cast("str | None", vars(origin).get("__doc__")) or ""
    return "" if doc.startswith(f"{origin.__name__}(") else doc  # generated by dataclass


def _first_paragraph(doc: str) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())
