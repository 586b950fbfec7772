"""The event loop of sync calls: in a background thread, or in the caller's where none can start.

A thread can't start while the interpreter ends (from Python 3.12 on, as soon as the main thread has
ended), nor where the system has no more of them. A call works there all the same.
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
"""Seconds that the end of the interpreter, or a cancelled call, waits for connections to close."""

OWN_THREAD: Final = (
    "sync calls wait for this thread, so none can be made in it: not in a finalizer that the "
    "garbage collector runs here, nor in a log handler or a transport that calls run through"
)
NO_THREAD: Final = (
    "no thread can be started for a sync call, and this one runs an event loop: use acall"
)

_clock: Final = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else time.monotonic
)
"""A clock that goes on where a test has frozen `time.monotonic`."""


class SyncEventLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, for calls of threads that know nothing of it."""

    def __init__(self) -> None:
        """Open the loop; until that has worked it counts as closed."""
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
        """Tell whether the loop is closed: in a forked process that of the parent counts as such.

        Else a connection that is finalised there would take its socket out of the selector, which
        both processes share.
        """
        return self._pid != os.getpid() or super().is_closed()

    def run_in_executor(  # type: ignore[override]  # TypeVarTuple came with Python 3.11
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a function, a name's look-up, in a daemon thread of its own.

        Python's pool of threads takes nothing more once the main thread has ended, and makes the
        end of the interpreter wait for a look-up that hangs.
        """
        del executor
        looked_up: Future[T] = Future()
        looked_up.set_running_or_notify_cancel()

        def work() -> None:
            try:
                looked_up.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001  # it is raised where it is awaited
                looked_up.set_exception(error)

        try:
            threading.Thread(target=work, name="llama-dashscope-lookup", daemon=True).start()
        except RuntimeError:
            work()
        return asyncio.wrap_future(looked_up, loop=self)


class _LoopThread(threading.Thread):
    """A daemon thread with an event loop, which may be given work before it has started."""

    def __init__(self) -> None:
        super().__init__(name="llama-dashscope", daemon=True)
        self.loop = SyncEventLoop()
        self.loop.call_soon(load_backend, context=context_for_asyncio())

    def run(self) -> None:
        self.loop.run_forever()
        _wind_up(self.loop)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)


class BackgroundLoop:
    """The event loop for everyone's sync calls, one for each process."""

    def __init__(self) -> None:
        """Begin without a thread; it starts with the first call."""
        # Signal handlers interrupt whatever runs, a start of the thread too, with calls of theirs.
        self._lock = threading.RLock()
        self._thread: _LoopThread | None = None
        self._here: SyncEventLoop | None = None
        self._ending = False

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the event loop of the thread, started the first time; None if it can't start.

        Raises:
            APIConnectionError: the system gives no descriptors for it.
            DashScopeError: this is the thread itself.
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
        else:  # a signal handler has started one meanwhile
            thread.stop()
        return self._thread

    def run_here(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run an async function in the caller's thread.

        Raises:
            DashScopeError: an event loop runs in it already.
        """
        if _loop_here() is not None:
            raise DashScopeError(NO_THREAD)
        with self._lock:
            loop = self._here = self._here or SyncEventLoop()
            task = context_for_asyncio().run(loop.create_task, _as_coroutine(function))
            try:
                return loop.run_until_complete(task)
            except BaseException:
                task.cancel()
                loop.run_until_complete(asyncio.wait([task], timeout=PATIENCE))
                raise

    def stop(self) -> None:
        """End the thread with the interpreter, so that connections close in good order."""
        self._ending = True
        thread, self._thread = self._thread, None
        here, self._here = self._here, None
        if thread is not None:
            # Calls of daemon threads may be under way still: nobody will read their answers.
            thread.stop()
            thread.join(PATIENCE)
        if here is not None:
            _wind_up(here)

    def forget(self) -> None:
        """Begin anew in a forked process: the thread stayed with the parent."""
        _parents.append((self._thread, self._here))
        self.__init__()  # type: ignore[misc]  # the same object, as a child finds it


def _loop_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what runs in a loop, close what it has open, and the loop."""
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
"""What belongs to a parent's thread is kept alive."""


def of_this_process() -> BackgroundLoop:
    """Make a background loop that ends with the interpreter and begins anew in forked processes."""
    made = BackgroundLoop()
    atexit.register(made.stop)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.forget)
    return made


background: Final = of_this_process()
