"""Values that fit a JSON Schema: what the local server answers where a client asks for one."""

import json
from collections.abc import Mapping
from typing import Any, Final

from .received_request import ReceivedRequest, as_dict, as_list

__all__ = ["example", "schema_asked_for"]

ANNOUNCED: Final = "JSON Schema"
"""What stands in a question before the schema, as the client writes it and most people do."""

DEEPEST: Final = 8
"""Where a schema that holds itself comes to its end."""

MOST: Final = 1000
"""How many values an example holds at most; a small schema can ask for millions."""

STRINGS: Final = {"date": "2026-01-31", "date-time": "2026-01-31T09:30:00Z"}
SCALARS: Final = {"boolean": True, "integer": 1, "null": None, "number": 1.5}


def schema_asked_for(request: ReceivedRequest) -> dict[str, Any] | None:
    """Return the JSON Schema in the system message or the prompt of a request, if there is one."""
    first = request.messages[0].get("content") if request.messages else request.prompt
    _, _, rest = str(first).partition(ANNOUNCED)
    start = rest.find("{")
    if start < 0:
        return None
    try:
        schema = json.JSONDecoder().raw_decode(rest, start)[0]
    except (ValueError, RecursionError):
        return None
    return as_dict(schema)


def example(schema: Mapping[str, Any]) -> object:
    """Make a value that fits a schema: of a choice the first, of an object what it must have."""
    return _Examples(as_dict(schema.get("$defs"))).make(schema, "text", 0)


class _Examples:
    """Makes values that fit schemas which share definitions."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._shared = shared
        self._left = MOST

    def make(self, schema: Mapping[str, Any], name: str, depth: int) -> object:
        """Make a value.

        Args:
            schema: the schema of this value.
            name: what a string says.
            depth: how deep in the whole value this one stands.
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
