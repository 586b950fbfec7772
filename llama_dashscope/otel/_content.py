"""Messages of requests and responses in the conventions' format; recorded only on request."""

import json
import warnings
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, cast

from llama_dashscope import Message, Response

__all__ = ["VARIABLE", "CaptureContent", "input_messages", "output_messages"]

VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class CaptureContent(str, Enum):
    """Where messages are recorded; the values of the environment variable."""

    NO_CONTENT = "NO_CONTENT"
    SPAN_ONLY = "SPAN_ONLY"
    EVENT_ONLY = "EVENT_ONLY"
    SPAN_AND_EVENT = "SPAN_AND_EVENT"

    @classmethod
    def of(cls, value: str | None, source: str) -> "CaptureContent":
        """Read a setting; an unknown value warns and means `NO_CONTENT`."""
        name = (value or cls.NO_CONTENT.value).strip().upper()
        if name in cls.__members__:
            return cls[name]
        choices = ", ".join(cls.__members__)
        msg = f"{source} must be one of {choices}: no messages are recorded"
        warnings.warn(msg, UserWarning, stacklevel=3)
        return cls.NO_CONTENT

    @property
    def on_span(self) -> bool:
        """Whether spans have the messages."""
        return self in {CaptureContent.SPAN_ONLY, CaptureContent.SPAN_AND_EVENT}

    @property
    def as_event(self) -> bool:
        """Whether a separate event has the messages."""
        return self in {CaptureContent.EVENT_ONLY, CaptureContent.SPAN_AND_EVENT}


def input_messages(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the `input` of a request as messages with parts."""
    given: Any = asked.get("messages")
    if given is None:
        return [_message("user", _texts(asked.get("prompt")))]
    return [_asked(each) for each in cast("Iterable[Mapping[str, Any]]", given)]


def output_messages(response: Response | None) -> list[dict[str, Any]]:
    """Return the answers of a response as messages with parts, and why each one ended."""
    if response is None:
        return []
    if not response.output.choices:
        message = _message("assistant", _texts(response.text))
        return [{**message, "finish_reason": response.output.finish_reason or ""}]
    return [
        {**_answer(choice.message), "finish_reason": choice.finish_reason or ""}
        for choice in response.output.choices
    ]


def _message(role: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "parts": parts}


def _asked(message: Mapping[str, Any]) -> dict[str, Any]:
    role = str(message.get("role"))
    if role == "tool":
        reply = {"id": message.get("tool_call_id"), "response": message.get("content")}
        return _message(role, [{"type": "tool_call_response", **reply}])
    calls = cast("Iterable[Mapping[str, Any]]", message.get("tool_calls") or ())
    return _message(role, [*_texts(message.get("content")), *map(_tool_call, calls)])


def _answer(message: Message) -> dict[str, Any]:
    thought = message.extra.get("reasoning_content")
    parts = [{"type": "reasoning", "content": thought}] if thought else []
    parts += _texts(message.content)
    parts += [_tool_call(call.to_dict()) for call in message.tool_calls or ()]
    return _message(message.role, parts)


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function: Mapping[str, Any] = call.get("function") or {}
    named = {"id": call.get("id"), "name": function.get("name")}
    return {"type": "tool_call", **named, "arguments": _object(function.get("arguments"))}


def _object(arguments: Any) -> Any:
    """Parse a tool call's arguments; return them unchanged if they are not valid JSON."""
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


def _texts(content: object) -> list[dict[str, Any]]:
    if content is None or content == "":
        return []
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return [{"type": "text", "content": text}]
