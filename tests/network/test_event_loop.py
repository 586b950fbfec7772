"""Event loops as things that end."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import ModuleType

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from client_matrix import MODEL

from llama_dashscope import Client
from llama_dashscope._network import event_loop
from llama_dashscope._network.event_loop import (
    EventLoop,
    call_soon_threadsafe,
    close_from_sync,
    is_closed,
    on_loop_end,
    running_loop,
    start_soon_threadsafe,
)
from llama_dashscope.testing import LocalDashScope


def test_trio_after_trio(server: LocalDashScope) -> None:
    """One client serves several runs of trio's, and of asyncio's between them."""
    client = Client(server.api_key, base_url=server.base_url, transport="httpx")
    for backend in ["trio", "asyncio", "trio"]:
        anyio.run(client.acall, MODEL, "hi", backend=backend)

    server.wait_for(lambda server: server.open_connections == 0)
    client.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_is_over(backend: str) -> None:
    """A loop that has ended is known to be over, and takes nothing more, and says so."""
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    async def main() -> EventLoop:
        loop = running_loop()
        assert not is_closed(loop)
        assert start_soon_threadsafe(loop, begin)
        assert call_soon_threadsafe(loop, lambda: begun.append(2))
        while len(begun) < 2:
            await anyio.lowlevel.checkpoint()
        return loop

    loop = anyio.run(main, backend=backend)
    assert is_closed(loop)
    assert not start_soon_threadsafe(loop, begin)
    assert not call_soon_threadsafe(loop, lambda: begun.append(2))
    assert sorted(begun) == [1, 2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failure_in_the_background(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    """What fails where nobody waits is logged; on trio it would end the whole run."""
    caplog.set_level(logging.DEBUG, "llama_dashscope")

    async def fail() -> None:
        raise ValueError("no luck")

    async def main() -> str:
        assert start_soon_threadsafe(running_loop(), fail)
        while not caplog.records:
            await anyio.lowlevel.checkpoint()
        return "went on"

    assert anyio.run(main, backend=backend) == "went on"
    assert [record.getMessage() for record in caplog.records] == ["failed in the background"]
    assert "no luck" in caplog.text


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_is_not_waited_for_in_its_own_thread(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sync code closes there is closed once the loop goes on."""
    monkeypatch.setattr(event_loop, "PATIENCE", 3600)
    done: list[str] = []

    async def close() -> None:
        done.append("close")

    async def main() -> None:
        close_from_sync([(running_loop(), close)])
        done.append("main")
        while len(done) < 2:
            await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend)
    assert done == ["main", "close"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_is_waited_for_in_another_thread(backend: str) -> None:
    """What sync code closes elsewhere is closed when it goes on."""
    done: list[str] = []

    async def close() -> None:
        done.append("close")

    async def main() -> None:
        loop = running_loop()
        await anyio.to_thread.run_sync(lambda: close_from_sync([(loop, close)]))
        done.append("main")

    anyio.run(main, backend=backend)
    assert done == ["close", "main"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_last_act(backend: str) -> None:
    """What is to be done at the end is done then, or earlier where that is wanted."""
    done: list[str] = []

    async def main() -> None:
        async def late() -> None:
            done.append("late")

        async def early() -> None:
            done.append("early")

        await on_loop_end(late)
        await (await on_loop_end(early)).aclose()
        done.append("main")

    anyio.run(main, backend=backend)
    assert done == ["early", "main", "late"]


def test_a_loop_that_was_cut_off() -> None:
    """A loop that was closed without its last act is forgotten by the next one."""
    done: list[str] = []

    async def never() -> None:
        done.append("never")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(on_loop_end(never))
    loop.close()
    asyncio.run(main_of(done))

    assert done == ["then"]


async def main_of(done: list[str]) -> None:
    """Ask for a last act."""

    async def then() -> None:
        done.append("then")

    await on_loop_end(then)


def test_trio_that_is_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be at it: what it has so far says nothing of this thread's loop."""
    monkeypatch.setitem(sys.modules, "trio.lowlevel", ModuleType("trio.lowlevel"))

    async def main() -> None:
        await asyncio.sleep(0)
        assert running_loop() is asyncio.get_running_loop()

    asyncio.run(main())
