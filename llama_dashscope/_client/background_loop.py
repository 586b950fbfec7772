"""The event loop of sync calls: in a background thread, or in the caller's if none can be started.

No thread can be started while the interpreter shuts down (from Python 3.12 on, once the main thread
has ended), or if the system allows no more threads. Sync calls still work then.
"""

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, Final, TypeVar

from llama_dashscope._errors import APIConnectionError, DashScopeError
from llama_dashscope._network.event_loop import context_for_asyncio
from llama_dashscope._network.failures import describe
from llama_dashscope._network.loading import load_backend

__all__ = ["BackgroundLoop", "background"]

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Longest wait, in seconds, for connections to close at the interpreter's end or a cancellation."""

OWN_THREAD: Final = (
    "this is the thread that runs all sync calls, so a sync call made in it would never end: "
    "make none in finalizers, nor in log handlers or transports that calls use"
)
NO_THREAD: Final = (
    "no thread can be started for a sync call, and this one runs an event loop: use acall"
)

_clock: Final = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else time.monotonic
)
"""A clock that keeps running when a test has frozen `time.monotonic`."""


class SyncEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop for sync calls."""

    def __init__(self) -> None:
        """Open the loop; it counts as closed until that has succeeded."""
        self._pid = 0
        try:
            super().__init__()
        except OSError as error:
            msg = f"no event loop can be opened for sync calls: {describe(error)}"
            raise APIConnectionError(msg) from error
        self._pid = os.getpid()

    def time(self) -> float:
        """Return the time by the loop's clock, in seconds."""
        return _clock()

    def is_closed(self) -> bool:
        """Tell whether the loop is closed; in a forked process the parent's loop counts as closed.

        Otherwise a connection that is finalised in the child would remove its socket from the
        selector, which both processes share.
        """
        return self._pid != os.getpid() or super().is_closed()

    def run_in_executor(  # type: ignore[override]  # TypeVarTuple came with Python 3.11
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a function (asyncio's name look-up) in its own daemon thread.

        Python's thread pool accepts no work once the main thread has ended, and the interpreter
        would not exit while a look-up hangs in it.
        """
        del executor
        looked_up: Future[T] = Future()
        looked_up.set_running_or_notify_cancel()

        def work() -> None:
            try:
                looked_up.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001  # re-raised where it is awaited
                looked_up.set_exception(error)

        try:
            threading.Thread(target=work, name="llama-dashscope-lookup", daemon=True).start()
        except RuntimeError:
            work()
        return asyncio.wrap_future(looked_up, loop=self)


class _LoopThread(threading.Thread):
    """A daemon thread with an event loop, which accepts work even before the thread has started."""

    def __init__(self) -> None:
        super().__init__(name="llama-dashscope", daemon=True)
        self.loop = SyncEventLoop()
        self.loop.call_soon(load_backend, context=context_for_asyncio())

    def run(self) -> None:
        while not self._run_loop():
            pass
        _shut_down(self.loop)

    def _run_loop(self) -> bool:
        """Run the loop; return whether it was stopped.

        asyncio leaves the loop if a task raises one of these exceptions. Here it can only come from
        code that a caller brought along, such as the input of a batch: it is the result of that
        caller's task, and the other callers need the loop.
        """
        try:
            self.loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            return False
        return True

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)


class BackgroundLoop:
    """The event loop for the sync calls of all clients, one per process."""

    def __init__(self) -> None:
        """Start without a thread; the first call starts it."""
        # Reentrant: a signal handler may interrupt the thread's start and make a call itself.
        self._lock = threading.RLock()
        self._thread: _LoopThread | None = None
        self._caller_loop: SyncEventLoop | None = None
        self._ending = False

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the thread's event loop, starting the thread if needed; None if it can't start.

        Raises:
            APIConnectionError: the system has no free file descriptors for the loop.
            DashScopeError: the caller runs in this very thread.
        """
        if isinstance(_loop_here(), SyncEventLoop):
            raise DashScopeError(OWN_THREAD)
        thread = self._thread
        if thread is None:
            with self._lock:
                thread = self._thread or self._start()
        return None if thread is None else thread.loop

    def _start(self) -> _LoopThread | None:
        if self._ending:
            return None
        thread = _LoopThread()
        try:
            thread.start()
        except RuntimeError:
            thread.loop.close()
            return None
        except BaseException:  # Ctrl-C
            thread.stop()
            raise
        if self._thread is None:
            self._thread = thread
        else:  # a signal handler has started another one in the meantime
            thread.stop()
        return self._thread

    def run_here(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run an async function in the caller's thread.

        Raises:
            DashScopeError: an event loop already runs in that thread.
        """
        if _loop_here() is not None:
            raise DashScopeError(NO_THREAD)
        with self._lock:
            loop = self._caller_loop = self._caller_loop or SyncEventLoop()
            task = context_for_asyncio().run(loop.create_task, _as_coroutine(function))
            try:
                return loop.run_until_complete(task)
            except BaseException:
                task.cancel()
                loop.run_until_complete(asyncio.wait([task], timeout=PATIENCE))
                raise

    def stop(self) -> None:
        """Stop the thread when the interpreter exits, so that connections are closed properly."""
        self._ending = True
        thread, self._thread = self._thread, None
        here, self._caller_loop = self._caller_loop, None
        if thread is not None:
            # Cancels calls of daemon threads that are still running; nobody will use their answers.
            thread.stop()
            thread.join(PATIENCE)
        if here is not None:
            _shut_down(here)

    def forget(self) -> None:
        """Reset this object in a forked process, which doesn't have the parent's thread."""
        _parents.append((self._thread, self._caller_loop))
        self.__init__()  # type: ignore[misc]  # in place: others hold this object


def _loop_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _shut_down(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel a loop's tasks, close its async generators, then close the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=PATIENCE))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _as_coroutine(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


_parents: Final[list[object]] = []
"""The parent process's objects, kept alive so that they are not finalised here."""


def of_this_process() -> BackgroundLoop:
    """Make a background loop that stops at the interpreter's exit and is reset in forks."""
    made = BackgroundLoop()
    atexit.register(made.stop)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.forget)
    return made


background: Final = of_this_process()
