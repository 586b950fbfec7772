"""The bridge from sync to async: runs a client's coroutines from any thread, with no logic in it.

In a worker thread that anyio started (FastAPI's `def` handlers run in such threads) they run in the
application's own event loop. Everywhere else they run in one background thread of this process,
started when it is first needed.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeVar, cast

import anyio.from_thread
from anyio.from_thread import BlockingPortal

from llama_dashscope._errors import DashScopeError
from llama_dashscope._network.event_loop import context_for_asyncio
from llama_dashscope._network.failures import closed_error

__all__ = ["run_sync"]

T = TypeVar("T")

LETTING_GO: Final = 2.0
"""Seconds that a cancelled call may take to close its connection before Ctrl-C goes on without."""


OWN_THREAD: Final = (
    "sync calls wait for this thread, so none can be made in it: not in a finalizer that the "
    "garbage collector runs here, nor in a log handler or a transport that calls run through"
)


def run_sync(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function from sync code and return what it returns.

    Ctrl-C and other exceptions of signal handlers cancel it and wait until it has let go of what
    it held.
    """
    if _in_worker_thread():
        return anyio.from_thread.run(_as_coroutine, function)
    passage = _BridgedCall(function)
    try:
        loop = _background.loop()
        if _runs_here(loop):
            raise DashScopeError(OWN_THREAD)
        return passage.through(loop)
    except asyncio.CancelledError:
        raise closed_error() from None  # the interpreter is ending, and the background with it
    finally:
        del passage  # an exception would hold this frame, and the frame the exception


async def _as_coroutine(function: Callable[[], Awaitable[T]]) -> T:
    with anyio.CancelScope():  # noqa: ASYNC100  # its end is what counts
        pass  # leaving a scope has anyio look again for a cancellation that came before this call
    return await function()


def _in_worker_thread() -> bool:
    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class _BridgedCall(Generic[T]):
    """One call's way through the background thread and back.

    A lock to wait at costs a third of what anyio's portal and its futures do.
    """

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._task: asyncio.Future[T] | None = None
        self._under_way = threading.Lock()
        self._under_way.acquire()

    def through(self, loop: asyncio.AbstractEventLoop) -> T:
        """Run the function in an event loop of another thread."""
        try:
            loop.call_soon_threadsafe(self._begin, context=context_for_asyncio())
            with self._under_way:
                pass
        except BaseException:
            loop.call_soon_threadsafe(self._cancel)
            self._under_way.acquire(timeout=LETTING_GO)
            raise
        return cast("asyncio.Future[T]", self._task).result()

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._function())
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[T]) -> None:
        if not task.cancelled():
            task.exception()  # of a call that was interrupted nobody else asks for it
        self._under_way.release()

    def _cancel(self) -> None:
        if self._task is None:  # interrupted before it was on its way
            self._under_way.release()
        else:
            self._task.cancel()


class _BackgroundLoop:
    """The thread with an event loop for everyone's sync calls, one for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._portal: BlockingPortal | None = None
        self._running: AbstractContextManager[BlockingPortal] | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the thread's event loop; starts the thread the first time."""
        loop = self._loop
        if loop is None:
            with self._lock:
                loop = self._loop or self._start()
        return loop

    def _start(self) -> asyncio.AbstractEventLoop:
        running = anyio.from_thread.start_blocking_portal("asyncio", name="llama-dashscope")
        self._running, self._portal = running, running.__enter__()
        self._loop = loop = self._portal.call(_running_loop)
        atexit.register(self._stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        return loop

    def _stop(self) -> None:
        """End the thread with the interpreter, so that connections close in good order."""
        running, portal = self._running, self._portal
        self._running = self._portal = self._loop = None
        if running is not None and portal is not None:
            # Calls of daemon threads may be under way still: nobody will read their answers.
            portal.call(portal.stop, True)  # noqa: FBT003  # anyio's own
            running.__exit__(None, None, None)

    def _forget(self) -> None:
        """Begin anew in a forked child: the thread stayed with the parent."""
        # Kept alive: finalising the parent's portal would wait for a thread that isn't here.
        _parents.append(self._running)
        self.__init__()  # type: ignore[misc]  # the same object, as a child finds it


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


_parents: Final[list[object]] = []
_background: Final = _BackgroundLoop()
