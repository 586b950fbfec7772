"""The keyword arguments of a call, and what each one means."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from llama_dashscope._models import Message
from llama_dashscope._settings import Timeout

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    from typing_extensions import Self, Unpack  # comes with anyio on these versions

__all__ = ["MessageLike", "Options", "Self", "StreamOptions", "Unpack"]

MessageLike = Message | Mapping[str, Any]
"""A message of a conversation: a `Message`, or a dict with `role` and `content`."""


class Options(TypedDict, total=False):
    """The keyword arguments of a call; None anywhere is the same as leaving it out.

    Only `result_format` is documented for Llama; the other parameters are the ones that the same
    endpoint documents for other models, and a model that lacks one says so in its answer.
    """

    messages: Iterable[MessageLike] | None
    """The conversation, oldest first; instead of `prompt`."""
    result_format: str | None
    """`message` or `text`; by default `message` for messages and `text` for a prompt."""
    temperature: float | None
    """How freely the model chooses its words."""
    top_p: float | None
    """Share of probability that words are chosen from."""
    top_k: int | None
    """How many of the likeliest words are chosen from."""
    max_tokens: int | None
    """Longest answer in tokens."""
    seed: int | None
    """Makes answers repeatable, as far as the service can."""
    repetition_penalty: float | None
    """Above 1 the model repeats itself less."""
    presence_penalty: float | None
    """Above 0 the model says again less of what it has said."""
    stop: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | None
    """Text or tokens that end the answer."""
    n: int | None
    """How many answers to give."""
    tools: Sequence[Mapping[str, Any]] | None
    """Tools that the model may call."""
    tool_choice: str | Mapping[str, Any] | None
    """Whether and which tool to call."""
    response_format: Mapping[str, Any] | None
    """Form of the answer, such as `{"type": "json_object"}`."""
    parameters: Mapping[str, Any] | None
    """Whatever has no name here yet; goes into the request's `parameters` as it is."""
    api_key: str | None
    """Key for this call instead of the client's."""
    workspace: str | None
    """Workspace for this call instead of the client's."""
    timeout: Timeout | float | None
    """Time limits for this call instead of the client's; see `Timeout`."""
    headers: Mapping[str, str] | None
    """HTTP headers for this call, on top of the client's."""


class StreamOptions(Options, total=False):
    """The keyword arguments of a stream."""

    incremental_output: bool
    """Whether frames hold only what is new (the default) or repeat the whole text; chunks are the
    same either way."""
