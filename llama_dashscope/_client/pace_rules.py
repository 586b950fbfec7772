"""The rules of rate limiting, without I/O: from an account's limits and the time to a decision."""

from math import exp, inf
from typing import Final, Literal

import attrs

__all__ = ["Booking", "ModelPace", "RateRule", "Refusal"]

Refusal = Literal["requests", "tokens", "growth", "concurrency"]
"""The account limit by which a request was refused."""

HEADROOM: Final = 0.98
"""Share of a known limit that is used: the service counts requests when they arrive, and the delay
between sending and arrival varies."""

START: Final = 10.0
"""Initial rate, in requests a second, if no limit is known."""

GROWTH: Final = 2.0
"""Factor by which an unknown rate rises each second until it is refused."""

LEAST_GROWTH: Final = 1.05

CUT: Final = 0.8
"""Share of the rate that is left after it was refused."""

RECOVERY: Final = 15.0
"""Busy seconds after a cut until the refused rate is reached again."""

FORGIVEN: Final = 5.0
"""After this many seconds without a refusal, a single one at a known limit doesn't cut the rate."""

BURST: Final = 0.02
"""Seconds of unused rate that may be used later, so that late timers cost no throughput."""

LEAST_RATE: Final = 1 / 60

MEMORY: Final = 2.0
"""Seconds over which the rate in use is averaged."""

REST: Final = 10.0
"""Seconds without requests after which a rate that had to grow slowly starts to grow anew."""

FIRST_COOLDOWN: Final = 0.25
"""Pause of all requests after a first refusal, in seconds; doubles with each further one."""

CREEP: Final = 0.1
"""How much `max_in_flight` rises after as many answers as its value."""

FADING: Final = 0.95
"""Weight of the past, per answer, in the average error of token estimates."""


@attrs.define
class RateRule:
    """The rate limit of requests or of tokens: a known one is kept, an unknown one is found.

    A token bucket: it fills at the rate, and one request may overdraw it, so that a large request
    is paid for afterwards. An unknown rate rises by a factor each second until it is refused, falls
    to 0.8 of that, and recovers along the curve of CUBIC (RFC 9438): steep at first, flat around
    the refused rate, steep again above it. It rises only while it is what delays requests.
    """

    ceiling: float = inf
    """Known limit, per second."""
    rate: float = inf
    """Current rate, per second."""
    adaptive: bool = True
    at: float = 0.0
    """Time of the last update."""
    credit: float = 0.0
    held: bool = False
    """Whether it is delaying a request."""
    used: float = 0.0
    """Rate in use, per second, averaged."""
    growth: float = GROWTH
    rising: bool = True
    mark: float = inf
    """The rate that was last refused."""
    since_cut: float = 0.0
    """Busy seconds since the last cut."""
    refused_at: float = -inf

    def advance(self, now: float) -> None:
        """Update the credit and the rate."""
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
        """Return the seconds until the next request may be sent."""
        if self.rate == inf or self.credit >= 0:
            return 0.0
        self.held = True
        return -self.credit / self.rate

    def spend(self, amount: float) -> None:
        """Deduct the amount of a request."""
        self.held = False
        self.correct(amount)

    def correct(self, amount: float) -> None:
        """Deduct more for an admitted request; a negative amount is given back."""
        self.used = max(0.0, self.used + amount / MEMORY)
        if self.rate != inf:
            self.credit = min(self.credit - amount, self.rate * BURST)

    def cut(self, now: float) -> None:
        """Reduce the rate, since it was refused."""
        forgiven = self.ceiling != inf and now - self.refused_at > FORGIVEN
        self.refused_at = now
        if forgiven or not self.adaptive:
            return
        self.mark = max(LEAST_RATE, self.used if self.rate == inf else self.rate)
        self._fall_to(self.mark * CUT)
        self.rising, self.since_cut = False, 0.0

    def slow(self) -> None:
        """Reduce the rate and let it rise more slowly, since its growth was refused."""
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
    """An admitted request that has not ended yet."""

    at: float
    """When it was admitted."""
    estimate: float
    """The caller's estimate of its tokens."""
    tokens: float
    """The tokens that were deducted for it."""


@attrs.define
class ModelPace:
    """The rate limits of requests to one model.

    Args:
        requests: the rate of requests.
        tokens: the rate of tokens.
        max_cooldown: longest pause after a refusal, in seconds.
    """

    requests: RateRule
    tokens: RateRule
    max_cooldown: float
    in_flight: int = 0
    max_in_flight: float = inf
    """How many requests may be in flight at once."""
    resumes_at: float = -inf
    """When the cooldown ends."""
    cooled_at: float = -inf
    """When the cooldown began."""
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
        """Start with the known limits, per minute; an unknown rate of requests will rise."""
        first = START if requests is None and tokens is None and adaptive else None
        return cls(
            _rule(now, requests, adaptive=adaptive, first=first),
            _rule(now, tokens, adaptive=adaptive),
            max_cooldown,
        )

    @property
    def has_room(self) -> bool:
        """Whether one more request may be in flight."""
        return self.in_flight < self.max_in_flight

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may be sent.

        Infinity if that depends on when a request in flight ends.
        """
        if not self.has_room:
            return inf
        self.requests.advance(now)
        self.tokens.advance(now)
        return max(0.0, self.resumes_at - now, self.requests.wait(), self.tokens.wait())

    def book(self, now: float, estimate: float) -> Booking:
        """Admit a request."""
        tokens = estimate * self.counted / self.expected if self.expected else estimate
        self.requests.spend(1)
        self.tokens.spend(tokens)
        self.in_flight += 1
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
        """Adjust to how a request ended.

        Args:
            now: the time.
            booking: the request.
            tokens: tokens that the service counted; None if it reported none.
            refusal: the limit that refused it; None if none did.
            retry_after: seconds that the service asks to wait; None if it doesn't say.
        """
        self.requests.advance(now)
        self.tokens.advance(now)
        in_flight, self.in_flight = self.in_flight, self.in_flight - 1
        if refusal is not None:
            self.tokens.correct(-booking.tokens)
            if booking.at > self.cooled_at:
                self._cool_down(now, retry_after)
                self._fall_back(now, refusal, in_flight)
        elif tokens is not None:
            self._count(booking, tokens)
            if booking.at > self.cooled_at:
                self.strikes = 0
            self.max_in_flight += CREEP / self.max_in_flight

    def _cool_down(self, now: float, retry_after: float | None) -> None:
        self.strikes += 1
        pause = retry_after or FIRST_COOLDOWN * 2 ** min(self.strikes - 1, 20)
        self.cooled_at, self.resumes_at = now, now + min(pause, self.max_cooldown)

    def _fall_back(self, now: float, refusal: Refusal, in_flight: int) -> None:
        if refusal == "concurrency":
            if self.requests.adaptive:
                self.max_in_flight = max(1.0, CUT * in_flight)
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
