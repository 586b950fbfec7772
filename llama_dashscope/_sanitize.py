"""Sanitizing text from outside: secrets removed, control characters escaped, length bounded.

Whatever a service, a gateway, a proxy or a library says passes through here before an error, a log
or a terminal shows it.
"""

from collections.abc import Iterable
from typing import Final

__all__ = ["LONGEST_MESSAGE", "LONGEST_NAME", "redact", "sanitize"]

LONGEST_MESSAGE: Final = 2000
"""How much of a message is shown, in characters."""

LONGEST_NAME: Final = 128
"""How much of an error code or a request id is shown, in characters."""

TELLING: Final = 8
"""Characters of a secret's beginning that count as the secret: a quotation may break off in it."""


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these secrets, or beginnings of them that tell too much."""
    for secret in secrets:
        begin = secret[:TELLING]
        at = text.find(begin) if begin else -1
        while at >= 0:
            end = at + len(begin)
            while text[end : end + 1] == secret[end - at : end - at + 1] != "":
                end += 1
            text = f"{text[:at]}***{text[end:]}"
            at = text.find(begin, at + 3)
    return text


def sanitize(text: str, secrets: Iterable[str] = (), limit: int = LONGEST_MESSAGE) -> str:
    """Return a text in one line that nobody need fear to print.

    Args:
        text: what somebody else said.
        secrets: what it must not show.
        limit: longest result in characters; what is longer ends with "...".
    """
    # Cut before and after: a huge text costs no more than a long one, and escapes take up room.
    line = " ".join(redact(text[: 4 * limit], secrets).split())
    if not line.isprintable():
        line = "".join(each if each.isprintable() else _escape(each) for each in line)
    return line if len(line) <= limit else f"{line[:limit]}..."


def _escape(character: str) -> str:
    """Write a character as Python does in a string."""
    return character.encode("unicode_escape").decode("ascii")
