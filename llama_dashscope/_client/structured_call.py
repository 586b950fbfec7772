"""Structured answers: ask for a type, read the answer into it, and ask again if it doesn't fit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

import attrs

from llama_dashscope._errors import DashScopeError, InvalidRequestError, ParseError
from llama_dashscope._models import Chunk, Response, Usage
from llama_dashscope._protocol.answer_format import AnswerFormat, Reading, parse_error
from llama_dashscope._protocol.arguments import CallArguments
from llama_dashscope._protocol.mismatches import Mismatch, describe
from llama_dashscope._protocol.request import check_input
from llama_dashscope._protocol.usage import add_usage
from llama_dashscope._sanitize import bounded_repr
from llama_dashscope._settings import Timeout

from .call import Call

__all__ = ["Parsed", "StructuredCall"]

T = TypeVar("T")


@attrs.frozen
class Parsed(Generic[T]):
    """A structured answer; made by `Client.aparse` and `Client.parse`."""

    value: T
    """The value: an instance of the requested type."""
    response: Response
    """The answer that it was read from."""
    attempts: int = 1
    """How many answers were needed."""
    usage: Usage | None = None
    """Tokens of all these answers together; None if the service reported none."""
    unknown_fields: Mapping[tuple[str | int, ...], Any] = attrs.field(
        factory=dict[tuple[str | int, ...], Any], hash=False
    )
    """With `unknown_fields="keep"`, the fields that a class doesn't have: their values by their
    paths, such as `("stops", 0, "hotel")`."""


class StructuredCall:
    """A question whose answer must be of a type; asked again if it isn't."""

    def __init__(
        self,
        prepare: Callable[[str | None, CallArguments], Call[Chunk]],
        wanted: AnswerFormat,
        prompt: str | None,
        arguments: CallArguments,
        tries: int,
    ) -> None:
        """Add the format's instruction to the question; nothing is sent yet.

        Args:
            prepare: makes a call from a prompt and arguments.
            wanted: the format of the answer.
            prompt: the caller's prompt.
            arguments: the caller's other arguments.
            tries: how many answers to ask for at most, 1 or more.

        Raises:
            InvalidRequestError: an argument is invalid.
        """
        self._prepare = prepare
        self._wanted = wanted
        self._arguments = arguments
        self._tries = _check_tries(tries)
        self._content = wanted.ask(check_input(prompt, arguments.messages))
        self._attempts = 0
        self._usage: Usage | None = None
        self._text = ""
        self.call = self._prepared(arguments.timeout)
        """The next call."""
        if self.call.payload.choices > 1:
            raise InvalidRequestError("n must be 1: only one answer is read into a value")
        self._timeout = self.call.timeout

    async def run(self, send: Callable[[Call[Chunk]], Awaitable[Response]]) -> Parsed[Any]:
        """Ask until an answer fits or no tries are left.

        After a failed call it may be run again; it then continues with that call.

        Args:
            send: makes a call and returns its answer.

        Raises:
            ParseError: no answer fits.
            DashScopeError: a call failed; its `usage` and `partial_text` include the answers before
                it.
        """
        deadline = monotonic() + (self._timeout.total or inf)
        if self._attempts:
            self.call = self._prepared(self._timeout)
        while True:
            response = await self._ask(send)
            if reason := _without_value(response):
                raise self._failure(response, reason)
            found = self._wanted.read(response.text)
            if not found.mismatches:
                return self._parsed(response, found)
            left = deadline - monotonic()
            if self._attempts >= self._tries or left <= 0:
                reason = f"does not fit: {describe(found.mismatches)}"
                raise self._failure(response, reason, found.mismatches)
            self._content = self._wanted.ask_again(self._content, response.text, found.mismatches)
            total = self._timeout.total and left
            self.call = self._prepared(attrs.evolve(self._timeout, total=total))

    def _prepared(self, timeout: Timeout | float | None) -> Call[Chunk]:
        messages, prompt = self._content.get("messages"), self._content.get("prompt")
        arguments = attrs.evolve(self._arguments, messages=messages, timeout=timeout)
        return self._prepare(prompt, arguments)

    async def _ask(self, send: Callable[[Call[Chunk]], Awaitable[Response]]) -> Response:
        """Make the call; a failure includes usage and text of the answers before it."""
        try:
            response = await send(self.call)
        except DashScopeError as error:
            error.usage = add_usage(self._usage, error.usage)
            error.partial_text = error.partial_text or self._text
            raise
        self._attempts += 1
        self._usage = add_usage(self._usage, response.usage)
        self._text = response.text
        return response

    def _parsed(self, response: Response, found: Reading) -> Parsed[Any]:
        return Parsed(found.value, response, self._attempts, self._usage, found.unknown_fields)

    def _failure(
        self, response: Response, reason: str, mismatches: Sequence[Mismatch] = ()
    ) -> ParseError:
        error = parse_error(response, reason, mismatches)
        error.usage = self._usage
        error.attempts = self._attempts
        return error


def _check_tries(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InvalidRequestError(
            f"tries must be a whole number above 0, got {bounded_repr(given)}"
        )
    return given


def _without_value(response: Response) -> str:
    """Say why an answer can't have a value; empty if it can."""
    if response.finish_reason == "length":
        return "was cut short (finish_reason length): raise max_tokens, or ask for less"
    if response.tool_calls:
        names = ", ".join(call.function.name for call in response.tool_calls)
        return f"calls tools instead of giving a value: {names}"
    return ""
