"""The one converter between JSON payloads and models; unknown keys are kept on both ways.

What the service sends is read liberally where its documents are silent (missing fields, nulls,
a `finish_reason` of "null") and strictly where a wrong type would be passed on as an answer.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from llama_dashscope._models import (
    Choice,
    Chunk,
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
    "read_list",
    "read_text",
    "read_usage",
    "structure",
]

R = TypeVar("R", bound=Record)

UNFINISHED: Final = ("null", "")
"""Ways in which the service says that an answer goes on; recorded streams use the string."""

USAGE: Final = ("input_tokens", "output_tokens", "total_tokens")
"""The fields of usage in recorded streams."""

LISTS: Final[dict[str, Any]] = {"choices": tuple[Choice, ...], "tool_calls": tuple[ToolCall, ...]}
"""The fields that hold a list, and what it is read as."""


def structure(payload: object, model: type[R]) -> R:
    """Make a model from a JSON payload.

    Args:
        payload: what `json.loads` returned.
        model: which model to make.

    Raises:
        ValueError: the payload does not fit; the message says where and why.
    """
    try:
        return converter.structure(payload, model)
    except cattrs.BaseValidationError as error:
        raise ValueError(
            "; ".join(cattrs.transform_error(error, format_exception=_reason))
        ) from error


def _reason(error: BaseException, _expected: type | None) -> str:
    return str(error)


def read_text(value: object, _type: object = None) -> str:
    """Read a string."""
    if isinstance(value, str):
        return value
    raise _wrong("a string", value)


def _count(value: object, _type: object = None) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _wrong("a whole number", value)


def finish_reason(value: object, _type: object = None) -> str | None:
    """Read a finish_reason: None while the answer goes on, however the service says that."""
    return None if value is None or value in UNFINISHED else read_text(value)


def read_list(value: object, _type: object = None) -> list[Any]:
    """Read a list, whatever is in it."""
    if isinstance(value, list):
        return cast("list[object]", value)
    raise _wrong("a list", value)


def _wrong(expected: str, value: object) -> ValueError:
    return ValueError(f"expected {expected}, got {type(value).__name__}")


def _reader(model: type[Any], **absent: object) -> Callable[[object, object], Any]:
    """Make the function that reads `model`: null counts as missing, unknown keys are kept."""
    options: dict[str, Any] = {"extra": override(omit=True)}
    known: set[str] = set()
    for field in attrs.fields(model):
        if field.name == "finish_reason":
            options[field.name] = override(struct_hook=finish_reason)
        elif field.name in LISTS:
            options[field.name] = override(struct_hook=_listed(LISTS[field.name]))
        elif field.alias != field.name:
            options[field.name] = override(rename=field.alias, struct_hook=read_text)
        known.add(field.alias or field.name)
    known.remove("extra")
    read = make_dict_structure_fn(model, converter, **options)

    def hook(payload: object, kind: object) -> Any:  # noqa: ANN401  # whatever model is
        if not isinstance(payload, dict):
            raise _wrong("an object", payload)
        given = value = cast("dict[str, Any]", payload)
        if None in value.values():
            given = {key: item for key, item in value.items() if item is not None}
        if absent and not absent.keys() <= given.keys():
            given = {**absent, **given}
        record = read(given, kind)
        if not known.issuperset(value):
            unknown = {key: item for key, item in value.items() if key not in known}
            # Frozen for everyone else; here the model is still being made.
            object.__setattr__(record, "extra", unknown)
        return record

    return hook


def _listed(kind: Any) -> Callable[[object, object], Any]:  # noqa: ANN401  # a tuple type
    """Make the function that reads a list: cattrs alone would take any iterable for one."""
    read = converter.get_structure_hook(kind)

    def hook(value: object, _type: object) -> Any:  # noqa: ANN401  # whatever it is a list of
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

# Inner models first: a reader looks up the readers of its fields when it is made.
converter.register_structure_hook(Function, _reader(Function))
converter.register_structure_hook(ToolCall, _reader(ToolCall))
# The service leaves the role out of some pieces; whatever it sends is the assistant's.
converter.register_structure_hook(Message, _reader(Message, role="assistant"))
converter.register_structure_hook(Choice, _reader(Choice))
converter.register_structure_hook(Output, _reader(Output))
_any_usage: Final = _reader(Usage)


def read_usage(payload: object, _type: object = None) -> Usage:
    """Read usage, by hand where it is as recorded: every frame has it."""
    if isinstance(payload, dict) and len(usage := cast("dict[str, Any]", payload)) == len(USAGE):
        given, made, total = cast("Iterable[Any]", map(usage.get, USAGE))
        if type(given) is type(made) is type(total) is int:
            return Usage(given, made, total)
    return cast("Usage", _any_usage(cast("Any", payload), Usage))


converter.register_structure_hook(Usage, read_usage)
converter.register_structure_hook(Response, _reader(Response))
converter.register_structure_hook(Chunk, _reader(Chunk))
