"""Reads one frame of a stream: the payload of a response, without making a `Response`.

Thousands of frames are read for each response, so this is written by hand, for speed. It accepts
exactly what `converter` accepts; tests hold the two equal.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import cattrs

from llama_dashscope._models import Response, ToolCall, Usage

from .converter import (
    UNFINISHED,
    converter,
    finish_reason,
    is_count,
    read_list,
    read_text,
    read_usage,
    structure,
)
from .payload import as_object, as_text
from .surrogates import has_surrogates

__all__ = ["ChoiceDelta", "FastPayload", "StreamPayload", "read_fast", "read_frame"]

FRAME: Final = frozenset(
    {"output", "usage", "request_id", "requestId", "code", "message", "status_code"}
)
OUTPUT: Final = frozenset({"text", "finish_reason", "choices"})
CHOICE: Final = frozenset({"finish_reason", "message", "index"})
MESSAGE: Final = frozenset({"role", "content", "tool_calls"})

USUAL_FIELDS: Final = 8
"""How many fields a frame of the usual form has at all depths, those of its usage excepted."""

NOTHING: Final[Mapping[str, Any]] = {}

PLACE: Final = re.compile("[0-9]{1,9}")
"""An index that was sent as text."""


@attrs.define
class ChoiceDelta:
    """What a frame adds to one answer."""

    answer: int
    """Which answer: its index, or its position in the frame if the service sends no index."""
    sent_index: int | None
    text: str
    finish_reason: str | None
    role: str
    tool_calls: tuple[ToolCall, ...]
    of_choice: Mapping[str, Any]
    of_message: Mapping[str, Any]


@attrs.define
class StreamPayload:
    """One frame: its known fields, and the unknown ones of each level."""

    pieces: list[ChoiceDelta]
    usage: Usage | None
    request_id: str
    as_choices: bool
    of_frame: Mapping[str, Any]
    of_output: Mapping[str, Any]


FastPayload: TypeAlias = tuple[str, str | None, Usage, str]
"""A frame of the usual form, one choice in the `message` format without unknown fields: its text,
finish_reason, usage and request_id."""


def read_fast(payload: dict[str, Any]) -> FastPayload | None:
    """Read a frame of the form that recorded streams in the `message` format have.

    Returns None for any other form; `read_frame` reads all of them.
    """
    try:
        output, request_id = payload["output"], payload["request_id"]
        [choice] = output["choices"]
        message, reason = choice["message"], choice["finish_reason"]
        text = message["content"]
        usage = read_usage(payload["usage"])
        as_recorded = message["role"] == "assistant" and (
            len(payload) + len(output) + len(choice) + len(message) == USUAL_FIELDS
        )
    except (LookupError, TypeError, ValueError, cattrs.BaseValidationError):
        return None
    if as_recorded and type(text) is type(reason) is type(request_id) is str:
        if has_surrogates(text):
            return None
        reason = None if reason in UNFINISHED else reason
        return text, reason, usage, request_id
    return None


def read_frame(payload: dict[str, Any]) -> StreamPayload:
    """Read a frame of any form.

    Raises:
        ValueError: the payload is not a frame; the message says where and why.
    """
    try:
        return _read(payload)
    except (cattrs.BaseValidationError, AttributeError, TypeError, ValueError):
        structure(payload, Response)  # raises with a better message
        raise  # pragma: no cover  # `structure` refuses whatever is refused here


def _read(payload: dict[str, Any]) -> StreamPayload:
    output = payload.get("output")
    if output is None:
        output = NOTHING
    choices, text = output.get("choices"), output.get("text")
    choices = None if choices is None else read_list(choices)
    usage = payload.get("usage")
    as_choices = bool(choices) or (choices is not None and text is None)
    if as_choices:
        pieces = [_piece(at, choice) for at, choice in enumerate(choices or ())]
        if len(pieces) > 1 and len({piece.answer for piece in pieces}) < len(pieces):
            # Two answers of one frame are never the same one: their places tell them apart.
            for at, piece in enumerate(pieces):
                piece.answer = at
    else:
        reason = finish_reason(output.get("finish_reason"))
        pieces = [ChoiceDelta(0, None, _text(text), reason, "", (), NOTHING, NOTHING)]
    counted = as_object(usage)
    known = FRAME if counted is not None or usage is None else FRAME - {"usage"}
    return StreamPayload(
        pieces,
        None if counted is None else read_usage(counted),
        as_text(payload.get("request_id")) or as_text(payload.get("requestId")),
        as_choices,
        NOTHING if known.issuperset(payload) else _unknown(payload, known),
        NOTHING if OUTPUT.issuperset(output) else _unknown(output, OUTPUT),
    )


def _piece(place: int, choice: dict[str, Any]) -> ChoiceDelta:
    message = choice.get("message")
    if message is None:
        message = NOTHING
    given, role = choice.get("index"), message.get("role")
    index = converter.structure(given, int) if is_count(given) else None
    calls = message.get("tool_calls")
    of_choice = CHOICE if given is None or index is not None else CHOICE - {"index"}
    of_message = MESSAGE if role is None or isinstance(role, str) else MESSAGE - {"role"}
    return ChoiceDelta(
        _place(given, place) if index is None else index,
        index,
        _text(message.get("content")),
        finish_reason(choice.get("finish_reason")),
        role if isinstance(role, str) else "",
        () if calls is None else converter.structure(read_list(calls), tuple[ToolCall, ...]),
        NOTHING if of_choice.issuperset(choice) else _unknown(choice, of_choice),
        NOTHING if of_message.issuperset(message) else _unknown(message, of_message),
    )


def _place(given: object, place: int) -> int:
    """Return which answer a choice belongs to if its index is no number."""
    return int(given) if isinstance(given, str) and PLACE.fullmatch(given) else place


def _text(value: object) -> str:
    return "" if value is None else read_text(value)


def _unknown(value: Mapping[str, Any], known: frozenset[str]) -> Mapping[str, Any]:
    return {key: item for key, item in value.items() if key not in known}
