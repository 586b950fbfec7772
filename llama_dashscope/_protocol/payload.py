"""Reads the JSON object in a body or a frame, without lone surrogates."""

import json
import re
from typing import Any, Final, cast

from .sse import BOM
from .surrogates import join_in_frame, join_surrogates

__all__ = ["as_object", "as_text", "read_payload"]

SPACE: Final = " \t\r\n"
"""Whitespace that JSON allows around a value."""

HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of a surrogate, which is half of a character."""

read_json: Final = json.JSONDecoder().raw_decode
"""Reads the JSON value at the beginning of a text; takes half the time of `json.loads`."""

MOST_DIGITS: Final = 4300
"""Python refuses to convert a longer integer; such a one is read as a float."""


def _read_int(digits: str) -> float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


read_long_integers: Final = json.JSONDecoder(parse_int=_read_int).raw_decode
"""Does the same where `read_json` fails at a long integer."""


def read_payload(data: bytes, *, is_frame: bool = False) -> dict[str, Any] | None:
    """Read a JSON object; None if the bytes are anything else.

    Args:
        data: a whole body, or the data of one frame.
        is_frame: whether texts continue in further frames; then half a character at the end of a
            text is left for `SurrogateJoiner`.
    """
    try:
        text = data.removeprefix(BOM).decode().strip(SPACE)
        payload, end = _read(text)
        if b"\\" in data and HALF.search(data):
            payload = join_in_frame(payload) if is_frame else join_surrogates(payload)
    except (ValueError, RecursionError):
        return None
    found: dict[str, Any] = payload
    return found if isinstance(payload, dict) and end == len(text) else None


def _read(text: str) -> tuple[Any, int]:
    """Read the JSON value at the beginning of a text, with integers of any length."""
    try:
        return read_json(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return read_long_integers(text)


def as_object(value: object) -> dict[str, Any] | None:
    """Return the value if it is a JSON object, else None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_text(value: object) -> str:
    """Return a string unchanged, null as the empty string, and any other value as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
