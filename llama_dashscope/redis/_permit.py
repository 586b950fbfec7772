"""Turns booked in Redis, and their outcomes in this process."""

from collections import deque
from math import inf

import attrs

from llama_dashscope import Outcome

from ._news import Estimate, News, Settled, summarize

__all__ = ["ModelTurns", "RedisPermit"]


@attrs.define(eq=False)
class ModelTurns:
    """This process's ended turns for one model. Threads may share it: a deque is thread-safe."""

    settled: deque[Settled] = attrs.field(factory=deque[Settled])
    estimate: Estimate = attrs.field(factory=Estimate)
    announced_at: float = -inf
    """When this process last announced itself to Redis."""

    def news(self) -> News:
        """Remove the ended turns and return their summary."""
        return summarize([self.settled.popleft() for _ in range(len(self.settled))])

    @property
    def was_refused(self) -> bool:
        """Whether the service has refused a request of which Redis doesn't know yet."""
        return any(each.refused for each in tuple(self.settled))


@attrs.define(eq=False)
class RedisPermit:
    """The permit to make one attempt, booked in Redis."""

    _turns: ModelTurns
    _booked_at: int
    _expected: int
    _tokens: float
    _open: bool = True

    def settle(self, outcome: Outcome, /) -> None:
        """Report how the attempt ended; only the first call counts."""
        if not self._open:
            return
        self._open = False
        refused, counted = outcome.refusal is not None, outcome.tokens
        correction = 0.0
        if refused:
            correction = -self._tokens
        elif counted is not None:
            correction = counted - self._tokens
            self._turns.estimate.learn(self._expected, counted)
        self._turns.settled.append(
            Settled(
                self._booked_at,
                correction,
                answered=counted is not None and not refused,
                refused=refused,
                retry_after=outcome.retry_after,
            )
        )

    def give_back(self) -> None:
        """Give back the turn, which was not used."""
        self._open = False
        self._turns.settled.append(Settled(self._booked_at, -self._tokens, given_back=True))
