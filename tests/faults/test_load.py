"""No failure of our own making: crowds before the pool, readers slower than the service."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import anyio
import pytest
from client_matrix import MODEL, STACKS

from llama_dashscope import Client, Limits, Timeout
from llama_dashscope.testing import LocalDashScope, Reply

SERVICE = """
import sys
from llama_dashscope.testing import LocalDashScope, Reply

with LocalDashScope() as server:
    server.reply({reply})
    print(server.base_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a server in a process of its own, so that its work and memory aren't the client's."""
    program = [sys.executable, "-c", SERVICE.format(reply=request.param)]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        assert service.stdin is not None
        yield service.stdout.readline().strip()
        service.stdin.close()


async def ask_at_once(client: Client, times: int) -> list[str]:
    """Make so many calls at once, and return what was answered."""
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await client.acall(MODEL, "hi")).text)

    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(ask)
    return answers


@pytest.mark.parametrize(("transport", "backend"), STACKS)
def test_a_crowd(server: LocalDashScope, transport: str, backend: str) -> None:
    """Callers beyond the pool's size wait their turn; that wait is no silence of the service."""
    server.reply(Reply("abc", first_token_delay=0.05))
    timeout = Timeout(connect=2, read=2, idle=2)

    async def main() -> list[str]:
        async with Client(
            "sk-local",
            base_url=server.base_url,
            transport=transport,
            timeout=timeout,
            limits=Limits(max_connections=5),
            retry=0,
        ) as client:
            return await ask_at_once(client, 100)

    assert anyio.run(main, backend=backend) == ["abc"] * 100
    assert server.connections_accepted == 5


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("elsewhere", ["Reply('abc', first_token_delay=0.2)"], indirect=True)
@pytest.mark.parametrize(("transport", "backend"), STACKS)
def test_2500_at_once(elsewhere: str, transport: str, backend: str) -> None:
    """2,500 calls at once over the default pool succeed with a limit of 2 s at 0.2 s each."""

    async def main() -> list[str]:
        async with Client(
            "sk-local", base_url=elsewhere, transport=transport, timeout=2, retry=0
        ) as client:
            return await ask_at_once(client, 2_500)

    assert anyio.run(main, backend=backend) == ["abc"] * 2_500


async def read_slowly(client: Client) -> tuple[int, int]:
    """Read a stream with a pause now and then; return the frames and the memory at its peak."""
    seen = 0
    async with client, client.astream(MODEL, "hi") as stream:
        tracemalloc.start()
        try:
            async for _ in stream:
                seen += 1
                if seen % 5_000 == 0:
                    await anyio.sleep(0.05)  # slow, for the service to run ahead
            return seen, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("elsewhere", ["Reply(pieces=['word '] * 100_000)"], indirect=True)
@pytest.mark.parametrize(("transport", "backend"), STACKS)
def test_100_000_frames(elsewhere: str, transport: str, backend: str) -> None:
    """A stream of 100,000 frames costs a few MB, most of them its text."""
    client = Client("sk-local", base_url=elsewhere, transport=transport)
    seen, peak = anyio.run(read_slowly, client, backend=backend)

    assert seen == 100_001
    assert peak < 12 << 20  # 6.3 MiB over httpx, 8.5 over aiohttp where it was written
