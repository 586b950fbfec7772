"""Connections of our own beneath h11: bytes, limits in time, ends, and who has to wait."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, TypeAlias

import anyio
import httpcore
import pytest
from attrs import define

from llama_dashscope import Client
from llama_dashscope._network.asyncio_backend.backend import (
    MAX_BUFFERED,
    AsyncioBackend,
    AsyncioStream,
)
from llama_dashscope.testing import LocalDashScope

pytestmark = pytest.mark.anyio

Backend: TypeAlias = tuple[str, dict[str, bool]]
HAS_UVLOOP = find_spec("uvloop") is not None

ALL = 1 << 20
"""More bytes than a test waits for at once."""
MUCH = 1 << 25
"""More bytes than systems hold for a connection."""
LONG = 60.0
"""Seconds that no test lasts."""


USUAL: Backend = ("asyncio", {"use_uvloop": False})
UVLOOP: Backend = ("asyncio", {"use_uvloop": True})  # what uvicorn[standard] runs on


@pytest.fixture(
    params=[
        pytest.param(USUAL, id="asyncio"),
        pytest.param(
            UVLOOP, id="uvloop", marks=pytest.mark.skipif(not HAS_UVLOOP, reason="no uvloop")
        ),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run on both loops of asyncio; trio keeps the sockets that httpcore has for it."""
    backend: Backend = request.param
    return backend


@define
class Pair:
    """A connection and its far end."""

    near: AsyncioStream
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int

    async def send(self, data: bytes) -> None:
        """Send from the far end, and let it arrive."""
        self.writer.write(data)
        while not self.near.get_extra_info("is_readable"):
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def reset(self) -> None:
        """Break off at the far end, as a crashed server does."""
        far = self.writer.get_extra_info("socket")
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def pair(**options: Any) -> AsyncGenerator[Pair]:
    """Connect two ends on this machine."""
    ends: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.put_nowait((reader, writer))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    near = await AsyncioBackend().connect_tcp("127.0.0.1", port, timeout=LONG, **options)
    reader, writer = await ends.get()
    try:
        yield Pair(near, reader, writer, port)
    finally:
        await near.aclose()
        writer.close()
        server.close()


async def settle() -> None:
    """Let what can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def begin_to_read(
    connection: AsyncioStream, limit: float | None = None
) -> asyncio.Task[bytes]:
    """Begin a read that has to wait."""
    reading = asyncio.create_task(connection.read(ALL, timeout=limit))
    await settle()
    return reading


class TestReading:
    """What a read gives, and when."""

    async def test_both_ways(self) -> None:
        """Bytes go out and come in."""
        async with pair() as ends:
            await ends.near.write(b"hello", timeout=LONG)
            assert await ends.reader.read(ALL) == b"hello"
            reading = await begin_to_read(ends.near, LONG)
            await ends.send(b"world")

            assert await reading == b"world"

    async def test_all_that_arrived(self) -> None:
        """A read gives in one piece what came while nobody read."""
        async with pair() as ends:
            await ends.send(b"a")
            await ends.send(b"b")
            await settle()

            assert await ends.near.read(ALL) == b"ab"

    async def test_max_bytes(self) -> None:
        """What goes beyond `max_bytes` stays for the next read."""
        async with pair() as ends:
            await ends.send(b"abc")

            assert [await ends.near.read(2), await ends.near.read(2)] == [b"ab", b"c"]

    async def test_end(self) -> None:
        """After the peer's last bytes every read is empty."""
        async with pair() as ends:
            ends.writer.write(b"last")
            ends.writer.close()

            assert await ends.near.read(ALL) == b"last"
            assert [await ends.near.read(ALL), await ends.near.read(ALL)] == [b"", b""]

    async def test_a_reader_hears_of_the_end(self) -> None:
        """The end of the peer ends a read that waits."""
        async with pair() as ends:
            reading = await begin_to_read(ends.near)
            ends.writer.close()

            assert await reading == b""

    async def test_a_reset_loses_nothing(self) -> None:
        """What arrived before a connection broke is read first, then comes the error."""
        async with pair() as ends:
            await ends.send(b"before")
            await ends.reset()

            assert await ends.near.read(ALL) == b"before"
            with pytest.raises(httpcore.ReadError, match="reset"):
                await ends.near.read(ALL)

    async def test_closing_tells_a_reader(self) -> None:
        """Who waits on a connection that is closed under it gets an error, not an end."""
        async with pair() as ends:
            reading = await begin_to_read(ends.near)
            await ends.near.aclose()

            with pytest.raises(httpcore.ReadError, match="closed"):
                await reading

    async def test_broken_while_the_peer_waits(self) -> None:
        """What was held when a connection broke can be read, and then comes the error."""
        async with pair() as ends:
            await ends.send(bytes(8 * MAX_BUFFERED))
            await asyncio.sleep(0.05)
            await ends.reset()
            await ends.near.write(b"notices that")
            await asyncio.sleep(0.05)

            assert len(await ends.near.read(ALL)) > MAX_BUFFERED
            with pytest.raises(httpcore.ReadError):
                await ends.near.read(ALL)

    async def test_a_cancelled_read_loses_nothing(self) -> None:
        """What arrives after a cancelled read is there for the next."""
        async with pair() as ends:
            reading = await begin_to_read(ends.near)
            reading.cancel()
            await settle()
            await ends.send(b"later")

            assert await ends.near.read(ALL) == b"later"

    async def test_a_slow_reader_makes_the_peer_wait(self) -> None:
        """A peer that sends without end fills a limited space here; then all of it is read."""
        async with pair() as ends:
            ends.writer.transport.set_write_buffer_limits(0)
            sending = asyncio.create_task(send_all(ends.writer, bytes(MUCH)))
            await asyncio.sleep(0.1)
            assert not sending.done()

            left = MUCH
            while left:
                data = await ends.near.read(MAX_BUFFERED, timeout=LONG)
                assert 0 < len(data) <= MAX_BUFFERED
                left -= len(data)
            await sending


async def send_all(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send, and wait until the system has taken all of it."""
    writer.write(data)
    await writer.drain()


class Clock:
    """The running loop's clock, which can be put forward; counts the alarms that are set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        now, call_at = loop.time, loop.call_at
        self.ahead = 0.0
        self.alarms = 0

        def set_alarm(*args: Any, **options: Any) -> asyncio.TimerHandle:
            self.alarms += 1
            return call_at(*args, **options)

        monkeypatch.setattr(loop, "time", lambda: now() + self.ahead)
        monkeypatch.setattr(loop, "call_at", set_alarm)

    async def pass_by(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self.ahead += seconds
        await settle()


@pytest.mark.parametrize("anyio_backend", [USUAL], ids=["asyncio"])  # uvloop's clock stays
class TestTime:
    """Each read has its own time, though one alarm serves them all."""

    async def test_silence(self) -> None:
        """A read that nothing comes for ends when its time is over."""
        async with pair() as ends:
            with pytest.raises(httpcore.ReadTimeout):
                await ends.near.read(ALL, timeout=0.01)

    async def test_each_read_has_its_whole_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The alarm of an earlier read doesn't cut a later one short."""
        async with pair() as ends:
            clock = Clock(monkeypatch)
            reading = await begin_to_read(ends.near, 60)
            await clock.pass_by(50)
            await ends.send(b"b")
            await reading
            reading = await begin_to_read(ends.near, 60)
            await clock.pass_by(50)
            assert not reading.done()

            await clock.pass_by(11)
            with pytest.raises(httpcore.ReadTimeout):
                await reading

    async def test_a_shorter_time_than_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An alarm that would come too late is set anew."""
        async with pair() as ends:
            clock = Clock(monkeypatch)
            reading = await begin_to_read(ends.near, 300)
            await ends.send(b"a")
            await reading
            reading = await begin_to_read(ends.near, 5)
            await clock.pass_by(6)

            with pytest.raises(httpcore.ReadTimeout):
                await reading

    async def test_no_limit_after_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A read without a limit isn't ended by the one of the read before."""
        async with pair() as ends:
            clock = Clock(monkeypatch)
            reading = await begin_to_read(ends.near, 60)
            await ends.send(b"a")
            await reading
            reading = await begin_to_read(ends.near)
            await clock.pass_by(100)
            assert not reading.done()
            await ends.send(b"b")

            assert await reading == b"b"

    async def test_an_alarm_that_nobody_needs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time that passes between two reads is nobody's."""
        async with pair() as ends:
            clock = Clock(monkeypatch)
            reading = await begin_to_read(ends.near, 60)
            await ends.send(b"a")
            await reading
            await clock.pass_by(100)
            reading = await begin_to_read(ends.near, 60)
            await ends.send(b"b")

            assert await reading == b"b"

    async def test_one_alarm_for_many_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hundred reads set one alarm: setting one costs more than all the rest of a read."""
        async with pair() as ends:
            clock = Clock(monkeypatch)
            for _ in range(100):
                reading = await begin_to_read(ends.near, 60)
                await ends.send(b"a")
                await reading

            assert clock.alarms == 1

    async def test_news_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What arrives while the loop is too busy to look is not too late."""
        async with pair() as ends:
            clock = Clock(monkeypatch)
            reading = await begin_to_read(ends.near, 60)
            ends.writer.write(b"in time")
            time.sleep(0.01)  # noqa: ASYNC251  # as a busy application does
            await clock.pass_by(100)

            assert await reading == b"in time"


class TestWriting:
    """What a write does where the peer doesn't take it."""

    async def test_a_peer_that_takes_nothing(self) -> None:
        """A request that nobody takes ends when its time is over."""
        async with pair() as ends:
            with pytest.raises(httpcore.WriteTimeout):
                await ends.near.write(bytes(MUCH), timeout=0.05)

    async def test_a_peer_that_takes_its_time(self) -> None:
        """A write ends when the peer has taken it."""
        data = bytes(MUCH)
        async with pair() as ends:
            writing = asyncio.create_task(ends.near.write(data, timeout=LONG))
            await settle()
            assert not writing.done()
            taken = await ends.reader.readexactly(len(data) - MAX_BUFFERED)

            await writing
            assert len(taken) == len(data) - MAX_BUFFERED

    async def test_a_peer_that_is_gone(self) -> None:
        """That the connection broke shows when the answer is read: it may have come before."""
        async with pair() as ends:
            await ends.send(b"too large")
            await ends.reset()
            await ends.near.write(b"a request")

            assert await ends.near.read(ALL) == b"too large"
            with pytest.raises(httpcore.ReadError):
                await ends.near.read(ALL)

    async def test_a_peer_that_goes_meanwhile(self) -> None:
        """A break ends a write that waits."""
        async with pair() as ends:
            writing = asyncio.create_task(ends.near.write(bytes(MUCH), timeout=LONG))
            await settle()
            await ends.reset()

            with pytest.raises(httpcore.WriteError):
                await writing

    async def test_a_peer_that_answers_before(self) -> None:
        """An answer ends a write that waits, and can be read."""
        async with pair() as ends:
            writing = asyncio.create_task(ends.near.write(bytes(MUCH), timeout=LONG))
            await settle()
            ends.writer.write(b"too large")

            with pytest.raises(
                httpcore.WriteError, match=r"^the peer answered before it had read everything$"
            ):
                await writing
            assert await ends.near.read(ALL) == b"too large"

    async def test_a_peer_that_has_no_more_to_say(self) -> None:
        """The end of what it says ends a write that waits, but it may still read on."""
        async with pair() as ends:
            writing = asyncio.create_task(ends.near.write(bytes(MUCH), timeout=LONG))
            await settle()
            ends.writer.write_eof()

            with pytest.raises(httpcore.WriteError):
                await writing
            assert await ends.near.read(ALL) == b""
            await ends.reader.readexactly(MUCH)
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):  # it is still open
                await ends.reader.read(1)


class TestConnecting:
    """Opening a connection, and what it tells of itself."""

    async def test_refused(self) -> None:
        """Where nobody listens there is no connection."""
        with pytest.raises(httpcore.ConnectError):
            await AsyncioBackend().connect_tcp("127.0.0.1", 9, timeout=LONG)

    async def test_an_option_that_the_system_refuses(self) -> None:
        """Then there is no connection either, and none is left open."""
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            gone.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(httpcore.ConnectError):
                await AsyncioBackend().connect_tcp(
                    "127.0.0.1", port, socket_options=[(socket.IPPROTO_TCP, 9999, 1)]
                )
            await asyncio.wait_for(gone.wait(), LONG)

    async def test_from_where(self) -> None:
        """A connection can be made from an address of one's own choice, and says between whom."""
        async with pair(local_address="127.0.0.2") as ends:
            assert ends.near.get_extra_info("client_addr")[0] == "127.0.0.2"
            assert ends.near.get_extra_info("server_addr") == ("127.0.0.1", ends.port)
            assert ends.near.get_extra_info("ssl_object") is None

    async def test_a_handshake_without_end(self) -> None:
        """A peer that says nothing to a TLS greeting is waited for as long as is asked."""
        async with pair() as ends:
            with pytest.raises(httpcore.ConnectTimeout):
                await ends.near.start_tls(ssl.create_default_context(), "localhost", timeout=0.05)

    async def test_is_readable(self) -> None:
        """A kept connection counts as ended as soon as its peer has closed it.

        Even when the loop had no time to look: a request over it would be lost.
        """
        async with pair() as ends:
            assert not ends.near.get_extra_info("is_readable")
            ends.writer.transport.abort()
            await asyncio.sleep(0)
            before = ends.near.get_extra_info("is_readable")
            await settle()

            assert before
            assert ends.near.get_extra_info("is_readable")

    async def test_is_readable_though_closed(self) -> None:
        """A socket that was closed a moment ago, which nobody has told us yet, counts as ended."""
        with socket.socket() as closed:
            pass
        near = AsyncioStream(asyncio.get_running_loop())
        near.connection_made(asyncio.Transport(extra={"socket": closed}))

        assert near.get_extra_info("is_readable")


class TestBeneathTheTransport:
    """Who uses them."""

    async def test_in_use(self, server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
        """The transport of the base install connects by them."""
        opened: list[int] = []
        connect_tcp = AsyncioBackend.connect_tcp

        async def connect(
            sockets: AsyncioBackend,
            host: str,
            port: int,
            **rest: Any,  # as connect_tcp has them
        ) -> AsyncioStream:
            opened.append(port)
            return await connect_tcp(sockets, host, port, **rest)

        monkeypatch.setattr(AsyncioBackend, "connect_tcp", connect)
        server.reply("abc")
        async with Client("sk-local", base_url=server.base_url, transport="httpx") as client:
            await client.acall("llama3.3-70b-instruct", "hi")

        assert opened == [server.port]
