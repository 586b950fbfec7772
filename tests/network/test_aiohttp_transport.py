"""What is special about aiohttp."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from client_matrix import MODEL

from llama_dashscope import APIStatusError, APITimeoutError, Client, Timeout
from llama_dashscope._settings import ApiKey
from llama_dashscope.testing import LocalDashScope, Raw, Reply, Stall

pytest.importorskip("aiohttp", reason="the aiohttp extra is not installed here")


def test_limits_that_are_computed(server: LocalDashScope) -> None:
    """Callers may compute a limit for each call; nothing grows with their number."""

    async def main() -> None:
        async with Client("sk-local", base_url=server.base_url, transport="aiohttp") as client:
            for at in range(70):
                await client.acall(MODEL, "hi", timeout=Timeout(connect=10 + at))

    asyncio.run(main())
    assert len(server.requests) == 70


def test_what_came_before_a_silence(server: LocalDashScope) -> None:
    """A reader who was away while the service fell silent still gets what had come before."""
    server.reply(Reply(pieces=["a", "b", "c"], tokens_per_second=10))
    server.fault(Stall(2))

    async def main() -> str:
        text = ""
        timeout = Timeout(idle=0.3)
        client = Client("sk-local", base_url=server.base_url, transport="aiohttp", timeout=timeout)
        async with client, client.astream(MODEL, "hi") as stream:
            text += (await anext(stream)).delta
            await server.await_for(lambda server: server.exchanges[0].pieces_sent == 2)
            await anyio.sleep(0.5)  # longer than idle: this is what is tested
            text += (await anext(stream)).delta
        return text

    assert asyncio.run(main()) == "ab"


def test_news_at_the_last_moment() -> None:
    """Bytes that come just before their reader's time is over are not too late, nor any after."""
    from aiohttp import StreamReader
    from aiohttp.base_protocol import BaseProtocol

    from llama_dashscope._network.aiohttp_transport import _AiohttpReply, _Handler

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        protocol = BaseProtocol(loop)
        protocol.connection_made(asyncio.Transport())
        content = StreamReader(protocol, 1 << 16, loop=loop)
        response: Any = SimpleNamespace(content=content, status=200, headers={}, connection=None)
        request: Any = SimpleNamespace(key=ApiKey("sk-local"))
        reply = _AiohttpReply(request, request, response, _Handler(loop))
        reading = asyncio.create_task(reply.read(60))
        await asyncio.sleep(0)
        content.feed_data(b"in time")
        reply._give_up()
        first = await reading
        content.feed_data(b"later")
        content.feed_eof()
        return [first, await reply.read(60), await reply.read(60)]

    assert asyncio.run(main()) == [b"in time", b"later", b""]


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
def test_uvloop(server: LocalDashScope) -> None:
    """On uvloop calls, streams and limits in time work as they do on asyncio's own loop."""
    server.reply(["abc", Reply(pieces=["d", "e"]), Reply("late", first_token_delay=5)])

    async def main() -> list[str]:
        async with Client("sk-local", base_url=server.base_url, transport="aiohttp") as client:
            texts = [(await client.acall(MODEL, "hi")).text]
            async with client.astream(MODEL, "hi") as stream:
                texts += [chunk.delta async for chunk in stream]
            with pytest.raises(APITimeoutError):
                await client.acall(MODEL, "hi", timeout=0.05)
        return texts

    texts = anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})
    assert "".join(texts) == "abcde"


def test_a_switched_protocol_leaves_no_connection(server: LocalDashScope) -> None:
    """A connection whose peer switches to another protocol is closed, not left to the collector."""
    switched = b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    server.reply([Raw(head=switched, end="hang")] * 5)

    async def main() -> int:
        async with Client(
            "sk-local", base_url=server.base_url, transport="aiohttp", retry=0
        ) as client:
            for _ in range(5):
                with pytest.raises(APIStatusError) as caught:
                    await client.acall(MODEL, "hi")
                assert caught.value.status_code == 101
            loop = asyncio.get_running_loop()
            pool = client._engine._pools[loop].pool
            transport: Any = pool._transport
            return sum(each.connected for each in transport._handlers)

    assert asyncio.run(main()) == 0


def test_one_alarm_for_many_frames(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """No alarm is set for each frame, neither by aiohttp nor by us."""
    server.reply(Reply(pieces=["a"] * 50, tokens_per_second=500))

    async def main() -> list[str]:
        alarms: list[str] = []
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def set_alarm(when: float, what: Callable[..., object], *rest: Any) -> asyncio.TimerHandle:
            alarms.append(what.__qualname__)
            return call_at(when, what, *rest)

        client = Client("sk-local", base_url=server.base_url, transport="aiohttp")
        async with client, client.astream(MODEL, "hi") as stream:
            await anext(stream)
            monkeypatch.setattr(loop, "call_at", set_alarm)
            async for _ in stream:
                pass
        return alarms

    assert len(asyncio.run(main())) < 10


def test_a_socket_that_has_died() -> None:
    """A connection that is gone before its options were set is left to its first use."""
    from llama_dashscope._network.aiohttp_transport import _set_options

    broken: Any = SimpleNamespace(get_extra_info={"socket": socket.socket()}.get)
    broken.get_extra_info("socket").close()

    _set_options(None, [(1, 1, 1)])
    _set_options(broken, [(1, 1, 1)])


def test_an_idle_connection_holds_no_answer(server: LocalDashScope) -> None:
    """Its last answer, with the headers of the request, is freed."""
    import aiohttp

    with Client(server.api_key, base_url=server.base_url, transport="aiohttp") as client:
        client.call(MODEL, "hi")
        gc.collect()
        held = [each for each in gc.get_objects() if isinstance(each, aiohttp.ClientResponse)]
        assert (server.open_connections, held) == (1, [])


def test_streams_that_are_left_early_leave_nothing(server: LocalDashScope) -> None:
    """No error of aiohttp's stays behind with the frames of all the readers that it ended."""
    import aiohttp

    server.reply(Reply(pieces=["a"] * 50, tokens_per_second=100))

    def leave_early(client: Client) -> None:
        with client.stream(MODEL, "hi") as stream:
            next(stream)

    with Client(server.api_key, base_url=server.base_url, transport="aiohttp") as client:
        for _ in range(5):
            leave_early(client)
        server.wait_for(lambda server: server.running == 0)
    gc.collect()
    errors = [each for each in gc.get_objects() if isinstance(each, aiohttp.ClientConnectionError)]
    assert [each for each in errors if each.__traceback__ is not None] == []
