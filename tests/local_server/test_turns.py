"""A crowd of requests is let in a few at a time, and everybody gets in."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest

from llama_dashscope import Client
from llama_dashscope.testing import LocalDashScope
from llama_dashscope.testing._http_server.admission import AdmissionQueue

pytestmark = pytest.mark.anyio

CROWD = 100
MODEL = "llama3.3-70b-instruct"


@pytest.fixture
def anyio_backend() -> str:
    """The server lives on asyncio."""
    return "asyncio"


async def test_a_crowd() -> None:
    """Who came first goes first, and between a few and the next few there is time for others."""
    turns, called, meanwhile = AdmissionQueue(), list[int](), list[int]()

    async def other() -> None:
        while len(called) < CROWD:
            meanwhile.append(len(called))
            await asyncio.sleep(0)

    for number in range(CROWD):
        turns.take(partial(called.append, number))
    assert 0 < len(called) < CROWD
    assert len(turns) + len(called) == CROWD
    await other()

    assert called == list(range(CROWD))
    assert len(meanwhile) > CROWD // 10
    assert not turns


async def test_nobody_waits_alone() -> None:
    """A request that comes alone is let in at once, however many there were before."""
    turns, called = AdmissionQueue(), list[int]()
    for number in range(3 * CROWD):
        turns.take(partial(called.append, number))
        assert called[-1] == number
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_leaving_the_queue(server: LocalDashScope) -> None:
    """Clients that leave while they wait for their turn leave nothing behind."""
    request = (
        b"POST /api/v1/services/aigc/text-generation/generation HTTP/1.1\r\n"
        b"host: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}"
    )
    for _ in range(5):
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CROWD)]
        for each in sockets:
            each.sendall(request + request)
        for each in sockets[::2]:
            each.close()
        for each in sockets[1::2]:
            assert each.recv(12) == b"HTTP/1.1 401"
            each.close()
    server.wait_for(lambda server: server.open_connections == server.running == 0)
    with Client(server.api_key, base_url=server.base_url) as client:
        assert client.call(MODEL, "hi").text
