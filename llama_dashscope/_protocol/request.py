"""Checks the arguments of a call and builds the request from them.

Types are checked here, ranges are not: no document says which range holds for which Llama model, so
they are left to the service.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeGuard, cast

import attrs

from llama_dashscope._errors import InvalidRequestError
from llama_dashscope._models import Message, Record
from llama_dashscope._sanitize import bounded_repr
from llama_dashscope._settings import ApiKey

from .arguments import CallArguments, StreamArguments
from .converter import unstructure
from .options import ToolLike
from .tool_functions import tool_schema

__all__ = [
    "PATH",
    "Payload",
    "build_payload",
    "check_input",
    "encode",
    "listed",
    "request_headers",
]


SINGLE: Final = (str, bytes, Mapping, Message)
"""Types that are iterable, but no list of messages."""


@attrs.define
class Payload:
    """A request body, with the facts about it that are needed to read its answer."""

    body: bytes
    streaming: bool
    incremental: bool | None
    """Whether pieces were requested; None if the stream may come in pieces or in wholes."""
    choices: int
    model: str = ""
    parameters: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
    """The body's `parameters`."""


def build_payload(model: str, prompt: str | None, arguments: CallArguments) -> Payload:
    """Check the arguments of a call and write its request body.

    `result_format` is always sent, since the service has announced that its default, `text`, will
    change. `incremental_output` is only sent for a stream, since the service refuses it otherwise.

    Raises:
        InvalidRequestError: an argument is invalid; the message names it.
    """
    content = check_input(prompt, arguments.messages)
    parameters = _parameters(arguments, "text" if "prompt" in content else "message")
    streaming, incremental = False, True
    if isinstance(arguments, StreamArguments):
        streaming, incremental = True, _settle_incremental(arguments, parameters)
    body = encode({"model": _model(model), "input": content, "parameters": parameters})
    choices = parameters.get("n")
    count = max(choices, 1) if _whole(choices) else 1
    return Payload(body, streaming, incremental, count, model, parameters)


def _settle_incremental(arguments: StreamArguments, parameters: dict[str, Any]) -> bool:
    """Return whether a stream is to come in pieces; if so, add this to its parameters."""
    name = "incremental_output"
    given: object = arguments.incremental_output
    if given is None:
        given = parameters.get(name)
    elif name in parameters:
        raise _given_twice(name)
    if given is None:
        given = True
    if not isinstance(given, bool):
        raise _wrong(name, "True or False", given)
    if given:
        parameters[name] = True
    return given


def _model(model: object) -> str:
    if not isinstance(model, str) or not model.strip():
        raise _wrong("model", "the name of a model, such as 'llama3.3-70b-instruct'", model)
    return model


def check_input(prompt: object, messages: object) -> dict[str, Any]:
    """Check prompt and messages, and return the `input` of the request body.

    Raises:
        InvalidRequestError: both or neither of them were given, or the one given is invalid.
    """
    if messages is None:
        if prompt is None:
            msg = "prompt and messages are both missing: give one of them"
            raise InvalidRequestError(msg)
        if isinstance(prompt, list | tuple | Mapping | Message):
            expected = "a string (pass a conversation as messages=[...])"
            raise _wrong("prompt", expected, cast("object", prompt))
        if not isinstance(prompt, str):
            raise _wrong("prompt", "a string", prompt)
        if not prompt:
            msg = "prompt is empty"
            raise InvalidRequestError(msg)
        return {"prompt": prompt}
    if prompt is not None:
        msg = "prompt and messages can't be combined: put the prompt into a message"
        raise InvalidRequestError(msg)
    conversation = [_message(f"messages[{at}]", item) for at, item in enumerate(listed(messages))]
    if not conversation:
        msg = "messages is empty: a conversation has at least one message"
        raise InvalidRequestError(msg)
    return {"messages": conversation}


def listed(messages: object) -> Iterable[object]:
    """Return `messages` if it is an iterable of messages, not a single message.

    Raises:
        InvalidRequestError: it is not.
    """
    single = isinstance(messages, SINGLE)
    if single or not _iterable(messages):
        raise _wrong("messages", "a list of messages", cast("Any", messages))
    return messages


def _message(where: str, message: object) -> Mapping[str, Any]:
    if isinstance(message, Message):
        message = unstructure(message)
    if not _mapping(message):
        raise _wrong(where, "a Message or a dict with 'role' and 'content'", message)
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise _wrong(f"{where}['role']", "'system', 'user', 'assistant' or 'tool'", role)
    content = message.get("content")
    # Lists of parts are for models that take pictures; the service knows whether this model does.
    if not isinstance(content, str | list) and not (content is None and message.get("tool_calls")):
        raise _wrong(f"{where}['content']", "a string", content)
    return dict(message)


def _parameters(arguments: CallArguments, default_format: str) -> dict[str, Any]:
    given: object = arguments.parameters
    extra: object = {} if given is None else given
    if not _mapping(extra) or any(not isinstance(name, str) for name in cast("Any", extra)):
        raise _wrong("parameters", "a dict whose keys are strings", extra)
    parameters: dict[str, Any] = {"result_format": default_format, **extra}
    values: tuple[object, ...] = _named_values(arguments)
    for name, value in zip(_NAMED, values, strict=True):
        if value is None:
            continue
        fits, expected = _NAMED[name]
        if not fits(value):
            raise _wrong(name, expected, value)
        if name in extra:
            raise _given_twice(name)
        parameters[name] = value
    if arguments.tools is not None:
        parameters["tools"] = _described_tools(arguments.tools)
    return parameters


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(cast("float", value)) <= sys.float_info.max


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _iterable(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, (list, Iterable))


def _mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, (dict, Mapping))  # the usual class first: an ABC's check is slow


def _list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _tools(value: object) -> bool:
    return _list(value) and all(_mapping(tool) or callable(tool) for tool in value)


def _described_tools(tools: Sequence[ToolLike]) -> list[Mapping[str, Any]]:
    """Return the tools with each function replaced by its description."""
    return [
        tool if isinstance(tool, Mapping) else tool_schema(tool, f"tools[{at}]")
        for at, tool in enumerate(tools)
    ]


_NAMED: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "result_format": (lambda v: v in ("text", "message"), "'text' or 'message'"),
    "temperature": (_number, "a finite number"),
    "top_p": (_number, "a finite number"),
    "top_k": (_whole, "a whole number"),
    "max_tokens": (_whole, "a whole number"),
    "seed": (_whole, "a whole number"),
    "repetition_penalty": (_number, "a finite number"),
    "presence_penalty": (_number, "a finite number"),
    "stop": (lambda v: isinstance(v, str) or _list(v), "a string or a list"),
    "n": (_whole, "a whole number"),
    "tools": (_tools, "a list of functions or dicts"),
    "tool_choice": (lambda v: isinstance(v, str | Mapping), "a string or a dict"),
    "response_format": (_mapping, "a dict"),
}
"""The named parameters, each with its check and with what an error says of it."""

_named_values: Final = attrgetter(*_NAMED)


def encode(payload: dict[str, Any]) -> bytes:
    """Return a request body as JSON.

    Raises:
        InvalidRequestError: an argument can't be written as JSON in UTF-8; the message names it.
    """
    try:
        return _json(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        where, reason = _unsendable(payload) or ("parameters", str(error))
        msg = f"{where} can't be sent: {reason}"
        raise InvalidRequestError(msg) from None


def _plain(value: object) -> object:
    """Return models, mappings and sequences of any class as types that JSON has."""
    if isinstance(value, Record):
        return unstructure(value)
    if _mapping(value):
        return dict(value)
    if _list(value) and not isinstance(value, memoryview):
        return list(value)
    msg = f"{type(value).__name__} has no form in JSON"
    raise TypeError(msg)


_json: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
).encode


def _unsendable(payload: dict[str, Any]) -> tuple[str, str] | None:
    """Find the first argument that can't be written as JSON in UTF-8, and why."""
    content = payload["input"]
    parts = [("model", payload["model"]), ("prompt", content.get("prompt"))]
    for at, message in enumerate(content.get("messages", ())):
        parts += [(f"messages[{at}][{key!r}]", value) for key, value in message.items()]
        parts.append((f"messages[{at}]", message))
    named = payload["parameters"].items()
    parts += [(name if name in _NAMED else f"parameters[{name!r}]", value) for name, value in named]
    parts.append(("parameters", payload["parameters"]))
    return next(((where, reason) for where, value in parts if (reason := _obstacle(value))), None)


def _obstacle(value: object) -> str:
    """Say why a value can't be written as JSON in UTF-8; empty if it can."""
    try:
        _json(value).encode()
    except UnicodeEncodeError:
        return "it has a lone surrogate, half of a character, which UTF-8 can't encode"
    except RecursionError:  # its message differs between versions of Python
        return "it is nested too deeply"
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _given_twice(name: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} is given twice: as an argument and in parameters")


def _wrong(name: str, expected: str, value: object) -> InvalidRequestError:
    shown, kind = bounded_repr(value), type(value).__name__
    if value is not None and not shown.startswith("a value of"):
        shown = f"{shown} ({kind})"
    return InvalidRequestError(f"{name} must be {expected}, got {shown}")


PATH: Final = "/services/aigc/text-generation/generation"
"""Appended to the base URL; the route is the same for every text model."""


def request_headers(key: ApiKey, workspace: str | None, *, streaming: bool) -> dict[str, str]:
    """Return the headers that the service reads, in lower case."""
    headers = {"authorization": f"Bearer {key.reveal()}", "content-type": "application/json"}
    if streaming:
        # Editions of the documentation differ on which of the two enables streaming.
        headers["x-dashscope-sse"] = "enable"
        headers["accept"] = "text/event-stream"
    else:
        headers["accept"] = "application/json"
    if workspace:
        headers["x-dashscope-workspace"] = workspace
    return headers
