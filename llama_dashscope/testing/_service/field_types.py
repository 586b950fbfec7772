"""Checks arguments by their types, so that a mistake in a test shows where it was made."""

from collections.abc import Callable, Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import attrs

__all__ = ["by_type", "check", "expected_by"]

_LONGEST_SHOWN = 80  # characters


def by_type(_: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """Give each field of an attrs class a check by its type; use it as `field_transformer`.

    The check raises a ValueError that names the class and the field.
    """
    return [
        each if each.validator or not each.init else each.evolve(validator=_check_field)
        for each in fields
    ]


def _check_field(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    check(f"{type(instance).__name__}.{attribute.name}", attribute.type, value)


def check(name: str, kind: object, value: object) -> None:
    """Raise a ValueError that names an argument, if its value is not of its type."""
    if expected := expected_by(kind, value):
        raise ValueError(f"{name} must be {expected}, got {value!r:.{_LONGEST_SHOWN}}")


def expected_by(kind: object, value: object) -> str:
    """Say what a type expects instead of a value; empty if the value fits.

    Args:
        kind: `float` and `int` stand for numbers from 0 on; other types are taken as they are.
        value: the value.
    """
    if get_origin(kind) in {Union, UnionType}:
        kinds = [each for each in get_args(kind) if each is not NoneType]
        wanted = [expected_by(each, value) for each in kinds]
        missing = value is None and len(kinds) < len(get_args(kind))
        return "" if missing or not all(wanted) else " or ".join(wanted)
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return "" if value in choices else f"one of {', '.join(map(repr, choices))}"
    if kind is float or kind is int:
        return _number(kind, value)
    return _object(kind, value)


def _number(kind: type, value: object) -> str:
    number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    fits = number and cast("float", value) >= 0
    return "" if fits else f"a {'whole ' if kind is int else ''}number, 0 or more"


def _object(kind: object, value: object) -> str:
    outer: Any = get_origin(kind) or kind
    if outer is Callable:
        return "" if callable(value) else "a function"
    if issubclass(outer, Collection) and not issubclass(outer, str | bytes | Mapping):
        [inner] = get_args(kind)
        items: Any = value
        fits = isinstance(value, Collection) and not isinstance(value, str | bytes)
        fits = fits and not any(expected_by(inner, each) for each in items)
        return "" if fits else f"a list, each item {_name(inner)}"
    return "" if isinstance(value, outer) else _name(outer)


def _name(kind: Any) -> str:
    known: dict[Any, str] = {str: "a string", bytes: "bytes", Mapping: "a dict"}
    return known.get(kind, f"a {kind.__name__}")
