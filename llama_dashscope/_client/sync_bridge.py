"""The bridge from sync to async: runs a client's coroutines from any thread.

From a worker thread of anyio (FastAPI runs `def` handlers in these) they run in the application's
own event loop. From any other thread they run in one background thread of this process, which is
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

    Ctrl-C and other exceptions from signal handlers cancel the function and wait until it has
    released its resources, at most for `PATIENCE`.
    """
    if _in_worker_thread():
        return anyio.from_thread.run(_as_coroutine, function)
    loop = background.loop()
    if loop is None:
        return background.run_here(function)
    bridged = _BridgedCall(function)
    try:
        return bridged.through(loop)
    except asyncio.CancelledError:
        raise closed_error() from None  # the interpreter is shutting down
    finally:
        del bridged  # else exception and frame would refer to each other


async def _as_coroutine(function: Callable[[], Awaitable[T]]) -> T:
    with anyio.CancelScope():  # noqa: ASYNC100  # for its exit
        pass  # on exit anyio checks for a cancellation that came before this call
    return await function()


def _in_worker_thread() -> bool:
    if threading.current_thread() is threading.main_thread():
        return False  # a signal handler may interrupt the import here and see half a module
    with late_imports:
        import anyio.from_thread  # only sync code needs this

    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


class _BridgedCall(Generic[T]):
    """One call in the background thread, and the wait for its result.

    Waiting for a lock costs a third of anyio's portal with its futures.
    """

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._task: asyncio.Future[T] | None = None
        self._running = threading.Lock()
        self._running.acquire()

    def through(self, loop: asyncio.AbstractEventLoop) -> T:
        """Run the function in an event loop of another thread."""
        try:
            loop.call_soon_threadsafe(self._begin, context=context_for_asyncio())
            with self._running:
                pass
        except BaseException:
            if loop.is_closed():  # the interpreter is shutting down
                raise closed_error() from None
            loop.call_soon_threadsafe(self._cancel)
            self._running.acquire(timeout=PATIENCE)
            raise
        return cast("asyncio.Future[T]", self._task).result()

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._function())
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[T]) -> None:
        if not task.cancelled():
            task.exception()  # retrieved here, since an interrupted caller won't
        self._running.release()

    def _cancel(self) -> None:
        if self._task is None:  # interrupted before the task was created
            self._running.release()
        else:
            self._task.cancel()
