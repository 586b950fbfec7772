"""Rate limiting without I/O, decision by decision and against a simulated service."""

from __future__ import annotations

import heapq
import math
import random
from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope._client.pace_rules import Booking, ModelPace, RateRule, Refusal

KNOWN = 200.0
"""The service's limit in these tests, in requests a second."""


def begin(
    requests: float | None = None, tokens: float | None = None, *, adaptive: bool = True
) -> ModelPace:
    """Begin at time 0 with limits a minute."""
    return ModelPace.begin(0.0, requests, tokens, adaptive=adaptive, max_cooldown=60.0)


@attrs.define
class Service:
    """A service with limits a second, kept by token buckets of one second."""

    requests: float = inf
    tokens: float = inf
    growth: float = inf
    at_once: float = inf
    at: float = 0.0
    left: float = attrs.Factory(lambda self: self.requests, takes_self=True)
    tokens_left: float = attrs.Factory(lambda self: self.tokens, takes_self=True)
    seconds: dict[int, int] = attrs.Factory(dict[int, int])

    def refuse(self, now: float, tokens: int, under_way: int) -> Refusal | None:
        """Take a request, or say which limit refuses it."""
        passed, self.at = now - self.at, now
        if passed:
            self.left = min(self.requests, self.left + passed * self.requests)
            self.tokens_left = min(self.tokens, self.tokens_left + passed * self.tokens)
        second = int(now)
        taken = self.seconds.get(second, 0) + 1
        if under_way > self.at_once:
            return "concurrency"
        if taken > self.growth * max(10, self.seconds.get(second - 1, 0)):
            return "growth"
        if self.left < 1:
            return "requests"
        if self.tokens_left < tokens:
            return "tokens"
        self.left -= 1
        self.tokens_left -= tokens
        self.seconds[second] = taken
        return None


@attrs.define
class Run:
    """What came of a simulated run."""

    answered: list[float] = attrs.Factory(list[float])
    refused: int = 0

    def rate(self, begin: float, end: float) -> float:
        """Return answers a second between two times."""
        return sum(begin <= at < end for at in self.answered) / (end - begin)

    @property
    def refusals(self) -> float:
        """The share of requests that was refused."""
        return self.refused / (self.refused + len(self.answered))


def simulate(pace: ModelPace, service: Service, seconds: float, off: float = 1.0) -> Run:
    """Have an endless queue of requests go at a pace; a request takes 100 tokens on average.

    Args:
        pace: the pace.
        service: who answers.
        seconds: how long the queue is served.
        off: how far estimates of tokens are off, as a factor.
    """
    chance, run, now = random.Random(0), Run(), 0.0
    ends: list[tuple[float, int, Booking, Refusal | None, int | None]] = []
    while now < seconds:
        while ends and ends[0][0] <= now:
            at, _, booking, refusal, told = heapq.heappop(ends)
            pace.settle(at, booking, refusal=refusal, tokens=told)
        if (pause := pace.wait(now)) > 0:
            now = min([now + min(pause, 1.0), *(end[0] for end in ends[:1])]) + 1e-9
            continue
        tokens = chance.randint(50, 150)
        booking = pace.book(now, tokens * off)
        refusal = service.refuse(now, tokens, pace.in_flight)
        took = (0.01 if refusal else 0.1) * chance.uniform(0.5, 1.5)
        told = None if refusal else tokens
        number = len(run.answered) + run.refused
        heapq.heappush(ends, (now + took, number, booking, refusal, told))
        if refusal:
            run.refused += 1
        else:
            run.answered.append(now)
    return run


def test_a_known_limit_is_used_up_and_kept() -> None:
    """A known limit is used to 98 % from the first second on, and nothing is refused."""
    run = simulate(begin(KNOWN * 60), Service(KNOWN), 20)

    assert run.rate(0, 20) >= 0.975 * KNOWN
    assert run.refused == 0


def test_an_unknown_limit_is_found() -> None:
    """Nine tenths of a limit that nobody told are in use before half a minute has passed."""
    run = simulate(begin(), Service(KNOWN), 60)

    assert run.rate(20, 40) >= 0.9 * KNOWN
    assert run.rate(40, 60) >= 0.9 * KNOWN
    assert run.refusals < 0.005


@pytest.mark.parametrize("limit", [20.0, 1000.0])
def test_whatever_the_limit_is(limit: float) -> None:
    """Small limits and large ones are found alike."""
    run = simulate(begin(), Service(limit), 40)

    assert run.rate(20, 40) >= 0.9 * limit
    assert run.refusals < 0.015


def test_known_tokens_with_estimates_far_too_high() -> None:
    """Estimates three times too high cost no throughput: the usage corrects them."""
    run = simulate(begin(None, 100 * KNOWN * 60), Service(tokens=100 * KNOWN), 20, off=3.0)

    assert run.rate(0, 20) >= 0.95 * KNOWN
    assert run.refusals < 0.005


def test_an_unknown_limit_of_tokens_is_found() -> None:
    """What is refused for tokens slows down like what is refused for requests."""
    run = simulate(begin(), Service(tokens=100 * KNOWN), 60, off=3.0)

    assert run.rate(20, 60) >= 0.9 * KNOWN
    assert run.refusals < 0.005


@pytest.mark.parametrize("known", [None, KNOWN * 60])
def test_a_limit_of_growth_is_respected(known: float | None) -> None:
    """Where growth is refused the rate rises more slowly, and gets there in the end."""
    run = simulate(begin(known), Service(KNOWN, growth=1.5), 60)

    assert run.rate(40, 60) >= 0.9 * KNOWN
    assert run.refusals < 0.005


def test_a_limit_of_requests_at_once_is_respected() -> None:
    """Where too many are under way, fewer are, and those are used."""
    run = simulate(begin(), Service(at_once=10), 60)

    assert run.rate(20, 60) >= 0.8 * 10 / 0.1
    assert run.refusals < 0.02


def test_one_request_may_always_be_under_way() -> None:
    """However often the service refuses for concurrency, one is let through, and one alone."""
    pace = begin(6000)
    pace.settle(0.0, pace.book(0.0, 1), refusal="concurrency")

    assert pace.wait(10.0) == 0.0

    pace.book(10.0, 1)

    assert pace.wait(20.0) == inf


def test_one_refusal_at_a_known_limit_is_bad_luck() -> None:
    """The rate stays; a second one within five seconds takes it down."""
    pace = begin(6000)
    for at, rate in [(0.0, 98.0), (6.0, 98.0), (11.0, 98.0 * 0.8)]:
        pace.wait(at)
        pace.settle(at, pace.book(at, 1), refusal="requests")

        assert pace.requests.rate == pytest.approx(rate)


def test_refusals_of_a_crowd_count_once() -> None:
    """What was sent before a cooldown began doesn't lengthen it, and doesn't cut the rate again."""
    pace = begin()
    crowd = [pace.book(0.0, 1) for _ in range(50)]
    for number, booking in enumerate(crowd):
        pace.settle(0.01 * number, booking, refusal="requests")

    assert pace.resumes_at == 0.25
    assert pace.requests.rate == pytest.approx(8.0)


def test_cooldowns_in_a_row_double() -> None:
    """A refusal right after a cooldown doubles the next one, up to the cap; an answer ends that."""
    pace, now = begin(), 0.0
    pauses: list[float] = []
    for _ in range(10):
        pace.settle(now, pace.book(now, 1), refusal="requests")
        pauses.append(pace.resumes_at - now)
        now = pace.resumes_at

    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]

    pace.settle(now, pace.book(now, 1), tokens=1)
    pace.settle(now, pace.book(now, 1), refusal="requests")

    assert pace.resumes_at - now == 0.25


@pytest.mark.parametrize(("asked", "kept"), [(7.0, 7.0), (1_849_295.0, 60.0)])
def test_the_service_says_when(asked: float, kept: float) -> None:
    """`Retry-After` is the cooldown, up to the cap."""
    pace = begin(6000)
    pace.settle(0.0, pace.book(0.0, 1), refusal="requests", retry_after=asked)

    assert pace.wait(0.0) == kept


def test_an_attempt_that_was_given_up_teaches_nothing() -> None:
    """Neither the estimate nor the cooldown hears of it, and its place is free."""
    pace = begin(tokens=6000)
    pace.settle(0.0, pace.book(0.0, 50))

    assert (pace.in_flight, pace.expected, pace.strikes) == (0, 0.0, 0)
    assert pace.wait(0.0) > 0  # its tokens may have been spent


def test_refused_tokens_come_back() -> None:
    """The service doesn't count what it refused."""
    pace = begin(tokens=6000)
    pace.settle(0.0, pace.book(0.0, 50), refusal="requests")

    assert pace.tokens.wait() == 0.0


@pytest.mark.parametrize("refusal", ["requests", "tokens"])
def test_the_limit_that_refused_is_the_one_that_falls(refusal: Refusal) -> None:
    """The other one stays as it is, again and again."""
    pace = begin(6_000, 600_000)
    before = {"requests": pace.requests.rate, "tokens": pace.tokens.rate}
    for now in (10.0, 12.0):
        booking = pace.book(now, 10)
        pace.settle(now + 1, booking, refusal=refusal)
    after = {"requests": pace.requests.rate, "tokens": pace.tokens.rate}

    assert {name for name in before if after[name] < before[name]} == {refusal}


def test_without_learning_the_rate_stays() -> None:
    """`adaptive=False`: refusals of any kind pause, and change no rate."""
    pace = begin(6000, adaptive=False)
    refusals: list[Refusal] = ["requests", "tokens", "growth", "concurrency"]
    for refusal in refusals * 2:
        pace.settle(0.0, pace.book(0.0, 1), refusal=refusal)
        pace.cooled_at = -inf

    assert (pace.requests.rate, pace.tokens.rate, pace.max_in_flight) == (98.0, inf, inf)
    assert begin(adaptive=False).wait(0.0) == 0.0


def test_an_idle_rate_does_not_rise() -> None:
    """Only a rate that holds requests up rises; else a burst would find no limit at all."""
    pace = begin()
    for second in range(100):
        pace.wait(float(second))
        pace.settle(second + 0.1, pace.book(float(second), 1), tokens=1)

    assert pace.requests.rate < 20


def test_a_pause_where_growth_is_limited_begins_anew() -> None:
    """A service that limits growth has forgotten the load after a rest, and so has the pace."""
    rule = RateRule(100.0, 100.0, growth=1.2, used=100.0)
    rule.advance(60.0)

    assert rule.rate <= 12.0
    assert rule.rising


def test_after_growth_a_limit_that_is_known_is_approached_slowly() -> None:
    """A rate that fell for its growth rises fast as far as 0.8 of the rate that was refused."""
    rule = RateRule(rate=100.0)
    rule.cut(0.0)
    rule.used = rule.rate = 20.0
    rule.slow()
    for second in range(1, 10):
        rule.spend(1)
        rule.credit = -1000.0
        rule.wait()
        rule.advance(float(second))

    assert not rule.rising
    assert 80 <= rule.rate < 100


def hold_up(rule: RateRule, until: float) -> float:
    """Let a rate hold requests up until then, and return the rate."""
    rule.spend(1)
    rule.credit = -1000.0
    assert rule.wait() > 0
    rule.advance(until)
    return rule.rate


def test_a_rate_doubles_each_second_that_it_holds_requests_up() -> None:
    """A second at most counts of any wait: how long one would have waited says nothing."""
    rule = RateRule(rate=10.0)

    assert hold_up(rule, 0.5) == pytest.approx(10.0 * 2**0.5)
    assert hold_up(rule, 1.0) == pytest.approx(20.0)
    assert hold_up(rule, 2.0) == pytest.approx(40.0)
    assert hold_up(rule, 9.0) == pytest.approx(80.0)

    rule.spend(1)
    rule.advance(10.0)

    assert rule.rate == pytest.approx(80.0)  # nothing was held up


@pytest.mark.parametrize(("ceiling", "most"), [(inf, inf), (110.0, 110.0)])
def test_a_refused_rate_comes_back(ceiling: float, most: float) -> None:
    """The curve of CUBIC: steep, flat about the refused rate after 15 seconds, then steep again."""
    rule = RateRule(ceiling, 100.0, refused_at=0.0)
    rule.cut(0.0)

    found = [rule.rate, *(hold_up(rule, float(second)) for second in range(1, 31))]

    wanted = [100 * (1 + 0.2 * (second / 15 - 1) ** 3) for second in range(31)]
    assert found == pytest.approx([min(most, rate) for rate in wanted])


def test_a_rate_that_was_refused_for_its_growth_grows_more_slowly() -> None:
    """It falls to 0.8 of the rate in use, and of no less than the first rate."""
    rule = RateRule(rate=100.0, used=50.0)
    rule.slow()

    assert (rule.rate, rule.growth, rule.rising) == (40.0, 2**0.5, True)

    rule.used = 0.0
    rule.slow()

    assert (rule.rate, rule.growth) == (8.0, 2**0.25)

    for _ in range(9):
        rule.slow()

    assert rule.growth == 1.05
    assert rule.rate == pytest.approx(8.0 * 0.8**9)


def test_the_lowest_rate_is_one_a_minute() -> None:
    """However often a rate is refused, it comes to no standstill."""
    rules = [RateRule(rate=1 / 60), RateRule(used=0.0)]
    for rule in rules:
        rule.cut(0.0)

    assert [(rule.rate, rule.mark) for rule in rules] == [(1 / 60, 1 / 60)] * 2


@pytest.mark.parametrize(("rested", "rate"), [(10.0, 100.0), (10.1, 10.0)])
def test_a_rest_is_ten_seconds(rested: float, rate: float) -> None:
    """After it, growth that is limited begins where all growth begins, and not before."""
    rule = RateRule(rate=100.0, growth=1.2, rising=False)
    rule.advance(rested)

    assert (rule.rate, rule.rising) == (rate, rested > 10)


def test_unused_rate_lasts_for_a_fiftieth_of_a_second() -> None:
    """What is not used is lost, but for what makes up for late timers; so is what is given back."""
    rule = RateRule(100.0, 100.0)
    rule.advance(0.01)
    assert rule.credit == pytest.approx(1.0)

    rule.advance(10.0)
    assert rule.credit == pytest.approx(2.0)

    rule.spend(3.0)
    assert rule.wait() == pytest.approx(0.01)

    rule.correct(-9.0)
    assert rule.credit == pytest.approx(2.0)


def test_the_rate_in_use_is_an_average_of_two_seconds() -> None:
    """It rises by half of what is spent and fades; what is given back leaves no less than none."""
    rule = RateRule()
    rule.spend(4.0)
    assert (rule.used, rule.credit, rule.wait()) == (2.0, 0.0, 0.0)

    rule.advance(2.0)
    assert rule.used == pytest.approx(2.0 / math.e)

    rule.correct(-9.0)
    assert rule.used == 0.0


def test_estimates_are_corrected_by_what_was_counted() -> None:
    """By the ratio of both, in which each answer weighs a little less than the one after it."""
    pace = begin(tokens=6000)
    first = pace.book(0.0, 100)
    pace.settle(0.0, first, tokens=50)
    second = pace.book(0.0, 100)
    pace.settle(0.0, second, tokens=200)
    third = pace.book(0.0, 100)

    assert (first.tokens, second.tokens) == (100, 50)
    assert third.tokens == pytest.approx(100 * (0.95 * 50 + 200) / (0.95 * 100 + 100))
    assert pace.tokens.credit == pytest.approx(-50 - 200 - third.tokens)

    pace.settle(0.0, pace.book(0.0, 0), tokens=7)
    assert pace.book(0.0, 100).tokens == third.tokens


def test_how_many_may_be_under_way() -> None:
    """0.8 of those that were refused, and with each answer a little more; without refusals, any."""
    pace = begin(6000)
    under_way = [pace.book(0.0, 1) for _ in range(10)]
    assert pace.has_room

    pace.settle(0.0, under_way.pop(), refusal="concurrency")
    assert (pace.max_in_flight, pace.in_flight, pace.has_room) == (8.0, 9, False)

    pace.settle(0.0, under_way.pop(), tokens=1)
    assert (pace.max_in_flight, pace.in_flight, pace.has_room) == (8.0125, 8, True)


def test_the_longest_cooldown() -> None:
    """Without a cap of the caller's a cooldown doubles twenty times."""
    pace = ModelPace.begin(0.0, 6000, None, adaptive=True, max_cooldown=inf)
    begun = now = 0.0
    for _ in range(30):
        pace.settle(now, pace.book(now, 1), refusal="requests")
        begun, now = now, pace.resumes_at

    assert now - begun == pytest.approx(0.25 * 2**20)


def test_what_is_known_at_the_beginning() -> None:
    """Of a known limit 98 % are used; of two that are unknown, the requests begin at ten."""
    both, neither = begin(600, 6000), begin()

    assert (both.requests.rate, both.requests.ceiling) == (9.8, 9.8)
    assert (both.tokens.rate, both.tokens.ceiling) == (98.0, 98.0)
    assert (neither.requests.rate, neither.requests.ceiling) == (10.0, inf)
    assert (neither.tokens.rate, neither.tokens.ceiling) == (inf, inf)
    assert [begin(600).tokens.rate, begin(None, 600).requests.rate] == [inf, inf]


def test_a_clock_that_stands_still() -> None:
    """No time, no credit."""
    rule = RateRule(1.0, 1.0, at=5.0)
    rule.spend(1)
    rule.advance(5.0)

    assert rule.wait() == 1.0


MOMENTS = st.lists(
    st.tuples(
        st.floats(0, 5),
        st.integers(0, 10**6),
        st.sampled_from([None, "requests", "tokens", "growth", "concurrency"]),
        st.none() | st.floats(0, 1e9),
    ),
    max_size=60,
)


@given(MOMENTS, st.none() | st.floats(1e-3, 1e9), st.none() | st.floats(1e-3, 1e9))
def test_whatever_comes(
    moments: list[tuple[float, int, Refusal | None, float | None]],
    requests: float | None,
    tokens: float | None,
) -> None:
    """Rates stay above 0 and within what is known; a pause ends; nothing is left under way."""
    pace, now = begin(requests, tokens), 0.0
    for passed, used, refusal, retry_after in moments:
        now += passed
        booking = pace.book(now, used)
        told = None if refusal else used
        pace.settle(now, booking, tokens=told, refusal=refusal, retry_after=retry_after)

        assert 0 < pace.requests.rate <= pace.requests.ceiling
        assert 0 < pace.tokens.rate <= pace.tokens.ceiling
        assert 0 <= pace.wait(now) < inf
        assert pace.resumes_at <= now + 60.0

    assert pace.in_flight == 0
