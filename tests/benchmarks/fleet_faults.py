"""A fleet whose Redis freezes, dies and starts again: `python -m tests.benchmarks.fleet_faults`.

4 processes with 50 tasks each make calls to a local DashScope at 100 per second, paced by a
`RedisPace`. Its Redis is frozen for 3 s; later it is killed and, after 3 s, started again, empty.
Prints how many requests arrived in each second, how long calls took, and how many failed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from time import sleep, time
from typing import Any

import redis.asyncio

from llama_dashscope import Client, DashScopeError, Timeout
from llama_dashscope.redis import RedisPace
from llama_dashscope.testing import LocalDashScope

from .fleet import PROCESSES, TASKS, own_redis

RATE, SECONDS, TOTAL = 100, 22.0, 10.0
FROZEN, THAWED, KILLED, STARTED = 6.0, 9.0, 13.0, 16.0
MODEL = "llama3.3-70b-instruct"

HEAD_START = 30.0
"""Seconds that the processes have to start."""

Call = tuple[float, float, str]
"""A call: when it ended, how long it took, its failure."""


async def make_calls(server: tuple[str, str], port: int, starts: float) -> list[Call]:
    """Run the tasks of a process."""
    key, base_url = server
    calls: list[Call] = []
    there = redis.asyncio.Redis(host="127.0.0.1", port=port)
    pace = RedisPace(there, requests_per_minute=RATE * 60)
    async with Client(key, base_url=base_url) as warm:  # the first call imports for a while
        await warm.acall(MODEL, "hi")
    await pace.admit("another model", 1)
    await asyncio.sleep(starts - time())

    async def work(client: Client) -> None:
        while (began := time()) < starts + SECONDS:
            failed = ""
            try:
                await client.acall(MODEL, "hi")
            except DashScopeError as error:
                failed = repr(error)
            calls.append((time(), time() - began, failed))

    async with Client(key, base_url=base_url, pace=pace, timeout=Timeout(total=TOTAL)) as client:
        await asyncio.gather(*(work(client) for _ in range(TASKS)))
    await there.aclose()
    return calls


def run_process(server: tuple[str, str], port: int, starts: float, into: Any) -> None:
    """Run as one of the processes."""
    into.put(asyncio.run(make_calls(server, port, starts)))


def main() -> None:
    """Run the fleet; freeze its Redis, then kill and restart it."""
    context = multiprocessing.get_context("spawn")
    into: Any = context.Queue()
    with own_redis() as there, LocalDashScope() as server:
        server.reply("hi")
        starts = time() + HEAD_START
        processes = [
            context.Process(
                target=run_process,
                args=((server.api_key, server.base_url), there.port, starts, into),
            )
            for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for at, trouble in (
            (FROZEN, there.freeze),
            (THAWED, there.thaw),
            (KILLED, there.kill),
            (STARTED, there.start),
        ):
            sleep(max(0.0, starts + at - time()))
            trouble()
        calls: list[Call] = [call for _ in processes for call in into.get()]
        for process in processes:
            process.join()
        arrived = len(server.requests)
    seconds = Counter(int(ended - starts) for ended, _, _ in calls)
    print(f"frozen {FROZEN:.0f} to {THAWED:.0f}, killed at {KILLED:.0f}, back at {STARTED:.0f}")
    print("calls in each second:", *(seconds[each] for each in range(int(SECONDS))))
    print(f"longest call {max(took for _, took, _ in calls):.2f} s of {TOTAL:.0f} s allowed")
    failed = Counter(each for *_, each in calls if each)
    print(f"{len(calls)} calls, {arrived - PROCESSES} requests, failed: {dict(failed)}")


if __name__ == "__main__":
    main()
