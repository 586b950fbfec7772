"""Adds up the usage of several calls."""

from collections.abc import Mapping
from typing import Any

from llama_dashscope._models import Usage

__all__ = ["add_usage"]


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Return the usage of two calls together; None if the service reported neither.

    Numbers in unknown fields are added up too, at any depth.
    """
    if one is None or other is None:
        return one or other
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.total_tokens + other.total_tokens,
        extra=_added(one.extra, other.extra),
    )


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: _sum(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


def _sum(one: Any, other: Any) -> Any:
    kinds: set[type] = {type(one), type(other)}
    if kinds == {dict}:
        return _added(one, other)
    return one + other if kinds <= {int, float} else other
