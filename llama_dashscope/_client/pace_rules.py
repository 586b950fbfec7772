"""Rate limiting without I/O: an account's limits and a clock in, a decision out."""

from math import exp, inf
from typing import Final, Literal

import attrs

__all__ = ["Booking", "ModelPace", "RateRule", "Refusal"]

Refusal = Literal["requests", "tokens", "growth", "concurrency"]
"""Which limit of the account refused a request."""

HEADROOM: Final = 0.98
"""Share of a known limit that is used: the service counts when a request arrives, not when it
leaves, and what lies between is not always the same."""

START: Final = 10.0
"""Requests a second to begin with where no limit is known."""

GROWTH: Final = 2.0
"""Factor by which an unknown rate rises each second until it is refused."""

LEAST_GROWTH: Final = 1.05

CUT: Final = 0.8
"""What is left of a rate that was refused."""

RECOVERY: Final = 15.0
"""Busy seconds from a cut back to the rate that was refused."""

FORGIVEN: Final = 5.0
"""Seconds without a refusal after which one at a known limit is bad luck and no news."""

BURST: Final = 0.02
"""Seconds of unused rate that can be caught up on: late timers cost no throughput."""

LEAST_RATE: Final = 1 / 60

MEMORY: Final = 2.0
"""Seconds over which the rate in use is averaged."""

REST: Final = 10.0
"""Seconds without load after which a service that limits growth has forgotten the load."""

FIRST_COOLDOWN: Final = 0.25
"""Seconds that everyone waits after a first refusal; doubles with each one that follows."""

CREEP: Final = 0.1
"""How many requests more at once for as many answers as there may be at once."""

FADING: Final = 0.95
"""Weight of the past, per answer, in how far estimates of tokens are off."""


@attrs.define
class RateRule:
    """The rate of one thing, requests or tokens: kept where it is known, found where not.

    A token bucket: it fills by the rate and may be overdrawn by one request, so that a large one is
    paid for afterwards. A rate that is found out rises by a factor a second until it is refused,
    falls to 0.8 of that, and comes back along the curve of CUBIC (RFC 9438): steep at first, flat
    around the rate that was refused, steep again beyond. It rises only while it is what holds
    requests up.
    """

    ceiling: float = inf
    """Known limit, a second."""
    rate: float = inf
    """Rate now, a second."""
    adaptive: bool = True
    at: float = 0.0
    """When this was last brought up to date."""
    credit: float = 0.0
    held: bool = False
    """Whether it holds a request up."""
    used: float = 0.0
    """Rate in use, averaged."""
    growth: float = GROWTH
    rising: bool = True
    mark: float = inf
    """The rate that was last refused."""
    since_cut: float = 0.0
    """Busy seconds since then."""
    refused_at: float = -inf

    def advance(self, now: float) -> None:
        """Bring the credit and the rate up to date."""
        passed, self.at = now - self.at, now
        if passed <= 0:
            return
        self.used *= exp(-passed / MEMORY)
        if self.growth < GROWTH and passed > REST:
            self.rate = min(self.rate, max(START, self.used))
            self.rising = True
        if self.rate == inf:
            return
        self.credit = min(self.credit + self.rate * passed, self.rate * BURST)
        if self.adaptive and self.held:
            self._grow(min(passed, 1.0))

    def wait(self) -> float:
        """Say how many seconds it takes until the next request may go."""
        if self.rate == inf or self.credit >= 0:
            return 0.0
        self.held = True
        return -self.credit / self.rate

    def spend(self, amount: float) -> None:
        """Take an amount out for a request."""
        self.held = False
        self.correct(amount)

    def correct(self, amount: float) -> None:
        """Take out more for a request that was let through; a negative amount is given back."""
        self.used = max(0.0, self.used + amount / MEMORY)
        if self.rate != inf:
            self.credit = min(self.credit - amount, self.rate * BURST)

    def cut(self, now: float) -> None:
        """Fall back: this rate was refused."""
        forgiven = self.ceiling != inf and now - self.refused_at > FORGIVEN
        self.refused_at = now
        if forgiven or not self.adaptive:
            return
        self.mark = max(LEAST_RATE, self.used if self.rate == inf else self.rate)
        self._fall_to(self.mark * CUT)
        self.rising, self.since_cut = False, 0.0

    def slow(self) -> None:
        """Fall back and rise more slowly: it was the growth that was refused."""
        if not self.adaptive:
            return
        self.growth = max(LEAST_GROWTH, self.growth**0.5)
        self._fall_to(CUT * min(self.rate, max(START, self.used)))
        self.rising = True

    def _fall_to(self, rate: float) -> None:
        self.rate = min(self.ceiling, max(LEAST_RATE, rate))
        self.credit = min(self.credit, 0.0)

    def _grow(self, busy: float) -> None:
        if self.rising:
            self.rate = min(self.ceiling, self.rate * self.growth**busy)
            if self.rate >= CUT * self.mark:
                self.rising, self.since_cut = False, 0.0
        else:
            self.since_cut += busy
            way = self.since_cut / RECOVERY - 1
            found = self.mark * (1 + (1 - CUT) * way**3)
            self.rate = min(self.ceiling, max(self.rate, found))


@attrs.frozen
class Booking:
    """A request that was let through and has not ended yet."""

    at: float
    """When it was let through."""
    estimate: float
    """The tokens that its caller expected."""
    tokens: float
    """The tokens that were taken out for it."""


@attrs.define
class ModelPace:
    """How fast requests to one model may go.

    Args:
        requests: the rate of requests.
        tokens: the rate of tokens.
        max_cooldown: longest pause after a refusal, in seconds.
    """

    requests: RateRule
    tokens: RateRule
    max_cooldown: float
    under_way: int = 0
    at_once: float = inf
    """How many requests may be under way at once."""
    resumes_at: float = -inf
    """When the cooldown ends."""
    cooled_at: float = -inf
    """When it began."""
    strikes: int = 0
    """Cooldowns in a row."""
    expected: float = 0.0
    counted: float = 0.0

    @classmethod
    def begin(
        cls,
        now: float,
        requests: float | None,
        tokens: float | None,
        *,
        adaptive: bool,
        max_cooldown: float,
    ) -> "ModelPace":
        """Begin with what is known, as amounts a minute; an unknown rate of requests rises."""
        first = START if requests is None and tokens is None and adaptive else None
        return cls(
            _rule(now, requests, adaptive=adaptive, first=first),
            _rule(now, tokens, adaptive=adaptive),
            max_cooldown,
        )

    @property
    def has_room(self) -> bool:
        """Whether one request more may be under way."""
        return self.under_way < self.at_once

    def wait(self, now: float) -> float:
        """Say how many seconds it takes until the next request may go.

        Returns:
            Seconds; infinity where only the end of a request under way can tell.
        """
        if not self.has_room:
            return inf
        self.requests.advance(now)
        self.tokens.advance(now)
        return max(0.0, self.resumes_at - now, self.requests.wait(), self.tokens.wait())

    def book(self, now: float, estimate: float) -> Booking:
        """Let a request through."""
        tokens = estimate * self.counted / self.expected if self.expected else estimate
        self.requests.spend(1)
        self.tokens.spend(tokens)
        self.under_way += 1
        return Booking(now, estimate, tokens)

    def settle(
        self,
        now: float,
        booking: Booking,
        *,
        tokens: int | None = None,
        refusal: Refusal | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Learn from how a request ended.

        Args:
            now: the time.
            booking: the request.
            tokens: tokens that the service counted; None where it did not say.
            refusal: which limit refused it; None where none did.
            retry_after: seconds that the service asks to wait.
        """
        self.requests.advance(now)
        self.tokens.advance(now)
        at_once, self.under_way = self.under_way, self.under_way - 1
        if refusal is not None:
            self.tokens.correct(-booking.tokens)
            if booking.at > self.cooled_at:
                self._cool_down(now, retry_after)
                self._fall_back(now, refusal, at_once)
        elif tokens is not None:
            self._count(booking, tokens)
            if booking.at > self.cooled_at:
                self.strikes = 0
            self.at_once += CREEP / self.at_once

    def _cool_down(self, now: float, retry_after: float | None) -> None:
        self.strikes += 1
        pause = retry_after or FIRST_COOLDOWN * 2 ** min(self.strikes - 1, 20)
        self.cooled_at, self.resumes_at = now, now + min(pause, self.max_cooldown)

    def _fall_back(self, now: float, refusal: Refusal, at_once: int) -> None:
        if refusal == "concurrency":
            if self.requests.adaptive:
                self.at_once = max(1.0, CUT * at_once)
        elif refusal == "growth":
            self.requests.slow()
        else:
            (self.requests if refusal == "requests" else self.tokens).cut(now)

    def _count(self, booking: Booking, tokens: int) -> None:
        self.tokens.correct(tokens - booking.tokens)
        if booking.estimate > 0:
            self.expected = self.expected * FADING + booking.estimate
            self.counted = self.counted * FADING + tokens


def _rule(
    now: float, a_minute: float | None, *, adaptive: bool, first: float | None = None
) -> RateRule:
    if a_minute is not None:
        ceiling = a_minute / 60 * HEADROOM
        return RateRule(ceiling, ceiling, adaptive, now)
    return RateRule(rate=inf if first is None else first, adaptive=adaptive, at=now)
