"""Makes values that fit a JSON Schema, for the local server's answers to requests with one."""

import json
from collections.abc import Mapping
from typing import Any, Final

from .received_request import ReceivedRequest, as_dict, as_list

__all__ = ["example", "requested_schema"]

MARKER: Final = "JSON Schema"
"""The words before a schema in a question, in this client's instruction and most others."""

DEEPEST: Final = 8
"""The depth at which a recursive schema ends."""

MOST: Final = 1000
"""Most values in an example; a small schema can require millions."""

STRINGS: Final = {"date": "2026-01-31", "date-time": "2026-01-31T09:30:00Z"}
SCALARS: Final = {"boolean": True, "integer": 1, "null": None, "number": 1.5}


def requested_schema(request: ReceivedRequest) -> dict[str, Any] | None:
    """Return the JSON Schema in the system message or the prompt of a request, if there is one."""
    first = request.messages[0].get("content") if request.messages else request.prompt
    _, _, rest = str(first).partition(MARKER)
    start = rest.find("{")
    if start < 0:
        return None
    try:
        schema = json.JSONDecoder().raw_decode(rest, start)[0]
    except (ValueError, RecursionError):
        return None
    return as_dict(schema)


def example(schema: Mapping[str, Any]) -> object:
    """Return a value that fits a schema: the first option, and only required fields."""
    return _Examples(as_dict(schema.get("$defs"))).make(schema, "text", 0)


class _Examples:
    """Makes values for schemas with shared definitions."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._shared = shared
        self._left = MOST

    def make(self, schema: Mapping[str, Any], name: str, depth: int) -> object:
        """Return a value.

        Args:
            schema: the schema of this value.
            name: the value if it is a string.
            depth: how deeply this value is nested.
        """
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            return None
        if "$ref" in schema:
            schema = as_dict(self._shared.get(str(schema["$ref"]).rpartition("/")[2]))
        if "const" in schema:
            return schema["const"]
        if options := as_list(schema.get("enum")):
            return options[0]
        if members := as_list(schema.get("anyOf")):
            return self.make(as_dict(members[0]), name, depth + 1)
        return self._of_type(schema, name, depth)

    def _of_type(self, schema: Mapping[str, Any], name: str, depth: int) -> object:
        kind = str((*as_list(schema.get("type")), schema.get("type"))[0])
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        return SCALARS[kind] if kind in SCALARS else STRINGS.get(str(schema.get("format")), name)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, object]:
        fields = as_dict(schema.get("properties"))
        names = map(str, as_list(schema.get("required")))
        return {name: self.make(as_dict(fields.get(name)), name, depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[object]:
        if members := as_list(schema.get("prefixItems")):
            return [self.make(as_dict(member), name, depth + 1) for member in members]
        if depth > DEEPEST // 2:
            return []
        return [self.make(as_dict(schema.get("items")), name, depth + 1)]
