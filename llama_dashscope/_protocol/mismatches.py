"""Mistakes in a JSON value: the path to each one, and what is wrong there."""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import cattrs

__all__ = ["LONGEST_SHOWN", "Mismatch", "WrongKindError", "describe", "find_mismatches", "shown"]

LONGEST_SHOWN: Final = 60
"""Longest value, name or reason that an error shows, in characters."""


@attrs.frozen
class Mismatch:
    """One mistake in a JSON value."""

    keys: tuple[str | int, ...]
    """The keys and indices that lead to it."""
    reason: str
    unknown: bool = False
    """Whether the mistake is only a field that the class doesn't have."""

    @property
    def path(self) -> str:
        """The path to it, such as `$.stops[0].city`."""
        return "$" + "".join(map(_step, self.keys))

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def _step(key: str | int) -> str:
    if isinstance(key, str) and key.isidentifier() and len(key) <= LONGEST_SHOWN:
        return f".{key}"
    return f"[{shown(key)}]"


def find_mismatches(error: BaseException, keys: tuple[str | int, ...] = ()) -> Iterator[Mismatch]:
    """Return each mistake in an error that the strict converter raised."""
    if isinstance(error, cattrs.ClassValidationError | cattrs.IterableValidationError):
        noted, bare = error.group_exceptions()
        for inner, note in noted:
            key = note.name if isinstance(note, cattrs.AttributeValidationNote) else note.index
            if isinstance(inner, KeyError):
                yield Mismatch((*keys, key), "is missing")
            else:
                yield from find_mismatches(inner, (*keys, key))
        for inner in bare:
            yield from find_mismatches(inner, keys)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield Mismatch((*keys, name), "is not a known field", unknown=True)
    else:
        yield Mismatch(keys, _bounded(str(error.args[0] if error.args else type(error).__name__)))


def describe(mismatches: Sequence[Mismatch]) -> str:
    """Describe the mistakes in one line: the first one, and how many more there are."""
    more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
    return f"{mismatches[0]}{more}"


def _bounded(text: str) -> str:
    most = 3 * LONGEST_SHOWN
    text = "".join(each if each.isprintable() else " " for each in text[:most])
    return text if len(text) < most else f"{text}..."


def shown(value: object) -> str:
    """Return how an error shows a JSON value."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


class WrongKindError(ValueError):
    """A value is of a different JSON type than expected."""

    def __init__(self, expected: str, value: object) -> None:
        """Name the expected kind of value and the one found."""
        super().__init__(f"expected {expected}, got {shown(value)}")
        self.expected = expected
