"""The converter between JSON payloads and models; it keeps unknown keys in both directions.

It is lenient where the service's documentation is silent (missing fields, nulls, a `finish_reason`
of "null"), and strict where a wrong type would end up in the answer. Fields that are not the answer
itself don't invalidate it: usage, names and indices of the wrong type go to `extra`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from llama_dashscope._models import (
    Choice,
    Function,
    Message,
    Output,
    Record,
    Response,
    ToolCall,
    Usage,
)

__all__ = [
    "UNFINISHED",
    "converter",
    "finish_reason",
    "is_count",
    "read_list",
    "read_text",
    "read_usage",
    "structure",
    "unstructure",
]

R = TypeVar("R", bound=Record)

UNFINISHED: Final = ("null", "")
"""Values of `finish_reason` in a frame that is not the last; recorded streams use "null"."""

USAGE: Final = ("input_tokens", "output_tokens", "total_tokens")
"""The fields of usage in recorded streams."""

LISTS: Final[dict[str, Any]] = {"choices": tuple[Choice, ...], "tool_calls": tuple[ToolCall, ...]}
"""The fields that hold a list, and the type that the list is read into."""


def structure(payload: object, model: type[R]) -> R:
    """Make a model from a JSON payload.

    Args:
        payload: what `json.loads` returned.
        model: the class of the model.

    Raises:
        ValueError: the payload does not fit the model; the message says where and why.
    """
    try:
        return converter.structure(payload, model)
    except cattrs.BaseValidationError as error:
        raise ValueError(
            "; ".join(cattrs.transform_error(error, format_exception=_reason))
        ) from error


def unstructure(record: Record) -> dict[str, Any]:
    """Return the JSON payload of a model; see `Record.to_dict`."""
    return cast("dict[str, Any]", converter.unstructure(record))


def _reason(error: BaseException, _expected: type | None) -> str:
    return str(error)


def read_text(value: object, _type: object = None) -> str:
    """Read a string."""
    if isinstance(value, str):
        return value
    raise _wrong("a string", value)


def is_count(value: object) -> bool:
    """Tell whether a JSON value is a whole number, written as `2` or as `2.0`."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: object, _type: object = None) -> int:
    if is_count(value):
        return int(cast("float", value))
    raise _wrong("a whole number", value)


def _is_number_of_tokens(value: object) -> bool:
    """Tell whether a JSON value can count tokens; other programs take 64 bits at most."""
    return is_count(value) and 0 <= cast("float", value) < 1 << 63


def _number_of_tokens(value: object, _type: object = None) -> int:
    if _is_number_of_tokens(value):
        return int(cast("float", value))
    raise _wrong("a number of tokens", value)


def _arguments(value: object, _type: object = None) -> str:
    """Return the arguments of a tool call as JSON text, also if they come as an object."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else read_text(value)


def finish_reason(value: object, _type: object = None) -> str | None:
    """Read a finish_reason; None, in any of its spellings, while the answer is unfinished."""
    return None if value is None or value in UNFINISHED else read_text(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


READERS: Final[Mapping[str, Callable[..., Any]]] = {
    "arguments": _arguments,
    "finish_reason": finish_reason,
    **dict.fromkeys(USAGE, _number_of_tokens),
}
"""Fields that have their own reader."""

LENIENT_FIELDS: Final[Mapping[type[Record], Mapping[str, Callable[[object], bool]]]] = {
    Choice: {"index": is_count},
    Message: {"role": _is_text, "name": _is_text, "tool_call_id": _is_text},
    Response: {"usage": _is_object, "request_id": _is_text, "code": _is_text, "message": _is_text},
    ToolCall: {"index": is_count, "id": _is_text, "type": _is_text},
    Usage: dict.fromkeys(USAGE, _is_number_of_tokens),
}
"""Fields that are not the answer itself, with a check of their type. A value that fails the check
goes to `extra` unchanged."""


def read_list(value: object, _type: object = None) -> list[Any]:
    """Return the value if it is a list; its items are not checked."""
    if isinstance(value, list):
        return cast("list[object]", value)
    raise _wrong("a list", value)


def _wrong(expected: str, value: object) -> ValueError:
    return ValueError(f"expected {expected}, got {type(value).__name__}")


def _reader(model: type[Any], **absent: object) -> Callable[[object, object], Any]:
    """Make the function that reads `model`: null counts as missing, unknown keys are kept."""
    read = make_dict_structure_fn(model, converter, **_overrides(model))
    known = {field.alias for field in attrs.fields(model) if field.name != "extra"}
    lenient = LENIENT_FIELDS.get(model, {})

    def hook(payload: Any, kind: object) -> Any:  # a JSON value; whatever model is
        value: dict[str, Any] = payload
        if not isinstance(payload, dict):
            raise _wrong("an object", payload)
        given = value
        if None in value.values():
            given = {key: item for key, item in value.items() if item is not None}
        if absent and not absent.keys() <= given.keys():
            given = {**absent, **given}
        odd: Collection[str] = ()
        try:
            record = read(given, kind)
        except cattrs.BaseValidationError:
            odd = {key for key, fits in lenient.items() if key in given and not fits(given[key])}
            if not odd:
                raise
            rest = {key: item for key, item in given.items() if key not in odd}
            record = read({**absent, **rest}, kind)
        if odd or not known.issuperset(value):
            unknown = {key: item for key, item in value.items() if key in odd or key not in known}
            # The class is frozen, but this object is still being made.
            object.__setattr__(record, "extra", unknown)
        return record

    return hook


def _overrides(model: type[Any]) -> dict[str, Any]:
    """Return the overrides for fields of a model that cattrs by itself would read differently."""
    found: dict[str, Any] = {"extra": override(omit=True)}
    for field in attrs.fields(model):
        if field.name in LISTS:
            found[field.name] = override(struct_hook=_listed(LISTS[field.name]))
        elif field.name in READERS:
            found[field.name] = override(struct_hook=READERS[field.name])
    return found


def _listed(kind: Any) -> Callable[[object, object], Any]:  # a tuple type
    """Make the function that reads a list; cattrs by itself would accept any iterable."""
    read = converter.get_structure_hook(kind)

    def hook(value: object, _type: object) -> Any:  # whatever it is a list of
        return read(read_list(value), kind)

    return hook


def _make_converter() -> cattrs.Converter:
    made = cattrs.Converter()
    made.register_structure_hook(str, read_text)
    made.register_structure_hook(int, _count)
    made.register_unstructure_hook_func(_is_record, Record.to_dict)
    return made


def _is_record(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)


converter: Final = _make_converter()
"""Structures payloads into models and unstructures models into payloads."""

# Inner models first: making a reader looks up the readers of its fields.
converter.register_structure_hook(Function, _reader(Function))
converter.register_structure_hook(ToolCall, _reader(ToolCall))
# Some frames omit the role; whatever the service sends is the assistant's.
converter.register_structure_hook(Message, _reader(Message, role="assistant", content=""))
converter.register_structure_hook(Choice, _reader(Choice))
converter.register_structure_hook(Output, _reader(Output))
_any_usage: Final = _reader(Usage)


def read_usage(payload: Any, _type: object = None) -> Usage:  # a JSON value
    """Read usage. The usual form is read by hand, for speed: every frame has it."""
    usage: dict[str, Any] = payload
    if isinstance(payload, dict):
        counts: Iterable[Any] = map(usage.get, USAGE)
        given, made, total = counts
        numbers = type(given) is type(made) is type(total) is int
        if numbers and not (given | made | total) >> 63:
            if len(usage) == len(USAGE):
                return Usage(given, made, total)
            extra = {key: value for key, value in usage.items() if key not in USAGE}
            return Usage(given, made, total, extra=extra)
    return cast("Usage", _any_usage(usage, Usage))


converter.register_structure_hook(Usage, read_usage)
converter.register_structure_hook(Response, _reader(Response))
