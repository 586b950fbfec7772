"""The event loop of sync calls: while programs start, end, fork, are interrupted or run out."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from client_matrix import HAS_AIOHTTP, MODEL
from programs import run_program

from llama_dashscope import APIConnectionError, Client, ClientClosedError, DashScopeError
from llama_dashscope._client.background_loop import NO_THREAD, BackgroundLoop, SyncEventLoop
from llama_dashscope._client.sync_bridge import run_sync
from llama_dashscope.testing import LocalDashScope, RateLimited

TRANSPORTS = ["httpx", "aiohttp"] if HAS_AIOHTTP else ["httpx"]
HOSTS = ["127.0.0.1", "localhost"]  # for a name, threads look it up

PROGRAM = """
import atexit, os, sys, threading, time
transport, base_url = sys.argv[1:]
atexit.register(lambda: at_last())  # before the import: this runs when everything else has ended
at_last = int
from llama_dashscope import Client

MODEL = "llama3.3-70b-instruct"
client = Client("sk-local", base_url=base_url, transport=transport, retry=0)

def ask():
    with client.stream(MODEL, "hi") as stream:
        streamed = "".join(chunk.delta for chunk in stream)
    os.write(1, f"{client.call(MODEL, 'hi').text} {streamed}\\n".encode())
"""


LATE = {
    "a thread that goes on": """
def work():
    threading.main_thread().join()
    ask()
threading.Thread(target=work).start()
""",
    "a thread that goes on, after a call": """
def work():
    threading.main_thread().join()
    ask()
ask()
threading.Thread(target=work).start()
""",
    "an exit hook": "atexit.register(ask)",
    "an exit hook, after a call": "ask(); atexit.register(ask)",
    "an exit hook that ours doesn't wait for": "at_last = ask",
    "an exit hook that ours doesn't wait for, after a call": "ask(); at_last = ask",
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", LATE)
def test_calls_at_the_end_of_a_program(
    server: LocalDashScope, what: str, transport: str, host: str
) -> None:
    """Threads that outlive the main thread and exit hooks get their answers."""
    server.reply("fine")
    named = f"sys.argv[1:]\nbase_url = base_url.replace('127.0.0.1', '{host}')"
    program = PROGRAM.replace("sys.argv[1:]", named) + LATE[what]

    answers = "fine fine\n" * (2 if "after a call" in what else 1)
    assert run_program(program, server, transport) == (0, answers, "")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_system_without_threads(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """Where no thread can start, calls and streams run in the caller's, over one connection."""
    server.reply("fine")
    own = BackgroundLoop()
    use(own, monkeypatch)
    monkeypatch.setattr(threading.Thread, "start", no_threads)
    base_url = server.base_url.replace("127.0.0.1", "localhost")
    client = Client(server.api_key, base_url=base_url, transport=transport)

    assert client.call(MODEL, "hi").text == "fine"
    with client.stream(MODEL, "hi") as stream:
        assert stream.read().text == "fine"
    assert server.connections_accepted == 1
    with pytest.raises(DashScopeError, match=f"^{NO_THREAD}$"):
        asyncio.run(in_a_loop(lambda: client.call(MODEL, "hi")))
    own.stop()
    server.wait_for(lambda server: server.open_connections == 0)


def use(loop: BackgroundLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sync calls go through a loop of the test's own."""
    monkeypatch.setattr("llama_dashscope._client.sync_bridge.background", loop)


def no_threads(thread: threading.Thread) -> None:
    """Fail as a system does that has no more threads."""
    del thread
    raise RuntimeError("can't start new thread")


async def in_a_loop(function: Callable[[], object]) -> None:
    """Do something in a running event loop."""
    function()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_code_of_a_caller_that_ends_the_program(error: BaseException) -> None:
    """Its caller gets the exception; the thread goes on for the others."""

    async def ends() -> None:
        raise error

    async def waits() -> str:
        await asyncio.sleep(0.05)
        return "waited"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run_sync, waits)
        with pytest.raises(type(error)):
            run_sync(ends)

        assert waiting.result(timeout=20) == "waited"
    assert run_sync(waits) == "waited"


def test_an_interrupt_in_the_callers_thread() -> None:
    """Ctrl-C ends a call there too, and what it held is let go."""
    own, ended = BackgroundLoop(), list[str]()

    async def stuck() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("stuck")

    with pytest.raises(KeyboardInterrupt):
        own.run_here(stuck)
    assert ended == ["stuck"]
    assert own.run_here(answer) == "fine"
    own.stop()


async def answer() -> str:
    """Answer at once."""
    await asyncio.sleep(0)
    return "fine"


def test_a_call_of_a_daemon_thread_when_the_interpreter_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of the background thread ends the call, with an error that says so."""
    own, under_way = BackgroundLoop(), threading.Event()
    use(own, monkeypatch)

    async def endless() -> None:
        under_way.set()
        await asyncio.sleep(60)

    def call() -> None:
        with pytest.raises(ClientClosedError):
            run_sync(endless)

    with ThreadPoolExecutor(1) as threads:
        caller = threads.submit(call)
        assert under_way.wait(30)
        own.stop()
        caller.result(30)


def test_a_call_when_the_loop_has_just_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding the loop and using it, the interpreter may close it."""
    own, over = BackgroundLoop(), SyncEventLoop()
    over.close()
    monkeypatch.setattr(own, "loop", lambda: over)
    use(own, monkeypatch)

    with pytest.raises(ClientClosedError):
        run_sync(answer)


def test_an_interrupt_while_the_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C just then reaches the caller, and the next call starts anew."""
    own, start = BackgroundLoop(), threading.Thread.start
    started: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            own.loop()
    started[0].join(10)
    assert not started[0].is_alive()
    assert own.loop() is own.loop()
    own.stop()


def test_a_signal_handler_that_calls_while_the_thread_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets its answer, and one thread is left."""
    own, start = BackgroundLoop(), threading.Thread.start
    loops: list[object] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if not loops:
            loops.append(None)
            loops.append(own.loop())  # as a signal handler does

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        loops.append(own.loop())
    assert loops[1] is loops[2]
    own.stop()


INTERRUPTED = """
import signal

def press():
    while not any(thread.name == "llama-dashscope" for thread in threading.enumerate()):
        pass
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    ask()
except KeyboardInterrupt:
    pass
while True:
    try:
        ask()
        break
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.parametrize("attempt", range(5))
def test_ctrl_c_in_the_first_call(server: LocalDashScope, attempt: int) -> None:
    """Whenever it comes, the program goes on, and ends."""
    server.reply("fine")
    code, out, err = run_program(PROGRAM + INTERRUPTED, server)

    assert (code, err) == (0, "")
    assert out.endswith("fine fine\n")


HANDLER = """
import signal
signal.signal(signal.SIGALRM, lambda *_: ask())
signal.setitimer(signal.ITIMER_REAL, {delay}, 0.05)
for _ in range(20):
    ask()
signal.setitimer(signal.ITIMER_REAL, 0)
client.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no such signal")
@pytest.mark.parametrize("delay", [0.001, 0.2])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_signal_handler_that_calls(server: LocalDashScope, transport: str, delay: float) -> None:
    """Whatever it interrupts, the first call too, both get their answers."""
    server.reply("fine")
    code, out, err = run_program(PROGRAM + HANDLER.format(delay=delay), server, transport)

    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "fine fine"
    assert set(out.split()) == {"fine"}


def test_no_free_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call is told so by an error of ours, and a later one works."""
    said = r"^no event loop can be opened for sync calls: OSError: .*Too many open files"
    own = BackgroundLoop()
    use(own, monkeypatch)
    client = Client("sk-x", base_url="http://127.0.0.1:9/api/v1", retry=0)

    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", none_left)
        with pytest.raises(APIConnectionError, match=said):
            client.call(MODEL, "hi")
    with pytest.raises(APIConnectionError, match="can't connect"):
        client.call(MODEL, "hi")
    own.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_frozen_clock(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """A test that has stopped `time.monotonic` gets its answer, tries and pauses included."""
    server.reply("fine")
    server.fault(RateLimited(), times=2)
    use(own := BackgroundLoop(), monkeypatch)
    client = Client(server.api_key, base_url=server.base_url, transport=transport)
    now = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        assert client.call(MODEL, "hi").text == "fine"
    own.stop()


LOOKUP = """
import socket
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
try:
    client.call(MODEL, "hi", timeout=0.3)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_name_that_is_looked_up_for_ever(server: LocalDashScope, transport: str) -> None:
    """It doesn't hold up the end of the program."""
    nowhere = "base_url='http://nowhere.invalid/api/v1'"
    program = PROGRAM.replace("base_url=base_url", nowhere)
    program = "import warnings; warnings.simplefilter('ignore')" + program + LOOKUP
    started = time.monotonic()

    assert run_program(program, server, transport) == (0, "APITimeoutError\n", "")
    assert time.monotonic() - started < 30


def test_who_is_who_among_threads(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of sync calls have names by which a debugger tells them from an application's."""
    server.reply("fine")
    own = BackgroundLoop()
    use(own, monkeypatch)
    with Client(server.api_key, base_url=server.base_url) as client:
        client.call(MODEL, "hi")
        names = {each.name for each in threading.enumerate()}
    own.stop()
    loop = SyncEventLoop()

    async def look_up() -> str:
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert "llama-dashscope" in names
    assert loop.run_until_complete(look_up()) == "llama-dashscope-lookup"
    loop.close()


def test_an_executor_that_fails() -> None:
    """What a look-up raises reaches the caller."""
    loop = SyncEventLoop()

    async def look_up() -> None:
        with pytest.raises(socket.gaierror):
            await loop.run_in_executor(None, fail)

    def fail() -> None:
        raise socket.gaierror("no such host")

    loop.run_until_complete(look_up())
    loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_within_an_exit_hook(server: LocalDashScope) -> None:
    """Where Python allows that, the child's calls are answered as well."""
    server.reply("fine")
    program = (
        PROGRAM
        + """
def family():
    try:
        pid = os.fork()
    except RuntimeError:  # Python 3.12 and later
        print("fine fine")
        return
    if not pid:
        ask()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
ask()
atexit.register(family)
"""
    )
    assert run_program(program, server) == (0, "fine fine\n" * 2, "")
