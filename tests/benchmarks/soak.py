"""Ten minutes of bad weather: 200 callers, faults, cancellations, early exits; what is left behind.

    python tests/benchmarks/soak.py --seconds 600

An answer is wrong where its text isn't the one that the prompt asks for, an error unexpected where
it is none of this package's. What the client holds is counted before and after: sockets, tasks,
threads, memory. The service runs in a process of its own, so that its memory isn't counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from llama_dashscope import Client, DashScopeError, Limits, Retry, Timeout

MODEL = "llama3.3-70b-instruct"
SERVICE = """
import sys
from llama_dashscope.testing import DEFAULT_MIX, LocalDashScope, Reply, SlowStart, Stall

def reply(request):
    return Reply(f"answer to {request.text}", tokens_per_second=2000)

with LocalDashScope(keep=100) as server:
    server.reply(reply)
    server.random_faults(0.2, (*DEFAULT_MIX, SlowStart(0.3), Stall(1, 0.3), Stall(1)), seed=7)
    print(server.base_url, flush=True)
    sys.stdin.read()
    server.wait_for(lambda server: server.open_connections == 0, timeout=30)
    print(server.connections_accepted, server.open_connections, flush=True)
"""


class Weather:
    """What the callers do, and what came of it."""

    def __init__(self, client: Client, seconds: float) -> None:
        self.client = client
        self.end = time.monotonic() + seconds
        self.chance = random.Random(11)
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.unexpected: list[BaseException] = []
        self.number = 0

    async def caller(self) -> None:
        """Ask until the end, in one way after the other."""
        while time.monotonic() < self.end:
            self.number += 1
            try:
                await self.ask(f"question {self.number}")
            except DashScopeError as error:
                self.ends[type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                self.unexpected.append(error)

    async def ask(self, prompt: str) -> None:
        """Make one call: to its end, or cancelled, or left early."""
        way = self.chance.choice(["call", "stream", "cancel", "leave", "leave by error"])
        if way == "cancel":
            streaming = self.chance.random() < 0.5
            task = asyncio.ensure_future(self.whole(prompt, streaming=streaming))
            await asyncio.wait([task], timeout=self.chance.uniform(0, 0.05))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.ends["cancelled" if task.cancelled() else "whole"] += 1
        elif way.startswith("leave"):
            with contextlib.suppress(KeyError):
                async with self.client.astream(MODEL, prompt) as stream:
                    async for _ in stream:
                        if way == "leave by error":
                            raise KeyError
                        break
            self.ends["left early"] += 1
        else:
            await self.whole(prompt, streaming=way == "stream")
            self.ends["whole"] += 1

    async def whole(self, prompt: str, *, streaming: bool) -> None:
        """Make one call to its end and look at the answer."""
        text = ""
        if streaming:
            async with self.client.astream(MODEL, prompt) as stream:
                async for chunk in stream:
                    text += chunk.delta
            if stream.response.text != text:
                self.wrong.append(f"{prompt}: {text!r} in pieces, {stream.response.text!r} whole")
        else:
            text = (await self.client.acall(MODEL, prompt)).text
        if text != f"answer to {prompt}":
            self.wrong.append(f"{prompt}: {text!r}")


def held() -> dict[str, int]:
    """Count what this process holds."""
    gc.collect()
    descriptors: list[str] = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            descriptors.append(str(each.readlink()))
    status = Path("/proc/self/status").read_text("utf-8")
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "sockets": sum(each.startswith("socket:") for each in descriptors),
        "tasks": len(asyncio.all_tasks()) - 1,
        "threads": threading.active_count(),
        "memory, MiB": int(memory.split()[1]) // 1024,
    }


async def soak(base_url: str, transport: str, callers: int, seconds: float) -> None:
    """Run the callers and print the figures."""
    client = Client(
        "sk-local",
        base_url=base_url,
        transport=transport,
        timeout=Timeout(connect=5, read=5, idle=1, total=20),
        retry=Retry(base=0.01, budget=1_000_000),
        limits=Limits(max_connections=100),
    )
    await Weather(client, seconds=1).caller()  # whatever is loaded once is loaded now
    weather, before = Weather(client, seconds), held()
    started, spent = time.monotonic(), time.process_time()
    await asyncio.gather(*(weather.caller() for _ in range(callers)))
    seconds, spent = time.monotonic() - started, time.process_time() - spent
    with contextlib.suppress(DashScopeError):
        await client.acall(MODEL, "the last one", timeout=Timeout(read=5))
    under = held()
    await client.aclose()
    await asyncio.sleep(1)
    print(f"transport {transport}, {callers} callers, {seconds:.0f} s, {spent:.0f} s of CPU")
    print(f"calls {weather.number}, wrong answers {len(weather.wrong)},", end=" ")
    print(f"unexpected errors {len(weather.unexpected)}")
    print("ends:", ", ".join(f"{name} {count}" for name, count in weather.ends.most_common()))
    for name, when in [("before", before), ("after", under), ("after aclose", held())]:
        print(f"{name:>13}: ", ", ".join(f"{what} {count}" for what, count in when.items()))
    for each in [*weather.wrong[:5], *map(repr, weather.unexpected[:5])]:
        print("  ", each)


def main() -> None:
    """Start the service and soak one transport after the other."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20, help="for all transports together")
    parser.add_argument("--callers", type=int, default=200)
    arguments, _ = parser.parse_known_args()
    transports = ["httpx", "aiohttp"] if importlib.util.find_spec("aiohttp") else ["httpx"]
    for transport in transports:
        with subprocess.Popen(
            [sys.executable, "-c", SERVICE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as service:
            assert service.stdout is not None
            base_url = service.stdout.readline().strip()
            share = arguments.seconds / len(transports)
            asyncio.run(soak(base_url, transport, arguments.callers, share))
            said, _ = service.communicate()
            accepted, still_open = said.split()
            print(f"the service: {accepted} connections accepted, {still_open} open in the end")


if __name__ == "__main__":
    main()
