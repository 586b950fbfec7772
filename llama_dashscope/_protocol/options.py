"""The keyword arguments of a call and of a stream, and what each one means."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from llama_dashscope._models import Message
from llama_dashscope._settings import Timeout

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    from typing_extensions import Self, Unpack  # comes with anyio on these versions

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # for type checkers, which bring it
else:
    TypeForm = type

__all__ = ["MessageLike", "Options", "Self", "StreamOptions", "ToolLike", "TypeForm", "Unpack"]

MessageLike = Message | Mapping[str, Any]
"""A message of a conversation: a `Message`, or a dict with `role` and `content`."""

ToolLike = Callable[..., object] | Mapping[str, Any]
"""A tool that a model may call: a typed function, or a dict with its JSON Schema."""


class Options(TypedDict, total=False):
    """The keyword arguments of a call; None means the same as leaving an argument out.

    For Llama the service documents only `messages`, `prompt` and `result_format`
    (https://help.aliyun.com/zh/model-studio/api-details-of-llama-llm). The other parameters, with
    their ranges and defaults, are those that the same endpoint documents for Qwen
    (https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope). The client checks their types
    and leaves the ranges to the service, whose error names what a model does not accept.
    """

    messages: Iterable[MessageLike] | None
    """The conversation, oldest first; instead of `prompt`. Each message is a `Message` or a dict
    with `role` (`system`, `user`, `assistant` or `tool`) and `content`."""
    result_format: str | None
    """`message` or `text`: the form of the answer. By default `message` for `messages` and `text`
    for `prompt`. It is always sent, since the service has announced that its own default, `text`,
    will change."""
    temperature: float | None
    """How freely the model chooses its words: from 0 to below 2; lower is more predictable. The
    default is the model's own (Qwen's reference)."""
    top_p: float | None
    """Nucleus sampling: the probability mass that tokens are chosen from, above 0 and up to 1.
    The default is the model's own (Qwen's reference; older pages exclude 1)."""
    top_k: int | None
    """Each token is chosen from this many of the likeliest ones: 0 or more; above 100 it has no
    effect. The default is the model's own (Qwen's reference)."""
    max_tokens: int | None
    """Longest answer, in tokens: from 1 to the model's maximum, which is the default. A longer
    answer is cut and has the finish_reason `length` (Qwen's reference)."""
    seed: int | None
    """Makes answers repeatable, as far as the service can: 0 to 2**31 - 1. By default random
    (Qwen's reference; the service's error messages say up to 2**63 - 1)."""
    repetition_penalty: float | None
    """A number above 0: above 1 the model repeats itself less, 1 has no effect (Qwen's
    reference)."""
    presence_penalty: float | None
    """From -2 to 2: above 0 the model repeats less of what it has already said (Qwen's
    reference)."""
    stop: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | None
    """Where the answer stops: a string, a list of strings, a list of token ids, or a list of such
    lists; strings and token ids can't be mixed (Qwen's reference)."""
    n: int | None
    """How many answers to return: 1 to 4, by default 1; for some Qwen models (Qwen's reference)."""
    tools: Sequence[ToolLike] | None
    """Tools that the model may call: functions with typed parameters and docstrings, or JSON Schema
    in the form `{"type": "function", "function": {...}}`; for models with tool calls, and with the
    result format `message` (Qwen's reference)."""
    tool_choice: str | Mapping[str, Any] | None
    """Which tool to call: `auto` (the default), `none`, or
    `{"type": "function", "function": {"name": ...}}` (Qwen's reference)."""
    response_format: Mapping[str, Any] | None
    """Form of the text: `{"type": "text"}` (the default) or `{"type": "json_object"}`; for models
    with structured output (Qwen's reference)."""
    parameters: Mapping[str, Any] | None
    """Parameters that have no keyword argument; sent unchanged in the request's `parameters`."""
    api_key: str | None
    """Key for this call instead of the client's."""
    workspace: str | None
    """Workspace id for this call instead of the client's."""
    timeout: Timeout | float | None
    """Time limits for this call instead of the client's: a `Timeout`, or seconds above 0 for its
    `connect`, `read` and `idle`."""
    headers: Mapping[str, str] | None
    """HTTP headers for this call, on top of the client's."""


class StreamOptions(Options, total=False):
    """The keyword arguments of a stream: those of a call, and one more."""

    incremental_output: bool | None
    """Whether frames hold only the new text (True, the default here) or repeat all the text so far
    (False, the service's default). Chunks are the same either way."""
