"""Reads the items of a batch: prompts, conversations, and dicts with the options of a call."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard, cast

import attrs

from llama_dashscope._errors import InvalidRequestError
from llama_dashscope._models import Message
from llama_dashscope._protocol.arguments import CALL_NAMES, CallArguments, override_arguments
from llama_dashscope._protocol.options import MessageLike
from llama_dashscope._sanitize import bounded_repr

__all__ = ["BatchInput", "BatchItem", "item_id", "read_item"]

BatchInput = str | Sequence[MessageLike] | Mapping[str, Any]
"""An item of a batch: a prompt, a list of messages, or a dict with one of these, the options of its
call and its `custom_id`; or a line of OpenAI's batch files."""

ENVELOPE: Final = ("custom_id", "method", "url", "body")
"""The fields of a line of OpenAI's batch files."""

RENAMED: Final = {"max_completion_tokens": "max_tokens"}
"""Parameters with a different name in OpenAI's API, and their names here."""

IGNORED: Final = ("stream", "stream_options")
"""OpenAI parameters that have no meaning in a batch."""


@attrs.frozen
class BatchItem:
    """A valid item: the arguments of its call."""

    custom_id: str
    position: int
    given: object
    """The item as it was given."""
    model: str
    prompt: str | None
    arguments: CallArguments
    """The keyword arguments of its call."""


def read_item(
    given: object,
    custom_id: str,
    position: int,
    model: str | None,
    options: CallArguments,
) -> BatchItem:
    """Read an item.

    Args:
        given: the item: a prompt, a list of messages, a dict with `custom_id` and the options of a
            call, or a line of OpenAI's batch files.
        custom_id: its id.
        position: its position in the input.
        model: the model for items that name none.
        options: default options, which the item's own options override.

    Raises:
        InvalidRequestError: the item is invalid.
    """
    fields = _fields(given)
    own_model = fields.pop("model", None)
    fields.pop("custom_id", None)
    prompt = fields.pop("prompt", None)
    if own_model is None and model is None:
        msg = f"item {custom_id!r} names no model: give it one, or pass model='...' to the batch"
        raise InvalidRequestError(msg)
    try:
        arguments = override_arguments(options, **fields)
    except TypeError as error:
        raise InvalidRequestError(f"item {custom_id!r}: {error}") from None
    asked = cast("str", model if own_model is None else own_model)
    return BatchItem(custom_id, position, given, asked, cast("str | None", prompt), arguments)


def item_id(given: object, position: int) -> str:
    """Return an item's id: its own, else its position.

    Raises:
        InvalidRequestError: its `custom_id` is invalid.
    """
    own = given.get("custom_id") if _is_mapping(given) else None
    if own is None:
        return str(position)
    if isinstance(own, bool) or not isinstance(own, str | int) or own == "":
        got = "an empty one" if own == "" else type(own).__name__
        msg = f"custom_id of item {position} must be a string, got {got}"
        raise InvalidRequestError(msg)
    return str(own)


def _fields(given: object) -> dict[str, Any]:
    """Return the arguments of an item's call by name."""
    if isinstance(given, str):
        return {"prompt": given}
    if _is_mapping(given):
        if odd := [name for name in given if not isinstance(cast("object", name), str)]:
            msg = f"the keys of an item must be strings, got {bounded_repr(odd[0])}"
            raise InvalidRequestError(msg)
        return _from_openai(given) if "body" in given else dict(given)
    if isinstance(given, list | tuple):
        return {"messages": cast("object", given)}
    alone = "; put the message into a list" if isinstance(given, Message) else ""
    msg = (
        "an item must be a prompt, a list of messages or a dict with one of them, got"
        f" {type(given).__name__}{alone}"
    )
    raise InvalidRequestError(msg)


def _from_openai(line: Mapping[str, Any]) -> dict[str, Any]:
    """Read a line of OpenAI's batch files; unknown parameters go into `parameters`."""
    body: object = line["body"]
    if not _is_mapping(body) or any(name not in ENVELOPE for name in line):
        msg = "an item with 'body' may only have custom_id, method, url and body, which is a dict"
        raise InvalidRequestError(msg)
    fields: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in body.items():
        name = RENAMED.get(key, key)
        if name not in IGNORED and value is not None:
            (fields if name in CALL_NAMES or name in {"model", "prompt"} else rest)[name] = value
    if rest:
        fields["parameters"] = {**rest, **fields.get("parameters", {})}
    return fields


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)
