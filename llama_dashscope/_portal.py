"""The bridge from sync to async: runs a client's coroutines from any thread, with no logic in it.

In a worker thread that anyio started (FastAPI's `def` handlers run in such threads) they run in the
application's own event loop. Everywhere else they run in one background thread of this process,
started when it is first needed.
"""

import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from typing import Final, TypeVar

import anyio.from_thread
from anyio.from_thread import BlockingPortal

from ._pool import closed_error

__all__ = ["run_sync"]

T = TypeVar("T")

LETTING_GO: Final = 2.0
"""Seconds that a cancelled call may take to close its connection before Ctrl-C goes on without."""


def run_sync(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function from sync code and return what it returns.

    Ctrl-C and other exceptions of signal handlers cancel it and wait until it has let go of what
    it held.
    """
    if _in_worker_thread():
        return anyio.from_thread.run(_as_coroutine, function)
    ended = threading.Event()

    async def work() -> T:
        try:
            return await function()
        finally:
            ended.set()

    future = _background.portal().start_task_soon(work)
    try:
        return future.result()
    except CancelledError:
        raise closed_error() from None  # the interpreter is ending, and the background with it
    except BaseException:
        if future.cancel():
            ended.wait(LETTING_GO)
        raise


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


class _Background:
    """The thread with an event loop for everyone's sync calls, one for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._running: AbstractContextManager[BlockingPortal] | None = None

    def portal(self) -> BlockingPortal:
        """Return the portal into the thread's event loop; starts the thread the first time."""
        portal = self._portal
        if portal is None:
            with self._lock:
                portal = self._portal or self._start()
        return portal

    def _start(self) -> BlockingPortal:
        running = anyio.from_thread.start_blocking_portal("asyncio", name="llama-dashscope")
        portal = running.__enter__()
        self._running, self._portal = running, portal
        atexit.register(self._stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        return portal

    def _stop(self) -> None:
        """End the thread with the interpreter, so that connections close in good order."""
        running, portal = self._running, self._portal
        self._running = self._portal = None
        if running is not None and portal is not None:
            # Calls of daemon threads may be under way still: nobody will read their answers.
            portal.call(portal.stop, True)  # noqa: FBT003  # anyio's own
            running.__exit__(None, None, None)

    def _forget(self) -> None:
        """Begin anew in a forked child: the thread stayed with the parent."""
        # Kept alive: finalising the parent's portal would wait for a thread that isn't here.
        _parents.append(self._running)
        self.__init__()  # type: ignore[misc]  # the same object, as a child finds it


_parents: Final[list[object]] = []
_background: Final = _Background()
