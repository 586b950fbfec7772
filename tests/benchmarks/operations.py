"""The operations: each function measures the cost of one operation of one client."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from .canned import MODES
from .clients import AsyncPeer, Entry, SyncPeer
from .limits import allow_many_files

MICRO = 1e6
KIBI = 1024
USUAL_CONNECTIONS = 100  # the default of all clients but openai, which has 1,000
STREAMS_AT_ONCE = 20

Measurement = Callable[[Entry, str, int], float]


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Args:
        label: its name in tables.
        mode: how the server sends streams, one of `canned.MODES`.
        unit: of the figure.
        amount: how many operations a figure is the mean of.
        measure: returns the figure, from a client, the server's address and the amount.
        is_sync: whether it needs a sync interface.
        scales: whether a smaller amount measures the same.
    """

    label: str
    mode: str
    unit: str
    amount: int
    measure: Measurement
    is_sync: bool = False
    scales: bool = True


async def call_many(peer: AsyncPeer, amount: int, at_once: int) -> None:
    """Make `amount` calls, with `at_once` in flight."""
    left = iter(range(amount))

    async def work() -> None:
        for _ in left:
            await peer.acall()

    await asyncio.gather(*(work() for _ in range(at_once)))


async def read(peer: AsyncPeer, expected: int) -> None:
    """Read one stream to its end; every frame must have come."""
    arrived = 0
    async with peer.astream() as stream:
        async for _ in stream:
            arrived += 1
    check(arrived, expected)


def check(arrived: int, expected: int) -> None:
    """Fail if a client lost frames: its figure would look cheap."""
    if arrived != expected:
        raise RuntimeError(f"{arrived} of {expected} frames arrived")


def calls(at_once: int) -> Measurement:
    """Measure a call while others are in flight: microseconds of CPU."""

    async def run(peer: AsyncPeer, amount: int) -> float:
        await call_many(peer, 2 * at_once + 20, at_once)  # opens the connections
        began = process_time()
        await call_many(peer, amount, at_once)
        taken = process_time() - began
        await peer.aclose()
        return taken / amount * MICRO

    def measure(entry: Entry, server: str, amount: int) -> float:
        async def main() -> float:
            return await run(entry.open_async(server, USUAL_CONNECTIONS), amount)

        return asyncio.run(main())

    return measure


def frames_alone(entry: Entry, server: str, amount: int) -> float:
    """Measure a frame that arrives alone, over 20 streams: microseconds of CPU."""
    expected = MODES["paced"].frames

    async def main() -> float:
        peer = entry.open_async(server, USUAL_CONNECTIONS)
        await call_many(peer, 3 * STREAMS_AT_ONCE, STREAMS_AT_ONCE)
        began = process_time()
        for _ in range(amount):
            await asyncio.gather(*(read(peer, expected) for _ in range(STREAMS_AT_ONCE)))
        taken = process_time() - began
        await peer.aclose()
        return taken / (amount * STREAMS_AT_ONCE * expected) * MICRO

    return asyncio.run(main())


def frames_together(entry: Entry, server: str, amount: int) -> float:
    """Measure a frame that arrives with many others: microseconds of CPU."""
    expected = MODES["burst"].frames

    async def main() -> float:
        peer = entry.open_async(server, USUAL_CONNECTIONS)
        await read(peer, expected)
        began = process_time()
        for _ in range(amount):
            await read(peer, expected)
        taken = process_time() - began
        await peer.aclose()
        return taken / (amount * expected) * MICRO

    return asyncio.run(main())


def sync_calls(entry: Entry, server: str, amount: int) -> float:
    """Measure a sync call: microseconds of CPU, of all the client's threads."""
    peer = entry.open_sync(server)
    for _ in range(20):
        peer.call()
    began = process_time()
    for _ in range(amount):
        peer.call()
    taken = process_time() - began
    peer.close()
    return taken / amount * MICRO


def sync_frames_together(entry: Entry, server: str, amount: int) -> float:
    """Measure a frame of a sync stream that arrives with many others: microseconds of CPU."""
    expected = MODES["burst"].frames
    peer = entry.open_sync(server)
    read_sync(peer, expected)
    began = process_time()
    for _ in range(amount):
        read_sync(peer, expected)
    taken = process_time() - began
    peer.close()
    return taken / (amount * expected) * MICRO


def read_sync(peer: SyncPeer, expected: int) -> None:
    """Read one stream to its end; every frame must have come."""
    with peer.stream() as stream:
        arrived = sum(1 for _ in stream)
    check(arrived, expected)


def first_frame(entry: Entry, server: str, amount: int) -> float:
    """Measure the time from the call to the first frame: the median, microseconds of wall time."""

    async def main() -> float:
        peer = entry.open_async(server, USUAL_CONNECTIONS)
        waits = [await wait_for_first(peer) for _ in range(amount + 5)]
        await peer.aclose()
        return median(waits[5:]) * MICRO

    return asyncio.run(main())


async def wait_for_first(peer: AsyncPeer) -> float:
    """Return the seconds until a stream's first frame; reads the stream to its end."""
    wait = 0.0
    began = perf_counter()
    async with peer.astream() as stream:
        async for _ in stream:
            wait = wait or perf_counter() - began
    return wait


def open_streams(entry: Entry, server: str, amount: int) -> float:
    """Measure the memory per open stream, with many open: KiB."""
    allow_many_files()

    async def hold(peer: AsyncPeer, stack: AsyncExitStack) -> AsyncIterator[object]:
        frames = aiter(await stack.enter_async_context(peer.astream()))
        await anext(frames)
        return frames

    async def main() -> float:
        peer = entry.open_async(server, amount + USUAL_CONNECTIONS)
        async with AsyncExitStack() as stack:
            held = await asyncio.gather(*(hold(peer, stack) for _ in range(STREAMS_AT_ONCE)))
            before = resident()
            while len(held) < amount:
                held += await asyncio.gather(*(hold(peer, stack) for _ in range(STREAMS_AT_ONCE)))
            taken = resident() - before
        await peer.aclose()
        return taken / (amount - STREAMS_AT_ONCE) / KIBI

    return asyncio.run(main())


def resident() -> int:
    """Return this process's memory in use in bytes, as Linux counts it."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


CPU = "µs"
OPERATIONS = {
    "call_1": Operation("a call, one at a time", "burst", CPU, 1500, calls(1)),
    "call_50": Operation("a call, 50 at once", "burst", CPU, 3000, calls(50)),
    "call_500": Operation("a call, 500 at once", "burst", CPU, 3000, calls(500)),
    "alone": Operation("a frame arriving alone, 20 streams", "paced", CPU, 3, frames_alone),
    "burst": Operation("a frame in a burst", "burst", CPU, 40, frames_together),
    "sync_call": Operation("a sync call", "burst", CPU, 1500, sync_calls, is_sync=True),
    "sync_burst": Operation(
        "a frame of a sync stream in a burst", "burst", CPU, 40, sync_frames_together, is_sync=True
    ),
    "first": Operation("time to the first frame", "first", "µs, by the clock", 200, first_frame),
    "memory": Operation(
        "an open stream, of 1,000", "held", "KiB", 1000, open_streams, scales=False
    ),
}
QUICK = ("call_1", "call_50", "call_500", "alone", "burst", "sync_call", "sync_burst")
