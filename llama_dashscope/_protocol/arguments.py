"""The keyword arguments of one call as attributes; a mistyped name raises with the nearest one."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import attrs

from llama_dashscope._settings import Timeout

from .options import MessageLike, ToolLike

__all__ = [
    "CallArguments",
    "StreamArguments",
    "call_arguments",
    "override_arguments",
    "stream_arguments",
]


@attrs.define(kw_only=True)
class CallArguments:
    """The keyword arguments of a call; `Options` documents each one.

    The names are repeated here because editors that don't run code (jedi) read the keywords of
    `Client.acall` from this class. A test checks that both lists are the same.
    """

    messages: Iterable[MessageLike] | None = None
    result_format: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | None = None
    n: int | None = None
    tools: Sequence[ToolLike] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    workspace: str | None = None
    timeout: Timeout | float | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)


@attrs.define(kw_only=True)
class StreamArguments(CallArguments):
    """The keyword arguments of a stream."""

    incremental_output: bool | None = None


def call_arguments(**options: Any) -> CallArguments:
    """Return the keyword arguments of a call as an object.

    Raises:
        TypeError: a call has no such keyword; the message names the nearest one.
    """
    try:
        return CallArguments(**options)
    except TypeError:
        raise _unknown_names(options.keys(), "a call", CALL_NAMES) from None
    finally:
        del options  # the key may be among them, and error reports show local variables


def override_arguments(defaults: CallArguments, **options: Any) -> CallArguments:
    """Return the arguments with these options in place of the default ones.

    Raises:
        TypeError: a call has no such keyword; the message names the nearest one.
    """
    try:
        return attrs.evolve(defaults, **options)
    except TypeError:
        raise _unknown_names(options.keys(), "a call", CALL_NAMES) from None
    finally:
        del options


def stream_arguments(**options: Any) -> StreamArguments:
    """Return the keyword arguments of a stream as an object; see `call_arguments`."""
    try:
        return StreamArguments(**options)
    except TypeError:
        raise _unknown_names(options.keys(), "a stream", STREAM_NAMES) from None
    finally:
        del options


CALL_NAMES: Final = tuple(attrs.fields_dict(CallArguments))
STREAM_NAMES: Final = tuple(attrs.fields_dict(StreamArguments))


def _unknown_names(given: Iterable[str], verb: str, known: Sequence[str]) -> TypeError:
    unknown = [name for name in given if name not in known]
    advice = "; ".join(_advice(name, known) for name in unknown)
    return TypeError(f"{verb} has no argument {', '.join(unknown)}: {advice}")


def _advice(name: str, known: Sequence[str]) -> str:
    """Say what to write instead of an unknown keyword."""
    if name == "stream":
        return "for a stream use client.stream(...), in async code client.astream(...)"
    if name in STREAM_NAMES:
        return f"{name} is for client.stream(...) and client.astream(...)"
    if near := get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f'to send an unlisted parameter, use parameters={{"{name}": ...}}'
