"""`Client`: what it never shows, what it says in its log, and that it can be copied."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import re
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from client_matrix import HAS_AIOHTTP, MODEL, STACKS

from llama_dashscope import (
    Client,
    ConfigurationError,
    DashScopeError,
    InvalidRequestError,
    Limits,
    Retry,
    Timeout,
)
from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    Drop,
    ErrorFrame,
    ErrorStatus,
    Fault,
    Garbled,
    GatewayPage,
    LocalDashScope,
    RateLimited,
    Raw,
    Reply,
)

if TYPE_CHECKING:
    from client_matrix import Leg

NO_TRANSPORT = "transport must be one of auto, httpx, aiohttp, or an httpx transport"
KEY = "sk-very-secret-0123456789"
ECHOES: list[Fault | Raw] = [
    ErrorStatus(401, "InvalidApiKey", f"Incorrect API key provided: {KEY}."),
    ErrorStatus(500, KEY, f"{KEY} and more"),
    ErrorStatus(400, "InvalidParameter", KEY, shape="frame"),
    GatewayPage(502, f"<html>authorization: Bearer {KEY}</html>"),
    GatewayPage(200, f"<html>authorization: Bearer {KEY}</html>"),
    ErrorFrame(1, 500, "InternalError", f"<500> {KEY}"),
    Raw(
        (f'{{"output":[],"hint":"{KEY}"}}'.encode(),), headers={"content-type": "application/json"}
    ),
    Raw((f"data:{{{KEY}\n\n".encode(),), headers={"content-type": "text/event-stream"}),
]
HONEST: list[Fault | Raw] = [
    Raw(head=b"HTTP/1.1 what\r\n\r\n", end="fin"),
    Garbled(1),
    BlackHole(),
    Drop("rst"),
    Drop("fin"),
    CutStream(1, "fin"),
]


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a server that knows the secret."""
    with LocalDashScope(api_key=KEY) as running:
        running.reply(Reply(pieces=["a", "b", "c"]))
        yield running


def shown(error: BaseException, seen: set[int] | None = None) -> Iterator[str]:
    """Show all that an exception holds: text, attributes, causes, in whatever depth."""
    seen = set() if seen is None else seen
    yield "".join(traceback.format_exception(error))
    todo: list[object] = [error]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield f"{thing!r} {thing!s}"
        if isinstance(thing, dict):
            todo += [*thing, *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            todo += thing
        elif isinstance(thing, BaseException):
            todo += [thing.args, thing.__cause__, thing.__context__, vars(thing)]
        elif type(thing).__module__.split(".")[0] in {"llama_dashscope", "httpx", "aiohttp"}:
            todo += [getattr(thing, name) for name in getattr(thing, "__slots__", ())]
            todo.append(getattr(thing, "__dict__", {}))


def frames(error: BaseException | None) -> Iterator[str]:
    """Show the variables of this package's own functions that a traceback keeps."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("llama_dashscope."):
                yield from map(repr, frame.f_locals.values())
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("bad", [*ECHOES, *HONEST], ids=lambda bad: type(bad).__name__)
def test_no_error_shows_the_key(
    leg: Leg, server: LocalDashScope, bad: Fault | Raw, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, and whoever echoes the key: no error, log or traceback has it."""
    server.reply(bad)
    caplog.set_level(logging.DEBUG)
    client = leg.client(
        server, timeout=Timeout(read=0.1), retry=Retry(times=1, base=0), workspace="ws_1"
    )

    error = leg.ask(client).error

    assert isinstance(error, DashScopeError)
    assert not [text for text in shown(error) if KEY in text]
    if bad in HONEST:  # a body that echoes it is an honest variable
        assert not [text for text in frames(error) if KEY in text]
    assert KEY.encode() not in pickle.dumps(error)
    assert KEY not in caplog.text
    assert KEY not in f"{client!r} {client!s} {client.__dict__!r}"


def test_no_log_shows_the_key(
    leg: Leg, server: LocalDashScope, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG of every logger there is a line for each attempt, and no key."""
    caplog.set_level(logging.DEBUG)
    server.fault(RateLimited(retry_after=0))

    leg.ask(leg.client(server))

    ours = [each for each in caplog.records if each.name == "llama_dashscope"]
    lines = [each.getMessage() for each in ours]
    assert KEY not in caplog.text
    assert all(each.levelno == logging.DEBUG for each in ours)
    assert len(lines) == 2
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ attempt 1: RateLimitError .*status 429, request_id \S+\), \d+ ms",
        lines[0],
    )
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ attempt 2: answered \(status 200, request_id \S+\), \d+ ms", lines[1]
    )


@pytest.mark.parametrize(("transport", "backend"), STACKS)
def test_an_attempt_cut_short_is_logged(
    server: LocalDashScope, caplog: pytest.LogCaptureFixture, transport: str, backend: str
) -> None:
    """So is an attempt that its caller gave up."""
    caplog.set_level(logging.DEBUG, "llama_dashscope")
    server.reply(BlackHole())

    async def main() -> None:
        async with Client(KEY, base_url=server.base_url, transport=transport) as client:
            with anyio.move_on_after(0.2):
                await client.acall(MODEL, "hi")

    anyio.run(main, backend=backend)

    (line,) = [each for each in caplog.messages if "attempt 1" in each]
    assert "Cancelled" in line


def test_logging_is_left_alone() -> None:
    """The package adds no handler and sets no level."""
    logger = logging.getLogger("llama_dashscope")

    assert logger.level == logging.NOTSET
    assert logger.propagate
    assert all(isinstance(each, logging.NullHandler) for each in logger.handlers)


def pickled(client: Client) -> Client:
    """Send a client through pickle."""
    copied = pickle.loads(pickle.dumps(client))
    assert isinstance(copied, Client)
    return copied


@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_copies(server: LocalDashScope, way: str) -> None:
    """A copy has the settings, and connections of its own."""
    client = Client(
        KEY, base_url=server.base_url, workspace="ws_1", limits=Limits(max_frame_size=9)
    )
    client.call(MODEL, "hi")
    make: dict[str, Any] = {
        "pickle": pickled,
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
    }

    with make[way](client) as other:
        assert other.call(MODEL, "hi").text == "abc"
        assert repr(other) == repr(client)
        assert repr(other) == f"Client(base_url='{server.base_url}', workspace='ws_1')"
    assert repr(other) == f"Client(base_url='{server.base_url}', workspace='ws_1', closed)"
    assert client.call(MODEL, "hi").text == "abc"
    assert [each.headers["x-dashscope-workspace"] for each in server.requests] == ["ws_1"] * 3
    client.close()


def test_two_tenants_at_once(server: LocalDashScope) -> None:
    """Keys and workspaces belong to clients and calls, not to the process."""

    async def main() -> None:
        async with (
            Client(KEY, base_url=server.base_url, workspace="one") as one,
            Client(KEY, base_url=server.base_url, workspace="two") as two,
            anyio.create_task_group() as group,
        ):
            for client in (one, two):
                group.start_soon(client.acall, MODEL, "hi")
            await one.acall(MODEL, "hi", workspace="three", headers={"x-mine": "1"})

    anyio.run(main)
    seen = sorted(each.headers["x-dashscope-workspace"] for each in server.requests)
    assert seen == ["one", "three", "two"]


def test_many_clients(server: LocalDashScope) -> None:
    """A client for each request, none of them closed, leaves no connection behind."""

    async def main() -> None:
        for _ in range(50):
            await Client(KEY, base_url=server.base_url).acall(MODEL, "hi")
        gc.collect()
        await server.await_for(lambda server: server.open_connections == 0)

    anyio.run(main)
    assert len(server.requests) == 50


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_that_is_dropped(server: LocalDashScope, backend: str) -> None:
    """So does one that is dropped in the middle of a run of trio's, without a word."""

    async def main() -> None:
        await Client(KEY, base_url=server.base_url, transport="httpx").acall(MODEL, "hi")
        gc.collect()
        await server.await_for(lambda server: server.open_connections == 0)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"limits": 5}, "^limits must be a Limits, got int$"),
        ({"headers": 5}, "^headers must be a dict, got int$"),
        ({"trust_env": "no"}, r"^trust_env must be True or False, got 'no'$"),
        ({"verify": 1}, r"^verify must be True, False or an ssl\.SSLContext, got int$"),
        ({"pace": 5}, "^pace must be a Pace, or an object with a method admit, got int$"),
        ({"headers": {"a b": "c"}}, "^headers: 'a b' is not a valid HTTP header name$"),
        ({"headers": {"host": "c"}}, "^headers: 'host' is set by the client$"),
        ({"transport": "curl"}, f"^{NO_TRANSPORT}$"),
        ({"transport": 5}, f"^{NO_TRANSPORT}$"),
        ({"proxy": "ftp://x"}, "^proxy must be"),
        ({"timeout": -1}, r"^timeout\.connect must be"),
        ({"retry": -1}, r"^retry\.times must be"),
        ({"workspace": "a b"}, "^workspace must be"),
        ({"base_url": "localhost"}, "^base_url must be"),
    ],
)
def test_bad_settings(settings: dict[str, Any], named: str) -> None:
    """What can't be right is refused when the client is made, by its name."""
    with pytest.raises(ConfigurationError, match=named):
        Client(KEY, **settings)


def test_bad_options(server: LocalDashScope) -> None:
    """What can't be right for a call is refused before anything is sent."""
    options: dict[str, dict[str, Any]] = {
        "timeout.connect must be more than 0 seconds, got -1; None means no limit": {"timeout": -1},
        "headers must be a dict, got int": {"headers": 5},
        "workspace": {"workspace": "a b"},
    }
    with Client(KEY, base_url=server.base_url) as client:
        for said, each in options.items():
            with pytest.raises(InvalidRequestError, match=f"^{said}"):
                client.call(MODEL, "hi", **each)
    assert server.connections_accepted == 0


def test_no_key() -> None:
    """Without a key there is no call, and the error says where one may come from."""
    client = Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)))

    with pytest.raises(ConfigurationError, match="DASHSCOPE_API_KEY"):
        client.call(MODEL, "hi")


def test_both_transports_are_under_test() -> None:
    """The stacks that the tests take are those that this environment has."""
    assert [transport for transport, _ in STACKS] == ["httpx", "httpx"] + ["aiohttp"] * HAS_AIOHTTP
