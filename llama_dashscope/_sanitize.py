"""Sanitizing text from outside: secrets removed, control characters escaped, length bounded.

Text from a service, a gateway, a proxy or a library passes through here before it is shown in an
error, a log or a terminal. So does an exception whose frames have such text in local variables.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar, cast

__all__ = [
    "LONGEST_MESSAGE",
    "LONGEST_NAME",
    "attempts_of",
    "bounded_repr",
    "chain_of",
    "redact",
    "sanitize",
    "without_frames",
]

E = TypeVar("E", bound=BaseException)

LONGEST_MESSAGE: Final = 2000
"""Longest message that is shown, in characters."""

LONGEST_NAME: Final = 128
"""Longest error code or request id that is shown, in characters."""

LONGEST_VALUE: Final = 80
"""Longest repr of an argument that is shown, in characters."""

SHORTEST_PREFIX: Final = 8
"""A prefix of a secret is redacted from this length on: quoted text may be cut off in a secret."""

SHORTEST_PART: Final = 12
"""Any other part of a secret is redacted from this length on: quoted text may begin in a secret, or
break within it."""

BLOCKS: Final = re.compile(rf"(?s:.{{{SHORTEST_PREFIX // 2}}})")
"""The blocks of a text that are looked up in a secret: half as long as the shortest prefix."""


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with these secrets, and long parts of them, replaced by `***`."""
    shared = [secret for secret in secrets if _may_share(text, secret)]
    if not shared:
        return text
    found = sorted(_places(text, {part for secret in shared for part in _parts(secret)}))
    shown: list[str] = []
    done = 0
    for begin, end in found:
        if begin >= done:
            shown += text[done:begin], "***"
        done = max(done, end)
    return "".join([*shown, text[done:]])


def _may_share(text: str, secret: str) -> bool:
    """Tell quickly whether a text may have a part of a secret; nearly all texts don't.

    Each part, unless the secret is very short, covers a whole block of the text.
    """
    if len(secret) < SHORTEST_PREFIX:
        return secret in text
    return any(map(secret.__contains__, BLOCKS.findall(text)))


def _parts(secret: str) -> Iterator[str]:
    """Yield the shortest parts of a secret that are redacted; longer ones consist of these."""
    for end in range(min(len(secret), SHORTEST_PREFIX), min(len(secret), SHORTEST_PART)):
        yield secret[:end]
    for end in range(min(len(secret), SHORTEST_PART), len(secret) + 1):
        yield secret[max(0, end - SHORTEST_PART) : end]


def _places(text: str, parts: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield the beginning and the end of each part in a text."""
    for part in parts:
        at = text.find(part) if part else -1
        while at >= 0:
            yield at, at + len(part)
            at = text.find(part, at + 1)


def sanitize(text: str, secrets: Iterable[str] = (), limit: int = LONGEST_MESSAGE) -> str:
    """Return the text in one line that is safe to print.

    Args:
        text: text from outside.
        secrets: what the result must not show.
        limit: longest result in characters; a longer one is cut and ends with "...".
    """
    if len(text) <= limit and text.isprintable() and " " not in text:  # most names are so
        return redact(text, secrets)
    # Cut before escaping, so that a huge text is cheap, and after, since escapes add characters.
    line = " ".join(redact(text[: 4 * limit], secrets).split())
    if not line.isprintable():
        line = "".join(each if each.isprintable() else _escape(each) for each in line)
    return line if len(line) <= limit else f"{line[:limit]}..."


def _escape(character: str) -> str:
    """Write a character as Python does in a string."""
    return character.encode("unicode_escape").decode("ascii")


def bounded_repr(value: object) -> str:
    """Return the repr of an argument for an error; only its type if the repr is long or fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # too many digits, too deep, or whatever a caller's class does
        text = ""
    fits = text and len(text) <= LONGEST_VALUE and text.isprintable()
    return text if fits else f"a value of type {type(value).__name__}"


def without_frames(error: E) -> E:
    """Return an exception without its traceback and those of its causes.

    The local variables of their frames show text from outside as it came, which may echo the key,
    and error-reporting tools send local variables away.
    """
    for each in chain_of(error):
        each.__traceback__ = None
    return error


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all its causes and contexts, each once."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            todo += [each.__cause__, each.__context__, *attempts_of(each)]
            yield each


def attempts_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return the members of an exception group; empty for any other exception."""
    attempts: Any = getattr(error, "exceptions", None)
    return cast("tuple[BaseException, ...]", attempts) if isinstance(attempts, tuple) else ()
