"""One item's way through the pace: counts its attempts, and is sent home when the batch stops."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar, cast

import anyio

__all__ = ["Gate", "NotSentError", "Turn"]

P = TypeVar("P")


class NotSentError(Exception):
    """The batch has stopped before this request was sent."""


class Gate:
    """Where requests wait for the pace; once it is shut, those that wait go home."""

    def __init__(self) -> None:
        """Begin open."""
        self.shut: bool = False
        self._waiting: set[anyio.CancelScope] = set()

    def close(self) -> None:
        """Let nobody through any more."""
        self.shut = True
        for scope in self._waiting:
            scope.cancel()

    async def wait(self, until: Callable[[], Awaitable[P]]) -> P:
        """Wait for something.

        Raises:
            NotSentError: the gate was shut first.
        """
        if not self.shut:
            with anyio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    return await until()
                finally:
                    self._waiting.discard(scope)
        raise NotSentError


class Turn(Generic[P]):
    """The pace (`Pacer`) of one item's call."""

    def __init__(self, gate: Gate, admit: Callable[[str, int], Awaitable[P]]) -> None:
        """Begin before the first attempt.

        Args:
            gate: the batch's.
            admit: waits until the pace lets an attempt through; see `Pacer.admit`.
        """
        self._gate = gate
        self._admit = admit
        self._permit: P | None = None
        self.attempts: int = 0
        """How many requests were sent."""
        self._sent_at = 0.0

    @property
    def seconds(self) -> float:
        """How long it is since the last attempt was sent."""
        return monotonic() - self._sent_at if self.attempts else 0.0

    async def come(self, model: str, tokens: int) -> None:
        """Wait until the next attempt may be made.

        So a call begins when it may be sent, and its time limits don't count the wait.

        Raises:
            NotSentError: the batch has stopped.
        """
        self._permit = await self._gate.wait(lambda: self._admit(model, tokens))

    async def admit(self, model: str, tokens: int) -> P:
        """Let the attempt begin that was waited for; wait for one that was not.

        Raises:
            NotSentError: the batch has stopped.
        """
        if self._permit is None:
            await self.come(model, tokens)
        permit, self._permit = cast("P", self._permit), None
        self.attempts += 1
        self._sent_at = monotonic()
        return permit
