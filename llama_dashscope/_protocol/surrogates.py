r"""Lone surrogates: JSON escapes such as `\ud83d`, each of which is half of a character.

A service that counts in UTF-16 can cut a character in two between two frames of a stream. No text
that this package returns has a lone surrogate: pairs are joined, and a half whose other half is
missing becomes U+FFFD, the replacement character.
"""

import re
from collections.abc import Hashable, Iterator
from typing import Any, Final, cast

__all__ = ["SurrogateJoiner", "has_surrogates", "join_in_frame", "join_surrogates"]

SURROGATES: Final = re.compile("[\ud800-\udfff]")


def has_surrogates(text: str) -> bool:
    """Tell whether a text holds half a character."""
    return not text.isascii() and SURROGATES.search(text) is not None


def join_surrogates(value: object) -> Any:  # a JSON value
    """Return a JSON value with pairs joined and halves replaced, in every text at any depth."""
    if isinstance(value, str):
        return _joined(value)
    if isinstance(value, list):
        return [join_surrogates(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    return {
        _joined(key): join_surrogates(item)
        for key, item in cast("dict[str, object]", value).items()
    }


def join_in_frame(payload: object) -> Any:  # a JSON value
    """Do the same with a frame, but leave the texts that a stream sends in pieces as they are.

    `SurrogateJoiner` finds the other halves of these in the next frame.
    """
    joined = join_surrogates(payload)
    pairs = zip(_growing_texts(_object(joined)), _growing_texts(_object(payload)), strict=True)
    for (_, holder, name, _), (_, sent, _, _) in pairs:
        if isinstance(text := sent.get(name), str):
            holder[name] = text
    return joined


def _joined(text: str) -> str:
    if not has_surrogates(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class SurrogateJoiner:
    """Joins characters that were cut in two between two frames of one stream."""

    __slots__ = ("_halves",)

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
