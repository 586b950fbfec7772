"""How well many processes keep one limit: `python -m tests.benchmarks.fleet`.

4 processes with 50 tasks each take turns at 200 per second for 10 s: by `RedisPace`, then by other
limiters on Redis (limits, pyrate-limiter, throttled-py), each on a Redis of its own. Limiters that
are not installed are skipped.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from time import time
from typing import Any

import redis
import redis.asyncio
from attrs import frozen
from redis_server import RedisServer

from llama_dashscope.redis import RedisPace

RATE = 200
"""Turns a second."""

PROCESSES, TASKS, SECONDS = 4, 50, 10.0
HEAD_START = 12.0
"""Seconds that the processes have to start."""

Acquire = Callable[[], Awaitable[object]]
"""Waits for a turn."""


async def redis_pace(port: int) -> Acquire:
    """Take turns by `RedisPace`."""
    client = redis.asyncio.Redis(host="127.0.0.1", port=port)
    pace = RedisPace(client, requests_per_minute=RATE * 60)
    return lambda: pace.admit("a model", 1)


async def redis_pace_tokens(port: int) -> Acquire:
    """Take turns of 100 tokens each by `RedisPace`."""
    client = redis.asyncio.Redis(host="127.0.0.1", port=port)
    pace = RedisPace(client, tokens_per_minute=RATE * 60 * 100)
    return lambda: pace.admit("a model", 100)


async def limits_window(port: int, strategy: str) -> Acquire:
    """Take turns by a strategy of limits, which only allows or refuses: ask until it allows."""
    storage = import_module("limits.aio.storage").RedisStorage(
        f"async+redis://127.0.0.1:{port}", implementation="redispy"
    )
    limiter = getattr(import_module("limits.aio.strategies"), strategy)(storage)
    limit = import_module("limits").RateLimitItemPerSecond(RATE)

    async def acquire() -> None:
        while not await limiter.hit(limit, "a model"):
            reset, _ = await limiter.get_window_stats(limit, "a model")
            await asyncio.sleep(min(max(reset - time(), 0.005), 0.1))

    return acquire


async def limits_moving(port: int) -> Acquire:
    """Take turns by limits' moving window."""
    return await limits_window(port, "MovingWindowRateLimiter")


async def limits_sliding(port: int) -> Acquire:
    """Take turns by limits' sliding window."""
    return await limits_window(port, "SlidingWindowCounterRateLimiter")


async def pyrate_limiter(port: int) -> Acquire:
    """Take turns by pyrate-limiter."""
    library: Any = import_module("pyrate_limiter")
    client = redis.asyncio.Redis(host="127.0.0.1", port=port)
    rates = [library.Rate(RATE, library.Duration.SECOND)]
    limiter = library.Limiter(await library.RedisBucket.init(rates, client, "a model"))
    return lambda: limiter.try_acquire_async("a model")


async def throttled_gcra(port: int) -> Acquire:
    """Take turns by throttled-py's GCRA."""
    library: Any = import_module("throttled.asyncio")
    throttle = library.Throttled(
        key="a model",
        using=library.RateLimiterType.GCRA.value,
        quota=library.rate_limiter.per_sec(RATE, burst=4),
        store=library.RedisStore(server=f"redis://127.0.0.1:{port}/0"),
        timeout=60,
    )
    acquire: Acquire = throttle.limit
    return acquire


LIMITERS: dict[str, tuple[str, Callable[[int], Awaitable[Acquire]]]] = {
    "RedisPace": ("redis", redis_pace),
    "RedisPace, tokens": ("redis", redis_pace_tokens),
    "limits, moving window": ("limits", limits_moving),
    "limits, sliding window": ("limits", limits_sliding),
    "pyrate-limiter": ("pyrate_limiter", pyrate_limiter),
    "throttled-py, GCRA": ("throttled", throttled_gcra),
}


async def take_turns(name: str, port: int, starts: float) -> list[list[float]]:
    """Run the tasks of a process; returns the times of each task's turns."""
    acquire = await LIMITERS[name][1](port)
    await asyncio.sleep(starts - time())
    ends = starts + SECONDS

    async def work() -> list[float]:
        times: list[float] = []
        while True:
            await acquire()
            if (now := time()) >= ends:
                return times
            times.append(now)

    return await asyncio.gather(*(work() for _ in range(TASKS)))


def run_process(name: str, port: int, starts: float, into: Any) -> None:
    """Run as one of the processes."""
    into.put(asyncio.run(take_turns(name, port, starts)))


@contextmanager
def own_redis() -> Generator[RedisServer]:
    """Run a Redis."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def worst(times: list[float], seconds: float) -> int:
    """Return the highest number of turns in any span of that length."""
    first, most = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def jain(shares: list[int]) -> float:
    """Return Jain's fairness index: 1 if all have the same, 1/n if one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


@frozen
class Figures:
    """What came of a run."""

    rate: float
    second: int
    tenth: int
    jain_of_tasks: float
    jain_of_processes: float
    trips: float
    """Commands sent to Redis, per turn."""
    cpu: float
    """Microseconds of Redis' CPU time, per turn."""


def cpu_seconds(client: Any) -> float:  # redis leaves the types of `info` open
    """Return the CPU time that Redis has used, in seconds."""
    spent: dict[str, float] = client.info("cpu")
    return spent["used_cpu_user"] + spent["used_cpu_sys"]


def measure(name: str) -> Figures:
    """Run the processes and evaluate their turns."""
    context = multiprocessing.get_context("spawn")
    into: Any = context.Queue()
    with own_redis() as server, redis.Redis("127.0.0.1", server.port) as client:
        asks: Any = client
        starts, before = time() + HEAD_START, cpu_seconds(client)
        processes = [
            context.Process(target=run_process, args=(name, server.port, starts, into))
            for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        of_processes: list[list[list[float]]] = [into.get() for _ in processes]
        for process in processes:
            process.join()
        spent = cpu_seconds(client) - before
        commands: dict[str, Any] = asks.info("commandstats")
    calls = Counter({command: each["calls"] for command, each in commands.items()})
    times = sorted(chain.from_iterable(chain.from_iterable(of_processes)))
    turns = len(times) + PROCESSES * TASKS  # `times` lacks each task's last turn
    scripts = calls["cmdstat_evalsha"] + calls["cmdstat_eval"]
    return Figures(
        rate=len(times) / SECONDS,
        second=worst(times, 1.0),
        tenth=worst(times, 0.1),
        jain_of_tasks=jain([len(task) for tasks in of_processes for task in tasks]),
        jain_of_processes=jain([sum(map(len, tasks)) for tasks in of_processes]),
        trips=scripts / turns,
        cpu=spent / turns * 1e6,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("limiters", nargs="*", help=f"of {', '.join(LIMITERS)}; all by default")
    chosen = parser.parse_args().limiters or list(LIMITERS)
    print("| | rate | worst 1 s | worst 0.1 s | Jain, tasks | processes | trips | CPU (µs) |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in chosen:
        try:
            import_module(LIMITERS[name][0])
        except ImportError:
            print(f"| {name} | not installed |")
            continue
        found = measure(name)
        print(
            f"| {name} | {found.rate:.1f} | {found.second} | {found.tenth}"
            f" | {found.jain_of_tasks:.3f} | {found.jain_of_processes:.3f}"
            f" | {found.trips:.2f} | {found.cpu:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
