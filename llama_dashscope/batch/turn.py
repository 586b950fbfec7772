"""Paces the attempts of one item, counts them, and ends the wait when the batch stops."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar, cast

import anyio

__all__ = ["Gate", "NotSentError", "Turn"]

P = TypeVar("P")


class NotSentError(Exception):
    """The batch stopped before this request was sent."""


class Gate:
    """Where a batch waits, for the pace and for items; shutting it cancels with NotSentError."""

    def __init__(self) -> None:
        """Start open."""
        self.shut: bool = False
        self._waiting: set[anyio.CancelScope] = set()

    def close(self) -> None:
        """Shut the gate: cancel all waits, and refuse further ones."""
        self.shut = True
        for scope in self._waiting:
            scope.cancel()

    async def wait(self, until: Callable[[], Awaitable[P]]) -> P:
        """Await `until()` and return its result.

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
    """The `Pacer` of one item's calls."""

    def __init__(self, gate: Gate, admit: Callable[[str, int], Awaitable[P]]) -> None:
        """Start before the first attempt.

        Args:
            gate: the batch's gate.
            admit: waits until the pace admits an attempt; see `Pacer.admit`.
        """
        self._gate = gate
        self._admit = admit
        self._permit: P | None = None
        self.attempts: int = 0
        """How many requests were sent."""
        self._sent_at = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the last attempt was sent."""
        return monotonic() - self._sent_at if self.attempts else 0.0

    async def wait_for_pace(self, model: str, tokens: int) -> None:
        """Wait until the next attempt may be made.

        This happens before the call begins, so that its time limits don't include the wait.

        Raises:
            NotSentError: the batch has stopped.
        """
        self._permit = await self._gate.wait(lambda: self._admit(model, tokens))

    async def admit(self, model: str, tokens: int) -> P:
        """Return the permit that `wait_for_pace` got; if there is none, wait for one.

        Raises:
            NotSentError: the batch has stopped.
        """
        if self._permit is None:
            await self.wait_for_pace(model, tokens)
        permit, self._permit = cast("P", self._permit), None
        self.attempts += 1
        self._sent_at = monotonic()
        return permit
