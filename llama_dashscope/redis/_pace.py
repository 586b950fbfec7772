"""`RedisPace`: a rate limiter that programs on many machines share through Redis."""

import asyncio
import logging
import os
import sys
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

BOOK_AHEAD: Final = 1.0
"""How many seconds in advance a turn may be booked."""

LOOK_AGAIN: Final = 1.0
"""Longest time in seconds until Redis is asked again, after it gave no turn or no answer."""

ANNOUNCE: Final = 5.0
"""Seconds after which a worker announces itself again; the script forgets it after 30."""

logger: Final = logging.getLogger("llama_dashscope")


@attrs.define(eq=False)
class _ModelQueue:
    """The waiting attempts of one event loop for one model."""

    turn: anyio.Lock = attrs.field(factory=anyio.Lock)
    thread: anyio.CapacityLimiter = attrs.field(factory=lambda: anyio.CapacityLimiter(1))
    """Allows one command at a time in a worker thread; if it hangs, the next ones wait."""


class _Answer(NamedTuple):
    """The script's reply."""

    booked_at: int | None
    """Redis' time in microseconds; None if no turn was booked."""
    wait: float
    """Seconds until the turn, or until Redis should be asked again."""


def _client(_: object, __: object, value: Any) -> None:
    if not isinstance(value, AnyRedis):
        raise ConfigurationError(
            "RedisPace takes a Redis or RedisCluster of redis.asyncio, or one of redis, "
            f"got {type(value).__name__}"
        )


def _name(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"RedisPace: {attribute.name} must be a string that is not empty, got {value!r}"
        )


def _number(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        raise ConfigurationError(
            f"RedisPace: {attribute.name} must be a number above 0, got {value!r}"
        )


@final
@attrs.define(eq=False)
class RedisPace:
    """A rate limiter shared through Redis by all programs of an account.

    Use it as `Client(pace=RedisPace(...))`. Every attempt of every call, stream and batch, retries
    included, books its turn in Redis, separately for each model, as the service counts. A short
    script spaces the turns evenly, by Redis' own clock. When the service refuses a request, all
    programs pause for a moment, or for as long as the service asks (`Retry-After`). Tokens are
    estimated before an attempt and corrected by the usage that comes back. Within one event loop
    the order is first come, first served; all workers are treated alike.

    If Redis fails, work continues: when it has not answered for `timeout`, this is logged once,
    each worker continues with its share of the limits, and tries Redis again each second. The
    number of workers is the number of those that asked in the last 30 seconds. A Redis that
    restarts empty does no harm.

    A `redis.asyncio.Redis` (or `RedisCluster`) works in one asyncio event loop only. A
    `redis.Redis` (or `RedisCluster`) works in any number of event loops, trio's included, and in
    sync code; its commands run in a worker thread, and it needs a `socket_timeout`. You close
    either of them yourself. The server must be Redis 5 or newer, or compatible.

    Raises:
        ConfigurationError: there is no limit, a number is not above 0, or `redis` is not a Redis
            client; when used: an asyncio client is used in a second event loop or on trio.
    """

    redis: AnyRedis = attrs.field(validator=_client, repr=False)
    """The Redis client."""
    requests_per_minute: float | None = attrs.field(default=None, kw_only=True)
    """The account's limit of requests to a model, per minute; None for no such limit."""
    tokens_per_minute: float | None = attrs.field(default=None, kw_only=True)
    """The account's limit of tokens, input and output together, per minute; None for no limit."""
    account: str = attrs.field(default="default", kw_only=True, validator=_name)
    """Any name for the account; all objects with the same name share the limits."""
    max_cooldown: float = attrs.field(default=60.0, kw_only=True)
    """Longest pause after a refusal, in seconds, whatever the service asks for."""
    timeout: float = attrs.field(default=0.5, kw_only=True, validator=_number)
    """Longest wait for Redis, in seconds; after a failure a quarter of it, until Redis is back."""
    workers: float = attrs.field(default=1, kw_only=True, validator=_number)
    """How many workers share the limits; used until Redis has reported their number."""
    _models: defaultdict[str, ModelTurns] = attrs.field(
        init=False, repr=False, factory=lambda: defaultdict[str, ModelTurns](ModelTurns)
    )
    _queues: RunVar[dict[str, _ModelQueue]] = attrs.field(
        init=False,
        repr=False,
        factory=lambda: RunVar[dict[str, _ModelQueue]]("llama_dashscope.redis"),
    )
    _worker: str = attrs.field(init=False, repr=False, factory=lambda: uuid4().hex)
    _workers: float = attrs.field(init=False, repr=False)
    _share: Pace = attrs.field(init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, repr=False, default=None)
    _away_until: float = attrs.field(init=False, repr=False, default=0.0)
    """When to try Redis again; 0 while it is available."""

    def __attrs_post_init__(self) -> None:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ConfigurationError(
                "RedisPace needs requests_per_minute, tokens_per_minute or both, since it can't "
                "find unknown limits. See the console of Model Studio, or use a Pace, which can"
            )
        self._workers = self.workers
        # This also checks the numbers.
        self._share = Pace(
            self.requests_per_minute,
            self.tokens_per_minute,
            adaptive=False,
            max_cooldown=self.max_cooldown,
        )

    async def admit(self, model: str, tokens: int) -> Permit:
        """Wait until an attempt may be made; see `Pacer.admit`."""
        self._check_loop()
        queue = self._queue(model)
        async with queue.turn:
            while self._may_ask():
                permit = await self._take(queue, model, tokens)
                if permit is not None:
                    return permit
            return await self._share.admit(model, tokens)

    async def _take(self, queue: _ModelQueue, model: str, tokens: int) -> RedisPermit | None:
        """Ask once for a turn and wait for it; None if there is none or Redis failed."""
        turns = self._models[model]
        wanted = turns.estimate.correct(tokens)
        answer = await self._ask(queue, model, wanted)
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
        if turns.was_refused:  # Redis must learn of it first, since all workers may have to pause
            permit.give_back()
            return None
        return permit

    async def _ask(self, queue: _ModelQueue, model: str, tokens: float) -> _Answer | None:
        """Run the script; None if Redis fails or does not answer."""
        keys, arguments = self._keys(model), self._arguments(model, tokens)
        failure: Exception | None = None
        with anyio.move_on_after(self.timeout / 4 if self._away_until else self.timeout):
            try:
                if isinstance(self.redis, AsyncRedis):
                    reply = await run_async(self.redis, keys, arguments)
                else:
                    reply = await run_in_thread(self.redis, keys, arguments, queue.thread)
            except (RedisError, OSError) as error:
                failure = error
            else:
                booked, wait, self._workers, now = reply
                self._redis_found()
                return _Answer(now if booked else None, wait / 1e6)
        self._redis_lost(failure)
        return None

    def _keys(self, model: str) -> tuple[str, str]:
        # A cluster chooses a key's node by the part in braces.
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
            BOOK_AHEAD * 1e6,
            f"{self._worker}:{os.getpid()}" if announce else "",
        )

    def _may_ask(self) -> bool:
        """Tell whether to ask Redis; while it is away, one caller does so, once a second."""
        now = monotonic()
        if now < self._away_until:
            return False
        if self._away_until:
            self._away_until = now + LOOK_AGAIN
        return True

    def _redis_lost(self, failure: Exception | None) -> None:
        if not self._away_until:
            self._share = self._make_share()
            reason = f"no answer in {self.timeout} s"
            if failure is not None:
                reason = f"{type(failure).__name__}: {str(failure)[:200]!r}"
            logger.warning(
                "RedisPace: Redis is away (%s). This worker continues with a share of the limits, "
                "1/%g, and tries Redis again each second.",
                *(reason, self._workers),
            )
        self._away_until = monotonic() + LOOK_AGAIN

    def _redis_found(self) -> None:
        if self._away_until:
            self._away_until = 0.0
            for turns in self._models.values():  # Redis may have restarted empty
                turns.announced_at = -inf
            logger.info("RedisPace: Redis is back.")

    def _make_share(self) -> Pace:
        """Return the pace to use while Redis is away."""
        limits = (self.requests_per_minute, self.tokens_per_minute)
        requests, tokens = (each and each / self._workers for each in limits)
        return Pace(requests, tokens, adaptive=False, max_cooldown=self.max_cooldown)

    def _queue(self, model: str) -> _ModelQueue:
        queues = self._queues.get(None)
        if queues is None:
            queues = dict[str, _ModelQueue]()
            self._queues.set(queues)
        queue = queues.get(model)
        if queue is None:
            queue = queues[model] = _ModelQueue()
        return queue

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
                f"RedisPace was given a redis.asyncio.{kind}, which works in one event loop of "
                f"asyncio only, but is used in another; give it a redis.{kind}, which works in all"
            )
        self._loop = loop


def _microseconds_each(a_minute: float | None) -> float:
    return 60e6 / (a_minute * HEADROOM) if a_minute else 0.0
