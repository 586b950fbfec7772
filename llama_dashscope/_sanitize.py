"""Sanitizing text from outside: secrets removed, control characters escaped, length bounded.

Text from a service, a gateway, a proxy or a library passes through here before it is shown in an
error, a log or a terminal.
"""

from collections.abc import Iterable
from typing import Final

__all__ = ["LONGEST_MESSAGE", "LONGEST_NAME", "redact", "sanitize"]

LONGEST_MESSAGE: Final = 2000
"""Longest message that is shown, in characters."""

LONGEST_NAME: Final = 128
"""Longest error code or request id that is shown, in characters."""

SHORTEST_PREFIX: Final = 8
"""A prefix of a secret is redacted from this length on: quoted text may be cut off in a secret."""


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with these secrets, and long prefixes of them, replaced by `***`."""
    for secret in secrets:
        begin = secret[:SHORTEST_PREFIX]
        at = text.find(begin) if begin else -1
        while at >= 0:
            end = at + len(begin)
            while text[end : end + 1] == secret[end - at : end - at + 1] != "":
                end += 1
            text = f"{text[:at]}***{text[end:]}"
            at = text.find(begin, at + 3)
    return text


def sanitize(text: str, secrets: Iterable[str] = (), limit: int = LONGEST_MESSAGE) -> str:
    """Return the text in one line that is safe to print.

    Args:
        text: text from outside.
        secrets: what the result must not show.
        limit: longest result in characters; a longer one is cut and ends with "...".
    """
    # Cut before escaping, so that a huge text is cheap, and after, since escapes add characters.
    line = " ".join(redact(text[: 4 * limit], secrets).split())
    if not line.isprintable():
        line = "".join(each if each.isprintable() else _escape(each) for each in line)
    return line if len(line) <= limit else f"{line[:limit]}..."


def _escape(character: str) -> str:
    """Write a character as Python does in a string."""
    return character.encode("unicode_escape").decode("ascii")
