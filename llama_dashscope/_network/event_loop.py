"""Event loops of asyncio and trio: which one runs, whether one is closed, running code in them."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from threading import Lock, get_ident
from typing import Any, Final, Protocol, TypeVar, cast

__all__ = [
    "Bridge",
    "EventLoop",
    "LoopAffinity",
    "call_soon_threadsafe",
    "close_from_sync",
    "context_for_asyncio",
    "is_closed",
    "on_loop_end",
    "running_loop",
    "start_soon_threadsafe",
]


PATIENCE: Final = 2.0
"""Longest wait, in seconds, of sync code for something to be closed in an event loop."""

T = TypeVar("T")

logger: Final = logging.getLogger("llama_dashscope")


class TrioToken(Protocol):
    """trio's handle of an event loop."""

    def run_sync_soon(self, function: Callable[[], object]) -> None:
        """Run a function in the loop's thread."""
        ...


class Bridge(Protocol):
    """A function by which sync code runs coroutines."""

    def __call__(self, function: Callable[[], Awaitable[T]], /) -> T:
        """Run an async function and return what it returns."""
        ...


EventLoop = asyncio.AbstractEventLoop | TrioToken


def running_loop() -> EventLoop:
    """Return the running event loop: asyncio's loop, or trio's token.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    lowlevel = sys.modules.get("trio.lowlevel")
    in_trio_run = getattr(lowlevel, "in_trio_run", None)  # a thread may be importing it just now
    if lowlevel and in_trio_run and in_trio_run():
        return cast("TrioToken", lowlevel.current_trio_token())
    return asyncio.get_running_loop()


class LoopAffinity:
    """The event loop that an object was made in, with a cheap check whether it runs here.

    The check is made very often; `running_loop` is slower, since on Python 3.11 and before it asks
    the system for the process id.
    """

    __slots__ = ("_pid", "_thread", "loop")

    def __init__(self) -> None:
        """Remember the running event loop, its thread and its process."""
        self.loop = running_loop()
        self._thread = get_ident()
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that runs the event loop."""
        return self._pid != os.getpid()

    def is_here(self) -> bool:
        """Tell whether this event loop is running in this thread."""
        loop = self.loop
        if isinstance(loop, asyncio.AbstractEventLoop) and self._thread == get_ident():
            return loop.is_running()
        return running_loop() is loop


def is_closed(loop: EventLoop) -> bool:
    """Tell whether an event loop is closed."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    try:
        loop.run_sync_soon(lambda: None)
    except sys.modules["trio"].RunFinishedError:
        return True
    return False


def context_for_asyncio() -> Context:
    """Return a copy of this context for a task on asyncio, also if this context is trio's."""
    context = copy_context()
    if sniffio := sys.modules.get("sniffio"):
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def call_soon_threadsafe(loop: EventLoop, function: Callable[[], object]) -> bool:
    """Schedule a function in a loop from any thread; return whether the loop accepted it."""
    try:
        if isinstance(loop, asyncio.AbstractEventLoop):
            loop.call_soon_threadsafe(function)
        else:
            loop.run_sync_soon(function)
    except RuntimeError:  # trio's RunFinishedError is one too
        return False
    return True


def start_soon_threadsafe(loop: EventLoop, function: Callable[[], Awaitable[None]]) -> bool:
    """Start an async function in a loop from any thread, without waiting for it.

    Returns whether the loop accepted it; a closed loop doesn't. An exception of the function is
    logged, since on trio it would end the whole run.
    """

    async def task() -> None:
        try:
            await function()
        except Exception:
            logger.debug("failed in the background", exc_info=True)

    def on_trio() -> None:
        with suppress(RuntimeError):  # the run is ending: its nursery takes no more tasks
            trio: Any = sys.modules["trio"]
            trio.lowlevel.spawn_system_task(task)

    try:
        if isinstance(loop, asyncio.AbstractEventLoop):
            context = context_for_asyncio()
            loop.call_soon_threadsafe(lambda: _hold(loop.create_task(task())), context=context)
        else:
            loop.run_sync_soon(on_trio)
    except RuntimeError:
        return False
    return True


def close_from_sync(acts: Iterable[tuple[EventLoop, Callable[[], Awaitable[None]]]]) -> None:
    """Run async functions that close something, each in its loop, from sync code.

    It waits for them if that is safe, at most for `PATIENCE`. It may be called by the garbage
    collector: in any thread, the loop's own included, and while that thread holds any lock.
    """
    waiting: list[Lock] = []
    for loop, function in acts:
        ended = Lock()
        ended.acquire()
        if start_soon_threadsafe(loop, _then(function, ended.release)) and _may_wait_for(loop):
            waiting.append(ended)
    for ended in waiting:
        ended.acquire(timeout=PATIENCE)


def _then(
    function: Callable[[], Awaitable[None]], at_end: Callable[[], None]
) -> Callable[[], Awaitable[None]]:
    async def both() -> None:
        try:
            await function()
        finally:
            at_end()

    return both


def _may_wait_for(loop: EventLoop) -> bool:
    """Tell whether sync code may block here until a loop has run something."""
    if isinstance(sys.exc_info()[1], GeneratorExit):
        return False  # a generator is being closed, perhaps by the garbage collector
    if isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_running():
        return False
    try:
        return running_loop() is not loop
    except RuntimeError:
        return True


_tasks: set[asyncio.Task[None]] = set()


def _hold(task: asyncio.Task[None]) -> None:
    """Keep a reference to a task until it is done; asyncio itself doesn't."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


_cleanups: dict[AsyncGenerator[None, None], EventLoop] = {}


async def on_loop_end(function: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Run a function when the running event loop ends; return a generator that runs it earlier.

    When a run ends, asyncio and trio close all open async generators. This is the only hook that
    both offer for cleaning up. Closing the returned generator runs the function at once.
    """

    async def cleanup() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _cleanups.pop(generator, None)
            await function()

    for other, loop in list(_cleanups.items()):
        if is_closed(loop):
            _cleanups.pop(other, None)
    generator = cleanup()
    # Kept alive: as garbage it would be finalized late, after what it closes, and trio would warn.
    _cleanups[generator] = running_loop()
    await anext(generator)
    return generator
