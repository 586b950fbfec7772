"""Connecting: one limit for all of it, nothing left open, and SOCKS proxies of every mood."""

from __future__ import annotations

import asyncio
import gc
import ssl
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
import trustme
from client_matrix import MODEL, ask
from relays import Reader, Relay, Writer, relay
from wire import message, whole, wire

from llama_dashscope import APIConnectionError, APITimeoutError, Client, ClientClosedError, Timeout

ELSEWHERE = "https://dashscope.example/api/v1"
BACKENDS = ["asyncio", "trio"]


class Silent:
    """Takes connections, reads what comes and says nothing; counts who leaves."""

    def __init__(self, after: bytes = b"", says: bytes = b"") -> None:
        """Take what it says before it falls silent, and after what."""
        self.came = self.left = 0
        self._after, self._says = after, says

    async def serve(self, _: Relay, reader: Reader, writer: Writer) -> None:
        """Wait for the client to leave."""
        self.came += 1
        try:
            if self._says:
                await reader.readuntil(self._after)
                writer.write(self._says)
            while await reader.read(1 << 16):
                pass
        finally:
            self.left += 1


SILENCES: dict[str, tuple[str, str, Silent]] = {
    "a TLS handshake": ("https://127.0.0.1:{}/", "", Silent()),
    "a tunnel": (ELSEWHERE, "http://127.0.0.1:{}", Silent()),
    "TLS in a tunnel": (
        ELSEWHERE,
        "http://127.0.0.1:{}",
        Silent(b"\r\n\r\n", b"HTTP/1.1 200 Go on\r\n\r\n"),
    ),
    "an encrypted proxy": (ELSEWHERE, "https://127.0.0.1:{}", Silent()),
    "a SOCKS proxy": (ELSEWHERE, "socks5://127.0.0.1:{}", Silent()),
}


def by_whom(stack: tuple[str, str], proxy: str) -> tuple[str, str]:
    """Let `auto` choose where aiohttp can't: SOCKS, and TLS within TLS before Python 3.11."""
    needs_other = "socks" in proxy or ("https" in proxy and sys.version_info < (3, 11))
    return ("auto", stack[1]) if needs_other else stack


@pytest.mark.parametrize(("url", "proxy", "silent"), SILENCES.values(), ids=SILENCES)
def test_a_limit(stack: tuple[str, str], url: str, proxy: str, silent: Silent) -> None:
    """`connect` bounds all of connecting: proxies and TLS too."""
    stack = by_whom(stack, proxy)
    with relay(silent.serve) as server, pytest.raises(APITimeoutError) as raised:
        ask(
            stack,
            url.format(server.port),
            proxy=proxy.format(server.port) or None,
            timeout=Timeout(connect=0.2),
        )

    assert raised.value.limit == "connect"


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Let nothing be closed by chance."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(("url", "proxy", "silent"), SILENCES.values(), ids=SILENCES)
def test_who_leaves_leaves_no_socket(
    stack: tuple[str, str], url: str, proxy: str, silent: Silent
) -> None:
    """Who is cancelled while connecting closes the connection at once."""
    stack = by_whom(stack, proxy)
    silent.came = silent.left = 0

    async def main(port: int) -> None:
        settings: dict[str, Any] = {"base_url": url.format(port), "transport": stack[0]}
        async with Client("sk-1", proxy=proxy.format(port) or None, **settings) as client:
            for at in range(3):
                async with anyio.create_task_group() as group:
                    group.start_soon(client.acall, MODEL, "hi")
                    while silent.came == at:
                        await anyio.sleep(0.01)
                    await anyio.sleep(0.02)
                    group.cancel_scope.cancel()
                with anyio.fail_after(20):
                    while silent.left <= at:
                        await anyio.sleep(0.01)

    with relay(silent.serve) as server:
        anyio.run(main, server.port, backend=stack[1])


class Socks:
    """A SOCKS5 proxy that says what it is told to, piece by piece, and notes what it hears."""

    def __init__(self, *replies: bytes) -> None:
        """Take the replies, one for each thing that the client says."""
        self._replies = replies
        self.heard: list[bytes] = []

    async def serve(self, _: Relay, reader: Reader, writer: Writer) -> None:
        """Answer in single bytes, then serve as the host itself."""
        for reply in self._replies:
            self.heard.append(await reader.read(1 << 10))
            for at in range(len(reply)):
                writer.write(reply[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0)
        self.heard.append(await reader.read(1 << 10))
        writer.write(whole())
        await writer.drain()


def by_socks(backend: str, proxy: Socks, login: str = "", host: str = "dashscope.example") -> str:
    """Ask by a SOCKS proxy; returns the text of the answer."""
    with relay(proxy.serve) as server:
        address = f"socks5://{login}127.0.0.1:{server.port}"
        return ask(("httpx", backend), f"http://{host}:8080/", proxy=address).text


GRANTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09"


@pytest.mark.filterwarnings("ignore:.*plain http")
@pytest.mark.parametrize("backend", BACKENDS)
class TestSocks5:
    """What SOCKS5 proxies may say."""

    @pytest.mark.parametrize(
        ("host", "address"),
        [
            ("dashscope.example", b"\x03\x11dashscope.example"),
            ("10.1.2.3", b"\x01\x0a\x01\x02\x03"),
            ("[2001:db8::1]", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ],
    )
    def test_an_address(self, backend: str, host: str, address: bytes) -> None:
        """Names go to the proxy as names; addresses of both families as such."""
        proxy = Socks(b"\x05\x00", GRANTED)

        assert by_socks(backend, proxy, host=host) == "fine"
        assert proxy.heard[:2] == [b"\x05\x01\x00", b"\x05\x01\x00" + address + b"\x1f\x90"]

    @pytest.mark.parametrize(
        "granted",
        [
            b"\x05\x00\x00\x03\x09localhost\x00\x09",
            b"\x05\x00\x00\x04" + bytes(16) + b"\x00\x09",
        ],
        ids=["name", "IPv6"],
    )
    def test_where_it_connects_from(self, backend: str, granted: bytes) -> None:
        """It may say from where it connects in any form."""
        assert by_socks(backend, Socks(b"\x05\x00", granted)) == "fine"

    def test_a_login(self, backend: str) -> None:
        """User name and password are sent where the proxy asks for them."""
        proxy = Socks(b"\x05\x02", b"\x01\x00", GRANTED)

        assert by_socks(backend, proxy, "me:m%C3%AFne@") == "fine"
        assert proxy.heard[:2] == [b"\x05\x02\x00\x02", b"\x01\x02me\x05m\xc3\xafne"]

    def test_the_longest_login(self, backend: str) -> None:
        """User name and password may have 255 bytes each."""
        proxy = Socks(b"\x05\x02", b"\x01\x00", GRANTED)

        assert by_socks(backend, proxy, f"{'u' * 255}:{'p' * 255}@") == "fine"
        assert proxy.heard[1] == b"\1\xff%s\xff%s" % (b"u" * 255, b"p" * 255)

    def test_a_login_that_is_not_wanted(self, backend: str) -> None:
        """Where it doesn't ask, they are not."""
        proxy = Socks(b"\x05\x00", GRANTED)

        assert by_socks(backend, proxy, "me:mine@") == "fine"
        assert not any(b"mine" in each for each in proxy.heard)

    @pytest.mark.parametrize(
        ("login", "replies", "why"),
        [
            ("", [b"\x05\xff"], "it requires an authentication method that was not offered"),
            ("", [b"\x05\x02"], "it requires an authentication method that was not offered"),
            ("me:mine@", [b"\x05\x02", b"\x01\x01"], "it rejects the user name or password"),
            (
                f"me:{'x' * 256}@",
                [b"\x05\x02"],
                "SOCKS5 takes user names and passwords of up to 255 bytes",
            ),
            ("", [b"\x05\x00", b"\x05\x02\x00\x01"], "not allowed by its rules"),
            ("", [b"\x05\x00", b"\x05\x05\x00\x01"], "the host refuses the connection"),
            ("", [b"\x05\x00", b"\x05\x63\x00\x01"], "reply code 99"),
            ("", [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "it doesn't speak SOCKS5"),
        ],
    )
    def test_a_refusal(self, backend: str, login: str, replies: list[bytes], why: str) -> None:
        """A refusal says why, and is not tried again."""
        with pytest.raises(APIConnectionError) as raised:
            by_socks(backend, Socks(*replies), login)

        assert raised.value.message == (
            f"the proxy refuses to connect to dashscope.example:8080: ProxyError: {why}"
        )
        assert not raised.value.retryable

    def test_an_end(self, backend: str) -> None:
        """One that ends the connection says so, too."""

        async def end(_: Relay, reader: Reader, writer: Writer) -> None:
            await reader.read(3)
            writer.close()

        with (
            relay(end) as server,
            pytest.raises(APIConnectionError, match=": ProxyError: it closed the connection "),
        ):
            ask(("httpx", backend), "http://10.1.2.3", proxy=f"socks5://127.0.0.1:{server.port}")

    def test_with_tls(self, backend: str) -> None:
        """Behind the proxy the way to the service is encrypted."""
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
        with (
            wire([whole(message("secret"))]) as service,
            relay(Relay.tls, service.port, context) as front,
            relay(Relay.socks) as proxy,
        ):
            address = f"socks5h://127.0.0.1:{proxy.port}"
            url = f"https://localhost:{front.port}"
            text = ask(("httpx", backend), url, proxy=address, verify=False).text

        assert text == "secret"


@pytest.mark.parametrize("backend", BACKENDS)
def test_closed_while_connecting(backend: str) -> None:
    """A connection that comes about only after its client was closed carries nothing any more."""
    asked, go_on = threading.Event(), threading.Event()
    rest: list[bytes] = []
    ended: list[str] = []

    async def slow(_: Relay, reader: Reader, writer: Writer) -> None:
        await reader.read(3)
        asked.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        for reply in (b"\x05\x00", GRANTED):
            writer.write(reply)
            try:
                rest.append(await reader.read(1 << 10))
            except OSError:  # the client has broken off
                rest.append(b"")

    async def call(client: Client) -> None:
        try:
            await client.acall(MODEL, "hi")
        except ClientClosedError as error:
            ended.append(type(error).__name__)

    async def main(port: int) -> None:
        client = Client("sk-1", base_url="http://10.1.2.3", proxy=f"socks5://127.0.0.1:{port}")
        async with anyio.create_task_group() as group:
            group.start_soon(call, client)
            while not asked.is_set():
                await anyio.sleep(0.01)
            await client.aclose()
            go_on.set()
        with anyio.fail_after(20):
            while len(rest) < 2:
                await anyio.sleep(0.01)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*plain http")
        with relay(slow) as server:
            anyio.run(main, server.port, backend=backend)
    assert ended == ["ClientClosedError"]
    assert rest[1:] == [b""]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://dashscope.example", b"dashscope.example"),
        ("http://dashscope.example:80/a", b"dashscope.example"),
        ("http://dashscope.example:8080/a/b", b"dashscope.example:8080"),
        ("http://[2001:db8::1]", b"[2001:db8::1]"),
        ("http://[2001:db8::1]:443", b"[2001:db8::1]:443"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*plain http")
def test_the_host_header(stack: tuple[str, str], url: str, host: bytes) -> None:
    """Host is as the address has it, without the port that goes without saying."""
    heads: list[bytes] = []

    async def serve(_: Relay, reader: Reader, writer: Writer) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(whole())
        await reader.read()

    with relay(serve) as proxy:
        ask(stack, url, proxy=f"http://127.0.0.1:{proxy.port}")

    lines = heads[0].lower().split(b"\r\n")
    assert [each for each in lines if each.startswith(b"host:")] == [b"host: " + host]
    assert lines[0].split()[1].startswith(b"http://")
