"""The life of a server, what it tells, and how to wait for it."""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

import llama_dashscope.testing
from llama_dashscope import ConfigurationError
from llama_dashscope.testing import BlackHole, Exchange, LocalDashScope, RateLimited, Stall
from llama_dashscope.testing._http_server import server_state

if TYPE_CHECKING:
    from .conftest import Call

PATH = "/api/v1/services/aigc/text-generation/generation"
BODY = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}
KEY = {"authorization": "Bearer sk-local"}


def test_every_public_name_is_there() -> None:
    """`__all__` is sorted and true."""
    names = llama_dashscope.testing.__all__

    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(llama_dashscope.testing, name) for name in names)


def test_address(server: LocalDashScope) -> None:
    """It says where it is in every form that a client may want."""
    assert server.host == "127.0.0.1"
    assert server.origin == f"http://127.0.0.1:{server.port}"
    assert server.base_url == f"{server.origin}/api/v1"
    assert server.environ == {
        "DASHSCOPE_API_KEY": "sk-local",
        "DASHSCOPE_HTTP_BASE_URL": server.base_url,
    }


def test_ipv6() -> None:
    """It listens on IPv6 loopback, too."""
    with LocalDashScope(host="::1") as server:
        assert httpx.post(server.origin + PATH, json=BODY, headers=KEY).status_code == 200
        assert server.base_url.startswith("http://[::1]:")


def test_a_chosen_port() -> None:
    """It takes the port it is given, also right after it was used."""
    with LocalDashScope() as first:
        port = first.port
        httpx.post(first.origin + PATH, json=BODY, headers=KEY)

    with LocalDashScope(port=port) as second:
        assert second.port == port


def test_a_port_that_is_taken(server: LocalDashScope) -> None:
    """A port in use is an error where the server is started."""
    with pytest.raises(OSError, match="is taken") as raised, LocalDashScope(port=server.port):
        pass

    assert raised.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EACCES, "no"), "port 80 needs special rights; use one above 1023"),
        (OSError(errno.EADDRNOTAVAIL, "no"), "box is not an address of this machine"),
        (socket.gaierror(-2, "no"), "there is no host 'box'"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_why_it_cannot_listen(monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str) -> None:
    """Each reason has its words; the error keeps its class and number."""

    class Refusing(socket.socket):
        def bind(self, _address: object, /) -> None:
            raise error

    monkeypatch.setattr(socket, "socket", Refusing)

    with pytest.raises(type(error), match=reason) as raised:
        LocalDashScope(host="box", port=80).start()

    assert raised.value.errno == error.errno


def test_what_is_no_port() -> None:
    """A port that can't be one is refused before a socket is opened."""
    for port in (-1, 65536):
        with pytest.raises(ConfigurationError, match="port must be from 0 to 65535"):
            LocalDashScope(port=port)


def test_start_and_close() -> None:
    """It can be started and closed by hand, and again."""
    server = LocalDashScope()
    for _ in range(2):
        server.start()
        assert httpx.post(server.origin + PATH, json=BODY, headers=KEY).status_code == 200
        server.close()
    server.close()


def test_starting_twice(server: LocalDashScope) -> None:
    """Starting a server that runs is an error."""
    with pytest.raises(RuntimeError, match="is already running"):
        server.start()


def test_a_server_is_scripted_before_it_runs() -> None:
    """Scripts don't wait for the server, and neither does a reset."""
    server = LocalDashScope()
    server.reply("forgotten")
    server.reset()
    server.reply("yes")

    with server:
        response = httpx.post(server.origin + PATH, json=BODY, headers=KEY)

    assert response.json()["output"]["text"] == "yes"


def test_asking_a_server_that_does_not_run() -> None:
    """Its address is unknown before it runs, and the error says what to do."""
    with pytest.raises(RuntimeError, match="use it in a with block"):
        _ = LocalDashScope().base_url


def test_closing_leaves_nothing_behind() -> None:
    """Thread, sockets and loop are gone, also with a request in the middle."""
    before = threading.active_count()
    with LocalDashScope() as server, httpx.Client(headers=KEY) as client:
        server.fault(BlackHole())
        with pytest.raises(httpx.ReadTimeout):
            client.post(server.origin + PATH, json=BODY, timeout=0.05)
        sock = socket.create_connection((server.host, server.port))
        sock.sendall(b"POST / HT")
        server.wait_for(lambda server: server.open_connections == 1)

    assert sock.recv(1) == b""
    sock.close()
    assert threading.active_count() == before
    gc.collect()  # an unclosed socket or loop would warn, and warnings are errors


def test_closing_cuts_what_runs(http: httpx.Client, server: LocalDashScope) -> None:
    """An answer that the end of the server broke off is noted as cut."""
    server.fault(Stall(after=1))
    with http.stream("POST", PATH, json=BODY, headers={"x-dashscope-sse": "enable"}) as response:
        chunks = response.iter_raw()
        next(chunks)
        server.close()

    assert server.exchanges[0].outcome == "cut"


@pytest.mark.anyio
async def test_async_with() -> None:
    """`async with` works on either event loop, and so do the async waits."""
    async with LocalDashScope() as server, httpx.AsyncClient(headers=KEY) as client:
        server.fault(BlackHole())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(client.post, server.origin + PATH, json=BODY))
            await server.await_for(lambda server: server.running == 1)
            tasks.cancel_scope.cancel()
        await server.await_idle()
        assert server.exchanges[0].outcome == "client left"
        response = await client.post(server.origin + PATH, json=BODY)
        await server.await_for(lambda server: len(server.requests) == 2)

    assert response.status_code == 200


@pytest.mark.anyio
async def test_an_async_wait_can_be_cancelled() -> None:
    """Waiting gives way to a time limit of the caller."""
    async with LocalDashScope() as server:
        with anyio.move_on_after(0.05) as scope:
            await server.await_for(lambda server: server.running > 0, timeout=0.5)

    assert scope.cancelled_caught


def test_a_wait_that_takes_too_long(server: LocalDashScope, call: Call) -> None:
    """The error tells what the server saw."""
    call("介绍一下自己")

    with pytest.raises(TimeoutError) as info:
        server.wait_for(lambda server: server.open_connections == 7, timeout=0.01)

    assert (
        "condition not met within 0.01 s:\n1 requests, 1 connections accepted, 1 open\n#1 "
        in str(info.value)
    )


def test_a_request_is_told_in_full(server: LocalDashScope, call: Call) -> None:
    """Everything that was sent can be read off."""
    call("hello", sse=True, incremental_output=True, result_format="message", headers={"X-A": "b"})

    (request,) = server.requests
    assert request.number == request.connection == 1
    assert (request.method, request.path) == ("POST", PATH)
    assert request.headers["x-a"] == "b"
    assert request.api_key == "sk-local"
    assert request.model == "llama3.3-70b-instruct"
    assert request.messages == [{"role": "user", "content": "hello"}]
    assert request.prompt is None
    assert request.text == "hello"
    assert request.parameters == {"incremental_output": True, "result_format": "message"}
    assert request.json["input"] == request.input
    assert request.streaming
    assert request.incremental
    assert request.result_format == "message"


def test_a_request_that_makes_no_sense_is_told_too(server: LocalDashScope) -> None:
    """What is missing or of the wrong kind reads as nothing."""
    httpx.post(server.origin + PATH, content=b"[1]", headers=KEY)
    httpx.post(server.origin + PATH, content=b"x")

    first, second = server.requests
    assert (first.json, second.json) == ([1], None)
    assert (second.api_key, second.model, second.prompt, second.text) == (None, None, None, "")
    assert (second.messages, second.parameters, second.input) == ([], {}, {})
    assert not second.streaming
    assert second.result_format == "text"


def test_outcomes(server: LocalDashScope, call: Call) -> None:
    """Each exchange tells its status, fault and end."""
    server.fault(RateLimited())
    call()
    call(sse=True)
    server.wait_idle()

    refused, answered = server.exchanges
    assert isinstance(refused, Exchange)
    assert (refused.status, refused.fault, refused.outcome) == (429, RateLimited(), "failed")
    assert (answered.status, answered.fault, answered.outcome) == (200, None, "answered")
    assert answered.pieces_sent > 20


def test_the_report(server: LocalDashScope, call: Call) -> None:
    """It has a line for each request: what it was, how it went."""
    server.fault(RateLimited(retry_after=1))
    call()
    call(sse=True)
    httpx.get(server.origin + "/nowhere")
    server.wait_idle()

    lines = server.report().split("\n")

    assert lines[0].startswith("3 requests, 2 connections accepted, ")
    assert lines[1].startswith("#1 llama3.3-70b-instruct: call failed, fault RateLimited(")
    assert "(retry_after=1), status 429, 1 piece, " in lines[1]
    assert lines[2].startswith("#2 llama3.3-70b-instruct: stream answered, status 200, ")
    assert lines[3].startswith("#3 GET /nowhere: call failed, status 404, 0 pieces, ")


def test_a_name_moves_no_cursor(server: LocalDashScope) -> None:
    """What a client wrote, or a script raised, stays on its line in a log, short and escaped."""

    def broken(_: object) -> str:
        raise KeyError("y" * 1000)

    model = "a\x1b[2J\r\n#9 forged\u202e\ud800"
    body = f'{{"model": {json.dumps(model)}, "input": {{"prompt": "hi"}}}}'
    httpx.post(server.origin + PATH, content=body, headers=KEY)
    server.reply(broken)
    httpx.post(server.origin + PATH, json=BODY, headers=KEY)
    server.wait_idle()

    _, refused, failed = server.report().split("\n")

    assert refused.startswith(r"#1 a\x1b[2J\r\n#9 forged\u202e\ud800: call failed, status 404")
    assert failed.endswith(f", KeyError('{'y' * 490}...")


def test_the_report_of_what_runs(server: LocalDashScope) -> None:
    """A request in the middle is told as such."""
    server.fault(BlackHole())
    with socket.create_connection((server.host, server.port)) as sock:
        sock.sendall(f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\n".encode())
        sock.sendall(b"authorization: Bearer sk-local\r\ncontent-length: 57\r\n\r\n")
        sock.sendall(b'{"model":"llama3.3-70b-instruct","input":{"prompt":"hi"}}')
        server.wait_for(lambda server: server.running == 1)

        assert "call running, fault BlackHole(), status none, 0 pieces" in server.report()


def test_the_log_is_bounded() -> None:
    """It keeps the last exchanges only, but counts them all."""
    with LocalDashScope(keep=2) as server:
        for _ in range(3):
            httpx.post(server.origin + PATH, json=BODY, headers=KEY)

        assert [request.number for request in server.requests] == [2, 3]
        assert server.report().startswith("3 requests, ")


def test_the_log_holds_few_bytes(
    server: LocalDashScope, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large bodies are forgotten before their number says so; the last one never is."""
    monkeypatch.setattr(server_state, "_MAX_KEPT_BYTES", 25_000)
    sizes = [10_000, 10_000, 10_000, 30_000, 1_000, 1_000]
    kept: list[list[int]] = []
    for size in sizes:
        http.post(PATH, content=b" " * size)
        kept.append([len(request.body) for request in server.requests])

    assert kept == [
        *([10_000], [10_000] * 2, [10_000] * 2),
        *([30_000], [1_000], [1_000] * 2),
    ]


def test_the_log_keeps_no_parsed_body(server: LocalDashScope, http: httpx.Client) -> None:
    """A parsed body can take 20 times its bytes, so it goes when the answer ends."""
    http.post(PATH, json=BODY)
    server.wait_for(lambda server: "json" not in vars(server.requests[0]))

    http.get("/status.json")
    (request,) = server.requests

    assert "json" not in vars(request)
    assert (request.json, request.text) == (BODY, "hi")


def test_waiting_counts_what_is_on_its_way(server: LocalDashScope) -> None:
    """What a client sent before the wait is seen, though nobody has answered it yet."""
    for number in range(1, 20):
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            server.wait_idle()
            assert len(server.requests) == number


def test_nothing_happens_at_import() -> None:
    """Importing the package starts no thread, and a server starts in another process as well."""
    program = (
        "import threading; import llama_dashscope.testing as t\n"
        "assert threading.active_count() == 1\n"
        "with t.LocalDashScope() as s: print(s.base_url)"
    )
    folders = [os.environ["PYTHONPATH"], *(str(Path(each).resolve()) for each in sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, env=environment
    )

    assert ended.stdout.startswith("http://127.0.0.1:")


def test_telling_of_each_exchange() -> None:
    """`on_end` hears of every exchange that is over; if it raises, the server goes on."""
    heard: list[Exchange] = []

    def on_end(exchange: Exchange) -> None:
        heard.append(exchange)
        raise KeyError("mine")

    with LocalDashScope(on_end=on_end) as server:
        httpx.post(server.origin + PATH, json=BODY, headers=KEY)
        httpx.post(server.origin + PATH, json=BODY, headers=KEY)
        server.wait_for(lambda _: len(heard) == 2)

        assert heard == server.exchanges
        server.wait_for(lambda _: isinstance(heard[1].error, KeyError))
