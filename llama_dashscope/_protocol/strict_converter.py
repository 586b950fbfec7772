"""The strict converter: JSON values to Python types without converting any value.

`'2'` is no 2, 1 is no True, 2.0 is no int and a list is no object. The one exception: a whole
number is a float where a float is asked for, as JSON has one kind of number. Fields that a class
doesn't have are refused. All mistakes are found at once, each with its path.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Final, Literal, cast, get_args

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from .json_schema import (
    ARRAYS,
    DICTS,
    JSON,
    TypeForm,
    is_object,
    is_typed_dict,
    is_union,
    object_fields,
    origin_of,
    plain,
)

__all__ = ["Mismatch", "find_mismatches", "strict_converter"]

LONGEST_SHOWN: Final = 60
"""Longest value, name or reason that an error shows, in characters."""

Hook = Callable[[Any, Any], Any]


@attrs.frozen
class Mismatch:
    """One mistake in a JSON value."""

    keys: tuple[str | int, ...]
    """Where it is: the names and places on the way there."""
    reason: str
    unknown: bool = False
    """Whether it is only a field that the class doesn't have."""

    @property
    def path(self) -> str:
        """Where it is, such as `$.stops[0].city`."""
        return "$" + "".join(map(_step, self.keys))

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def _step(key: str | int) -> str:
    if isinstance(key, str) and key.isidentifier() and len(key) <= LONGEST_SHOWN:
        return f".{key}"
    return f"[{_shown(key)}]"


def find_mismatches(error: BaseException, keys: tuple[str | int, ...] = ()) -> Iterator[Mismatch]:
    """Name each mistake that an error of the strict converter holds."""
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
            yield Mismatch((*keys, name), "is no field here", unknown=True)
    else:
        yield Mismatch(keys, _bounded(str(error.args[0] if error.args else type(error).__name__)))


def _bounded(text: str) -> str:
    most = 3 * LONGEST_SHOWN
    text = "".join(each if each.isprintable() else " " for each in text[:most])
    return text if len(text) < most else f"{text}..."


def _shown(value: object) -> str:
    """Show a JSON value in an error."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."


class _WrongKindError(ValueError):
    """A value is of another kind than the type."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"expected {expected}, got {_shown(value)}")
        self.expected = expected


def _exactly(value: object, options: Iterable[Any]) -> JSON:
    """Return the option that a value stands for, its type included: 1 is not True."""
    known = [(each.value if isinstance(each, Enum) else each, each) for each in options]
    for written, option in known:
        if type(written) is type(value) and written == value:
            return option
    names = " or ".join(_shown(written) for written, _ in known)
    short = len(names) <= 3 * LONGEST_SHOWN
    raise _WrongKindError(names if short else f"one of {len(known)} values", value)


def _read_number(value: object) -> float:
    if type(value) is float or (type(value) is int and _is_exact(value)):
        return float(value)
    raise _WrongKindError("a number", value)


def _is_exact(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


DATE_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|z|[+-]\d\d:\d\d)?", re.ASCII
)
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _read_date(value: object) -> dt.date:
    if isinstance(value, str) and DATE.fullmatch(value):
        return dt.date.fromisoformat(value)
    raise _WrongKindError("a date such as '2026-01-31'", value)


def _read_date_time(value: object) -> dt.datetime:
    if isinstance(value, str) and (found := DATE_TIME.fullmatch(value)):
        day, time, part, zone = found.groups()
        zone = "+00:00" if zone in {"Z", "z"} else zone or ""
        return dt.datetime.fromisoformat(f"{day}T{time}.{part or '0':0<6}{zone}")
    raise _WrongKindError("a date and time such as '2026-01-31T09:30:00Z'", value)


def _exact_type(expected: type, name: str) -> Hook:
    """Make the function that takes values of one type as they are."""

    def read(value: object, kind: TypeForm) -> JSON:
        # cattrs gives an Enum of strings to the reader of strings.
        if isinstance(kind, type) and issubclass(kind, Enum):
            return _exactly(value, kind)
        if type(value) is expected:
            return value
        raise _WrongKindError(name, value)

    return read


def _attempt(value: object, kind: TypeForm) -> tuple[Any, Exception | None]:
    """Read a value; return what was made of it, or why nothing was."""
    try:
        return strict_converter.structure(value, kind), None
    except Exception as error:  # noqa: BLE001  # as cattrs: classes raise what they like
        return None, error


def _noted(error: Exception, key: str | int) -> Exception:
    """Note where an error belongs, as `add_note` does, which Python 3.10 has not."""
    note = cattrs.IterableValidationNote(f"At {key!r}", key, Any)
    cast("Any", error).__notes__ = [*getattr(error, "__notes__", ()), note]
    return error


def _read_each(entries: Iterable[tuple[str | int, object, Any]], whole: TypeForm) -> list[Any]:
    """Read the members of an array or object one by one; raise all their mistakes together.

    Args:
        entries: name or place, value and type of each.
        whole: the type of the array or object.
    """
    read: list[Any] = []
    failures: list[Exception] = []
    for key, value, kind in entries:
        made, error = _attempt(value, kind)
        read.append(made)
        if error is not None:
            failures.append(_noted(error, key))
    if failures:
        raise cattrs.IterableValidationError("Members don't fit", failures, whole)
    return read


def _array_reader(kind: TypeForm) -> Hook:
    origin, members = origin_of(kind), get_args(kind)
    make: Callable[[list[Any]], Any] = ARRAYS[origin]
    fixed = origin is tuple and len(members) > 0 and members[-1] is not Ellipsis
    each = (*members, Any)[0]

    def read(value: object, _: object) -> JSON:
        if not isinstance(value, list):
            raise _WrongKindError("an array", value)
        items = cast("list[object]", value)
        if fixed and len(items) != len(members):
            raise ValueError(f"expected {len(members)} items, got {len(items)}")
        kinds = members if fixed else [each] * len(items)
        made = make(_read_each(zip(range(len(items)), items, kinds, strict=True), kind))
        if len(made) < len(items):
            raise ValueError("an item stands twice")
        return made

    return read


def _dict_reader(kind: TypeForm) -> Hook:
    member = (*get_args(kind), Any, Any)[1]

    def structure(value: object, _: object) -> dict[str, Any]:
        given = _object(value)
        read = _read_each(((key, item, member) for key, item in given.items()), kind)
        return dict(zip(given, read, strict=True))

    return structure


def _object_reader(kind: TypeForm) -> Hook:
    if is_typed_dict(origin_of(kind)):
        return _typed_dict_reader(kind)
    structure = make_dict_structure_fn(kind, strict_converter)

    def read(value: object, _: object) -> JSON:
        return structure(_object(value), kind)

    return read


def _typed_dict_reader(kind: TypeForm) -> Hook:
    """Make the reader of a TypedDict: cattrs does not see all `Required` on Python 3.10."""
    kinds = {field.name: field.kind for field in object_fields(kind, "into")}
    required = [field.name for field in object_fields(kind, "into") if field.required]

    def read(value: object, _: object) -> dict[str, Any]:
        given = _object(value)
        failures = [_noted(KeyError(name), name) for name in required if name not in given]
        if unknown := given.keys() - kinds.keys():
            failures.append(cattrs.ForbiddenExtraKeysError("", kind, unknown))
        known = [(name, item, kinds[name]) for name, item in given.items() if name in kinds]
        each: list[Any] = []
        try:
            each = _read_each(known, kind)
        except cattrs.IterableValidationError as error:
            failures.append(error)
        if failures:
            raise cattrs.IterableValidationError("Fields don't fit", failures, kind)
        return {name: item for (name, _, _), item in zip(known, each, strict=True)}

    return read


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise _WrongKindError("an object", value)


def _union_reader(kind: TypeForm) -> Hook:
    """Make the function that reads the first member that fits, or tells of the nearest one."""
    members = get_args(kind)

    def read(value: object, _: object) -> JSON:
        failures: list[Exception] = []
        for member in members:
            made, error = _attempt(value, member)
            if error is None:
                return made
            failures.append(error)
        expected = [each.expected for each in failures if isinstance(each, _WrongKindError)]
        if len(expected) == len(failures):
            raise _WrongKindError(" or ".join(dict.fromkeys(expected)), value)
        raise min(failures, key=_distance)

    return read


def _distance(error: Exception) -> tuple[bool, int]:
    """Say how far a value is from a type: of another kind, or with so many mistakes."""
    return isinstance(error, _WrongKindError), sum(1 for _ in find_mismatches(error))


def _choice_reader(kind: TypeForm) -> Hook:
    options = list(cast("type[Enum]", kind)) if isinstance(kind, type) else get_args(kind)
    return lambda value, _: _exactly(value, options)


def _is_choice(kind: TypeForm) -> bool:
    return origin_of(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum))


def _is_array(kind: TypeForm) -> bool:
    return (origin_of(kind)) in ARRAYS


def _is_dict(kind: TypeForm) -> bool:
    return (origin_of(kind)) in DICTS


def _make_strict_converter() -> cattrs.Converter:
    made = cattrs.Converter(forbid_extra_keys=True)
    made.register_structure_hook(str, _exact_type(str, "a string"))
    made.register_structure_hook(int, _exact_type(int, "a whole number"))
    made.register_structure_hook(bool, _exact_type(bool, "true or false"))
    made.register_structure_hook(type(None), _exact_type(type(None), "null"))
    made.register_structure_hook(float, lambda value, _: _read_number(value))
    made.register_structure_hook(dt.date, lambda value, _: _read_date(value))
    made.register_structure_hook(dt.datetime, lambda value, _: _read_date_time(value))
    made.register_structure_hook_func(lambda kind: kind in (Any, object), lambda value, _: value)
    for fits, reader in (
        (is_object, _object_reader),
        (is_union, _union_reader),
        (_is_choice, _choice_reader),
        (_is_array, _array_reader),
        (_is_dict, _dict_reader),
    ):
        made.register_structure_hook_factory(fits, reader)
    made.register_structure_hook_factory(lambda kind: plain(kind) is not kind, _plain_reader)
    return made


def _plain_reader(kind: TypeForm) -> Hook:
    member = plain(kind)
    return lambda value, _: strict_converter.structure(value, member)


strict_converter: Final = _make_strict_converter()
"""Structures what `json.loads` returned into any type that `json_schema` takes."""
