"""A pace that tasks, threads, event loops and clients share."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llama_dashscope import (
    APITimeoutError,
    Client,
    ConfigurationError,
    Outcome,
    Pace,
    Pacer,
    Permit,
    RateLimitError,
    Timeout,
)
from llama_dashscope._client.pacer import refusal_of
from llama_dashscope.testing import BlackHole, CutStream, Drop, LocalDashScope, RateLimited

MODEL = "llama3.3-70b-instruct"
SLOW = partial(Pace, requests_per_minute=1.0)
"""One request is let through at once, the next one in a minute."""


def client_of(
    server: LocalDashScope, pace: Pacer, **options: Any
) -> Client:  # a client's arguments
    """Make a client with a pace."""
    return Client(server.api_key, base_url=server.base_url, pace=pace, **options)


class Recorder:
    """A pacer of one's own: lets everything through and writes down what it hears."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.admitted: list[tuple[str, int]] = []
        self.outcomes: list[Outcome] = []

    async def admit(self, model: str, tokens: int) -> Permit:
        """Let an attempt through."""
        self.admitted.append((model, tokens))
        return self

    def settle(self, outcome: Outcome, /) -> None:
        """Write an outcome down."""
        self.outcomes.append(outcome)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    with anyio.fail_after(10):
        while not condition():  # what is looked at sets no event
            await anyio.sleep(0.001)


@pytest.mark.anyio
async def test_a_call_asks_and_tells(server: LocalDashScope) -> None:
    """Before a call its pace hears the model and an estimate, after it the tokens."""
    pacer = Recorder()
    async with client_of(server, pacer) as client:
        reply = await client.acall(MODEL, "hi")

    assert reply.usage is not None
    assert pacer.outcomes == [Outcome(tokens=reply.usage.total_tokens)]
    assert pacer.outcomes[0].refusal is None
    [(model, tokens)] = pacer.admitted

    assert model == MODEL
    assert tokens > 256


@pytest.mark.anyio
async def test_each_attempt_asks(server: LocalDashScope) -> None:
    """Retries ask again, and a refusal is told with its code and its Retry-After."""
    pacer = Recorder()
    server.fault(RateLimited(retry_after=0))
    async with client_of(server, pacer) as client:
        await client.acall(MODEL, "hi")

    assert len(pacer.admitted) == 2
    assert [each.refusal for each in pacer.outcomes] == ["requests", None]
    assert [each.retry_after for each in pacer.outcomes] == [0.0, None]


@pytest.mark.anyio
async def test_a_stream_tells_at_its_end(server: LocalDashScope) -> None:
    """A stream's tokens are known when it has been read."""
    pacer = Recorder()
    async with (
        client_of(server, pacer) as client,
        client.astream(MODEL, "hi") as stream,
    ):
        assert pacer.outcomes == []

        await stream.aread()

    assert stream.response.usage is not None
    assert pacer.outcomes == [Outcome(tokens=stream.response.usage.total_tokens)]


@pytest.mark.anyio
async def test_a_stream_that_breaks_tells_why(server: LocalDashScope) -> None:
    """The failure of a stream reaches its pace, whether it comes before or after the first text."""
    pacer = Recorder()
    server.fault(CutStream(after=3))
    server.fault(Drop())
    async with client_of(server, pacer, retry=0) as client:
        for _ in range(2):
            with pytest.raises(Exception) as caught:  # noqa: PT011  # two kinds
                async with client.astream(MODEL, "hi") as stream:
                    await stream.aread()

            assert pacer.outcomes[-1].error is caught.value


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_tells_nothing(server: LocalDashScope) -> None:
    """The permit of a call that was given up is settled all the same."""
    pacer = Recorder()
    server.fault(BlackHole())
    async with client_of(server, pacer) as client, anyio.create_task_group() as group:
        group.start_soon(client.acall, MODEL, "hi")
        await until(lambda: len(server.requests) == 1)
        group.cancel_scope.cancel()

    assert pacer.outcomes == [Outcome()]


@pytest.mark.anyio
async def test_waiting_counts_towards_total(server: LocalDashScope) -> None:
    """`total` ends a call that waits for its turn."""
    async with client_of(server, SLOW()) as client:
        await client.acall(MODEL, "hi")
        with pytest.raises(APITimeoutError) as caught:
            await client.acall(MODEL, "hi", timeout=Timeout(total=0.05))

    assert caught.value.limit == "total"
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_first_come_first_served() -> None:
    """Waiters are let through in the order in which they came, each model by itself."""
    pace, order = Pace(requests_per_minute=60_000), list[int]()
    await pace.admit(MODEL, 1)

    async def wait(number: int) -> None:
        await pace.admit(MODEL, 1)
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(wait, number)
            await anyio.lowlevel.checkpoint()
        await pace.admit("another model", 1)

    assert order == sorted(order)
    assert len(order) == 200


@pytest.mark.anyio
async def test_cancelling_a_waiter_costs_nothing() -> None:
    """Those who gave up have taken nothing, whether they were first or not."""
    pace = SLOW()
    await pace.admit(MODEL, 1)
    rules = pace._queues[MODEL].rules  # what nobody outside sees
    credit = rules.requests.credit
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(pace.admit, MODEL, 1)
        await anyio.sleep(0.02)
        group.cancel_scope.cancel()

    assert pace._queues[MODEL].first is None
    assert rules.requests.credit >= credit
    assert rules.in_flight == 1


@pytest.mark.anyio
async def test_the_next_one_moves_up() -> None:
    """When the first in the queue gives up, the next one is let through in its place."""
    pace, done = Pace(requests_per_minute=600), list[float]()
    await pace.admit(MODEL, 1)
    began = monotonic()

    async def second() -> None:
        await pace.admit(MODEL, 1)
        done.append(monotonic() - began)

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as inner:
                inner.start_soon(pace.admit, MODEL, 1)
                await anyio.sleep(0.01)
                group.start_soon(second)
                await anyio.sleep(0.01)
                scope.cancel()

    assert done[0] > 0.08


@pytest.mark.anyio
async def test_requests_at_once() -> None:
    """What is refused for concurrency waits until another one has ended."""
    pace = Pace(requests_per_minute=1e9, max_cooldown=0.001)
    refused = RateLimitError("too many at once", code="Throttling.Concurrency")
    permits = [await pace.admit(MODEL, 1) for _ in range(3)]
    permits[2].settle(Outcome(error=refused))
    permits[2].settle(Outcome(error=refused))  # a second time counts for nothing
    permits[1].settle(Outcome())
    await anyio.sleep(0.01)
    permits.append(await pace.admit(MODEL, 1))  # 2.4 may be under way
    permits.append(await pace.admit(MODEL, 1))
    async with anyio.create_task_group() as group:
        group.start_soon(pace.admit, MODEL, 1)
        queue = pace._queues[MODEL]
        await until(lambda: queue.first is not None)
        permits[0].settle(Outcome(tokens=1))
        await until(lambda: queue.first is None)


@pytest.mark.anyio
async def test_a_refusal_pauses_everyone() -> None:
    """After a refusal nobody is let through for as long as the service asks."""
    pace = Pace(requests_per_minute=1e9)
    permit = await pace.admit(MODEL, 1)
    began = monotonic()
    permit.settle(Outcome(error=RateLimitError("slow", code="Throttling", retry_after=0.1)))
    await pace.admit(MODEL, 1)

    assert monotonic() - began >= 0.099


def admit_many(pace: Pace, times: list[float], backend: str, count: int) -> None:
    """Ask for many permits in an event loop of one's own."""

    async def one() -> None:
        permit = await pace.admit(MODEL, 1)
        times.append(monotonic())
        permit.settle(Outcome(tokens=1))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(one)

    anyio.run(main, backend=backend)


def test_threads_and_event_loops_share_it() -> None:
    """Loops of both kinds in several threads keep one rate together."""
    pace, times = Pace(requests_per_minute=60_000), list[float]()
    threads = [
        threading.Thread(target=admit_many, args=(pace, times, backend, 100))
        for backend in ("asyncio", "trio", "asyncio", "trio")
    ]
    began = monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(times) == 400
    assert max(times) - began >= 0.95 * (400 / 980 - 0.02)


def test_settling_needs_no_event_loop() -> None:
    """A permit may be settled where no loop runs, and a waiter elsewhere hears of it."""
    pace = Pace(tokens_per_minute=6000)
    permits = list[Permit]()

    async def main() -> None:
        permits.append(await pace.admit(MODEL, 100_000))
        async with anyio.create_task_group() as group:
            group.start_soon(pace.admit, MODEL, 0)
            queue = pace._queues[MODEL]
            await until(lambda: queue.first is not None)
            thread = threading.Thread(target=permits[0].settle, args=(Outcome(tokens=0),))
            thread.start()
            await until(lambda: queue.first is None)
            thread.join()

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_waiters_of_a_loop_that_is_over_are_passed_over(backend: str) -> None:
    """What was left behind by an event loop that ended badly holds nobody up."""
    pace = Pace(requests_per_minute=6000)

    async def leave_behind() -> None:
        await pace.admit(MODEL, 1)
        queue = pace._queues[MODEL]
        queue.join()
        queue.join()
        if not pace._queues.get("other"):
            await pace.admit("other", 1)

    async def go_on() -> None:
        with anyio.fail_after(5):
            await pace.admit(MODEL, 1)
            await pace.admit(MODEL, 1)

    anyio.run(leave_behind, backend=backend)
    anyio.run(go_on)
    anyio.run(leave_behind, backend=backend)
    pace._queues[MODEL].wake_first()

    assert pace._queues[MODEL].first is None


def test_a_fork_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process neither waits for its parent's lock nor for its parent's queue."""
    pace = SLOW()

    async def main() -> None:
        await pace.admit(MODEL, 1)
        with monkeypatch.context() as patch, pace._guard():
            patch.setattr(os, "getpid", lambda: -1)
            await pace.admit(MODEL, 1)

    asyncio.run(main())


def test_copies() -> None:
    """A copy and a pickle have the settings; clients that are copied share their pace."""
    pace = Pace(600, 1000.0, adaptive=False, max_cooldown=3)
    client = Client("sk-1", pace=pace)

    assert repr(pickle.loads(pickle.dumps(pace))) == repr(pace)
    assert repr(copy.deepcopy(pace)) == repr(pace)
    assert "requests_per_minute=600, tokens_per_minute=1000.0, adaptive=False" in repr(pace)
    assert copy.copy(client).__getstate__().pace is pace


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"requests_per_minute": 0},
            "pace.requests_per_minute must be a number above 0 or None, got 0",
        ),
        (
            {"tokens_per_minute": "1"},
            "pace.tokens_per_minute must be a number above 0 or None, got '1'",
        ),
        (
            {"requests_per_minute": True},
            "pace.requests_per_minute must be a number above 0 or None, got True",
        ),
        (
            {"requests_per_minute": float("nan")},
            "pace.requests_per_minute must be a number above 0 or None, got nan",
        ),
        (
            {"tokens_per_minute": float("inf")},
            "pace.tokens_per_minute must be a number above 0 or None, got inf",
        ),
        (
            {"requests_per_minute": 10**400},
            "pace.requests_per_minute must be a number above 0 or None, got a value of type int",
        ),
        ({"max_cooldown": None}, "pace.max_cooldown must be a number above 0, got None"),
        ({"adaptive": 1}, "pace.adaptive must be True or False, got 1"),
    ],
)
def test_wrong_settings(given: dict[str, Any], said: str) -> None:
    """What can't be right is refused, and the error names it."""
    with pytest.raises(ConfigurationError) as caught:
        Pace(**given)

    assert caught.value.message == said


def test_a_pace_that_is_none() -> None:
    """What has no `admit` is refused when the client is made."""
    with pytest.raises(ConfigurationError, match="pace must be a Pace"):
        Client("sk-1", pace=600)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("Throttling.RateQuota", "requests"),
        ("LimitRequests", "requests"),
        ("limit_requests", "requests"),
        ("Throttling.AllocationQuota", "tokens"),
        ("insufficient_quota", "tokens"),
        ("Throttling.BurstRate", "growth"),
        ("Throttling.Concurrency", "concurrency"),
        ("Throttling.Something.New", "requests"),
        ("", "requests"),
        ("Whatever", "requests"),
    ],
)
def test_codes(code: str, limit: str) -> None:
    """Each code of the service speaks of one limit; one that nobody knows of requests."""
    assert refusal_of(RateLimitError("too much", code=code)) == limit
