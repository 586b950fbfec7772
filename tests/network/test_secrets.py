"""Neither the API key nor a proxy's password shows in an error, its frames, its pickle or a log."""

from __future__ import annotations

import logging
import pickle
import traceback
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from client_matrix import MODEL
from relays import Reader, Relay, Writer, relay

from llama_dashscope import APIStatusError, Client, DashScopeError
from llama_dashscope.compat import Generation
from llama_dashscope.testing import Drop, LocalDashScope, Raw

KEY = "sk-0123456789-SECRET"
PASSWORD = "S3cret-pass-密"
LOGIN = "alice:S3cret-pass-%E5%AF%86"
TOKEN = b64encode(f"alice:{PASSWORD}".encode()).decode()

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ECHOES = {
    "status": b"HTTP/1.1 20x " + KEY.encode() + b"\r\n\r\n",
    "version": KEY.encode() + b" 200 OK\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nBearer " + KEY.encode() + b"\r\n\r\n",
    "header name": b"HTTP/1.1 200 OK\r\n(" + KEY.encode() + b"): x\r\n\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nx: " + KEY.encode() * 20_000 + b"\r\n\r\n",
    "chunk": CHUNKED + KEY.encode() + b"\r\n",
    "chunk end": CHUNKED + b"1\r\n{" + KEY.encode() + b"\r\n",
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: " + KEY.encode() + b"\r\n\r\n",
    "coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: " + KEY.encode() + b"\r\n\r\n",
}


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a server that knows the key."""
    with LocalDashScope(api_key=KEY) as running:
        yield running


def told(error: BaseException) -> Iterator[str]:
    """Show what tools that report errors see: texts, attributes and every frame's variables."""
    yield "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        yield f"{chain!r} {chain!s} {vars(chain)!r}"
        for frame, _ in traceback.walk_tb(chain.__traceback__):
            if not frame.f_globals.get("__name__", "").startswith("test"):
                yield from (f"{name} = {value!r}" for name, value in frame.f_locals.items())
        chain = chain.__cause__ or chain.__context__


def assert_hidden(error: BaseException, *secrets: str) -> None:
    """Check that none of these shows in what tools report of an error, or in its pickle."""
    assert [text for text in told(error) if any(each in text for each in secrets)] == []
    assert not any(each.encode() in pickle.dumps(error) for each in secrets)


def fail(
    stack: tuple[str, str], base_url: str, *, stream: bool = False, proxy: str | None = None
) -> DashScopeError:
    """Make a call that fails, and return its error."""

    async def main() -> None:
        async with Client(
            KEY, base_url=base_url, transport=stack[0], retry=0, proxy=proxy, trust_env=False
        ) as client:
            if not stream:
                await client.acall(MODEL, "hi")
                return
            async with client.astream(MODEL, "hi") as answer:
                async for _ in answer:
                    pass

    with pytest.raises(DashScopeError) as caught:
        anyio.run(main, backend=stack[1])
    return caught.value


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_a_key_that_comes_back(
    stack: tuple[str, str],
    server: LocalDashScope,
    echo: bytes,
    caplog: pytest.LogCaptureFixture,
    *,
    stream: bool,
) -> None:
    """An answer that isn't HTTP may hold the key; no error shows it."""
    server.reply(Raw(head=echo, end="fin"))
    caplog.set_level(logging.DEBUG, "llama_dashscope")

    error = fail(stack, server.base_url, stream=stream)

    assert_hidden(error, KEY[:12])
    assert KEY[:12] not in caplog.text
    assert not isinstance(error, APIStatusError)


def answer(body: str, head: str = "") -> bytes:
    """Make an answer with status 200 whose body echoes the key."""
    size = len(body.encode())
    return f"HTTP/1.1 200 OK\r\n{head}content-length: {size}\r\n\r\n{body}".encode()


FRAME = 'data:{"output":{"text":"a"}}\n\n'
ERROR = f'event:error\ndata:{{"code":"{KEY}","message":"{KEY}","request_id":"{KEY}"}}\n\n'
BODIES = {
    "no JSON": answer(f"Bearer {KEY}"),
    "no output": answer(f'{{"key":"{KEY}"}}'),
    "no text": answer(f'{{"output":{{"text":["{KEY}"]}}}}'),
    "cut short": answer(f'{{"output":{{"text":"a","finish_reason":"null"}},"request_id":"{KEY}"}}'),
    "not gzip": answer(f"\x1f {KEY}", "content-encoding: gzip\r\n"),
    "broken off": answer(f'{{"key":"{KEY}"}}')[:-1],
    "an error": answer(ERROR),
    "an error after a frame": answer(f"{FRAME}{ERROR}"),
    "a frame without text": answer(f'{FRAME}data:{{"output":{{"text":["{KEY}"]}}}}\n\n'),
    "a stream broken off": answer(f"{FRAME}:{KEY}\n\n")[:-1],
    "a key in two parts": answer(f'{{"code":"x","message":"{KEY[:8]}\\n{KEY[8:]}"}}'),
}


@pytest.mark.parametrize("echo", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_a_key_in_a_body(
    stack: tuple[str, str],
    server: LocalDashScope,
    echo: bytes,
    caplog: pytest.LogCaptureFixture,
    *,
    stream: bool,
) -> None:
    """Nor does an error show the key, or keep it in a frame, if the body of an answer has it."""
    server.reply(Raw(head=echo, end="fin"))
    caplog.set_level(logging.DEBUG, "llama_dashscope")

    error = fail(stack, server.base_url, stream=stream)

    assert_hidden(error, KEY[:12], KEY[8:])
    assert KEY[:12] not in caplog.text
    assert KEY[8:] not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 407 {TOKEN}\r\ncontent-length: 0\r\n\r\n",
        f"HTTP/1.1 502 {PASSWORD}\r\nx: {TOKEN}\r\ncontent-length: 0\r\n\r\n",
        f"HTTP/1.1 4x7 {PASSWORD} {TOKEN}\r\n\r\n",
        f"{TOKEN}\r\n\r\n",
        "",
    ],
    ids=["407", "502", "garbage", "token", "nothing"],
)
def test_a_proxy_that_refuses(
    stack: tuple[str, str], answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy may echo what it was told; its name shows, the password doesn't."""
    caplog.set_level(logging.DEBUG, "llama_dashscope")

    async def refuse(_: Relay, reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"proxy-authorization: basic {TOKEN}".lower().encode() in head.lower()
        writer.write(answer.encode())
        await writer.drain()

    with relay(refuse) as proxy:
        address = f"http://{LOGIN}@127.0.0.1:{proxy.port}"
        error = fail(stack, "https://dashscope.example/api/v1", proxy=address)

    hidden = ("S3cret", TOKEN[:12])
    assert_hidden(error, *hidden)
    assert not any(each in caplog.text for each in hidden)
    assert "dashscope.example" in str(error)


def test_a_proxy_that_is_not_there(stack: tuple[str, str]) -> None:
    """Nor does a proxy's password show that nobody was told."""
    error = fail(stack, "https://dashscope.example/api/v1", proxy=f"http://{LOGIN}@127.0.0.1:9")

    assert_hidden(error, "S3cret", TOKEN)


def ask(client: Client, face: str, backend: str, options: dict[str, Any]) -> None:
    """Make a call by one of the client's methods."""

    async def asked() -> None:
        if face == "acall":
            await client.acall(MODEL, "hi", **options)
        elif face == "aparse":
            await client.aparse(MODEL, int, "hi", **options)
        else:
            async with client.astream(MODEL, "hi", **options):
                pass

    if face == "call":
        client.call(MODEL, "hi", **options)
    elif face == "parse":
        client.parse(MODEL, int, "hi", **options)
    elif face == "stream":
        with client.stream(MODEL, "hi", **options):
            pass
    elif face == "batch":
        with client.batch(["hi"], model=MODEL, **options) as batch:
            raise next(batch).error or AssertionError
    else:
        anyio.run(asked, backend=backend)


FACES = ["acall", "call", "astream", "stream", "aparse", "parse"]
REFUSED: list[dict[str, Any]] = [{"temperature": float("nan")}, {"temprature": 1}]


@pytest.mark.parametrize(
    ("face", "bad"),
    [(face, bad) for face in [*FACES, "batch"] for bad in ({}, *REFUSED)],
    ids=str,
)
def test_a_key_that_one_call_is_given(
    stack: tuple[str, str], server: LocalDashScope, face: str, bad: dict[str, Any]
) -> None:
    """A key of a single call is in no frame either, whether the call is sent or refused."""
    server.reply(Raw((b"{}",), status=400))
    options = {"api_key": KEY, **bad}

    with (
        Client("sk-other", base_url=server.base_url, transport=stack[0], retry=0) as client,
        pytest.raises((DashScopeError, TypeError)) as caught,
    ):
        ask(client, face, stack[1], options)

    assert_hidden(caught.value, KEY[:12])


@pytest.mark.parametrize(
    "bad",
    [
        {"base_url": "ftp://dashscope.example"},
        {"timeout": "soon"},
        {"proxy": f"ftp://{KEY}@127.0.0.1"},
        {"headers": {"x": f"{KEY}\n"}},
        {"api_key": f"{KEY} "},
    ],
    ids=str,
)
def test_a_client_that_could_not_be_made(bad: dict[str, Any]) -> None:
    """Error reports show the client, but not what it was given; showing it doesn't fail."""
    given: dict[str, Any] = {"api_key": KEY, **bad}

    with pytest.raises(DashScopeError) as caught:
        Client(**given)

    shown = list(told(caught.value))
    assert "self = Client()" in shown
    assert [text for text in shown if KEY[:12] in text] == []


def test_a_key_that_the_drop_in_is_given(server: LocalDashScope) -> None:
    """`Generation.call` doesn't keep it either, whether the call fails or is refused."""
    server.fault(Drop(), times=None)
    address: dict[str, Any] = {"base_address": server.base_url, "api_key": KEY}

    with pytest.raises(DashScopeError) as failed:
        Generation.call(MODEL, "hi", **address)
    with pytest.raises(DashScopeError) as refused:
        Generation.call(MODEL, "hi", temperature=float("nan"), **address)

    for caught in (failed, refused):
        assert_hidden(caught.value, KEY[:12])


@pytest.mark.parametrize("bad", [{"temperature": float("nan")}, {"temprature": 1}, {"prompt": 1}])
def test_a_key_that_one_item_is_given(server: LocalDashScope, bad: dict[str, Any]) -> None:
    """Nor is the key of a single item of a batch, if the item is invalid."""
    items = [{"prompt": "hi", "api_key": KEY, **bad}]

    with (
        Client("sk-other", base_url=server.base_url) as client,
        client.batch(items, model=MODEL) as batch,
    ):
        error = next(batch).error

    assert error is not None
    assert_hidden(error, KEY[:12])


def test_a_client_with_a_proxy() -> None:
    """Nor in what a client is made of."""
    client = Client(KEY, proxy="http://alice:S3cret@127.0.0.1:9")

    assert "S3cret" not in f"{client!r} {vars(client)!r}"


def test_a_plain_request_by_a_proxy(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A user name and a password in UTF-8 are sent as they are."""
    server.reply("abc")

    async def main(port: int) -> str:
        address = f"http://{LOGIN}@127.0.0.1:{port}"
        async with Client(
            KEY, base_url=server.base_url, transport=stack[0], proxy=address
        ) as client:
            return (await client.acall(MODEL, "hi")).text

    with relay(Relay.http) as proxy:
        text = anyio.run(main, proxy.port, backend=stack[1])

    assert text == "abc"
    assert proxy.seen.lower().count(f"proxy-authorization: basic {TOKEN}".lower().encode()) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
def test_a_service_that_forges_lines(
    stack: tuple[str, str],
    server: LocalDashScope,
    caplog: pytest.LogCaptureFixture,
    *,
    stream: bool,
) -> None:
    """Whatever a service says is one line without control characters, and of some length."""
    body = (
        r'{"code":"Bad\nCODE\u001b[2J'
        + "c" * 5000
        + r'","message":"x\n2026 CRITICAL \u001b[31m\u202e'
        + "m" * 900_000
        + r'","request_id":"r\r\nF'
        + "r" * 5000
        + '"}'
    )
    server.reply(Raw((body.encode(),), status=400))
    caplog.set_level(logging.DEBUG, "llama_dashscope")

    error = fail(stack, server.base_url, stream=stream)

    assert error.code.startswith(r"Bad CODE\x1b[2Jccc")
    assert error.message.startswith(r"x 2026 CRITICAL \x1b[31m\u202emmm")
    assert error.request_id.startswith("r Frrr")
    for text in (str(error), *(each.getMessage() for each in caplog.records)):
        assert text.isprintable()
        assert len(text) < 3000


def test_a_request_id_of_a_header(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A header can't hold a line break, but other control characters and any length."""
    identity = b"\x1b[31m" + b"r" * 5000
    head = b"HTTP/1.1 500 X\r\nx-request-id: " + identity + b"\r\ncontent-length: 0\r\n\r\n"
    server.reply(Raw(head=head, end="fin"))

    error = fail(stack, server.base_url)

    assert str(error).isprintable()
    assert len(str(error)) < 1000


def test_a_request_id_of_a_frame(stack: tuple[str, str], server: LocalDashScope) -> None:
    """A stream that breaks off names the request in one line."""
    frame = rb'data:{"output":{"text":"a"},"request_id":"r\n\u001b[31mF"}' + b"\n\n"
    server.reply(Raw((frame,)))

    assert fail(stack, server.base_url, stream=True).request_id == r"r \x1b[31mF"
