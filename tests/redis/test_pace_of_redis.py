"""What `RedisPace` asks Redis and makes of the answers; these tests need no server."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from llama_dashscope import ConfigurationError, Outcome, RateLimitError
from llama_dashscope.redis import RedisPace, _pace

MODEL = "llama3.3-70b-instruct"
NOW, LATER, NOT_YET = [1, 0, 4, 70], [1, 60_000_000, 4, 80], [0, 1000, 4, 90]
"""Answers of the script: a turn at once, one in a minute, none for a millisecond; four workers."""

GIVEN_BACK, CORRECTION, ANSWERED, REFUSED, RETRY_AFTER = range(3, 8)
"""Where the script's arguments stand."""

Answer = list[int] | Exception


class Canned:
    """Answers of a Redis that isn't there, for a client of either kind; the last one stays."""

    def __init__(self, kind: str, *answers: Answer) -> None:
        """Make a client and put these in place of its ways to run a script."""
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []
        self.client: redis.Redis | redis.asyncio.Redis
        self.client = redis.asyncio.Redis() if kind == "asyncio" else redis.Redis()
        replaced = self.answer_async if kind == "asyncio" else self.answer
        vars(self.client).update(evalsha=replaced, eval=replaced)

    def answer(self, script: str, _: int, *words: Any) -> Any:
        """Answer as a blocking client does."""
        self.calls.append((script, *words))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def answer_async(self, script: str, _: int, *words: Any) -> Any:
        """Answer as a client of asyncio does."""
        await anyio.lowlevel.checkpoint()
        return self.answer(script, _, *words)

    def argument(self, call: int, number: int) -> Any:
        """Return an argument of a call; those before it are the script and two keys."""
        return self.calls[call][3 + number]


@pytest.fixture
def canned(kind: str) -> Callable[..., Canned]:
    """Make a Redis that isn't there."""
    return lambda *answers: Canned(kind, *answers)


def pace_of(canned: Canned, **options: Any) -> RedisPace:
    """Make a pace on it."""
    settings: dict[str, Any] = {"requests_per_minute": 6000.0, "timeout": 50.0, **options}
    return RedisPace(canned.client, **settings)


def refusal(retry_after: float | None = None) -> Outcome:
    """Make the outcome of an attempt that the service refused."""
    error = RateLimitError("slow down", code="Throttling.RateQuota")
    error.retry_after = retry_after
    return Outcome(error=error)


@pytest.mark.anyio
async def test_a_turn_is_asked_for_by_account_and_model(canned: Callable[..., Canned]) -> None:
    """Both keys lie on one node of a cluster; the script hears the time that a request takes."""
    there = canned(NOW)
    pace = pace_of(there, account="ours", tokens_per_minute=60_000, max_cooldown=9)
    await pace.admit(MODEL, 100)
    [(_, state, crowd, *arguments)] = there.calls

    assert state == "llama_dashscope:pace:{ours:llama3.3-70b-instruct}"
    assert crowd == f"{state}:workers"
    assert arguments[:3] == [pytest.approx(10_000 / 0.99), pytest.approx(1000 / 0.99), 100]
    assert arguments[3:8] == [0, 0, 0, 0, 0]
    assert arguments[8:10] == [9e6, 1e6]
    assert arguments[10]


@pytest.mark.anyio
async def test_a_worker_says_now_and_then_that_it_is_there(
    canned: Callable[..., Canned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with each booking."""
    there = canned(NOW)
    pace = pace_of(there)
    await pace.admit(MODEL, 1)
    await pace.admit(MODEL, 1)
    monkeypatch.setattr(_pace, "ANNOUNCE", -1.0)
    await pace.admit(MODEL, 1)
    names = [there.argument(call, 10) for call in range(3)]

    assert names[1] == ""
    assert names[0] == names[2] != ""


@pytest.mark.anyio
async def test_one_without_a_turn_comes_back(canned: Callable[..., Canned]) -> None:
    """It is told when."""
    there = canned(NOT_YET, NOT_YET, NOW)
    await pace_of(there).admit(MODEL, 1)

    assert len(there.calls) == 3


@pytest.mark.anyio
async def test_a_long_wait_is_cut_short(
    canned: Callable[..., Canned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens may have been given back before their time."""
    monkeypatch.setattr(_pace, "LOOK_AGAIN", 0.01)
    there = canned([0, 60_000_000, 1, 70], NOW)
    with anyio.fail_after(10):
        await pace_of(there).admit(MODEL, 1)

    assert len(there.calls) == 2


@pytest.mark.anyio
async def test_a_turn_is_waited_for(canned: Callable[..., Canned]) -> None:
    """It is booked ahead of its time."""
    began = monotonic()
    await pace_of(canned([1, 50_000, 1, 80])).admit(MODEL, 1)

    assert monotonic() - began >= 0.05


@pytest.mark.anyio
async def test_a_turn_that_is_not_waited_for_is_given_back(
    canned: Callable[..., Canned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who are cancelled have taken nothing."""
    there, waits = canned(LATER, NOW), anyio.Event()
    pace = pace_of(there)

    async def sleep(seconds: float) -> None:
        waits.set()
        await anyio.sleep_forever()

    with monkeypatch.context() as patch:
        async with anyio.create_task_group() as group:
            patch.setattr(anyio, "sleep", sleep)
            group.start_soon(pace.admit, MODEL, 70)
            await waits.wait()
            group.cancel_scope.cancel()
    permit = await pace.admit(MODEL, 1)

    assert there.argument(1, GIVEN_BACK) == 1
    assert there.argument(1, CORRECTION) == -70

    permit.settle(Outcome(1))
    await pace.admit(MODEL, 1)

    assert there.argument(2, GIVEN_BACK) == 0


@pytest.mark.anyio
async def test_redis_is_told_how_attempts_end(canned: Callable[..., Canned]) -> None:
    """Tokens are corrected, refusals and answers told with the time of the booking, each once."""
    there = canned(NOW, [1, 0, 4, 90], [1, 0, 4, 110])
    pace = pace_of(there)
    permits = [await pace.admit(MODEL, 100) for _ in range(3)]
    permits[0].settle(Outcome(130))
    permits[0].settle(Outcome(999))
    permits[1].settle(refusal(3))
    permits[2].settle(Outcome())
    await pace.admit(MODEL, 100)

    assert there.argument(3, CORRECTION) == 30 - 100
    assert (there.argument(3, ANSWERED), there.argument(3, REFUSED)) == (70, 90)
    assert there.argument(3, RETRY_AFTER) == 3e6

    await pace.admit(MODEL, 100)

    assert there.calls[4][6:11] == (0, 0, 0, 0, 0)


@pytest.mark.anyio
async def test_an_attempt_that_came_to_nothing_costs_what_was_expected(
    canned: Callable[..., Canned],
) -> None:
    """What it has cost is known to nobody."""
    there = canned(NOW)
    pace = pace_of(there)
    (await pace.admit(MODEL, 100)).settle(Outcome())
    await pace.admit(MODEL, 100)

    assert there.argument(1, CORRECTION) == 0
    assert there.argument(1, ANSWERED) == 0
    assert there.argument(1, REFUSED) == 0


@pytest.mark.anyio
async def test_estimates_are_put_right(canned: Callable[..., Canned]) -> None:
    """When answers are longer than expected, more is booked for the next ones."""
    there = canned(NOW)
    pace = pace_of(there)
    (await pace.admit(MODEL, 100)).settle(Outcome(250))
    await pace.admit(MODEL, 100)

    assert there.argument(1, 2) == 250


@pytest.mark.anyio
async def test_a_refusal_is_heard_of_by_one_who_waits(canned: Callable[..., Canned]) -> None:
    """A turn that was booked before the refusal is given back, and another one asked for."""
    there = canned(NOW, [1, 50_000, 1, 80], NOW)
    pace = pace_of(there)
    permit = await pace.admit(MODEL, 10)
    async with anyio.create_task_group() as group:
        group.start_soon(pace.admit, MODEL, 10)
        while len(there.calls) < 2:
            await anyio.sleep(0.001)
        permit.settle(refusal())

    assert len(there.calls) == 3
    assert there.argument(2, GIVEN_BACK) == 1
    assert there.argument(2, REFUSED) == 70


@pytest.mark.anyio
async def test_first_come_first_served(canned: Callable[..., Canned]) -> None:
    """One books at a time, and each model has a queue of its own."""
    there, order = canned([1, 100, 1, 70]), list[int]()
    pace = pace_of(there)

    async def wait(number: int) -> None:
        await pace.admit(MODEL, 1)
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(wait, number)
            await anyio.lowlevel.checkpoint()
        await pace.admit("another model", 1)

    assert order == sorted(order)
    assert len(there.calls) == 51


@pytest.mark.anyio
async def test_a_script_that_redis_forgot_is_sent_again(canned: Callable[..., Canned]) -> None:
    """By its text."""
    there = canned(NoScriptError(), NOW)
    await pace_of(there).admit(MODEL, 1)

    assert len(there.calls[0][0]) == 40
    assert "TIME" in there.calls[1][0]
    assert there.calls[0][1:] == there.calls[1][1:]


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [RedisConnectionError("gone"), OSError("gone")], ids=repr)
async def test_without_redis_each_worker_goes_on_at_its_share(
    canned: Callable[..., Canned],
    failure: Exception,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is logged once; Redis is looked for now and then, and taken back when it is there."""
    monkeypatch.setattr(_pace, "LOOK_AGAIN", 60.0)
    caplog.set_level(logging.INFO, "llama_dashscope")
    there = canned(NOW, failure)
    pace = pace_of(there, tokens_per_minute=8000.0)
    await pace.admit(MODEL, 1)
    for _ in range(3):
        permit = await pace.admit(MODEL, 1)
        permit.settle(Outcome(1))

    [line] = caplog.messages

    assert "gone" in line
    assert "1/4" in line
    assert len(there.calls) == 2
    assert (pace._share.requests_per_minute, pace._share.tokens_per_minute) == (1500, 2000)
    assert not pace._share.adaptive

    for answer in (failure, NOW):
        there.answers = [answer]
        pace._away_until = monotonic()
        for _ in range(2):
            await pace.admit(MODEL, 1)

    assert len(there.calls) == 5  # one look that found nothing, one that did, and one more
    assert caplog.messages[1:] == ["RedisPace: Redis is back."]


@pytest.mark.anyio
async def test_a_redis_that_hangs_is_not_waited_for(
    canned: Callable[..., Canned], caplog: pytest.LogCaptureFixture
) -> None:
    """After `timeout` it counts as away; a command that hangs in a thread holds nobody up."""
    there, thawed = canned(NOW), threading.Event()

    def hang(*_: object) -> Any:
        thawed.wait(20)
        return NOW

    async def hang_async(*_: object) -> Any:
        await anyio.sleep_forever()

    asynchronous = isinstance(there.client, redis.asyncio.Redis)
    vars(there.client).update(evalsha=hang_async if asynchronous else hang)
    pace = pace_of(there, timeout=0.02, workers=3)
    try:
        with anyio.fail_after(10):
            for _ in range(2):
                await pace.admit(MODEL, 1)
                pace._away_until = 0
    finally:
        thawed.set()

    assert "no answer in 0.02 s" in caplog.messages[0]
    assert "1/3" in caplog.messages[0]


@pytest.mark.anyio
async def test_a_clients_event_loop_is_the_only_one(kind: str) -> None:
    """A client of asyncio is refused on trio and in a second loop, one that blocks nowhere."""
    there = Canned("asyncio", NOW)
    pace = pace_of(there)
    if kind == "blocking-trio":
        with pytest.raises(ConfigurationError, match=r"give it a redis\.Redis"):
            await pace.admit(MODEL, 1)
        return
    await pace.admit(MODEL, 1)
    with pytest.raises(ConfigurationError, match="one event loop"):
        await anyio.to_thread.run_sync(anyio.run, pace.admit, MODEL, 1)

    blocking = pace_of(Canned("blocking", NOW))
    await blocking.admit(MODEL, 1)

    await anyio.to_thread.run_sync(anyio.run, blocking.admit, MODEL, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"requests_per_minute": None}, "needs requests_per_minute, tokens_per_minute or both"),
        ({"requests_per_minute": 0}, "requests_per_minute must be a number above 0"),
        ({"requests_per_minute": 10**400}, "requests_per_minute must be a number above 0"),
        ({"tokens_per_minute": "many"}, "tokens_per_minute must be a number above 0"),
        ({"max_cooldown": -1}, "max_cooldown must be a number above 0"),
        ({"timeout": 0}, "timeout must be a number above 0"),
        ({"timeout": True}, "timeout must be a number above 0"),
        ({"workers": "four"}, "workers must be a number above 0"),
        ({"account": ""}, "account must be a string"),
        ({"account": 7}, "account must be a string"),
    ],
    ids=repr,
)
def test_a_setting_that_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    """By name."""
    with pytest.raises(ConfigurationError, match=words):
        pace_of(Canned("blocking", NOW), **options)


def test_something_else_than_a_client_is_refused() -> None:
    """It says what is taken."""
    wrong: Any = "redis://localhost"
    with pytest.raises(ConfigurationError, match=r"takes a Redis.*, got str"):
        RedisPace(wrong, requests_per_minute=60)


def test_without_redis_the_error_names_the_extra() -> None:
    """Where the redis package is missing, importing this says what to install."""
    program = """
import sys
sys.modules["redis"] = None
try:
    import llama_dashscope.redis
except ImportError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert b"pip install 'llama-dashscope[redis]'" in ended.stdout
