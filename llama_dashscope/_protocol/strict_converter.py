"""The strict converter: JSON values to Python types, without coercing any value.

`'2'` is not accepted for 2, nor 1 for True, nor 2.0 for an int. The one exception: a whole number
is accepted for a float, since JSON has only one kind of number. Fields that a class doesn't have
are refused. All mistakes are found at once, each with its path.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, cast, get_args

import cattrs
from cattrs.gen import make_dict_structure_fn, override

from .mismatches import LONGEST_SHOWN, WrongKindError, find_mismatches, shown
from .type_forms import (
    ARRAYS,
    DICTS,
    JSON,
    ObjectField,
    TypeForm,
    is_choice,
    is_generic,
    is_object,
    is_typed_dict,
    is_union,
    object_fields,
    origin_of,
    plain,
    with_parameters,
)

__all__ = ["read_fields", "strict_converter"]

Hook = Callable[[Any, Any], Any]


def _exactly(value: object, options: Iterable[Any]) -> JSON:
    """Return the option that equals a value and has the same type: 1 is not True."""
    known = [(each.value if isinstance(each, Enum) else each, each) for each in options]
    for written, option in known:
        if type(written) is type(value) and written == value:
            return option
    names = " or ".join(shown(written) for written, _ in known)
    short = len(names) <= 3 * LONGEST_SHOWN
    raise WrongKindError(names if short else f"one of {len(known)} values", value)


def _read_number(value: object) -> float:
    if type(value) is float or (type(value) is int and _is_exact(value)):
        return float(value)
    raise WrongKindError("a number", value)


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
    raise WrongKindError("a date such as '2026-01-31'", value)


def _read_date_time(value: object) -> dt.datetime:
    if isinstance(value, str) and (found := DATE_TIME.fullmatch(value)):
        day, time, part, zone = found.groups()
        zone = "+00:00" if zone in {"Z", "z"} else zone or ""
        return dt.datetime.fromisoformat(f"{day}T{time}.{part or '0':0<6}{zone}")
    raise WrongKindError("a date and time such as '2026-01-31T09:30:00Z'", value)


def _exact_type(expected: type, name: str) -> Hook:
    """Make the function that accepts values of exactly one type."""

    def read(value: object, kind: TypeForm) -> JSON:
        # cattrs passes an Enum of strings to the reader of strings.
        if isinstance(kind, type) and issubclass(kind, Enum):
            return _exactly(value, kind)
        if type(value) is expected:
            return value
        raise WrongKindError(name, value)

    return read


def _attempt(value: object, kind: TypeForm) -> tuple[Any, Exception | None]:
    """Read a value; return the result, or the error."""
    try:
        return strict_converter.structure(value, kind), None
    except Exception as error:  # noqa: BLE001  # as cattrs does: a class may raise anything
        return None, error


def _noted(error: Exception, key: str | int) -> Exception:
    """Add the key to an error's notes; Python 3.10 has no `add_note`."""
    note = cattrs.IterableValidationNote(f"At {key!r}", key, Any)
    cast("Any", error).__notes__ = [*getattr(error, "__notes__", ()), note]
    return error


def _read_each(entries: Iterable[tuple[str | int, object, Any]], whole: TypeForm) -> list[Any]:
    """Read the members of an array or object; raise all their mistakes together.

    Args:
        entries: the key or index, the value and the type of each member.
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
            raise WrongKindError("an array", value)
        items = cast("list[object]", value)
        if fixed and len(items) != len(members):
            raise ValueError(f"expected {len(members)} items, got {len(items)}")
        kinds = members if fixed else [each] * len(items)
        made = make(_read_each(zip(range(len(items)), items, kinds, strict=True), kind))
        if len(made) < len(items):
            raise ValueError("an item appears twice")
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
    # cattrs doesn't fill in all parameters of generic classes, and refuses to go without them.
    fields = object_fields(kind, "into") if is_generic(kind) else ()
    own = {each.name: override(struct_hook=_field_reader(each.kind)) for each in fields}
    whole = with_parameters(kind)
    structure = make_dict_structure_fn(whole, strict_converter, **cast("Any", own))

    def read(value: object, _: object) -> JSON:
        return structure(_object(value), whole)

    return read


def _field_reader(kind: TypeForm) -> Hook:
    return lambda value, _: strict_converter.structure(value, kind)


def _typed_dict_reader(kind: TypeForm) -> Hook:
    """Make the reader of a TypedDict; on Python 3.10 cattrs misses some uses of `Required`."""
    fields = tuple(object_fields(kind, "into"))
    return lambda value, _: read_fields(value, fields)


def read_fields(value: object, fields: Sequence[ObjectField]) -> dict[str, Any]:
    """Read an object with these fields and no others.

    Raises:
        Exception: the value does not fit; `find_mismatches` tells where.
    """
    given = _object(value)
    kinds = {field.name: field.kind for field in fields}
    missing = [each.name for each in fields if each.required and each.name not in given]
    failures = [_noted(KeyError(name), name) for name in missing]
    if unknown := given.keys() - kinds.keys():
        failures.append(cattrs.ForbiddenExtraKeysError("", dict, unknown))
    known = [(name, item, kinds[name]) for name, item in given.items() if name in kinds]
    each: list[Any] = []
    try:
        each = _read_each(known, dict)
    except cattrs.IterableValidationError as error:
        failures.append(error)
    if failures:
        raise cattrs.IterableValidationError("Fields don't fit", failures, dict)
    return {name: item for (name, _, _), item in zip(known, each, strict=True)}


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise WrongKindError("an object", value)


def _union_reader(kind: TypeForm) -> Hook:
    """Make the function that reads a union: the first member that fits.

    If none fits, it raises the error of the closest one.
    """
    members = get_args(kind)

    def read(value: object, _: object) -> JSON:
        failures: list[Exception] = []
        for member in members:
            made, error = _attempt(value, member)
            if error is None:
                return made
            failures.append(error)
        expected = [each.expected for each in failures if isinstance(each, WrongKindError)]
        if len(expected) == len(failures):
            raise WrongKindError(" or ".join(dict.fromkeys(expected)), value)
        raise min(failures, key=_distance)

    return read


def _distance(error: Exception) -> tuple[bool, int]:
    """Rank an error of a union's member: a wrong kind is worst, then the number of mistakes."""
    return isinstance(error, WrongKindError), sum(1 for _ in find_mismatches(error))


def _choice_reader(kind: TypeForm) -> Hook:
    options = list(cast("type[Enum]", kind)) if isinstance(kind, type) else get_args(kind)
    return lambda value, _: _exactly(value, options)


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
        (is_choice, _choice_reader),
        (_is_array, _array_reader),
        (_is_dict, _dict_reader),
    ):
        made.register_structure_hook_factory(fits, reader)
    made.register_structure_hook_factory(lambda kind: plain(kind) is not kind, _plain_reader)
    return made


def _plain_reader(kind: TypeForm) -> Hook:
    return _field_reader(plain(kind))


strict_converter: Final = _make_strict_converter()
"""Structures JSON values into any type that `json_schema` accepts."""
