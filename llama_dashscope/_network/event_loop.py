"""Event loops as things that begin and end: which one runs, is it over, what is its last act."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from threading import get_ident
from typing import Any, Protocol, cast

__all__ = [
    "EventLoop",
    "LoopAffinity",
    "is_closed",
    "on_loop_end",
    "running_loop",
    "start_soon_threadsafe",
]


class TrioToken(Protocol):
    """What trio has for an event loop."""

    def run_sync_soon(self, function: Callable[[], object]) -> None:
        """Run a function in the loop's thread."""
        ...


EventLoop = asyncio.AbstractEventLoop | TrioToken


def running_loop() -> EventLoop:
    """Return what stands for the running event loop: asyncio's loop, or trio's token.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    trio = sys.modules.get("trio")
    if trio and trio.lowlevel.in_trio_run():
        return cast("TrioToken", trio.lowlevel.current_trio_token())
    return asyncio.get_running_loop()


class LoopAffinity:
    """The event loop that something was made in.

    To ask again and again where one is should cost next to nothing; `running_loop` asks the system
    for the process's id, on Python 3.11 and before.
    """

    __slots__ = ("_thread", "loop")

    def __init__(self) -> None:
        """Remember the running event loop, and its thread."""
        self.loop = running_loop()
        self._thread = get_ident()

    def is_here(self) -> bool:
        """Tell whether this event loop is the one that runs here."""
        loop = self.loop
        if isinstance(loop, asyncio.AbstractEventLoop) and self._thread == get_ident():
            return loop.is_running()
        return running_loop() is loop


def is_closed(loop: EventLoop) -> bool:
    """Tell whether an event loop has ended for good."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    try:
        loop.run_sync_soon(lambda: None)
    except sys.modules["trio"].RunFinishedError:
        return True
    return False


def start_soon_threadsafe(loop: EventLoop, function: Callable[[], Awaitable[None]]) -> None:
    """Start an async function on a loop from anywhere, without waiting for it.

    On a loop that is over, nothing happens: what it held is gone with it.
    """

    async def task() -> None:
        await function()

    with suppress(RuntimeError, KeyError):  # KeyError: the interpreter is ending, trio is gone
        if isinstance(loop, asyncio.AbstractEventLoop):
            loop.call_soon_threadsafe(lambda: _keep(loop.create_task(task())))
        else:
            lowlevel: Any = sys.modules["trio"].lowlevel
            loop.run_sync_soon(lambda: lowlevel.spawn_system_task(task))


_tasks: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """Hold a task until it is done; asyncio itself doesn't."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


_last_acts: dict[AsyncGenerator[None, None], EventLoop] = {}


async def on_loop_end(function: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Run a function when the running event loop ends, and return what to keep for that.

    Both asyncio and trio close the async generators that are still open when a run ends, which is
    the one moment that they offer for tidying up. Closing the generator runs the function earlier.
    """

    async def last_act() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _last_acts.pop(generator, None)
            await function()

    for other, loop in list(_last_acts.items()):
        if is_closed(loop):
            _last_acts.pop(other, None)
    generator = last_act()
    # Not to become garbage: finalizers would find open what the function closes, and trio warns.
    _last_acts[generator] = running_loop()
    await anext(generator)
    return generator
