"""Parses faults written as one line of text, for the command line.

rate-limited*2                       the first two calls
cut-stream(after=3, how=rst)         every call
rate-limited*2, stall(after=1)*1     one after the other
5%                                   a random mix, one call in twenty
5% rate-limited, drop(how=fin)       a random mix of these two
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from attrs import fields, frozen

from .faults import DEFAULT_MIX, Fault, Mix

_ITEM = re.compile(
    r"\s*(?P<name>[\w-]+)\s*(?:\((?P<arguments>[^()]*)\))?\s*(?:\*\s*(?P<times>[1-9]\d*))?\s*"
)
_RATE = re.compile(r"\s*(?P<percent>\d+(?:\.\d+)?)\s*%")


@frozen
class ArmedFault:
    """One fault, and for how many calls it is armed; None for all."""

    fault: Fault | Mix
    times: int | None = None


def kebab(kind: type) -> str:
    """Return the name of a fault on the command line."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def _kinds(kind: type[Fault] = Fault) -> list[type[Fault]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_kinds(sub))]


KINDS: Mapping[str, type[Fault]] = {
    kebab(kind): kind for kind in _kinds() if kind.__module__ == Fault.__module__
}
"""Every fault of this package by its name on the command line."""


def parse_faults(spec: str, seed: int | None = None) -> list[ArmedFault]:
    """Return the faults in a text.

    Args:
        spec: the text, as above.
        seed: the seed of a random mix.

    Raises:
        ValueError: the text is invalid; the message says what is allowed.
    """
    rate = _RATE.match(spec)
    orders = _items(spec[rate.end() :] if rate else spec)
    if not rate:
        return orders
    percent = float(rate["percent"])
    if percent > 100 or any(order.times is not None for order in orders):
        raise ValueError("a random mix is a share of up to 100%, and its faults have no number")
    mix = [order.fault for order in orders if isinstance(order.fault, Fault)] or DEFAULT_MIX
    return [ArmedFault(Mix(percent / 100, mix, seed))]


def _items(text: str) -> list[ArmedFault]:
    orders: list[ArmedFault] = []
    at = 0
    while text[at:].strip():
        found = _ITEM.match(text, at)
        if not found or text[found.end() : found.end() + 1] not in {"", ","}:
            raise ValueError(f"can't read {text[at:].strip()!r}: a fault is name(argument=value)*3")
        orders.append(_order(found["name"], found["arguments"] or "", found["times"]))
        at = found.end() + 1
    return orders


def _order(name: str, arguments_text: str, times: str | None) -> ArmedFault:
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"no fault is called {name!r}; there are {', '.join(sorted(KINDS))}")
    types = {each.name: each.type for each in fields(kind)}
    arguments: dict[str, Any] = {}
    for argument in filter(str.strip, arguments_text.split(",")):
        key, _, value = (each.strip() for each in argument.partition("="))
        if key not in types:
            raise ValueError(f"{name} has no {key!r}; it has {', '.join(types)}")
        arguments[key] = _value(f"{name}: {key}", value, types[key])
    return ArmedFault(kind(**arguments), int(times) if times else None)


def _value(what: str, text: str, kind: Any) -> object:
    choices: Sequence[object] = get_args(kind) if get_origin(kind) is Literal else ()
    if choices and text not in choices:
        raise ValueError(f"{what} must be one of {', '.join(map(str, choices))}, got {text!r}")
    if kind not in {int, float}:
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{what} must be a number, got {text!r}") from None
