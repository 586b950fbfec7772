"""Attempts under a pace: it is asked before each one and told after it."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Chunk, Response, Usage
from llama_dashscope._network.interface import ByteStream
from llama_dashscope._protocol.request import Payload

from .pacer import Outcome, Pacer, Permit
from .stream_reader import StreamReader

__all__ = ["estimate_tokens", "paced_call", "paced_stream"]

C = TypeVar("C")
S = TypeVar("S")

Opened = tuple[StreamReader, ByteStream, list[Chunk]]

BYTES_A_TOKEN: Final = 4
ANSWER: Final = 256
"""Tokens of an answer of unknown length; `Pace` learns how far off this is."""


def estimate_tokens(payload: Payload) -> int:
    """Estimate the tokens of a request and its answers."""
    return len(payload.body) // BYTES_A_TOKEN + ANSWER * payload.choices


async def paced_call(
    pace: Pacer,
    payload: Payload,
    attempt: Callable[[C, S], Awaitable[Response]],
    call: C,
    state: S,
) -> Response:
    """Make an attempt at a call when the pace lets it, and tell the pace how it ended."""
    permit = await pace.admit(payload.model, estimate_tokens(payload))
    with _settling(permit):
        response = await attempt(call, state)
    permit.settle(Outcome(_total(response.usage)))
    return response


async def paced_stream(
    pace: Pacer,
    payload: Payload,
    attempt: Callable[[C, S], Awaitable[Opened]],
    call: C,
    state: S,
) -> Opened:
    """Make an attempt at a stream when the pace lets it; the pace is told at the stream's end."""
    permit = await pace.admit(payload.model, estimate_tokens(payload))
    with _settling(permit):
        reader, body, chunks = await attempt(call, state)
    return reader, _PacedBody(reader, body, permit), chunks


class _PacedBody:
    """The bytes of a stream, whose end is told to a pace."""

    def __init__(self, reader: StreamReader, body: ByteStream, permit: Permit) -> None:
        self.read = body.read
        self._reader = reader
        self._body = body
        self._permit = permit

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._permit.settle(Outcome(_total(self._reader.usage), self._reader.failure))


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
