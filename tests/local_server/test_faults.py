"""Every fault does what its name says, to a stream and to a call."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from llama_dashscope.testing import (
    DEFAULT_MIX,
    BlackHole,
    CloseIdle,
    CutStream,
    Drip,
    Drop,
    ErrorFrame,
    ErrorStatus,
    Fault,
    Garbled,
    GatewayPage,
    Heartbeats,
    LocalDashScope,
    Mix,
    Moderated,
    QuotaSpent,
    RateLimited,
    Reply,
    SlowStart,
    StaleConnection,
    Stall,
    Unavailable,
)

if TYPE_CHECKING:
    from .conftest import Call

FOUR = Reply(pieces=["a", "b", "c"])  # and the frame that says stop
PATH = "/api/v1/services/aigc/text-generation/generation"


@pytest.fixture(autouse=True)
def four_frames(server: LocalDashScope) -> None:
    """Let every stream have four frames."""
    server.reply(FOUR)


class Received:
    """What came of a stream before it ended, and how it ended."""

    def __init__(self, http: httpx.Client, timeout: float = 10.0) -> None:
        body = {
            "model": "llama3.3-70b-instruct",
            "input": {"prompt": "hi"},
            "parameters": {"incremental_output": True},
        }
        headers = {"x-dashscope-sse": "enable"}
        self.raw = b""
        self.error: Exception | None = None
        with http.stream("POST", PATH, json=body, headers=headers, timeout=timeout) as response:
            try:
                for chunk in response.iter_raw():
                    self.raw += chunk
            except httpx.TransportError as error:
                self.error = error

    @property
    def text(self) -> str:
        """The text of all good frames."""
        data = [line[5:] for line in self.raw.decode().split("\n") if line.startswith("data:")]
        return "".join(json.loads(each)["output"]["text"] for each in data)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (ErrorStatus(), 500, "InternalError"),
        (ErrorStatus(400, "Arrearage", "Pay."), 400, "Arrearage"),
        (RateLimited(), 429, "Throttling.RateQuota"),
        (QuotaSpent(), 429, "Throttling.AllocationQuota"),
        (Unavailable(), 503, "ModelUnavailable"),
        (Moderated(), 400, "DataInspectionFailed"),
    ],
)
def test_refusals(
    server: LocalDashScope, call: Call, fault: ErrorStatus, status: int, code: str
) -> None:
    """Status, code and message are as the service's, without Retry-After, as on the service."""
    server.fault(fault)

    response = call()

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["message"] == fault.message
    assert "retry-after" not in response.headers
    assert server.exchanges[0].fault == fault


def test_retry_after(server: LocalDashScope, call: Call) -> None:
    """Retry-After is sent where it is asked for, as given."""
    server.fault(RateLimited(retry_after=1.5))
    server.fault(GatewayPage(503, retry_after="soon"))

    assert call().headers["retry-after"] == "1.5"
    assert call().headers["retry-after"] == "soon"


def test_a_fault_happens_so_many_times(server: LocalDashScope, call: Call) -> None:
    """It happens to so many calls, and then the service has recovered."""
    server.fault(RateLimited(), times=2)

    assert [call().status_code for _ in range(4)] == [429, 429, 200, 200]


def test_faults_happen_in_their_order(server: LocalDashScope, call: Call) -> None:
    """Several faults are used up one after the other; None times is for ever."""
    server.fault(RateLimited())
    server.fault(ErrorStatus(), times=None)

    assert [call().status_code for _ in range(4)] == [429, 500, 500, 500]


def test_a_fault_for_some_requests(server: LocalDashScope, call: Call) -> None:
    """`when` picks the requests that it may happen to."""
    server.fault(RateLimited(), when=lambda request: request.text == "unlucky")

    assert [call(text).status_code for text in ("lucky", "unlucky", "unlucky")] == [200, 429, 200]


def test_refused_requests_use_nothing_up(server: LocalDashScope, call: Call) -> None:
    """A request that the service refuses anyway leaves faults and replies for the next."""
    server.fault(RateLimited())

    assert [call(n=9).status_code, call().status_code] == [400, 429]


def test_a_refusal_uses_no_reply_up(server: LocalDashScope, call: Call) -> None:
    """A call that is refused leaves the scripted reply for the one that gets through."""
    server.reply(["first"])
    server.fault(RateLimited())
    call()

    assert call().json()["output"]["text"] == "first"


@pytest.mark.parametrize(
    ("shape", "outer", "kind"),
    [
        ("json", 503, "application/json"),
        ("frame", 200, "text/event-stream;charset=UTF-8"),
        ("status-frame", 503, "text/event-stream;charset=UTF-8"),
        ("ok-json", 200, "application/json"),
    ],
)
def test_shapes_of_an_error(
    server: LocalDashScope,
    call: Call,
    shape: Literal["json", "frame", "status-frame", "ok-json"],
    outer: int,
    kind: str,
) -> None:
    """An error comes in each shape that was ever seen."""
    server.fault(Unavailable(shape=shape))

    response = call(sse=True)

    assert (response.status_code, response.headers["content-type"]) == (outer, kind)
    assert '"code":"ModelUnavailable"' in response.text
    if "frame" in shape:
        assert response.text.startswith("id:1\nevent:error\n:HTTP_STATUS/503\ndata:{")


def test_a_gateway_page(server: LocalDashScope, call: Call) -> None:
    """HTML instead of the service's JSON, and no request id anywhere."""
    server.fault(GatewayPage())
    server.fault(GatewayPage(413, body="<h1>no</h1>"))

    bad, large = call(), call()

    assert (bad.status_code, bad.headers["content-type"]) == (502, "text/html")
    assert "<h1>502 Bad Gateway</h1>" in bad.text
    assert "x-request-id" not in bad.headers
    assert (large.status_code, large.text) == (413, "<h1>no</h1>")


@pytest.mark.parametrize(
    ("how", "error"), [("rst", httpx.ReadError), ("fin", httpx.RemoteProtocolError)]
)
def test_drop(
    server: LocalDashScope, call: Call, how: Literal["fin", "rst"], error: type[Exception]
) -> None:
    """The connection ends without a byte of an answer."""
    server.fault(Drop(how))

    with pytest.raises(error):
        call()

    server.wait_for(lambda server: server.open_connections == 0)
    assert (server.exchanges[0].status, server.exchanges[0].outcome) == (None, "cut")


def test_black_hole(server: LocalDashScope, http: httpx.Client) -> None:
    """No byte ever comes; the exchange runs until the client leaves."""
    server.fault(BlackHole())
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}

    with pytest.raises(httpx.ReadTimeout):
        http.post(PATH, json=body, timeout=0.1)

    server.wait_idle()
    assert (server.exchanges[0].status, server.exchanges[0].outcome) == (None, "client left")


@pytest.mark.parametrize("sse", [False, True])
def test_slow_start(server: LocalDashScope, call: Call, sse: bool) -> None:
    """The answer is right, but no sooner than it says."""
    server.fault(SlowStart(0.1))
    started = time.monotonic()

    response = call(sse=sse)

    assert time.monotonic() - started >= 0.1
    assert '"stop"' in response.text


def test_cut_cleanly(server: LocalDashScope, http: httpx.Client) -> None:
    """The body ends properly after two frames, and nothing tells that it is not all."""
    server.fault(CutStream(after=2, how="clean"))

    received = Received(http)

    assert (received.text, received.error) == ("ab", None)
    server.wait_idle()
    assert (server.exchanges[0].outcome, server.exchanges[0].pieces_sent) == ("cut", 2)


@pytest.mark.parametrize(
    ("how", "error"), [("fin", httpx.RemoteProtocolError), ("rst", httpx.ReadError)]
)
def test_cut_off(
    server: LocalDashScope,
    http: httpx.Client,
    how: Literal["fin", "rst"],
    error: type[Exception],
) -> None:
    """Two frames come, then the connection is closed or reset in the middle of the body."""
    server.fault(CutStream(after=2, how=how))

    received = Received(http)

    assert received.text == "ab"
    assert isinstance(received.error, error)


@pytest.mark.parametrize("how", ["fin", "clean"])
def test_cut_a_call(server: LocalDashScope, call: Call, how: Literal["fin", "clean"]) -> None:
    """Of a body that is no stream half comes, however it is cut."""
    server.fault(CutStream(after=3, how=how))

    with pytest.raises(httpx.RemoteProtocolError, match=r"received \d\d bytes, expected"):
        call()


def test_cut_before_anything(server: LocalDashScope, call: Call) -> None:
    """After nothing, only the head comes."""
    server.fault(CutStream(after=0))

    with pytest.raises(httpx.RemoteProtocolError, match="received 0 bytes"):
        call()


def test_a_stream_that_ends_before_its_fault(server: LocalDashScope, http: httpx.Client) -> None:
    """A fault after more frames than there are doesn't happen."""
    server.fault(CutStream(after=9))

    assert Received(http).text == "abc"


def test_stall(server: LocalDashScope, http: httpx.Client) -> None:
    """After two frames nothing more comes, and the connection stays open."""
    server.fault(Stall(after=2))

    received = Received(http, timeout=0.2)

    assert received.text == "ab"
    assert isinstance(received.error, httpx.ReadTimeout)
    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def test_stall_before_the_first_frame(server: LocalDashScope, http: httpx.Client) -> None:
    """After none, the head is there all the same."""
    server.fault(Stall(after=0))

    received = Received(http, timeout=0.2)

    assert received.raw == b""
    assert isinstance(received.error, httpx.ReadTimeout)


@pytest.mark.parametrize("sse", [False, True])
def test_a_stall_that_passes(server: LocalDashScope, call: Call, sse: bool) -> None:
    """After so many seconds the rest comes."""
    server.fault(Stall(after=1, seconds=0.1))
    started = time.monotonic()

    response = call(sse=sse)

    assert time.monotonic() - started >= 0.1
    assert '"stop"' in response.text


@pytest.mark.parametrize("sse", [False, True])
def test_drip(server: LocalDashScope, call: Call, sse: bool) -> None:
    """All of the answer comes, a few bytes at a time."""
    server.fault(Drip(size=100, seconds=0.0))

    assert '"stop"' in call(sse=sse).text


def test_a_drip_is_a_drip(server: LocalDashScope) -> None:
    """The bytes come apart: with long pauses the first drop is all there is to read."""
    server.fault(Drip(size=3, seconds=60))
    body = b'{"model":"llama3.3-70b-instruct","input":{"prompt":"hi"}}'
    head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-local\r\n"
    with socket.create_connection((server.host, server.port)) as sock:
        sock.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)

        assert sock.recv(100) == b"HTT"


def test_heartbeats(server: LocalDashScope, http: httpx.Client) -> None:
    """Comments come and nothing else, so that bytes flow and the stream stands still."""
    server.fault(Heartbeats(every=0.01, after=1, seconds=0.05))

    received = Received(http)

    frames = received.raw.split(b"\n\n")
    assert frames[1:6] == [b":heartbeat"] * 5
    assert received.text == "abc"


def test_heartbeats_for_ever(server: LocalDashScope, http: httpx.Client) -> None:
    """By default they never end; the server sees the client leave."""
    server.fault(Heartbeats(every=0.01))
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}
    headers = {"x-dashscope-sse": "enable"}

    with http.stream("POST", PATH, json=body, headers=headers) as response:
        beats = response.iter_raw()
        assert {next(beats) for _ in range(5)} == {b":heartbeat\n\n"}

    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def test_heartbeats_of_a_call(server: LocalDashScope, call: Call) -> None:
    """A body that is no stream has none, so it is only late."""
    server.fault(Heartbeats(seconds=0.05))

    assert call().status_code == 200


def test_an_error_frame_after_content(server: LocalDashScope, http: httpx.Client) -> None:
    """Two good frames come, then an error with the next number, then the end."""
    server.fault(ErrorFrame(after=2, status=429, code="Throttling", message="Slow down."))

    raw = Received(http).raw.decode()

    last = raw.removesuffix("\n\n").split("\n\n")[-1]
    assert raw.count("event:result") == 2
    assert last.startswith('id:3\nevent:error\n:HTTP_STATUS/429\ndata:{"code":"Throttling",')


def test_an_error_frame_before_content(server: LocalDashScope, http: httpx.Client) -> None:
    """After none, the error is the first frame."""
    server.fault(ErrorFrame(after=0))

    assert Received(http).raw.startswith(b"id:1\nevent:error\n:HTTP_STATUS/500\n")


def test_an_error_frame_for_a_call(server: LocalDashScope, call: Call) -> None:
    """A call without a stream is refused with the same status and code."""
    server.fault(ErrorFrame(status=503, code="ModelServingError"))

    response = call()

    assert (response.status_code, response.json()["code"]) == (503, "ModelServingError")


def test_a_garbled_frame(server: LocalDashScope, http: httpx.Client) -> None:
    """One frame is no JSON; those around it are right."""
    server.fault(Garbled(after=1))

    data = [each for each in Received(http).raw.decode().split("\n") if each.startswith("data:")]

    json.loads(data[0][5:])
    with pytest.raises(json.JSONDecodeError):
        json.loads(data[1][5:])
    json.loads(data[2][5:])


def test_a_garbled_call(server: LocalDashScope, call: Call) -> None:
    """The body of a call is no JSON, though its length is right."""
    server.fault(Garbled())

    response = call()

    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_close_idle(server: LocalDashScope, call: Call) -> None:
    """The answer promises to keep the connection, and then it is closed."""
    server.fault(CloseIdle())

    response = call()

    assert "connection" not in response.headers
    server.wait_for(lambda server: server.open_connections == 0)
    assert call().status_code == 200
    assert server.connections_accepted == 2


def test_close_idle_leaves_a_busy_connection(server: LocalDashScope, call: Call) -> None:
    """A connection that is in use again when the time has come is left alone."""
    server.fault(CloseIdle(after=0.05))
    call()
    server.fault(SlowStart(0.15))

    call()

    assert server.connections_accepted == 1
    assert server.open_connections == 1


@pytest.mark.parametrize(
    ("how", "error"), [("fin", httpx.RemoteProtocolError), ("rst", httpx.ReadError)]
)
def test_a_stale_connection(
    server: LocalDashScope, call: Call, how: Literal["fin", "rst"], error: type[Exception]
) -> None:
    """The first answer is right, the next request on that connection dies, a new one works."""
    fault = StaleConnection(how)
    server.fault(fault)

    assert call().status_code == 200
    with pytest.raises(error):
        call()
    assert call().status_code == 200
    assert [each.request.connection for each in server.exchanges] == [1, 1, 2]
    assert [each.fault for each in server.exchanges] == [fault, fault, None]


def test_a_stale_connection_that_swallows(server: LocalDashScope, http: httpx.Client) -> None:
    """Or the next request is swallowed."""
    server.fault(StaleConnection("hang"))
    body: dict[str, Any] = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}

    assert http.post(PATH, json=body).status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        http.post(PATH, json=body, timeout=0.1)


def test_down(server: LocalDashScope, call: Call) -> None:
    """While it is down connections are refused; open ones were dropped; the port is the same."""
    call()
    port = server.port

    with server.down():
        server.wait_for(lambda server: server.open_connections == 0)
        with pytest.raises(httpx.ConnectError):
            call()

    assert call().status_code == 200
    assert server.port == port


def test_going_down_cuts_what_is_running(server: LocalDashScope, http: httpx.Client) -> None:
    """A stream in the middle is broken off."""
    server.fault(Stall(after=1))
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}
    headers = {"x-dashscope-sse": "enable"}

    with http.stream("POST", PATH, json=body, headers=headers) as response:
        chunks = response.iter_raw()
        next(chunks)
        with server.down(), pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            next(chunks)

    assert server.exchanges[0].outcome == "cut"


def outcomes(seed: int | None, rate: float = 0.5) -> list[Fault | None]:
    """Draw forty times."""
    mix = Mix(rate, seed=seed)
    return [mix.draw() for _ in range(40)]


def test_a_mix_draws_the_same_with_the_same_seed() -> None:
    """The seed decides which calls fail, and how."""
    assert outcomes(7) == outcomes(7)
    assert outcomes(7) != outcomes(8)


def test_the_rate_of_a_mix() -> None:
    """At 0 nothing fails, at 1 everything; in between some do, from what it was given."""
    assert outcomes(1, rate=0.0) == [None] * 40
    assert None not in outcomes(1, rate=1.0)
    assert 10 < outcomes(1).count(None) < 30
    assert {each for each in outcomes(1) if each} <= set(DEFAULT_MIX)


def test_random_faults(server: LocalDashScope, call: Call) -> None:
    """Calls of a server fail as its seeded mix draws."""
    server.random_faults(0.5, [RateLimited()], seed=3)
    mix = Mix(0.5, [RateLimited()], seed=3)

    expected = [429 if mix.draw() else 200 for _ in range(20)]

    assert [call().status_code for _ in range(20)] == expected


def test_a_queued_fault_comes_before_the_mix(server: LocalDashScope, call: Call) -> None:
    """What was asked for by name happens first."""
    server.random_faults(1.0, [RateLimited()])
    server.fault(Unavailable())

    assert [call().status_code, call().status_code] == [503, 429]


OUTCOMES: list[tuple[Fault, str, str]] = [  # of a call, of a stream
    (ErrorStatus(), "failed", "failed"),
    (ErrorStatus(shape="frame"), "failed", "failed"),
    (ErrorStatus(shape="status-frame"), "failed", "failed"),
    (ErrorStatus(shape="ok-json"), "failed", "failed"),
    (GatewayPage(200), "failed", "failed"),
    (ErrorFrame(after=0), "failed", "failed"),
    (ErrorFrame(after=2), "failed", "failed"),
    (ErrorFrame(after=9), "failed", "answered"),
    (Garbled(), "failed", "failed"),
    (Garbled(after=2), "failed", "failed"),
    (Drop("fin"), "cut", "cut"),
    (CutStream(after=2, how="clean"), "cut", "cut"),
    (CutStream(after=2, how="rst"), "cut", "cut"),
    (CutStream(after=9), "cut", "answered"),
    (Stall(after=2, seconds=0.01), "answered", "answered"),
    (SlowStart(0.01), "answered", "answered"),
    (Drip(size=100, seconds=0.0), "answered", "answered"),
    (Heartbeats(seconds=0.01), "answered", "answered"),
    (CloseIdle(), "answered", "answered"),
]


@pytest.mark.parametrize(("fault", "of_call", "of_stream"), OUTCOMES, ids=str)
def test_outcomes(
    server: LocalDashScope, http: httpx.Client, fault: Fault, of_call: str, of_stream: str
) -> None:
    """The log tells whole answers from errors, whatever their status, and from broken answers."""
    server.fault(fault, times=2)
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}

    for headers in ({}, {"x-dashscope-sse": "enable"}):
        with suppress(httpx.TransportError):
            http.post(PATH, json=body, headers=headers)
        server.wait_idle()

    assert [each.outcome for each in server.exchanges] == [of_call, of_stream]


def test_an_error_that_is_cut(server: LocalDashScope, call: Call) -> None:
    """An error inside HTTP 200 counts as one only if all of it was sent."""
    server.reply(ErrorStatus(shape="ok-json"))
    server.fault(CutStream())

    with pytest.raises(httpx.RemoteProtocolError):
        call()

    server.wait_idle()
    assert server.exchanges[0].outcome == "cut"


def test_a_client_that_leaves_after_an_error(server: LocalDashScope, http: httpx.Client) -> None:
    """The outcome is the error that it left for."""
    server.reply(Reply(pieces=["a", "b", "c"], tokens_per_second=0.1))
    server.fault(Garbled(after=0))
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}

    with http.stream("POST", PATH, json=body, headers={"x-dashscope-sse": "enable"}) as response:
        received = response.iter_raw()
        while b"{{" not in next(received):
            pass

    server.wait_idle()
    assert (server.exchanges[0].outcome, server.exchanges[0].pieces_sent) == ("failed", 1)


def test_a_fault_of_ones_own(server: LocalDashScope, call: Call) -> None:
    """A subclass of Fault that does nothing lets everything through."""

    class Harmless(Fault):
        pass

    server.fault(Harmless())

    assert call().status_code == 200


def test_a_fault_of_ones_own_that_raises(server: LocalDashScope, call: Call) -> None:
    """A fault with a bug of its own resets its connection and no other; the exception is kept."""

    class Broken(Fault):
        def spoil(self, answer: Any, request_id: str) -> Any:
            raise KeyError(request_id, answer)

    server.fault(Broken())

    with pytest.raises(httpx.ReadError):
        call()

    server.wait_idle()
    assert isinstance(server.exchanges[0].error, KeyError)
    assert call().status_code == 200
