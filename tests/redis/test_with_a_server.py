"""`RedisPace` on a real Redis: limits, cooldowns, corrections, and a Redis that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import anyio
import pytest
import redis
from redis.asyncio import RedisCluster
from redis_server import PROGRAM, RedisServer, free_port

from llama_dashscope import Client, Outcome, RateLimitError, Timeout
from llama_dashscope.redis import RedisPace
from llama_dashscope.redis._permit import RedisPermit
from llama_dashscope.testing import LocalDashScope, RateLimited

MODEL = "llama3.3-70b-instruct"
STATE = f"llama_dashscope:pace:{{default:{MODEL}}}"
WORKERS = f"{STATE}:workers"
HEADROOM = 0.99

Connect = Callable[..., AbstractAsyncContextManager[RedisPace]]


@pytest.fixture
def reader(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Look into the server from outside."""
    with redis.Redis("127.0.0.1", redis_server.port, decode_responses=True) as client:
        yield client


FIELDS = ("requests", "tokens", "resumes", "cooled", "strikes", "seen")
"""What the script keeps."""


def kept(reader: redis.Redis) -> dict[str, int]:
    """Read it."""
    values = str(reader.get(STATE)).split()
    return dict(zip(FIELDS, map(int, values), strict=True))


def ahead(reader: redis.Redis, field: str) -> float:
    """Return by how many seconds a time that the script keeps is ahead of when it last ran."""
    return (kept(reader)[field] - kept(reader)["seen"]) / 1e6


def refusal(retry_after: float | None = None) -> Outcome:
    """Make the outcome of an attempt that the service refused."""
    error = RateLimitError("slow down", code="Throttling.RateQuota")
    error.retry_after = retry_after
    return Outcome(error=error)


@pytest.mark.anyio
async def test_two_workers_keep_one_limit(pacing: Connect) -> None:
    """However many ask, turns come as far apart as the limit says."""
    began, turns = monotonic(), 20
    async with (
        pacing(requests_per_minute=6000) as one,
        pacing(requests_per_minute=6000) as other,
        anyio.create_task_group() as group,
    ):
        for _ in range(turns // 2):
            group.start_soon(one.admit, MODEL, 1)
            group.start_soon(other.admit, MODEL, 1)

    burst = 0.02
    assert monotonic() - began >= (turns - 1) * 0.01 / HEADROOM - burst


@pytest.mark.anyio
async def test_each_account_and_model_has_limits_of_its_own(pacing: Connect) -> None:
    """What one spends, another does not."""
    async with pacing(requests_per_minute=1) as pace, pacing(requests_per_minute=1) as same:
        with anyio.fail_after(10):
            await pace.admit(MODEL, 1)
            await pace.admit("another model", 1)
            async with pacing(requests_per_minute=1, account="another") as another:
                await another.admit(MODEL, 1)
        with anyio.move_on_after(0.1) as scope:
            await same.admit(MODEL, 1)

        assert scope.cancelled_caught


@pytest.mark.anyio
@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
async def test_one_call_of_the_script_is_one_turn(
    pacing: Connect, reader: redis.Redis, limit: str
) -> None:
    """As long as turns come at all."""
    async with pacing(**{limit: 6000}) as pace, anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(pace.admit, MODEL, 1)
    calls = reader.info(  # pyright: ignore[reportUnknownMemberType]  # **kwargs without a type
        "commandstats"
    )["cmdstat_evalsha"]["calls"]

    assert 100 <= calls <= 110  # the first one was not known, a slow run may wait a bit


@pytest.mark.anyio
async def test_tokens_are_spent_and_corrected(pacing: Connect, reader: redis.Redis) -> None:
    """One request may overdraw; what it did not use is given back with the next question."""
    async with pacing(tokens_per_minute=60) as pace:
        permit = await pace.admit(MODEL, 100)

        assert ahead(reader, "tokens") == pytest.approx(100 / HEADROOM, abs=0.1)

        permit.settle(Outcome(20))
        with anyio.move_on_after(0.3):
            await pace.admit(MODEL, 100)

        assert 19 / HEADROOM < ahead(reader, "tokens") < 21 / HEADROOM


@pytest.mark.anyio
async def test_a_refusal_pauses_everyone(pacing: Connect, reader: redis.Redis) -> None:
    """For as long as the service asks, or for moments that double; at most for `max_cooldown`."""
    async with pacing(requests_per_minute=60_000, max_cooldown=50) as pace:
        permit, early = await pace.admit(MODEL, 1), await pace.admit(MODEL, 1)
        permit.settle(refusal())
        later = await pace.admit(MODEL, 1)

        assert ahead(reader, "resumes") <= 0  # the quarter of a second is over
        assert kept(reader)["strikes"] == 1

        early.settle(refusal(0.5))  # was sent before the pause
        late = await pace.admit(MODEL, 1)

        assert kept(reader)["strikes"] == 1

        later.settle(refusal(10_000))
        with anyio.move_on_after(0.1) as scope:
            await pace.admit(MODEL, 1)

        assert scope.cancelled_caught
        assert kept(reader)["strikes"] == 2
        assert 49 < ahead(reader, "resumes") <= 50

        async with pacing(requests_per_minute=60_000) as other:
            with anyio.move_on_after(0.1) as scope:
                await other.admit(MODEL, 1)

            assert scope.cancelled_caught

        late.settle(Outcome(1))  # was sent before the last pause: no sign that it is over


@pytest.mark.anyio
async def test_an_answer_ends_the_doubling(pacing: Connect, reader: redis.Redis) -> None:
    """To one that was sent after the pause."""
    async with pacing(requests_per_minute=60_000) as pace:
        (await pace.admit(MODEL, 1)).settle(refusal(0.001))
        (await pace.admit(MODEL, 1)).settle(Outcome(1))

        assert kept(reader)["strikes"] == 1

        await pace.admit(MODEL, 1)

        assert kept(reader)["strikes"] == 0


@pytest.mark.anyio
async def test_a_turn_given_back_is_there_again(pacing: Connect) -> None:
    """One who is cancelled leaves the limits as they were."""
    async with pacing(requests_per_minute=1, tokens_per_minute=1) as pace:
        with anyio.fail_after(10):
            for _ in range(5):
                permit = await pace.admit(MODEL, 100)
                assert isinstance(permit, RedisPermit)
                permit.give_back()


@pytest.mark.anyio
async def test_workers_are_counted(pacing: Connect, reader: redis.Redis) -> None:
    """Redis says how many there are; its keys go when nobody asks."""
    async with pacing(requests_per_minute=60_000) as one, pacing(requests_per_minute=60_000) as two:
        for pace in (one, two, one):
            await pace.admit(MODEL, 1)

        assert one._workers == 2
        assert reader.zcard(WORKERS) == 2

    assert 20 < reader.ttl(STATE) <= 31
    assert 20 < reader.ttl(WORKERS) <= 30


@pytest.mark.anyio
async def test_a_clock_that_goes_back_stops_nobody(pacing: Connect, reader: redis.Redis) -> None:
    """As when a replica with another clock takes over."""
    async with pacing(requests_per_minute=6000) as pace:
        await pace.admit(MODEL, 1)
        hour = 3_600_000_000
        reader.set(STATE, " ".join(str(value + hour) for value in kept(reader).values()))
        with anyio.fail_after(10):
            await pace.admit(MODEL, 1)

        assert ahead(reader, "requests") < 1


@pytest.mark.anyio
async def test_a_flushed_script_is_no_matter(
    pacing: Connect, reader: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody notices."""
    async with pacing(requests_per_minute=6000) as pace:
        await pace.admit(MODEL, 1)
        reader.script_flush()
        await pace.admit(MODEL, 1)

    assert caplog.messages == []


@pytest.mark.anyio
async def test_cancelled_questions_spoil_no_later_answer(pacing: Connect) -> None:
    """A connection on which an answer is still to come is not used again."""
    async with pacing(requests_per_minute=60_000_000) as pace:
        for number in range(100):
            with anyio.move_on_after(number / 100_000):
                await pace.admit(MODEL, number)
        with anyio.fail_after(10):
            await pace.admit(MODEL, 1)


def assert_told_in_turn(caplog: pytest.LogCaptureFixture) -> None:
    """That Redis went is logged once, and then that it came back; on a slow machine, twice."""
    levels = [record.levelname for record in caplog.records]

    assert levels
    assert levels == ["WARNING", "INFO"] * (len(levels) // 2)


@pytest.mark.anyio
async def test_a_redis_that_starts_again_is_found_again(
    pacing: Connect, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away work goes on; it comes back empty, and is taken as it is."""
    caplog.set_level(logging.INFO, "llama_dashscope")
    async with pacing(requests_per_minute=60_000, timeout=0.5) as pace:
        await pace.admit(MODEL, 1)
        redis_server.kill()
        with anyio.fail_after(5):
            for _ in range(20):
                await pace.admit(MODEL, 1)

        assert pace._away_until

        redis_server.start()
        with anyio.fail_after(20):
            while pace._away_until:
                await pace.admit(MODEL, 1)

    assert_told_in_turn(caplog)


@pytest.mark.anyio
async def test_a_frozen_redis_is_left_alone(
    pacing: Connect, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One wait of `timeout`, then work goes on; when it is thawed it is found again."""
    caplog.set_level(logging.INFO, "llama_dashscope")
    async with pacing(requests_per_minute=60_000, timeout=0.1) as pace:
        await pace.admit(MODEL, 1)
        redis_server.freeze()
        try:
            with anyio.fail_after(5):
                for _ in range(20):
                    await pace.admit(MODEL, 1)
        finally:
            redis_server.thaw()
        with anyio.fail_after(20):
            while pace._away_until:
                await pace.admit(MODEL, 1)

    assert_told_in_turn(caplog)


@pytest.mark.anyio
async def test_a_client_keeps_its_total_with_a_frozen_redis(
    pacing: Connect, redis_server: RedisServer, server: LocalDashScope
) -> None:
    """The wait for Redis counts towards it, and the call is made all the same."""
    async with (
        pacing(requests_per_minute=600, timeout=0.5) as pace,
        Client(server.api_key, base_url=server.base_url, pace=pace) as client,
    ):
        await client.acall(MODEL, "hi")
        redis_server.freeze()
        try:
            reply = await client.acall(MODEL, "hi", timeout=Timeout(total=20))
        finally:
            redis_server.thaw()

    assert reply.text
    assert len(server.requests) == 2


@pytest.mark.anyio
async def test_a_client_books_each_attempt(
    pacing: Connect, server: LocalDashScope, reader: redis.Redis
) -> None:
    """A retry asks again, after the pause that its refusal began."""
    server.fault(RateLimited(retry_after=0.05))
    async with (
        pacing(requests_per_minute=6000, tokens_per_minute=600_000) as pace,
        Client(server.api_key, base_url=server.base_url, pace=pace) as client,
    ):
        await client.acall(MODEL, "hi")

        assert kept(reader)["strikes"] == 1

        async with client.astream(MODEL, "hi") as stream:
            await stream.aread()

    assert kept(reader)["strikes"] == 0
    assert len(server.requests) == 3


def test_sync_code_shares_a_pace(redis_server: RedisServer, server: LocalDashScope) -> None:
    """`call` runs in a loop of its own, for which a client that blocks does."""
    with redis.Redis("127.0.0.1", redis_server.port, socket_timeout=5) as there:
        pace = RedisPace(there, requests_per_minute=60_000)
        with Client(server.api_key, base_url=server.base_url, pace=pace) as client:
            assert client.call(MODEL, "hi").text
            assert client.call(MODEL, "hi").text


def cluster_of_one(folder: Path) -> RedisServer:
    """Run a cluster that is one node."""
    if PROGRAM is None:
        pytest.skip("needs redis-server, of Debian's package of that name")
    node = RedisServer(folder)
    node.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with redis.Redis("127.0.0.1", node.port, decode_responses=True) as connected:
        client: Any = connected  # redis leaves the types of commands open
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        until = monotonic() + 20
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert monotonic() < until
            sleep(0.01)
    return node


@pytest.mark.anyio
async def test_a_cluster_does_too(kind: str, tmp_path: Path) -> None:
    """Both keys of a model lie on one node."""
    node = cluster_of_one(tmp_path)
    try:
        if kind == "asyncio":
            async with RedisCluster(host="127.0.0.1", port=node.port) as cluster:
                pace = RedisPace(cluster, requests_per_minute=60_000, timeout=50)
                await pace.admit(MODEL, 1)
                await pace.admit(MODEL, 1)
        else:
            with redis.RedisCluster(host="127.0.0.1", port=node.port) as blocking:
                pace = RedisPace(blocking, requests_per_minute=60_000, timeout=50)
                await pace.admit(MODEL, 1)
                await pace.admit(MODEL, 1)
        with redis.Redis("127.0.0.1", node.port, decode_responses=True) as reader:
            assert kept(reader)["requests"] > 0
    finally:
        node.kill()
