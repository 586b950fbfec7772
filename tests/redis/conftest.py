"""What these tests share: a real Redis, and clients of both kinds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis_server import PROGRAM, RedisServer

from llama_dashscope.redis import RedisPace
from llama_dashscope.testing import LocalDashScope

Connect = Callable[..., AbstractAsyncContextManager[RedisPace]]
"""Makes a pace on the server, with a client of its own that is closed at the end."""


@pytest.fixture(params=["blocking-asyncio", "blocking-trio", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which client of Redis, in which event loop."""
    return str(request.param)


@pytest.fixture
def anyio_backend(kind: str) -> str:
    """Run each client where it can."""
    return kind.removeprefix("blocking-")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis with nothing in it."""
    if PROGRAM is None:
        pytest.skip("needs redis-server, of Debian's package of that name")
    running = RedisServer(tmp_path)
    running.start()
    yield running
    running.kill()


def connect(port: int, kind: str) -> tuple[redis.Redis | redis.asyncio.Redis, Awaitable[None]]:
    """Make a client, and what closes it."""
    if kind == "asyncio":
        client = redis.asyncio.Redis(host="127.0.0.1", port=port)
        return client, client.aclose()
    blocking = redis.Redis("127.0.0.1", port, socket_timeout=5)

    async def close() -> None:
        blocking.close()

    return blocking, close()


@pytest.fixture
def pacing(redis_server: RedisServer, kind: str) -> Connect:
    """Make paces on the server."""

    @asynccontextmanager
    async def pacing(**options: Any) -> AsyncGenerator[RedisPace]:
        client, close = connect(redis_server.port, kind)
        try:
            settings: dict[str, Any] = {"timeout": 50, **options}
            yield RedisPace(client, **settings)
        finally:
            await close

    return pacing


@pytest.fixture
def examples() -> Path:
    """Return the folder of the examples of a fleet."""
    return Path(__file__).parents[2] / "docs/examples/fleet"


@pytest.fixture
def environment(
    redis_server: RedisServer, server: LocalDashScope, examples: Path
) -> dict[str, str]:
    """Point programs at a Redis and a DashScope on this machine."""
    path = os.pathsep.join([*sys.path, str(examples)])
    return {**os.environ, **server.environ, "REDIS_URL": redis_server.url, "PYTHONPATH": path}


@pytest.fixture
def example(environment: dict[str, str], examples: Path) -> Callable[[str], str]:
    """Run an example to its end; gives what it prints."""

    def run(name: str) -> str:
        ended = subprocess.run(
            [sys.executable, examples / name], env=environment, capture_output=True, check=False
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()

    return run
