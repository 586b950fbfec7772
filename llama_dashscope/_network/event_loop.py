"""Event loops as things that begin and end: which one runs, is it over, what is its last act."""

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
"""Seconds that sync code waits for something to be closed in an event loop; then it goes on."""

T = TypeVar("T")

logger: Final = logging.getLogger("llama_dashscope")


class TrioToken(Protocol):
    """What trio has for an event loop."""

    def run_sync_soon(self, function: Callable[[], object]) -> None:
        """Run a function in the loop's thread."""
        ...


class Bridge(Protocol):
    """A way from sync code to coroutines."""

    def __call__(self, function: Callable[[], Awaitable[T]], /) -> T:
        """Run an async function and return what it returns."""
        ...


EventLoop = asyncio.AbstractEventLoop | TrioToken


def running_loop() -> EventLoop:
    """Return what stands for the running event loop: asyncio's loop, or trio's token.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    lowlevel = sys.modules.get("trio.lowlevel")
    in_trio_run = getattr(lowlevel, "in_trio_run", None)  # a thread may be importing it just now
    if lowlevel and in_trio_run and in_trio_run():
        return cast("TrioToken", lowlevel.current_trio_token())
    return asyncio.get_running_loop()


class LoopAffinity:
    """The event loop that something was made in.

    To ask again and again where one is should cost next to nothing; `running_loop` asks the system
    for the process's id, on Python 3.11 and before.
    """

    __slots__ = ("_pid", "_thread", "loop")

    def __init__(self) -> None:
        """Remember the running event loop, its thread and its process."""
        self.loop = running_loop()
        self._thread = get_ident()
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this process is a child of the one that runs the event loop."""
        return self._pid != os.getpid()

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


def context_for_asyncio() -> Context:
    """Return a copy of this context for a task on asyncio; this one may be trio's, and say so."""
    context = copy_context()
    if sniffio := sys.modules.get("sniffio"):
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def call_soon_threadsafe(loop: EventLoop, function: Callable[[], object]) -> bool:
    """Call a function in a loop's thread, from anywhere, without waiting; tell whether it will."""
    try:
        if isinstance(loop, asyncio.AbstractEventLoop):
            loop.call_soon_threadsafe(function)
        else:
            loop.run_sync_soon(function)
    except RuntimeError:  # trio's RunFinishedError is one too
        return False
    return True


def start_soon_threadsafe(loop: EventLoop, function: Callable[[], Awaitable[None]]) -> bool:
    """Start an async function on a loop from anywhere, without waiting for it.

    Tells whether the loop took it. One that is over doesn't: what it held is gone with it. An
    exception of the function is logged: on trio it would end the whole run.
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
            loop.call_soon_threadsafe(lambda: _keep(loop.create_task(task())), context=context)
        else:
            loop.run_sync_soon(on_trio)
    except RuntimeError:
        return False
    return True


def close_from_sync(acts: Iterable[tuple[EventLoop, Callable[[], Awaitable[None]]]]) -> None:
    """Run async functions that close something, each on its loop, from sync code.

    It waits for them where that is safe, and never for long. Garbage collection may bring a caller
    here in any thread, the loop's own included, and with any lock in its hands.
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
    """Tell whether sync code may wait here for what a loop does."""
    if isinstance(sys.exc_info()[1], GeneratorExit):
        return False  # a generator is closed, maybe by the garbage collector
    if isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_running():
        return False
    try:
        return running_loop() is not loop
    except RuntimeError:
        return True


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
