"""`RedisPace`: a rate limiter that programs on many machines share by a Redis."""

import asyncio
import logging
import os
from collections import defaultdict
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple, final
from uuid import uuid4

import anyio
import attrs
from anyio.lowlevel import RunVar
from redis.exceptions import RedisError

from llama_dashscope import ConfigurationError, Pace, Permit

from ._permit import ModelTurns, RedisPermit
from ._script import AnyRedis, AsyncRedis, run_async, run_in_thread

__all__ = ["RedisPace"]

HEADROOM: Final = 0.99
"""Share of the limits that is used: the service counts requests when they arrive."""

AHEAD: Final = 1.0
"""Seconds ahead of its time that a turn may be booked."""

LOOK_AGAIN: Final = 1.0
"""Seconds after which one who was not given a turn, or found no Redis, asks again at the latest."""

ANNOUNCE: Final = 5.0
"""Seconds after which a worker says again that it is there; the script knows it for 30."""

logger: Final = logging.getLogger("llama_dashscope")


@attrs.define(eq=False)
class _Lane:
    """The queue of one event loop for one model."""

    turn: anyio.Lock = attrs.field(factory=anyio.Lock)
    thread: anyio.CapacityLimiter = attrs.field(factory=lambda: anyio.CapacityLimiter(1))
    """Lets one command at a time run in a worker thread; one that hangs holds the next ones up."""


class _Answer(NamedTuple):
    """What the script says."""

    booked_at: int | None
    """Redis' time in microseconds; None where no turn was to be had."""
    wait: float
    """Seconds until the turn, or until it is worth asking again."""


def _client(_: object, __: object, value: Any) -> None:
    if not isinstance(value, AnyRedis):
        raise ConfigurationError(
            "RedisPace takes a Redis or RedisCluster of redis.asyncio, or one of redis, "
            f"got {type(value).__name__}"
        )


def _name(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"RedisPace: {attribute.name} must be a text, got {value!r}")


def _number(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < inf:
        raise ConfigurationError(
            f"RedisPace: {attribute.name} must be a number above 0, got {value!r}"
        )


@final
@attrs.define(eq=False)
class RedisPace:
    """An account's limits, kept by all programs that share a Redis: `Client(pace=RedisPace(...))`.

    Every attempt of every call, stream and batch books its turn in Redis, retries included, each
    model by itself, as the service counts. A short script spaces the turns evenly, by Redis' own
    clock. When the service refuses a request, everyone pauses for a moment, or for as long as the
    service asks (`Retry-After`). Tokens are estimated before an attempt and corrected by the usage
    that comes back. In one event loop, first come is first served, and all workers are served
    alike.

    Without Redis work goes on: when it has not answered for `timeout`, that is logged once, each
    worker goes on at its share of the limits, and it looks again each second. How many workers
    there are is known from those that asked in the last half minute. A Redis that starts again
    with nothing in it is no matter.

    A `redis.asyncio.Redis` (or `RedisCluster`) serves one event loop of asyncio. A `redis.Redis`
    (or `RedisCluster`) serves every one, trio's too, several in one process, and sync code beside
    them; its commands run in a worker thread, and it needs a `socket_timeout`. Both stay yours to
    close. It takes Redis 5 or newer, or what speaks its language.

    Raises:
        ConfigurationError: no limit, one that is not above 0, another object than a Redis client;
            when it is used: a client of asyncio in a second event loop, or on trio.
    """

    redis: AnyRedis = attrs.field(validator=_client, repr=False)
    """Where the turns are booked."""
    requests_per_minute: float | None = attrs.field(default=None, kw_only=True)
    """Requests a minute that the account may make to a model; None for no such limit."""
    tokens_per_minute: float | None = attrs.field(default=None, kw_only=True)
    """Tokens a minute, questions and answers together; None for no such limit."""
    account: str = attrs.field(default="default", kw_only=True, validator=_name)
    """Name of the account whose limits these are, any text: those who give the same share them."""
    max_cooldown: float = attrs.field(default=60.0, kw_only=True)
    """Longest pause after a refusal, in seconds, whatever the service asks for."""
    timeout: float = attrs.field(default=0.5, kw_only=True, validator=_number)
    """Longest wait for an answer of Redis, in seconds; a quarter of it when looking whether a
    Redis that had been away is back."""
    workers: float = attrs.field(default=1, kw_only=True, validator=_number)
    """How many workers share the limits, as long as Redis has not yet said how many ask it."""
    _models: defaultdict[str, ModelTurns] = attrs.field(
        init=False, repr=False, factory=lambda: defaultdict[str, ModelTurns](ModelTurns)
    )
    _lanes: RunVar[dict[str, _Lane]] = attrs.field(
        init=False, repr=False, factory=lambda: RunVar[dict[str, _Lane]]("llama_dashscope.redis")
    )
    _worker: str = attrs.field(init=False, repr=False, factory=lambda: uuid4().hex)
    _workers: float = attrs.field(init=False, repr=False)
    _share: Pace = attrs.field(init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, repr=False, default=None)
    _away_until: float = attrs.field(init=False, repr=False, default=0.0)
    """When to look for Redis again; 0 while it is there."""

    def __attrs_post_init__(self) -> None:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ConfigurationError(
                "RedisPace needs requests_per_minute, tokens_per_minute or both: it keeps limits "
                "that are known. See the console of Model Studio, or share a Pace, which finds them"
            )
        self._workers = self.workers
        # Which checks the numbers, too.
        self._share = Pace(
            self.requests_per_minute,
            self.tokens_per_minute,
            adaptive=False,
            max_cooldown=self.max_cooldown,
        )

    async def admit(self, model: str, tokens: int) -> Permit:
        """Wait until an attempt may be made; see `Pacer.admit`."""
        self._check_loop()
        lane = self._lane(model)
        async with lane.turn:
            while self._may_ask():
                permit = await self._take(lane, model, tokens)
                if permit is not None:
                    return permit
            return await self._share.admit(model, tokens)

    async def _take(self, lane: _Lane, model: str, tokens: int) -> RedisPermit | None:
        """Ask once for a turn and wait for it; None where there is none, or no Redis."""
        turns = self._models[model]
        wanted = turns.estimate.correct(tokens)
        answer = await self._ask(lane, model, wanted)
        if answer is None:
            return None
        if answer.booked_at is None:
            await anyio.sleep(min(answer.wait, LOOK_AGAIN))
            return None
        permit = RedisPermit(turns, answer.booked_at, tokens, wanted)
        try:
            await anyio.sleep(answer.wait)
        except BaseException:
            permit.give_back()
            raise
        if turns.was_refused:  # Redis hears of it first, and may have all of us wait
            permit.give_back()
            return None
        return permit

    async def _ask(self, lane: _Lane, model: str, tokens: float) -> _Answer | None:
        """Run the script; None where Redis does not answer."""
        keys, arguments = self._keys(model), self._arguments(model, tokens)
        failure: Exception | None = None
        with anyio.move_on_after(self.timeout / 4 if self._away_until else self.timeout):
            try:
                if isinstance(self.redis, AsyncRedis):
                    reply = await run_async(self.redis, keys, arguments)
                else:
                    reply = await run_in_thread(self.redis, keys, arguments, lane.thread)
            except (RedisError, OSError) as error:
                failure = error
            else:
                booked, wait, self._workers, now = reply
                self._found()
                return _Answer(now if booked else None, wait / 1e6)
        self._lost(failure)
        return None

    def _keys(self, model: str) -> tuple[str, str]:
        # In braces: what a cluster decides by which of its nodes has a key.
        name = f"llama_dashscope:pace:{{{self.account}:{model}}}"
        return name, f"{name}:workers"

    def _arguments(self, model: str, tokens: float) -> tuple[str | float, ...]:
        now, turns = monotonic(), self._models[model]
        news = turns.news()
        announce = now - turns.announced_at > ANNOUNCE
        if announce:
            turns.announced_at = now
        return (
            _microseconds_each(self.requests_per_minute),
            _microseconds_each(self.tokens_per_minute),
            tokens,
            news.given_back,
            news.correction,
            news.answered_at,
            news.refused_at,
            news.retry_after * 1e6,
            self.max_cooldown * 1e6,
            AHEAD * 1e6,
            f"{self._worker}:{os.getpid()}" if announce else "",
        )

    def _may_ask(self) -> bool:
        """Tell whether to ask Redis; while it is away, one of us does, once a second."""
        now = monotonic()
        if now < self._away_until:
            return False
        if self._away_until:
            self._away_until = now + LOOK_AGAIN
        return True

    def _lost(self, failure: Exception | None) -> None:
        if not self._away_until:
            self._share = self._part()
            reason = f"no answer in {self.timeout} s"
            if failure is not None:
                reason = f"{type(failure).__name__}: {str(failure)[:200]!r}"
            logger.warning(
                "RedisPace: Redis is away (%s). This worker goes on at a share of the limits, "
                "1/%g, and looks again each second.",
                *(reason, self._workers),
            )
        self._away_until = monotonic() + LOOK_AGAIN

    def _found(self) -> None:
        if self._away_until:
            self._away_until = 0.0
            for turns in self._models.values():  # it may have started again, with nothing in it
                turns.announced_at = -inf
            logger.info("RedisPace: Redis is back.")

    def _part(self) -> Pace:
        """Make the pace for when Redis is away."""
        limits = (self.requests_per_minute, self.tokens_per_minute)
        requests, tokens = (each and each / self._workers for each in limits)
        return Pace(requests, tokens, adaptive=False, max_cooldown=self.max_cooldown)

    def _lane(self, model: str) -> _Lane:
        lanes = self._lanes.get(None)
        if lanes is None:
            lanes = dict[str, _Lane]()
            self._lanes.set(lanes)
        lane = lanes.get(model)
        if lane is None:
            lane = lanes[model] = _Lane()
        return lane

    def _check_loop(self) -> None:
        if not isinstance(self.redis, AsyncRedis):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or self._loop not in {None, loop}:
            kind = type(self.redis).__name__
            raise ConfigurationError(
                f"RedisPace was given a redis.asyncio.{kind}, which serves one event loop of "
                f"asyncio, and is asked from another; give it a redis.{kind}, which serves all"
            )
        self._loop = loop


def _microseconds_each(a_minute: float | None) -> float:
    return 60e6 / (a_minute * HEADROOM) if a_minute else 0.0
