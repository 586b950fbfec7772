r"""Lone surrogates: JSON escapes such as `\ud83d`, each of which is half of a character.

A service that counts in UTF-16 can cut a character in two between two frames of a stream. No text
that this package returns has a lone surrogate: pairs are joined, and a half whose other half is
missing becomes U+FFFD, the replacement character.
"""

import re
from collections.abc import Hashable, Iterator
from typing import Any, Final, cast

__all__ = ["SurrogateJoiner", "has_surrogates", "join_surrogates"]

SURROGATES: Final = re.compile("[\ud800-\udfff]")
INNER: Final = re.compile("(?s)([\udc00-\udfff]?)(.*?)([\ud800-\udbff]?)")
"""A text, with an optional second half of a character before it and a first half after it."""

GROWING: Final = frozenset({"arguments", "content", "reasoning_content", "text"})
"""Fields that a stream sends in pieces."""


def has_surrogates(text: str) -> bool:
    """Tell whether a text holds half a character."""
    return not text.isascii() and SURROGATES.search(text) is not None


def join_surrogates(value: object, *, keep_ends: bool = False) -> object:
    """Return a JSON value with pairs joined and halves replaced, in every text at any depth.

    Args:
        value: a JSON value.
        keep_ends: leave a half at the end of a text that a stream sends in pieces;
            `SurrogateJoiner` finds its other half in the next frame.
    """
    if isinstance(value, str):
        return _joined(value)
    if isinstance(value, list):
        return [join_surrogates(item, keep_ends=keep_ends) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    return {
        _joined(key): _inner_joined(item)
        if keep_ends and key in GROWING and isinstance(item, str)
        else join_surrogates(item, keep_ends=keep_ends)
        for key, item in cast("dict[str, object]", value).items()
    }


def _joined(text: str) -> str:
    if not has_surrogates(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _inner_joined(text: str) -> str:
    found = INNER.fullmatch(text)
    return f"{found[1]}{_joined(found[2])}{found[3]}" if found else text


class SurrogateJoiner:
    """Joins characters that were cut in two between two frames of one stream."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._halves: dict[Hashable, tuple[int, str]] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether a text ended in half a character whose other half has not arrived."""
        return bool(self._halves)

    def join(self, payload: dict[str, Any]) -> None:
        """Move halves at the ends of a frame's texts to where their other halves are.

        Args:
            payload: a frame; changed in place.
        """
        for place, holder, name, last in _growing_texts(payload):
            if isinstance(text := holder.get(name), str):
                holder[name] = self._settle(place, text, last=last)

    def _settle(self, place: Hashable, text: str, *, last: bool) -> str:
        length, half = self._halves.pop(place, (0, ""))
        if half and not _repeats(text, length, half):
            text = half + text
        if not last and "\ud800" <= text[-1:] <= "\udbff":
            self._halves[place] = len(text) - 1, text[-1]
            text = text[:-1]
        return _joined(text)


def _repeats(text: str, length: int, half: str) -> bool:
    """Tell whether a text repeats, complete, the character whose half came in the frame before."""
    again = text[length : length + 1].encode("utf-16-le", "surrogatepass")
    return len(again) > len(half.encode("utf-16-le", "surrogatepass")) and again.startswith(
        half.encode("utf-16-le", "surrogatepass")
    )


def _growing_texts(
    payload: dict[str, Any],
) -> Iterator[tuple[Hashable, dict[str, Any], str, bool]]:
    """Find the texts of a frame that continue in the next one.

    Yields for each: a key for its place, the object that holds it, its name there, and whether
    this frame is its last.
    """
    output = _object(payload.get("output"))
    yield "text", output, "text", _ends(output)
    for at, choice in enumerate(map(_object, _list(output.get("choices")))):
        message, last = _object(choice.get("message")), _ends(choice)
        answer = choice.get("index") if isinstance(choice.get("index"), int) else at
        for name in ("content", "reasoning_content"):
            yield (answer, name), message, name, last
        for place, call in enumerate(map(_object, _list(message.get("tool_calls")))):
            index = call.get("index") if isinstance(call.get("index"), int) else place
            yield (answer, "call", index), _object(call.get("function")), "arguments", last


def _ends(holder: dict[str, Any]) -> bool:
    return holder.get("finish_reason") not in (None, "", "null")


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
