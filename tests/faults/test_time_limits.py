"""No hang: each limit ends a call under its own name, on every leg.

Times are asserted one way only: a limit never strikes early, and what must be quick is given far
more time than it takes.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

import pytest

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    Client,
    Limits,
    RateLimitError,
    Retry,
    ServiceUnavailableError,
    Timeout,
)
from llama_dashscope.testing import (
    BlackHole,
    Drip,
    Fault,
    Heartbeats,
    LocalDashScope,
    RateLimited,
    Reply,
    SlowStart,
    StaleConnection,
    Stall,
    Unavailable,
)

if TYPE_CHECKING:
    from client_matrix import Leg, Outcome

SHORT = 0.08
ABC = Reply(pieces=["a", "b", "c"])
AT_ONCE = Retry(times=2, base=0)


def check(outcome: Outcome, limit: str, attempts: int, waited: float = SHORT) -> APITimeoutError:
    """Look at everything that an error about time says."""
    error = outcome.error
    assert type(error) is APITimeoutError
    assert isinstance(error, TimeoutError)
    assert (error.limit, error.attempts) == (limit, attempts)
    assert error.waited >= waited * 0.99
    assert f"timeout.{limit}" in error.message
    assert outcome.seconds >= waited * 0.99
    return error


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """Give a port where nobody takes up connections: a connect hangs there."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def test_connect(leg: Leg, server: LocalDashScope, full_backlog: int) -> None:
    """A connect that hangs ends by `connect`, and is tried again: nothing was sent."""
    base_url = f"http://127.0.0.1:{full_backlog}/api/v1"
    timeout = Timeout(connect=SHORT)
    client = leg.client(server, base_url=base_url, timeout=timeout, retry=Retry(times=1, base=0))

    outcome = leg.ask(client)

    check(outcome, "connect", attempts=2)
    assert outcome.seconds >= 2 * SHORT * 0.99


def test_read(leg: Leg, server: LocalDashScope) -> None:
    """A service that takes the request and says nothing is asked once: it may be at work."""
    server.fault(BlackHole(), times=None)

    outcome = leg.ask(leg.client(server, timeout=Timeout(read=SHORT), retry=AT_ONCE))

    check(outcome, "read", attempts=1)
    assert len(server.requests) == 1
    server.wait_for(lambda server: server.open_connections == 0)


def test_read_again(leg: Leg, server: LocalDashScope) -> None:
    """Who says that read timeouts may be tried again gets that."""
    server.fault(BlackHole(), times=1)
    server.reply(ABC)
    retry = Retry(times=1, base=0, read_timeouts=True)

    outcome = leg.ask(leg.client(server, timeout=Timeout(read=0.3), retry=retry))

    assert (outcome.text, outcome.error) == ("abc", None)
    assert len(server.requests) == 2


def test_read_is_for_the_first_byte(leg: Leg, server: LocalDashScope) -> None:
    """Once the answer has begun `read` has done its work; `idle` goes on from there."""
    server.fault(Stall(after=1 if leg.streaming else 0, seconds=4 * SHORT))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, timeout=Timeout(read=2 * SHORT, idle=30)))

    assert (outcome.text, outcome.error) == ("abc", None)


@pytest.mark.parametrize("after", [0, 2])
def test_idle(leg: Leg, server: LocalDashScope, after: int) -> None:
    """Silence within an answer ends it by `idle`, with what had come."""
    server.fault(Stall(after), times=None)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, timeout=Timeout(idle=SHORT), retry=AT_ONCE))

    error = check(outcome, "idle", attempts=1)
    assert error.partial_text == outcome.text == ("abc"[:after] if leg.streaming else "")
    assert len(server.requests) == 1
    server.wait_for(lambda server: server.open_connections == 0)


@pytest.mark.parametrize("after", [0, 2])
def test_idle_is_not_fooled_by_heartbeats(leg: Leg, server: LocalDashScope, after: int) -> None:
    """A stream that only beats is silent: the limit is between frames, not between bytes."""
    server.fault(Heartbeats(every=0.01, after=after), times=None)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, timeout=Timeout(idle=SHORT), retry=AT_ONCE))

    error = check(outcome, "idle", attempts=1)
    assert error.partial_text == ("abc"[:after] if leg.streaming else "")


def test_frames_wind_idle_up(leg: Leg, server: LocalDashScope) -> None:
    """Frames that come in time may come for as long as they like."""
    server.reply(Reply(pieces=["a"] * 8, tokens_per_second=25))

    outcome = leg.ask(leg.client(server, timeout=Timeout(idle=0.25)))

    assert (outcome.text, outcome.error) == ("a" * 8, None)
    assert outcome.seconds >= 0.25


@pytest.mark.parametrize(
    "fault", [BlackHole(), SlowStart(60), Stall(0), Stall(1), Heartbeats(0.01, 1)], ids=str
)
def test_total(leg: Leg, server: LocalDashScope, fault: Fault) -> None:
    """Whatever a call waits for, `total` ends it."""
    server.fault(fault, times=None)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, timeout=Timeout(total=2 * SHORT), retry=AT_ONCE))

    check(outcome, "total", attempts=1, waited=2 * SHORT)
    server.wait_for(lambda server: server.open_connections == 0)


def test_total_ends_what_never_stands_still(leg: Leg, server: LocalDashScope) -> None:
    """An answer that comes byte by byte never idles, and yet it ends."""
    server.fault(Drip(1, 0.02), times=None)
    server.reply(Reply("word " * 500))

    outcome = leg.ask(leg.client(server, timeout=Timeout(total=2 * SHORT)))

    check(outcome, "total", attempts=1, waited=2 * SHORT)


def test_total_counts_tries_and_pauses(leg: Leg, server: LocalDashScope) -> None:
    """Many tries, each of them quick, end by `total` all the same."""
    server.fault(RateLimited(retry_after=0.01), times=None)
    retry = Retry(times=10_000, budget=10_000)

    outcome = leg.ask(leg.client(server, timeout=Timeout(total=10 * SHORT), retry=retry))

    assert retry.times > len(server.requests) > 1
    assert isinstance(outcome.error, APITimeoutError | RateLimitError)
    assert outcome.error.attempts in {len(server.requests), len(server.requests) + 1}


def test_total_counts_the_queue(leg: Leg, server: LocalDashScope) -> None:
    """Waiting for the pool's own connection is bounded by `total` alone, and that bounds it."""
    server.fault(BlackHole(), times=1)
    server.reply(ABC)
    limits = Limits(max_connections=1)

    with Client(server.api_key, base_url=server.base_url, limits=limits) as client:
        outcome = leg.ask(client, timeout=Timeout(total=SHORT))

    check(outcome, "total", attempts=1)


@pytest.mark.parametrize(("wait", "total"), [(60, 1), (61, None), (1e9, None)])
def test_a_pause_that_does_not_fit(
    leg: Leg, server: LocalDashScope, wait: float, total: float | None
) -> None:
    """A wait longer than `total` or the cap is told and not begun."""
    server.fault(RateLimited(retry_after=wait), times=None)

    outcome = leg.ask(leg.client(server, timeout=Timeout(total=total), retry=AT_ONCE))

    assert type(outcome.error) is RateLimitError
    assert (outcome.error.retry_after, outcome.error.attempts) == (wait, 1)
    assert outcome.seconds < (total or 30)


def test_retry_after_is_kept(leg: Leg, server: LocalDashScope) -> None:
    """The service's own wait is waited, in place of the backoff."""
    server.fault(RateLimited(retry_after=0.2))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=Retry(base=0)))

    assert (outcome.text, outcome.error) == ("abc", None)
    assert outcome.seconds >= 0.2


def test_nobody_listens(leg: Leg, server: LocalDashScope) -> None:
    """A refused connection is tried again and names the host and the cause."""
    with server.down():
        error = leg.ask(leg.client(server, retry=AT_ONCE)).error

    assert type(error) is APIConnectionError
    assert error.attempts == 3
    assert f"127.0.0.1:{server.port}" in error.message
    assert "refused" in error.message.lower() or "connection attempts failed" in error.message
    assert error.__cause__ is not None


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_reused_connection_that_died(
    leg: Leg, server: LocalDashScope, how: Literal["fin", "rst"]
) -> None:
    """A kept connection that drops before any byte of an answer costs another try, not the call."""
    server.fault(StaleConnection(how))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=Retry(times=1, base=0)), times=2)

    assert (outcome.text, outcome.error) == ("abc", None)
    assert len(server.requests) == 3
    assert server.connections_accepted == 2


def test_a_reused_connection_that_is_mute(leg: Leg, server: LocalDashScope) -> None:
    """A kept connection behind which nobody is ends by `read`, not after minutes."""
    server.fault(StaleConnection("hang"))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, timeout=Timeout(read=SHORT)), times=2)

    check(outcome, "read", attempts=1)


def test_the_budget_ends_retries(leg: Leg, server: LocalDashScope) -> None:
    """A client whose retries are used up fails at the first try, until successes earn new ones."""
    server.fault(Unavailable(), times=5)
    server.reply(ABC)
    retry = Retry(times=2, base=0, budget=3)

    outcome = leg.ask(leg.client(server, retry=retry), times=2)

    assert outcome.error is not None
    assert isinstance(outcome.error, ServiceUnavailableError)
    assert outcome.error.attempts == 2
    assert len(server.requests) == 5
