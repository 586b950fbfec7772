"""What a worker has learned about its attempts and tells Redis when it next asks. No I/O."""

from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["Estimate", "News", "Settled", "tell"]

FADING: Final = 0.95
"""Weight of the past, per answer, in how far estimates of tokens are off."""


@attrs.frozen
class Settled:
    """How a turn ended."""

    booked_at: int
    """When it was booked, by Redis' clock in microseconds."""
    correction: float
    """Tokens to be taken in addition to those that were booked."""
    given_back: bool = False
    """Whether nobody made use of it."""
    answered: bool = False
    refused: bool = False
    retry_after: float | None = None
    """Seconds that the service asks to wait."""


@attrs.frozen
class News:
    """The sum of what was settled."""

    given_back: int
    correction: float
    answered_at: int
    """When the latest request that was answered had been booked; 0 where none was."""
    refused_at: int
    """When the latest request that was refused had been booked; 0 where none was."""
    retry_after: float
    """Seconds that the service asks to wait; 0 where it did not say."""


def tell(settled: Iterable[Settled]) -> News:
    """Sum up."""
    all_of_them = list(settled)
    refusals = [each for each in all_of_them if each.refused]
    return News(
        given_back=sum(each.given_back for each in all_of_them),
        correction=sum(each.correction for each in all_of_them),
        answered_at=max((each.booked_at for each in all_of_them if each.answered), default=0),
        refused_at=max((each.booked_at for each in refusals), default=0),
        retry_after=max((each.retry_after or 0.0 for each in refusals), default=0.0),
    )


@attrs.define
class Estimate:
    """How many tokens requests come to, learned from how many they were expected to come to."""

    expected: float = 0.0
    counted: float = 0.0

    def correct(self, tokens: int) -> float:
        """Put an expectation right by what was seen so far."""
        return tokens * self.counted / self.expected if self.expected else float(tokens)

    def learn(self, expected: int, counted: int) -> None:
        """See what a request came to."""
        self.expected = self.expected * FADING + expected
        self.counted = self.counted * FADING + counted
