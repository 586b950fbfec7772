"""TLS, proxies, sockets and what is never sent, over httpx and aiohttp alike."""

from __future__ import annotations

import gc
import gzip
import json
import re
import socket
import ssl
import sys
import warnings
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import pytest
import respx
import trustme
from client_matrix import HAS_AIOHTTP, MODEL, STACKS, ask
from relays import Relay, relay

from llama_dashscope import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    Client,
    ConfigurationError,
    Limits,
    ResponseError,
    Retry,
    Timeout,
)
from llama_dashscope._network.http11_connection import HTTP11Connection
from llama_dashscope._network.http11_transport import HTTP11Transport
from llama_dashscope._network.selection import FIRST_UNTESTED, OLDEST, select_transport
from llama_dashscope._network.tls import keepalive_options
from llama_dashscope._network.user_transport import UserTransport
from llama_dashscope._protocol.arguments import call_arguments
from llama_dashscope._settings import Network
from llama_dashscope.testing import LocalDashScope, Raw, Reply, StaleConnection, Stall

PATH = "/services/aigc/text-generation/generation"
ELSEWHERE = "dashscope.example"
WHOLE = {"output": {"text": "abc", "finish_reason": "stop"}, "request_id": "r"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def tls(server: LocalDashScope, authority: trustme.CA) -> Iterator[str]:
    """Put TLS before the server, with a certificate of our own; gives its address."""
    server.reply("abc")
    with relay(Relay.tls, server.port, server_context(authority)) as front:
        yield f"https://localhost:{front.port}/api/v1"


# trustme's methods take pyOpenSSL's contexts too, whose type isn't known here.
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return the server's half of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


@pytest.fixture
def pem(authority: trustme.CA, tmp_path: Path) -> str:
    """Write the authority's certificate to a file."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def know(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    """Let a name be that of an address, whichever resolver looks it up."""
    look_up = socket.getaddrinfo

    def known(host: Any, *args: Any, **options: Any) -> Any:
        return look_up(address if host in {name, name.encode()} else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)


class TestTLS:
    """Certificates: whose word counts, and what happens where none does."""

    def test_unknown_authority(self, stack: tuple[str, str], tls: str) -> None:
        """A certificate that nobody vouches for ends the call at once, and the message says why."""
        with pytest.raises(
            APIConnectionError, match=r"localhost.*CERTIFICATE_VERIFY_FAILED"
        ) as caught:
            ask(stack, tls)

        assert not caught.value.retryable

    def test_ssl_cert_file(
        self, stack: tuple[str, str], tls: str, pem: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SSL_CERT_FILE names those who may vouch."""
        monkeypatch.setenv("SSL_CERT_FILE", pem)

        assert ask(stack, tls).text == "abc"

    def test_ssl_cert_dir(
        self, stack: tuple[str, str], tls: str, pem: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So does SSL_CERT_DIR; a folder without them vouches for nobody."""
        monkeypatch.setenv("SSL_CERT_DIR", str(Path(pem).parent))

        with pytest.raises(APIConnectionError):
            ask(stack, tls)

    def test_ssl_cert_file_that_is_none(
        self, stack: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that isn't there is an error of the setting, with its name."""
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")

        said = "^the certificates that SSL_CERT_FILE or SSL_CERT_DIR names can't be read: "
        with pytest.raises(ConfigurationError, match=said):
            ask(stack, "https://localhost:9")

    def test_trust_env(
        self, stack: tuple[str, str], tls: str, pem: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With trust_env=False the environment has no say."""
        monkeypatch.setenv("SSL_CERT_FILE", pem)

        with pytest.raises(APIConnectionError):
            ask(stack, tls, trust_env=False)

    def test_context(self, stack: tuple[str, str], tls: str, authority: trustme.CA) -> None:
        """A context of the caller's own is used as it is."""
        context = ssl.create_default_context()
        authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]

        assert ask(stack, tls, verify=context).text == "abc"

    def test_no_verification(self, stack: tuple[str, str], tls: str) -> None:
        """With verify=False anybody is believed."""
        assert ask(stack, tls, verify=False).text == "abc"

    def test_wrong_name(self, stack: tuple[str, str], tls: str, authority: trustme.CA) -> None:
        """A certificate for another name is none."""
        context = ssl.create_default_context()
        authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]

        with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1"):
            ask(stack, tls.replace("localhost", "127.0.0.1"), verify=context)

    def test_plain_server(self, stack: tuple[str, str], server: LocalDashScope) -> None:
        """A server that speaks no TLS is a connection error, not an error of ssl."""
        with pytest.raises(APIConnectionError):
            ask(stack, server.base_url.replace("http:", "https:"), timeout=Timeout(connect=0.3))

    # Python 3.10 leaves its TLS transport unclosed when bytes can't be decrypted.
    @pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function _SSLProtocolTransport"
        ":pytest.PytestUnraisableExceptionWarning"
    )
    def test_tls_that_breaks(self, stack: tuple[str, str], authority: trustme.CA) -> None:
        """Bytes that can't be decrypted break the answer, as a reset would."""
        with (
            relay(Relay.babble, context=server_context(authority)) as babbler,
            pytest.raises(APIConnectionError, match="broke"),
        ):
            ask(stack, f"https://localhost:{babbler.port}", verify=False)
        gc.collect()  # what is left unclosed belongs to this test, not to the next one

    def test_kept_connection(
        self, stack: tuple[str, str], tls: str, server: LocalDashScope
    ) -> None:
        """One handshake serves many calls."""
        assert ask(stack, tls, times=5, verify=False).text == "abc"
        assert server.connections_accepted == 1


class TestProxies:
    """The environment's proxies and the argument's, of each kind."""

    @pytest.fixture
    def server(self) -> Iterator[LocalDashScope]:
        """Run a server that the proxies here may call by another machine's name."""
        with LocalDashScope(allowed_hosts=[ELSEWHERE]) as server:
            yield server

    @pytest.fixture
    def elsewhere(self, server: LocalDashScope) -> Iterator[str]:
        """Give the server an address on another machine, which the proxies here know."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*plain http")
            yield server.base_url.replace(server.host, ELSEWHERE)

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_http(
        self,
        stack: tuple[str, str],
        server: LocalDashScope,
        elsewhere: str,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
    ) -> None:
        """A plain address goes through the proxy that the environment names."""
        server.reply("abc")
        with relay(Relay.http) as proxy:
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            text = ask(stack, elsewhere).text

        assert text == "abc"
        assert proxy.asked == [f"POST {elsewhere}{PATH}"]

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
    def test_connect(
        self, stack: tuple[str, str], tls: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """An address with TLS goes through a tunnel, in which the proxy can't read the key."""
        url = tls.replace("localhost", ELSEWHERE)
        with relay(Relay.http) as proxy:
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            text = ask(stack, url, times=2, verify=False).text

        assert text == "abc"
        assert proxy.asked == [f"CONNECT {url.removeprefix('https://').partition('/')[0]}"]
        assert b"sk-local" not in proxy.seen

    @pytest.mark.parametrize("kind", ["http", "socks5"])
    def test_a_wrong_name_behind_it(
        self,
        stack: tuple[str, str],
        tls: str,
        pem: str,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
    ) -> None:
        """Behind a proxy too a certificate has to be one for the service's name."""
        if kind == "socks5":
            stack = ("auto", stack[1])
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        with relay(Relay.http if kind == "http" else Relay.socks) as proxy:
            by = f"{kind}://127.0.0.1:{proxy.port}"
            text = ask(stack, tls, proxy=by).text
            with pytest.raises(APIConnectionError, match="certificate is not valid for"):
                ask(stack, tls.replace("localhost", ELSEWHERE), proxy=by)

        assert text == "abc"
        assert len(proxy.asked) == 2

    @pytest.mark.parametrize(
        "environment",
        [
            {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ELSEWHERE},
            {"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "*"},
            {"ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": f"example.com,{ELSEWHERE}"},
            {"HTTPS_PROXY": "http://127.0.0.1:9"},
        ],
        ids=str,
    )
    def test_not_this_one(
        self,
        stack: tuple[str, str],
        server: LocalDashScope,
        elsewhere: str,
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
    ) -> None:
        """NO_PROXY is honoured, and a proxy for https isn't asked about http."""
        server.reply("abc")
        know(monkeypatch, ELSEWHERE, server.host)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        assert ask(stack, elsewhere).text == "abc"

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_this_machine_needs_none(
        self,
        stack: tuple[str, str],
        server: LocalDashScope,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        host: str,
    ) -> None:
        """No proxy of the environment is asked for a loopback address: it leads elsewhere there."""
        server.reply("abc")
        monkeypatch.setenv(name, "http://127.0.0.1:9")

        assert ask(stack, server.base_url.replace(server.host, host)).text == "abc"

    def test_trust_env(
        self,
        stack: tuple[str, str],
        server: LocalDashScope,
        elsewhere: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With trust_env=False the environment's proxies aren't asked."""
        server.reply("abc")
        know(monkeypatch, ELSEWHERE, server.host)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

        assert ask(stack, elsewhere, trust_env=False).text == "abc"

    def test_argument(
        self, stack: tuple[str, str], server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The argument comes before the environment, its name and password are sent."""
        server.reply("abc")
        monkeypatch.setenv("NO_PROXY", "*")
        with relay(Relay.http) as proxy:
            text = ask(stack, server.base_url, proxy=f"http://me:mine@127.0.0.1:{proxy.port}").text

        assert text == "abc"
        assert b"proxy-authorization: basic bwu6bwluzq==" in proxy.seen.lower()

    def test_encrypted_proxy(
        self,
        stack: tuple[str, str],
        tls: str,
        authority: trustme.CA,
        pem: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The way to a proxy may be encrypted as well, where Python knows TLS within TLS."""
        if stack[0] == "aiohttp" and sys.version_info < (3, 11):
            stack = ("auto", stack[1])  # which doesn't take it
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        with (
            relay(Relay.http) as proxy,
            relay(Relay.tls, proxy.port, server_context(authority)) as front,
        ):
            text = ask(stack, tls, proxy=f"https://localhost:{front.port}").text
            with pytest.raises(APIConnectionError, match="certificate is not valid for"):
                ask(stack, tls, proxy=f"https://127.0.0.1:{front.port}")

        assert text == "abc"
        assert len(proxy.asked) == 1

    def test_encrypted_proxy_by_aiohttp(
        self, server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who insists on aiohttp before Python 3.11 is told what it needs."""
        monkeypatch.setattr(sys, "version_info", (3, 10, 19))
        with pytest.raises(
            ConfigurationError,
            match=r": it needs Python 3\.11 for https proxies; use transport='httpx' ",
        ):
            ask(("aiohttp", "asyncio"), server.base_url, proxy="https://127.0.0.1:9")

    def test_dead_proxy(self, stack: tuple[str, str], server: LocalDashScope) -> None:
        """A proxy that isn't there is a failed connection."""
        with pytest.raises(APIConnectionError, match="connect"):
            ask(stack, server.base_url, proxy="http://127.0.0.1:9")

    def test_refusing_proxy(self, stack: tuple[str, str], tls: str) -> None:
        """A proxy that refuses the tunnel says so."""
        with (
            relay(Relay.refuse) as proxy,
            pytest.raises(APIConnectionError, match=r"^the proxy refuses to connect to "),
        ):
            ask(stack, tls, proxy=f"http://127.0.0.1:{proxy.port}")

    def test_refusing_plain(self, stack: tuple[str, str], server: LocalDashScope) -> None:
        """Without a tunnel its refusal is an answer like any other."""
        with relay(Relay.refuse) as proxy, pytest.raises(APIStatusError) as refused:
            ask(stack, server.base_url, proxy=f"http://127.0.0.1:{proxy.port}")

        assert refused.value.status_code == 407

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_socks(
        self,
        server: LocalDashScope,
        elsewhere: str,
        monkeypatch: pytest.MonkeyPatch,
        scheme: str,
        backend: str,
    ) -> None:
        """SOCKS goes without aiohttp, which `auto` knows."""
        server.reply("abc")
        with relay(Relay.socks) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
            text = ask(("auto", backend), elsewhere).text

        assert text == "abc"
        assert proxy.asked == [ELSEWHERE]

    def test_socks_by_aiohttp(self, server: LocalDashScope) -> None:
        """Who insists on aiohttp is told that it can't."""
        with pytest.raises(
            ConfigurationError,
            match=r"^transport='aiohttp' can't be used: it doesn't support SOCKS proxies; use ",
        ):
            ask(("aiohttp", "asyncio"), server.base_url, proxy="socks5://127.0.0.1:9")


class TestChoice:
    """Which transport carries a client's calls."""

    def test_aiohttp_on_trio(self, server: LocalDashScope) -> None:
        """Aiohttp knows no trio, and the error says what does."""
        with pytest.raises(
            ConfigurationError, match=r": it runs on asyncio only; use transport='httpx' on trio\b"
        ):
            ask(("aiohttp", "trio"), server.base_url)

    def test_aiohttp_missing(self, server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the extra `auto` takes httpx, and who insists is told what to install."""
        monkeypatch.setitem(sys.modules, "aiohttp", None)
        server.reply("abc")

        assert ask(("auto", "asyncio"), server.base_url).text == "abc"
        with pytest.raises(ConfigurationError, match=r": it is not installed; pip install 'llama-"):
            ask(("aiohttp", "asyncio"), server.base_url)

    @pytest.mark.parametrize("version", ["3.9.5", "3.10.10", "4", "4.0.0a1"])
    @pytest.mark.skipif(not HAS_AIOHTTP, reason="the aiohttp extra is not installed here")
    def test_another_aiohttp(
        self, server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        """One that we don't know is passed over by `auto`, and who insists is told so."""
        monkeypatch.setattr("aiohttp.__version__", version)
        server.reply("abc")

        assert ask(("auto", "asyncio"), server.base_url).text == "abc"
        with pytest.raises(
            ConfigurationError, match=f": version {re.escape(version)} .*>=3.10.11,<4; pip"
        ):
            ask(("aiohttp", "asyncio"), server.base_url)

    def test_the_versions_of_aiohttp(self) -> None:
        """What is taken is what pyproject.toml lets pip install."""
        pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
        bounds = re.search(r'"aiohttp>=([\d.]+),<([\d.]+)"', pyproject)

        assert bounds is not None
        assert bounds.groups() == (".".join(map(str, OLDEST)), ".".join(map(str, FIRST_UNTESTED)))

    @pytest.mark.anyio
    async def test_auto(self, anyio_backend: str) -> None:
        """`auto` takes aiohttp on asyncio where it is installed, and httpx elsewhere."""
        carrier = select_transport(Network("http://x", None, True, True, Limits(), "auto"))

        expected = anyio_backend == "trio" or not HAS_AIOHTTP
        assert isinstance(carrier, HTTP11Transport) == expected
        await carrier.aclose()


class Pieces(httpx.AsyncBaseTransport):
    """Answers in pieces: bytes, pauses in seconds, errors."""

    def __init__(self, *pieces: bytes | float | Exception) -> None:
        """Take the pieces."""
        self._pieces = pieces
        self.closed = 0
        self.body = b""
        self.limits: list[dict[str, float | None]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Read the request and answer."""
        self.body = await request.aread()
        self.limits.append(request.extensions["timeout"])
        transport = self

        class Body(httpx.AsyncByteStream):
            async def __aiter__(self) -> AsyncGenerator[bytes, None]:
                transport.limits.append(request.extensions["timeout"])
                for piece in transport._pieces:
                    if isinstance(piece, Exception):
                        raise piece
                    if isinstance(piece, bytes):
                        yield piece
                    else:
                        await anyio.sleep(piece)

            async def aclose(self) -> None:
                transport.closed += 1

        return httpx.Response(200, stream=Body())


class TestCustom:
    """A transport of the caller's own: httpx's kind, for tests and special ways."""

    @pytest.mark.anyio
    async def test_mock_transport(self) -> None:
        """Httpx's own mock transport works, and the request has what the service wants."""
        seen: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json=WHOLE)

        client = Client("sk-1", workspace="ws_1", transport=httpx.MockTransport(answer))

        assert (await client.acall(MODEL, "hi")).text == "abc"
        assert seen[0].url == f"https://dashscope.aliyuncs.com/api/v1{PATH}"
        assert seen[0].headers["authorization"] == "Bearer sk-1"
        assert seen[0].headers["x-dashscope-workspace"] == "ws_1"
        await client.aclose()

    @pytest.mark.anyio
    async def test_respx(self) -> None:
        """So does respx."""
        router = respx.MockRouter()
        router.post(path__regex="generation$").respond(429, json={"code": "Throttling.RateQuota"})
        client = Client("sk-1", retry=0, transport=httpx.MockTransport(router.async_handler))

        with pytest.raises(APIStatusError):
            await client.acall(MODEL, "hi")

    @pytest.mark.parametrize(
        ("error", "expected", "why"),
        [
            (
                httpx.ConnectTimeout("t"),
                APITimeoutError,
                "no connection to {} within 1 s (timeout.connect)",
            ),
            (
                httpx.ReadTimeout("t"),
                APITimeoutError,
                "no byte of an answer from {} within 2 s (timeout.read)",
            ),
            (
                httpx.ConnectError("c"),
                APIConnectionError,
                "can't connect to {}: ConnectError: c",
            ),
            (
                httpx.RemoteProtocolError("p"),
                APIConnectionError,
                "the connection to {} broke before the answer: RemoteProtocolError: p",
            ),
            (
                httpx.ProxyError("p"),
                APIConnectionError,
                "the proxy refuses to connect to {}: ProxyError: p",
            ),
        ],
    )
    @pytest.mark.anyio
    async def test_its_errors(
        self, error: Exception, expected: type[APIConnectionError], why: str
    ) -> None:
        """Its errors become ours, which say where and why."""

        def answer(_: httpx.Request) -> httpx.Response:
            raise error

        limits = Timeout(connect=1, read=2, idle=3)
        transport = httpx.MockTransport(answer)
        client = Client("sk-1", retry=0, transport=transport, timeout=limits)

        with pytest.raises(expected) as raised:
            await client.acall(MODEL, "hi")
        assert raised.value.message == why.format("dashscope.aliyuncs.com")
        # What was sent is not sent again: the service may have begun to answer it.
        assert raised.value.retryable == isinstance(
            error, httpx.ConnectTimeout | httpx.ConnectError
        )
        assert raised.value.__cause__ is error

    @pytest.mark.parametrize(
        ("error", "expected", "why"),
        [
            (
                httpx.ReadTimeout("t"),
                APITimeoutError,
                "nothing new in the answer of {} within 3 s (timeout.idle)",
            ),
            (
                httpx.ReadError("gone"),
                APIConnectionError,
                "the connection to {} broke within the answer: ReadError: gone",
            ),
            (
                ssl.SSLError("bad record"),
                APIConnectionError,
                "the connection to {} broke within the answer: SSLError: ('bad record',)",
            ),
        ],
    )
    @pytest.mark.anyio
    async def test_its_errors_within_an_answer(
        self, error: Exception, expected: type[APIConnectionError], why: str
    ) -> None:
        """So do those that come late."""
        transport = Pieces(b"{", error)
        client = Client("sk-1", retry=0, transport=transport, timeout=Timeout(read=2, idle=3))

        with pytest.raises(expected) as raised:
            await client.acall(MODEL, "hi")
        assert raised.value.message == why.format("dashscope.aliyuncs.com")
        assert not raised.value.retryable
        assert raised.value.__cause__ is error

    @pytest.mark.anyio
    async def test_its_empty_pieces(self) -> None:
        """A piece without a byte is not the end."""
        client = Client("sk-1", transport=Pieces(b"", json.dumps(WHOLE).encode(), b""))

        assert (await client.acall(MODEL, "hi")).text == "abc"

    @pytest.mark.anyio
    async def test_its_silence(self) -> None:
        """The limit of an answer holds there too, and its stream is closed."""
        transport = Pieces(b"{", 60.0)
        client = Client("sk-1", retry=0, transport=transport, timeout=Timeout(idle=0.05))

        with pytest.raises(APITimeoutError) as raised:
            await client.acall(MODEL, "hi")
        assert raised.value.limit == "idle"
        assert transport.closed == 1

    @pytest.mark.anyio
    async def test_what_it_is_asked(self) -> None:
        """It gets the limits of each phase, and a body that may be read as it likes."""
        transport = Pieces(json.dumps(WHOLE).encode())
        client = Client("sk-1", transport=transport, timeout=Timeout(connect=1, read=2, idle=3))

        await client.acall(MODEL, "hi")

        assert json.loads(transport.body)["model"] == MODEL
        assert transport.limits == [
            {"connect": 1, "read": 2, "write": 2, "pool": None},
            {"connect": 1, "read": 3, "write": 2, "pool": None},
        ]

    @pytest.mark.anyio
    async def test_its_connections(self, server: LocalDashScope) -> None:
        """Httpx's own transport carries calls."""
        async with httpx.AsyncHTTPTransport() as transport:
            client = Client(server.api_key, base_url=server.base_url, transport=transport)
            server.reply("abc def")

            assert (await client.acall(MODEL, "hi")).text == "abc def"

    @pytest.mark.anyio
    async def test_letting_go_of_its_answer(self) -> None:
        """The stream is closed once, though nothing of it was read."""
        transport = Pieces(b"{}")
        client = Client("sk-1", transport=transport)
        carrier = UserTransport(Network("http://x", None, True, True, Limits(), transport))
        call = client._prepare(MODEL, "hi", call_arguments())  # as the engine has it
        answer = await carrier.send(call)

        await answer.aclose()
        await answer.aclose()

        assert transport.closed == 1

    @pytest.mark.anyio
    async def test_foreign_errors(self) -> None:
        """What is nobody's network error passes unchanged and is not tried again."""
        sends = 0

        class SoftTimeLimitError(Exception):
            """As a worker's supervisor throws it in."""

        def answer(_: httpx.Request) -> httpx.Response:
            nonlocal sends
            sends += 1
            raise SoftTimeLimitError

        client = Client("sk-1", retry=Retry(base=0), transport=httpx.MockTransport(answer))

        with pytest.raises(SoftTimeLimitError):
            await client.acall(MODEL, "hi")
        assert sends == 1

    @pytest.mark.anyio
    async def test_it_stays_open(self) -> None:
        """It is the caller's to close: other clients may use it."""

        class Transport(httpx.MockTransport):
            closed = False

            async def aclose(self) -> None:
                self.closed = True

        transport = Transport(lambda _: httpx.Response(200, json=WHOLE))
        async with Client("sk-1", transport=transport) as client:
            await client.acall(MODEL, "hi")

        assert not transport.closed


def test_redirects_stay_unfollowed(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A key isn't carried to where an answer points."""
    with LocalDashScope() as other:
        server.reply(Raw((), status=307, headers={"location": other.base_url + PATH}))
        with pytest.raises(APIStatusError) as raised:
            ask(stack, server.base_url)

        assert raised.value.status_code == 307
        assert other.connections_accepted == 0


def test_cookies_stay_unkept(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A cookie that the gateway sets is not sent back."""
    named = server.base_url.replace("127.0.0.1", "localhost")  # an IP address has none
    body = b'{"output":{"text":"abc","finish_reason":"stop"}}'
    server.reply(Raw((body,), headers={"set-cookie": "acw_tc=1; path=/"}))

    ask(stack, named, times=3)

    assert len(server.requests) == 3
    assert all("cookie" not in request.headers for request in server.requests)


def test_one_connection_for_calls_in_turn(stack: tuple[str, str], server: LocalDashScope) -> None:
    """Calls one after the other share a connection."""
    ask(stack, server.base_url, times=20)

    assert server.connections_accepted == 1


def test_idle_connections_expire(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A connection that was idle for longer than it is kept isn't used again, but closed."""

    async def main() -> None:
        limits = Limits(keepalive_expiry=0.05)
        async with Client(
            "sk-local", base_url=server.base_url, transport=stack[0], limits=limits
        ) as client:
            await client.acall(MODEL, "hi")
            await anyio.sleep(0.1)
            await client.acall(MODEL, "hi")
            await server.await_for(lambda server: server.open_connections == 1)

    anyio.run(main, backend=stack[1])
    assert server.connections_accepted == 2


@pytest.mark.parametrize("stack", STACKS[:2], ids="-".join)  # aiohttp uses all of them in turn
def test_spare_connections_expire(stack: tuple[str, str], server: LocalDashScope) -> None:
    """Connections of a busy hour are let go one by one, though others stay in use."""
    server.reply(Reply("abc", first_token_delay=0.05))

    async def main() -> None:
        limits = Limits(keepalive_expiry=0.3)
        async with Client(
            "sk-local", base_url=server.base_url, transport=stack[0], limits=limits
        ) as client:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(client.acall, MODEL, "hi")
            with anyio.fail_after(20):
                while server.open_connections > 1:
                    await client.acall(MODEL, "hi")

    anyio.run(main, backend=stack[1])


def test_connections_without_end(stack: tuple[str, str], server: LocalDashScope) -> None:
    """With keepalive_expiry=None a connection is kept until the server closes it."""
    server.fault(StaleConnection("fin"))

    text = ask(stack, server.base_url, 3, limits=Limits(keepalive_expiry=None), retry=2).text

    assert text
    assert server.connections_accepted == 2


def test_connection_close_is_obeyed(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A server that says so gets no second request on the same connection."""
    body = b'{"output":{"text":"abc","finish_reason":"stop"}}'
    server.reply(Raw((body,), headers={"connection": "close"}))

    assert ask(stack, server.base_url, times=3).text == "abc"
    assert server.connections_accepted == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closed_connections_are_forgotten(server: LocalDashScope, backend: str) -> None:
    """A client that lives long holds on to none of those that it has closed."""
    server.reply(Raw((json.dumps(WHOLE).encode(),), headers={"connection": "close"}))

    def held() -> int:
        gc.collect()
        return sum(isinstance(each, HTTP11Connection) for each in gc.get_objects())

    async def main() -> None:
        before = held()
        async with Client("sk-local", base_url=server.base_url, transport="httpx") as client:
            for _ in range(3):
                assert (await client.acall(MODEL, "hi")).text == "abc"
            assert held() == before

    anyio.run(main, backend=backend)
    assert server.connections_accepted == 3


def test_compressed_answers(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A gateway that compresses unasked is understood."""
    packed = gzip.compress(b'{"output":{"text":"abc","finish_reason":"stop"}}')
    pieces = tuple(packed[at : at + 1] for at in range(len(packed)))
    server.reply(Raw(pieces, headers={"content-encoding": "gzip"}))

    assert ask(stack, server.base_url).text == "abc"
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_sockets_notice_a_peer_that_vanished(
    stack: tuple[str, str], server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each socket probes a silent peer after seconds, so that 30 are enough to notice."""
    if not hasattr(socket, "TCP_KEEPIDLE"):
        pytest.skip("this system names its keepalive options otherwise")
    found: list[dict[str, int]] = []
    wanted = {"TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"}

    def look(_: object) -> Reply:
        for each in gc.get_objects():
            if isinstance(each, socket.socket) and each.fileno() >= 0 and connected(each):
                options = {
                    name: each.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in wanted
                    if hasattr(socket, name)
                }
                found.append(
                    {**options, "on": each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}
                )
        return Reply("abc")

    def connected(each: socket.socket) -> bool:
        with warnings.catch_warnings():
            try:
                return bool(each.getpeername()[1] == server.port)
            except (OSError, IndexError):
                return False

    server.reply(look)
    ask(stack, server.base_url)

    (options,) = found
    silence = options["TCP_KEEPIDLE"] + options["TCP_KEEPINTVL"] * options["TCP_KEEPCNT"]
    assert options["on"]
    assert silence <= 30
    assert 0 < options.get("TCP_USER_TIMEOUT", 1) <= 30_000


def test_keepalive_where_the_system_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without some options gets the others."""
    for name in ("TCP_KEEPIDLE", "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, name, raising=False)

    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in keepalive_options()


@pytest.mark.parametrize("url", ["http://dashscope.example/api/v1", "http://10.0.0.1"])
def test_plain_http_warns(url: str) -> None:
    """A key on its way to another machine in plain text is worth a warning."""
    with pytest.warns(UserWarning, match="plain http") as caught:
        Client("sk-1", base_url=url)

    assert caught[0].filename == __file__


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1", "https://x.example"])
def test_no_warning(url: str) -> None:
    """This machine is no other machine, and TLS is TLS."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client("sk-1", base_url=url)


def test_unknown_host(stack: tuple[str, str]) -> None:
    """A name that nobody knows is a failed connection with the resolver's words."""
    with pytest.raises(APIConnectionError, match=r"nowhere\.invalid.*not known"):
        ask(stack, "https://nowhere.invalid/api/v1")


def test_wrong_region_hint(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A refused key names the host: each region has its own."""
    wrong = partial(Client, "sk-of-elsewhere", base_url=server.base_url, transport=stack[0])

    async def main() -> None:
        async with wrong() as client:
            await client.acall(MODEL, "hi")

    with pytest.raises(AuthenticationError, match=f"{server.host}:{server.port}"):
        anyio.run(main, backend=stack[1])


def test_an_answer_beyond_the_limit(stack: tuple[str, str], server: LocalDashScope) -> None:
    """An answer is read up to a limit; what is larger is an error that names it."""
    server.reply(Raw((b" " * 100_000,) * 20, headers={"x-request-id": "abc"}))
    said = "the answer is larger than 1000 bytes (limits.max_answer_size)"

    with pytest.raises(ResponseError, match="larger than") as raised:
        ask(stack, server.base_url, limits=Limits(max_answer_size=1000))

    assert raised.value.message == said
    assert (raised.value.status_code, raised.value.request_id) == (200, "abc")


def test_an_answer_as_large_as_the_limit(stack: tuple[str, str], server: LocalDashScope) -> None:
    """The limit itself is allowed."""
    whole = b'{"output":{"text":"abc","finish_reason":"stop"}}'
    server.reply(Raw((whole,)))

    answer = ask(stack, server.base_url, limits=Limits(max_answer_size=len(whole)))

    assert answer.text == "abc"


def test_an_error_body_beyond_the_limit(stack: tuple[str, str], server: LocalDashScope) -> None:
    """An error's body is read up to a limit, and its status says the rest."""
    page = b"<html>" + b"x" * 100_000
    server.reply(Raw((page,) * 20, status=502))

    with pytest.raises(APIStatusError) as raised:
        ask(stack, server.base_url, limits=Limits(max_error_size=1000))

    assert raised.value.status_code == 502
    assert len(raised.value.message) < 1000


@pytest.mark.parametrize("end", ["fin", "rst", "hang"])
def test_an_error_body_that_breaks_off(
    stack: tuple[str, str], server: LocalDashScope, end: Literal["fin", "rst", "hang"]
) -> None:
    """However an error's body ends, its status is the error."""
    server.reply(Raw((b'{"code":"Inter',), status=500, end=end))

    with pytest.raises(APIStatusError) as raised:
        ask(stack, server.base_url, timeout=Timeout(idle=0.1))

    assert raised.value.status_code == 500


def test_a_frame_beyond_the_limit(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A frame larger than the limit is an error of its own, what came before it is kept."""
    server.reply(Reply(pieces=["a", "b" * 5000, "c"]))

    read: list[str] = []

    async def main() -> None:
        limits = Limits(max_frame_size=2000)
        async with (
            Client(
                "sk-local", base_url=server.base_url, transport=stack[0], limits=limits
            ) as client,
            client.astream(MODEL, "hi") as stream,
        ):
            async for chunk in stream:
                read.append(chunk.delta)  # noqa: PERF401 - what comes before the error counts

    with pytest.raises(ResponseError, match="max_frame_size") as raised:
        anyio.run(main, backend=stack[1])

    assert read == ["a"]
    assert raised.value.partial_text == "a"


def test_the_limit_that_an_unfinished_body_exceeded(
    stack: tuple[str, str], server: LocalDashScope
) -> None:
    """The error of a whole call names it, and how long it was."""
    server.fault(Stall(after=0))

    async def main() -> None:
        limits = Timeout(idle=0.2)
        async with Client(
            "sk-local", base_url=server.base_url, transport=stack[0], timeout=limits, retry=0
        ) as client:
            await client.acall(MODEL, "hi")

    with pytest.raises(APITimeoutError, match=r"within 0\.2 s \(timeout\.idle\)") as caught:
        anyio.run(main, backend=stack[1])
    assert (caught.value.limit, caught.value.waited) == ("idle", 0.2)
