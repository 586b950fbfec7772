"""What garbage collection finds open: in every thread, the background one included, nothing waits.

The programs collect garbage where it hurts most: a log handler runs in the thread that the sync
calls of the whole process wait for.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import threading
import time
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
import pytest
from client_matrix import HAS_AIOHTTP, MODEL
from programs import run_program

from llama_dashscope import Chunk, Client, Limits, Timeout
from llama_dashscope.testing import CutStream, Fault, LocalDashScope, Reply, Stall

T = TypeVar("T")

LEFT_OPEN = "a stream was left open: use 'async with client.astream(...)' or close it"
TRANSPORTS = ["httpx", "aiohttp"] if HAS_AIOHTTP else ["httpx"]

PROGRAM = """
import gc, logging, sys, threading
from llama_dashscope import Client, Generation

MODEL = "llama3.3-70b-instruct"
transport, base_url = sys.argv[1:]
client = Client("sk-local", base_url=base_url, transport=transport)
gc.disable()

class Collector(logging.Handler):
    def emit(self, record):
        gc.collect()
        collected_in.add(threading.current_thread().name)

collected_in = set()
logging.getLogger("llama_dashscope").addHandler(Collector())
logging.getLogger("llama_dashscope").setLevel(logging.DEBUG)

class Page:
    def __init__(self):
        self.me = self

{body}

for _ in range(3):
    forget()
    assert client.call(MODEL, "hi").text
assert collected_in == {{"llama-dashscope"}}
print("ended")
"""

FORGET_CHUNKS = """
def forget():
    page = Page()
    page.chunks = read()
    next(page.chunks)
"""

FORGOTTEN = {
    "a generator of Generation": """
def forget():
    page = Page()
    page.answers = Generation.call(
        MODEL, "hi", stream=True, api_key="sk-local", base_address=base_url
    )
    next(page.answers)
""",
    "a frame that an exception keeps": """
def forget():
    try:
        for answer in Generation.call(
            MODEL, "hi", stream=True, api_key="sk-local", base_address=base_url
        ):
            raise ValueError
    except ValueError as error:
        kept = error
""",
    "a generator around a stream": """
def read():
    with client.stream(MODEL, "hi") as stream:
        yield from stream
"""
    + FORGET_CHUNKS,
    "a generator that closes its stream at last": """
def read():
    stream = client.stream(MODEL, "hi")
    try:
        yield from stream
    finally:
        stream.close()
"""
    + FORGET_CHUNKS,
    "a generator around a client": """
def read():
    with Client("sk-local", base_url=base_url, transport=transport) as other:
        with other.stream(MODEL, "hi") as stream:
            yield from stream
"""
    + FORGET_CHUNKS,
    "a finalizer that closes a stream": """
class Chat(Page):
    def __del__(self):
        self.stream.close()

def forget():
    chat = Chat()
    chat.stream = client.stream(MODEL, "hi")
    next(chat.stream)
""",
    "a finalizer that closes a client": """
class Chat(Page):
    def __del__(self):
        self.client.close()

def forget():
    chat = Chat()
    chat.client = Client("sk-local", base_url=base_url, transport=transport)
    chat.client.call(MODEL, "hi")
""",
    "a client": """
def forget():
    page = Page()
    page.client = Client("sk-local", base_url=base_url, transport=transport)
    page.client.call(MODEL, "hi")
""",
}


@pytest.fixture
def slow() -> Iterator[LocalDashScope]:
    """Run a DashScope whose streams go on while the programs end."""
    with LocalDashScope(tokens_per_second=100) as server:
        server.reply(lambda request: "word " * 50 if request.streaming else "fine")
        yield server


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", FORGOTTEN)
def test_forgotten_things_are_closed_in_the_background(
    slow: LocalDashScope, what: str, transport: str
) -> None:
    """Garbage that the background thread collects is closed there, and calls go on."""
    program = PROGRAM.format(body=FORGOTTEN[what])

    assert run_program(program, slow, transport) == (0, "ended\n", "")
    slow.wait_for(lambda server: server.open_connections == 0)


CALLING = """
class Chat(Page):
    def __del__(self):
        for ask in (lambda: client.call(MODEL, "bye"), lambda: next(client.stream(MODEL, "bye"))):
            try:
                ask()
            except Exception as error:
                refused.append(f"{type(error).__name__}: {error}")

def forget():
    Chat()

refused = []
import atexit
atexit.register(lambda: print(len(refused), set(refused)))
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_sync_call_in_the_background_thread(slow: LocalDashScope, transport: str) -> None:
    """It would wait for itself, so it is refused, and the calls of others go on."""
    code, out, err = run_program(PROGRAM.format(body=CALLING), slow, transport)

    assert (code, err) == (0, "")
    assert out.startswith("ended\n6 {'DashScopeError: this is the thread that runs all sync calls")


EXITS = {
    "a generator of Generation": """
for answer in (g := Generation.call(
    MODEL, "hi", stream=True, api_key="sk-local", base_address=base_url
)): break
""",
    "a generator around a stream": """
def read():
    with client.stream(MODEL, "hi") as stream:
        yield from stream
for chunk in (g := read()): break
""",
    "a generator around a client": """
def read():
    with client, client.stream(MODEL, "hi") as stream:
        yield from stream
for chunk in (g := read()): break
""",
    "an exit within a stream": """
with client.stream(MODEL, "hi") as stream:
    next(stream)
    sys.exit()
""",
    "an exit within a generator": """
for answer in (g := Generation.call(
    MODEL, "hi", stream=True, api_key="sk-local", base_address=base_url
)): sys.exit()
""",
}
LAST = """
import sys
from llama_dashscope import Client, Generation

MODEL = "llama3.3-70b-instruct"
transport, base_url = sys.argv[1:]
client = Client("sk-local", base_url=base_url, transport=transport)
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", EXITS)
def test_the_interpreter_ends_within_a_stream(
    slow: LocalDashScope, what: str, transport: str
) -> None:
    """A program that leaves a stream half read ends at once, and quietly."""
    assert run_program(LAST + EXITS[what], slow, transport) == (0, "", "")
    slow.wait_for(lambda server: server.open_connections == 0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stream_that_is_forgotten_in_a_loop(
    backend: str, slow: LocalDashScope, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed there, with a ResourceWarning; so is one that is forgotten at the loop's end."""
    client = Client(slow.api_key, base_url=slow.base_url)

    async def forget() -> None:
        stream = client.astream(MODEL, "hi")
        await stream.__aenter__()
        await anext(stream)

    async def main() -> None:
        with pytest.warns(ResourceWarning, match=f"^{re.escape(LEFT_OPEN)}$"):
            await forget()
        await slow.await_for(lambda server: server.running == 0)
        await forget()

    for _ in range(3):
        with pytest.warns(ResourceWarning, match=f"^{re.escape(LEFT_OPEN)}$"):
            anyio.run(main, backend=backend)
        slow.wait_for(lambda server: server.open_connections == 0)
    gc.collect()  # aiohttp would warn here
    assert [each for each in caplog.records if each.name == "asyncio"] == []


class Page(Generic[T]):
    """Keeps a stream in a reference cycle, so that only the garbage collector frees it."""

    def __init__(self, stream: T) -> None:
        """Take the stream."""
        self.stream = stream
        self.me = self


def collect_elsewhere() -> None:
    """Collect garbage in a thread that has no event loop."""
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", [CutStream(2, "rst"), CutStream(2, "fin"), Stall(2)], ids=str)
@pytest.mark.parametrize("sync", [True, False])
def test_a_broken_stream_that_is_forgotten(
    fault: Fault,
    transport: str,
    server: LocalDashScope,
    caplog: pytest.LogCaptureFixture,
    *,
    sync: bool,
) -> None:
    """Its connection is closed in its own event loop, not in the thread that collects garbage."""
    server.reply(Reply(pieces=["a"] * 9))
    server.fault(fault, times=None)
    timeout = Timeout(idle=0.1)
    client = Client(server.api_key, base_url=server.base_url, transport=transport, timeout=timeout)

    def forget() -> None:
        page = Page(client.stream(MODEL, "hi"))
        next(page.stream)

    async def aforget() -> None:
        page = Page(client.astream(MODEL, "hi"))
        await anext(page.stream)

    def break_off() -> None:
        for _ in range(3):
            forget()
        time.sleep(0.2)  # the connections have broken by then, though nobody has read on
        collect_elsewhere()
        server.wait_for(lambda server: server.open_connections == 0)
        client.close()

    async def abreak_off() -> None:
        for _ in range(3):
            await aforget()
        await asyncio.sleep(0.2)
        collect_elsewhere()
        await server.await_for(lambda server: server.open_connections == 0)
        await client.aclose()

    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match=f"^{re.escape(LEFT_OPEN)}$") as left_open:
            break_off() if sync else asyncio.run(abreak_off())
    finally:
        gc.enable()
    assert len(left_open) == 3
    assert [each for each in caplog.records if each.name == "asyncio"] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stream_that_outlives_its_loop(transport: str, slow: LocalDashScope) -> None:
    """The end of the loop has closed its connection; nothing but the stream itself warns."""
    client = Client(slow.api_key, base_url=slow.base_url, transport=transport)
    kept: list[object] = []

    async def main() -> None:
        page = Page(client.astream(MODEL, "hi"))
        await anext(page.stream)
        kept.append(page)

    asyncio.run(main())
    slow.wait_for(lambda server: server.open_connections == 0)
    kept.clear()
    with pytest.warns(ResourceWarning) as warned:
        gc.collect()
    assert [str(each.message) for each in warned] == [LEFT_OPEN]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_sync_stream_that_ends_in_its_loop(
    backend: str, slow: LocalDashScope, *, wrapped: bool
) -> None:
    """What a worker thread has opened may be dropped in the event loop's own thread.

    Starlette does so with the generator of a response whose reader has gone.
    """
    client = Client(slow.api_key, base_url=slow.base_url)

    def read() -> Generator[Chunk, None, None]:
        with client.stream(MODEL, "hi") as stream:
            yield from stream

    async def main() -> None:
        stream = read() if wrapped else client.stream(MODEL, "hi")
        await anyio.to_thread.run_sync(next, stream)
        stream.close()
        await slow.await_for(lambda server: server.running == 0)

    anyio.run(main, backend=backend)


def test_closing_waits_for_the_connection(slow: LocalDashScope) -> None:
    """Outside of finalizers a closed stream has let go: its slot is free, its connection too."""
    with Client(slow.api_key, base_url=slow.base_url, limits=Limits(max_connections=1)) as client:
        for _ in range(3):
            with client.stream(MODEL, "hi") as stream:
                next(stream)
        slow.wait_for(lambda server: server.running == 0)


def test_closing_a_client_whose_loop_rests(slow: LocalDashScope) -> None:
    """A loop that doesn't run can't close anything: nobody waits for it."""
    client = Client(slow.api_key, base_url=slow.base_url)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(client.acall(MODEL, "hi", timeout=30))
        client.close()
        assert slow.open_connections == 1
        loop.run_until_complete(asyncio.sleep(0.1))
        slow.wait_for(lambda server: server.open_connections == 0)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


FORK = """
import os
stream = client.stream(MODEL, "hi")
next(stream)
pid = os.fork()
if not pid:
    {child}
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
assert stream.read().text.split() == ["word"] * 50
stream.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "child", ["pass", "stream.close()", "del stream; gc.collect()", "client.close()", "del client"]
)
def test_a_child_leaves_its_parents_stream_alone(
    slow: LocalDashScope, transport: str, child: str
) -> None:
    """A forked process closes what it has inherited without a word to the parent's connection."""
    program = LAST + "import gc" + FORK.format(child=child)

    assert run_program(program, slow, transport) == (0, "", "")
