"""What the official SDK's users pass to `Generation`, and the request that it makes."""

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

ANYTHING: Final = ()
MACHINERY: Final[Mapping[str, tuple[object, ...]]] = {
    "api_protocol": ("http", "https"),
    "async_request": (False,),
    "enable_encryption": (False,),
    "extra_url_parameters": ({},),
    "flattened_output": (False,),
    "form": ({},),
    "http_method": ("POST",),
    "is_binary_input": ANYTHING,
    "is_service": (True,),
    "pre_task_id": ANYTHING,
    "query": (False,),
    "resources": ({},),
    "session": ANYTHING,
    "task_id": ANYTHING,
    "ws_stream_mode": ANYTHING,
}
"""Keywords that steer the official SDK's own transport, and the values that change nothing here.

None is one of them for each; `ANYTHING` is for those that say nothing to a plain request.
"""

CALLER: Final = 4
"""How far the line that calls `Generation` is from `take_parameters`, for warnings to name it."""


class InputRequired(InvalidRequestError):  # the official SDK's name
    """There is neither a prompt nor a message."""


class ModelRequired(InvalidRequestError):  # the official SDK's name
    """There is no name of a model."""


def take_parameters(values: tuple[object, ...], named: dict[str, object]) -> dict[str, Any]:
    """Put the parameters that came by position to those that came by name.

    Raises:
        TypeError: there are too many of them.
        InvalidRequestError: one asks for something that only the official SDK's transport does.
    """
    given: dict[str, object] = dict(zip(NAMED, values, strict=False))
    if len(values) > len(NAMED) or given.keys() & named.keys():
        msg = "call() got too many positional arguments, or one of them by name as well"
        raise TypeError(msg)
    given.update(named)
    for name in MACHINERY.keys() & given.keys():
        _pass_over(name, given.pop(name))
    return {name: value for name, value in given.items() if value is not None or name not in NAMED}


def _pass_over(name: str, value: object) -> None:
    """Accept a keyword for the official SDK's transport that changes nothing here."""
    fine = MACHINERY[name]
    if value is None:
        return
    if fine and value not in fine:
        shown = " or ".join(map(repr, fine))
        msg = f"{name} steers the official SDK's transport; here it can only be {shown}"
        raise InvalidRequestError(msg)
    if name == "session":
        warnings.warn(
            "session is ignored, with whatever it is set up to do: the calls of a process share "
            "connections of this package's own",
            UserWarning,
            stacklevel=CALLER + 1,
        )


def take_headers(
    parameters: dict[str, Any], plugins: str | Mapping[str, Any] | None, *, streaming: bool
) -> dict[str, str]:
    """Take the headers of a call out of its keywords."""
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
    """Write the request body.

    In a stream both True and False of `incremental_output` ask for pieces, as with the official
    SDK, which puts them together itself for False; without it the service repeats the whole text,
    or sends pieces unasked.

    Raises:
        InputRequired: the prompt is an empty file, or a generator that gives nothing.
        InvalidRequestError: JSON has no form for an argument.
    """
    asked = streaming and "incremental_output" in parameters
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
    """Choose among the three forms of an input."""
    asked = {"prompt": prompt} if prompt else {}
    if history is not None:
        return {"history": history, **asked}
    if messages is None:
        return asked
    last = [{"role": "user", "content": prompt}] if prompt else []
    return {"messages": [*listed(messages), *last]}


def _read(prompt: object) -> object:
    """Read a prompt that is a file, bytes or a generator, in the official SDK's way.

    A file of text becomes the list of its lines, other bytes become Base64, and of a generator the
    first item counts.
    """
    given = prompt
    while isinstance(prompt, Generator):
        prompt = next(cast("Generator[object, None, None]", prompt), None)
    if isinstance(prompt, IOBase):
        prompt = _lines(cast("Any", prompt).read())
    if isinstance(prompt, bytes | bytearray):
        prompt = b64encode(prompt).decode()
    if given and not prompt:
        msg = f"prompt is a {type(given).__name__} with nothing in it"
        raise InputRequired(msg)
    return prompt


def _lines(content: str | bytes) -> list[str] | bytes:
    """Return the lines of a file; bytes where they are no text."""
    if isinstance(content, str):
        return content.splitlines()
    if content[:SAMPLE].translate(None, TEXT):
        return content
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError:
        return content


SAMPLE: Final = 1024
"""How much of a file is looked at to tell whether it is text."""
TEXT: Final = bytes({*range(0x20, 0x100), *b"\a\b\t\n\f\r\x1b"} - {0x7F})
"""Bytes that a text may have."""


class QwenModels:
    """Names of Qwen models, as `Generation.Models` of the official SDK has them."""

    qwen_v1: Final = "qwen-v1"
    qwen_plus_v1: Final = "qwen-plus-v1"
    bailian_v1: Final = "bailian-v1"
    dolly_12b_v2: Final = "dolly-12b-v2"
    qwen_turbo: Final = "qwen-turbo"
    qwen_plus: Final = "qwen-plus"
    qwen_max: Final = "qwen-max"
