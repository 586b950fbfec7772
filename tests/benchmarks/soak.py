"""Soak test with faults, cancellations and early exits: finds leaks, hangs and wrong answers.

    python tests/benchmarks/soak.py --seconds 600

Half of the callers are tasks, half are threads with sync calls. The threads also abandon streams in
reference cycles, which the garbage collector may find in any thread, and fork processes that make
calls. An answer is wrong if its text isn't the one that the prompt asks for; an error is unexpected
if it is not one of this package's; a caller hangs if it is still running a minute after the end.
Sockets, tasks, threads and memory are counted before and after. The service runs in a process of
its own, so that its memory isn't counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

from llama_dashscope import Client, DashScopeError, Limits, Retry, Stream, Timeout

MODEL = "llama3.3-70b-instruct"
FORKS = 0.002
"""The share of sync calls that a forked process makes."""
PATIENCE = 60
"""Seconds after the end after which a running caller counts as hanging."""
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
    """What the callers do, and the outcomes."""

    def __init__(self, client: Client, seconds: float) -> None:
        self.client = client
        self.end = time.monotonic() + seconds
        self.chance = random.Random(11)
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.unexpected: list[BaseException] = []
        self.number = 0

    async def caller(self) -> None:
        """Make calls of random kinds until the end."""
        while time.monotonic() < self.end:
            self.number += 1
            try:
                await self.ask(f"question {self.number}")
            except DashScopeError as error:
                self.ends[type(error).__name__] += 1
            except Exception as error:
                self.unexpected.append(error)

    async def ask(self, prompt: str) -> None:
        """Make one call: completed, cancelled, or left early."""
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
        """Complete one call and check its answer."""
        text = ""
        if streaming:
            async with self.client.astream(MODEL, prompt) as stream:
                async for chunk in stream:
                    text += chunk.delta
            if stream.response.text != text:
                self.wrong.append(f"{prompt}: {text!r} in pieces, {stream.response.text!r} whole")
        else:
            text = (await self.client.acall(MODEL, prompt)).text
        self.check(prompt, text)

    def check(self, prompt: str, text: str) -> None:
        """Record an answer that is wrong."""
        if text != f"answer to {prompt}":
            self.wrong.append(f"{prompt}: {text!r}")

    def sync_caller(self) -> None:
        """Do as `caller` does, in a thread."""
        while time.monotonic() < self.end:
            self.number += 1
            try:
                self.ask_sync(f"question {self.number}")
            except DashScopeError as error:
                self.ends[type(error).__name__] += 1
            except Exception as error:
                self.unexpected.append(error)

    def ask_sync(self, prompt: str) -> None:
        """Make one call from sync code: completed, left early, abandoned, or in a fork."""
        draw = self.chance.random()
        if draw < FORKS:
            self.fork(prompt)
            self.ends["forked"] += 1
        elif draw < 0.2:
            Page(self.client.stream(MODEL, prompt))
            self.ends["forgotten"] += 1
        elif draw < 0.4:
            with self.client.stream(MODEL, prompt) as stream:
                next(stream)
            self.ends["left early"] += 1
        else:
            if draw < 0.7:
                text = self.client.call(MODEL, prompt).text
            else:
                with self.client.stream(MODEL, prompt) as stream:
                    text = "".join(chunk.delta for chunk in stream)
            self.check(prompt, text)
            self.ends["whole"] += 1

    def fork(self, prompt: str) -> None:
        """Make a call in a forked process; kill it if it hasn't ended after a minute."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = int(self.client.call(MODEL, prompt).text != f"answer to {prompt}")
            except DashScopeError:
                code = 0
            finally:
                os._exit(code)
        for _ in range(600):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.1)
        else:
            os.kill(pid, 9)
            _, status = os.waitpid(pid, 0)
        if status:
            self.wrong.append(f"{prompt}: a forked process ended with {status}")


class Page:
    """A half-read stream in a reference cycle, left to the garbage collector."""

    def __init__(self, stream: Stream) -> None:
        self.me = self
        self.stream = stream
        next(stream)


def held() -> dict[str, int]:
    """Count this process's sockets, tasks, threads and memory."""
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


async def run(weather: Weather, callers: int) -> int:
    """Run the callers, half of them in threads; return how many of them hang."""
    threads = [
        threading.Thread(target=weather.sync_caller, daemon=True) for _ in range(callers // 2)
    ]
    for thread in threads:
        thread.start()
    tasks = [asyncio.ensure_future(weather.caller()) for _ in range(callers - len(threads))]
    _, late = await asyncio.wait(tasks, timeout=weather.end - time.monotonic() + PATIENCE)
    end = time.monotonic() + PATIENCE
    while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return len(late) + sum(thread.is_alive() for thread in threads)


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
    await Weather(client, seconds=1).caller()  # load lazy imports before the first count
    weather, before = Weather(client, seconds), held()
    started, spent = time.monotonic(), time.process_time()
    hanging = await run(weather, callers)
    seconds, spent = time.monotonic() - started, time.process_time() - spent
    with contextlib.suppress(DashScopeError):
        await client.acall(MODEL, "the last one", timeout=Timeout(read=5))
    under = held()
    await client.aclose()
    await asyncio.sleep(1)
    print(f"transport {transport}, {callers} callers, {seconds:.0f} s, {spent:.0f} s of CPU")
    print(f"calls {weather.number}, wrong answers {len(weather.wrong)},", end=" ")
    print(f"unexpected errors {len(weather.unexpected)}, hangs {hanging}")
    print("ends:", ", ".join(f"{name} {count}" for name, count in weather.ends.most_common()))
    for name, when in [("before", before), ("after", under), ("after aclose", held())]:
        print(f"{name:>13}: ", ", ".join(f"{what} {count}" for what, count in when.items()))
    for each in [*weather.wrong[:5], *map(repr, weather.unexpected[:5])]:
        print("  ", each)


def main() -> None:
    """Start the service, and test one transport after the other."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20, help="for all transports together")
    parser.add_argument("--callers", type=int, default=200)
    arguments, _ = parser.parse_known_args()
    warnings.simplefilter("ignore", ResourceWarning)  # of what is forgotten
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of forks
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
