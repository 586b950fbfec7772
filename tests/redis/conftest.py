"""What these tests share: a real Redis, and clients of both kinds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis_server import PROGRAM, RedisServer

from llama_dashscope.redis import RedisPace

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
