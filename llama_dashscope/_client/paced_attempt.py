"""Attempts under a pace: it is asked before each one and told after it."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Response, Usage
from llama_dashscope._protocol.request import Payload
from llama_dashscope._protocol.stream_parser import Item

from .call import Call
from .pacer import Outcome, Pacer, Permit
from .stream_reader import StreamReader

__all__ = ["estimate_tokens", "paced_call", "paced_stream"]

S = TypeVar("S")

BYTES_A_TOKEN: Final = 4
ANSWER: Final = 256
"""Tokens of an answer of unknown length; `Pace` learns how far off this is."""


def estimate_tokens(payload: Payload) -> int:
    """Estimate the tokens of a request and its answers."""
    return len(payload.body) // BYTES_A_TOKEN + ANSWER * payload.choices


async def paced_call(
    pace: Pacer,
    attempt: Callable[[Call[Item], S], Awaitable[Response]],
    call: Call[Item],
    state: S,
) -> Response:
    """Make an attempt at a call when the pace lets it, and tell the pace how it ended."""
    permit = await _admitted(pace, call.payload)
    with _settling(permit):
        response = await attempt(call, state)
    permit.settle(Outcome(_total(response.usage)))
    return response


async def paced_stream(
    pace: Pacer,
    attempt: Callable[[Call[Item], S], Awaitable[StreamReader[Item]]],
    call: Call[Item],
    state: S,
) -> StreamReader[Item]:
    """Make an attempt at a stream when the pace lets it; the pace is told at the stream's end."""
    permit = await _admitted(pace, call.payload)
    with _settling(permit):
        reader = await attempt(call, state)
    answer = reader.answer
    reader.on_close = lambda: permit.settle(Outcome(_total(answer.usage), reader.failure))
    return reader


async def _admitted(pace: Pacer, payload: Payload) -> Permit:
    return await pace.admit(payload.model, estimate_tokens(payload))


@contextmanager
def _settling(permit: Permit) -> Generator[None, None, None]:
    try:
        yield
    except DashScopeError as error:
        permit.settle(Outcome(_total(error.usage), error))
        raise
    except BaseException:  # given up: what it has cost is known to nobody
        permit.settle(Outcome())
        raise


def _total(usage: Usage | None) -> int | None:
    return None if usage is None else usage.total_tokens
