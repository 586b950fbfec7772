"""JSON payloads: the one object that a body or a frame holds, with whole characters."""

import json
import re
from typing import Any, Final, cast

from .sse import BOM
from .surrogates import join_surrogates

__all__ = ["as_object", "as_text", "read_payload"]

SPACE: Final = " \t\r\n"
"""What may stand around a JSON value."""

HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of half a character."""

read_json: Final = json.JSONDecoder().raw_decode
"""Reads the JSON value that a text begins with; half the work of `json.loads`."""


def read_payload(data: bytes, *, is_frame: bool = False) -> dict[str, Any] | None:
    """Read a JSON object; None where the bytes are something else.

    Args:
        data: a whole body, or the data of one frame.
        is_frame: whether the texts go on in further frames; half a character at an end of one is
            left to `SurrogateJoiner` then.
    """
    try:
        text = data.removeprefix(BOM).decode().strip(SPACE)
        payload, end = read_json(text)
        if b"\\u" in data and HALF.search(data):
            payload = join_surrogates(payload, keep_ends=is_frame)
    except (ValueError, RecursionError):
        return None
    return as_object(payload) if end == len(text) else None


def as_object(value: object) -> dict[str, Any] | None:
    """Return a JSON object as what it is; None for any other value."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_text(value: object) -> str:
    """Return a text as it is, nothing for null, and any other value as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
