"""The plan of a batch: its items, and how they are asked."""

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from llama_dashscope._errors import InvalidRequestError
from llama_dashscope._models import Message, Response
from llama_dashscope._protocol.arguments import CallArguments
from llama_dashscope._sanitize import bounded_repr

from .items import BatchItem
from .journal import Again
from .results import Pause
from .turn import Turn

__all__ = ["BatchPlan", "PreparedItem"]


@attrs.frozen
class PreparedItem:
    """An item whose call is ready to be made."""

    body: bytes
    """The request body; a journal recognises a changed item by it."""
    tokens: int
    """An estimate of the tokens of question and answer, for the pace."""
    ask: Callable[[Turn[Any]], Awaitable[tuple[Response, object]]]
    """Makes the call once, paced by a turn; returns the answer and its value."""


def _check_items(_: object, __: object, given: Any) -> None:
    kind = type(given).__name__
    if isinstance(given, str | bytes | Mapping | Message) or not _iterable(given):
        msg = f"items must be a list, another iterable or an async one, got {kind}"
        raise InvalidRequestError(msg)


def _iterable(given: object) -> bool:
    return isinstance(given, Iterable | AsyncIterable)


def _check_defaults(_: object, __: object, given: CallArguments) -> None:
    if given.messages is not None:
        raise InvalidRequestError("messages can't be given to a batch: each item has its own")


def _at_least_one(_: object, attribute: "attrs.Attribute[Any]", given: object) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        msg = f"{attribute.name} must be a whole number, 1 or more, got {bounded_repr(given)}"
        raise InvalidRequestError(msg)


def _true_or_false(_: object, attribute: "attrs.Attribute[Any]", given: object) -> None:
    if not isinstance(given, bool):
        msg = f"{attribute.name} must be True or False, got {bounded_repr(given)}"
        raise InvalidRequestError(msg)


def _check_again(_: object, __: object, given: object) -> None:
    if given not in get_args(Again):
        known = ", ".join(map(repr, get_args(Again)))
        raise InvalidRequestError(f"again must be one of {known}, got {bounded_repr(given)}")


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    if given is None:
        return None
    named: Any = given
    fits = isinstance(named, str | os.PathLike) and os.fspath(given) and "\0" not in str(given)
    if not fits:
        raise InvalidRequestError(f"journal must be the path of a file, got {bounded_repr(given)}")
    return Path(given)


@attrs.frozen(kw_only=True)
class BatchPlan:
    """The plan of a batch; `Client.abatch` documents its parts.

    Raises:
        InvalidRequestError: an argument is invalid; the message names it.
        TypeError: a call has no such option.
    """

    items: Iterable[object] | AsyncIterable[object] = attrs.field(validator=_check_items)
    prepare: Callable[[BatchItem], PreparedItem]
    """Makes the call of an item; raises InvalidRequestError if the item is invalid."""
    admit: Callable[[str, int], Awaitable[Any]]
    """The pace; see `Pacer.admit`."""
    pause: Pause
    model: str | None = None
    options: CallArguments = attrs.field(factory=CallArguments, validator=_check_defaults)
    journal: Path | None = attrs.field(default=None, converter=_path)
    concurrency: int = attrs.field(default=100, validator=_at_least_one)
    ordered: bool = attrs.field(default=False, validator=_true_or_false)
    tries: int = attrs.field(default=3, validator=_at_least_one)
    again: Again = attrs.field(default="passing", validator=_check_again)
