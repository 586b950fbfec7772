"""The bridge from sync to async: runs a client's coroutines from any thread, with no logic in it.

In a worker thread that anyio started (FastAPI's `def` handlers run in such threads) they run in the
application's own event loop. Everywhere else they run in one background thread of this process,
started when it is first needed.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

import anyio

from llama_dashscope._late_imports import late_imports
from llama_dashscope._network.event_loop import context_for_asyncio
from llama_dashscope._network.failures import closed_error

from .background_loop import PATIENCE, background

__all__ = ["run_sync"]

T = TypeVar("T")


def run_sync(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function from sync code and return what it returns.

    Ctrl-C and other exceptions of signal handlers cancel it and wait until it has let go of what
    it held.
    """
    if _in_worker_thread():
        return anyio.from_thread.run(_as_coroutine, function)
    loop = background.loop()
    if loop is None:
        return background.run_here(function)
    passage = _BridgedCall(function)
    try:
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
    if threading.current_thread() is threading.main_thread():
        return False  # here a signal handler may interrupt an import, and see half of a module
    with late_imports:
        import anyio.from_thread  # only sync code pays for this

    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


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
            if loop.is_closed():  # with the interpreter, just now
                raise closed_error() from None
            loop.call_soon_threadsafe(self._cancel)
            self._under_way.acquire(timeout=PATIENCE)
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
