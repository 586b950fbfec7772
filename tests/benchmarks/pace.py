"""How far the frames of many streams of the local server are late: `tests.benchmarks.pace`.

Run it by `python -m`. `llama-dashscope serve` runs on one core, bare sockets read on another. All
requests are sent at once. Frame number n of a stream is due n intervals after the first frame.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from time import monotonic

from .limits import allow_many_files

KEY = "sk-local"
PATH = "/api/v1/services/aigc/text-generation/generation"
BODY = json.dumps(
    {
        "model": "llama3.3-70b-instruct",
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "parameters": {"result_format": "message", "incremental_output": True},
    }
).encode()
REQUEST = (
    f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    "content-type: application/json\r\nx-dashscope-sse: enable\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
).encode() + BODY


class Listener(asyncio.Protocol):
    """Reads one stream; records when each frame arrived, in seconds after the request."""

    def __init__(self) -> None:
        self.came: list[float] = []
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self) -> None:
        """Send the request."""
        self.sent = monotonic()
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Count the frames."""
        self.came += [monotonic() - self.sent] * data.count(b"\ndata:")
        if data.endswith(b"0\r\n\r\n"):
            self.ended.set()

    def behind(self, pace: float) -> list[float]:
        """Return how late each frame is, in seconds, counted from the stream's first."""
        first = self.came[0]
        return [max(0.0, at - first - number / pace) for number, at in enumerate(self.came)]


def on_core(number: int) -> None:
    """Pin this process to one core, where the system supports it."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


@contextmanager
def serving(pace: float, tokens: int) -> Generator[int, None, None]:
    """Run the server on the first core; yields its port."""
    words = ["--reply", "so " * tokens, "--tokens-per-second", str(pace), "--port", "0"]
    command = [sys.executable, "-m", "llama_dashscope", "serve", *words]
    before = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()
    on_core(0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        if sys.platform == "linux":
            os.sched_setaffinity(0, before)
        try:
            assert process.stdout is not None
            address = next(word for word in process.stdout.readline().split() if "http" in word)
            yield int(address.rpartition(":")[2])
        finally:
            process.terminate()
            with suppress(ValueError):
                process.communicate()


async def listen(port: int, streams: int) -> list[Listener]:
    """Open all connections, send all requests at once, and wait for the streams to end."""
    loop = asyncio.get_running_loop()
    pairs = [await loop.create_connection(Listener, "127.0.0.1", port) for _ in range(streams)]
    listeners = [listener for _, listener in pairs]
    await asyncio.sleep(0.5)  # until the server has accepted them all
    for listener in listeners:
        listener.ask()
    await asyncio.wait_for(asyncio.gather(*(each.ended.wait() for each in listeners)), 120)
    return listeners


def main() -> None:
    """Measure, and print how late frames are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--pace", type=float, default=20.0, help="tokens a second")
    parser.add_argument("--tokens", type=int, default=100, help="of each stream")
    given = parser.parse_args()
    allow_many_files()
    with serving(given.pace, given.tokens) as port:
        on_core(1)
        listeners = asyncio.run(listen(port, given.streams))
    behind = sorted(late for listener in listeners for late in listener.behind(given.pace))
    waits = sorted(listener.came[0] for listener in listeners)
    at = [behind[int(len(behind) * part)] * 1000 for part in (0.5, 0.99, 0.999)]
    print(
        f"{len(behind)} frames of {len(listeners)} streams; a frame is {1000 / given.pace:.0f} ms"
    )
    print("behind, ms: median {:.1f}, 99 % {:.1f}, 99.9 % {:.1f}".format(*at), end="")
    print(f", worst {behind[-1] * 1000:.1f}")
    median, worst = waits[len(waits) // 2] * 1000, waits[-1] * 1000
    print(f"first frame after, ms: median {median:.0f}, worst {worst:.0f}")


if __name__ == "__main__":
    main()
