"""The bridge: sync calls from every thread, loop and process, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import pytest
from client_matrix import HAS_AIOHTTP, MODEL
from programs import run_program

from llama_dashscope import Client, Limits
from llama_dashscope._client.background_loop import BackgroundLoop, of_this_process
from llama_dashscope._client.sync_bridge import _BridgedCall
from llama_dashscope.testing import BlackHole, ErrorStatus, LocalDashScope, Reply

TRANSPORTS = ["httpx", "aiohttp"] if HAS_AIOHTTP else ["httpx"]
NAME = "llama-dashscope"


@pytest.fixture(params=TRANSPORTS)
def client(request: pytest.FixtureRequest, server: LocalDashScope) -> Client:
    """Make a client of the server."""
    server.reply(Reply(pieces=["a", "b", "c"]))
    return Client(server.api_key, base_url=server.base_url, transport=request.param)


def background_threads() -> int:
    """Count the threads of ours."""
    return sum(thread.name == NAME for thread in threading.enumerate())


def test_many_threads(client: Client, server: LocalDashScope) -> None:
    """Calls from many threads share one background thread and its pool."""

    def ask(_: int) -> str:
        with client.stream(MODEL, "hi") as stream:
            return stream.read().text + client.call(MODEL, "hi").text

    with client, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(100)))

    assert answers == ["abcabc"] * 100
    assert background_threads() == 1
    assert server.connections_accepted <= 20


@pytest.mark.anyio
async def test_inside_a_running_loop(client: Client) -> None:
    """A sync call inside a coroutine blocks it, as sync calls do, and works."""
    assert client.call(MODEL, "hi").text == "abc"
    with client.stream(MODEL, "hi") as stream:
        assert [chunk.delta for chunk in stream] == ["a", "b", "c", ""]
    client.close()


def test_the_callers_context(client: Client, server: LocalDashScope) -> None:
    """What a caller has in its context variables, a call has too: log filters read them there."""
    name = contextvars.ContextVar("name", default="nobody")
    seen: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            seen.append(name.get())

    logger, notes = logging.getLogger("llama_dashscope"), Notes()
    logger.addHandler(notes)
    logger.setLevel(logging.DEBUG)
    try:
        name.set("somebody")
        client.call(MODEL, "hi")
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(notes)
        client.close()
    assert set(seen) == {"somebody"}
    assert len(server.requests) == 1


def test_ctrl_c_on_the_doorstep() -> None:
    """An interrupt before a call is under way ends it at once, and nothing of it runs."""
    background, ran = BackgroundLoop(), list[int]()
    loop = background.loop()
    assert loop is not None
    real: asyncio.AbstractEventLoop = loop

    class Door:
        orders = 0

        def call_soon_threadsafe(
            self, order: Callable[[], object], *, context: contextvars.Context | None = None
        ) -> object:
            del context
            self.orders += 1
            if self.orders == 1:
                raise KeyboardInterrupt
            return real.call_soon_threadsafe(order)

        def is_closed(self) -> bool:
            return real.is_closed()

    async def function() -> None:
        ran.append(1)

    passage = _BridgedCall(function)
    with pytest.raises(KeyboardInterrupt):
        passage.through(cast("asyncio.AbstractEventLoop", Door()))
    assert _BridgedCall(partial(asyncio.sleep, 0, "next")).through(real) == "next"
    assert ran == []
    background.stop()


def test_without_sniffio(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that tells event loops apart is there only where trio is."""
    monkeypatch.delitem(sys.modules, "sniffio", raising=False)
    assert client.call(MODEL, "hi").text == "abc"
    client.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_worker_thread_of_an_application(backend: str, server: LocalDashScope) -> None:
    """There a call runs in the application's own loop, over the pool that its async calls use."""
    before = background_threads()

    async def main() -> None:
        client = Client(server.api_key, base_url=server.base_url)
        await client.acall(MODEL, "hi")
        await anyio.to_thread.run_sync(client.call, MODEL, "hi")
        async with client:
            await anyio.to_thread.run_sync(client.call, MODEL, "hi")

    anyio.run(main, backend=backend)
    assert server.connections_accepted == 1
    assert background_threads() == before


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_an_application(backend: str, server: LocalDashScope) -> None:
    """Where the host task of a worker thread is cancelled, so is its call."""
    server.fault(BlackHole())

    async def call(client: Client) -> None:
        await anyio.to_thread.run_sync(client.call, MODEL, "hi")

    async def main() -> None:
        client = Client(server.api_key, base_url=server.base_url, limits=Limits(max_connections=1))
        async with client:
            async with anyio.create_task_group() as group:
                group.start_soon(call, client)
                await server.await_for(lambda server: server.running == 1)
                group.cancel_scope.cancel()
            await server.await_for(lambda server: server.open_connections == 0)
            assert await client.acall(MODEL, "hi")

    anyio.run(main, backend=backend)


def test_loop_after_loop(client: Client, server: LocalDashScope) -> None:
    """One client serves several runs of the event loop, sync calls between them included."""

    async def main() -> str:
        async with client.astream(MODEL, "hi") as stream:
            return (await stream.aread()).text + (await client.acall(MODEL, "hi")).text

    answers = [asyncio.run(main()) for _ in range(3)]
    answers += [client.call(MODEL, "hi").text]
    answers += [asyncio.run(main()) for _ in range(3)]

    assert answers == ["abcabc"] * 3 + ["abc"] + ["abcabc"] * 3
    client.close()
    server.wait_for(lambda server: server.open_connections == 0)


def test_loops_in_threads(client: Client, server: LocalDashScope) -> None:
    """Each thread may run a loop of its own over the same client."""

    def run(_: int) -> str:
        return asyncio.run(main())

    async def main() -> str:
        return (await client.acall(MODEL, "hi")).text

    with client, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, range(20))) == ["abc"] * 20
    server.wait_for(lambda server: server.open_connections == 0)


def test_closing_from_outside(server: LocalDashScope) -> None:
    """`close` from another thread ends what runs in a loop, and in the background."""
    server.fault(BlackHole(), times=2)
    client = Client(server.api_key, base_url=server.base_url)

    async def main() -> None:
        await client.acall(MODEL, "hi")

    def call() -> None:
        with pytest.raises(Exception, match="was closed"):
            client.call(MODEL, "hi")

    def run() -> None:
        with pytest.raises(Exception, match="was closed"):
            asyncio.run(main())

    threads = [threading.Thread(target=target) for target in (call, run)]
    for thread in threads:
        thread.start()
    server.wait_for(lambda server: server.running == 2)
    client.close()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closing_in_a_loop_what_another_has_open(backend: str, server: LocalDashScope) -> None:
    """`aclose` closes the connections of sync calls too."""
    client = Client(server.api_key, base_url=server.base_url)
    client.call(MODEL, "hi")
    assert server.open_connections == 1

    anyio.run(client.aclose, backend=backend)

    server.wait_for(lambda server: server.open_connections == 0)


def test_a_client_that_is_never_used(server: LocalDashScope) -> None:
    """Making and closing a client starts no thread."""
    before = threading.active_count()
    with Client(server.api_key, base_url=server.base_url):
        pass
    Client(server.api_key, base_url=server.base_url).close()

    assert threading.active_count() == before
    assert server.connections_accepted == 0


EXITS = {
    "a call": "client.call(MODEL, 'hi')",
    "an open stream": """
stream = client.stream(MODEL, 'hi')
next(stream)
warnings.simplefilter("ignore", ResourceWarning)  # the one about the stream itself is right
""",
    "a run of asyncio's": "asyncio.run(client.acall(MODEL, 'hi'))",
    "calls in threads": """
client.call(MODEL, 'hi')  # or the background thread may be wanted when none can start any more
threads = [threading.Thread(target=client.call, args=(MODEL, 'hi')) for _ in range(5)]
[thread.start() for thread in threads]
""",
    "a run of trio's": "import trio; trio.run(client.acall, MODEL, 'hi')",
}
EVERYWHERE = ["a call", "an open stream", "a run of asyncio's"]
PROGRAM = """
import asyncio, sys, threading, warnings
from llama_dashscope import Client

MODEL = "llama3.3-70b-instruct"
transport, base_url = sys.argv[1:]
client = Client("sk-local", base_url=base_url, transport=transport)
"""


@pytest.mark.parametrize(
    ("transport", "what", "host"),
    [
        *((transport, what, "127.0.0.1") for transport in TRANSPORTS for what in EVERYWHERE),
        *((transport, "a call", "localhost") for transport in TRANSPORTS),  # name look-up: threads
        ("httpx", "calls in threads", "127.0.0.1"),
        ("httpx", "a run of trio's", "127.0.0.1"),
    ],
)
def test_the_interpreter_ends_quietly(
    server: LocalDashScope, transport: str, what: str, host: str
) -> None:
    """Without `close` the program ends at once, and nothing is said about it."""
    base_url = server.base_url.replace("127.0.0.1", host)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + EXITS[what], transport, base_url],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    server.wait_for(lambda server: server.open_connections == 0)


DAEMON = """
threading.Thread(target=client.call, args=(MODEL, 'hi'), daemon=True).start()
sys.stdin.read(1)
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_interpreter_does_not_wait(server: LocalDashScope, transport: str) -> None:
    """A daemon thread's call that nobody will answer doesn't hold the program up."""
    server.fault(BlackHole())
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + DAEMON, transport, server.base_url],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as program:
        server.wait_for(lambda server: server.running == 1, timeout=20)
        assert program.stdin is not None
        program.stdin.write(b"x")
        program.stdin.close()

        assert program.wait(20) == 0


FORK = """
import os
client.call(MODEL, "hi")
asyncio.run(client.acall(MODEL, "hi"))
children = []
for _ in range(5):
    pid = os.fork()
    if not pid:
        answers = [client.call(MODEL, "hi").text for _ in range(5)]
        answers.append(asyncio.run(client.acall(MODEL, "hi")).text)
        sys.stdout.flush()
        sys.exit(0 if answers == ["abc"] * 6 else 1)
    children.append(pid)
answers = [client.call(MODEL, "hi").text for _ in range(20)]
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
print(answers == ["abc"] * 20, codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_forks(server: LocalDashScope, transport: str) -> None:
    """A forked process finds its client working, and so does its parent."""
    server.reply("abc")
    ended = run_program(PROGRAM + FORK, server, transport)

    assert ended == (0, "True [0, 0, 0, 0, 0]\n", "")


BUDGETS = """
import os
from llama_dashscope import DashScopeError, Retry

retry = Retry(times=1, base=0, budget=1)
client = Client("sk-local", base_url=base_url, transport=transport, retry=retry)

def attempts():
    try:
        client.call(MODEL, "hi")
    except DashScopeError as error:
        return error.attempts

print(attempts(), attempts(), flush=True)
if os.fork():
    os.wait()
else:
    print(attempts(), attempts(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks_have_their_own_retry_budgets(server: LocalDashScope) -> None:
    """What the parent has spent doesn't count in a forked process."""
    server.fault(ErrorStatus(503, "ServiceUnavailable", "busy"), times=None)

    ended = run_program(PROGRAM + BUDGETS, server)

    assert ended == (0, "2 1\n2 1\n", "")


FAMILIES = """
import multiprocessing

def ask(client):
    return client.call(MODEL, "hi").text

if __name__ == "__main__":
    client.call(MODEL, "hi")
    with multiprocessing.get_context(sys.argv[3]).Pool(2) as pool:
        print(pool.map(ask, [client] * 6))
"""


@pytest.mark.parametrize(
    "method",
    [
        "spawn",
        pytest.param(
            "fork",
            marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
        ),
    ],
)
def test_multiprocessing(server: LocalDashScope, tmp_path: Path, method: str) -> None:
    """A client goes to other processes by fork, and by pickle."""
    server.reply("abc")
    program = tmp_path / "families.py"
    program.write_text(
        PROGRAM.replace("sys.argv[1:]", "sys.argv[1:3]") + FAMILIES, encoding="utf-8"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", program, "auto", server.base_url, method],
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )

    assert (ended.stdout, ended.stderr) == (f"{['abc'] * 6}\n", "")


def test_a_system_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no fork the background starts all the same."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    background = of_this_process()

    assert background.loop() is background.loop()
    background.stop()  # as the interpreter does at its end
    background.stop()  # once is enough
