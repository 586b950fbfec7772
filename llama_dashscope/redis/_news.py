"""Outcomes of a worker's attempts, summarised for its next command to Redis; without I/O."""

from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["Estimate", "News", "Settled", "summarize"]

FADING: Final = 0.95
"""Weight of the past, per answer, in the average error of token estimates."""


@attrs.frozen
class Settled:
    """How a booked turn ended."""

    booked_at: int
    """When it was booked, in microseconds of Redis' clock."""
    correction: float
    """Tokens to deduct in addition to those booked; negative to give some back."""
    given_back: bool = False
    """Whether the turn was not used."""
    answered: bool = False
    refused: bool = False
    retry_after: float | None = None
    """Seconds that the service asks to wait."""


@attrs.frozen
class News:
    """The summary of turns that ended since the last command."""

    given_back: int
    correction: float
    answered_at: int
    """Booking time of the latest answered request; 0 if none was answered."""
    refused_at: int
    """Booking time of the latest refused request; 0 if none was refused."""
    retry_after: float
    """Seconds that the service asks to wait; 0 if it didn't say."""


def summarize(settled: Iterable[Settled]) -> News:
    """Return the summary of turns that ended."""
    ended = list(settled)
    refusals = [each for each in ended if each.refused]
    return News(
        given_back=sum(each.given_back for each in ended),
        correction=sum(each.correction for each in ended),
        answered_at=max((each.booked_at for each in ended if each.answered), default=0),
        refused_at=max((each.booked_at for each in refusals), default=0),
        retry_after=max((each.retry_after or 0.0 for each in refusals), default=0.0),
    )


@attrs.define
class Estimate:
    """Corrects estimates of tokens by the ratio of actual to estimated tokens so far."""

    expected: float = 0.0
    counted: float = 0.0

    def correct(self, tokens: int) -> float:
        """Return a corrected estimate."""
        return tokens * self.counted / self.expected if self.expected else float(tokens)

    def learn(self, expected: int, counted: int) -> None:
        """Take the estimated and the actual tokens of a request into account."""
        self.expected = self.expected * FADING + expected
        self.counted = self.counted * FADING + counted
