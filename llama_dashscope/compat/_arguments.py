"""The arguments of `Generation`, as the official SDK takes them, and the request from them."""

import json
import os
import warnings
from base64 import b64encode
from collections.abc import Generator, Iterable, Mapping
from io import IOBase
from typing import Any, Final, cast

from llama_dashscope._errors import InvalidRequestError
from llama_dashscope._protocol.options import MessageLike
from llama_dashscope._protocol.request import Payload, encode, listed
from llama_dashscope._version import __version__

__all__ = [
    "InputRequired",
    "ModelRequired",
    "QwenModels",
    "make_payload",
    "take_headers",
    "take_parameters",
]

NAMED: Final = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "stop",
    "repetition_penalty",
    "presence_penalty",
    "result_format",
    "incremental_output",
    "enable_search",
    "tools",
    "tool_choice",
    "enable_thinking",
    "thinking_budget",
    "n",
    "logprobs",
    "top_logprobs",
    "search_options",
    "parallel_tool_calls",
    "response_format",
    "output_format",
)
"""The official SDK's parameters in their order; None leaves one out. Others are sent as given."""

ANY_VALUE: Final = ()
TRANSPORT_KEYWORDS: Final[Mapping[str, tuple[object, ...]]] = {
    "api_protocol": ("http", "https"),
    "async_request": (False,),
    "enable_encryption": (False,),
    "extra_url_parameters": ({},),
    "flattened_output": (False,),
    "form": ({},),
    "http_method": ("POST",),
    "is_binary_input": ANY_VALUE,
    "is_service": (True,),
    "pre_task_id": ANY_VALUE,
    "query": (False,),
    "resources": ({},),
    "session": ANY_VALUE,
    "task_id": ANY_VALUE,
    "ws_stream_mode": ANY_VALUE,
}
"""Keywords of the official SDK's own transport, and the values of each that are accepted here.

None is accepted for all of them; `ANY_VALUE` is for those that have no effect on a plain request.
"""

CALLER_DEPTH: Final = 4
"""Stack frames between `take_parameters` and the caller of `Generation`, for warnings."""


class InputRequired(InvalidRequestError):  # the official SDK's name
    """There is neither a prompt nor a message."""


class ModelRequired(InvalidRequestError):  # the official SDK's name
    """There is no model name."""


def take_parameters(values: tuple[object, ...], named: dict[str, object]) -> dict[str, Any]:
    """Merge positional and keyword parameters.

    Raises:
        TypeError: there are too many positional ones, or one is also given by keyword.
        InvalidRequestError: one asks for something that only the official SDK's transport can do.
    """
    given: dict[str, object] = dict(zip(NAMED, values, strict=False))
    if len(values) > len(NAMED) or given.keys() & named.keys():
        msg = "call() got too many positional arguments, or one of them by keyword too"
        raise TypeError(msg)
    given.update(named)
    for name in TRANSPORT_KEYWORDS.keys() & given.keys():
        _check_ignored(name, given.pop(name))
    return {name: value for name, value in given.items() if value is not None or name not in NAMED}


def _check_ignored(name: str, value: object) -> None:
    """Ignore a keyword of the official SDK's transport if its value has no effect here."""
    fine = TRANSPORT_KEYWORDS[name]
    if value is None:
        return
    if fine and value not in fine:
        shown = " or ".join(map(repr, fine))
        msg = f"{name} is for the official SDK's own transport; here it can only be {shown}"
        raise InvalidRequestError(msg)
    if name == "session":
        warnings.warn(
            "session is ignored, including its settings: all calls of a process share this "
            "package's own connections",
            UserWarning,
            stacklevel=CALLER_DEPTH + 1,
        )


def take_headers(
    parameters: dict[str, Any], plugins: str | Mapping[str, Any] | None, *, streaming: bool
) -> dict[str, str]:
    """Remove the headers of a call from its keywords and return them."""
    headers: dict[str, str] = {}
    if streaming:
        headers["x-accel-buffering"] = "no"
    if os.environ.get("DASHSCOPE_DISABLE_DATA_INSPECTION", "").lower() == "false":
        headers["x-dashscope-datainspection"] = "enable"
    if agent := parameters.pop("user_agent", None):
        headers["user-agent"] = f"llama-dashscope/{__version__}; {agent}"
    headers.update(parameters.pop("headers", None) or {})
    if plugins is not None:
        own = plugins if isinstance(plugins, str) else json.dumps(plugins)
        headers["X-DashScope-Plugin"] = own
    return headers


def make_payload(
    model: str,
    prompt: object,
    history: object,
    messages: Iterable[MessageLike] | None,
    parameters: dict[str, Any],
    *,
    streaming: bool,
) -> Payload:
    """Return the request body.

    In a stream, `incremental_output=False` requests pieces too, as in the official SDK, which joins
    them itself. Without `incremental_output` the service chooses whether to repeat the whole text
    or to send pieces.

    Raises:
        InputRequired: the prompt is an empty file or generator.
        InvalidRequestError: an argument has no form in JSON.
    """
    # Anything but True and False is for the service to judge.
    asked = streaming and isinstance(parameters.get("incremental_output"), bool)
    if asked:
        parameters["incremental_output"] = True
    content = _input(_read(prompt), history, messages)
    body = encode({"model": model, "input": content, "parameters": parameters})
    count = parameters.get("n")
    choices = count if isinstance(count, int) else 1
    return Payload(body, streaming, asked or None, choices, model, parameters)


def _input(
    prompt: object, history: object, messages: Iterable[MessageLike] | None
) -> dict[str, Any]:
    """Return the `input` in one of its three forms: history, prompt or messages."""
    asked = {"prompt": prompt} if prompt else {}
    if history is not None:
        return {"history": history, **asked}
    if messages is None:
        return asked
    last = [{"role": "user", "content": prompt}] if prompt else []
    return {"messages": [*listed(messages), *last]}


def _read(prompt: object) -> object:
    """Read a prompt that is a file, bytes or a generator, as the official SDK does.

    A text file becomes the list of its lines, other bytes become Base64, and of a generator only
    the first item is used.
    """
    given = prompt
    while isinstance(prompt, Generator):
        prompt = next(cast("Generator[object, None, None]", prompt), None)
    if isinstance(prompt, IOBase):
        prompt = _lines(cast("Any", prompt).read())
    if isinstance(prompt, bytes | bytearray):
        prompt = b64encode(prompt).decode()
    if given and not prompt:
        msg = f"prompt is an empty {type(given).__name__}"
        raise InputRequired(msg)
    return prompt


def _lines(content: str | bytes) -> list[str] | bytes:
    """Return the lines of a file; its bytes if it is not text."""
    if isinstance(content, str):
        return content.splitlines()
    if content[:SAMPLE].translate(None, TEXT):
        return content
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError:
        return content


SAMPLE: Final = 1024
"""How many bytes of a file are checked to tell whether it is text."""
TEXT: Final = bytes({*range(0x20, 0x100), *b"\a\b\t\n\f\r\x1b"} - {0x7F})
"""Bytes that occur in text."""


class QwenModels:
    """Names of Qwen models, the same as in `Generation.Models` of the official SDK."""

    qwen_v1: Final = "qwen-v1"
    qwen_plus_v1: Final = "qwen-plus-v1"
    bailian_v1: Final = "bailian-v1"
    dolly_12b_v2: Final = "dolly-12b-v2"
    qwen_turbo: Final = "qwen-turbo"
    qwen_plus: Final = "qwen-plus"
    qwen_max: Final = "qwen-max"
